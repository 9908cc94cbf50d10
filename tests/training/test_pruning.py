"""A pruned network computes nearly what the deeper one did."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dpenet.network import DPENet
from dpenet.training.growth import grow
from dpenet.training.pruning import prune


@pytest.fixture
def pictures() -> list[Tensor]:
    torch.manual_seed(2)
    return [torch.rand(3, 40, 44) for _ in range(2)]


@pytest.mark.parametrize("idle", [(1, 2), (1, 3), (2, 4), (4, 3)])
def test_blocks_that_do_nothing_are_left_out(idle: tuple[int, int], pictures: list[Tensor]) -> None:
    torch.manual_seed(1)
    network = DPENet(4, 4, 2)
    with torch.no_grad():
        for number in idle:
            for pair in ("dconv1", "dconv2", "dconv5"):
                network.get_submodule(f"ddrb{number}.{pair}.2").weight.zero_()  # type: ignore[operator]
        state = prune(network.state_dict(), pictures, 2, 2)
        shallow = DPENet(4, 2, 2)
        shallow.load_state_dict(state)
        for picture in pictures:
            before, after = network(picture[None]), shallow(picture[None])
            assert torch.equal(after.stage2, before.stage2)
    kept = [number for number in range(1, 5) if number not in idle]
    for place, number in enumerate(kept, 1):
        old = network.state_dict()[f"ddrb{number}.dconv5.0.weight"]
        assert torch.equal(state[f"ddrb{place}.dconv5.0.weight"], old), "in their order"


def test_what_growth_added_is_what_pruning_takes_away(pictures: list[Tensor]) -> None:
    torch.manual_seed(1)
    small = DPENet(4, 2, 1)
    large = DPENet(4, 3, 3)
    grow(large, small.state_dict())
    state = prune(large.state_dict(), pictures, 2, 1)
    assert state.keys() == small.state_dict().keys()
    assert all(torch.equal(value, state[key]) for key, value in small.state_dict().items())


def test_nothing_changes_where_nothing_is_to_be_left_out(pictures: list[Tensor]) -> None:
    state = DPENet(4, 2, 1).state_dict()
    pruned = prune(state, pictures, 2, 3)
    assert all(torch.equal(value, pruned[key]) for key, value in state.items())
