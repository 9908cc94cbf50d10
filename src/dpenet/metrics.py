"""PSNR and SSIM under named protocols, with numpy alone.

A PSNR without its protocol says little: full-range luma scores 1.32 dB below MATLAB's luma on the
same pictures. A protocol here is data: which channels are compared, and whether they are rounded.
All of them clip and round the result to 8 bits first (as a saved file would), use a peak of 255,
crop no border, never downsample (MATLAB's ``ssim.m`` halves pictures from 384 px on), and average
over pictures. SSIM is that of Wang et al., IEEE TIP 13 (2004): 11x11 Gaussian, sigma 1.5, K = 0.01
and 0.03, population covariance, over the region where the window fits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import PictureError, UsageError

PEAK = 255.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5


@dataclass(frozen=True)
class Protocol:
    """What is compared.

    Attributes:
        name: The name to print beside every number.
        weights: Luma weights of R, G and B (0..255 each), in units of ``1 / unit``; None compares
            the three channels. Whole numbers, so that a half is a half when it is rounded.
        unit: What the weights are divided by.
        offset: Added to the luma.
        rounded: Whether the luma is rounded to whole levels, halves up.
        title: One line for people.
    """

    name: str
    title: str
    weights: tuple[int, int, int] | None = None
    unit: int = 1
    offset: int = 0
    rounded: bool = False


# ITU-R BT.601 studio range as MATLAB's rgb2ycbcr writes it: Y in 16..235.
_BT601 = (65_481, 128_553, 24_966), 255_000
# Pillow's convert("L"): full range, in 16-bit fixed point.
_PIL_L = (19_595, 38_470, 7_471), 65_536

PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol("matlab-y", "MATLAB luma (16..235), not rounded", *_BT601, 16),
        Protocol("matlab-y-uint8", "MATLAB luma (16..235), rounded", *_BT601, 16, rounded=True),
        Protocol("rgb", "the three channels; SSIM is their mean"),
        Protocol("pil-l", "Pillow's full-range luma, rounded", *_PIL_L, rounded=True),
    )
}
DEFAULT_PROTOCOL = "matlab-y"


class Score(NamedTuple):
    """PSNR in dB (infinite for identical pictures) and SSIM (at most 1)."""

    psnr: float
    ssim: float


def get_protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UsageError: If there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"there is no protocol {name!r}; choose from {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def score(result: NDArray[Any], target: NDArray[Any], protocol: str = DEFAULT_PROTOCOL) -> Score:
    """Score one picture against its target.

    Args:
        result: Picture, (H, W, 3) RGB, uint8 or floating 0..1 (clipped and rounded to 8 bits).
        target: Rain-free picture of the same size.
        protocol: A key of :data:`PROTOCOLS`.

    Raises:
        UsageError: If the protocol is unknown.
        PictureError: If the shapes differ, are not (H, W, 3), or a side is shorter than 11 px.
    """
    chosen = get_protocol(protocol)
    a, b = channels(result, chosen), channels(target, chosen)
    if a.shape != b.shape:
        raise PictureError(
            f"the result is {_size(result)} but its target {_size(target)}: they must be one size"
        )
    return Score(psnr(a, b), ssim(a, b))


def channels(picture: NDArray[Any], protocol: Protocol) -> NDArray[np.float64]:
    """The planes that a protocol compares: (C, H, W), levels 0..255, C = 1 (luma) or 3."""
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise PictureError(f"metrics compare pictures of shape (H, W, 3), not {picture.shape}")
    levels = to_uint8(picture).astype(np.float64)
    if protocol.weights is None:
        return np.moveaxis(levels, 2, 0)
    luma = levels @ np.array(protocol.weights, np.float64)  # whole numbers, exact
    if protocol.rounded:
        luma = np.floor_divide(luma + protocol.unit // 2, protocol.unit)
    else:
        luma = luma / protocol.unit
    return (luma + protocol.offset)[None]


def to_uint8(picture: NDArray[Any]) -> NDArray[np.uint8]:
    """8-bit levels of a uint8 or floating (0..1, clipped, rounded) picture."""
    if picture.dtype == np.uint8:
        return picture.view(np.uint8)
    if not np.issubdtype(picture.dtype, np.floating):
        raise PictureError(f"metrics take uint8 or floating pictures, not {picture.dtype}")
    if not np.isfinite(picture).all():
        raise PictureError("the picture holds NaN or infinite values")
    levels: NDArray[np.uint8] = np.rint(np.clip(picture, 0, 1) * PEAK).astype(np.uint8)
    return levels


def psnr(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Peak signal-to-noise ratio in dB of planes of levels 0..255; infinite if they are equal."""
    error = float(np.mean(np.square(a - b)))
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def ssim(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Mean structural similarity of planes (C, H, W) of levels 0..255, averaged over channels.

    Raises:
        PictureError: If a side is shorter than the 11 px window.
    """
    if min(a.shape[-2:]) < SSIM_WINDOW:
        height, width = a.shape[-2:]
        raise PictureError(
            f"SSIM needs sides of at least {SSIM_WINDOW} px; this picture is {width}x{height}"
        )
    return float(np.mean([_ssim_plane(x, y) for x, y in zip(a, b, strict=True)]))


def _ssim_plane(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    c1, c2 = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
    # Centred levels lose fewer digits in E[x^2] - E[x]^2; the means get their offset back below.
    a, b = a - PEAK / 2, b - PEAK / 2
    mean_a, mean_b, squares, products = (_blur(m) for m in (a, b, a * a + b * b, a * b))
    variances = squares - mean_a**2 - mean_b**2
    covariance = products - mean_a * mean_b
    mean_a += PEAK / 2
    mean_b += PEAK / 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float(np.mean(luminance * (2 * covariance + c2) / (variances + c2)))


def _blur(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted mean where the window fits: (H, W) to (H - 10, W - 10)."""
    radius = SSIM_WINDOW // 2
    taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * SSIM_SIGMA**2))
    taps /= taps.sum()
    for _ in range(2):  # filter the rows and transpose, twice
        n = plane.shape[0] - 2 * radius
        blurred = taps[radius] * plane[radius : radius + n]
        for i in range(radius):
            mirror = 2 * radius - i
            blurred += taps[i] * (plane[i : i + n] + plane[mirror : mirror + n])
        plane = np.ascontiguousarray(blurred.T)
    return plane


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean over pictures, as tables print it.

    A picture identical to its target has an infinite PSNR, which would make every mean infinite:
    such pictures count for SSIM and are left out of the mean PSNR, which is infinite only when
    all are identical. Whoever prints the mean should say how many there were
    (``math.isinf(score.psnr)``).

    Raises:
        ValueError: If there is no score.
    """
    if not scores:
        raise ValueError("no scores to average")
    finite = [s.psnr for s in scores if math.isfinite(s.psnr)]
    mean = math.fsum(finite) / len(finite) if finite else math.inf
    return Score(mean, math.fsum(s.ssim for s in scores) / len(scores))


def _size(picture: NDArray[Any]) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
