from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dpenet.errors import PictureError
from dpenet.evaluation import compare
from dpenet.evaluation.compare import write_comparison

Photo = NDArray[np.uint8]


@pytest.fixture
def pair(tmp_path: Path, photo: Photo) -> tuple[Path, Path]:
    """A picture and its darker result."""
    before, after = tmp_path / "x.png", tmp_path / "x.derained.png"
    Image.fromarray(photo).save(before)
    Image.fromarray(photo // 2).save(after)
    return before, after


def embedded(page: str) -> dict[str, Image.Image]:
    """The pictures of a page, by what its reader is told that they are."""
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"[^>]* alt="(\w+)', page)
    return {name: Image.open(io.BytesIO(base64.b64decode(data))) for data, name in found}


def test_a_page_holds_both_pictures_and_needs_nothing_else(
    pair: tuple[Path, Path], tmp_path: Path, photo: Photo
) -> None:
    target = tmp_path / "x.compare.html"
    write_comparison(*pair, target)
    page = target.read_text(encoding="utf-8")
    shown = embedded(page)
    for name, wanted in (("before", photo), ("after", photo // 2)):
        assert np.abs(np.asarray(shown[name], np.int16) - wanted).mean() < 3
    assert "x.derained.png" in page and "83 x 61" in page
    without = re.sub(r"data:image/jpeg;base64,[^\"]+", "", page)
    assert not re.findall(r"https?:|//\w|@import|url\(|<link|src=\"[^\"]", without)


def test_a_picture_has_both_side_by_side(
    pair: tuple[Path, Path], tmp_path: Path, photo: Photo
) -> None:
    for before in (pair[0], pair[0].read_bytes()):
        write_comparison(before, pair[1], tmp_path / "x.compare.png", overwrite=True)
        both = np.asarray(Image.open(tmp_path / "x.compare.png"))
        np.testing.assert_array_equal(both, np.hstack((photo, photo // 2)))


def test_a_name_is_text_and_not_markup(pair: tuple[Path, Path], tmp_path: Path) -> None:
    after = pair[1].rename(tmp_path / "<b>&$width.png")
    write_comparison(pair[0], after, tmp_path / "x.html")
    assert "<h1>&lt;b&gt;&amp;$width.png</h1>" in (tmp_path / "x.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("dtype", "channels"), [("uint16", 3), ("uint16", 1), ("uint8", 1), ("uint8", 4)]
)
def test_any_picture_is_shown_as_it_looks(
    tmp_path: Path, photo: Photo, dtype: str, channels: int
) -> None:
    from dpenet.media.images import Picture, write_picture

    colours: Any = photo[:, :, : min(channels, 3)].astype(dtype) * (257 if dtype == "uint16" else 1)
    alpha = np.full(photo.shape[:2], 51, np.uint8) if channels == 4 else None
    path = tmp_path / "x.png"
    write_picture(Picture(colours, alpha), path)
    write_comparison(path, path, tmp_path / "x.compare.png")
    wanted = np.broadcast_to(photo[:, :, : min(channels, 3)], photo.shape)
    if alpha is not None:
        wanted = np.rint(255 - (255 - wanted.astype(float)) * 0.2)
    both = np.asarray(Image.open(tmp_path / "x.compare.png"), np.int16)
    assert np.abs(both - np.hstack((wanted, wanted))).max() <= 1


def test_colours_of_a_wide_gamut_look_the_same(tmp_path: Path) -> None:
    """A profile whose red and green are exchanged: pure red means pure green."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = srgb.index(b"rXYZ"), srgb.index(b"gXYZ")
    srgb[red : red + 4], srgb[green : green + 4] = b"gXYZ", b"rXYZ"
    path = tmp_path / "x.png"
    Image.new("RGB", (20, 10), (255, 0, 0)).save(path, icc_profile=bytes(srgb))
    write_comparison(path, path, tmp_path / "x.compare.png")
    both = np.asarray(Image.open(tmp_path / "x.compare.png"), np.int16)
    assert np.abs(both - (0, 255, 0)).max() <= 2
    Image.new("RGB", (20, 10), (255, 0, 0)).save(path, icc_profile=b"no profile")
    write_comparison(path, path, tmp_path / "x.compare.png", overwrite=True)
    assert np.asarray(Image.open(tmp_path / "x.compare.png")).max(axis=(0, 1)).tolist() == [
        255,
        0,
        0,
    ]


def test_the_first_of_several_pages_is_shown(tmp_path: Path, photo: Photo) -> None:
    pages = [Image.fromarray(photo), Image.fromarray(photo // 2)]
    path = tmp_path / "x.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    write_comparison(path, path, tmp_path / "x.compare.png")
    both = np.asarray(Image.open(tmp_path / "x.compare.png"))
    np.testing.assert_array_equal(both, np.hstack((photo, photo)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp"])
def test_large_pictures_are_made_smaller(
    tmp_path: Path, photo: Photo, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare, "LONGEST", 40)
    smooth = Image.fromarray(photo).resize((800, 600), Image.Resampling.BICUBIC)
    path = tmp_path / f"x.{suffix}"
    smooth.save(path)
    write_comparison(path, path, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert "800 x 600, made smaller here" in page
    wanted = np.asarray(smooth.resize((40, 30), Image.Resampling.BOX), np.int16)
    assert np.abs(np.asarray(embedded(page)["after"], np.int16) - wanted).mean() < 4


def test_what_cannot_be_is_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = pair
    target = tmp_path / "x.html"
    with pytest.raises(PictureError, match="cannot be read"):
        write_comparison(before, tmp_path / "none.png", target)
    with Image.open(before) as image:
        image.resize((10, 10)).save(after)
    with pytest.raises(PictureError, match="another size"):
        write_comparison(before, after, target)
    assert not target.exists()
    target.write_text("mine")
    with pytest.raises(PictureError, match="exists already"):
        write_comparison(before, before, target)
    assert target.read_text() == "mine"


@pytest.mark.slow
def test_the_slider_follows_mouse_touch_and_keys(pair: tuple[Path, Path], tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Chromium")
    from playwright.sync_api import sync_playwright

    write_comparison(*pair, tmp_path / "x.compare.html")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_context(has_touch=True, offline=True).new_page()
        page.goto((tmp_path / "x.compare.html").as_uri())
        box = page.locator("#stage").bounding_box()
        assert box is not None

        def at(share: float) -> tuple[float, float]:
            return box["x"] + share * box["width"], box["y"] + box["height"] / 2

        def shown() -> float:
            return float(page.evaluate("parseFloat(stage.style.getPropertyValue('--at'))"))

        assert shown() == 50
        page.mouse.move(*at(0.5))
        page.mouse.down()
        page.mouse.move(*at(0.2))
        page.mouse.up()
        assert shown() == pytest.approx(20, abs=1)
        page.mouse.move(*at(0.8))  # with no button pressed
        assert shown() == pytest.approx(20, abs=1)
        page.keyboard.press("ArrowRight")
        assert 20 < shown() < 30
        page.keyboard.press("End")
        assert shown() == 100
        page.touchscreen.tap(*at(0.7))
        assert shown() == pytest.approx(70, abs=1)
        # The line parts rain on the left from the darker result on the right.
        image = Image.open(io.BytesIO(page.locator("#stage").screenshot())).convert("L")
        browser.close()
    seen, rainy = np.asarray(image, float), Image.open(pair[0]).convert("L").resize(image.size)
    ratio = seen[image.height // 2 :] / np.maximum(1, np.asarray(rainy)[image.height // 2 :])
    assert np.median(ratio[:, : int(0.6 * image.width)]) == pytest.approx(1, abs=0.05)
    assert np.median(ratio[:, int(0.8 * image.width) :]) == pytest.approx(0.5, abs=0.05)
