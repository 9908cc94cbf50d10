"""Learning-rate schedules: each is a factor on the recipe's ``lr``, a function of the step."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from dpenet.training.section import Section


class MultiStep(Section):
    """Multiply the rate by ``gamma`` at each milestone, counted in epochs (the paper's)."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[PositiveInt, ...] = (30, 50, 80)
    gamma: float = Field(default=0.2, gt=0, le=1)

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor for the step-th update, from 0."""
        del steps
        passed = sum(step // steps_per_epoch >= milestone for milestone in self.milestones)
        return float(self.gamma**passed)


class Cosine(Section):
    """Rise linearly over ``warmup`` steps, then fall to nearly nothing along half a cosine."""

    name: Literal["cosine"]
    warmup: NonNegativeInt = 0

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor for the step-th update of ``steps``, from 0."""
        del steps_per_epoch
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(steps - self.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))


class WarmupStableDecay(Section):
    """Rise over ``warmup`` steps, stay, and fall linearly to 0 over the last ``decay`` steps."""

    name: Literal["wsd"]
    warmup: NonNegativeInt = 0
    decay: NonNegativeInt

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The factor for the step-th update of ``steps``, from 0."""
        del steps_per_epoch
        rise = (step + 1) / max(self.warmup, 1)
        fall = (steps - step) / max(self.decay, 1)
        return max(0.0, min(1.0, rise, fall))


Schedule = Annotated[MultiStep | Cosine | WarmupStableDecay, Field(discriminator="name")]
