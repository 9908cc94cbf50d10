"""What a rain is: the parameters of its layers, and of all that lies over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
RainKind = Literal["light", "heavy", "mixed", "foggy"]
KINDS: tuple[RainKind, ...] = get_args(RainKind)


@dataclass(frozen=True)
class StreakLayer:
    """Streaks at one depth.

    Attributes:
        angle: Lean from the vertical, in degrees; positive leans the top to the right.
        length: Streak length in pixels (exposure time times falling speed).
        width: Streak width in pixels.
        coverage: Expected sum of streak areas over the picture's area. Below 1 single streaks are
            seen; above it they merge into a grain, as motion-blurred noise does.
        brightness: What a full streak adds, in 0..1.
        softness: Width in pixels of the edge across the streak (defocus); near 0 is a hard edge.
        variation: How much streaks differ, in 0..1. 0 gives equal, exactly parallel ones; 1 mostly
            faint ones, with some degrees and some tenths of their size between them.
        taper: Share of the length over which each end fades (motion-blur profile), in 0..1.
        overlap: How many full streaks add up where they cross; 1 makes crossings no brighter.
        dry: Share of the picture, in 0..1, that stays dry: where the sum of the streaks is least,
            nothing is seen, and elsewhere what lies above (rain made of thresholded noise).
        unevenness: Change of brightness over the picture, in 0..1: 0 is the same everywhere, 1
            runs smoothly between none and twice as much (light and depth are uneven).
        roughness: How much the strength varies from pixel to pixel, in 0..1: 0 is smooth, 1 is
            torn, as rain made of noise is.
        enlargement: The layer is drawn so many times smaller and enlarged smoothly, as ready-made
            textures of rain are fitted to pictures; below 1 it is drawn larger and reduced, so that
            the steps of a hard slanting edge are finer than a pixel. Sizes are those after it.
    """

    angle: float
    length: float
    width: float
    coverage: float
    brightness: float
    softness: float = 0.5
    variation: float = 0.5
    taper: float = 0.3
    overlap: float = 1.0
    dry: float = 0.0
    unevenness: float = 0.0
    roughness: float = 0.0
    enlargement: float = 1.0


@dataclass(frozen=True)
class Rain:
    """Everything that happens between a clean scene and its rainy picture.

    Attributes:
        layers: Streak layers, far to near.
        screen: 0 adds streaks to the scene, 1 screens them (bright scenes hide them).
        tint: RGB colour of the streaks, each in 0..1.
        veil: Optical thickness of the accumulation veil at the farthest point; 0 is none.
        airlight: Grey level of the veil, in 0..1.
        noise: Standard deviation of sensor noise, in units of full range.
        jpeg: JPEG quality of the rainy picture, or None for no compression.
    """

    layers: tuple[StreakLayer, ...]
    screen: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    veil: float = 0.0
    airlight: float = 0.8
    noise: float = 0.0
    jpeg: int | None = None
