from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from dpenet.errors import RecipeError
from dpenet.training.config import PairData, PhotoData, Recipe, load_recipe
from dpenet.training.schedule import Cosine, MultiStep, WarmupStableDecay

MINIMAL = "output: runs/x\ndata: {pairs: data/x}\nepochs: 100\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


def test_the_defaults_are_the_papers_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, MINIMAL))
    assert isinstance(recipe.data, PairData)
    assert (recipe.data.patch, recipe.data.batch, recipe.data.flips) == (128, 18, False)
    assert (recipe.optimiser.name, recipe.optimiser.lr) == ("adam", 1e-3)
    assert recipe.optimiser.clip is None
    assert recipe.schedule == MultiStep(milestones=(30, 50, 80), gamma=0.2)
    assert (recipe.loss.ssim, recipe.loss.edge, recipe.loss.l1) == (1.0, 0.05, 0.0)
    assert (recipe.model.width, recipe.model.n_ddrb, recipe.model.n_erpab) == (32, 10, 3)
    assert recipe.ema is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("optimizer: {lr: 1}", r"no key 'optimizer' here; did you mean 'optimiser'"),
        ("optimiser: {learning_rate: 1}", r"optimiser: no key 'learning_rate'.*name, lr, betas"),
        ("optimiser: {name: sgd}", r"optimiser\.name: .*'adamw' or 'muon'"),
        ("data: {pairs: x, ptach: 64}", r"data: no key 'ptach' here; did you mean 'patch'"),
        ("data: {photos: x, rain: {kindd: heavy}}", r"data\.rain: no key 'kindd'.*'kind'"),
        ("data: {photos: x, layout: auto}", r"data: no key 'layout'"),
        ("data: {photos: x, scale: [2, 1]}", r"data: scale: the least factor comes first"),
        ("data: {photos: x, rain: {kind: hail}}", r"data\.rain\.kind: .*'light', 'heavy'"),
        ("data: {patch: 64}", r"data\.pairs: Field required"),
        ("data: {pairs: x, patch: 10}", r"data\.patch: .*greater than or equal to 11"),
        ("schedule: {name: cosine, gamma: 1}", r"schedule: no key 'gamma'"),
        ("schedule: {name: wsd}", r"schedule\.decay: Field required"),
        ("schedule: {name: step}", r"schedule: .*'multistep', 'cosine', 'wsd'"),
        ("steps: 5", r"give either epochs or steps"),
        ("epochs: 0", r"epochs: .*greater than 0"),
        ("epochs: many", r"epochs: .*valid integer"),
        ("ema: 1.0", r"ema: .*less than 1"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, line: str, message: str) -> None:
    # The later of two equal keys wins in YAML.
    path = write(tmp_path, MINIMAL + line + "\n")
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(str(path))


def test_overrides_reach_every_depth(tmp_path: Path) -> None:
    overrides = ["data.patch=64", "schedule={name: wsd, decay: 5}", "model.init=rain100h"]
    recipe = load_recipe(write(tmp_path, MINIMAL), [*overrides, "data.patch=96", "epochs=2"])
    assert (recipe.data.patch, recipe.epochs, recipe.model.init) == (96, 2, "rain100h")
    assert recipe.schedule == WarmupStableDecay(name="wsd", decay=5)


@pytest.mark.parametrize("override", ["epochs", "=3", "data.=3", ".patch=3", "epochs=[1"])
def test_an_override_that_is_none(tmp_path: Path, override: str) -> None:
    with pytest.raises(RecipeError, match="--set"):
        load_recipe(write(tmp_path, MINIMAL), [override])


def test_an_override_with_a_typo(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"data: no key 'bacth' here; did you mean 'batch'"):
        load_recipe(write(tmp_path, MINIMAL), ["data.bacth=4"])


@pytest.mark.parametrize("text", ["- a list", "just text", "", "a: [1"])
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"recipe\.yaml"):
        load_recipe(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read the recipe"):
        load_recipe(tmp_path / "none.yaml")


def test_a_recipe_takes_what_it_does_not_state_from_the_one_that_it_extends(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL + "ema: 0.9\nloss: {l1: 5, ssim: 2}\nschedule: {name: multistep}\n")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "second.yaml").write_text(
        "extends: ../recipe.yaml\nloss: {l1: 1}\nschedule: {name: multistep, gamma: 0.5}\n"
    )
    third = tmp_path / "third.yaml"
    third.write_text("extends: b/second.yaml\nepochs: null\nsteps: 7\nema: 0.8\n")
    recipe = load_recipe(third, ["loss.edge=3"])
    assert (recipe.loss.ssim, recipe.loss.edge, recipe.loss.l1) == (2, 3, 1)
    assert (recipe.epochs, recipe.steps, recipe.ema) == (None, 7, 0.8)
    assert recipe.schedule == MultiStep(gamma=0.5)
    assert recipe.output == Path("runs/x")


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("recipe.yaml", "extends itself"),
        ("other.yaml", "extends itself"),
        ("none.yaml", r"cannot read the recipe .*none\.yaml"),
        ("[a.yaml, b.yaml]", r"extends: name one other recipe"),
        ("null", r"extends: name one other recipe"),
    ],
)
def test_a_recipe_that_cannot_be_extended(tmp_path: Path, extends: str, message: str) -> None:
    (tmp_path / "other.yaml").write_text("extends: recipe.yaml\n")
    with pytest.raises(RecipeError, match=message):
        load_recipe(write(tmp_path, f"extends: {extends}\n{MINIMAL}"))


def test_a_recipe_survives_its_own_json() -> None:
    recipe = Recipe.model_validate(
        {"output": "o", "data": {"photos": "p", "scale": [1, 2]}, "steps": 3}
    )
    assert isinstance(recipe.data, PhotoData)
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_multistep_counts_epochs() -> None:
    schedule = MultiStep(milestones=(2, 4), gamma=0.5)
    factors = [schedule.factor(step, 50, 10) for step in (0, 19, 20, 39, 40, 49)]
    assert factors == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_cosine_rises_and_falls() -> None:
    schedule = Cosine(name="cosine", warmup=4)
    factors = [schedule.factor(step, 104, 10) for step in range(105)]
    assert factors[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert factors[54] == pytest.approx(0.5)
    assert factors[104] == pytest.approx(0, abs=1e-12)
    assert all(a >= b for a, b in pairwise(factors[4:]))


def test_wsd_rises_stays_and_falls_to_nothing() -> None:
    schedule = WarmupStableDecay(name="wsd", warmup=2, decay=4)
    assert [schedule.factor(step, 10, 5) for step in range(11)] == pytest.approx(
        [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0]
    )
