from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpenet.inference.engines import OpenVINOEngine
from dpenet.inference.graph import build_graph
from dpenet.inference.options import Options
from dpenet.network import DPENet
from dpenet.zoo import Architecture, Weights
from dpenet.zoo.weights import read_weights

CHECKPOINTS = ["Rain100H", "Rain100L", "Rain800", "Rain1400", "HeavyRain"]
LARGE = (321, 481)


def torch_stages(
    state: Mapping[str, NDArray[np.float32]], architecture: Architecture, x: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    network = DPENet(architecture.width, architecture.n_ddrb, architecture.n_erpab)
    network.load_state_dict({key: torch.tensor(array) for key, array in state.items()})
    with torch.no_grad():
        return [stage.numpy() for stage in network(torch.from_numpy(x))]


def openvino_stages(weights: Weights, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    options = [Options(precision="fp32", threads=1, stage=stage) for stage in (1, 2)]
    return [OpenVINOEngine(weights, each).run(x) for each in options]


@settings(max_examples=15, deadline=None)
@given(
    width=st.integers(1, 9),
    n_ddrb=st.integers(1, 3),
    n_erpab=st.integers(1, 3),
    height=st.integers(1, 40),
    columns=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_equals_pytorch_on_random_weights(
    make_weights: Callable[..., Weights],
    width: int,
    n_ddrb: int,
    n_erpab: int,
    height: int,
    columns: int,
    seed: int,
) -> None:
    weights = make_weights(width, n_ddrb, n_erpab, seed)
    x = np.random.default_rng(seed).random((1, 3, height, columns), np.float32)
    expected = torch_stages(weights.state, weights.architecture, x)
    for ours, theirs in zip(openvino_stages(weights, x), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, size) for name in CHECKPOINTS for size in ((1, 1), (7, 200))]
    + [
        pytest.param(name, LARGE, marks=[] if name == "Rain100H" else pytest.mark.slow)
        for name in CHECKPOINTS
    ],
)
def test_equals_pytorch_on_the_published_checkpoints(
    shared: Path, name: str, size: tuple[int, int]
) -> None:
    path = shared / "reference" / "weights" / f"{name}.pth"
    weights = read_weights(path)
    # PyTorch's own reader, so that the reading of the file is held to it too.
    published = torch.load(path, map_location="cpu", weights_only=True)
    state = {key: tensor.numpy() for key, tensor in published.items()}
    x = np.random.default_rng(0).random((1, 3, *size), np.float32)
    expected = torch_stages(state, Architecture(), x)[1]
    ours = OpenVINOEngine(weights, Options(precision="fp32")).run(x)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_the_convolutions_carry_their_keys(make_weights: Callable[..., Weights]) -> None:
    weights = make_weights()
    operations = build_graph(weights).get_ordered_ops()
    names = {op.get_friendly_name() for op in operations if op.get_type_name() == "Convolution"}
    assert names == {
        key.removesuffix(".weight")
        for key in weights.state
        if key.endswith(".weight") and ".outconv." not in key  # folded into the branches
    }


def test_stage_1_takes_nothing_of_the_second(make_weights: Callable[..., Weights]) -> None:
    names = {
        op.get_friendly_name() for op in build_graph(make_weights(), stage=1).get_ordered_ops()
    }
    assert "outconv1.0" in names
    assert not any(name.startswith(("inconv2", "erpab", "outconv2")) for name in names)


def test_height_and_width_are_free(make_weights: Callable[..., Weights]) -> None:
    model = build_graph(make_weights())
    for port in (model.input(0), model.output(0)):
        assert str(port.partial_shape) == "[1,3,?,?]"
