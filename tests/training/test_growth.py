"""A grown network computes what the small one did, and all of it can learn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dpenet.network import DPENet
from dpenet.training.growth import grow


def _grown(small: DPENet, **size: int) -> DPENet:
    network = DPENet(**{"width": small.width, "n_ddrb": 1, "n_erpab": 1} | size)
    grow(network, small.state_dict())
    return network


@pytest.fixture
def small() -> DPENet:
    torch.manual_seed(1)
    return DPENet(4, 1, 1)


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(1, 3, 40, 44)


@pytest.mark.parametrize("size", [{"width": 9}, {"n_ddrb": 3}, {"width": 8, "n_ddrb": 2}])
def test_wider_and_deeper_compute_the_same(
    small: DPENet, picture: Tensor, size: dict[str, int]
) -> None:
    with torch.no_grad():
        before, after = small(picture), _grown(small, **size)(picture)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one, atol=1e-5, rtol=0)


def test_a_new_erpab_changes_almost_nothing(small: DPENet, picture: Tensor) -> None:
    with torch.no_grad():
        before, after = small(picture), _grown(small, n_erpab=3)(picture)
    assert torch.equal(after.stage1, before.stage1)
    assert 0 < (after.stage2 - before.stage2).abs().max() < 0.002


@pytest.mark.parametrize(
    ("before", "after", "places"),
    [(5, 10, [1, 4, 6, 8, 10]), (2, 3, [1, 3]), (3, 3, [1, 2, 3]), (1, 3, [1]), (3, 4, [1, 3, 4])],
)
def test_new_blocks_come_between_the_old(before: int, after: int, places: list[int]) -> None:
    small = DPENet(4, before, before)
    grown = _grown(small, n_ddrb=after, n_erpab=after).state_dict()
    for kind, weight in (("ddrb", "dconv1.2.weight"), ("erpab", "outconv.0.weight")):
        old = [small.state_dict()[f"{kind}{number + 1}.{weight}"] for number in range(before)]
        new = [grown[f"{kind}{place}.{weight}"] for place in places]
        assert all(map(torch.equal, new, old))
        others = set(range(1, after + 1)) - set(places)
        assert all(grown[f"{kind}{place}.{weight}"].abs().max() < 0.01 for place in others)


def test_every_weight_of_a_grown_network_learns(small: DPENet, picture: Tensor) -> None:
    network = _grown(small, width=8, n_ddrb=2, n_erpab=2)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    moved = {name: torch.zeros_like(weight) for name, weight in network.named_parameters()}
    for _ in range(3):  # a zero layer holds back those before it for a step
        optimiser.zero_grad()
        (network(picture).stage2 - picture.roll(1, 3)).square().mean().backward()
        for name, weight in network.named_parameters():
            assert weight.grad is not None
            moved[name] += weight.grad.abs()
        optimiser.step()
    for name, gradient in moved.items():
        assert (gradient > 0).float().mean() > 0.5, name
