"""The page does what it is for: pictures in, compared on the screen, and saved."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.server.page.screens import (
    Pixels,
    add_files,
    answer_with,
    open_tile,
    pixels,
    save,
    screen,
    settle,
    write_rainy,
)

from dpenet.cli.app import main

MODEL = "universal-nano"
Visit = Callable[..., Any]
# Grip and labels are drawn over the picture, and so is the line with its shadow.
LINE = 3


def derain(source: Path, *options: str) -> bytes:
    """What `dpenet derain` makes of a file."""
    target = source.with_name(f"expected{source.suffix}")
    with pytest.raises(SystemExit) as stop:
        main(["derain", str(source), "-o", str(target), "-m", MODEL, "--overwrite", *options])
    assert stop.value.code == 0
    return target.read_bytes()


def assert_divided(page: Any, before: Pixels, after: Pixels, share: float) -> None:
    """At 100 %, the screen shows the first picture left of the divider, the second to its right."""
    shown = screen(page)
    height, width, _ = before.shape
    line = round(share * width)
    rows = slice(height * 3 // 4, None)  # below the grip and the labels
    left, right = slice(0, max(0, line - LINE)), slice(line + LINE, None)
    assert np.array_equal(shown[rows, left], before[rows, left])
    assert np.array_equal(shown[rows, right], after[rows, right])


def test_the_divider_follows_the_mouse(visit: Visit, rainy: Path) -> None:
    page = visit()
    add_files(page, rainy)
    _, saved = save(page, "#download")
    before, after = pixels(rainy), pixels(saved)
    assert not np.array_equal(before, after)
    page.click("#zoom-full")
    assert page.inner_text("#zoom") == "100 %"
    assert_divided(page, before, after, 0.5)

    grip = page.locator(".grip").bounding_box()
    sheet = page.locator("#sheet").bounding_box()
    y = grip["y"] + grip["height"] / 2
    page.mouse.move(grip["x"] + grip["width"] / 2, y)
    page.mouse.down()
    page.mouse.move(sheet["x"] + sheet["width"] / 4, y, steps=4)
    page.mouse.up()
    assert_divided(page, before, after, 0.25)
    # All of the picture is in sight: a press anywhere takes the divider there.
    page.mouse.click(sheet["x"] + sheet["width"] * 0.75, y)
    assert_divided(page, before, after, 0.75)


def test_the_divider_obeys_the_keyboard(visit: Visit, rainy: Path) -> None:
    page = visit()
    add_files(page, rainy)
    before, after = pixels(rainy), pixels(save(page, "#download")[1])
    split = page.get_by_role("slider", name="Divider")
    split.focus()
    page.keyboard.press("1")  # 100 %
    for key, percent in (
        ("ArrowLeft", 49),
        ("Shift+ArrowRight", 59),
        ("PageUp", 69),
        ("ArrowDown", 68),
        ("Home", 0),
        ("ArrowLeft", 0),
        ("End", 100),
    ):
        page.keyboard.press(key)
        assert split.get_attribute("aria-valuenow") == str(percent)
        assert_divided(page, before, after, percent / 100)


def test_each_view_shows_its_own(visit: Visit, rainy: Path) -> None:
    page = visit()
    add_files(page, rainy)
    before, after = pixels(rainy), pixels(save(page, "#download")[1])
    page.click("#zoom-full")
    removed = np.maximum(before, after) - after
    for name, expected in (("Before", before), ("After", after), ("Rain", removed)):
        page.get_by_role("radio", name=name).check()
        assert np.array_equal(screen(page), expected), name


def test_what_is_saved_is_what_the_command_writes(visit: Visit, tmp_path: Path) -> None:
    source = tmp_path / "street.jpg"
    picture = Image.open(write_rainy(tmp_path / "street.png"))
    exif = picture.getexif()
    exif[0x010E] = "a street"
    exif[0x0112] = 6  # to be turned
    picture.save(source, quality=92, exif=exif)
    page = visit()
    add_files(page, source)
    name, saved = save(page, "#download")
    assert name == "street.derained.jpg"
    assert np.array_equal(pixels(saved), pixels(derain(source)))
    assert Image.open(io.BytesIO(saved)).getexif()[0x010E] == "a street"


@pytest.mark.slow
def test_the_settings_reach_the_server(visit: Visit, rainy: Path) -> None:
    page = visit()
    add_files(page, rainy)
    first = save(page, "#download")[1]
    assert page.locator("#again").is_hidden()
    page.select_option("#precision", "fp32")
    page.locator("#strength").fill("60")
    page.get_by_role("button", name="Derain again").click()
    page.locator("#facts", has_text="fp32").wait_for()
    saved = pixels(save(page, "#download")[1])
    assert not np.array_equal(saved, pixels(first))
    assert np.array_equal(saved, pixels(derain(rainy, "--precision", "fp32", "--strength", "0.6")))


@pytest.mark.slow
def test_only_what_the_server_offers_can_be_chosen(visit: Visit, address: str) -> None:
    page = visit()
    offer = page.request.get(f"{address}/v1/models").json()["models"]
    assert offer[0]["name"] == MODEL == page.input_value("#model")
    assert page.locator("#model option").all_inner_texts() == [model["name"] for model in offer]
    for model in offer:
        page.select_option("#model", model["name"], force=True)
        shown = page.locator("#precision option").all_inner_texts()
        assert shown == ["automatic", *model["precisions"]]


def test_all_are_saved_in_one_archive(visit: Visit, tmp_path: Path) -> None:
    sources = []
    for seed, name in enumerate(("a/street.png", "b/street.png", "b/Ümläut 雨.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sources.append(write_rainy(tmp_path / name, seed))
    page = visit()
    add_files(page, sources[0])
    assert page.locator("#download-all").is_hidden()
    add_files(page, *sources[1:])
    name, saved = save(page, "#download-all")
    assert name == "derained.zip"
    with zipfile.ZipFile(io.BytesIO(saved)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [
            "street.derained.png",
            "street.derained (2).png",
            "Ümläut 雨.derained.jpg",
        ]
        for source, entry in zip(sources, archive.infolist(), strict=True):
            assert np.array_equal(pixels(archive.read(entry)), pixels(derain(source)))
            assert abs(entry.date_time[0] - 2026) < 100
    # Each of them can be looked at.
    open_tile(page, 1)
    assert page.inner_text("#name") == "street.png"
    assert save(page, "#download")[1] == zipfile.ZipFile(io.BytesIO(saved)).read(
        "street.derained (2).png"
    )


def test_a_bad_file_says_why_and_the_others_go_on(visit: Visit, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(write_rainy(tmp_path / "whole.png").read_bytes()[:900])
    text = tmp_path / "notes.txt"
    text.write_text("rain")
    page = visit()
    add_files(page, broken, text, write_rainy(tmp_path / "good.webp"))
    for at, (name, reason) in enumerate((("broken.png", "picture"), ("notes.txt", "no picture"))):
        open_tile(page, at)
        assert page.inner_text("#name") == name
        notice = page.locator("#notice")
        assert "The rain was not removed" in notice.inner_text()
        assert reason in notice.inner_text().lower()
        assert page.get_by_role("button", name=f"{name}, failed").is_visible()
        assert page.locator("#download").is_hidden()
    open_tile(page, 2)
    assert page.locator("#notice").is_hidden()
    assert save(page, "#download")[0] == "good.derained.webp"


@pytest.mark.slow
def test_an_example_needs_one_click(visit: Visit) -> None:
    page = visit()
    page.click("[data-example=pagoda]")
    page.locator('.tile[data-state="done"]').wait_for()
    settle(page)
    assert "640 \N{MULTIPLICATION SIGN} 427 · JPEG" in page.inner_text("#facts")
    assert f"{MODEL} · " in page.inner_text("#facts")
    assert page.evaluate("document.activeElement.id") == "name"
    # It is announced to those who do not see it.
    assert page.inner_text("#live") == "pagoda.jpg: the rain is removed"
    page.get_by_role("button", name="Remove from the list").click()
    assert page.get_by_role("heading", name="Take the rain out").is_visible()


@pytest.mark.slow
def test_what_the_browser_cannot_show_is_derained_all_the_same(
    visit: Visit, tmp_path: Path
) -> None:
    source = write_rainy(tmp_path / "scan.tif")
    page = visit()
    add_files(page, source)
    assert "Browsers cannot show TIFF files" in page.inner_text("#notice")
    name, saved = save(page, "#download")
    assert name == "scan.derained.tif"
    assert np.array_equal(pixels(saved), pixels(derain(source)))
    # If what comes back can be shown, it is: as the only view.
    answer_with(page, write_rainy(tmp_path / "shown.png"))
    page.select_option("#precision", "fp32")
    page.get_by_role("button", name="Derain again").click()
    page.locator("#notice").wait_for(state="hidden")
    page.click("#zoom-full")
    assert np.array_equal(screen(page), pixels(tmp_path / "shown.png"))
    assert save(page, "#download")[0] == "scan.derained.png"
