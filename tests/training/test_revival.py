from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dpenet.network import DPENet
from dpenet.training.revival import revive


@pytest.fixture
def network() -> DPENet:
    torch.manual_seed(1)
    return DPENet(6, 2, 2)


@pytest.fixture
def pictures() -> list[Tensor]:
    return [torch.rand(3, 40, 44) for _ in range(3)]


def kill(network: DPENet, *keys: str) -> None:
    """Make layers lead to channels 1 and 4, or to the only one, that are never active."""
    with torch.no_grad():
        for key in keys:
            weight = network.state_dict()[key]
            # Every input is positive behind a ReLU.
            weight[[1, 4] if len(weight) > 1 else 0] = -1.0


def test_nothing_is_done_where_all_are_alive(network: DPENet, pictures: list[Tensor]) -> None:
    revive(network, pictures)  # of random weights a few are dead
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert revive(network, pictures) == 0
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())


def test_dead_channels_learn_and_the_result_stays(network: DPENet, pictures: list[Tensor]) -> None:
    revive(network, pictures)
    dead = "ddrb1.dconv1.0.weight", "ddrb2.dconv5.0.weight", "erpab1.pa.0.weight"
    kill(network, *dead)
    with torch.no_grad():
        before = network(pictures[0][None])
    assert revive(network, pictures) == 2 + 2 + 1
    with torch.no_grad():
        after = network(pictures[0][None])
    torch.testing.assert_close(after.stage1, before.stage1, atol=1e-6, rtol=0)
    torch.testing.assert_close(after.stage2, before.stage2, atol=0.01, rtol=0)
    assert revive(network, pictures) == 0, "they are alive"
    # A zero layer holds back those before it for a step.
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(2):
        optimiser.zero_grad()
        (network(pictures[0][None]).stage2 - pictures[1]).square().mean().backward()
        optimiser.step()
    for key in dead:
        gradient = dict(network.named_parameters())[key].grad
        assert gradient is not None
        rows = gradient[[1, 4]] if len(gradient) > 1 else gradient
        assert (rows.abs().amax((1, 2, 3)) > 0).all(), key
