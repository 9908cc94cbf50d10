"""int8 forms of models, from pictures alone: no labels, no training, no torch.

The sums between the blocks stay in floating point, and so do the few convolutions that carry the
picture itself. What goes into the other convolutions becomes 8-bit whole numbers, with finer steps
for channels of a smaller range; their kernels are rounded so that each rounding makes up for the
error of those before it (Frantar et al., "GPTQ", ICLR 2023, after LeCun et al.'s "Optimal Brain
Surgeon"). ``docs/quantization.md`` has the measurements.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import opset15 as op

from dpenet.inference.calibration import MADE_UP, rainy_scenes
from dpenet.inference.core import openvino_core
from dpenet.inference.graph import LEVELS, build_graph
from dpenet.zoo import Weights
from dpenet.zoo.int8 import Int8, Int8Convolution

Array = NDArray[np.floating[Any]]
Names = tuple[str, ...]

_MOST = 127  # of a kernel's whole numbers, either way
# Processors without VNNI add the products of two neighbouring channels in 16 bits, and cut off what
# does not fit. As 128 * 255 does, all processors compute the same.
_MOST_PAIR = 128
_DAMPING = 1e-2  # of the mean of the diagonal, as in GPTQ
# Steps by the channel's own range (1) would put all of the rounding error into the kernels, steps
# by the range of all channels (0) all of it into what goes in. In between, both are small.
_OWN_RANGE = 0.75
_TRIED = 8  # scenes that tell what a pair of convolutions costs
# Per picture: of all together many times the unknowns of an output of a kernel.
_SAMPLES = 512


def quantize(weights: Weights, photos: Sequence[NDArray[np.float32]] = ()) -> Int8:
    """Make the int8 form of a model.

    Left in floating point are the small convolutions, and the pair in a DDRB whose rounding costs
    most: in most networks one amplifies what all others build on, and not in all of them the first.

    Args:
        weights: Of the model.
        photos: (H, W, 3), RGB in 0..1, rainy or not, of the kind that it is for. What goes into
            each convolution is measured on made-up scenes, and on these.
    """
    scenes = rainy_scenes(photos)
    calibration = f"{MADE_UP}, {len(photos)} photos" if photos else MADE_UP
    form = Int8(quantized_convolutions(weights, scenes), weights.digest, calibration)
    kept = costliest_pair(weights, form, scenes)
    return only(form, form.convolutions.keys() - set(kept))


def quantized_convolutions(
    weights: Weights, scenes: Sequence[NDArray[np.float32]]
) -> dict[str, Int8Convolution]:
    """The int8 form of each convolution but the small ones, by its name.

    Args:
        weights: Of the model.
        scenes: (1, 3, H, W), RGB in 0..1: what goes into each convolution is measured on them.
    """
    model = build_graph(weights)
    layers = [node for node in model.get_ops() if _is_large(node, weights.architecture.width)]
    inputs = [layer.input_value(0) for layer in layers]
    taps = openvino.Model([op.result(x) for x in inputs], model.get_parameters(), "taps")
    run = _compile(taps)
    rng = np.random.default_rng(0)
    records = [_Record(layer) for layer in layers]
    for scene in scenes:
        seen = run([scene])
        for i, record in enumerate(records):
            record.add(seen[i][0], rng)
    return {record.name: record.convolution() for record in records}


def costliest_pair(weights: Weights, form: Int8, scenes: Sequence[NDArray[np.float32]]) -> Names:
    """The two convolutions in a row that change the result most where they alone are in int8.

    Args:
        weights: Of the model.
        form: Its int8 form.
        scenes: (1, 3, H, W), RGB in 0..1; the first few of them tell.
    """
    tried = scenes[:_TRIED]

    def cost(pair: Names) -> float:
        changed = zip(results(weights, only(form, pair), tried), exact, strict=True)
        return sum(float(np.square(after - before).sum()) for after, before in changed)

    exact = results(weights, None, tried)
    firsts = (name for name in form.convolutions if name.startswith("ddrb") and name[-1] == "0")
    return max(((first, f"{first[:-1]}2") for first in firsts), key=cost)


def only(form: Int8, names: Collection[str]) -> Int8:
    """The form with these convolutions alone."""
    chosen = {name: one for name, one in form.convolutions.items() if name in names}
    return replace(form, convolutions=chosen)


def results(
    weights: Weights, form: Int8 | None, scenes: Sequence[NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """What a model computes of each scene, (1, 3, H, W): all in fp32 but what the form has."""
    run = _compile(build_graph(weights, int8=form))
    return [run([scene])[0] for scene in scenes]


def _compile(model: openvino.Model) -> Any:
    return openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def _is_large(node: openvino.Node, width: int) -> bool:
    if node.get_type_name() != "Convolution":
        return False
    outputs, inputs, height, _ = node.input_value(1).shape
    # The small ones cost nothing and gain nothing.
    return bool(outputs == inputs == width and height == 3)


class _Record:
    """What went into a convolution: the range of each channel, and how the inputs go together."""

    def __init__(self, layer: openvino.Node) -> None:
        self.name = layer.friendly_name
        self.kernel = layer.input_value(1).get_node().data.astype(np.float64)
        self.dilation = layer.get_attributes()["dilations"][0]
        inputs = self.kernel[0].size
        self.high = np.zeros(self.kernel.shape[1])
        self.gram = np.zeros((inputs, inputs))

    def add(self, x: NDArray[np.float32], rng: np.random.Generator) -> None:
        """Look at the input (channels, H, W) of one picture."""
        self.high = np.maximum(self.high, x.max(axis=(1, 2)))
        patches = _patches(x, self.dilation, rng)
        self.gram += patches @ patches.T

    def convolution(self) -> Int8Convolution:
        """The convolution in int8."""
        top = max(self.high.max(), 1e-6)
        high = top ** (1 - _OWN_RANGE) * np.maximum(self.high, 1e-3 * top) ** _OWN_RANGE
        unit = (high / (LEVELS - 1))[:, None, None]
        taps = np.broadcast_to(unit, self.kernel.shape[1:]).ravel()
        channels = np.arange(len(high)) ^ 1
        channels[channels == len(high)] -= 1  # the last of an odd number has no neighbour
        numbers = np.arange(taps.size).reshape(unit.shape[0], -1)
        kernel, step = round_kernel(
            (self.kernel * unit).reshape(len(self.kernel), -1),
            self.gram / np.outer(taps, taps),
            numbers[channels].ravel(),
        )
        return Int8Convolution(
            kernel.reshape(self.kernel.shape), step.astype(np.float32), high.astype(np.float32)
        )


def _patches(x: NDArray[np.float32], dilation: int, rng: np.random.Generator) -> Array:
    """Random 3x3 neighbourhoods of a zero-padded (C, H, W): (9 C, _SAMPLES)."""
    padded = np.pad(x, ((0, 0), (dilation, dilation), (dilation, dilation)))
    offsets = np.arange(3) * dilation
    rows, columns = (rng.integers(0, size, _SAMPLES) for size in x.shape[1:])
    picked = padded[:, offsets[:, None, None] + rows, offsets[None, :, None] + columns]
    return picked.reshape(-1, _SAMPLES)


def round_kernel(
    kernel: Array, gram: Array, partner: NDArray[np.intp]
) -> tuple[NDArray[np.int8], Array]:
    """Round a kernel so that its results change least.

    Args:
        kernel: (outputs, n), for inputs that are whole numbers from 0 to 255.
        gram: (n, n), the sum of the products of each two inputs.
        partner: (n,), of each input the one that it is added to first, in 16 bits.

    Returns:
        Whole numbers, (outputs, n), and what 1 of them is worth, (outputs,).
    """
    either = np.maximum([kernel, -kernel], 0)
    pair = (either + either[:, :, partner]).max(axis=(0, 2))
    step = np.maximum(np.abs(kernel).max(axis=1) / _MOST, pair / _MOST_PAIR).clip(1e-12)
    rest = kernel / step[:, None]
    # The larger inputs go first, while there are many left to make up for them.
    order = np.argsort(-np.diag(gram))
    damped = gram + _DAMPING * max(float(np.mean(np.diag(gram))), 1) * np.eye(len(gram))
    spread = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    rounded = np.zeros(kernel.shape)
    for i, at in enumerate(order):
        mate = rounded[:, partner[at]]
        low = np.maximum(-_MOST, -_MOST_PAIR - np.minimum(mate, 0))
        high = np.minimum(_MOST, _MOST_PAIR - np.maximum(mate, 0))
        rounded[:, at] = np.clip(np.rint(rest[:, at]), low, high)
        error = (rest[:, at] - rounded[:, at]) / spread[i, i]
        rest[:, order[i:]] -= np.outer(error, spread[i, i:])
    return rounded.astype(np.int8), step
