"""A training, from recipe to weights."""

from __future__ import annotations

import errno
import os
import signal
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.warnings import PossibleUserWarning
from pytorch_lightning.callbacks import Callback, LearningRateMonitor
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader

import dpenet
from dpenet.errors import TrainingError
from dpenet.network import DPENet
from dpenet.training.callbacks import (
    BEST_WEIGHTS,
    LAST,
    LAST_WEIGHTS,
    AtomicCheckpointIO,
    Checkpoints,
    ExponentialAverage,
    Pictures,
    Progress,
    Status,
)
from dpenet.training.config import Distillation, Model, Recipe, load_recipe
from dpenet.training.dataset import Batches, TrainingSet, ValidationSet
from dpenet.training.initial import make_network
from dpenet.training.module import TrainingModule
from dpenet.training.sources import open_sources

Precision = Literal["32-true", "bf16-mixed"]
_CROPS_TO_LOOK_AT = 48  # that tell what of the first weights is of use


@dataclass(frozen=True)
class Processes:
    """Which of several processes this is, as torchrun says in the environment."""

    rank: int
    count: int
    on_this_machine: int

    @classmethod
    def of_environment(cls) -> Processes:
        """One process, unless torchrun started several."""
        rank, count = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1)))
        return cls(rank, count, int(os.environ.get("LOCAL_WORLD_SIZE", 1)))


def fit(
    recipe: Recipe, *, resume: bool = False, report: Callable[[Status], None] = lambda _: None
) -> Path:
    """Train by a recipe.

    Writes into ``recipe.output``: ``last.ckpt`` (what resuming needs), ``best.safetensors`` and
    ``last.safetensors`` (weights that every command accepts as a model), ``csv/`` and
    ``tensorboard/`` (curves and pictures). Under torchrun, all processes train together. Where
    the recipe names another one, that is trained first, or finished if it was interrupted.

    Args:
        recipe: What to train, on what, and how.
        resume: Go on after the last checkpoint, if there is one.
        report: Called every ``log_every`` steps and after each validation, in the first process.

    Returns:
        The weights that scored best in validation.

    Raises:
        DataError: If the pictures are missing, too small, or wrongly paired.
        RecipeError: If the recipe does not fit its initial weights or the checkpoint.
        TrainingError: If there is a training in the output already, the loss is not finite, the
            disk is full, or (`TrainingInterruptedError`) a signal ended it.
    """
    recipe = _with_trained_parts(recipe, report)
    last = recipe.output / LAST
    if last.exists() and not resume:
        raise TrainingError(
            f"{recipe.output} holds a training already: go on with --resume, or start another with "
            "--set output=FOLDER"
        )
    try:
        recipe.output.mkdir(parents=True, exist_ok=True)
        _fit(recipe, last if last.exists() else None, report)
    except OSError as error:
        full = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise TrainingError(
            f"cannot write to {recipe.output}: {full}. The last checkpoint there is complete: make "
            "room, then --resume goes on from it"
        ) from error
    return recipe.output / BEST_WEIGHTS


def _with_trained_parts(recipe: Recipe, report: Callable[[Status], None]) -> Recipe:
    """The recipe with weights wherever it names another recipe, which is trained first."""

    def weights(of: str) -> str:
        if Path(of).suffix not in (".yaml", ".yml"):
            return of
        first = load_recipe(Path(of))
        fit(first, resume=True, report=report)
        return str(first.output / LAST_WEIGHTS)

    changes: dict[str, Any] = {}
    if (init := recipe.model.init) is not None:
        first = weights(init) if isinstance(init, str) else tuple(map(weights, init))
        changes["model"] = recipe.model.model_copy(update={"init": first})
    if recipe.distillation is not None:
        teacher = {"teacher": weights(recipe.distillation.teacher)}
        changes["distillation"] = recipe.distillation.model_copy(update=teacher)
    return recipe.model_copy(update=changes)


def _fit(recipe: Recipe, checkpoint: Path | None, report: Callable[[Status], None]) -> None:
    processes = Processes.of_environment()
    training, validation = open_sources(recipe)
    data = recipe.data
    batches = Batches(
        len(training),
        repeat=data.repeat,
        batch=data.batch,
        seed=recipe.seed,
        steps=recipe.steps,
        epochs=recipe.epochs,
        rank=processes.rank,
        processes=processes.count,
    )
    crops = TrainingSet(training, patch=data.patch, flips=data.flips, seed=recipe.seed)
    count = 0 if checkpoint else min(_CROPS_TO_LOOK_AT, len(training) * data.repeat)
    network = make_network(
        recipe.model, recipe.seed, lambda: [crops[1, index][0] for index in range(count)]
    )
    module = TrainingModule(
        recipe,
        network,
        steps=batches.steps,
        steps_per_epoch=batches.steps_per_epoch,
        fingerprint=training.fingerprint,
        teacher=_load_teacher(recipe.distillation),
    )
    average = ExponentialAverage(recipe.ema) if recipe.ema else None
    images_per_step = data.batch * processes.count
    progress = Progress(
        report if processes.rank == 0 else lambda _: None, recipe.log_every, images_per_step
    )
    precision = choose_precision(recipe.precision)

    def describe(module: TrainingModule) -> dict[str, Any]:
        return {
            "recipe": recipe.model_dump(mode="json"),
            "data": {
                "fingerprint": module.fingerprint,
                "training_pictures": len(training),
                "validation_pictures": len(validation),
            },
            "validation": module.validation_scores(),
            "steps": module.global_step,
            "batch": images_per_step,
            "hours": round(progress.seconds / 3600, 3),
            "precision": precision,
            "dpenet": dpenet.__version__,
            "torch": torch.__version__,
        }

    # The average is updated before it is saved, and the time counted before it is stated.
    callbacks: list[Callback] = [average] if average else []
    callbacks += [LearningRateMonitor("step"), Pictures(), progress, Checkpoints(describe, average)]
    trainer = pl.Trainer(
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        strategy="ddp" if processes.count > 1 else "auto",
        devices=processes.on_this_machine,
        num_nodes=processes.count // processes.on_this_machine,
        precision=precision,
        max_steps=batches.steps,
        val_check_interval=recipe.validation.every,
        check_val_every_n_epoch=None,
        gradient_clip_val=recipe.optimiser.clip,
        log_every_n_steps=recipe.log_every,
        logger=[
            TensorBoardLogger(recipe.output, name="tensorboard", version=""),
            CSVLogger(recipe.output, name="csv", flush_logs_every_n_steps=1),
        ],
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # Batches and ValidationSet know their share
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        default_root_dir=recipe.output,
    )
    if checkpoint is not None:
        batches.start = _steps_done(checkpoint)
    training_loader = DataLoader(
        crops,
        batch_sampler=batches,
        num_workers=data.workers,
        prefetch_factor=4 if data.workers else None,
        worker_init_fn=_ignore_ctrl_c,
        pin_memory=torch.cuda.is_available(),
    )
    validation_loader = DataLoader(
        ValidationSet(
            validation,
            crop=recipe.validation.crop,
            seed=recipe.seed,
            rank=processes.rank,
            processes=processes.count,
        )
    )
    with warnings.catch_warnings():
        # Lightning wants more workers than two cores have, and does not know that Batches resume.
        warnings.simplefilter("ignore", PossibleUserWarning)
        warnings.filterwarnings(
            "ignore", ".*LeafSpec.*is deprecated"
        )  # between Lightning and torch
        trainer.fit(module, training_loader, validation_loader, ckpt_path=checkpoint)


def _steps_done(checkpoint: Path) -> int:
    try:
        return int(torch.load(checkpoint, weights_only=True, mmap=True)["global_step"])
    except (RuntimeError, KeyError, TypeError, EOFError, UnpicklingError) as error:
        raise TrainingError(
            f"{checkpoint} is damaged or no checkpoint of a training: remove it to start anew"
        ) from error


def _load_teacher(distillation: Distillation | None) -> DPENet | None:
    if distillation is None:
        return None
    teacher = make_network(Model(init=distillation.teacher), seed=0)
    return teacher.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def choose_precision(wanted: Literal["auto", "fp32", "bf16"]) -> Precision:
    """``auto`` is bfloat16 where the hardware multiplies it; elsewhere it is far slower."""
    if wanted == "auto":
        if torch.cuda.is_available():
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            features = torch.cpu.get_capabilities()
            fast = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
        wanted = "bf16" if fast else "fp32"
    return "bf16-mixed" if wanted == "bf16" else "32-true"


def _ignore_ctrl_c(worker: int) -> None:
    """Ctrl-C reaches the workers too; the step that the main process finishes needs their batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
