from __future__ import annotations

from copy import deepcopy
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer

from dpenet.network import DPENet
from dpenet.training.config import Optimiser
from dpenet.training.optimiser import make_optimiser


@pytest.fixture
def network() -> DPENet:
    torch.manual_seed(0)
    return DPENet(8, 2, 1).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def train(network: DPENet, optimiser: Optimizer, steps: range) -> list[float]:
    losses = []
    for step in steps:
        x = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(step))
        loss = (network(x).stage2 - x.square()).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def weights(network: DPENet) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


@pytest.mark.parametrize("name", ["adam", "adamw", "muon"])
def test_every_weight_is_trained_at_the_recipe_s_rate(
    network: DPENet, name: Literal["adam", "adamw", "muon"]
) -> None:
    optimiser = make_optimiser(network, Optimiser(name=name, lr=3e-3, weight_decay=0.01))
    groups = optimiser.param_groups
    taken = [id(weight) for group in groups for weight in group["params"]]
    assert sorted(taken) == sorted(id(weight) for weight in network.parameters())
    assert {group["lr"] for group in groups} == {3e-3}
    assert {group["weight_decay"] for group in groups} == {0.01}
    before = [weight.detach().clone() for weight in network.parameters()]
    losses = train(network, optimiser, range(20))
    assert all(not torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert losses[-1] < losses[0] / 2


def test_muon_balances_the_hidden_layers_only(network: DPENet) -> None:
    hidden, others = (
        {name for name, p in network.named_parameters() if any(p is q for q in group["params"])}
        for group in make_optimiser(network, Optimiser(name="muon")).param_groups
    )
    assert {"ddrb1.dconv5.2.weight", "erpab1.outconv.0.weight"} <= hidden
    assert {
        "inconv1.0.weight", "outconv2.0.weight", "erpab1.pa.0.weight", "erpab1.outconv.0.bias"
    } <= others  # fmt: skip
    layer = network.get_parameter("ddrb1.dconv1.0.weight")
    before = layer.detach().clone()
    optimiser = make_optimiser(network, Optimiser(name="muon"))
    train(network, optimiser, range(1))
    values = torch.linalg.svdvals((layer.detach() - before).flatten(1))
    assert values[0] < 2 * values[5]  # of 8; plain gradients are of rank 1 or 2 here


def test_muon_goes_on_from_its_state(network: DPENet) -> None:
    twin = deepcopy(network)
    optimiser = make_optimiser(network, Optimiser(name="muon"))
    train(network, optimiser, range(6))
    first = make_optimiser(twin, Optimiser(name="muon"))
    train(twin, first, range(3))
    second = make_optimiser(twin, Optimiser(name="muon"))
    second.load_state_dict(deepcopy(first.state_dict()))
    train(twin, second, range(3, 6))
    assert torch.equal(weights(network), weights(twin))
