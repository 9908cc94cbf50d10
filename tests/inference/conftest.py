"""Small random networks, made without torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpenet.zoo import Architecture, Weights
from dpenet.zoo.weights import write_weights

MakeWeights = Callable[..., Weights]


@pytest.fixture(scope="session")
def make_weights() -> MakeWeights:
    """Random weights under which every layer matters and the output stays near 0..1."""

    def make(width: int = 3, n_ddrb: int = 1, n_erpab: int = 1, seed: int = 0) -> Weights:
        rng = np.random.default_rng(seed)
        architecture = Architecture(width, n_ddrb, n_erpab)
        state: dict[str, NDArray[np.float32]] = {}
        for key, shape in architecture.shapes().items():
            scale = 0.5 / math.sqrt(math.prod(shape[1:]))
            state[key] = rng.normal(0, scale, shape).astype(np.float32)
        return Weights(state, architecture, name=f"random-{seed}")

    return make


@pytest.fixture(scope="session")
def identity_weights(make_weights: MakeWeights) -> Weights:
    """A network that gives its input back: nothing comes out of its output layers."""
    weights = make_weights()
    zeros = {
        key: np.zeros_like(array) for key, array in weights.state.items() if "outconv" in key[:7]
    }
    return Weights({**weights.state, **zeros}, weights.architecture, name="identity")


@pytest.fixture(scope="session")
def model_file(make_weights: MakeWeights, tmp_path_factory: Any) -> Path:
    path: Path = tmp_path_factory.mktemp("models") / "small.safetensors"
    write_weights(path, make_weights().state, {})
    return path
