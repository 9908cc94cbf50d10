"""Make `docs/images/page.jpg` and `page-phone.jpg`: the page after a click on an example.

python -m scripts.make_page_pictures        (needs Chromium)
"""

from __future__ import annotations

import io
import shutil
from typing import Any

from benchmarks.machine import REPOSITORY
from benchmarks.service import running
from PIL import Image
from playwright.sync_api import sync_playwright

IMAGES = REPOSITORY / "docs" / "images"
VIEWS: dict[str, dict[str, Any]] = {
    "page.jpg": {"viewport": {"width": 1280, "height": 820}, "color_scheme": "light"},
    "page-phone.jpg": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "color_scheme": "dark",
    },
}


def main() -> None:
    """Open the page, click on an example and take a picture, in each view."""
    with running() as service, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for name, view in VIEWS.items():
            page = browser.new_page(**view)
            page.goto(service.address)
            page.click("[data-example=cathedral]")
            page.locator('.tile[data-state="done"]').wait_for()
            page.locator("#bench[aria-busy=false]").wait_for(state="attached")
            Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(IMAGES / name, quality=88)
        browser.close()


if __name__ == "__main__":
    main()
