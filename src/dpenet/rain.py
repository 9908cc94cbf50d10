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
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import UsageError

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
        enlargement: The layer is drawn so many times smaller and enlarged smoothly, at least 1:
            ready-made textures of rain are fitted to pictures like that. Sizes are those after it.
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


# Streaks in a square of so many pixels, at least; and how many pixels one covers, at most.
_FEWEST, _AROUND, _LARGEST = 10, 128, 512

_Look = Callable[[bool, float, np.random.Generator], StreakLayer]


def sample_rain(kind: RainKind, rng: np.random.Generator) -> Rain:
    """Draw the parameters of one rain.

    Four looks of streaks occur, alone or together: sharp lines (Yang et al., CVPR 2017), grain,
    which is dense motion-blurred noise screened over the scene (Fu et al., CVPR 2017; Zhang and
    Patel, CVPR 2018), sheets, where such noise is thresholded into bright ragged streaks, as
    picture editors make rain (Zhang et al., 2019), and drops of any width and blur (Garg and Nayar,
    2006). Their ranges were fitted as docs/rain.md tells.

    Args:
        kind: ``light`` (one or two layers, one direction), ``heavy`` (up to five layers, often in
            several directions), ``foggy`` (streaks behind a veil) or ``mixed`` (any of these).
        rng: Source of all randomness; the same state gives the same rain.

    Raises:
        UsageError: If ``kind`` is unknown.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no rain {kind!r}; choose one of {', '.join(KINDS)}")
    if kind == "mixed":
        kind = ("light", "heavy", "foggy")[int(rng.choice(3, p=[0.4, 0.52, 0.08]))]
    heavy = kind == "heavy" or (kind == "foggy" and rng.random() < 0.5)
    foggy = kind == "foggy"
    lean = float(np.clip(rng.normal(0, 20), -60, 60))
    looks, spread = _looks(heavy, rng)
    layers = [look(heavy, lean + float(rng.normal(0, spread)), rng) for look in looks]
    # More sheets of rain, each thinner: all of them together must leave something of the scene.
    layers = [replace(layer, coverage=layer.coverage * len(looks) ** -0.5) for layer in layers]
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
        noise=float(rng.uniform(0, 0.012)) if rng.random() < 0.2 else 0.0,
        jpeg=int(rng.integers(70, 98)) if rng.random() < 0.2 else None,
    )


def _looks(heavy: bool, rng: np.random.Generator) -> tuple[list[_Look], float]:
    """The look of each layer, far to near, and how far their directions spread, in degrees."""
    if not heavy:
        look = (_lines, _grain, _drops, _sheet)[int(rng.choice(4, p=[0.42, 0.25, 0.15, 0.18]))]
        count = 1 if look is _grain else 1 + int(rng.random() < 0.25)
        return [look] * count, 3.0
    if rng.random() < 0.3:
        return [_grain], 0.0
    count = int(rng.choice([1, 2, 3, 4, 5], p=[0.45, 0.2, 0.13, 0.11, 0.11]))
    kinds: tuple[_Look, ...] = (_lines, _drops, _sheet)
    streaks = [kinds[int(rng.choice(3, p=[0.5, 0.15, 0.35]))] for _ in range(count)]
    looks = [streaks[0]] * count if rng.random() < 0.6 else streaks
    # Far rain is a grain behind the streaks of the near.
    behind: list[_Look] = [_grain] if rng.random() < 0.15 else []
    # Heavy rain may be composed of sheets from clearly different directions.
    return behind + looks, float(rng.uniform(10, 40)) if rng.random() < 0.5 else 4.0


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
    if layer.enlargement > 1:
        mask = _enlarged_streaks(layer, height, width, rng)
    else:
        mask = _streaks(layer, height, width, rng)
    if layer.unevenness > 0:
        mask *= 1 + layer.unevenness * (2 * _relief(height, width, rng) - 1)
    return mask


def _enlarged_streaks(
    layer: StreakLayer, height: int, width: int, rng: np.random.Generator
) -> Array:
    from PIL import Image

    by = layer.enlargement
    sizes = {name: getattr(layer, name) / by for name in ("length", "width", "softness")}
    rows, columns = (math.ceil(n / by) + 1 for n in (height, width))
    small = _streaks(replace(layer, **sizes), rows, columns, rng)
    # All of the small layer is enlarged and cut afterwards: so the scale is the same both ways.
    size = (round(columns * by), round(rows * by))
    large = np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BILINEAR))
    return large[:height, :width].copy()


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
    levels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if rain.jpeg is not None:
        levels = _jpeg_round_trip(levels, rain.jpeg)
    return levels.astype(np.float32) / np.float32(255)


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
