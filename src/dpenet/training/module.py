"""The training step, the validation step, and what PyTorch Lightning must know around them."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from dpenet.errors import RecipeError, TrainingError
from dpenet.loss import comprehensive_loss
from dpenet.metrics import DEFAULT_PROTOCOL, score
from dpenet.network import DPENet, Stages
from dpenet.training.config import Recipe
from dpenet.training.convolution import accelerate
from dpenet.training.optimiser import make_optimiser

Batch = tuple[Tensor, Tensor]  # rainy, clean; each (N, 3, H, W), RGB in 0..1
# What may change when a training goes on: none of it changes what the steps so far have done.
_FREE = {"output", "epochs", "steps", "checkpoint_every", "log_every"}
_FREE_DATA = {"workers", "cache_gb"}


class TrainingModule(pl.LightningModule):
    """A network being trained by a recipe.

    Args:
        recipe: The recipe.
        network: What to train.
        teacher: What it also learns from, if the recipe distils.
        steps: Length of the whole training.
        steps_per_epoch: Of all processes together.
        fingerprint: Of the training pictures; a checkpoint of other pictures is refused.
    """

    def __init__(
        self,
        recipe: Recipe,
        network: DPENet,
        *,
        steps: int,
        steps_per_epoch: int,
        fingerprint: str,
        teacher: DPENet | None = None,
    ) -> None:
        super().__init__()
        self.recipe, self.steps, self.steps_per_epoch = recipe, steps, steps_per_epoch
        self.fingerprint = fingerprint
        self.memory_format = (
            torch.channels_last if recipe.channels_last else torch.contiguous_format
        )
        accelerate(network)
        self.network = cast(DPENet, network.to(memory_format=self.memory_format))  # type: ignore[call-overload]
        # In a tuple, so that its weights are neither trained nor saved.
        self._teacher = (teacher,)
        self._sums: Tensor = torch.zeros(5)

    def loss(self, batch: Batch) -> Tensor:
        """The recipe's loss of a batch, a scalar."""
        rainy, clean = batch
        rainy = rainy.contiguous(memory_format=self.memory_format)
        stages = self.network(rainy)
        evenness = self.recipe.loss.evenness
        if evenness is None:
            shares = rainy.new_ones(1)
        else:
            shares = evenness / (evenness + (rainy - clean).abs().mean(dim=(1, 2, 3)))
        (teacher,) = self._teacher
        distillation = self.recipe.distillation
        if teacher is None or distillation is None:
            return self._distance(stages, clean, shares)
        with torch.no_grad():
            taught = teacher.to(self.device)(rainy).stage2.clamp(0, 1)
        truth, lesson = (self._distance(stages, target, shares) for target in (clean, taught))
        return (1 - distillation.weight) * truth + distillation.weight * lesson

    def _distance(self, stages: Stages, target: Tensor, shares: Tensor) -> Tensor:
        """Mean of the loss of as many equal parts of the batch as there are shares, so weighed."""
        weights = self.recipe.loss
        parts = zip(*(torch.chunk(x, len(shares)) for x in (*stages, target)), strict=True)
        losses = [
            comprehensive_loss(
                Stages(stage1, stage2),
                clean,
                ssim_weight=weights.ssim,
                edge_weight=weights.edge,
                l1_weight=weights.l1,
                psnr_weight=weights.psnr,
            )
            for stage1, stage2, clean in parts
        ]
        return (shares * torch.stack(losses)).mean()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss.item()} at step {self.global_step}: lower optimiser.lr or set "
                "optimiser.clip, then --resume goes on from the last good checkpoint"
            )
        self.log("loss", loss.detach())
        return loss

    def on_validation_epoch_start(self) -> None:
        self._sums = torch.zeros(5, dtype=torch.float64)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, NDArray[np.uint8]]:
        """Score one picture; returns rainy, result and clean side by side, (H, 3 W, 3)."""
        rainy, clean = batch
        result = self.network(rainy.contiguous(memory_format=self.memory_format)).stage2
        before, after, target = (_to_levels(x) for x in (rainy, result, clean))
        self._sums += torch.tensor(
            [1, *score(before, target), *score(after, target)], dtype=torch.float64
        )
        return {"before_after_target": np.concatenate([before, after, target], axis=1)}

    def on_validation_epoch_end(self) -> None:
        # Sums, not means: the shards of several processes may differ in length.
        total = self.trainer.strategy.reduce(self._sums.float().to(self.device), reduce_op="sum")
        count, psnr_in, ssim_in, psnr, ssim = cast(Tensor, total).tolist()
        scores = {"psnr": psnr, "ssim": ssim, "psnr_input": psnr_in, "ssim_input": ssim_in}
        self.log_dict({f"val/{name}": value / count for name, value in scores.items()})

    def validation_scores(self) -> dict[str, Any]:
        """Of the last validation, for people and for metadata."""
        measured = self.trainer.callback_metrics
        values = {
            key.removeprefix("val/"): round(float(value), 4)
            for key, value in measured.items()
            if key.startswith("val/")
        }
        return {"protocol": DEFAULT_PROTOCOL, **values}

    def configure_optimizers(self) -> Any:
        optimiser = make_optimiser(self.network, self.recipe.optimiser)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser,
            lambda step: self.recipe.schedule.factor(step, self.steps, self.steps_per_epoch),
        )
        return {
            "optimizer": optimiser,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = self.recipe.model_dump(mode="json")
        checkpoint["fingerprint"] = self.fingerprint
        checkpoint["processes"] = self.trainer.world_size

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with another recipe, other pictures or another number of processes."""
        now = _flat(self.recipe.model_dump(mode="json"))
        then = _flat(checkpoint["recipe"])
        changed = [key for key in now | then if now.get(key) != then.get(key)]
        if changed:
            listed = "; ".join(f"{k} was {then.get(k)}, is {now.get(k)}" for k in changed)
            raise RecipeError(
                f"the training in {self.recipe.output} began with another recipe ({listed}): "
                "restore it, or start anew with another output"
            )
        if checkpoint["fingerprint"] != self.fingerprint:
            raise TrainingError(
                f"the training in {self.recipe.output} began with other pictures than those in "
                f"{self.recipe.data.folder}: restore them, or start anew with another output"
            )
        if checkpoint["processes"] != self.trainer.world_size:
            raise TrainingError(
                f"the training in {self.recipe.output} ran in {checkpoint['processes']} processes: "
                "resume with as many"
            )


def _flat(recipe: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """``{"a.b": value}`` of what must not change in a training that goes on."""
    flat: dict[str, Any] = {}
    for key, value in recipe.items():
        if key in (_FREE_DATA if prefix == "data." else _FREE if not prefix else ()):
            continue
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _to_levels(x: Tensor) -> NDArray[np.uint8]:
    """A batch of one, (1, 3, H, W) in 0..1, as (H, W, 3) uint8."""
    levels = x[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return levels.permute(1, 2, 0).cpu().numpy()
