"""What tests share: where the test data is, and small random networks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

# No test fails for taking long; where main is checked, every run draws the same examples.
settings.register_profile("untimed", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("untimed")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of published checkpoints and benchmark pairs (``DPENET_TEST_DATA``)."""
    folder = Path(os.environ.get("DPENET_TEST_DATA", REPOSITORY.parent / "shared"))
    if not (folder / "reference").is_dir():
        pytest.skip(f"needs the test data, which is not at {folder} (set DPENET_TEST_DATA)")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def photo(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A smooth colourful picture with some edges, (61, 83, 3) uint8."""
    y, x = np.mgrid[0:61, 0:83]
    planes = [128 + 100 * np.sin(x / (9 + 4 * c) + y / (7 + c)) * np.cos(y / 11) for c in range(3)]
    picture = np.stack(planes, axis=2)
    picture[20:40, 30:60] *= 0.4
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
