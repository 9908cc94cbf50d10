"""What libvips's wheel lacks: portable maps, BMP, rare formats, JPEG with tables of its own."""

from __future__ import annotations

import re
import struct
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import PictureError
from dpenet.media import embedding
from dpenet.media.coding import FULL_CHROMA, QUALITY
from dpenet.media.directories import Content
from dpenet.media.metadata import Metadata

if TYPE_CHECKING:
    from PIL.Image import Image

Samples = NDArray[np.uint8 | np.uint16 | np.float32]

_ICC_SEGMENT = 65519
# Not all that Pillow knows: some of its readers start other programs.
_PILLOW_FORMATS = ("BMP", "DIB", "JPEG2000", "PPM", "TGA", "PCX", "QOI", "SGI", "ICO", "TIFF")
_PILLOW_LIMIT = threading.Lock()
_HEADER = 1 << 16  # bytes that a portable map has before its pixels, at most
_MAP = re.compile(rb"P([56])" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s")

# The sign of the last number is the order of bytes.
_FLOAT_MAP = re.compile(rb"P([Ff])\s+(\d{1,9})\s+(\d{1,9})\s+([+-]?\d{0,9}\.?\d{1,9})\s")


class _MapHeader(NamedTuple):
    size: int  # in bytes
    height: int
    width: int
    channels: int
    maximum: int


def _parse_map_header(data: Content) -> _MapHeader:
    match = _MAP.match(data[:_HEADER])
    if match is None or not 0 < int(match[4]) < 65536:
        raise ValueError("the header is damaged")
    channels = 3 if match[1] == b"6" else 1
    return _MapHeader(match.end(), int(match[3]), int(match[2]), channels, int(match[4]))


def read_map_size(data: Content) -> tuple[int, int]:
    """Height and width of a binary PGM or PPM.

    Raises:
        ValueError: If the header is damaged.
    """
    header = _parse_map_header(data)
    return header.height, header.width


def read_map(data: bytes) -> Samples:
    """Decode a binary PGM or PPM of 8 or 16 bits: (H, W, 1 or 3).

    Pillow reduces those of 16 bits to 8 without a word, hence this.

    Raises:
        ValueError: If the header is damaged or pixels are missing.
    """
    header = _parse_map_header(data)
    stored = np.dtype(np.uint8 if header.maximum < 256 else ">u2")
    count = header.height * header.width * header.channels
    if len(data) - header.size < stored.itemsize * count:
        raise ValueError("pixels are missing at the end")
    pixels: NDArray[Any] = np.frombuffer(data, stored, count, header.size)
    full = np.iinfo(stored).max
    if header.maximum != full:
        scaled = np.minimum(pixels, header.maximum) * np.uint32(full)
        pixels = (scaled + header.maximum // 2) // header.maximum
    pixels = pixels.reshape(header.height, header.width, header.channels)
    return pixels.astype(stored.newbyteorder("="))


def write_map(pixels: NDArray[np.uint8 | np.uint16]) -> bytes:
    """Encode (H, W, 1) as a binary PGM, (H, W, 3) as a PPM."""
    height, width, channels = pixels.shape
    maximum = np.iinfo(pixels.dtype).max
    header = f"P{6 if channels == 3 else 5}\n{width} {height}\n{maximum}\n".encode()
    body: bytes = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    return header + body


def read_float_map_size(data: Content) -> tuple[int, int]:
    """Height and width of a PFM.

    Raises:
        ValueError: If the header is damaged.
    """
    match = _parse_float_map_header(data)
    return int(match[3]), int(match[2])


def read_float_map(data: bytes) -> Samples:
    """Decode a PFM: (H, W, 1 or 3) float32.

    Raises:
        ValueError: If the header is damaged or pixels are missing.
    """
    match = _parse_float_map_header(data)
    height, width = int(match[3]), int(match[2])
    channels = 3 if match[1] == b"F" else 1
    stored = np.dtype("<f4" if match[4].startswith(b"-") else ">f4")
    count = height * width * channels
    if len(data) - match.end() < stored.itemsize * count:
        raise ValueError("pixels are missing at the end")
    pixels = np.frombuffer(data, stored, count, match.end()).reshape(height, width, channels)
    return pixels[::-1].astype(np.float32)  # the lowest row comes first


def write_float_map(pixels: NDArray[np.float32]) -> bytes:
    """Encode (H, W, 1 or 3) as a PFM."""
    height, width, channels = pixels.shape
    header = f"P{'F' if channels == 3 else 'f'}\n{width} {height}\n-1.0\n".encode()
    return header + pixels[::-1].astype("<f4").tobytes()


def _parse_float_map_header(data: Content) -> re.Match[bytes]:
    match = _FLOAT_MAP.match(data[:_HEADER])
    if match is None or not float(match[4]):
        raise ValueError("the header is damaged")
    return match


def write_bmp(pixels: NDArray[np.uint8], resolution: tuple[float, float]) -> bytes:
    """Encode (H, W, 1 grey, 2 grey and alpha, 3 RGB or 4 RGBA) as a BMP.

    Args:
        pixels: The picture. Alpha makes a version 4 header, which is what gives it a meaning.
        resolution: Pixels per millimetre, horizontal and vertical.
    """
    height, width, _ = pixels.shape
    order = {1: [0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    channels = len(order)
    rows = np.zeros((height, (width * channels + 3) // 4 * 4), np.uint8)
    rows[:, : width * channels] = pixels[::-1, :, order].reshape(height, -1)
    palette = masks = b""
    if channels == 1:
        palette = bytes(value for grey in range(256) for value in (grey, grey, grey, 0))
    elif channels == 4:
        masks = struct.pack("<4I4s48x", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
    x, y = (round(per_mm * 1000) for per_mm in resolution)
    info = struct.pack(
        "<IiiHHIIiiII",
        *(40 + len(masks), width, height, 1, channels * 8, 3 if masks else 0),
        *(rows.nbytes, x, y, len(palette) // 4, 0),
    )
    start = 14 + len(info) + len(masks) + len(palette)
    head = struct.pack("<2sIHHI", b"BM", start + rows.nbytes, 0, 0, start)
    return b"".join((head, info, masks, palette, rows.tobytes()))


def write_jpeg(pixels: NDArray[np.uint8], info: Metadata) -> bytes:
    """Encode (H, W, 1) or (H, W, 3) as a JPEG, but for EXIF and resolution.

    A picture that was a JPEG keeps its quantisation tables, its subsampling of chroma and whether
    it is progressive; others are written at quality 95 without subsampling.

    Raises:
        PictureError: If it is too large for a JPEG.
    """
    from PIL import Image

    coding = info.coding
    options: dict[str, Any]
    if coding is not None and coding.asked is not None:
        full = coding.asked >= FULL_CHROMA
        options = {"quality": coding.asked, "subsampling": "4:4:4" if full else "4:2:0"}
    elif coding is not None and coding.tables:
        options = {
            "qtables": [list(table) for table in coding.tables],
            "subsampling": coding.subsampling,
            "progressive": coding.progressive,
        }
    else:
        options = {"quality": QUALITY["jpeg"], "subsampling": "4:4:4"}
    if info.icc and len(info.icc) < 255 * _ICC_SEGMENT:
        options["icc_profile"] = info.icc
    if info.xmp and len(info.xmp) < 65504:
        options["xmp"] = info.xmp
    if info.photoshop and len(info.photoshop) < 65519:
        options["extra"] = embedding.segment(0xED, b"Photoshop 3.0\0" + info.photoshop)
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    try:
        return _saved(image, optimize=True, **options)
    except OSError:
        pass  # Pillow has no room for pictures that hardly shrink, unless they go out in pieces
    try:
        return _saved(image, **options | {"progressive": False})
    except OSError as error:
        raise PictureError(f"cannot be written as JPEG ({error})") from error


def _saved(image: Image, **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, "jpeg", **options)
    return file.getvalue()


def peak(dtype: np.dtype[Any]) -> int:
    """The sample that is white."""
    return 1 if dtype.kind == "f" else int(np.iinfo(dtype).max)


THUMBNAIL_SIDE = 160
"""Pixels, of which CIPA DC-008 wants 160 x 120."""


def thumbnail(pixels: NDArray[np.uint8], room: int) -> bytes | None:
    """A small JPEG of (H, W, 1) or (H, W, 3), or None if none is so short.

    Args:
        pixels: The picture, in sRGB.
        room: How many bytes there are.
    """
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    for quality in range(90, 0, -15):
        jpeg = _saved(image, quality=quality)
        if len(jpeg) <= room:
            return jpeg
    return None


def open_with_pillow(source: Path | bytes) -> Image:
    """Open a picture without decoding it; its size is the caller's to judge, not Pillow's.

    Raises:
        PIL.UnidentifiedImageError: If it is none of the formats that Pillow is asked for.
    """
    from PIL import Image

    file = BytesIO(source) if isinstance(source, bytes) else source
    with _PILLOW_LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=_PILLOW_FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def decode_with_pillow(image: Image) -> tuple[Samples, Metadata]:
    """Decode: (H, W, 1 grey, 2 grey and alpha, 3 RGB or 4 RGBA) and what else the file holds.

    Raises:
        Exception: Of many kinds if the file is damaged; Pillow promises none in particular.
    """
    icc, dpi = image.info.get("icc_profile"), image.info.get("dpi")
    if image.mode == "LAB":
        from PIL import ImageCms

        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # only in-place conversions return nothing
        image, icc = converted, None
    elif image.mode in ("1", "P", "PA", "CMYK", "YCbCr", "RGBX", "RGBa", "La"):
        alpha = "transparency" in image.info or image.mode in ("PA", "RGBa", "La")
        grey = image.mode in ("1", "La")
        icc = None if image.mode == "CMYK" else icc
        image = image.convert(("LA" if alpha else "L") if grey else ("RGBA" if alpha else "RGB"))
    pixels = np.asarray(image)
    if image.mode == "I" and pixels.size and pixels.min() >= 0 and pixels.max() <= 65535:
        pixels = pixels.astype(np.uint16)
    if image.mode.startswith("I;16"):
        pixels = pixels.astype(np.uint16)
    if pixels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"its samples are {pixels.dtype}, not 8 or 16 bit integers")
    info = Metadata(icc)
    if dpi:
        info = replace(info, resolution=(float(dpi[0]) / 25.4, float(dpi[1]) / 25.4))
    return pixels.reshape(*pixels.shape[:2], -1), info
