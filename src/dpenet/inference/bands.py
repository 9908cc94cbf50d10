"""Files whose picture is too large to be held: derained band by band, from file to file."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet.inference import pixels, tiling
from dpenet.inference.memory import BAND_COPIES, CACHED_ROWS, COPIES, RAIN_COPIES
from dpenet.media import bands, images
from dpenet.media.formats import format_for
from dpenet.media.profiles import profile_of

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer


def needs_bands(derainer: Derainer, source: Path, targets: Iterable[Path | None]) -> bool:
    """Whether a file should go through `derain_bands`: it can, and is too large to be held.

    Args:
        derainer: Whose memory counts.
        source: The rainy picture.
        targets: What would be written; None is passed over.

    Raises:
        PictureError: If the file cannot be read or is damaged, or a suffix cannot be written.
    """
    header = bands.read_header(source)
    if header is None:
        return False
    if header.height * header.width > images.MAX_PIXELS:
        return True
    # Tiles should have at least half of the memory: little of it makes them small and slow.
    too_large = 2 * COPIES * header.nbytes > derainer.working_memory
    return too_large and all(
        format_for(target).name in bands.FORMATS for target in targets if target is not None
    )


def derain_bands(
    derainer: Derainer,
    source: Path,
    target: Path,
    *,
    rain: Path | None = None,
    overwrite: bool = False,
    quality: int | None = None,
) -> tuple[int, int]:
    """Derain a file of any size, with metadata, transparency and depth kept.

    Args:
        derainer: What derains, within its budget of memory.
        source: A PNG, JPEG or TIFF file.
        target: Where to write, PNG, JPEG or TIFF; whole or not at all.
        rain: Where to write what was removed, if anywhere.
        overwrite: Whether files that exist may be replaced.
        quality: As for `derain_file`.

    Returns:
        Height and width of the picture.

    Raises:
        PictureError: If the file cannot be read or a result cannot be written.
        UsageError: If the memory allowed is too little.
    """
    with ExitStack() as stack:
        header, reader = stack.enter_context(bands.read_bands(source, target.parent))
        header = replace(header, info=header.info.at_quality(quality))
        held = CACHED_ROWS * header.bytes_per_row
        if header.format == "jpeg":
            held += source.stat().st_size  # libvips maps it
        copies = BAND_COPIES + (RAIN_COPIES if rain is not None else 0)
        band_row = copies * header.bytes_per_row
        grid = derainer.plan(
            header.height, header.width, header.dtype, held=held, band_row=band_row
        )
        writers = [
            stack.enter_context(bands.write_bands(path, header, overwrite=overwrite))
            for path in (target, rain)
            if path is not None
        ]
        window = partial(
            derainer.derain_window,
            profile=profile_of(header.info.icc, header.channels - 1 + header.channels % 2),
        )
        for rows in grid.rows:
            samples = reader.read(rows.first, rows.last)
            colour, _ = pixels.split_alpha(samples)
            out = samples[rows.core_in_window].copy()
            clean, _ = pixels.split_alpha(out)
            tiling.run_row(window, colour, rows, grid, clean)
            writers[0](out)
            if rain is not None:
                writers[1](pixels.rain_layer(samples[rows.core_in_window], out))
            del samples, colour, out, clean  # before the next are made
    return header.height, header.width
