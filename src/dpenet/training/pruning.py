"""A shallower network that starts from a deeper one: the blocks that matter least are left out.

DDRBs and ERPABs are residual, so that what is left of a network without one of them still works
(Veit et al., NeurIPS 2016). Which to leave out is found greedily, by what each changes in pictures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dpenet.network import DPENet


def prune(
    deep: Mapping[str, Tensor], pictures: Sequence[Tensor], n_ddrb: int, n_erpab: int
) -> dict[str, Tensor]:
    """The weights of a network with fewer blocks, those kept in their order.

    Args:
        deep: State dict of a DPENet with at least as many blocks of each kind.
        pictures: Rainy ones, each (3, H, W), RGB in 0..1, of all kinds that there are. Without
            any, the first blocks go.
        n_ddrb: DDRBs to keep, 1 or more.
        n_erpab: ERPABs to keep, 1 or more.

    Returns:
        State dict of ``DPENet(width, n_ddrb, n_erpab)``.
    """
    state = dict(deep)
    wanted_blocks = {"ddrb": n_ddrb, "erpab": n_erpab}
    if all(count_blocks(state, kind) <= wanted for kind, wanted in wanted_blocks.items()):
        return state
    truth = _results(state, pictures)
    for kind, wanted in wanted_blocks.items():
        while (count := count_blocks(state, kind)) > wanted:
            shorter = [_without(state, kind, number) for number in range(1, count + 1)]
            state = min(shorter, key=lambda s: _error(_results(s, pictures), truth))
    return state


def count_blocks(state: Mapping[str, Tensor], kind: str) -> int:
    """How many ``ddrb`` or ``erpab`` the network of a state dict has."""
    return len({key.partition(".")[0] for key in state if key.startswith(kind)})


def _without(state: Mapping[str, Tensor], kind: str, number: int) -> dict[str, Tensor]:
    """A state dict without a block; those behind it move up."""
    shorter = {}
    for key, weight in state.items():
        found = re.fullmatch(rf"{kind}(\d+)(\..+)", key)
        place = int(found[1]) if found else 0
        if found is None or place < number:
            shorter[key] = weight
        elif place > number:
            shorter[f"{kind}{place - 1}{found[2]}"] = weight
    return shorter


def _results(state: Mapping[str, Tensor], pictures: Sequence[Tensor]) -> list[Tensor]:
    width = state["inconv1.0.weight"].shape[0]
    network = DPENet(width, count_blocks(state, "ddrb"), count_blocks(state, "erpab"))
    network.load_state_dict(dict(state))
    with torch.no_grad():
        return [network(picture[None]).stage2.clamp(0, 1) for picture in pictures]


def _error(results: Sequence[Tensor], truth: Sequence[Tensor]) -> float:
    return sum(float((a - b).square().mean()) for a, b in zip(results, truth, strict=True))
