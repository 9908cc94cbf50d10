from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dpenet.errors import DataError, RecipeError, TrainingError
from dpenet.network import DPENet
from dpenet.training.callbacks import (
    BEST_WEIGHTS,
    AtomicCheckpointIO,
    Status,
    TrainingInterruptedError,
)
from dpenet.training.config import Distillation, Recipe
from dpenet.training.fit import choose_precision, fit
from dpenet.training.initial import make_network
from dpenet.training.module import TrainingModule
from dpenet.zoo import load_weights
from dpenet.zoo.weights import read_weights, write_weights

MakeRecipe = Callable[..., Recipe]
SRC = Path(__file__).resolve().parents[2] / "src"


class KilledError(Exception):
    """Ends a training as abruptly as the process can end itself."""


def everything(run: Path) -> dict[str, bytes]:
    """All that must be equal after equal trainings: weights, optimiser, schedule, average."""
    checkpoint = torch.load(run / "last.ckpt", weights_only=True)
    found: dict[str, bytes] = {}

    def walk(value: Any, where: str) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(inner, f"{where}/{key}")
        elif isinstance(value, list | tuple):
            for i, inner in enumerate(value):
                walk(inner, f"{where}/{i}")
        elif isinstance(value, torch.Tensor):
            found[where] = value.numpy().tobytes()
        else:
            found[where] = repr(value).encode()

    parts = ("state_dict", "current_model_state", "averaging_state", "global_step", "callbacks")
    for part in (*parts, "optimizer_states", "lr_schedulers"):
        walk(checkpoint.get(part), part)
    for name in ("best", "last"):
        weights = load_weights(run / f"{name}.safetensors")
        walk({k: torch.from_numpy(v.copy()) for k, v in weights.state.items()}, name)
        walk({k: weights.metadata[k] for k in ("validation", "steps", "data")}, name)
    return {key: value for key, value in found.items() if not key.endswith("/seconds")}


def test_a_training_leaves_weights_curves_and_what_it_was(tiny: MakeRecipe, tmp_path: Path) -> None:
    recipe = tiny()
    seen: list[Status] = []
    best = fit(recipe, report=seen.append)
    assert best == recipe.output / "best.safetensors"

    metadata = load_weights(best).metadata
    assert Recipe.model_validate(metadata["recipe"]) == recipe
    assert metadata["data"]["training_pictures"] == 4
    assert metadata["data"]["validation_pictures"] == 2
    assert len(metadata["data"]["fingerprint"]) == 64
    assert metadata["validation"]["protocol"] == "matlab-y"
    assert metadata["validation"]["psnr"] > 0
    assert metadata["hours"] >= 0

    steps = [status.step for status in seen if status.scores is None]
    assert steps == list(range(1, 11))
    validated = {status.step: status.scores for status in seen if status.scores}
    assert list(validated) == [4, 8, 10], "every 4 steps, and at the end"
    assert load_weights(recipe.output / "last.safetensors").metadata["steps"] == 10
    best_step = max(validated, key=lambda step: validated[step]["psnr"])
    assert metadata["steps"] == best_step
    assert metadata["validation"]["psnr"] == validated[best_step]["psnr"]

    with (recipe.output / "csv" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["loss"]) for row in rows) == 10
    assert sum(bool(row["val/psnr"]) for row in rows) == 3
    events = list((recipe.output / "tensorboard").glob("events*"))
    assert len(events) == 1
    assert b"before, after, target" in events[0].read_bytes()


def test_training_removes_rain(tiny: MakeRecipe) -> None:
    recipe = tiny(
        steps=80,
        optimiser={"lr": 1e-2},
        schedule={"warmup": 5, "decay": 20},
        validation={"every": 40},
        data={"rain": {"kind": "heavy"}, "batch": 4, "repeat": 4},
    )
    fit(recipe)
    scores = read_weights(recipe.output / BEST_WEIGHTS).metadata["validation"]
    assert scores["psnr"] > scores["psnr_input"] + 1.5  # 5.5 dB when this was written
    assert scores["ssim"] > scores["ssim_input"]


# Checkpoints are at 3, 6, 9, validations at 4, 8, 10: in the middle of an epoch, at its end, before
# the first checkpoint, and between a validation and the next checkpoint.
@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
@pytest.mark.parametrize(("killed_at", "ema"), [(2, 0.9), (4, None), (4, 0.9), (6, 0.9), (9, None)])
def test_a_killed_training_goes_on_to_the_same_bytes(
    tiny: MakeRecipe, tmp_path: Path, killed_at: int, ema: float | None, optimiser: str
) -> None:
    whole = tiny(output=tmp_path / "whole", ema=ema, optimiser={"name": optimiser})
    fit(whole)

    def kill(status: Status) -> None:
        if status.step == killed_at:
            raise KilledError

    broken = tiny(output=tmp_path / "broken", ema=ema, optimiser={"name": optimiser})
    with pytest.raises(KilledError):
        fit(broken, report=kill)
    steps: list[int] = []
    fit(broken, resume=True, report=lambda status: steps.append(status.step))
    assert steps[0] == (killed_at - 1) // 3 * 3 + 1, "after the last checkpoint, no earlier"
    assert everything(broken.output) == everything(whole.output)


@pytest.mark.parametrize("killed_at", [4, 5, 8])
def test_a_validation_due_with_a_checkpoint_is_neither_missed_nor_repeated(
    tiny: MakeRecipe, tmp_path: Path, killed_at: int
) -> None:
    whole = tiny(output=tmp_path / "whole", checkpoint_every=4)
    validated: list[int] = []
    fit(whole, report=lambda s: validated.append(s.step) if s.scores else None)

    def kill(status: Status) -> None:
        if status.scores:
            again.append(status.step)
        elif status.step == killed_at:
            raise KilledError

    again: list[int] = []
    broken = tiny(output=tmp_path / "broken", checkpoint_every=4)
    with pytest.raises(KilledError):
        fit(broken, report=kill)
    fit(broken, resume=True, report=lambda s: again.append(s.step) if s.scores else None)
    assert again == validated == [4, 8, 10]
    assert everything(broken.output) == everything(whole.output)


def run_elsewhere(recipe: Recipe, at_step: int, number: int) -> subprocess.CompletedProcess[str]:
    """Train in a process of its own that sends itself a signal after a step."""
    program = (
        "import os, sys; from pathlib import Path; import torch;"
        "torch.set_num_threads(int(sys.argv[1]));"
        "from dpenet.training.config import load_recipe; from dpenet.training.fit import fit;"
        "fit(load_recipe(Path(sys.argv[2])), report=lambda s:"
        " os.kill(os.getpid(), int(sys.argv[4])) if s.step == int(sys.argv[3]) else None)"
    )
    path = recipe.output.with_suffix(".yaml")
    path.write_text(recipe.model_dump_json())
    arguments = [str(torch.get_num_threads()), str(path), str(at_step), str(number)]
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_kill_9_and_resume_give_the_same_bytes(tiny: MakeRecipe, tmp_path: Path) -> None:
    whole = tiny(output=tmp_path / "whole", data={"workers": 1})
    fit(whole)
    broken = tiny(output=tmp_path / "broken", data={"workers": 1})
    done = run_elsewhere(broken, 7, signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert torch.load(broken.output / "last.ckpt", weights_only=True)["global_step"] == 6
    fit(broken, resume=True)
    assert everything(broken.output) == everything(whole.output)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_training_with_a_checkpoint(
    tiny: MakeRecipe, tmp_path: Path, number: int
) -> None:
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    whole = tiny(output=tmp_path / "whole")
    fit(whole)

    def stop(status: Status) -> None:
        if status.step == 5:
            os.kill(os.getpid(), number)

    broken = tiny(output=tmp_path / "broken")
    with pytest.raises(TrainingInterruptedError, match="after step 5 of 10; --resume"):
        fit(broken, report=stop)
    assert torch.load(broken.output / "last.ckpt", weights_only=True)["global_step"] == 5
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    fit(broken, resume=True)
    assert everything(broken.output) == everything(whole.output)


def test_a_second_training_does_not_overwrite_the_first(tiny: MakeRecipe) -> None:
    fit(tiny(steps=2))
    before = everything(tiny().output)
    with pytest.raises(TrainingError, match="holds a training already"):
        fit(tiny(steps=2))
    assert everything(tiny().output) == before


def test_resuming_a_finished_training_changes_nothing(tiny: MakeRecipe) -> None:
    fit(tiny(steps=4))
    before = everything(tiny().output)
    fit(tiny(steps=4), resume=True)
    assert everything(tiny().output) == before


def test_resuming_by_another_recipe_is_refused(tiny: MakeRecipe, photos: Path) -> None:
    fit(tiny(steps=2))
    with pytest.raises(RecipeError, match=r"optimiser\.lr was 0\.001, is 0\.5"):
        fit(tiny(steps=2, optimiser={"lr": 0.5}), resume=True)
    fit(tiny(steps=4), resume=True)  # a longer training is no contradiction
    (photos / "5.png").write_bytes((photos / "4.png").read_bytes())
    with pytest.raises(TrainingError, match="other pictures"):
        fit(tiny(steps=6), resume=True)


def test_a_loss_that_is_no_number_stops_the_training(
    tiny: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = TrainingModule.training_step

    def poisoned(self: TrainingModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 7:
            batch = (batch[0] * float("nan"), batch[1])
        return original(self, batch, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", poisoned)
    with pytest.raises(TrainingError, match=r"loss is nan at step 7: lower optimiser\.lr"):
        fit(tiny())
    checkpoint = torch.load(tiny().output / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    assert all(torch.isfinite(v).all() for v in checkpoint["state_dict"].values())


def test_a_full_disk_leaves_the_last_good_checkpoint(
    tiny: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tiny(output=tmp_path / "whole")
    fit(whole)
    save = torch.save

    def full(value: Any, path: Path) -> None:
        if value["global_step"] == 6:
            path.write_bytes(b"half of a checkpoint")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(value, path)

    recipe = tiny()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(TrainingError, match=r"disk is full.*--resume"):
            fit(recipe)
    assert torch.load(recipe.output / "last.ckpt", weights_only=True)["global_step"] == 3
    assert not list(recipe.output.glob(".*")), "no temporary file is left"
    fit(recipe, resume=True)
    assert everything(recipe.output) == everything(whole.output)


def test_a_checkpoint_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, target)
    with pytest.raises(Exception, match="pickle"):
        AtomicCheckpointIO().save_checkpoint({"step": lambda: 2}, target)
    assert torch.load(target) == {"step": 1}
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("content", [b"", b"PK half a checkpoint", b"no checkpoint at all"])
def test_a_damaged_checkpoint_is_named(tiny: MakeRecipe, content: bytes) -> None:
    recipe = tiny()
    recipe.output.mkdir()
    (recipe.output / "last.ckpt").write_bytes(content)
    with pytest.raises(TrainingError, match=r"last\.ckpt is damaged"):
        fit(recipe, resume=True)


def test_an_empty_folder_is_named(tiny: MakeRecipe, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty holds no pictures"):
        fit(tiny(data={"photos": tmp_path / "empty"}))


def test_pictures_smaller_than_the_crop_are_named(tiny: MakeRecipe) -> None:
    with pytest.raises(DataError, match=r"6 of 6 pictures.*crops of 36 px.*0\.png \(40x34\)"):
        fit(tiny(data={"patch": 36}))


def test_a_training_starts_from_another_recipe_s_which_is_trained_first(
    tiny: MakeRecipe, tmp_path: Path
) -> None:
    first = tiny(output=tmp_path / "first", steps=3)
    recipe = tmp_path / "first.yaml"
    recipe.write_text(yaml.safe_dump(first.model_dump(mode="json", exclude_unset=True)))
    second = tiny(steps=4, model={"init": str(recipe), "width": 6})
    fit(second)
    small, large = (load_weights(run.output / "last.safetensors") for run in (first, second))
    assert (small.architecture.width, large.architecture.width) == (4, 6)
    assert large.metadata["recipe"]["model"]["init"] == str(first.output / "last.safetensors")
    before = everything(tmp_path / "first")
    fit(tiny(steps=4, model={"init": str(recipe), "width": 6}), resume=True)
    assert everything(tmp_path / "first") == before


def test_a_training_starts_from_the_mean_of_several_others(
    tiny: MakeRecipe, tmp_path: Path
) -> None:
    recipes, trained = [], []
    for seed in (1, 2):
        first = tiny(output=tmp_path / f"first{seed}", steps=2, seed=seed)
        recipes.append(tmp_path / f"first{seed}.yaml")
        recipes[-1].write_text(yaml.safe_dump(first.model_dump(mode="json", exclude_unset=True)))
        trained.append(first.output / "last.safetensors")
    second = tiny(steps=2, model={"init": [*map(str, recipes)]})
    fit(second)
    metadata = load_weights(second.output / "last.safetensors").metadata
    assert metadata["recipe"]["model"]["init"] == [*map(str, trained)]


def test_a_student_learns_from_its_teacher(tiny: MakeRecipe, tmp_path: Path) -> None:
    torch.manual_seed(5)
    teacher = DPENet(6, 1, 1)
    path = tmp_path / "teacher.safetensors"
    write_weights(path, {k: v.numpy() for k, v in teacher.state_dict().items()}, {})
    recipe = tiny(distillation={"teacher": str(path), "weight": 1.0})

    def module(weight: float) -> TrainingModule:
        distilled = recipe.model_copy(
            update={"distillation": Distillation(teacher=str(path), weight=weight)}
        )
        student = make_network(recipe.model, 1)
        return TrainingModule(
            distilled, student, steps=1, steps_per_epoch=1, fingerprint="", teacher=teacher
        )

    x, clean = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
    truth, both, taught = (float(module(w).loss((x, clean)).detach()) for w in (0, 0.5, 1))
    assert both == pytest.approx((truth + taught) / 2, rel=1e-5)
    with torch.no_grad():
        target = teacher(x).stage2.clamp(0, 1)
    plain = TrainingModule(
        tiny(), make_network(recipe.model, 1), steps=1, steps_per_epoch=1, fingerprint=""
    )
    assert taught == pytest.approx(float(plain.loss((x, target)).detach()), rel=1e-5)
    assert sum(p.numel() for p in module(1).parameters()) == sum(
        p.numel() for p in plain.parameters()
    ), "the teacher is not trained"

    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    weights = load_weights(fit(recipe))
    assert weights.architecture.width == 4
    assert all(v.equal(before[k]) for k, v in teacher.state_dict().items())


def test_evenness_weighs_crops_by_how_little_rain_they_have(tiny: MakeRecipe) -> None:
    torch.manual_seed(5)
    network = make_network(tiny().model, 1)

    def loss(rainy: torch.Tensor, clean: torch.Tensor, evenness: float | None = None) -> float:
        recipe = tiny(loss={"l1": 1.0, "evenness": evenness})
        module = TrainingModule(recipe, network, steps=1, steps_per_epoch=1, fingerprint="")
        return float(module.loss((rainy, clean)).detach())

    clean = torch.rand(3, 3, 32, 32) / 2
    rainy = clean + torch.tensor([0.0, 0.03, 0.27]).reshape(3, 1, 1, 1)
    dry, light, heavy = (loss(x[None], y[None]) for x, y in zip(rainy, clean, strict=True))
    expected = (dry + light / 2 + heavy / 10) / 3
    assert loss(rainy, clean, 0.03) == pytest.approx(expected, rel=1e-5)
    assert loss(rainy, clean) == pytest.approx((dry + light + heavy) / 3, rel=1e-5)


def test_bfloat16_is_chosen_only_where_it_is_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for features, expected in (
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"avx512_bf16": True}, "bf16-mixed"),
        ({"amx_bf16": True}, "bf16-mixed"),
        ({}, "32-true"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda f=features: f)
        assert choose_precision("auto") == expected
    assert choose_precision("bf16") == "bf16-mixed"
    assert choose_precision("fp32") == "32-true"


def test_bfloat16_and_plain_layout_train_too(tiny: MakeRecipe) -> None:
    fit(tiny(precision="bf16", channels_last=False, steps=2))
    state = load_weights(tiny().output / "best.safetensors").state
    assert all(array.dtype == np.float32 for array in state.values())


@pytest.mark.parametrize("revive", [False, True])
def test_dead_channels_of_the_first_weights_are_revived_if_wanted(
    tiny: MakeRecipe, tmp_path: Path, revive: bool
) -> None:
    torch.manual_seed(0)
    network = DPENet(4, 1, 1)
    with torch.no_grad():
        network.ddrb1.dconv1[0].weight[2] = -1  # type: ignore[index, union-attr]
    path = tmp_path / "dead.safetensors"
    write_weights(path, {k: v.numpy() for k, v in network.state_dict().items()}, {})
    recipe = tiny(model={"init": str(path), "revive": revive}, steps=1)
    fit(recipe)
    kernel = load_weights(recipe.output / "last.safetensors").state["ddrb1.dconv1.0.weight"]
    assert np.allclose(kernel[2], -1, atol=0.1) != revive
