"""HEIC photos; what is kept of them is in test_format_table."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dpenet.errors import MissingExtraError, PictureError
from dpenet.media import images
from dpenet.media.images import read_picture, read_size

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)


def photo(**options: object) -> bytes:
    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(PIXELS)).save(buffer, quality=90, **options)
    return buffer.getvalue()


def test_without_the_extra_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.heic").write_bytes(photo())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for read in (read_picture, read_size):
        with pytest.raises(MissingExtraError, match=r"pip install 'dpenet\[heif\]'"):
            read(tmp_path / "a.heic")


def test_the_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    data = photo()
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 96 - 1)
    for read in (read_picture, read_size):
        with pytest.raises(PictureError, match="96 x 64 pixels are more"):
            read(data[:-200])


def test_the_size_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    (tmp_path / "a.heic").write_bytes(photo(exif=exif.tobytes()))
    for source in (tmp_path / "a.heic", (tmp_path / "a.heic").read_bytes()):
        assert read_size(source) == read_picture(source).pixels.shape[:2] == (96, 64)


@pytest.mark.parametrize("kept", [0.99, 0.5, 0.1])
def test_cut_off_photos_are_refused(kept: float) -> None:
    whole = photo()
    with pytest.raises(PictureError, match=r"this HEIC is damaged|not a picture"):
        read_picture(whole[: int(len(whole) * kept)])


WHOLE = photo()


@settings(max_examples=60)
@given(st.data())
def test_changed_bytes_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, 600) | st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    try:
        picture = read_picture(bytes(content))
    except PictureError as error:
        assert "\n" not in str(error)
    else:
        assert picture.pixels.ndim == 3
