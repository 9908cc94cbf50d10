"""Seeded rain for clean photos: streak layers, an accumulation veil, sensor noise, JPEG.

A rainy picture is modelled as in Yang et al. (CVPR 2017) and Li et al. (CVPR 2019): the scene is
first veiled by distant rain (atmospheric scattering), then crossed by streak layers, each with one
direction, drop size and brightness as seen at one depth. Nothing here knows about files.

    rng = np.random.default_rng(seed)
    rainy = render_rain(clean, sample_rain("heavy", rng), rng)
"""

from dpenet.rain.drawing import render_rain, streak_mask
from dpenet.rain.looks import sample_rain
from dpenet.rain.model import KINDS, Array, Rain, RainKind, StreakLayer

__all__ = [
    "KINDS",
    "Array",
    "Rain",
    "RainKind",
    "StreakLayer",
    "render_rain",
    "sample_rain",
    "streak_mask",
]
