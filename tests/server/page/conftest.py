"""A running ``dpenet serve`` and a browser that looks at its page."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.server.page.screens import WAITING_SECONDS, write_rainy

MODEL = "universal-nano"
STARTING_SECONDS = 60
DESKTOP = {"width": 1280, "height": 860}
_ARGUMENTS = (
    "--no-sandbox",
    "--force-color-profile=srgb",  # so that pixels on the screen are those of the file
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page is."""
    log = tmp_path_factory.mktemp("server") / "log"
    command = (sys.executable, "-m", "dpenet", "serve", "--port", "0")
    options = ("--model", MODEL, "--threads", "1")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with log.open("w") as stderr:
        process = subprocess.Popen((*command, *options), env=environment, stderr=stderr)
    try:
        yield _announced(log, process)
    finally:
        process.terminate()
        process.wait()


def _announced(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that the log of a server tells once it listens."""
    for _ in range(10 * STARTING_SECONDS):
        found = re.search(r"Uvicorn running on (http://[\d.:]+)", log.read_text())
        if found:
            return found[1]
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"dpenet serve did not start: {log.read_text()}")


# Not of the whole session: while it is open an event loop runs, and other tests need their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Opens the page in a fresh profile; the options are those of Playwright's ``new_context``.

    Afterwards nothing may have gone wrong in it: no error on the console (which is where violations
    of the Content-Security-Policy are told), no missing file, no request to anyone else.
    """
    complaints: list[str] = []

    def heard(message: Any) -> None:
        # What the API answers is the matter of the tests; missing files are found below.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def answered(answer: Any) -> None:
        if answer.status >= 400 and "/v1/" not in answer.url:
            complaints.append(f"{answer.status} for {answer.url}")

    def asked(request: Any) -> None:
        if not request.url.removeprefix("blob:").startswith(address):
            complaints.append(f"asked for {request.url}")

    @contextmanager
    def watched(**options: Any) -> Iterator[Any]:
        context = browser.new_context(
            **{"viewport": DESKTOP, "reduced_motion": "reduce", **options}
        )
        page = context.new_page()
        page.set_default_timeout(1000 * WAITING_SECONDS)
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("response", answered)
        page.on("request", asked)
        yield page
        context.close()

    contexts = []

    def open_page(
        prepare: Callable[[Any], None] | None = None,
        ready: str = "#model option",
        **options: Any,
    ) -> Any:
        context = watched(**options)
        contexts.append(context)
        page = context.__enter__()
        if prepare:
            prepare(page)
        page.goto(address)
        page.wait_for_selector(ready, state="attached")
        return page

    yield open_page
    for context in contexts:
        context.__exit__(None, None, None)
    assert complaints == []


@pytest.fixture
def rainy(tmp_path: Path) -> Path:
    """A picture file of 240 x 160 pixels: colours that change slowly, and bright streaks."""
    return write_rainy(tmp_path / "street.png")
