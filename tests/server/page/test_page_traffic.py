"""The page and the server: what is told while it works, and what happens when it cannot."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.clipmaking import make_clip
from tests.server.page.screens import (
    DERAIN,
    add_files,
    answer_with,
    open_tile,
    save,
    screen,
    settle,
    wait_until,
    write_rainy,
)

pytestmark = pytest.mark.slow
Visit = Callable[..., Any]

# Hands a file to the page as a drop or a paste would.
HAND_OVER = """([type, name, bytes]) => {
  const transfer = new DataTransfer();
  transfer.items.add(new File([Uint8Array.from(bytes)], name, { type: "image/png" }));
  const init = { bubbles: true, cancelable: true };
  for (const kind of type === "drop" ? ["dragenter", "dragover", "drop"] : ["paste"])
    document.querySelector("main").dispatchEvent(kind === "paste"
      ? new ClipboardEvent(kind, { ...init, clipboardData: transfer })
      : new DragEvent(kind, { ...init, dataTransfer: transfer }));
}"""


def refuse(route: Any, status: int, message: str, **headers: str) -> None:
    """Answer as the server does when it says no."""
    error = {"code": "refused", "message": message, "request_id": "1"}
    route.fulfill(
        status=status,
        content_type="application/json",
        body=json.dumps({"error": error}),
        headers=headers,
    )


def test_it_says_what_is_going_on_and_can_be_stopped(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    held: list[Any] = []

    def hold_the_first(route: Any) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)  # is not answered until it is stopped

    page.route(DERAIN, hold_the_first)
    files = [write_rainy(tmp_path / f"{name}.png") for name in "abc"]
    page.set_input_files("#files", [str(file) for file in files])
    page.get_by_text("Removing rain").or_(page.get_by_text("Uploading")).wait_for()
    assert page.locator("#download").get_attribute("href") is None
    open_tile(page, 2)
    assert page.inner_text("#work-text") == "Queued, 2 before it"
    page.click("#cancel")
    assert page.get_by_role("button", name="c.png, cancelled").is_visible()
    page.click(".tile >> nth=0")
    with page.expect_event("requestfailed") as failed:
        page.click("#cancel")
    assert "/v1/derain" in failed.value.url
    page.locator("#notice", has_text="Cancelled").wait_for()
    # The next has its turn, and what was stopped can be begun again.
    page.get_by_role("button", name="b.png, done").wait_for()
    open_tile(page, 2)
    page.click("#again")
    page.get_by_role("button", name="c.png, done").wait_for()
    settle(page)
    assert page.locator("#notice").is_hidden()


def test_a_busy_server_is_asked_again(visit: Visit, tmp_path: Path) -> None:
    asked: list[str] = []
    seen = False

    def busy(route: Any) -> None:
        asked.append(route.request.url)
        if not seen:
            refuse(route, 503, "all places are taken; try again", **{"Retry-After": "1"})
        else:
            route.continue_()

    page = visit(lambda page: page.route(DERAIN, busy))
    page.set_input_files("#files", str(write_rainy(tmp_path / "a.png")))
    page.get_by_text("The server is busy").wait_for()
    seen = True
    page.get_by_role("button", name="a.png, done").wait_for()
    assert len(asked) >= 2


def test_a_broken_connection_is_told(visit: Visit, tmp_path: Path) -> None:
    page = visit(lambda page: page.route(DERAIN, lambda route: route.abort("connectionreset")))
    add_files(page, write_rainy(tmp_path / "a.png"))
    assert "The connection broke" in page.inner_text("#notice")
    page.unroute_all()
    page.click("text=Try again")
    page.get_by_role("button", name="a.png, done").wait_for()


def test_a_token_is_asked_for_once(visit: Visit, tmp_path: Path) -> None:
    tried: list[str | None] = []

    def guard(route: Any) -> None:
        tried.append(route.request.headers.get("authorization"))
        if tried[-1] == "Bearer sesame, open!":
            route.continue_()
        else:
            refuse(route, 401, "send the token: Authorization: Bearer TOKEN")

    page = visit(lambda page: page.route("**/v1/**", guard), ready="#login[open]")
    refused = page.get_by_text("That token was not accepted")
    assert page.evaluate("document.activeElement.id") == "token"
    assert refused.is_hidden()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    refused.wait_for()
    page.fill("#token", "sesame, open!")
    page.click("text=Continue")
    page.wait_for_selector("#model option", state="attached")
    assert tried == [None, "Bearer wrong", "Bearer sesame, open!"]
    add_files(page, write_rainy(tmp_path / "a.png"))
    assert page.get_by_role("button", name="a.png, done").is_visible()
    page.reload()
    page.wait_for_selector("#model option", state="attached")
    assert page.locator("#login[open]").count() == 0


def test_who_has_no_token_is_told_so(visit: Visit, tmp_path: Path) -> None:
    def guard(route: Any) -> None:
        refuse(route, 401, "send the token: Authorization: Bearer TOKEN")

    page = visit(lambda page: page.route("**/v1/**", guard), ready="#login[open]")
    page.locator("#login").get_by_role("button", name="Cancel").click()
    page.get_by_text("Without a token").wait_for()
    # It is asked for again where it is needed.
    page.set_input_files("#files", str(write_rainy(tmp_path / "a.png")))
    page.locator("#login[open]").wait_for()
    page.keyboard.press("Escape")
    page.locator("#notice", has_text="send the token").wait_for()


@pytest.mark.parametrize("way", ["an error", "no answer"])
def test_an_example_that_cannot_be_fetched_is_told(visit: Visit, way: str) -> None:
    page = visit()

    def fail(route: Any) -> None:
        if way == "an error":
            route.fulfill(status=300, body="")  # from 400 on it counts as a missing file
        else:
            route.abort()

    page.route("**/examples/*.jpg", fail)
    page.click("[data-example=boats]")
    page.get_by_text("The example could not be fetched").wait_for()
    assert page.evaluate("document.body.dataset.view") == "welcome"


def test_what_is_too_large_is_not_sent(visit: Visit, tmp_path: Path) -> None:
    def small(route: Any) -> None:
        offer = route.fetch().json()
        route.fulfill(json={**offer, "max_bytes": 5_000_000})

    sent: list[str] = []
    page = visit(lambda page: page.route("**/v1/models", small))
    page.on("request", lambda request: sent.append(request.url))
    large = tmp_path / "large.png"
    large.write_bytes(bytes(5_100_000))
    add_files(page, large)
    assert "has 5.1 MB, and the server takes 5.0 MB" in page.inner_text("#notice p")
    assert not [url for url in sent if "/v1/derain" in url]


@pytest.mark.parametrize("taken", [True, False])
def test_it_says_whether_heic_photos_are_taken(visit: Visit, taken: bool) -> None:
    def offer(route: Any) -> None:
        route.fulfill(json={**route.fetch().json(), "heic": taken})

    page = visit(lambda page: page.route("**/v1/models", offer))
    assert page.get_by_text("HEIC photos are not taken").is_visible() is not taken
    assert (".heic" in page.get_attribute("#files", "accept")) is taken


def test_clips_play_side_by_side(visit: Visit, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "street.mp4")
    page = visit()
    assert "Drop pictures or clips here" in page.inner_text(".lead")
    add_files(page, clip)
    before, after = (f"document.getElementById('clip-{name}')" for name in ("before", "after"))
    wait_until(page, f"{before}.videoWidth > 0 && {after}.videoWidth > 0")
    assert page.evaluate(f"{before}.videoWidth") == page.evaluate(f"{after}.videoWidth")
    page.evaluate(f"{before}.currentTime = {before}.duration / 2")
    wait_until(page, f"{after}.currentTime > 0 && {after}.currentTime === {before}.currentTime")
    assert page.locator("#stage").is_hidden()
    assert page.locator("#notice").is_hidden()
    name, saved = save(page, "#download")
    assert name == "street.derained.mp4"
    assert saved[4:8] == b"ftyp"


def test_dropped_and_pasted_pictures(visit: Visit, rainy: Path) -> None:
    page = visit()
    content = list(rainy.read_bytes())
    for count, way in enumerate(("drop", "paste")):
        page.evaluate(HAND_OVER, [way, f"{way}.png", content])
        page.get_by_role("button", name=f"{way}.png, done").wait_for()
        assert page.locator(".tile[data-state]").count() == count + 1
    assert page.locator("#veil.open").count() == 0


def test_the_camera(visit: Visit, rainy: Path) -> None:
    page = visit(permissions=["camera"])
    answer_with(page, rainy)
    page.get_by_role("button", name="Take one").click()
    wait_until(page, "document.getElementById('finder').videoWidth > 0")
    page.get_by_role("button", name="Take it").click()
    page.locator('.tile[data-state="done"]').wait_for()
    settle(page)
    assert page.inner_text("#name").startswith("camera-")
    assert "JPEG" in page.inner_text("#facts")
    page.get_by_role("radio", name="Before").check()
    assert screen(page).std() > 10  # Chromium's own test pattern
    page.locator("#camera").wait_for(state="hidden")
    assert page.evaluate("document.getElementById('finder').srcObject") is None


# Remembers the streams of the camera, which starts only when it is told to.
SLOW_CAMERA = """() => {
  window.streams = [];
  const { mediaDevices } = navigator;
  const ask = mediaDevices.getUserMedia.bind(mediaDevices);
  mediaDevices.getUserMedia = async (wanted) => {
    const stream = await ask(wanted);
    streams.push(stream);
    return stream;
  };
  const play = HTMLMediaElement.prototype.play;
  const told = new Promise((resolve) => { window.startCamera = resolve; });
  HTMLMediaElement.prototype.play = async function () {
    await told;
    return play.call(this);
  };
}"""
IS_OFF = """streams.length === 1
    && streams[0].getTracks().every((track) => track.readyState === "ended")
    && document.getElementById("finder").srcObject === null"""


@pytest.mark.parametrize("way", ["Escape", "Cancel"])
@pytest.mark.parametrize("started", [False, True], ids=["before it starts", "once it runs"])
def test_who_thinks_better_of_it_takes_no_picture(visit: Visit, way: str, started: bool) -> None:
    page = visit(permissions=["camera"])
    page.evaluate(SLOW_CAMERA)
    page.get_by_role("button", name="Take one").click()
    page.locator("#camera[open]").wait_for()
    assert page.locator("#shoot").is_disabled()
    if started:
        page.evaluate("startCamera()")
        wait_until(page, "!document.getElementById('shoot').disabled")
    if way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.locator("#camera").get_by_role("button", name="Cancel").click()
    page.locator("#camera").wait_for(state="hidden")
    wait_until(page, IS_OFF)
    if not started:
        page.evaluate("startCamera()")
    assert page.evaluate("document.body.dataset.view") == "welcome"


def test_a_camera_that_does_not_start_is_told(visit: Visit) -> None:
    page = visit(permissions=["camera"])
    page.evaluate(SLOW_CAMERA)
    page.get_by_role("button", name="Take one").click()
    page.locator("#camera[open]").wait_for()
    page.evaluate("startCamera(Promise.reject(new Error('it is in use')))")
    page.get_by_text("The camera cannot be used: it is in use").wait_for()
    page.locator("#camera").wait_for(state="hidden")
    wait_until(page, IS_OFF)
