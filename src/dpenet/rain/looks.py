"""Which rains there are: the parameters of a random one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dpenet.errors import UsageError
from dpenet.rain.model import KINDS, Rain, RainKind, StreakLayer

# Streaks in a square of so many pixels, at least; and how many pixels one covers, at most.
_FEWEST, _AROUND, _LARGEST = 10, 128, 512
# What all layers add on the mean, about, in 0..1: more of it leaves nothing to learn from.
_MOST_LIGHT = 0.55

_Look = Callable[[bool, float, np.random.Generator], StreakLayer]


def sample_rain(kind: RainKind, rng: np.random.Generator) -> Rain:
    """Draw the parameters of one rain.

    Five looks of streaks occur, alone or together: sharp lines that are copies of one another (Yang
    et al., CVPR 2017), other lines, grain, which is dense motion-blurred noise screened over the
    scene (Fu et al., CVPR 2017; Zhang and Patel, CVPR 2018), sheets, where such noise is
    thresholded into bright ragged streaks, as picture editors make rain (Zhang et al., 2019), and
    drops of any width and blur (Garg and Nayar, 2006). Their ranges were fitted as docs/rain.md
    tells.

    Args:
        kind: ``light`` (one or two layers, one direction), ``heavy`` (up to five layers, sometimes
            in several directions), ``foggy`` (streaks behind a veil) or ``mixed`` (any of these).
        rng: Source of all randomness; the same state gives the same rain.

    Raises:
        UsageError: If ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no rain {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "mixed":
        kind = ("light", "heavy", "foggy")[int(rng.choice(3, p=[0.45, 0.48, 0.07]))]
    heavy = kind == "heavy" or (kind == "foggy" and rng.random() < 0.5)
    foggy = kind == "foggy"
    # Most rain falls nearly straight, and knowing that tells streaks from the lines of a scene.
    lean = float(np.clip(rng.normal(0, 9 if rng.random() < 0.8 else 25), -60, 60))
    looks, spread = _looks(heavy, rng)
    layers = [look(heavy, lean + float(rng.normal(0, spread)), rng) for look in looks]
    # More sheets of rain, each thinner: all of them together must leave something of the scene.
    layers = [replace(layer, coverage=layer.coverage * len(looks) ** -0.5) for layer in layers]
    light = sum(layer.brightness * min(layer.coverage, 1) for layer in layers)
    if light > _MOST_LIGHT:
        layers = [replace(x, brightness=x.brightness * _MOST_LIGHT / light) for x in layers]
    plain = [0, 1, rng.random()]
    screen = 1.0 if _grain in looks else float(rng.choice(plain, p=[0.6, 0.2, 0.2]))
    blue = float(rng.uniform(0, 0.08)) * (rng.random() < 0.5)
    return Rain(
        layers=tuple(layers),
        screen=screen,
        tint=(1 - blue, 1 - blue / 2, 1.0),
        veil=float(
            rng.uniform(0.2, 1.0) if foggy else rng.uniform(0, 0.15) * (rng.random() < 0.05)
        ),
        airlight=float(rng.uniform(0.6, 0.95)),
        noise=float(rng.uniform(0, 0.012)) if rng.random() < 0.1 else 0.0,
        jpeg=int(rng.integers(70, 98)) if rng.random() < 0.1 else None,
    )


def _looks(heavy: bool, rng: np.random.Generator) -> tuple[list[_Look], float]:
    """The look of each layer, far to near, and how far their directions spread, in degrees."""
    if not heavy:
        kinds: tuple[_Look, ...] = (_copies, _lines, _grain, _drops, _sheet)
        look = kinds[int(rng.choice(5, p=[0.58, 0.1, 0.17, 0.07, 0.08]))]
        count = 1 if look is _grain else 1 + int(rng.random() < 0.25)
        return [look] * count, 3.0
    if rng.random() < 0.22:
        return [_grain], 0.0
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.35, 0.3, 0.15, 0.1, 0.1]))
    kinds = (_copies, _lines, _drops, _sheet)
    streaks = [kinds[int(rng.choice(4, p=[0.66, 0.1, 0.06, 0.18]))] for _ in range(count)]
    looks = [streaks[0]] * count if rng.random() < 0.6 else streaks
    # Far rain is a grain behind the streaks of the near.
    behind: list[_Look] = [_grain] if rng.random() < 0.15 else []
    # Heavy rain may be composed of sheets from clearly different directions.
    return behind + looks, float(rng.uniform(10, 40)) if rng.random() < 0.2 else 4.0


def _copies(heavy: bool, angle: float, rng: np.random.Generator) -> StreakLayer:
    """Copies of one thin straight streak, drawn finely and reduced, that merge where they meet."""
    layer = StreakLayer(
        angle=_leaning(angle),
        length=_log_uniform(15, 280, rng),
        width=_log_uniform(0.9, 2.8, rng),
        # At most 75 % of a picture is covered: with more of it the gaps look like dark streaks, and
        # networks that look between them take the bars of grilles for such gaps.
        coverage=_log_uniform(0.4, 1.4, rng) if heavy else _log_uniform(0.02, 0.4, rng),
        brightness=float(rng.uniform(0.2, 0.6) if heavy else rng.uniform(0.08, 0.5)),
        softness=_sometimes(0.3, 0.03, 0.8, rng),
        variation=0.0,
        taper=0.0,
        overlap=_sometimes(0.3, 1.0, 1.6, rng),
        unevenness=_sometimes(0.5, 0.0, 0.6, rng),
        enlargement=float(rng.uniform(0.4, 0.9)),
    )
    return _in_numbers(layer)


def _lines(heavy: bool, angle: float, rng: np.random.Generator) -> StreakLayer:
    """Long, straight streaks of nearly equal brightness, half of them with hard edges."""
    layer = StreakLayer(
        angle=_leaning(angle),
        length=_log_uniform(20, 250, rng),
        width=_log_uniform(0.8, 4.5, rng),
        coverage=_log_uniform(0.25, 1.1, rng) if heavy else _log_uniform(0.02, 0.35, rng),
        brightness=float(rng.uniform(0.25, 0.75) if heavy else rng.uniform(0.08, 0.5)),
        softness=float(rng.choice([0.05, rng.uniform(0.3, 2.0)])),
        variation=float(rng.choice([0.0, rng.uniform(0, 0.6)])),
        taper=float(rng.choice([0.0, rng.uniform(0, 0.6)])),
        unevenness=float(rng.choice([0.0, rng.uniform(0, 0.9)])),
        roughness=_sometimes(0.25, 0.0, 0.8, rng),
        enlargement=_sometimes(0.3, 1.0, 3.0, rng),
    )
    return _in_numbers(layer)


def _grain(heavy: bool, angle: float, rng: np.random.Generator) -> StreakLayer:
    """Short streaks so dense that they lighten the whole picture."""
    coverage = _log_uniform(1.5, 8.0, rng)
    level = float(rng.uniform(0.09, 0.32) if heavy else rng.uniform(0.02, 0.1))
    variation = float(rng.uniform(0, 0.5))
    return StreakLayer(
        angle=_leaning(angle),
        length=_log_uniform(6, 45, rng),
        width=float(rng.uniform(0.8, 1.9)),
        coverage=coverage,
        brightness=level / coverage * (1 + 4 * variation),  # the mean of a streak's strength
        softness=float(rng.uniform(0.4, 1.5)),
        variation=variation,
        taper=float(rng.uniform(0, 1)),
        overlap=100.0,  # no crossing is as bright
        unevenness=float(rng.choice([0.0, rng.uniform(0, 0.4)])),
        enlargement=_sometimes(0.2, 1.0, 1.5, rng),
    )


def _sheet(heavy: bool, angle: float, rng: np.random.Generator) -> StreakLayer:
    """Ragged streaks, fused of many: motion-blurred noise of which the brightest parts are seen."""
    coverage = _log_uniform(0.7, 5.0, rng)
    variation = float(rng.uniform(0, 0.5))
    deviation = math.sqrt(coverage / (1 + 8 * variation))  # of the sum of the streaks at a pixel
    return StreakLayer(
        angle=_leaning(angle),
        length=_log_uniform(8, 120, rng),
        width=_log_uniform(0.7, 4.0, rng),
        coverage=coverage,
        brightness=float(rng.uniform(0.2, 0.75) if heavy else rng.uniform(0.08, 0.45)) / deviation,
        softness=float(rng.uniform(0.3, 1.5)),
        variation=variation,
        taper=float(rng.uniform(0, 1)),
        overlap=deviation * float(rng.uniform(1, 2)),
        dry=float(rng.uniform(0.2, 0.8) if heavy else rng.uniform(0.75, 0.97)),
        unevenness=float(rng.choice([0.0, rng.uniform(0, 0.6)])),
        roughness=_sometimes(0.3, 0.0, 1.0, rng),
        enlargement=_sometimes(0.5, 1.0, 4.0, rng),
    )


def _drops(heavy: bool, angle: float, rng: np.random.Generator) -> StreakLayer:
    """Streaks of drops in the air: nearer ones are longer, wider, softer and brighter."""
    nearness = rng.random()
    coverage = _log_uniform(0.03, 0.45, rng)
    layer = StreakLayer(
        angle=_leaning(angle),
        length=_log_uniform(8, 40, rng) * (1 + 2.5 * nearness),
        width=float(rng.uniform(0.6, 1.4)) + 3.5 * nearness * float(rng.random()),
        coverage=coverage * (float(rng.uniform(1.0, 2.5)) if heavy else 1.0),
        brightness=float(rng.uniform(0.15, 0.75) if heavy else rng.uniform(0.06, 0.55)),
        softness=float(rng.uniform(0.3, 1.5 + 1.5 * nearness)),
        variation=float(rng.random()),
        taper=float(rng.uniform(0, 1)),
        overlap=float(rng.uniform(1, 2)),
        unevenness=float(rng.choice([0.0, rng.uniform(0, 0.6)])),
        enlargement=_sometimes(0.3, 1.0, 3.0, rng),
    )
    return _in_numbers(layer)


def _in_numbers(layer: StreakLayer) -> StreakLayer:
    """The layer with streaks so small and many that they are never alone.

    A single bright line is more often a mast or the edge of a wall than a streak: rain that brings
    one at a time teaches to take such things away.
    """
    length = min(layer.length, _LARGEST / layer.width)
    least = _FEWEST * length * layer.width / _AROUND**2
    return replace(layer, length=length, coverage=max(layer.coverage, least))


def _leaning(angle: float) -> float:
    return float(np.clip(angle, -75, 75))


def _sometimes(chance: float, low: float, high: float, rng: np.random.Generator) -> float:
    """Uniform in low..high with this chance, else low."""
    drawn = float(rng.uniform(low, high))
    return drawn if rng.random() < chance else low


def _log_uniform(low: float, high: float, rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
