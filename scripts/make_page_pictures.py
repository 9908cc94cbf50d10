"""Make `docs/images/page.jpg` and `page-phone.jpg`: the page after a click on an example.

python scripts/make_page_pictures.py        (needs Chromium)
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
VIEWS: dict[str, dict[str, Any]] = {
    "page.jpg": {"viewport": {"width": 1280, "height": 820}, "color_scheme": "light"},
    "page-phone.jpg": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "color_scheme": "dark",
    },
}


@contextmanager
def service() -> Iterator[str]:
    """Run ``dpenet serve`` with the default model; yields its address."""
    command = [sys.executable, "-m", "dpenet", "serve", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if found := re.search(r"Uvicorn running on (http://[\d.:]+)", line):
                yield found[1]
                return
        raise SystemExit("the service does not start")
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Open the page, click on an example and take a picture, in each view."""
    with service() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, view in VIEWS.items():
            page = browser.new_page(**view)
            page.goto(address)
            page.click("[data-example=cathedral]")
            page.locator('.tile[data-state="done"]').wait_for()
            page.locator("#bench[aria-busy=false]").wait_for(state="attached")
            Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(IMAGES / name, quality=88)
        browser.close()


if __name__ == "__main__":
    main()
