"""What happens around the training steps: averaging, checkpoints, signals, progress, pictures."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback, WeightAveraging
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import Tensor

from dpenet.atomic import atomic_path
from dpenet.errors import TrainingError
from dpenet.training.module import TrainingModule
from dpenet.zoo.weights import write_weights

LAST = "last.ckpt"  # everything needed to go on
BEST_WEIGHTS = "best.safetensors"
LAST_WEIGHTS = "last.safetensors"


class TrainingInterruptedError(TrainingError):
    """A signal ended the training after a step whose checkpoint is on the disk."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Checkpoints that replace their predecessor only when they are complete."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        with atomic_path(Path(path)) as temporary:
            torch.save(checkpoint, temporary)


class ExponentialAverage(WeightAveraging):
    """Keeps the average of the weights that is validated and exported.

    The decay rises as (1 + n) / (10 + n) to its final value, so that the first, random weights do
    not linger.
    """

    def __init__(self, decay: float) -> None:
        def average(averaged: Any, current: Any, updates: Tensor | int) -> None:
            n = int(updates)
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

        super().__init__(multi_avg_fn=average)

    @property
    def module(self) -> TrainingModule:
        """The module with averaged weights."""
        if self._average_model is None:
            raise RuntimeError("there is no average before the training starts")
        return cast(TrainingModule, self._average_model.module)


@dataclass(frozen=True)
class Status:
    """How far a training is.

    Attributes:
        step, steps: Steps done, and of the whole training.
        loss: Mean over the steps since the last status.
        images_per_second: Crops trained on, by all processes, validation aside.
        seconds_left: Estimate, validation aside; None before the first step of this run.
        scores: Of the validation that has just ended, if one has.
    """

    step: int
    steps: int
    loss: float
    images_per_second: float
    seconds_left: float | None
    scores: Mapping[str, Any] | None = None


class Progress(Callback):
    """Reports a `Status` every so many steps and after each validation, and counts the hours."""

    def __init__(self, report: Callable[[Status], None], every: int, images_per_step: int) -> None:
        self._report, self._every, self._images_per_step = report, every, images_per_step
        self._before = 0.0  # seconds of earlier runs
        self._start = self._mark = time.perf_counter()
        self._steps, self._stepping = 0, 0.0  # of this run
        self._losses: list[float] = []

    @property
    def seconds(self) -> float:
        """Seconds of training, over all runs that it took."""
        return self._before + time.perf_counter() - self._start

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._start = self._mark = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.perf_counter()
        self._stepping += now - self._mark
        self._mark = now
        self._steps += 1
        self._losses.append(float(outputs["loss"]))
        if trainer.global_step % self._every == 0:
            self._report(self._status(trainer, pl_module))

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._mark = time.perf_counter()
        scores = cast(TrainingModule, pl_module).validation_scores()
        self._report(self._status(trainer, pl_module, scores))

    def _status(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        scores: Mapping[str, Any] | None = None,
    ) -> Status:
        loss = float(np.mean(self._losses)) if self._losses else float("nan")
        self._losses.clear()
        steps = cast(TrainingModule, pl_module).steps
        pace = self._stepping / self._steps if self._steps else 0.0
        return Status(
            step=trainer.global_step,
            steps=steps,
            loss=loss,
            images_per_second=self._images_per_step / pace if pace else 0.0,
            seconds_left=(steps - trainer.global_step) * pace if pace else None,
            scores=scores,
        )

    def state_dict(self) -> dict[str, Any]:
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._before = state_dict["seconds"]


class Checkpoints(Callback):
    """Saves what is needed to go on, and exports the best and the last weights.

    A checkpoint due at the step of a validation is saved after it: a training that goes on from
    there neither repeats nor misses the validation. So SIGTERM and Ctrl-C, too, end the training
    after the step and its validation, with a checkpoint.

    Args:
        describe: The metadata of weights exported now.
        average: Whose weights to export; None for the trained ones.
    """

    def __init__(
        self,
        describe: Callable[[TrainingModule], dict[str, Any]],
        average: ExponentialAverage | None,
    ) -> None:
        self._describe, self._average = describe, average
        self._best = float("-inf")
        self._signal: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        # A second Ctrl-C does not wait for the step.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        module = cast(TrainingModule, pl_module)
        step = trainer.global_step
        if step == module.steps:
            trainer.should_stop = True  # which makes Lightning validate now
        elif step % module.recipe.validation.every:
            self._save_if_due(trainer, module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        module = cast(TrainingModule, pl_module)
        psnr = float(trainer.callback_metrics["val/psnr"])
        if psnr > self._best:
            self._best = psnr
            self._export(trainer, module, BEST_WEIGHTS)
        if trainer.global_step == module.steps:
            self._export(trainer, module, LAST_WEIGHTS)
        self._save_if_due(trainer, module)

    def _save_if_due(self, trainer: pl.Trainer, module: TrainingModule) -> None:
        stopping = trainer.strategy.reduce_boolean_decision(self._signal is not None, all=False)
        finished = trainer.global_step == module.steps
        if stopping or finished or trainer.global_step % module.recipe.checkpoint_every == 0:
            trainer.save_checkpoint(module.recipe.output / LAST, weights_only=False)
        if stopping and not finished:
            raise TrainingInterruptedError(
                f"stopped after step {trainer.global_step} of {module.steps}; "
                "--resume goes on from there"
            )

    def _export(self, trainer: pl.Trainer, module: TrainingModule, name: str) -> None:
        if not trainer.is_global_zero:
            return
        network = (self._average.module if self._average else module).network
        state = {k: v.detach().float().cpu().numpy() for k, v in network.state_dict().items()}
        write_weights(module.recipe.output / name, state, self._describe(module))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self._best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._best = state_dict["best"]


class Pictures(Callback):
    """Shows the first validation pictures in TensorBoard: before, after, target."""

    def __init__(self, most: int = 4) -> None:
        self._most = most

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        grid = cast(NDArray[np.uint8], outputs["before_after_target"])
        if batch_idx < self._most and trainer.is_global_zero:
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_image(
                        f"validation {batch_idx}: before, after, target",
                        grid,
                        trainer.global_step,
                        dataformats="HWC",
                    )
