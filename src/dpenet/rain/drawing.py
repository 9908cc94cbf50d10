"""A rain drawn over a picture."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dpenet.rain.model import Array, Rain, StreakLayer


def streak_mask(layer: StreakLayer, height: int, width: int, rng: np.random.Generator) -> Array:
    """Draw one layer's streaks.

    Args:
        layer: What to draw; its ``brightness`` is not applied.
        height: Rows of the mask, at least 1.
        width: Columns of the mask, at least 1.
        rng: Source of the streaks' places, sizes and strengths.

    Returns:
        Strength of the streaks, (height, width), float32 from 0 to ``2 * layer.overlap``, 1 where
        there is one full streak.
    """
    if layer.enlargement != 1:
        mask = _resized_streaks(layer, height, width, rng)
    else:
        mask = _streaks(layer, height, width, rng)
    if layer.unevenness > 0:
        mask *= 1 + layer.unevenness * (2 * _relief(height, width, rng) - 1)
    return mask


def _resized_streaks(
    layer: StreakLayer, height: int, width: int, rng: np.random.Generator
) -> Array:
    from PIL import Image

    by = layer.enlargement
    sizes = {name: getattr(layer, name) / by for name in ("length", "width", "softness")}
    rows, columns = (math.ceil(n / by) + 1 for n in (height, width))
    drawn = _streaks(replace(layer, **sizes), rows, columns, rng)
    # All of what is drawn is resized and cut afterwards: so the scale is the same both ways.
    size = (math.ceil(columns * by), math.ceil(rows * by))
    resized = np.asarray(Image.fromarray(drawn).resize(size, Image.Resampling.BILINEAR))
    return resized[:height, :width].copy()


def _streaks(layer: StreakLayer, height: int, width: int, rng: np.random.Generator) -> Array:
    """The streaks at the size at which they are drawn, evenly bright."""
    # Two populations, so that neighbouring streaks are not copies of one another.
    difference = min(1.0, 2 * layer.variation)
    kernels = [
        _streak_kernel(
            angle=layer.angle + difference * float(rng.normal(0, 0.8)),
            length=layer.length * (1 + difference * float(rng.uniform(-0.3, 0.2))),
            width=layer.width * (1 + difference * float(rng.uniform(-0.2, 0.2))),
            softness=layer.softness,
            taper=layer.taper,
        )
        for _ in range(2)
    ]
    # A smooth size keeps the FFT fast; what wraps around is cut off with the margin.
    top, left = (max(kernel.shape[axis] for kernel in kernels) for axis in (0, 1))
    rows, columns = _fast_size(height + top), _fast_size(width + left)
    spectrum = np.zeros((rows, columns // 2 + 1), np.complex64)
    for kernel in kernels:
        drops_per_pixel = layer.coverage / len(kernels) / max(float(kernel.sum()), 1.0)
        count = rng.poisson(drops_per_pixel * rows * columns)
        drops = np.zeros((rows, columns), np.float32)
        strength = rng.random(count, dtype=np.float32) ** (4 * layer.variation)
        np.add.at(drops, (rng.integers(0, rows, count), rng.integers(0, columns, count)), strength)
        spectrum += np.fft.rfft2(drops) * np.fft.rfft2(kernel, (rows, columns))
    mask = np.fft.irfft2(spectrum, (rows, columns)).astype(np.float32)
    mask = mask[top : top + height, left : left + width]
    if layer.dry > 0:
        mask -= np.quantile(mask, layer.dry)
    mask = np.clip(mask, 0, layer.overlap)
    if layer.roughness > 0:
        mask *= 1 - layer.roughness * rng.random(mask.shape, dtype=np.float32)
    return mask


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
    levels = to_levels(picture)
    if rain.jpeg is not None:
        levels = jpeg_round_trip(levels, rain.jpeg)
    return from_levels(levels)


def _streak_kernel(
    angle: float, length: float, width: float, softness: float, taper: float
) -> Array:
    """One streak, peak about 1, centred in an array of odd sides just large enough."""
    sine, cosine = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    thickness = width / 2 + softness
    tall = math.ceil(length / 2 * abs(cosine) + thickness) + 1
    wide = math.ceil(length / 2 * abs(sine) + thickness) + 1
    y, x = np.mgrid[-tall : tall + 1, -wide : wide + 1].astype(np.float32)
    along, across = x * sine - y * cosine, x * cosine + y * sine
    profile = np.clip(0.5 + (width / 2 - np.abs(across)) / max(softness, 0.05), 0, 1)
    fade = max(taper * length / 2, 1.0)
    ends = np.clip((length / 2 - np.abs(along)) / fade + 0.5 * (taper == 0), 0, 1)
    kernel: Array = (profile * ends).astype(np.float32)
    return kernel


def _depth_proxy(height: int, width: int, rng: np.random.Generator) -> Array:
    """Relative depth in 0..1: farther towards the top, with smooth random relief."""
    slope = float(rng.uniform(0, 0.6))
    relief = _relief(height, width, rng)
    base = np.linspace(1, 0, height)[:, None] * slope + (1 - slope) * (0.6 + 0.4 * relief)
    depth: Array = base.astype(np.float32)
    return depth


def _relief(height: int, width: int, rng: np.random.Generator) -> Array:
    """A smooth random surface, (height, width), in 0..1."""
    coarse = rng.random((4, 4), dtype=np.float32)
    rows, columns = np.linspace(0, 3, height), np.linspace(0, 3, width)
    by_row = np.stack([np.interp(rows, range(4), coarse[:, j]) for j in range(4)], axis=1)
    relief = np.stack([np.interp(columns, range(4), line) for line in by_row])
    return relief.astype(np.float32)


def to_levels(picture: Array) -> NDArray[np.uint8]:
    """A picture in 0..1 on the 256 levels of an 8-bit file; what lies outside is clipped."""
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def from_levels(levels: NDArray[np.uint8]) -> Array:
    """A picture of 256 levels in 0..1."""
    return levels.astype(np.float32) / np.float32(255)


def jpeg_round_trip(levels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """A picture, (H, W, 3) in RGB, as a JPEG file of this quality, 1 to 95, would have it."""
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
