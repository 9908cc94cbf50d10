"""How a lossy file was compressed, so that its result can be compressed alike."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO

from dpenet.media.directories import Content

QUALITY = {"jpeg": 95, "webp": 95, "avif": 90}
"""On the scale of each format, for pictures that come from another."""

FULL_CHROMA = 90
"""From this quality on nobody saves on chroma; below, every other line and column are left out."""

_SUBSAMPLINGS = {(1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0"}


@dataclass(frozen=True)
class Coding:
    """How a file was compressed.

    Attributes:
        format: The format that this is about; none if somebody asked for a quality instead.
        subsampling: Of chroma: ``4:4:4``, ``4:2:2`` or ``4:2:0``, rarer ones count as ``4:4:4``;
            of an AVIF without chroma ``4:0:0``.
        tables: A JPEG's quantisation tables, row by row, one for each component; the last is for
            those left.
        progressive: Whether a JPEG comes from coarse to fine.
        lossless: Whether a WebP is without loss.
        depth: Bits of a sample of an AVIF.
        asked: The quality that was asked for, from 1 to 100, whatever the format.
    """

    format: str
    subsampling: str = "4:4:4"
    tables: tuple[tuple[int, ...], ...] = ()
    progressive: bool = False
    lossless: bool = False
    depth: int = 8
    asked: int | None = None

    @property
    def quality(self) -> int:
        """The quality of libjpeg whose luminance table is nearest to a JPEG's own."""
        own = self.tables[0]

        def distance(quality: int) -> int:
            return sum(abs(a - b) for a, b in zip(own, _luminance_table(quality), strict=True))

        return min(range(1, 101), key=distance)


def coding_of(kind: str, data: Content, *, turned: bool = False) -> Coding | None:
    """How a file was compressed; None if its format is none of these, or it does not say.

    Args:
        kind: Its format.
        data: Its content.
        turned: Whether its picture lies on its side, and will be turned upright.
    """
    with suppress(Exception):  # whatever a damaged header makes of Pillow, the picture counts
        match kind:
            case "jpeg":
                return _of_jpeg(data, turned)
            case "webp":
                return Coding(kind, lossless=_is_lossless(data))
            case "avif":
                return _of_avif(data)
    return None


def _of_jpeg(data: Content, turned: bool) -> Coding | None:
    from PIL.JpegImagePlugin import JpegImageFile

    file = BytesIO(data) if isinstance(data, bytes) else data
    file.seek(0)
    with JpegImageFile(file) as image:
        layers, tables = image.layer, image.quantization
        progressive = "progressive" in image.info
    if len(layers) not in (1, 3):
        return None
    luma, *chroma = [(layer[1], layer[2]) for layer in layers]
    subsampling = "4:4:4"
    if set(chroma) == {(1, 1)}:
        subsampling = _SUBSAMPLINGS.get(luma, subsampling)
    if turned and subsampling == "4:2:2":
        subsampling = "4:4:4"  # it would be 4:4:0, which few programs write
    used = [tuple(tables[layer[3]]) for layer in layers]
    while len(used) > 1 and used[-1] == used[-2]:
        used.pop()
    return Coding("jpeg", subsampling, tuple(used), progressive)


def _is_lossless(data: Content) -> bool:
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack("<4sI", data[at : at + 8])
        if name in (b"VP8 ", b"VP8L"):
            return bool(name == b"VP8L")
        at += 8 + (16 if name == b"ANMF" else size + size % 2)  # into a frame
    return False


def _of_avif(data: Content) -> Coding | None:
    at = data.find(b"av1C")
    if at < 0:
        return None
    flags = data[at + 6]
    high, twelve, mono, across, down = (flags >> bit & 1 for bit in (6, 5, 4, 3, 2))
    depth = 12 if twelve else 10 if high else 8
    subsampling = "4:0:0" if mono else "4:2:0" if across and down else "4:4:4"
    return Coding("avif", subsampling, depth=depth)


@cache
def _luminance_table(quality: int) -> tuple[int, ...]:
    from PIL import Image
    from PIL.JpegImagePlugin import JpegImageFile

    file = BytesIO()
    Image.new("L", (8, 8)).save(file, "jpeg", quality=quality)
    file.seek(0)
    with JpegImageFile(file) as image:
        return tuple(image.quantization[0])
