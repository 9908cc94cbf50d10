"""What pictures show, apart from their names: whether two fit, and whether two are the same.

Both questions are asked of luma with its smooth part removed. Rain is strong there but unlike any
background, so a rainy picture still correlates with its own target (0.22 at least over Rain100H)
and not with another (0.03 at most).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REACH = 16  # px, the farthest shift looked for
_CROP = 1024  # px, the part of a large picture that is enough to see a shift
_CELLS = 32
_ANEW = 4  # levels, mean distance of thumbnails


class Fit(NamedTuple):
    """How two pictures of one size lie over each other.

    Correlations below ``noise`` mean nothing: they are what unrelated pictures reach by chance.

    Attributes:
        down: Rows by which the second picture is shifted against the first, -16..16.
        right: Columns likewise.
        best: Correlation of the fine structure at that shift, -1..1.
        here: Correlation without any shift.
        noise: The largest correlation that chance explains at this size.
    """

    down: int
    right: int
    best: float
    here: float
    noise: float

    @property
    def shifted(self) -> bool:
        """Whether a shift fits clearly better than none."""
        return self.best > max(self.noise, 1.2 * self.here)

    @property
    def unrelated(self) -> bool:
        """Whether the pictures show different scenes (unknown, so False, for flat or tiny ones)."""
        return self.best < self.noise < 0.1


def fit(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Fit:
    """Find the shift of at most 16 px at which two pictures (H, W, 3) of one size agree best.

    A flat picture fits anywhere: its correlations are NaN.
    """
    a, b = (_fine(_luma(_centre(picture))) for picture in (first, second))
    # Six standard deviations of independent noise; 0.03 where structures of scenes resemble.
    noise = max(0.03, 6 / a.size**0.5)
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    if norm < 1e-6:
        return Fit(0, 0, np.nan, np.nan, noise)
    # Room for the shifts, so that no side meets the opposite one.
    shape = (a.shape[0] + REACH, a.shape[1] + REACH)
    spectrum = np.conj(np.fft.rfft2(a, shape)) * np.fft.rfft2(b, shape)
    correlation = np.fft.irfft2(spectrum, shape) / norm
    rows, columns = (min(REACH, n - 1) for n in a.shape)
    window = np.roll(correlation, (rows, columns), (0, 1))[: 2 * rows + 1, : 2 * columns + 1]
    down, right = np.unravel_index(int(window.argmax()), window.shape)
    best, here = float(window.max()), float(window[rows, columns])
    return Fit(int(down) - rows, int(right) - columns, best, here, noise)


class Fingerprint(NamedTuple):
    """What tells a picture from others.

    Attributes:
        exact: SHA-256 of the decoded pixels and their size.
        shape: Height and width.
        thumbnail: (32, 32, 3) mean levels, uint8.
    """

    exact: str
    shape: tuple[int, int]
    thumbnail: NDArray[np.uint8]


def fingerprint(picture: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of a picture (H, W, 3)."""
    height, width = picture.shape[:2]
    digest = hashlib.sha256(f"{height}x{width}:".encode() + picture.tobytes()).hexdigest()
    edges = [np.arange(_CELLS) * n // _CELLS for n in (height, width)]
    sums = np.add.reduceat(picture, edges[0], 0, dtype=np.int64)
    sums = np.add.reduceat(sums, edges[1], 1)
    cells = [
        np.maximum(np.diff(e, append=n), 1) for e, n in zip(edges, (height, width), strict=True)
    ]
    means = sums / (cells[0][:, None] * cells[1])[..., None]
    return Fingerprint(digest, (height, width), np.rint(means).astype(np.uint8))


def same_picture(a: Fingerprint, b: Fingerprint) -> str | None:
    """``"the same pixels"``, ``"the same picture, encoded anew"``, or None for two pictures.

    Encoding anew (JPEG, another size of up to a few percent) moves the mean of a cell by 2
    levels at most on average; the nearest different backgrounds of Rain100 are 13 apart. Pictures
    with little in them (a grey sky) count only if their pixels are the same.
    """
    if a.exact == b.exact:
        return "the same pixels"
    if min(a.thumbnail.std(), b.thumbnail.std()) < 8:
        return None
    aspects = (shape[0] / shape[1] for shape in (a.shape, b.shape))
    if abs(next(aspects) / next(aspects) - 1) > 0.05:
        return None
    distance = np.abs(a.thumbnail.astype(np.int16) - b.thumbnail).mean()
    return "the same picture, encoded anew" if distance < _ANEW else None


def find_same(
    left: list[Fingerprint], right: list[Fingerprint] | None = None
) -> list[tuple[int, int, str]]:
    """Indices of the same pictures in two lists, or twice in one, and how they are the same.

    In one list, each later copy is told once, with the first picture that it repeats.
    """
    others = left if right is None else right
    if not left or not others:
        return []
    thumbnails = np.stack([f.thumbnail for f in left]).reshape(len(left), -1).astype(np.int16)
    # A coarse look at all at once first: the mean of the cells moves less than the cells do.
    means = thumbnails.mean(axis=1)
    exact: dict[str, int] = {}
    for i, print_ in enumerate(left):
        exact.setdefault(print_.exact, i)
    found = []
    for j, other in enumerate(others):
        limit = j if right is None else len(left)
        i = exact.get(other.exact, limit)
        near = np.flatnonzero(np.abs(means[:limit] - other.thumbnail.mean()) < _ANEW)
        for candidate in [i] if i < limit else near:
            how = same_picture(left[candidate], other)
            if how:
                found.append((int(candidate), j, how))
                break
    return found


def _luma(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    weights = np.array([0.299, 0.587, 0.114], np.float32)
    luma: NDArray[np.float32] = picture.astype(np.float32) @ weights
    return luma


def _centre(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = (max(0, n - _CROP) // 2 for n in picture.shape[:2])
    return picture[top : top + _CROP, left : left + _CROP]


def _fine(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each pixel minus the mean of its four neighbours; zero at the border."""
    fine = np.zeros_like(luma)
    neighbours: NDArray[np.float32] = (
        luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    )
    fine[1:-1, 1:-1] = luma[1:-1, 1:-1] - neighbours / 4
    return fine
