"""The network of a recipe with its first weights: random, or those of another network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dpenet.errors import RecipeError
from dpenet.network import DPENet
from dpenet.training.config import Model
from dpenet.training.growth import grow
from dpenet.training.merging import merge
from dpenet.training.pruning import prune
from dpenet.training.revival import revive
from dpenet.zoo import Weights, load_weights

_ENOUGH_TO_PRUNE = 16  # each is computed dozens of times


def make_network(
    model: Model, seed: int, make_pictures: Callable[[], Sequence[Tensor]] = tuple
) -> DPENet:
    """The network of a recipe with its first weights.

    Args:
        model: What it is, and what it starts from.
        seed: Of the weights that are random.
        make_pictures: Makes rainy ones of the training, each (3, H, W), RGB in 0..1: they tell
            which blocks matter and which channels are dead. Called if that is asked; none are
            needed where a checkpoint will replace the weights.

    Raises:
        RecipeError: If the recipe states a narrower network than that of its initial weights, or
            these are of different sizes.
        ModelError: If the initial weights cannot be found or read.
    """
    size = {key: getattr(model, key) for key in ("width", "n_ddrb", "n_erpab")}
    state: dict[str, Tensor] | None = None
    pictures = make_pictures() if model.inits or model.revive else ()
    if model.inits:
        initial = [load_weights(name) for name in model.inits]
        state = merge([_tensors(weights) for weights in initial])
        architecture = initial[0].architecture
        for key in size.keys() - model.model_fields_set:
            size[key] = getattr(architecture, key)
        if size["width"] < architecture.width:
            raise RecipeError(
                f"model.width is {size['width']}, but {model.inits[0]} has {architecture.width}: "
                "leave model.width out, or state a larger one to grow the network"
            )
        state = prune(state, pictures[:_ENOUGH_TO_PRUNE], size["n_ddrb"], size["n_erpab"])
    torch.manual_seed(seed)
    network = DPENet(**size)
    with torch.no_grad():
        for output in (network.outconv1, network.outconv2):
            for weight in output.parameters():
                weight.mul_(model.output_scale)
    if state is not None:
        grow(network, state)
    if model.revive and pictures:
        revive(network, pictures)
    return network


def _tensors(weights: Weights) -> dict[str, Tensor]:
    return {key: torch.from_numpy(value.copy()) for key, value in weights.state.items()}
