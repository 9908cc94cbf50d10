"""Pictures to measure the ranges of a network on: made up, and the user's photos if any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dpenet.rain import KINDS, render_rain, sample_rain

Array = NDArray[np.float32]

MADE_UP = "made-up scenes"
"""What int8 forms call the default calibration, which the scores in the table are of."""
SCENES = 24
SIDE = 128
_LEAST_RADIUS = 2.0


def rainy_scenes(photos: Sequence[Array] = ()) -> list[Array]:
    """Scenes made up, and squares of photos, under all kinds of rain.

    Args:
        photos: (H, W, 3), RGB in 0..1, with or without rain of their own.

    Returns:
        `SCENES` made-up ones and as many of photos if there are any, (1, 3, h, w) with sides of
        `SIDE` or what a photo has. The same arguments give the same ones.
    """
    rng = np.random.default_rng(0)
    scenes = [dead_leaves(SIDE, rng) for _ in range(SCENES)]
    if photos:
        scenes += [_square(photos[i % len(photos)], rng) for i in range(SCENES)]
    rainy = []
    for i, scene in enumerate(scenes):
        picture = render_rain(scene, sample_rain(KINDS[i % len(KINDS)], rng), rng)
        rainy.append(np.ascontiguousarray(picture.transpose(2, 0, 1)[None]))
    return rainy


def dead_leaves(side: int, rng: np.random.Generator) -> Array:
    """A scene of discs that hide one another, the nearest first.

    With radii whose density falls with their cube it has edges and flat areas at every scale, as
    photos have (Lee, Mumford and Huang, IJCV 2001), and more saturated colours than most.

    Args:
        side: Of the square, in pixels.
        rng: Source of all randomness.

    Returns:
        (side, side, 3), float32 in 0..1.
    """
    scene = np.full((side, side, 3), 0.5, np.float32)
    empty = np.ones((side, side), bool)
    y, x = np.mgrid[:side, :side]
    while empty.mean() > 0.01:
        # The inverse of the radius' cumulative distribution.
        radius = rng.uniform(side**-2.0, _LEAST_RADIUS**-2.0) ** -0.5
        centre = rng.uniform(-radius, side + radius, 2)
        box = tuple(slice(max(0, int(at - radius)), max(0, int(at + radius) + 2)) for at in centre)
        down, right = y[box] - centre[0], x[box] - centre[1]
        disc = empty[box] & (down**2 + right**2 < radius**2)
        colour = rng.uniform(0, 1) + rng.normal(0, 0.15, 3)
        slope = rng.normal(0, 0.3 / side, 2)
        shade = slope[0] * down + slope[1] * right
        scene[box][disc] = colour + shade[disc][:, None]
        empty[box] &= ~disc
    return np.clip(scene + rng.normal(0, 0.01, scene.shape), 0, 1).astype(np.float32)


def _square(photo: Array, rng: np.random.Generator) -> Array:
    top, left = (int(rng.integers(0, max(1, size - SIDE + 1))) for size in photo.shape[:2])
    return photo[top : top + SIDE, left : left + SIDE]
