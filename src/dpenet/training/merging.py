"""A network between several that went on from the same weights: their mean.

Trainings that are short enough to stay near where they began (one of each kind of rain, say) may be
averaged weight by weight: the mean keeps most of what each has learnt, and is less noisy than any
of them (Wortsman et al., ICML 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dpenet.errors import RecipeError


def merge(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of weights.

    Args:
        states: State dicts of networks of one architecture, one or more.

    Raises:
        RecipeError: If they are of different architectures.
    """
    first, *others = states
    shapes = {key: value.shape for key, value in first.items()}
    if any({key: value.shape for key, value in other.items()} != shapes for other in others):
        raise RecipeError("model.init names networks of different sizes, which have no mean")
    return {key: torch.stack([state[key] for state in states]).mean(0) for key in first}
