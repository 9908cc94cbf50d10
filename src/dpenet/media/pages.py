"""Files of several pictures: the pages of a TIFF, the frames of a GIF or WebP."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dpenet.errors import PictureError
from dpenet.media import directories, vips
from dpenet.media.directories import Content, tiff_directory
from dpenet.media.embedding import embed
from dpenet.media.files import new_file, refusing_damage, viewed
from dpenet.media.formats import FORMATS, Format, format_for, sniff
from dpenet.media.images import (
    MAX_PIXELS,
    Picture,
    decode,
    encode_picture,
    fitted,
    separate,
    turned_upright,
    with_new_thumbnail,
)
from dpenet.media.plain import Samples

_STRIPS, _STRIP_SIZES = 0x0111, 0x0117
_MOST_BLOCKS = 1 << 20  # of a GIF, which has 255 bytes in each
_LARGEST_CLASSIC = 2**32 - 2**26


@dataclass(frozen=True)
class Pages:
    """What is known of a file of several pictures before they are decoded.

    Attributes:
        source: The file, or its content.
        format: Of the file.
        count: How many pictures.
        height: Of the first.
        width: Of the first.
        delays: How long each frame is shown, in milliseconds; none of pages.
        loop: How often frames are shown; 0 is for ever.
    """

    source: Path | bytes
    format: str
    count: int
    height: int
    width: int
    delays: tuple[int, ...] = ()
    loop: int = 0

    def __iter__(self) -> Iterator[Picture]:
        """Decode one after the other.

        Raises:
            PictureError: If the file is damaged or a page is too large.
        """
        with viewed(self.source) as (name, data), refusing_damage(name, self.format):
            if self.delays:
                yield from _frames(name, self, data)
                return
            for page in range(self.count):
                yield decode(name, self.format, self.source, data, page)


def find_pages(source: Path | bytes) -> Pages | None:
    """What a file says of its pages or frames, or None if it holds one picture only.

    Raises:
        PictureError: If it cannot be read, or holds frames of a kind that is not read, or together
            more than ``MAX_PIXELS``.
    """
    with viewed(source) as (name, data):
        kind = sniff(data) or "other"
        if kind not in ("png", "avif", *_SEVERAL):
            return None
        with refusing_damage(name, kind):
            image = vips.open_image(kind, source)
            count = vips.count_pages(kind, image, data)
            if kind == "gif" and not _has_end(data):
                raise ValueError("its end is missing")  # libvips takes the frames that are there
            if count == 1:
                return None
            if kind not in _SEVERAL:
                raise PictureError(f"{name}: is animated; save it as animated WebP or GIF")
            height, width = image.height, image.width
            if vips.orientation(image) > 4:
                height, width = width, height
            if FORMATS[kind].pages == "pages":
                return Pages(source, kind, count, height, width)
            if count * height * width > MAX_PIXELS:
                raise PictureError(
                    f"{name}: {count} frames of {width} x {height} pixels are more than the "
                    f"{MAX_PIXELS // 10**6} megapixels that are read at once; cut it into parts"
                )
            loop = int(image.get("loop")) if image.get_typeof("loop") else 0
            delays = tuple(image.get("delay")) if image.get_typeof("delay") else ()
            delays = (delays + (100,) * count)[:count]
            return Pages(source, kind, count, height, width, delays, loop)


def _has_end(gif: Content) -> bool:
    """Whether a GIF is whole: it ends as it should, or its blocks do and something follows."""
    if gif[-16:].rstrip(b"\0\r\n ").endswith(b";"):
        return True
    at = 13 + _table_bytes(gif[10:11])
    blocks = 0
    while (kind := gif[at : at + 1]) in (b"!", b","):
        at += 2 if kind == b"!" else 11 + _table_bytes(gif[at + 9 : at + 10])
        while (length := gif[at : at + 1].rstrip(b"\0")) and blocks < _MOST_BLOCKS:
            at += 1 + length[0]
            blocks += 1
        at += 1
    return kind == b";"


def _table_bytes(flags: bytes) -> int:
    """Length of a table of colours, by the byte of flags that announces it."""
    return 3 << (flags[0] & 7) + 1 if flags and flags[0] & 0x80 else 0


_SEVERAL = tuple(name for name, format_ in FORMATS.items() if format_.pages)


def _frames(name: str, pages: Pages, data: Content) -> Iterator[Picture]:
    import pyvips

    image = vips.converted(name, pages.format, vips.open_image(pages.format, pages.source, n=-1))
    height = image.get("page-height")
    info = vips.metadata(image, pages.format, data, {}, (pages.height, pages.width))
    region = pyvips.Region.new(image)
    for top in range(0, pages.count * height, height):
        samples: Samples = np.frombuffer(region.fetch(0, top, image.width, height), np.uint8)
        samples = turned_upright(image, samples.reshape(height, image.width, image.bands))
        yield separate(np.ascontiguousarray(samples), info, pages.format)


def check_target(pages: Pages, target: Format) -> None:
    """Make sure that a format can hold the pages or frames of a file.

    Raises:
        PictureError: If it cannot.
    """
    kind = FORMATS[pages.format].pages
    if target.pages != kind:
        able = " or ".join(name.upper() for name in _SEVERAL if FORMATS[name].pages == kind)
        raise PictureError(
            f"holds {pages.count} {kind}, and {target.name.upper()} cannot: write {able}"
        )


@contextmanager
def write_pages(
    path: Path, pages: Pages, *, overwrite: bool = False
) -> Iterator[Callable[[Picture], None]]:
    """Write as many pictures as a file held, whole or not at all.

    Args:
        path: Where; its suffix names the format. Missing folders are created.
        pages: The file that they come from.
        overwrite: Whether an existing file may be replaced.

    Yields:
        A function that takes the next picture.

    Raises:
        PictureError: If the file exists, cannot be written, or its suffix or format is unfit.
    """
    target = format_for(path)
    with (
        new_file(path, overwrite=overwrite) as temporary,
        temporary.open("wb") as file,
        encoding_pages(file, target, pages) as add,
    ):
        yield add


@contextmanager
def encoding_pages(
    file: IO[bytes], target: Format, pages: Pages
) -> Iterator[Callable[[Picture], None]]:
    """As `write_pages`, to an open file that can be read in any order."""
    check_target(pages, target)
    if target.pages == "pages":
        yield _TiffPages(file, pages).add
        return
    frames: list[Picture] = []
    yield frames.append
    file.write(_encode_frames(frames, target, pages))


def _encode_frames(frames: list[Picture], target: Format, pages: Pages) -> bytes:
    import pyvips

    info = with_new_thumbnail(frames[0])
    samples = np.concatenate([fitted(frame, target) for frame in frames])
    image = vips.dressed(samples, target.name, info).copy()
    image.set_type(pyvips.GValue.gint_type, "page-height", pages.height)
    image.set_type(pyvips.GValue.array_int_type, "delay", list(pages.delays))
    image.set_type(pyvips.GValue.gint_type, "loop", pages.loop)
    encoded = embed(vips.save(image, target.name, info), target.name, info)
    if target.name == "webp" and image.hasalpha():
        # Where the opaque part of a frame is all that is stored, libwebp forgets to say so.
        encoded = encoded[:20] + bytes([encoded[20] | 0x10]) + encoded[21:]
    return encoded


class _TiffPages:
    """Joins TIFF files of one page each: their strips, then their directories with new positions.

    Args:
        file: Empty, to be written in any order.
        pages: What will come.
    """

    def __init__(self, file: IO[bytes], pages: Pages) -> None:
        self._file = file
        # Other pages may be larger than the first, or deeper than that of 8 bits.
        largest = 32 * pages.count * pages.height * pages.width
        self._form = directories.BIG if largest > _LARGEST_CLASSIC else directories.CLASSIC
        file.write(b"II+\0\x08\0\0\0" if self._form.big else b"II*\0")
        self._link = file.tell()  # where the position of the next directory belongs
        file.write(bytes(struct.calcsize(self._form.word)))

    def add(self, picture: Picture) -> None:
        """Append a page."""
        encoded = encode_picture(picture, "tiff")
        directory = tiff_directory(encoded)
        offsets, sizes = (_numbers(directory[tag]) for tag in (_STRIPS, _STRIP_SIZES))
        start = min(offsets)
        end = max(at + size for at, size in zip(offsets, sizes, strict=True))
        base = self._file.seek(0, 2)
        self._file.write(encoded[start:end] + b"\0" * ((base + end - start) % 2))
        kind, letter = (16, "Q") if self._form.big else (4, "I")
        moved = [at - start + base for at in offsets]
        directory[_STRIPS] = (kind, struct.pack(f"<{len(moved)}{letter}", *moved))
        at = self._file.tell()
        packed = directories.pack(directory, self._form, at)
        self._file.write(packed)
        self._file.seek(self._link)
        self._file.write(struct.pack("<" + self._form.word, at))
        self._link = at + directories.link(packed, self._form, 0)


def _numbers(field: Any) -> list[int]:
    kind, value = field
    size = {3: 2, 4: 4, 16: 8}[kind]
    return [int.from_bytes(value[at : at + size], "little") for at in range(0, len(value), size)]
