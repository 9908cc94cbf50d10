"""Each cell of the tables in docs/formats.md, looked up in files."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from dpenet.media.formats import FORMATS
from dpenet.media.images import Picture, encode_picture, read_picture
from dpenet.media.metadata import Metadata, upright

Array = NDArray[Any]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
NOTHING = "-"

Y, X = np.mgrid[0:64, 0:96]
RGB = np.clip(np.stack([X * 2.5, Y * 4, 255 - X * 2], axis=2), 0, 255).astype(np.uint8)
GREY = RGB[:, :, :1]
RGB16 = RGB.astype(np.uint16) * 256 + np.random.default_rng(0).integers(
    0, 256, RGB.shape, np.uint16
)
FLOATS = (RGB16 / 50000).astype(np.float32)  # some beyond 1
ALPHA = np.clip(X * 3, 0, 255).astype(np.uint8)
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><note>wet</note></x:xmpmeta>'
IPTC = b"8BIM\x04\x04\0\0" + struct.pack(">I", 10) + b"\x1c\x02\x78\x00\x05rainy"
DATE = "2024:01:02 03:04:05"


def cells() -> dict[tuple[str, str], str]:
    """Format and property to what the page says."""
    found = {}
    head: list[str] = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        row = [cell.strip() for cell in line.strip("|").split("|")] if line[:1] == "|" else []
        if not row:
            head = []
        elif not head:
            head = row
        elif set(row[0]) - set("-: "):
            for name, cell in zip(head[1:], row[1:], strict=True):
                found[row[0], name] = cell
    return found


def exif(orientation: int = 1) -> bytes:
    """A block with a date and a thumbnail."""
    block, small = Image.Exif(), io.BytesIO()
    block[0x0112], block[0x010F], block[0x0132] = orientation, "Maker", DATE
    data = block.tobytes().removeprefix(b"Exif\0\0")
    Image.fromarray(255 - RGB).save(small, "jpeg")
    order = "<" if data[:2] == b"II" else ">"
    (count,) = struct.unpack_from(order + "H", data, 8)
    link = 10 + 12 * count
    fields = (0x0201, 4, 1, len(data) + 30, 0x0202, 4, 1, len(small.getvalue()))
    second = struct.pack(order + "HHHIIHHIII", 2, *fields, 0)
    data = data[:link] + struct.pack(order + "I", len(data)) + data[link + 4 :] + second
    return data + small.getvalue()


def encoded(name: str, picture: Picture) -> bytes:
    """A file of a format; one that is only read is made by other means."""
    if name != "HEIC":
        return encode_picture(picture, name.lower())
    pixels, buffer = picture.pixels, io.BytesIO()
    if pixels.dtype != np.uint8:
        file: Any = pillow_heif.from_bytes("RGB;16", (96, 64), RGB16.tobytes())
    elif picture.alpha is not None:
        file = pillow_heif.from_pillow(Image.fromarray(np.dstack([pixels, picture.alpha])))
    else:
        file = pillow_heif.from_pillow(Image.fromarray(pixels.squeeze()))
    info = picture.info
    options = {"exif": info.exif, "xmp": info.xmp, "icc_profile": info.icc}
    file.save(buffer, quality=95, chroma=444, **{k: v for k, v in options.items() if v})
    return buffer.getvalue()


def again(name: str, picture: Picture) -> Picture:
    return read_picture(encoded(name, picture))


def share(samples: Array) -> Array:
    return samples / (1 if samples.dtype.kind == "f" else np.iinfo(samples.dtype).max)


def depth_of(name: str, pixels: Array) -> str:
    """How samples come back: exact, or with how many bits, and lossy if they are not even that."""
    found: Array = again(name, Picture(pixels)).pixels
    if found.dtype == pixels.dtype:
        if np.array_equal(found, pixels):
            return "exact"
        held = ""
    elif found.dtype.kind == "f":
        return "as floats" if np.allclose(found, share(pixels), atol=1e-6) else "lossy"
    else:
        held = f"{found.dtype.itemsize * 8} bits"
    error = np.abs(share(found) - np.clip(share(pixels), 0, 1))
    bits = {"AVIF": 12, "HEIC": 10}.get(name)
    if bits and found.dtype == np.uint16:
        held = f"{bits} bits"
        assert not (found >> (16 - bits) << (16 - bits) | found >> bits != found).any()
    exact = bool(error.max() <= 0.51 / np.iinfo(found.dtype).max)
    assert error.mean() < (0.03 if name == "GIF" else 0.012)
    return ", ".join(filter(None, (held, "" if exact else "lossy")))


def grey_of(name: str) -> str:
    found = again(name, Picture(GREY)).pixels
    if found.shape[2] == 1:
        return "kept"
    assert (found.max(axis=2) - found.min(axis=2)).max() <= 1
    return "as RGB"


def alpha_of(name: str) -> str:
    found = again(name, Picture(RGB, ALPHA))
    if found.alpha is None:
        cover = ALPHA[:, :, None] / 255
        wanted = RGB * cover + 255 * (1 - cover)
        assert np.abs(share(found.pixels) * 255 - wanted).mean() < 2
        return "on white"
    if np.array_equal(found.alpha, ALPHA):
        return "kept"
    return "on or off" if set(np.unique(found.alpha)) == {0, 255} else "lossy"


def with_info(name: str, **info: Any) -> Metadata:
    return again(name, Picture(RGB, info=Metadata(**info))).info


def exif_of(name: str) -> str:
    block = with_info(name, exif=exif()).exif
    if block is None:
        return NOTHING
    loaded = Image.Exif()
    loaded.load(b"Exif\0\0" + block)
    assert (loaded[0x010F], loaded[0x0132]) == ("Maker", DATE)
    return "kept"


def thumbnail_of(name: str) -> str:
    block, place = upright(exif(), 64, 96)
    if name == "HEIC":
        data = encode_picture(again(name, Picture(RGB, info=Metadata(exif=exif()))))
    else:
        data = encoded(name, Picture(RGB, info=Metadata(exif=block, thumbnail=place)))
    at = data.find(b"\xff\xd8\xff\xe0", 2)
    if at < 0:
        return NOTHING
    shown = np.asarray(Image.open(io.BytesIO(data[at:])))
    assert np.abs(shown.astype(int) - RGB).mean() < 3
    return "new"


def orientation_of(name: str) -> str:
    """What lies on its side in the source stands upright in the result, which says so."""
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "png", exif=b"Exif\0\0" + exif(6))
    source = read_picture(buffer.getvalue())
    assert source.pixels.shape == (96, 64, 3)
    result = encode_picture(source, name.lower())
    shown: Any = Image.open(io.BytesIO(result)) if name != "PFM" else None
    if shown is not None:
        assert shown.getexif().get(0x0112, 1) == 1
        assert shown.size == (64, 96)
    assert read_picture(result).pixels.shape[:2] == (96, 64)
    return "applied"


def heic_orientation() -> str:
    assert again("HEIC", Picture(RGB, info=Metadata(exif=exif(6)))).pixels.shape == (96, 64, 3)
    return "applied"


def resolution_of(name: str) -> str:
    x, y = with_info(name, resolution=(300 / 25.4, 150 / 25.4)).resolution
    kept = abs(x * 25.4 - 300) < 0.1 and abs(y * 25.4 - 150) < 0.1
    return "kept" if kept else NOTHING


def is_kept(key: str, value: bytes) -> Callable[[str], str]:
    def look(name: str) -> str:
        found = getattr(with_info(name, **{key: value}), key)
        assert found in (None, value)
        return "kept" if found else NOTHING

    return look


def several_of(name: str) -> str:
    if name == "HEIC":
        return "the main one"
    return FORMATS[name.lower()].pages or NOTHING


LOOK: dict[str, Callable[[str], str]] = {
    "8 bits": lambda name: depth_of(name, RGB),
    "16 bits": lambda name: depth_of(name, RGB16),
    "floats": lambda name: depth_of(name, FLOATS) if name != "HEIC" else NOTHING,
    "grey": grey_of,
    "alpha": alpha_of,
    "several": several_of,
    "ICC": is_kept("icc", ICC),
    "EXIF, dates": exif_of,
    "thumbnail": thumbnail_of,
    "orientation": lambda name: heic_orientation() if name == "HEIC" else orientation_of(name),
    "XMP": is_kept("xmp", XMP),
    "IPTC": is_kept("photoshop", IPTC),
    "resolution": resolution_of,
}


def test_the_tables_are_complete() -> None:
    rows = {name.upper() for name in FORMATS} | {"HEIC"}
    assert set(cells()) == {(row, column) for row in rows for column in LOOK}


@pytest.mark.parametrize(
    ("name", "column"), cells(), ids=[f"{name}-{column}" for name, column in cells()]
)
def test_a_cell_is_true(name: str, column: str) -> None:
    assert LOOK[column](name) == cells()[name, column]


def test_heic_becomes_jpeg() -> None:
    picture = again("HEIC", Picture(RGB, info=Metadata(icc=ICC, exif=exif(), xmp=XMP)))
    image: Any = Image.open(io.BytesIO(encode_picture(picture)))
    assert image.format == "JPEG"
    assert image.info["icc_profile"] == ICC
    assert image.getexif()[0x0132] == DATE
    assert np.abs(np.asarray(image).astype(int) - RGB).mean() < 2
