"""A larger network that starts from a smaller one: wider, deeper, and computing the same.

A small network learns several times more pictures in an hour than a large one. After Net2Net (Chen
et al., ICLR 2016), whose new channels are copies of old ones; ours are fresh, so that no symmetry
has to be broken, and nothing old listens to them yet. New blocks come between the old ones: what
leaves a trained network's last block is its answer, which a channel or two can hold, and blocks
behind it, having nothing else to look at, never learn.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from dpenet.network import DPENet
from dpenet.training.pruning import count_blocks

NEW_ERPAB_SCALE = 0.01
"""What a new ERPAB adds, relative to fresh weights: at 0 its ReLU would let no gradient through."""


def grow(network: DPENet, small: Mapping[str, Tensor]) -> None:
    """Give a network the function of a smaller one.

    Old channels keep their weights and get zeros from new channels; new blocks add nothing (new
    ERPABs nearly nothing). All other weights keep the random values they have.

    Args:
        network: Freshly made; changed in place.
        small: State dict of a DPENet that is nowhere wider or deeper.
    """
    large = network.state_dict()
    for kind, depth in (("ddrb", network.n_ddrb), ("erpab", network.n_erpab)):
        small = _spread(small, kind, depth)
    with torch.no_grad():
        for key, weight in large.items():
            if key in small:
                _embed(weight, small[key], groups=3 if _joins_branches(key) else 1)
            elif re.fullmatch(r"ddrb\d+\.dconv\d\.2\.weight", key):
                weight.zero_()
            elif re.fullmatch(r"erpab\d+\.outconv\.0\.(weight|bias)", key):
                weight.mul_(NEW_ERPAB_SCALE)
    network.load_state_dict(large)


def _spread(state: Mapping[str, Tensor], kind: str, depth: int) -> dict[str, Tensor]:
    """A state dict whose blocks are at even distances among ``depth``, from the first to the last.

    Where they cannot be even, more new blocks come early, where features are far from the answer.
    """
    count = count_blocks(state, kind)

    def moved(key: str) -> str:
        found = re.fullmatch(rf"{kind}(\d+)(\..+)", key)
        if found is None or count == 1:
            return key
        place = 1 + math.ceil((int(found[1]) - 1) * (depth - 1) / (count - 1))
        return f"{kind}{place}{found[2]}"

    return {moved(key): weight for key, weight in state.items()}


def _joins_branches(key: str) -> bool:
    """Whether a layer's inputs are the concatenation of an ERPAB's three branches."""
    return re.fullmatch(r"erpab\d+\.outconv\.0\.weight", key) is not None


def _embed(large: Tensor, small: Tensor, groups: int) -> None:
    """Write a small weight, (out, in, ...) or a bias (out,), into the first channels of a large."""
    outputs = small.shape[0]
    if large.ndim == 1:
        large[:outputs] = small
        return
    large[:outputs] = 0
    inputs = small.shape[1] // groups
    split_large = large.view(large.shape[0], groups, -1, *large.shape[2:])
    split_large[:outputs, :, :inputs] = small.view(outputs, groups, inputs, *small.shape[2:])
