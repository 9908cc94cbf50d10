"""The optimiser that a recipe names, over the weights of a network."""

from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from dpenet.training.config import Optimiser


def make_optimiser(network: nn.Module, recipe: Optimiser) -> Optimizer:
    """Adam, AdamW, or Muon (Jordan et al., 2024) with AdamW where Muon does not apply."""
    weights = list(network.parameters())
    if recipe.name != "muon":
        kind: type[Adam] = Adam if recipe.name == "adam" else AdamW
        return kind(weights, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay)
    from pytorch_optimizer import Muon

    hidden = [weight for weight in weights if _is_hidden(weight)]
    others = [weight for weight in weights if not _is_hidden(weight)]
    common = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    return Muon(
        [
            # With the adjusted rate, one lr suits both groups (Liu et al., 2025); the Gram method
            # takes half the time where filters are few and long.
            {
                "params": hidden,
                "use_muon": True,
                "use_adjusted_lr": True,
                "ns_method": "gram_newton_schulz",
                **common,
            },
            {"params": others, "use_muon": False, "betas": recipe.betas, **common},
        ]
    )


def _is_hidden(weight: Tensor) -> bool:
    """Whether a weight, seen as a matrix, has directions to balance; not so one to or from RGB."""
    return weight.ndim == 4 and min(weight.shape[0], weight[0].numel()) > 3
