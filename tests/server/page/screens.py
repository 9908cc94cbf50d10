"""Pictures for the page, what it shows of them, and what it saves."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
DERAIN = "**/v1/derain*"
WAITING_SECONDS = 60


def write_rainy(path: Path, seed: int = 0, width: int = 240, height: int = 160) -> Path:
    """Write a picture with streaks; the suffix says in which format."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    planes = [110 + 60 * np.sin(x / (31 + 7 * c) + y / 23 + seed) for c in range(3)]
    picture = np.stack(planes, axis=2)
    for _ in range(60):
        left, top = random.integers(0, width - 8), random.integers(0, height - 24)
        for step in range(24):
            picture[top + step, left + step // 4] += 90
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(path)
    return path


def add_files(page: Any, *paths: Path) -> None:
    """Choose files, and wait until all are done or have failed."""
    before = page.locator(".tile[data-state]").count()
    page.set_input_files("#files", [str(path) for path in paths])
    finished = page.locator('.tile:is([data-state="done"], [data-state="failed"])')
    finished.nth(before + len(paths) - 1).wait_for()
    settle(page)


def open_tile(page: Any, at: int) -> None:
    """Open one of the pictures that were added, and wait until all of it is shown."""
    page.click(f".tile >> nth={at}")
    settle(page)


def settle(page: Any) -> None:
    """Wait until the open picture is decoded and drawn, and all that is said of it is there."""
    page.locator("#bench[aria-busy=false]").wait_for(state="attached")


def answer_with(page: Any, file: Path) -> None:
    """Let every picture come back as this one, at once: where the network is of no matter."""
    kind = f"image/{file.suffix[1:].replace('jpg', 'jpeg')}"
    page.route(DERAIN, lambda route: route.fulfill(body=file.read_bytes(), content_type=kind))


def wait_until(page: Any, condition: str) -> None:
    """Wait for an expression to be true; the page's policy forbids Playwright's way of doing so."""
    deadline = time.monotonic() + WAITING_SECONDS
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(50)


def save(page: Any, button: str) -> tuple[str, bytes]:
    """Click on what downloads a file; returns its name and content."""
    with page.expect_download() as waiting:
        page.click(button)
    download = waiting.value
    return download.suggested_filename, Path(download.path()).read_bytes()


def pixels(content: bytes | Path) -> Pixels:
    """The pixels of a picture file, (height, width, 3) uint8."""
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB"))


def screen(page: Any, selector: str = "#sheet") -> Pixels:
    """The pixels that an element has on the screen once all of it is drawn."""
    settle(page)
    page.wait_for_timeout(50)  # for a frame to be painted
    return pixels(page.locator(selector).screenshot(animations="disabled"))
