"""Every recipe that we ship trains: two steps on made-up pictures laid out as it expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.network import DPENet
from dpenet.training.config import PhotoData, load_recipe
from dpenet.training.fit import fit
from dpenet.training.sources import open_sources
from dpenet.zoo import load_weights
from dpenet.zoo.weights import write_weights

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = sorted((REPOSITORY / "recipes").glob("*.yaml"))
Levels = NDArray[np.uint8]
SIDE = 32


def scenes(seed: int) -> Iterator[tuple[int, Levels, Levels]]:
    """Number, rainy and clean picture of each of four scenes."""
    rng = np.random.default_rng(seed)
    for number in range(1, 5):
        coarse = Image.fromarray(rng.integers(0, 200, (6, 6, 3), dtype=np.uint8))
        clean = np.asarray(coarse.resize((SIDE + 4, SIDE)))
        rainy = clean.copy()
        rainy[:, rng.integers(0, SIDE, 5)] += 50
        yield number, rainy, clean


def save(picture: Levels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def rain100(folder: Path, seed: int) -> None:
    for number, rainy, clean in scenes(seed):
        save(rainy, folder / f"rain-{number:03}.png")
        save(clean, folder / f"norain-{number:03}.png")


def rain800(folder: Path, seed: int) -> None:
    for number, rainy, clean in scenes(seed):
        save(np.concatenate([clean, rainy], axis=1), folder / f"{number}.png")


def rain1400(folder: Path, seed: int) -> None:
    for number, rainy, clean in scenes(seed):
        save(clean, folder / "ground truth" / f"{number}.jpg")
        for k in range(1, 15):
            save(rainy, folder / "rainy image" / f"{number}_{k}.jpg")


def heavyrain(folder: Path, seed: int) -> None:
    for number, rainy, clean in scenes(seed):
        save(clean, folder / "gt" / f"im_{number:04}.png")
        for strength in (80, 100):
            save(rainy, folder / "in" / f"im_{number:04}_s{strength}_a04.png")


def two_folders(folder: Path, seed: int) -> None:
    for number, rainy, clean in scenes(seed):
        save(rainy, folder / "input" / f"{number}.png")
        save(clean, folder / "target" / f"{number}.png")


def photos(folder: Path, seed: int) -> None:
    for number, _, clean in scenes(seed):
        save(clean, folder / f"{number}.png")


LAYS_OUT: dict[str, Callable[[Path, int], None]] = {
    "rain100h": rain100,
    "rain100l": rain100,
    "rain800": rain800,
    "rain1400": rain1400,
    "heavyrain": heavyrain,
    "folders": two_folders,
    "growth-1": photos,
    "growth-2": photos,
    "growth-3": photos,
    "universal": photos,
    "universal-base": photos,
    "universal-in-heavy-rain": photos,
    "universal-in-light-rain": photos,
    "universal-light": photos,
    "universal-nano": photos,
    "short": photos,
    "smoke": photos,
}


def test_every_recipe_is_tried() -> None:
    assert {path.stem for path in RECIPES} == set(LAYS_OUT)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_trains_two_steps(path: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    LAYS_OUT[path.stem](data, 5)
    recipe = load_recipe(path)
    held_out = "null"
    if recipe.validation.folder is not None:
        held_out = str(tmp_path / "held out")
        LAYS_OUT[path.stem](Path(held_out), 6)
    start = DPENet(width=4, n_ddrb=1, n_erpab=1)
    weights = tmp_path / "start.safetensors"
    write_weights(weights, {k: v.numpy() for k, v in start.state_dict().items()}, {})
    replaced = [] if recipe.model.init is None else [f"model.init={weights}"]
    if recipe.distillation is not None:
        replaced.append(f"distillation.teacher={weights}")
    overrides = {
        "photos" if isinstance(recipe.data, PhotoData) else "pairs": data,
        "patch": 16,
        "batch": 2,
        "workers": 0,
    }
    small = load_recipe(
        path,
        [f"data.{key}={value}" for key, value in overrides.items()]
        + [f"output={tmp_path / 'run'}", "epochs=null", "steps=2", *replaced]
        + ["validation.folder=null"]
        + [f"validation.folder={held_out}"]
        + ["model.width=6", "model.n_ddrb=1", "model.n_erpab=1"],
    )
    best = fit(small)
    assert load_weights(best).metadata["recipe"]["schedule"] == recipe.schedule.model_dump(
        mode="json"
    )


def test_the_smoke_recipe_runs_from_a_fresh_clone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    training, validation = open_sources(load_recipe(Path("recipes/smoke.yaml")))
    assert len(training) >= 3
    assert len(validation) >= 1
