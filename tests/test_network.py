from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dpenet.network import DPENet, LightDPENet
from dpenet.zoo import Architecture

CHECKPOINTS = ["Rain100H", "Rain100L", "Rain800", "Rain1400", "HeavyRain"]


def small(seed: int = 0, **sizes: int) -> DPENet:
    torch.manual_seed(seed)
    return DPENet(**{"width": 4, "n_ddrb": 2, "n_erpab": 2} | sizes)


@pytest.mark.parametrize(("network", "count"), [(DPENet, 647_328), (LightDPENet, 370_848)])
def test_it_has_the_published_number_of_parameters(network: type[DPENet], count: int) -> None:
    assert sum(parameter.numel() for parameter in network().parameters()) == count


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (7, 20), (33, 32)])
def test_both_stages_have_the_shape_of_the_input(size: tuple[int, int]) -> None:
    stages = small()(torch.rand(2, 3, *size))
    assert stages.stage1.shape == stages.stage2.shape == (2, 3, *size)


def test_pictures_of_a_batch_do_not_mix() -> None:
    network, batch = small(), torch.rand(3, 3, 12, 17)
    for picture, together in zip(batch, network(batch).stage2, strict=True):
        torch.testing.assert_close(network(picture[None]).stage2[0], together)


def test_the_light_network_is_the_full_one_with_5_ddrbs() -> None:
    light, same = LightDPENet(width=4), DPENet(width=4, n_ddrb=5)
    same.load_state_dict(light.state_dict(), strict=True)
    x = torch.rand(1, 3, 9, 9)
    assert torch.equal(light(x).stage2, same(x).stage2)
    assert light.receptive_field == 101


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_published_checkpoints_load_strictly(shared: Path, name: str) -> None:
    path = shared / "reference" / "weights" / f"{name}.pth"
    state = torch.load(path, map_location="cpu", weights_only=True)
    network = DPENet()
    network.load_state_dict(state, strict=True)
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, state[key])


def test_its_keys_and_shapes_are_those_of_its_architecture() -> None:
    for sizes in ((32, 10, 3), (5, 2, 1), (1, 1, 1)):
        shapes = {key: tuple(value.shape) for key, value in DPENet(*sizes).state_dict().items()}
        assert shapes == Architecture(*sizes).shapes()


@pytest.mark.parametrize("field", ["width", "n_ddrb", "n_erpab"])
@pytest.mark.parametrize("value", [0, -1, 2.0, "3", True, None])
def test_a_bad_configuration_is_refused_with_a_reason(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{field} must be an integer of at least 1") as caught:
        DPENet(**{field: value})
    assert repr(value) in str(caught.value)


def reach(network: DPENet, stage: int, *, along: int) -> tuple[int, int]:
    """How far before and behind a pixel the input still moves it, on a strip one pixel thick.

    All weights are positive, so no ReLU is shut and no two influences cancel; in float64 the
    derivative does not underflow either. Width and height see the same kernels, hence a strip.
    """
    margin = 5
    middle = network.receptive_field + margin
    network = network.double()
    for parameter in network.parameters():
        nn.init.constant_(parameter, 1 / parameter[0].numel())
    shape = [1, 3, 1, 1]
    shape[along] = 2 * middle + 1
    x = torch.full(shape, 0.5, dtype=torch.float64, requires_grad=True)
    output: Tensor = network(x)[stage - 1]
    (gradient,) = torch.autograd.grad(output.select(along, middle).sum(), x)
    moved = gradient.sum(dim=[axis for axis in range(4) if axis != along]).nonzero().flatten()
    return middle - int(moved.min()), int(moved.max()) - middle


@pytest.mark.parametrize("along", [2, 3])
@pytest.mark.parametrize(("n_ddrb", "n_erpab"), [(1, 1), (2, 1), (1, 3), (5, 3), (10, 3)])
def test_the_receptive_field_is_what_is_measured(n_ddrb: int, n_erpab: int, along: int) -> None:
    network = small(width=2, n_ddrb=n_ddrb, n_erpab=n_erpab)
    assert reach(network, 2, along=along) == (network.receptive_field, network.receptive_field)
    field = Architecture(2, n_ddrb, n_erpab).stage1_field
    assert reach(network, 1, along=along) == (field, field)


def test_the_full_network_reaches_181_pixels() -> None:
    assert DPENet().receptive_field == Architecture().receptive_field == 181


def test_the_network_can_darken() -> None:
    """A ReLU after the output layers, as in the released code, would make this impossible."""
    network, x = small(), torch.rand(1, 3, 30, 30)
    stages = network(x)
    assert (stages.stage1 < x).any()
    assert (stages.stage2 < stages.stage1).any()


def test_output_layers_of_zeros_give_the_input_back() -> None:
    network, x = small(), torch.rand(1, 3, 9, 9)
    nn.init.zeros_(network.get_parameter("outconv1.0.weight"))
    nn.init.zeros_(network.get_parameter("outconv2.0.weight"))
    for stage in network(x):
        assert torch.equal(stage, x)
