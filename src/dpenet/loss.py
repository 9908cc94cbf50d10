"""The paper's comprehensive loss: SSIM for regions, Laplacian edges for margins, over both stages.

Wen et al., Pattern Recognition 148 (2024) 110205. Three details differ from the released script and
are stated here: SSIM looks at the valid region only (zero padding darkens the border), the
Charbonnier constant is set (it is missing there), and the constant is 2 rather than 1, so that
a perfect result scores the least possible edge term and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dpenet.network import Stages

EDGE_WEIGHT = 0.05
CHARBONNIER_EPS = 1e-3
GOOD_DECIBELS = 40.0
SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
_PYRAMID_TAPS = (0.05, 0.25, 0.4, 0.25, 0.05)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity (Wang et al. 2004), per channel, over the valid region.

    Args:
        a: Pictures, (N, C, H, W), values in 0..1, H and W at least 11.
        b: Pictures of the same shape.

    Returns:
        A scalar, at most 1. Half precisions are computed in float32, where variances survive.

    Raises:
        ValueError: If the shapes differ or a side is shorter than the window.
    """
    _check_shapes(a, b)
    if min(a.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs sides of at least {SSIM_WINDOW} px, not {tuple(a.shape)}")
    a, b = _at_least_float32(a), _at_least_float32(b)
    radius = SSIM_WINDOW // 2
    taps = [math.exp(-((i - radius) ** 2) / (2 * SSIM_SIGMA**2)) for i in range(SSIM_WINDOW)]
    window = [t / sum(taps) for t in taps]
    c1, c2 = 0.01**2, 0.03**2
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = (
        _filter(m, window) for m in (a, b, a * a, b * b, a * b)
    )
    covariance = mean_ab - mean_a * mean_b
    variances = mean_aa - mean_a**2 + mean_bb - mean_b**2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variances + c2)
    )
    return similarity.mean()


def edge_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean Charbonnier distance between the Laplacians of two batches.

    The Laplacian is one level of a pyramid: the picture minus its blurred, halved, zero-interleaved
    (times 4) and blurred self; 5x5 binomial-like kernel, replicate padding.

    Args:
        a: Pictures, (N, C, H, W), values in 0..1, H and W at least 1.
        b: Pictures of the same shape.

    Returns:
        A scalar, at least 1e-3 (the Charbonnier constant).

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes(a, b)
    a, b = _at_least_float32(a), _at_least_float32(b)
    # The Laplacian is linear: the difference of two is that of the difference.
    difference = laplacian(a - b)
    return torch.sqrt(difference**2 + CHARBONNIER_EPS**2).mean()


def decibels_lacking(a: Tensor, b: Tensor) -> Tensor:
    """How far the PSNR of pictures lies below 40 dB, as a mean over the batch.

    The logarithm makes every picture count alike, be its rain light or heavy (Chen et al., HINet,
    CVPR Workshops 2021). Near 40 dB it saturates, and a perfect picture lacks nothing.

    Args:
        a: Pictures, (N, C, H, W), values in 0..1, H and W at least 1.
        b: Pictures of the same shape.

    Returns:
        A scalar, at least 0.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_shapes(a, b)
    a, b = _at_least_float32(a), _at_least_float32(b)
    error = (a - b).square().mean(dim=(1, 2, 3))
    return (10 * torch.log10(error + 10 ** (-GOOD_DECIBELS / 10)) + GOOD_DECIBELS).mean()


def laplacian(x: Tensor) -> Tensor:
    """One Laplacian-pyramid level of (N, C, H, W), the same shape."""

    def blur(t: Tensor) -> Tensor:
        return _filter(F.pad(t, (2, 2, 2, 2), mode="replicate"), _PYRAMID_TAPS)

    up = torch.zeros_like(x)
    up[..., ::2, ::2] = 4 * blur(x)[..., ::2, ::2]
    return x - blur(up)


def comprehensive_loss(
    stages: Stages,
    target: Tensor,
    *,
    ssim_weight: float = 1.0,
    edge_weight: float = EDGE_WEIGHT,
    l1_weight: float = 0.0,
    psnr_weight: float = 0.0,
) -> Tensor:
    """The paper's loss, summed over the two stages.

    Args:
        stages: What the network returned, each (N, 3, H, W).
        target: Rain-free pictures, (N, 3, H, W), RGB in 0..1.
        ssim_weight: Weight of 1 - SSIM (paper: 1).
        edge_weight: Weight of the edge loss (paper: 0.05).
        l1_weight: Weight of the mean absolute difference, which the paper does not use. SSIM
            hardly sees a change of brightness or colour; this term does.
        psnr_weight: Weight of each decibel that a picture lacks (`decibels_lacking`), which the
            paper does not use either.

    Returns:
        A scalar, at least 0. With the paper's weights its least value is 1e-4 (two edge terms).

    Raises:
        ValueError: If the shapes differ or a side is shorter than the SSIM window.
    """
    target = _at_least_float32(target)
    total = target.new_zeros(())
    for stage in map(_at_least_float32, stages):
        if ssim_weight:
            total = total + ssim_weight * (1 - ssim(stage, target))
        if edge_weight:
            total = total + edge_weight * edge_loss(stage, target)
        if l1_weight:
            total = total + l1_weight * (stage - target).abs().mean()
        if psnr_weight:
            total = total + psnr_weight * decibels_lacking(stage, target)
    return total


def _filter(x: Tensor, taps: Sequence[float]) -> Tensor:
    """Separable correlation of every channel with ``taps``, valid region only.

    By band matrices: for one channel at a time, products of matrices are several times faster than
    convolutions, forward and backward.
    """
    # Autocast would filter in bfloat16, whose 8 bits lose the variances.
    with torch.autocast(x.device.type, enabled=False):
        return _band(x, x.shape[-2], taps).mT @ (x @ _band(x, x.shape[-1], taps))


def _band(like: Tensor, length: int, taps: Sequence[float]) -> Tensor:
    """The matrix whose columns are ``taps``, each a row lower than the one before."""
    band = like.new_zeros(length, length - len(taps) + 1)
    for row, tap in enumerate(taps):
        band.diagonal(-row).fill_(tap)
    return band


def _check_shapes(a: Tensor, b: Tensor) -> None:
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(
            f"need two batches of one shape (N, C, H, W), not {tuple(a.shape)} and {tuple(b.shape)}"
        )


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
