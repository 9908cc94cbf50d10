"""Random weights of small networks, and a home of their own for the tests of the zoo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dpenet.zoo import Architecture

State = dict[str, NDArray[np.float32]]

SMALL = Architecture(width=2, n_ddrb=1, n_erpab=1)


@pytest.fixture
def random_state(rng: np.random.Generator) -> Callable[[Architecture], State]:
    def make(architecture: Architecture = SMALL) -> State:
        shapes = architecture.shapes().items()
        return {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes}

    return make


@pytest.fixture
def small_state(random_state: Callable[[Architecture], State]) -> State:
    return random_state(SMALL)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ``DPENET_HOME``, and no proxy or mirror of the machine's."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("DPENET_MODEL_URL", raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("DPENET_HOME", str(folder))
    return folder
