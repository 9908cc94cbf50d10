from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpenet.errors import ModelError
from dpenet.zoo import Architecture

State = dict[str, NDArray[np.float32]]

SIZES = [(32, 10, 3), (32, 5, 3), (1, 1, 1), (2, 3, 1), (7, 2, 12)]


@pytest.mark.parametrize("sizes", SIZES)
def test_it_describes_the_torch_network(sizes: tuple[int, int, int]) -> None:
    pytest.importorskip("torch", reason="needs torch")
    from dpenet.network import DPENet

    ours, network = Architecture(*sizes), DPENet(*sizes)
    state = network.state_dict()
    assert ours.shapes() == {key: tuple(tensor.shape) for key, tensor in state.items()}
    assert ours.parameters == sum(tensor.numel() for tensor in network.parameters())
    assert ours.receptive_field == network.receptive_field


def test_the_papers_figures() -> None:
    full, light = Architecture(), Architecture(n_ddrb=5)
    assert (full.parameters, light.parameters) == (647_328, 370_848)
    assert (full.stage1_field, full.receptive_field, light.receptive_field) == (160, 181, 101)


@pytest.mark.parametrize("sizes", SIZES)
def test_it_is_deduced_from_a_state(
    sizes: tuple[int, int, int], random_state: Callable[[Architecture], State]
) -> None:
    state = random_state(Architecture(*sizes))
    assert Architecture.of(state) == Architecture(*sizes)
    assert Architecture.of(dict(reversed(state.items()))) == Architecture(*sizes)


@pytest.mark.parametrize("bad", [0, -1, 2.0, "3", True, None])
@pytest.mark.parametrize("field", ["width", "n_ddrb", "n_erpab"])
def test_impossible_sizes_are_refused(field: str, bad: Any) -> None:
    with pytest.raises(ModelError, match=f"{field} must be an integer of at least 1"):
        Architecture(**{field: bad})


def test_missing_and_unexpected_keys_are_named(small_state: State) -> None:
    small_state["ddrb1.dconv1.9.weight"] = small_state.pop("ddrb1.dconv1.0.weight")
    with pytest.raises(
        ModelError, match=r"missing ddrb1\.dconv1\.0\.weight; unexpected ddrb1\.dconv1\.9\.weight"
    ):
        Architecture.of(small_state)


def test_a_gap_between_blocks_is_named(random_state: Callable[[Architecture], State]) -> None:
    state = random_state(Architecture(2, 3, 1))
    state = {key.replace("ddrb2.", "ddrb4."): array for key, array in state.items()}
    with pytest.raises(ModelError, match=r"missing ddrb2\..*and 3 more; unexpected ddrb4\."):
        Architecture.of(state)


def test_wrong_shapes_are_named(small_state: State) -> None:
    small_state["outconv1.0.weight"] = np.zeros((1, 2, 1, 1), np.float32)
    with pytest.raises(ModelError, match=r"outconv1\.0\.weight is 1x2x1x1 instead of 3x2x1x1"):
        Architecture.of(small_state)


@pytest.mark.parametrize("shape", [(), (0, 3, 1, 1), (32,)])
def test_a_first_layer_of_no_width_is_a_wrong_shape(
    shape: tuple[int, ...], small_state: State
) -> None:
    small_state["inconv1.0.weight"] = np.zeros(shape, np.float32)
    with pytest.raises(ModelError, match=r"inconv1\.0\.weight is"):
        Architecture.of(small_state)


def test_weights_of_another_network_and_none_at_all() -> None:
    for state in ({}, {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)}):
        with pytest.raises(ModelError, match="not the weights of a DPENet: missing inconv1"):
            Architecture.of(state)


def test_huge_block_numbers_cost_nothing(small_state: State) -> None:
    small_state["ddrb99999999999999.dconv1.0.weight"] = np.zeros(1, np.float32)
    with pytest.raises(ModelError, match="unexpected ddrb99999999999999"):
        Architecture.of(small_state)


def test_control_characters_of_a_file_stay_out_of_messages(small_state: State) -> None:
    small_state["\x1b[2J\n"] = np.zeros(1, np.float32)
    with pytest.raises(ModelError) as error:
        Architecture.of(small_state)
    assert str(error.value).isprintable()
