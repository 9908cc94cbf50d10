from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from dpenet.loss import comprehensive_loss, decibels_lacking, edge_loss, laplacian, ssim
from dpenet.network import Stages


def batch(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape)).to(dtype)


def laplacian_by_scipy(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same definition with other tools: 2-D kernel, border by nearest."""
    taps = np.array([0.05, 0.25, 0.4, 0.25, 0.05])
    kernel = np.outer(taps, taps)
    blurred = ndimage.correlate(plane, kernel, mode="nearest")
    up = np.zeros_like(plane)
    up[::2, ::2] = 4 * blurred[::2, ::2]
    difference: NDArray[np.float64] = plane - ndimage.correlate(up, kernel, mode="nearest")
    return difference


@pytest.mark.parametrize("shape", [(2, 3, 24, 31), (1, 1, 11, 11), (1, 3, 12, 40)])
def test_ssim_equals_scikit_image_on_the_valid_region(shape: tuple[int, ...]) -> None:
    a = batch(*shape)
    b = (a + 0.2 * batch(*shape, seed=1)).clamp(0, 1)
    expected = []
    for i in range(shape[0]):
        _, similarity = structural_similarity(
            a[i].numpy(),
            b[i].numpy(),
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            full=True,
        )
        expected.append(similarity[:, 5:-5, 5:-5].mean())
    assert ssim(a, b).item() == pytest.approx(np.mean(expected), abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (13, 22), (5, 3), (1, 1), (2, 9)])
def test_edge_loss_equals_scipy(height: int, width: int) -> None:
    a, b = batch(2, 3, height, width), batch(2, 3, height, width, seed=1)
    distances = [
        np.sqrt((laplacian_by_scipy(x) - laplacian_by_scipy(y)) ** 2 + 1e-3**2)
        for x, y in zip(a.reshape(-1, height, width), b.reshape(-1, height, width), strict=True)
        for x, y in [(x.numpy(), y.numpy())]
    ]
    assert edge_loss(a, b).item() == pytest.approx(np.mean(distances), rel=1e-12)


def test_laplacian_of_a_plane_is_nothing_away_from_the_border() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    assert laplacian((0.3 * y - 0.1 * x)[None, None])[..., 5:-5, 5:-5].abs().max() < 1e-5


def test_the_gradient_is_that_of_finite_differences() -> None:
    target = batch(1, 1, 12, 11, seed=2)
    # Away from the kinks of |x|, where no gradient exists.
    offset = 0.1 * torch.sign(batch(1, 1, 12, 11, seed=3) - 0.5)

    def loss(stage1: Tensor, stage2: Tensor) -> Tensor:
        stages = Stages(stage1, stage2)
        return comprehensive_loss(stages, target, l1_weight=0.7, psnr_weight=0.1)

    stages = [(target + offset * k).requires_grad_() for k in (1.0, -0.8)]
    assert torch.autograd.gradcheck(loss, stages)


def test_a_perfect_result_scores_the_least() -> None:
    x = batch(2, 3, 20, 20)
    assert ssim(x, x).item() == pytest.approx(1, abs=1e-12)
    assert comprehensive_loss(Stages(x, x), x, l1_weight=1.0).item() == pytest.approx(
        1e-4, rel=1e-6
    )


def test_the_loss_is_the_stated_sum() -> None:
    target, one, two = (batch(1, 3, 16, 16, seed=s) for s in range(3))
    expected = sum(
        1 - ssim(s, target) + 0.05 * edge_loss(s, target) + 0.5 * (s - target).abs().mean()
        for s in (one, two)
    )
    assert comprehensive_loss(Stages(one, two), target, l1_weight=0.5).item() == pytest.approx(
        float(expected), rel=1e-12
    )
    only_l1 = {"ssim_weight": 0.0, "edge_weight": 0.0, "l1_weight": 1.0}
    plain = (one - target).abs().mean() + (two - target).abs().mean()
    assert comprehensive_loss(Stages(one, two), target, **only_l1).item() == pytest.approx(
        plain.item(), rel=1e-12
    )


def test_lacking_decibels_are_those_of_scikit_image() -> None:
    a, b = batch(3, 3, 16, 16, seed=1), batch(3, 3, 16, 16, seed=2)
    a[0] = b[0] + 0.05 * (a[0] - b[0])  # one picture better than the others
    psnr = [
        peak_signal_noise_ratio(y.numpy(), x.numpy(), data_range=1)
        for x, y in zip(a, b, strict=True)
    ]
    # The error at 40 dB is added to all of them: what is better than that lacks little.
    reached = -10 * np.log10(10 ** (-np.array(psnr) / 10) + 1e-4)
    assert decibels_lacking(a, b).item() == pytest.approx(40 - reached.mean(), rel=1e-9)
    assert decibels_lacking(b, b).item() == pytest.approx(0, abs=1e-12)
    stages = Stages(a, b)
    only = {"ssim_weight": 0.0, "edge_weight": 0.0, "psnr_weight": 0.5}
    assert comprehensive_loss(stages, b, **only).item() == pytest.approx(
        0.5 * decibels_lacking(a, b).item()
    )


def test_every_picture_counts_alike_whatever_it_lacks() -> None:
    target = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    result = torch.stack([torch.full_like(target[0], 0.3), torch.full_like(target[0], 0.1)])
    result.requires_grad_()
    (gradient,) = torch.autograd.grad(decibels_lacking(result, target), result)
    heavy, light = (gradient[i] * result[i] for i in range(2))  # of relative changes
    assert heavy.sum().item() == pytest.approx(light.sum().item(), rel=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precisions_are_computed_in_float32(dtype: torch.dtype) -> None:
    a = batch(1, 3, 32, 32, dtype=dtype)
    b = (a + 0.02 * batch(1, 3, 32, 32, seed=1, dtype=dtype)).to(dtype)
    stages = Stages(a, a)
    loss = comprehensive_loss(stages, b, l1_weight=1.0)
    exact = comprehensive_loss(Stages(*(s.double() for s in stages)), b.double(), l1_weight=1.0)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), abs=1e-5)


def test_autocast_does_not_coarsen_the_loss() -> None:
    a = batch(1, 3, 32, 32, dtype=torch.float32)
    b = a + 0.02 * batch(1, 3, 32, 32, seed=1, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = comprehensive_loss(Stages(a, a), b)
    assert inside.equal(comprehensive_loss(Stages(a, a), b))


def test_a_flat_picture_has_a_finite_gradient() -> None:
    x = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    comprehensive_loss(Stages(x, x), x.detach()).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("function", [ssim, edge_loss])
def test_other_shapes_are_refused(function: object) -> None:
    assert callable(function)
    with pytest.raises(ValueError, match=r"one shape \(N, C, H, W\)"):
        function(batch(1, 3, 16, 16), batch(1, 3, 16, 17))
    with pytest.raises(ValueError, match=r"one shape \(N, C, H, W\)"):
        function(batch(3, 16, 16), batch(3, 16, 16))


def test_ssim_needs_its_window() -> None:
    with pytest.raises(ValueError, match="at least 11 px"):
        ssim(batch(1, 3, 10, 40), batch(1, 3, 10, 40))
