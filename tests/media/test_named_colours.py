from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.errors import PictureError
from dpenet.media.bands import read_header
from dpenet.media.images import encode_picture, read_picture
from dpenet.media.profiles import profile_of

Array = NDArray[Any]

# From the primaries of Display P3 to those of sRGB, both with the white point D65, in linear light.
TO_SRGB = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])


def png(pixels: Array, primaries: int, transfer: int) -> bytes:
    """With the chunk cICP of PNG's third edition after its header."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    data, chunk = buffer.getvalue(), b"cICP" + bytes([primaries, transfer, 0, 1])
    chunk = struct.pack(">I", 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + chunk + data[33:]


def avif(pixels: Array, primaries: int, transfer: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "avif", quality=100, subsampling="4:4:4")
    data = buffer.getvalue()
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


def heic(pixels: Array, primaries: int, transfer: int) -> bytes:
    buffer = io.BytesIO()
    named = {"color_primaries": primaries, "transfer_characteristics": transfer}
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=99, chroma=444, **named)
    return buffer.getvalue()


KINDS = {"png": png, "avif": avif, "heic": heic}


@pytest.mark.parametrize("kind", KINDS)
def test_display_p3_gets_its_profile(kind: str) -> None:
    colour = np.array([200, 120, 80], np.uint8) * np.ones((16, 16, 1), np.uint8)
    picture = read_picture(KINDS[kind](colour, 12, 13))
    profile = profile_of(picture.info.icc, 3)
    assert profile is not None
    light = ((colour[0, 0] / 255 + 0.055) / 1.055) ** 2.4
    wanted = 1.055 * (TO_SRGB @ light) ** (1 / 2.4) - 0.055
    seen = profile.to_srgb(picture.pixels)[8, 8] / 65535
    np.testing.assert_allclose(seen, wanted, atol=0.01)
    assert read_picture(encode_picture(picture, "jpeg")).info.icc == picture.info.icc


@pytest.mark.parametrize("kind", KINDS)
def test_colours_of_srgb_need_no_profile(kind: str) -> None:
    assert read_picture(KINDS[kind](np.zeros((16, 16, 3), np.uint8), 1, 13)).info.icc is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("transfer", "said"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused(tmp_path: Path, kind: str, transfer: int, said: str) -> None:
    path = tmp_path / f"a.{kind}"
    path.write_bytes(KINDS[kind](np.zeros((16, 16, 3), np.uint8), 9, transfer))
    reads: list[Any] = [read_picture, read_header]
    for read in reads[: 2 if kind == "png" else 1]:
        with pytest.raises(PictureError, match=rf"a\.{kind}: is an HDR picture \({said}\).*SDR"):
            read(path)
