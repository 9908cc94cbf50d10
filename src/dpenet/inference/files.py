"""One file to another: the whole picture at once, or band by band if it is too large to be held."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet.inference.bands import derain_bands, needs_bands
from dpenet.inference.memory import COPIES
from dpenet.media import bands, images
from dpenet.media.formats import FORMATS
from dpenet.media.images import (
    Picture,
    at_quality,
    encode_picture,
    read_picture,
    read_size,
    with_pixels,
    write_picture,
)
from dpenet.media.pages import Pages, encoding_pages, find_pages, write_pages

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer

_CHANNELS = 3


def derain_file(
    derainer: Derainer,
    source: Path,
    target: Path,
    *,
    rain: Path | None = None,
    overwrite: bool = False,
    quality: int | None = None,
) -> tuple[int, int]:
    """Derain a file, with metadata, transparency and depth kept.

    Waits while other files in hand take too much memory for one more.

    Args:
        derainer: What derains.
        source: The rainy picture.
        target: Where to write, whole or not at all.
        rain: Where to write what was removed, if anywhere.
        overwrite: Whether files that exist may be replaced.
        quality: Of lossy formats, from 1 to 100; by default as the source was compressed.

    Returns:
        Height and width of the picture.

    Raises:
        PictureError: If the file cannot be read or a result cannot be written.
        UsageError: If the memory allowed is too little.
    """
    memory = derainer.working_memory
    limit, size = memory // 4, 0
    if (pages := find_pages(source)) is not None:
        with derainer.room.take(_held(pages), limit), ExitStack() as stack:
            writers = [
                stack.enter_context(write_pages(path, pages, overwrite=overwrite))
                for path in (target, rain)
                if path is not None
            ]
            _derain_pages(derainer, pages, quality, *writers)
        return pages.height, pages.width
    if not _is_light(source, memory):
        if needs_bands(derainer, source, (target, rain)):
            with derainer.room.take(limit, limit):
                return derain_bands(
                    derainer, source, target, rain=rain, overwrite=overwrite, quality=quality
                )
        size = COPIES * _CHANNELS * math.prod(read_size(source))
    with derainer.room.take(size, limit):
        rainy = at_quality(read_picture(source), quality)
        clean = derainer.derain_picture(rainy)
        if rain is not None:
            layer = derainer.rain_layer(rainy.pixels, clean.pixels)
            write_picture(with_pixels(rainy, layer), rain, overwrite=overwrite)
        write_picture(clean, target, overwrite=overwrite)
    height, width, _ = rainy.pixels.shape
    return height, width


def derain_content(
    derainer: Derainer, content: Path | bytes, *, quality: int | None = None
) -> bytes:
    """Derain to the content of a file, of the format of its source if that can be written.

    Args:
        derainer: What derains.
        content: A picture, or several: a file, or the content of one.
        quality: As for `derain_file`.

    Raises:
        PictureError: If it cannot be read, or the result not be written.
        UsageError: If the memory allowed is too little.
    """
    if (pages := find_pages(content)) is None:
        rainy = at_quality(read_picture(content), quality)
        return encode_picture(derainer.derain_picture(rainy))
    file = BytesIO()
    with encoding_pages(file, FORMATS[pages.format], pages) as add:
        _derain_pages(derainer, pages, quality, add)
    return file.getvalue()


def _derain_pages(
    derainer: Derainer,
    pages: Pages,
    quality: int | None,
    add: Callable[[Picture], None],
    add_rain: Callable[[Picture], None] | None = None,
) -> None:
    for rainy in pages:
        clean = at_quality(derainer.derain_picture(rainy), quality)
        add(clean)
        if add_rain is not None:
            add_rain(with_pixels(clean, derainer.rain_layer(rainy.pixels, clean.pixels)))


def _held(pages: Pages) -> int:
    """Bytes that a file of pages takes while it is derained: its frames are held, and encoded."""
    held = COPIES + (2 * pages.count if pages.delays else 0)
    return held * _CHANNELS * pages.height * pages.width


def _is_light(source: Path, memory: int) -> bool:
    """Whether a file is so short that its picture, whatever the header says, is easily held."""
    try:
        most = bands.MOST_COMPRESSED * source.stat().st_size
    except OSError:
        return True  # there is no picture: reading it will say why
    return most <= images.MAX_PIXELS and 2 * COPIES * most <= memory
