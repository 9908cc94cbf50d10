"""New weights for hidden channels that have died, without changing what a network computes.

A ReLU whose input is negative for every picture passes no gradient on: its channel is lost for the
rest of the training. Large steps leave many of them. After ReDo (Sokar et al., ICML 2023): the
weights into such a channel are made anew, and those out of it become zero, so that it can learn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from dpenet.network import DDRB, ERPAB, DPENet
from dpenet.training.growth import NEW_ERPAB_SCALE


def revive(network: DPENet, pictures: Iterable[Tensor]) -> int:
    """Give fresh weights to the hidden channels of all blocks that no picture excites.

    What DDRBs compute for these pictures stays as it is, what ERPABs compute nearly.

    Args:
        network: Changed in place.
        pictures: Rainy ones, each (3, H, W), RGB in 0..1, of all kinds that there are.

    Returns:
        How many channels were dead.
    """
    blocks = [block for block in network.children() if isinstance(block, DDRB | ERPAB)]
    hidden = [layers for block in blocks for layers in _hidden_layers(block)]
    strongest: dict[nn.Module, Tensor] = {}

    def watch(relu: nn.Module, _: Any, out: Tensor) -> None:
        most = out.amax((0, 2, 3))
        strongest[relu] = torch.maximum(strongest[relu], most) if relu in strongest else most

    with ExitStack() as stack, torch.no_grad():
        for layers in hidden:
            stack.callback(layers[1].register_forward_hook(watch).remove)
        for picture in pictures:
            network(picture[None])
    dead = [strongest[layers[1]] <= 0 for layers in hidden]
    with torch.no_grad():
        for layers, channels in zip(hidden, dead, strict=True):
            if channels.any():
                _renew(layers, channels)
    return int(sum(channels.sum() for channels in dead))


def _hidden_layers(block: DDRB | ERPAB) -> list[nn.Sequential]:
    """Of each hidden ReLU of a block: the layer before it, itself, and that after it, if any."""
    if isinstance(block, DDRB):
        return [block.dconv1, block.dconv2, block.dconv5]
    return [block.outconv, block.pa]


def _renew(layers: nn.Sequential, dead: Tensor) -> None:
    before = layers[0]
    assert isinstance(before, nn.Conv2d)
    fresh = torch.empty_like(before.weight)
    nn.init.kaiming_uniform_(fresh, a=math.sqrt(5))  # as PyTorch makes convolutions
    # What comes in is positive, mostly: so is what comes out.
    fresh *= fresh.sum((1, 2, 3), keepdim=True).sign()
    if len(layers) > 2:
        after = layers[2]
        assert isinstance(after, nn.Conv2d)
        after.weight[:, dead] = 0
    else:  # the channel is part of the block's result: it may change that, but not by much
        fresh *= NEW_ERPAB_SCALE
    before.weight[dead] = fresh[dead]
    if before.bias is not None:
        before.bias[dead] = 0
