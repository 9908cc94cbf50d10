"""Pictures in tiles: each is computed with a margin, and only its core is kept.

A margin (halo) as wide as the network's receptive field makes the result that of the whole picture:
what the zero padding at a tile's edge disturbs never reaches the core.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet.inference.memory import give_back

# Narrower cores would save little memory: the halo around them stays.
LEAST_CORE = 128
SEAM_TOLERANCE = {"fp32": 1e-5, "fp16": 2e-3, "bf16": 1e-2, "int8": 1e-2}
"""How far a result in tiles may be from that of the whole picture, on a scale from 0 to 1. Sizes
differ, and so may the order in which numbers are added: a last digit of the format at most. With
the same order the results are the same, as they were in fp32 and bf16 wherever measured."""


class Span(NamedTuple):
    """A tile along one axis, in pixels: the core that it yields, the window that it reads."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def core(self) -> slice:
        """Where the result belongs in the picture."""
        return slice(self.start, self.stop)

    @property
    def window(self) -> slice:
        """What has to be read: the core and its halo, as far as the picture goes."""
        return slice(self.first, self.last)

    @property
    def core_in_window(self) -> slice:
        """Where the core lies in the window."""
        return slice(self.start - self.first, self.stop - self.first)


class Grid(NamedTuple):
    """A picture cut into tiles, in rows and columns; their cores partition it."""

    rows: tuple[Span, ...]
    columns: tuple[Span, ...]

    @property
    def pixels(self) -> int:
        """Area of all windows: what computing them costs."""
        return math.prod(sum(span.last - span.first for span in axis) for axis in self)

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the largest window: what decides the memory."""
        height, width = (max(span.last - span.first for span in axis) for axis in self)
        return height, width


class Cost(NamedTuple):
    """Bytes that a grid takes at its peak.

    Attributes:
        pixel: For each pixel of a window, while it is computed.
        row: For each row of a window, where the picture is held in bands of that height.
    """

    pixel: int
    row: int = 0

    def of(self, grid: Grid) -> int:
        """The peak for a grid."""
        height, width = grid.window
        return height * (width * self.pixel + self.row)


def square_grid(height: int, width: int, halo: int, side: int) -> Grid:
    """Cut a picture into tiles whose cores are at most ``side`` pixels high and wide.

    Args:
        height: Of the picture, 1 or more.
        width: Of the picture, 1 or more.
        halo: Pixels to read on each side of a core, where the picture has them.
        side: Largest side of a core; 0 makes one tile of the whole picture. Cores are of equal
            size to within a pixel, so that none is a sliver.
    """
    rows, columns = (math.ceil(length / (side or length)) for length in (height, width))
    return _grid(height, width, halo, rows, columns)


def cheapest_grid(height: int, width: int, halo: int, cost: Cost, memory: int) -> Grid:
    """The grid that computes the fewest pixels within a budget of memory.

    Args:
        height: Of the picture, 1 or more.
        width: Of the picture, 1 or more.
        halo: Pixels to read on each side of a core, where the picture has them.
        cost: Of a grid.
        memory: The budget in bytes.

    Returns:
        The whole picture if it fits; else strips or tiles; the grid that takes least memory if
        none fits, which ``cost`` tells.
    """
    if cost.of(whole := _grid(height, width, halo, 1, 1)) <= memory:
        return whole
    found = []
    for columns in range(1, _most(width) + 1):
        affordable = memory // (_widest(width, columns, halo) * cost.pixel + cost.row)
        rows = _fewest(height, halo, affordable)
        if rows <= _most(height):
            area = (height + 2 * halo * (rows - 1)) * (width + 2 * halo * (columns - 1))
            found.append((area, rows * columns, rows, columns))
    if found:
        _, _, rows, columns = min(found)
    else:
        rows, columns = (_narrowest(length, halo) for length in (height, width))
    return _grid(height, width, halo, rows, columns)


def _grid(height: int, width: int, halo: int, rows: int, columns: int) -> Grid:
    return Grid(_spans(height, rows, halo), _spans(width, columns, halo))


def _spans(length: int, count: int, halo: int) -> tuple[Span, ...]:
    edges = [length * i // count for i in range(count + 1)]
    return tuple(
        Span(start, stop, max(0, start - halo), min(length, stop + halo))
        for start, stop in pairwise(edges)
    )


def _most(length: int) -> int:
    return math.ceil(length / LEAST_CORE)


def _narrowest(length: int, halo: int) -> int:
    """How many spans make the shortest windows; more than two read a halo on both sides."""
    counts = {1, min(2, _most(length)), _most(length)}
    return min(counts, key=lambda count: _widest(length, count, halo))


def _widest(length: int, count: int, halo: int) -> int:
    """The longest window of ``_spans``, or a little more."""
    return min(length, math.ceil(length / count) + min(count - 1, 2) * halo)


def _fewest(length: int, halo: int, longest: int) -> int:
    """How many spans it takes for no window to be longer than ``longest``."""
    for count in (1, 2):
        if _widest(length, count, halo) <= longest:
            return count
    return math.ceil(length / core) if (core := longest - 2 * halo) > 0 else length + 1


def run_tiled(
    function: Callable[[NDArray[Any]], NDArray[Any]], picture: NDArray[Any], grid: Grid
) -> NDArray[Any]:
    """Apply a function of bounded reach to a picture, tile by tile.

    Args:
        function: From a window (h, w, C) to an array of the same shape and dtype, in which a pixel
            depends on those within the grid's halo of it only.
        picture: (H, W, C).
        grid: Of H x W pixels.

    Returns:
        (H, W, C), the dtype of ``picture``: what ``function(picture)`` would give.
    """
    out = np.empty_like(picture, order="C")
    for rows in grid.rows:
        run_row(function, picture[rows.window], rows, grid, out[rows.core])
    return out


def run_row(
    function: Callable[[NDArray[Any]], NDArray[Any]],
    band: NDArray[Any],
    rows: Span,
    grid: Grid,
    out: NDArray[Any],
) -> None:
    """Apply a function to one row of tiles, as `run_tiled` to all.

    Args:
        function: As for `run_tiled`.
        band: The window of the row of tiles, over the whole width of the picture.
        rows: Which of ``grid.rows``.
        grid: The tiles.
        out: Where the core of the row goes, over the whole width of the picture.
    """
    for columns in grid.columns:
        clean = function(band[:, columns.window])
        out[:, columns.core] = clean[rows.core_in_window, columns.core_in_window]
        if len(grid.rows) * len(grid.columns) > 1:
            del clean
            give_back()
