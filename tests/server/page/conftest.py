"""A running ``dpenet serve`` and a browser that looks at its page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.server.page.screens import WAITING_SECONDS, write_rainy
from tests.server.services import MakeLive

DESKTOP = {"width": 1280, "height": 860}
_ARGUMENTS = (
    "--no-sandbox",
    "--force-color-profile=srgb",  # so that pixels on the screen are those of the file
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@pytest.fixture(scope="session")
def address(make_live: MakeLive) -> Iterator[str]:
    """Where the page is."""
    with make_live(threads=1) as live:
        yield live.address


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
