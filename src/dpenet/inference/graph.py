"""DPENet as an OpenVINO model, built straight from a state dict; no torch, no ONNX in between.

The twin of `dpenet.network`, function by class; a parity test holds the two together. Every
convolution carries its key in the state dict as its name.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from openvino import Model, Node
from openvino import opset15 as op

from dpenet.zoo import Weights

State = Mapping[str, NDArray[np.float32]]

DILATIONS = (1, 2, 5)


def build_graph(weights: Weights, stage: int = 2) -> Model:
    """The network of a state dict, ready to be compiled.

    Args:
        weights: Parameters under the published keys, and the architecture they belong to.
        stage: 2 for the result, 1 for the output of R2Net alone.

    Returns:
        A model with one input, float32 (1, 3, H, W), RGB in 0..1, H and W dynamic, and one output
        of the same shape, not clipped.
    """
    state, architecture = weights.state, weights.architecture
    x = op.parameter([1, 3, -1, -1], np.float32, name="rainy")
    out = x + r2net(x, state, architecture.n_ddrb)
    if stage == 2:
        out = out + drnet(op.relu(out), state, architecture.n_erpab)
    return Model([op.result(out, name="clean")], [x], "DPENet")


def r2net(x: Node, state: State, n_ddrb: int) -> Node:
    """Rain streaks removal: what to add to ``x`` to get stage 1."""
    features = op.relu(conv(x, state, "inconv1.0"))
    for i in range(1, n_ddrb + 1):
        features = ddrb(features, state, f"ddrb{i}")
    return outconv(features, state, "outconv1")


def drnet(stage1: Node, state: State, n_erpab: int) -> Node:
    """Details reconstruction: what to add to stage 1 to get stage 2."""
    features = op.relu(conv(stage1, state, "inconv2.0"))
    for i in range(1, n_erpab + 1):
        features = erpab(features, state, f"erpab{i}")
    return outconv(features, state, "outconv2")


def ddrb(x: Node, state: State, name: str) -> Node:
    """Dilated dense residual block."""
    d1, d2, d5 = DILATIONS
    x1 = conv_pair(x, state, f"{name}.dconv1", d1)
    x2 = conv_pair(op.relu(x + x1), state, f"{name}.dconv2", d2)
    x3 = conv_pair(op.relu(x + x1 + x2), state, f"{name}.dconv5", d5)
    return op.relu(x + x1 + x2 + x3)


def erpab(x: Node, state: State, name: str) -> Node:
    """Enhanced residual pixel-wise attention block."""
    branches = [
        conv(x, state, f"{name}.inconv{i}", dilation) for i, dilation in enumerate(DILATIONS, 1)
    ]
    u = op.relu(conv(op.concat(branches, axis=1), state, f"{name}.outconv.0"))
    attention = op.sigmoid(conv_pair(u, state, f"{name}.pa"))
    return op.relu(u * attention + x)


def conv_pair(x: Node, state: State, name: str, dilation: int = 1) -> Node:
    """Two convolutions with a ReLU between them."""
    hidden = op.relu(conv(x, state, f"{name}.0", dilation))
    return conv(hidden, state, f"{name}.2", dilation)


def outconv(x: Node, state: State, name: str) -> Node:
    """Features to RGB: linear, unlike in the released code, whose ReLU undoes the deraining."""
    return conv(x, state, f"{name}.0")


def conv(x: Node, state: State, key: str, dilation: int = 1) -> Node:
    """A convolution that keeps the size, with the bias that the state dict has for it, if any."""
    kernel = state[f"{key}.weight"]
    pad = [dilation * (kernel.shape[2] // 2)] * 2
    out = op.convolution(x, kernel, [1, 1], pad, pad, [dilation, dilation], name=key)
    bias = state.get(f"{key}.bias")
    return out if bias is None else op.add(out, bias.reshape(1, -1, 1, 1))
