"""The page serves everybody: on a phone, with a keyboard alone, in the dark, by ear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.server.page.screens import add_files, answer_with, open_tile, settle, write_rainy

Visit = Callable[..., Any]


PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
TARGET = 40  # pixels that a finger needs
CONTROLS = "button, a[href], input, select, summary, [role=slider]"
READABLE, DISCERNIBLE = 4.5, 3.0  # contrast ratios of WCAG 2.2: 1.4.3 and 1.4.11

# What of the page is in sight, with the size of what can be pressed: that of the label, if a label
# stands for an invisible input.
CONTROLS_IN_SIGHT = """(selector) => [...document.querySelectorAll(selector)]
  .filter((element) => element.checkVisibility({visibilityProperty: true}))
  .filter((element) => !element.closest(".hidden") && !element.classList.contains("hidden"))
  .map((element) => {
    const target = element.matches("[type=radio]") ? element.closest("label") : element;
    const { width, height } = target.getBoundingClientRect();
    const inText = element.matches("li a");
    return { what: element.outerHTML.slice(0, 90), width, height, inText };
  })"""

# The contrast of every text in sight with what is behind it, and of the edges of fields.
CONTRASTS = """() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((value) => {
      value /= 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgba(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
      if (colour[3] > 0) return null; // over a picture
    }
    return rgba("Canvas");
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const { color, borderTopColor, borderTopWidth } = getComputedStyle(element);
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    if (element.closest(":disabled, #download:not([href])")) continue;
    const what = element.outerHTML.slice(0, 90);
    const back = behind(element);
    const hasText = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if ((hasText || element.matches("svg")) && back)
      found.push({ what, kind: hasText ? "text" : "edge", ratio: ratio(rgba(color), back) });
    const around = element.parentElement && behind(element.parentElement);
    if (element.matches("select, input[type=password]") && borderTopWidth !== "0px" && around)
      found.push({ what, kind: "edge", ratio: ratio(rgba(borderTopColor), around) });
  }
  return found;
}"""


def assert_fits(page: Any) -> None:
    """Nothing stands out to the side, and fingers find what can be pressed."""
    width = page.viewport_size["width"]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    controls = page.evaluate(CONTROLS_IN_SIGHT, CONTROLS)
    assert len(controls) >= 5
    small = [
        control
        for control in controls
        if min(control["width"], control["height"]) < TARGET and not control["inText"]
    ]
    assert small == []


@pytest.mark.parametrize("width", [pytest.param(320, marks=pytest.mark.slow), 360])
def test_on_a_phone(visit: Visit, tmp_path: Path, width: int) -> None:
    page = visit(**{**PHONE, "viewport": {"width": width, "height": 640}})
    assert_fits(page)
    files = [write_rainy(tmp_path / f"{name}.jpg") for name in ("a-street-in-the-rain-" * 5, "b")]
    answer_with(page, files[0])
    add_files(page, *files)
    assert_fits(page)
    # A finger moves the divider.
    page.tap("#stage", position={"x": width * 0.25, "y": 60})
    assert page.get_attribute("#split", "aria-valuenow") == "25"


@pytest.mark.slow
def test_two_fingers_zoom(visit: Visit, tmp_path: Path) -> None:
    page = visit(**PHONE)
    file = write_rainy(tmp_path / "street.jpg")
    answer_with(page, file)
    add_files(page, file)
    stage = page.locator("#stage").bounding_box()
    x, y = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *offsets: float) -> None:
        points = [{"x": x + offset, "y": y, "id": i} for i, offset in enumerate(offsets)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = page.locator("#sheet").bounding_box()
    touch("touchStart", -40, 40)
    for spread in (50, 60, 70, 80):
        touch("touchMove", -spread, spread)
    touch("touchEnd")
    after = page.locator("#sheet").bounding_box()
    assert after["width"] == pytest.approx(2 * before["width"], rel=0.02)
    # What was between the fingers is still there.
    assert after["x"] + after["width"] / 2 == pytest.approx(x, abs=2)
    # One finger then moves the picture.
    touch("touchStart", 60)
    touch("touchMove", 30)
    touch("touchMove", 0)
    touch("touchEnd")
    moved = page.locator("#sheet").bounding_box()
    assert moved["x"] == pytest.approx(after["x"] - 60, abs=2)


@pytest.mark.slow
def test_zoom_and_pan_with_the_mouse(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    file = write_rainy(tmp_path / "large.png", width=1600, height=1200)
    answer_with(page, file)
    add_files(page, file)
    assert page.get_attribute("#zoom-fit", "aria-pressed") == "true"
    sheet = page.locator("#sheet")
    fitted = sheet.bounding_box()
    at = {"x": fitted["x"] + fitted["width"] * 0.25, "y": fitted["y"] + fitted["height"] * 0.25}
    page.mouse.move(at["x"], at["y"])
    page.mouse.wheel(0, -300)
    page.locator("#zoom-fit[aria-pressed=false]").wait_for()
    zoomed = sheet.bounding_box()
    assert zoomed["width"] > 1.5 * fitted["width"]
    # The point under the mouse stays where it is.
    assert at["x"] - zoomed["x"] == pytest.approx(zoomed["width"] * 0.25, abs=2)
    assert at["y"] - zoomed["y"] == pytest.approx(zoomed["height"] * 0.25, abs=2)
    page.mouse.down()
    page.mouse.move(at["x"] + 30, at["y"] + 20, steps=3)
    page.mouse.up()
    moved = sheet.bounding_box()
    assert moved["x"] - zoomed["x"] == pytest.approx(30, abs=1)
    assert moved["y"] - zoomed["y"] == pytest.approx(20, abs=1)
    # No gap opens, however far it is dragged.
    page.mouse.down()
    page.mouse.move(at["x"] + 3000, at["y"] + 3000)
    page.mouse.up()
    stage = page.locator("#stage").bounding_box()
    assert sheet.bounding_box()["x"] == pytest.approx(stage["x"], abs=1)
    page.mouse.dblclick(at["x"], at["y"])
    assert sheet.bounding_box() == fitted
    page.mouse.dblclick(at["x"], at["y"])
    assert sheet.bounding_box()["width"] == 1600


def test_with_the_keyboard_alone(visit: Visit) -> None:
    page = visit()

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                focused = "getComputedStyle(document.activeElement).outlineStyle"
                assert page.evaluate(focused) != "none" or selector == "#split"
                return
        pytest.fail(f"Tab does not reach {selector}")

    tab_to("[data-example=boats]")
    page.keyboard.press("Enter")
    page.locator('.tile[data-state="done"]').wait_for()
    settle(page)
    tab_to("#model")
    tab_to("#remove")
    for _ in range(40):  # and back
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.id") == "split":
            break
    page.keyboard.press("Home")
    assert page.get_attribute("#split", "aria-valuenow") == "0"
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.id") == "stage"
    page.keyboard.press("1")
    assert page.inner_text("#zoom") == "100 %"
    for _ in range(6):
        page.keyboard.press("+")
    before = page.locator("#sheet").bounding_box()
    page.keyboard.press("ArrowRight")
    assert page.locator("#sheet").bounding_box()["x"] < before["x"]
    tab_to("[name=view]")
    page.keyboard.press("ArrowRight")
    assert page.locator("[value=before]").is_checked()
    tab_to("#download")
    with page.expect_download() as waiting:
        page.keyboard.press("Enter")
    assert waiting.value.suggested_filename == "boats.derained.jpg"
    tab_to("#remove")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.matches('.choose')")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_everything_can_be_read(visit: Visit, tmp_path: Path, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    page.click("summary")
    seen = page.evaluate(CONTRASTS)
    text = tmp_path / "notes.txt"
    text.write_text("rain")
    add_files(page, write_rainy(tmp_path / "a.jpg"), write_rainy(tmp_path / "b.jpg"), text)
    for tile in (0, 2):
        open_tile(page, tile)
        page.mouse.move(0, 0)
        seen += page.evaluate(CONTRASTS)
    page.evaluate("document.getElementById('login').showModal()")
    seen += page.evaluate(CONTRASTS)
    assert sum(one["kind"] == "text" for one in seen) > 40
    assert sum(one["kind"] == "edge" for one in seen) > 10
    least = {"text": READABLE, "edge": DISCERNIBLE}
    assert [one for one in seen if one["ratio"] < least[one["kind"]]] == []


def test_everything_has_a_name(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    first = page.locator("main").aria_snapshot()
    files = [write_rainy(tmp_path / name) for name in ("a.jpg", "b.jpg")]
    answer_with(page, files[0])
    add_files(page, *files)
    second = page.locator("main").aria_snapshot()
    roles = ("button", "link", "textbox", "combobox", "slider", "radio", "img", "group", "list")
    for snapshot in (first, second):
        lines = [line.strip().removeprefix("- ").rstrip(":") for line in snapshot.splitlines()]
        assert len(lines) > 12
        assert [line for line in lines if line in roles if line != "list"] == []
    assert 'slider "Divider between before and after"' in second
    assert 'button "a.jpg, done"' in second
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.locator("h1:visible").count() == 1
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(({id}) => id)")
    assert len(ids) == len(set(ids))


@pytest.mark.slow
def test_the_theme_follows_the_system_until_one_is_chosen(visit: Visit) -> None:
    page = visit(color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(background)
    button = page.get_by_role("button", name="Dark theme")
    assert button.get_attribute("aria-pressed") == "true"
    page.emulate_media(color_scheme="light")
    light = page.evaluate(background)
    assert light != dark
    # The page hears of the change a moment after its styles do.
    page.locator("#theme[aria-pressed=false]").wait_for()
    button.click()
    assert page.evaluate(background) == dark
    page.reload()
    assert page.evaluate(background) == dark
