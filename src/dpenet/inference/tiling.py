"""Pictures in tiles: each is computed with a margin, and only its core is kept.

A margin (halo) as wide as the network's receptive field makes the result that of the whole picture:
what the zero padding at a tile's edge disturbs never reaches the core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

# Peak memory per pixel of what one call computes, in bytes, measured with the full network.
BYTES_PER_PIXEL = {"fp32": 1200, "bf16": 700, "fp16": 700}
# What is taken to be free where the system does not say (it does on Linux).
UNKNOWN_FREE_MEMORY = 6_000_000_000
LEAST_TILE = 128


class Span(NamedTuple):
    """A tile along one axis, in pixels: the core that it yields, the window that it reads."""

    start: int
    stop: int
    first: int
    last: int


class Tile(NamedTuple):
    """A rectangle of a picture to compute in one go."""

    rows: Span
    columns: Span

    @property
    def core(self) -> tuple[slice, slice]:
        """Where the result belongs in the picture."""
        return slice(*self.rows[:2]), slice(*self.columns[:2])

    @property
    def window(self) -> tuple[slice, slice]:
        """What has to be read: the core and its halo, as far as the picture goes."""
        return slice(*self.rows[2:]), slice(*self.columns[2:])

    @property
    def core_in_window(self) -> tuple[slice, slice]:
        """Where the core lies in the window."""
        rows, columns = (
            slice(span.start - span.first, span.stop - span.first)
            for span in (self.rows, self.columns)
        )
        return rows, columns

    @property
    def pixels(self) -> int:
        """Area of the window: what the tile costs."""
        return (self.rows.last - self.rows.first) * (self.columns.last - self.columns.first)


def plan_tiles(height: int, width: int, tile: int, halo: int) -> list[Tile]:
    """Cover a picture with tiles whose cores partition it.

    Args:
        height: Of the picture, 1 or more.
        width: Of the picture, 1 or more.
        tile: Largest side of a core; 0 makes one tile of the whole picture. Cores are of equal
            size to within a pixel, so that none is a sliver.
        halo: Pixels to read on each side of a core, where the picture has them.

    Returns:
        Tiles in reading order.
    """
    rows, columns = (_spans(length, tile or length, halo) for length in (height, width))
    return [Tile(row, column) for row in rows for column in columns]


def _spans(length: int, side: int, halo: int) -> list[Span]:
    count = math.ceil(length / side)
    edges = [length * i // count for i in range(count + 1)]
    return [
        Span(start, stop, max(0, start - halo), min(length, stop + halo))
        for start, stop in pairwise(edges)
    ]


def run_tiled(
    function: Callable[[NDArray[Any]], NDArray[Any]], picture: NDArray[Any], tile: int, halo: int
) -> NDArray[Any]:
    """Apply a function of bounded reach to a picture, tile by tile.

    Args:
        function: From a window (h, w, C) to an array of the same shape and dtype, in which a pixel
            depends on those within ``halo`` of it only.
        picture: (H, W, C).
        tile: As for `plan_tiles`.
        halo: As for `plan_tiles`.

    Returns:
        (H, W, C), the dtype of ``picture``: what ``function(picture)`` would give.
    """
    out = np.empty_like(picture, order="C")
    for part in plan_tiles(picture.shape[0], picture.shape[1], tile, halo):
        out[part.core] = function(picture[part.window])[part.core_in_window]
    return out


def automatic_tile(height: int, width: int, halo: int, precision: str) -> int:
    """The tile for a picture that may use half of the free memory: 0 if the whole picture fits."""
    affordable = free_memory() // 2 // BYTES_PER_PIXEL[precision]
    if height * width <= affordable:
        return 0
    return max(LEAST_TILE, math.isqrt(affordable) - 2 * halo)


def free_memory() -> int:
    """Bytes that this process may still take, as far as the system tells."""
    free = UNKNOWN_FREE_MEMORY
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        kilobytes = dict(line.split(":") for line in meminfo.read_text().splitlines())
        free = int(kilobytes["MemAvailable"].split()[0]) * 1024
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text))
    return free
