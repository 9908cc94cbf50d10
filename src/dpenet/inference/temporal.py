"""Steadier clips: what neighbouring frames know about the scene behind the rain of a frame.

A network that sees one frame at a time errs differently in each, and the result flickers. But a
streak stays at its place for one frame only, and rain only brightens: where the frames before and
after, moved to fit, show the same scene, no pixel is brighter than it was *with* rain in any of
them (the idea of Garg and Nayar, CVPR 2004), and the errors of the three results average out. A
frame keeps its own pixels wherever the scene does not go on: around what moves differently, at a
cut, and where neighbours differ by more than the rain explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from dpenet.inference.pixels import LUMA

Array = NDArray[np.float32]
Pixels = NDArray[Any]

CELL = 8
"""Side in pixels of the cells that move as one; motion is found at half the clip's size."""
BLOCK = 2 * CELL

# What follows was chosen on synthetic clips; none of those that the documentation measures.
_STEPS = 2  # of Lucas and Kanade's method at each scale
_OUTLIER = 0.08  # difference, of a range of 1, from which on it is no matter of motion
_STIFFNESS = 1e-3  # squared gradient that a motion must stand on
_LOCAL = 1.05  # how much better its own motion must fit a cell than that of the whole picture
_RETURN = 0.25  # px of half size by which there and back may differ
_TEAR = 0.25  # px of half size by which motions may differ around a cell
_GREY = 3 / 255  # difference that needs no rain
_EXCESS = 1.5  # times the clip's usual difference
_MARGIN = 2 / 255  # by which a pixel may be brighter than in a neighbour's rain
_NEAR = 5 / 255  # difference between pixels that needs no rain there
_LEAP = 40 / 255  # how much more of it if the frames before and after are equal there
_STRICT = 8  # how much sooner distrust loosens that bound than the mean


@dataclass(frozen=True)
class _Frame:
    """A frame as the filter holds it.

    Attributes:
        clean: (H, W, 3), without rain, as it came.
        planes: (6, h, w): the same and the rainy frame, with the border that `_taken` needs.
        scales: Luma of ``clean`` from half size down, sides whole numbers of cells.
        rain: Luma that was taken away, at half size.
    """

    clean: Pixels
    planes: Pixels
    scales: list[Array]
    rain: Array


@dataclass(frozen=True)
class _Match:
    """How a neighbour fits a frame: for each cell where it lies there, and how far to trust it."""

    neighbour: _Frame
    motion: Array
    trust: Array


class TemporalFilter:
    """Takes frames in order and gives steadier ones, one frame later.

    Holds two frames and what was computed of them, however long the clip. Not for several threads
    at once. A filter goes on with the next clip after `flush`.

    Frames are (H, W, 3) RGB of uint8 or uint16. A change of size or type is a cut.
    """

    def __init__(self) -> None:
        self._last: _Frame | None = None
        self._before: _Match | None = None

    def push(self, rainy: Pixels, clean: Pixels) -> list[Pixels]:
        """Take the next frame.

        Args:
            rainy: The frame as it was.
            clean: The same without rain, of the same shape and type.

        Returns:
            The frames that are finished now, in order: the one before, if there was one.

        Raises:
            ValueError: If the two are no such frames.
        """
        if rainy.shape != clean.shape or rainy.dtype != clean.dtype:
            raise ValueError("a frame and its result have one shape and type")
        if rainy.ndim != 3 or rainy.shape[2] != 3 or rainy.dtype.kind != "u" or not rainy.size:
            raise ValueError(f"frames are (H, W, 3) of whole numbers, not {rainy.shape}")
        last = self._last
        if last is not None and (last.clean.shape, last.clean.dtype) != (clean.shape, clean.dtype):
            return self.flush() + self.push(rainy, clean)
        frame = _frame(rainy, clean)
        if last is None:
            self._last = frame
            return []
        there, back = _motion(last.scales, frame.scales), _motion(frame.scales, last.scales)
        done = _blend(last, [self._before, _match(last, frame, there, back)])
        self._last, self._before = frame, _match(frame, last, back, there)
        return [done]

    def flush(self) -> list[Pixels]:
        """Finish the last frame, and forget the clip."""
        last, before = self._last, self._before
        self._last = self._before = None
        return [] if last is None else [_blend(last, [before])]


def _frame(rainy: Pixels, clean: Pixels) -> _Frame:
    planes = np.concatenate([np.moveaxis(clean, 2, 0), np.moveaxis(rainy, 2, 0)])
    scales = [_half_luma(planes[:3])]
    rain = np.maximum(_half_luma(planes[3:]) - scales[0], 0)
    while min(scales[-1].shape) > 2 * CELL:
        scales.append(_to_cells(_halved(scales[-1])))
    return _Frame(clean, _bordered(planes, BLOCK), scales, rain)


def _half_luma(planes: Pixels) -> Array:
    """Luma at half size, 0..1, to whole cells."""
    scale = np.float32(1 / np.iinfo(planes.dtype).max)
    return _to_cells(np.tensordot(LUMA * scale, _halved(planes), 1).astype(np.float32))


def _halved(planes: Pixels) -> Array:
    """(..., h, w) to means of 2 x 2, an odd side's last row or column on its own."""
    planes = np.pad(planes, _widths(planes, planes.shape[-2] % 2, planes.shape[-1] % 2), "edge")
    pairs = np.add(planes[..., ::2, :], planes[..., 1::2, :], dtype=np.float32)
    mean: Array = (pairs[..., ::2] + pairs[..., 1::2]) * np.float32(0.25)
    return mean


def _to_cells(plane: Array) -> Array:
    """Repeat the last row and column up to whole cells."""
    height, width = plane.shape
    return np.pad(plane, _widths(plane, -height % CELL, -width % CELL), "edge")


def _widths(array: Pixels, below: int, right: int) -> list[tuple[int, int]]:
    return [(0, 0)] * (array.ndim - 2) + [(0, below), (0, right)]


def _motion(scales: Sequence[Array], others: Sequence[Array]) -> Array:
    """Where the cells of a picture lie in another: Lucas and Kanade, 1981, from coarse to fine.

    Returns:
        (rows of cells, columns of cells, 2): pixels of half size, down and to the right.
    """
    motion = np.zeros((1, 1, 2), np.float32)
    for plane, other in zip(reversed(scales), reversed(others), strict=True):
        rows, columns = (side // CELL for side in plane.shape)
        motion = 2 * np.repeat(np.repeat(motion, 2, 0), 2, 1)
        # The coarser scale may be short of a cell, or have one more.
        motion = np.pad(motion, ((0, rows), (0, columns), (0, 0)), "edge")[:rows, :columns]
        down, right = np.gradient(plane)
        a, b, c = (
            _around(_cell_sums(product)) for product in (down * down, down * right, right * right)
        )
        a, c = a + np.float32(_STIFFNESS), c + np.float32(_STIFFNESS)
        for _ in range(_STEPS):
            rest: Array = np.clip(plane - _moved(other, motion), -_OUTLIER, _OUTLIER)
            u, v = _around(_cell_sums(down * rest)), _around(_cell_sums(right * rest))
            step = np.stack([c * u - b * v, a * v - b * u], -1) / (a * c - b * b)[..., None]
            motion = motion + np.clip(step, -1, 1)
        motion = np.median(_neighbourhoods(motion), (-2, -1)).astype(np.float32)
    choices = [_of_camera(motion), motion, np.zeros_like(motion)]
    misfits = [
        _around(_cell_sums(np.minimum(np.abs(plane - _moved(other, choice)), _OUTLIER)))
        for choice in choices
    ]
    best = np.argmin([misfits[0], *(np.float32(_LOCAL) * misfit for misfit in misfits[1:])], 0)
    chosen: Array = np.choose(best[..., None], choices)
    return chosen


def _of_camera(motion: Array) -> Array:
    """The shift, turn and zoom (an affine motion) that most cells follow, in the same form."""
    rows, columns, _ = motion.shape
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j].reshape(2, -1)
    places, seen = np.stack([np.ones_like(y), y, x], 1), motion.reshape(-1, 2)
    fit = np.zeros((3, 2))
    fit[0] = np.median(seen, 0)
    for _ in range(8):  # reweighted least squares: few cells far off count for nothing
        weight = 1 / (0.1 + np.linalg.norm(seen - places @ fit, axis=1)[:, None])
        fit = np.linalg.lstsq(places * weight, seen * weight, rcond=None)[0]
    camera = (places @ fit).reshape(motion.shape).astype(np.float32)
    # A camera at rest: whole pixels stay sharp, and cost less.
    return np.where(np.abs(camera) < 0.03, np.float32(0), camera)


def _match(frame: _Frame, neighbour: _Frame, there: Array, back: Array) -> _Match:
    """Judge a neighbour, cell by cell."""
    rows, columns, _ = there.shape
    i = np.arange(rows)[:, None] + np.rint(there[..., 0] / CELL).astype(int)
    j = np.arange(columns) + np.rint(there[..., 1] / CELL).astype(int)
    returned = there + back[i.clip(0, rows - 1), j.clip(0, columns - 1)]
    astray = _neighbourhoods(np.linalg.norm(returned, axis=2)[..., None]).max((-2, -1))[..., 0]
    near = _neighbourhoods(there)
    torn = np.linalg.norm(near.max((-2, -1)) - near.min((-2, -1)), axis=2)

    plane, rain = frame.scales[0], frame.rain
    moved, moved_rain = _moved(np.stack([neighbour.scales[0], neighbour.rain]), there)
    # A result brighter than the rainy frame is the worse sign.
    differs = np.abs(moved - plane) + np.maximum(moved - plane - rain, 0)
    excess = _worst(differs) / (_worst(np.maximum(rain, moved_rain)) + _GREY)
    # How much of the rain a network leaves is a matter of network and rain, but never all of it.
    usual = min(float(np.median(excess)), 1.0)
    trust = _fading(excess, _EXCESS * usual + 1e-3)
    trust *= _fading(astray, _RETURN) * _fading(torn, _TEAR)
    return _Match(neighbour, there, trust.astype(np.float32))


def _worst(plane: Array) -> Array:
    """The highest mean of places in each cell: of what moves there, little may be inside."""
    rows, columns = (side // CELL for side in plane.shape)
    places = plane.reshape(2 * rows, CELL // 2, 2 * columns, CELL // 2).mean((1, 3))
    worst: Array = _around(places).reshape(rows, 2, columns, 2).max((1, 3)) / 9
    return worst


def _fading(value: Pixels, limit: float | Pixels) -> Pixels:
    """1 up to the limit, falling to 0 at twice of it."""
    return np.clip(2 - value / limit, 0, 1)


def _blend(frame: _Frame, matches: Sequence[_Match | None]) -> Pixels:
    """The frame, with what its neighbours know."""
    found = [match for match in matches if match is not None and match.trust.any()]
    if not found:
        return frame.clean
    height, width, _ = frame.clean.shape
    peak = np.iinfo(frame.clean.dtype).max
    # What lies between two cells needs the trust of both.
    trusts = [(4 * _spread(match.trust, height, width) - 3).clip(0, 1) for match in found]
    steps = [2 * match.motion for match in found]
    out = np.empty_like(frame.clean)
    for row in range(found[0].motion.shape[0]):  # so that all that is in hand stays in the cache
        top, bottom = row * BLOCK, min((row + 1) * BLOCK, height)
        place = frame.planes[:, BLOCK + top : BLOCK + bottom, BLOCK : BLOCK + width]
        own, rainy = place.reshape(2, 3, bottom - top, width).astype(np.float32)
        moved = [
            _taken(match.neighbour.planes, step[row : row + 1], BLOCK, row).reshape(
                2, 3, BLOCK, -1
            )[..., : bottom - top, :width]
            for match, step in zip(found, steps, strict=True)
        ]
        bound, others = rainy.copy(), []
        for (clean, wet), trust in zip(moved, trusts, strict=True):
            rain = np.maximum(rainy - own, wet - clean).clip(0)
            limit = np.float32(_NEAR * peak) + rain / 2
            if len(moved) == 2:  # where both sides agree, it is the frame that is wrong
                apart = np.abs(moved[0][0] - moved[1][0])
                limit += np.maximum(_LEAP * peak + 2 * (rain - apart), 0)
            weight = trust[top:bottom] * _fading(np.abs(clean - own), limit)
            np.minimum(bound, wet + peak * (_STRICT + _MARGIN - _STRICT * weight), out=bound)
            others.append((clean, weight))
        total, count = np.minimum(own, bound), np.ones_like(own)
        for clean, weight in others:
            total += weight * np.minimum(clean, bound)
            count += weight
        out[top:bottom] = np.moveaxis(np.rint(total / count).clip(0, peak), 0, 2)
    return out


def _spread(cells: Pixels, height: int, width: int) -> Array:
    """Values of blocks to pixels, linear between the blocks' centres."""
    for axis, side in ((0, height), (1, width)):
        last = cells.shape[axis] - 1
        at = ((np.arange(side, dtype=np.float32) + 0.5) / BLOCK - 0.5).clip(0, last)
        low = at.astype(int)
        high = np.minimum(low + 1, last)
        part = np.expand_dims(at - low.astype(np.float32), 1 - axis)
        cells = cells.take(low, axis) * (1 - part) + cells.take(high, axis) * part
    return cells


def _moved(planes: Array, motion: Array) -> Array:
    """Planes (..., h, w) of whole cells, each cell of them as it lies ``motion`` further."""
    return _taken(_bordered(planes, CELL), motion, CELL)


def _bordered(planes: Pixels, side: int) -> Pixels:
    """Planes with a border to take from, and up to whole squares of this side."""
    height, width = planes.shape[-2:]
    rows, columns = ((side, side + 2 + -length % side) for length in (height, width))
    return np.pad(planes, [(0, 0)] * (planes.ndim - 2) + [rows, columns], "edge")


def _taken(bordered: Pixels, motion: Array, side: int, first: int = 0) -> Array:
    """Some rows of squares out of what `_bordered` gave, each where its motion leads.

    Args:
        bordered: (..., h, w).
        motion: (rows, columns, 2), in pixels. What lies outside is the border.
        side: Of the squares.
        first: Number of the first of these rows.

    Returns:
        (..., rows * side, columns * side), cubic between pixels.
    """
    rows, columns, _ = motion.shape
    whole = np.floor(motion).astype(int)
    part = (motion - whole.astype(np.float32))[..., None, None]
    i = (np.arange(first, first + rows)[:, None] + 1) * side + whole[..., 0]
    j = (np.arange(columns) + 1) * side + whole[..., 1]
    i = i.clip(1, bordered.shape[-2] - side - 2)
    j = j.clip(1, bordered.shape[-1] - side - 2)
    size = side + 3 if part.any() else side  # beside them, what the interpolation reaches
    windows = sliding_window_view(bordered, (size, size), axis=(-2, -1))
    reach = (size - side) // 3
    squares = windows[..., i - reach, j - reach, :, :].astype(np.float32)
    if reach:
        down, right = _cubic(part[:, :, 0]), _cubic(part[:, :, 1])
        squares = np.asarray(sum(tap * squares[..., k : k + side, :] for k, tap in enumerate(down)))
        # Rows lie one behind the other: one long run of pixels is much faster than many short ones.
        lines = squares.reshape(*squares.shape[:-2], side * size)
        length = side * size - 3
        lines[..., :length] = sum(
            tap[..., 0] * lines[..., k : k + length] for k, tap in enumerate(right)
        )
        squares = squares[..., :side]
    lead = bordered.shape[:-2]
    return squares.swapaxes(-3, -2).reshape(*lead, rows * side, columns * side)


def _cubic(t: Pixels) -> tuple[Pixels, Pixels, Pixels, Pixels]:
    """What four pixels in a row weigh at ``t`` between the middle two (Keys, 1981)."""
    return (
        ((1 - t / 2) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1,
        ((2 - 1.5 * t) * t + 0.5) * t,
        (t - 1) * t * t / 2,
    )


def _cell_sums(plane: Any) -> Array:
    """(h, w) of whole cells to a sum for each."""
    height, width = plane.shape
    sums: Array = plane.reshape(height // CELL, CELL, width // CELL, CELL).sum((1, 3))
    return sums


def _around(cells: Array) -> Array:
    """The sum over each cell and the up to eight around it."""
    cells = np.pad(cells, 1)
    cells = cells[:-2] + cells[1:-1] + cells[2:]
    return cells[:, :-2] + cells[:, 1:-1] + cells[:, 2:]


def _neighbourhoods(cells: Array) -> Array:
    """(rows, columns, n) to (rows, columns, n, 3, 3), the edge repeated."""
    cells = np.pad(cells, ((1, 1), (1, 1), (0, 0)), "edge")
    return sliding_window_view(cells, (3, 3), axis=(0, 1))
