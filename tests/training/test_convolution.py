"""Faster gradients equal PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dpenet.network import DPENet
from dpenet.training import convolution
from dpenet.training.convolution import accelerate, weight_gradient


@given(
    st.integers(1, 3), st.integers(1, 12), st.integers(1, 12),
    st.sampled_from([(1, 1), (2, 3), (3, 1), (4, 5)]), st.sampled_from([1, 2, 5]),
    st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_the_weight_gradient_is_that_of_autograd(
    n: int, height: int, width: int, channels: tuple[int, int], d: int, last: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, channels[0], height, width, generator=generator, dtype=torch.float64)
    weight = torch.randn(channels[1], channels[0], 3, 3, generator=generator, dtype=torch.float64)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight.requires_grad_()
    out = nn.functional.conv2d(x, weight, padding=d, dilation=d)
    of_output = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad(out, weight, of_output)
    torch.testing.assert_close(weight_gradient(x, of_output, d), expected)


@pytest.fixture
def avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def gradients(network: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    network(x)[1].square().mean().backward()
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.usefixtures("avx2")
def test_a_network_learns_the_same() -> None:
    torch.manual_seed(0)
    usual = DPENet(32, 1, 1).double()
    faster = copy.deepcopy(usual)
    accelerate(faster)
    changed = [m for m in faster.modules() if isinstance(m, convolution._Conv3x3)]
    assert len(changed) == 6 + 3  # all of a DDRB and the branches of an ERPAB
    assert list(faster.state_dict()) == list(usual.state_dict())
    x = torch.rand(2, 3, 17, 23, dtype=torch.float64)
    torch.testing.assert_close(gradients(faster, x), gradients(usual, x))
    torch.testing.assert_close(faster(x), usual(x))


@pytest.mark.usefixtures("avx2")
def test_small_convolutions_stay_unless_dilated() -> None:
    network = DPENet(16, 1, 1)
    accelerate(network)
    changed = [m for m in network.modules() if isinstance(m, convolution._Conv3x3)]
    assert changed
    assert all(m.dilation > (1, 1) for m in changed)


@pytest.mark.usefixtures("avx2")
def test_autocast_keeps_its_own_way() -> None:
    network = DPENet(32, 1, 1)
    accelerate(network)
    with torch.autocast("cpu", torch.bfloat16):
        assert network(torch.rand(1, 3, 8, 8))[1].isfinite().all()


def test_other_processors_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    network = DPENet(32, 1, 1)
    accelerate(network)
    assert {type(m) for m in network.modules() if "Conv" in type(m).__name__} == {nn.Conv2d}
