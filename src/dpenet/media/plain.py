"""The formats that libvips's wheel lacks: portable maps and BMP, and Pillow for the rarer ones."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet.media.metadata import Metadata

if TYPE_CHECKING:
    from PIL.Image import Image

Samples = NDArray[np.uint8 | np.uint16]

# Not all that Pillow knows: some of its readers start other programs.
_PILLOW_FORMATS = ("BMP", "DIB", "JPEG2000", "PPM", "TGA", "PCX", "QOI", "SGI", "ICO", "TIFF")
_MAP = re.compile(rb"P([56])" + rb"(?:\s|#[^\n]*\n)+(\d{1,9})" * 3 + rb"\s")


class _MapHeader(NamedTuple):
    size: int  # in bytes
    height: int
    width: int
    channels: int
    maximum: int


def _parse_map_header(data: bytes) -> _MapHeader:
    match = _MAP.match(data)
    if match is None or not 0 < int(match[4]) < 65536:
        raise ValueError("the header is damaged")
    channels = 3 if match[1] == b"6" else 1
    return _MapHeader(match.end(), int(match[3]), int(match[2]), channels, int(match[4]))


def read_map_size(data: bytes) -> tuple[int, int]:
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


def write_map(pixels: Samples) -> bytes:
    """Encode (H, W, 1) as a binary PGM, (H, W, 3) as a PPM."""
    height, width, channels = pixels.shape
    maximum = np.iinfo(pixels.dtype).max
    header = f"P{6 if channels == 3 else 5}\n{width} {height}\n{maximum}\n".encode()
    body: bytes = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    return header + body


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


def open_with_pillow(data: bytes) -> Image:
    """Open a picture without decoding it.

    Raises:
        PIL.UnidentifiedImageError: If it is none of the formats that Pillow is asked for.
        PIL.Image.DecompressionBombError: If it is too large for Pillow.
    """
    from PIL import Image

    return Image.open(BytesIO(data), formats=_PILLOW_FORMATS)


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
