"""Seeded rain for clean photos: streak layers, an accumulation veil, sensor noise, JPEG.

A rainy picture is modelled as in Yang et al. (CVPR 2017) and Li et al. (CVPR 2019): the scene is
first veiled by distant rain (atmospheric scattering), then crossed by streak layers, each with one
direction, drop size and brightness as seen at one depth. Nothing here knows about files.

    rng = np.random.default_rng(seed)
    rainy = render_rain(clean, sample_rain("heavy", rng), rng)
"""

from __future__ import annotations

import io
import math
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
        coverage: Expected sum of streak areas over the picture's area.
        brightness: What a full streak adds, in 0..1.
        softness: Width in pixels of the edge across the streak (defocus); near 0 is a hard edge.
        variation: Spread of brightness between streaks: 0 gives equal ones, 1 mostly faint ones.
        taper: Share of the length over which each end fades (motion-blur profile), in 0..1.
    """

    angle: float
    length: float
    width: float
    coverage: float
    brightness: float
    softness: float = 0.5
    variation: float = 0.5
    taper: float = 0.3


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


def sample_rain(kind: RainKind, rng: np.random.Generator) -> Rain:
    """Draw the parameters of one rain.

    Args:
        kind: ``light`` (one or two layers, one direction), ``heavy`` (two to five layers, several
            directions), ``foggy`` (streaks behind a veil) or ``mixed`` (any of these).
        rng: Source of all randomness; the same state gives the same rain.

    Raises:
        ValueError: If ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown rain {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "mixed":
        kind = ("light", "heavy", "foggy")[int(rng.choice(3, p=[0.4, 0.48, 0.12]))]
    heavy = kind == "heavy" or (kind == "foggy" and rng.random() < 0.5)
    lean = float(np.clip(rng.normal(0, 18), -50, 50))
    count = int(rng.integers(2, 6)) if heavy else int(rng.integers(1, 3))
    # Heavy rain is often composed of sheets from clearly different directions.
    spread = (float(rng.uniform(10, 40)) if rng.random() < 0.6 else 4.0) if heavy else 3.0
    layers = tuple(
        _sample_layer(heavy, lean + float(rng.normal(0, spread)), rng) for _ in range(count)
    )
    blue = float(rng.uniform(0, 0.08))
    foggy = kind == "foggy"
    return Rain(
        layers=layers,
        screen=float(rng.choice([0.0, 1.0, rng.random()], p=[0.5, 0.25, 0.25])),
        tint=(1 - blue, 1 - blue / 2, 1.0),
        veil=float(rng.uniform(0.2, 1.0) if foggy else rng.uniform(0, 0.15) * (rng.random() < 0.3)),
        airlight=float(rng.uniform(0.6, 0.95)),
        noise=float(rng.uniform(0, 0.012)) if rng.random() < 0.25 else 0.0,
        jpeg=int(rng.integers(70, 98)) if rng.random() < 0.2 else None,
    )


def _sample_layer(heavy: bool, angle: float, rng: np.random.Generator) -> StreakLayer:
    """One layer: nearer drops are longer, wider, sparser and brighter."""
    nearness = rng.random()
    length = math.exp(rng.uniform(math.log(8), math.log(30))) * (1 + 1.8 * nearness)
    width = float(rng.uniform(0.6, 1.4)) + 1.4 * nearness * float(rng.random())
    coverage = math.exp(rng.uniform(math.log(0.03), math.log(0.35)))
    if heavy:
        coverage = min(1.0, coverage * float(rng.uniform(1.0, 2.5)))
    return StreakLayer(
        angle=float(np.clip(angle, -75, 75)),
        length=length,
        width=width,
        coverage=coverage,
        brightness=float(rng.uniform(0.15, 0.75) if heavy else rng.uniform(0.06, 0.55)),
        softness=float(rng.choice([0.05, rng.uniform(0.3, 1.5)])),
        variation=float(rng.choice([0.0, rng.random()], p=[0.3, 0.7])),
        taper=float(rng.choice([0.0, rng.uniform(0, 1)], p=[0.4, 0.6])),
    )


def streak_mask(layer: StreakLayer, height: int, width: int, rng: np.random.Generator) -> Array:
    """Draw one layer's streaks.

    Args:
        layer: What to draw; its ``brightness`` is not applied.
        height: Rows of the mask, at least 1.
        width: Columns of the mask, at least 1.
        rng: Source of the streaks' places, sizes and strengths.

    Returns:
        Opacity of the streaks, (height, width), float32 in 0..1.
    """
    # Two populations, so that neighbouring streaks are not copies of one another.
    kernels = [
        _streak_kernel(
            angle=layer.angle + float(rng.normal(0, 1.0)),
            length=layer.length * float(rng.uniform(0.7, 1.2)),
            width=layer.width * float(rng.uniform(0.8, 1.2)),
            softness=layer.softness,
            taper=layer.taper,
        )
        for _ in range(2)
    ]
    margin = max(max(k.shape) for k in kernels)
    # A smooth size keeps the FFT fast; what wraps around is cut off with the margin.
    rows, columns = _fast_size(height + margin), _fast_size(width + margin)
    spectrum = np.zeros((rows, columns // 2 + 1), np.complex64)
    for kernel in kernels:
        drops_per_pixel = layer.coverage / len(kernels) / max(float(kernel.sum()), 1.0)
        count = rng.poisson(drops_per_pixel * rows * columns)
        drops = np.zeros((rows, columns), np.float32)
        strength = rng.random(count, dtype=np.float32) ** (4 * layer.variation)
        np.add.at(drops, (rng.integers(0, rows, count), rng.integers(0, columns, count)), strength)
        spectrum += np.fft.rfft2(drops) * np.fft.rfft2(kernel, (rows, columns))
    mask = np.fft.irfft2(spectrum, (rows, columns)).astype(np.float32)
    return np.clip(mask[margin : margin + height, margin : margin + width], 0, 1)


def render_rain(clean: Array, rain: Rain, rng: np.random.Generator) -> Array:
    """Make a clean picture rainy.

    Args:
        clean: (H, W, 3), float32, RGB in 0..1.
        rain: What happens to it.
        rng: Source of all randomness; the same state and arguments give the same bytes.

    Returns:
        The rainy picture, (H, W, 3), float32 in 0..1, on the 256 levels of an 8-bit file.

    Raises:
        ValueError: If ``clean`` is not (H, W, 3).
    """
    if clean.ndim != 3 or clean.shape[2] != 3:
        raise ValueError(f"need a picture of shape (H, W, 3), not {clean.shape}")
    height, width, _ = clean.shape
    picture = clean.astype(np.float32)
    if rain.veil > 0:
        transmission = np.exp(-rain.veil * _depth_proxy(height, width, rng))[..., None]
        picture = picture * transmission + rain.airlight * (1 - transmission)
    tint = np.asarray(rain.tint, np.float32)
    for layer in rain.layers:
        streaks = (layer.brightness * streak_mask(layer, height, width, rng))[..., None]
        picture = picture + streaks * (tint - rain.screen * np.clip(picture, 0, 1))
    if rain.noise > 0:
        picture = picture + rain.noise * rng.standard_normal(picture.shape, dtype=np.float32)
    levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if rain.jpeg is not None:
        levels = _jpeg_round_trip(levels, rain.jpeg)
    return levels.astype(np.float32) / np.float32(255)


def _streak_kernel(
    angle: float, length: float, width: float, softness: float, taper: float
) -> Array:
    """One streak, peak about 1, centred in an odd square just large enough."""
    radius = math.ceil((length + width) / 2 + softness) + 1
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(np.float32)
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    along, across = x * sine - y * cosine, x * cosine + y * sine
    profile = np.clip(0.5 + (width / 2 - np.abs(across)) / max(softness, 0.05), 0, 1)
    fade = max(taper * length / 2, 1.0)
    ends = np.clip((length / 2 - np.abs(along)) / fade + 0.5 * (taper == 0), 0, 1)
    kernel: Array = (profile * ends).astype(np.float32)
    return kernel


def _depth_proxy(height: int, width: int, rng: np.random.Generator) -> Array:
    """Relative depth in 0..1: farther towards the top, with smooth random relief."""
    slope = float(rng.uniform(0, 0.6))
    coarse = rng.random((4, 4), dtype=np.float32)
    rows, columns = np.linspace(0, 3, height), np.linspace(0, 3, width)
    by_row = np.stack([np.interp(rows, range(4), coarse[:, j]) for j in range(4)], axis=1)
    relief = np.stack([np.interp(columns, range(4), line) for line in by_row])
    base = np.linspace(1, 0, height)[:, None] * slope + (1 - slope) * (0.6 + 0.4 * relief)
    depth: Array = base.astype(np.float32)
    return depth


def _jpeg_round_trip(levels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), np.uint8)


def _fast_size(n: int) -> int:
    """The least size of at least n whose only prime factors are 2, 3 and 5."""
    while True:
        rest = n
        for p in (2, 3, 5):
            while rest % p == 0:
                rest //= p
        if rest == 1:
            return n
        n += 1
