"""A network, pictures and a recipe so small that a training takes a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dpenet.training.config import Recipe

MakeRecipe = Callable[..., Recipe]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Pictures this small are slower on two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Six different little pictures."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40 + i, 34)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def tiny(tmp_path: Path, photos: Path) -> MakeRecipe:
    """Makes a recipe of 10 steps; keyword arguments replace whole sections or keys."""

    def make(**changes: Any) -> Recipe:
        values: dict[str, Any] = {
            "output": tmp_path / "run",
            "data": {
                "photos": photos,
                "rain": {"kind": "mixed", "clean_share": 0.1},
                "scale": [1, 1.5],
                "patch": 16,
                "batch": 2,
                "repeat": 2,
                "flips": True,
                "workers": 0,
            },
            "model": {"width": 4, "n_ddrb": 1, "n_erpab": 1, "output_scale": 0.1},
            "validation": {"share": 0.3, "crop": 32, "every": 4},
            "optimiser": {"name": "adamw", "lr": 1e-3, "clip": 1.0},
            "schedule": {"name": "wsd", "warmup": 2, "decay": 3},
            "loss": {"l1": 1.0},
            "steps": 10,
            "ema": 0.9,
            "seed": 7,
            "checkpoint_every": 3,
            "log_every": 1,
        }
        for key, value in changes.items():
            if isinstance(value, dict) and isinstance(values.get(key), dict):
                value = values[key] | value
            values[key] = value
        return Recipe.model_validate(values)

    return make
