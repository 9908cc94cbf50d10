"""Files that are not what they should be: each refused with its reason, nothing decoded in part."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from dpenet.errors import PictureError
from dpenet.media import images
from dpenet.media.images import read_picture, read_size
from dpenet.media.pages import find_pages


def encoded(name: str, pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    return buffer.getvalue()


def tiff(pixels: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + body


NOISE = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
WHOLE = {
    "jpeg": encoded("jpeg", NOISE),
    "progressive jpeg": encoded("jpeg", NOISE, progressive=True),
    "png": encoded("png", NOISE),
    "tiff": encoded("tiff", NOISE),
    "tiff lzw": encoded("tiff", NOISE, compression="tiff_lzw"),
    "webp": encoded("webp", NOISE),
    "lossless webp": encoded("webp", NOISE, lossless=True),
    "gif": encoded("gif", NOISE),
    "bmp": encoded("bmp", NOISE),
    "ppm": encoded("ppm", NOISE),
    "avif": encoded("avif", NOISE),
    "pfm": b"PF\n64 64\n-1.0\n" + (NOISE / 255).astype("<f4").tobytes(),
    "float tiff": tiff((NOISE / 255).astype(np.float32), photometric="rgb"),
    "jpeg 2000": encoded("jpeg2000", NOISE),
    "tga": encoded("tga", NOISE),
}


@pytest.mark.parametrize("kept", [0.999, 0.9, 0.5, 0.1])
@pytest.mark.parametrize("name", WHOLE)
def test_cut_off_files_are_refused(name: str, kept: float) -> None:
    whole = WHOLE[name]
    assert read_picture(whole).pixels.shape == (64, 64, 3)
    end = 0 if name != "tga" else 26  # an optional footer
    with pytest.raises(PictureError, match=r"damaged|not a picture"):
        read_picture(whole[: int((len(whole) - end) * kept) - 1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"hello, this is a text and no picture at all\n" * 9, "not a picture"),
        (bytes(5000), "not a picture"),
        (b"%PDF-1.4\n" + bytes(500), "not a picture"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(500), "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        (b"\x89PNG\r\n\x1a\n", "PNG is damaged"),
        (b"\xff\xd8\xff\xe0", "JPEG is damaged"),
        (b"II*\0\x08\0\0\0", "TIFF is damaged"),
        (b"P6 9 9 70000\n" + bytes(999), "PPM is damaged"),
        (b"P6 x 9 255\n" + bytes(999), "PPM is damaged"),
        (b"BM" + bytes(100), "BMP is damaged"),
        (huge_png(60000, 60000), "60000 x 60000 pixels are more than the 268 megapixels"),
        (b"P6 60000 60000 255\n" + bytes(99), "60000 x 60000 pixels are more"),
        (tiff(NOISE.astype(np.float32), photometric="rgb"), "floats around 12.*scale them"),
        (tiff(np.full((9, 9), np.nan, np.float32)), "some of its samples are no numbers"),
        (b"PF 9 9 -1.0\n" + bytes(99), "PFM is damaged"),
        (b"PF 9 9 0\n" + bytes(9999), "PFM is damaged"),
        (b"Pf 60000 60000 -1.0\n" + bytes(99), "60000 x 60000 pixels are more"),
        (tiff(NOISE[..., 0].astype(np.int16)), "samples are of type short"),
        (tiff(NOISE[..., 0].astype(np.uint32)), "samples are of type uint"),
        (tiff(np.stack([NOISE, NOISE]), photometric="rgb"), "several pages or frames"),
        (
            encoded("gif", NOISE, save_all=True, append_images=[Image.fromarray(255 - NOISE)]),
            "several pages or frames",
        ),
        (
            encoded("webp", NOISE, save_all=True, append_images=[Image.fromarray(255 - NOISE)]),
            "several pages or frames",
        ),
        (
            encoded("png", NOISE, save_all=True, append_images=[Image.fromarray(255 - NOISE)]),
            "several pages or frames",
        ),
    ],
)
def test_refused_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "street 1.jpg"
    path.write_bytes(content)
    with pytest.raises(PictureError, match=said) as caught:
        read_picture(path)
    assert "street 1.jpg" in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(PictureError, match=said):
        read_picture(content)


def test_the_size_is_checked_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 64 * 64 - 1)
    for name, whole in WHOLE.items():
        # Cut short, so that decoding would fail with another reason.
        part = whole if name in ("gif", "webp", "lossless webp", "tiff lzw") else whole[:-90]
        for read in (read_picture, read_size):
            with pytest.raises(PictureError, match="64 x 64 pixels are more"):
                read(part)


def bmp(height: int, width: int) -> bytes:
    """What a BMP claims."""
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def test_the_limit_of_pixels_is_ours_and_not_that_of_pillow() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    assert read_size(bmp(16384, 16384)) == (16384, 16384)
    for content in (bmp(16384, 16385), bmp(60000, 60000)):
        for read in (read_picture, read_size):
            with pytest.raises(PictureError, match="pixels are more than the 268 megapixels"):
                read(content)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"none\.png: cannot be read: No such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(PictureError, match="is a folder"):
        read_picture(tmp_path)
    with pytest.raises(PictureError, match="is a folder"):
        read_size(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    for read in (read_picture, read_size, find_pages):
        with pytest.raises(PictureError, match=r"a\.png: is a pipe or a device, not a picture"):
            read(tmp_path / "a.png")


def test_a_refused_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "a.png").touch()
    monkeypatch.setattr(Path, "read_bytes", deny)
    with pytest.raises(PictureError, match=r"a\.png: cannot be read: Permission denied"):
        read_picture(tmp_path / "a.png")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_changed_bytes_are_read_or_refused(name: str, data: st.DataObject) -> None:
    """Whatever stands in a file: a picture or a PictureError, never anything else."""
    content = bytearray(WHOLE[name])
    # Headers and directories are where changes matter.
    edges = st.integers(0, 200) | st.integers(len(content) - 200, len(content) - 1)
    for _ in range(data.draw(st.integers(1, 8))):
        position = data.draw(edges | st.integers(0, len(content) - 1))
        content[position] = data.draw(st.integers(0, 255))
    try:
        picture = read_picture(bytes(content))
    except PictureError as error:
        assert "\n" not in str(error)
    else:
        assert picture.pixels.ndim == 3
        assert picture.pixels.shape[2] in (1, 3)
