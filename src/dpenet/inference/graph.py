"""DPENet as an OpenVINO model, built straight from a state dict; no torch, no ONNX in between.

The twin of `dpenet.network`, function by class; a parity test holds the two together. Every
convolution carries its key in the state dict as its name; see `erpab` for the one without.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from openvino import Model, Node
from openvino import opset15 as op

from dpenet.zoo import Weights
from dpenet.zoo.int8 import Int8

State = Mapping[str, NDArray[np.float32]]

DILATIONS = (1, 2, 5)
_FAR = 65504.0  # the largest number of fp16; features stay below 100
LEVELS = 256
"""Of 8-bit whole numbers."""


def build_graph(weights: Weights, stage: int = 2, int8: Int8 | None = None) -> Model:
    """The network of a state dict, ready to be compiled.

    Args:
        weights: Parameters under the published keys, and the architecture they belong to.
        stage: 2 for the result, 1 for the output of R2Net alone.
        int8: What to compute in int8; None for nothing.

    Returns:
        A model with one input, float32 (1, 3, H, W), RGB in 0..1, H and W dynamic, and one output
        of the same shape, not clipped.
    """
    state, architecture = weights.state, weights.architecture
    x = op.parameter([1, 3, -1, -1], np.float32, name="rainy")
    out = x + r2net(x, state, architecture.n_ddrb)
    if stage == 2:
        out = out + drnet(op.relu(out), state, architecture.n_erpab)
    model = Model([op.result(out, name="clean")], [x], "DPENet")
    if int8 is not None:
        _to_int8(model, int8)
    return model


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
    """Enhanced residual pixel-wise attention block.

    Nothing but the concatenation stands between the three branches and the 1x1 convolution that
    fuses them, so each branch's share of it is folded into its kernel: the same sum, without the
    96 channels that the largest tensor of the network would have (a third less memory at the peak).
    """
    mix = state[f"{name}.outconv.0.weight"][:, :, 0, 0]
    fused = op.constant(state[f"{name}.outconv.0.bias"].reshape(1, -1, 1, 1))
    for i, dilation in enumerate(DILATIONS, 1):
        key = f"{name}.inconv{i}"
        share = mix[:, (i - 1) * len(mix) : i * len(mix)].astype(np.float64)
        kernel = np.tensordot(share, state[f"{key}.weight"], 1).astype(np.float32)
        fused = convolution(x, kernel, key, dilation) + fused
    u = op.relu(fused)
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
    """The convolution of a key in the state dict."""
    return convolution(x, state[f"{key}.weight"], key, dilation)


def convolution(x: Node, kernel: NDArray[np.float32], name: str, dilation: int) -> Node:
    """A convolution that keeps the size, without bias."""
    pad = [dilation * (kernel.shape[2] // 2)] * 2
    return op.convolution(x, kernel, [1, 1], pad, pad, [dilation, dilation], name=name)


def _to_int8(model: Model, form: Int8) -> None:
    """Give the convolutions of a form whole numbers to compute with.

    OpenVINO runs what is written here, a rounding to 256 levels before a convolution and a kernel
    that is scaled afterwards, in int8. It keeps sums in floating point.
    """
    rounded: dict[Node, Node] = {}
    for layer in model.get_ops():
        convolution = form.convolutions.get(layer.friendly_name)
        if convolution is None:
            continue
        x = layer.input_value(0).get_node()
        if x not in rounded:  # a pass over memory less for convolutions of the same input
            users = {user.get_node().friendly_name for user in x.output(0).get_target_inputs()}
            # Rounding makes 0 of what is below: where nothing else needs the ReLU, it goes.
            inner = x.get_type_name() == "Relu" and users <= form.convolutions.keys()
            high = convolution.high.reshape(1, -1, 1, 1)
            source = x.input_value(0) if inner else x
            zero, most = np.float32(0), np.float32(LEVELS - 1)
            rounded[x] = op.fake_quantize(source, zero, high, zero, most, LEVELS)
        kernel = op.convert(op.constant(convolution.kernel), np.float32)
        step = convolution.step.reshape(-1, 1, 1, 1)
        layer.input(0).replace_source_output(rounded[x].output(0))
        layer.input(1).replace_source_output((kernel * step).output(0))
        # OpenVINO would carry the step past a sum, and then multiply all of the sum by 1, a pass
        # over memory. It carries none past a clamp.
        users = layer.output(0).get_target_inputs()
        sums = [user for user in users if user.get_node().get_type_name() == "Add"]
        clamped = op.clamp(layer, -_FAR, _FAR)
        for user in sums:
            user.replace_source_output(clamped.output(0))
