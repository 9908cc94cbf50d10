"""Results that must not change, and proof that a change of the network would be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from openvino import Node
from openvino import opset15 as op

from dpenet.inference import graph
from dpenet.inference.compiled import SWITCH
from dpenet.inference.derainer import Derainer
from dpenet.inference.engines import OpenVINOEngine
from dpenet.inference.options import Options
from dpenet.media.images import read_picture
from dpenet.network import DPENet
from dpenet.zoo import Architecture, Weights
from dpenet.zoo.weights import read_weights

SMALL = Path(__file__).with_name("small.npz")


def small_weights() -> Weights:
    with np.load(SMALL) as golden:
        state = {key: golden[key] for key in golden.files if key.endswith((".weight", ".bias"))}
    return Weights(state, Architecture.of(state), name="small")


def check_small(weights: Weights) -> None:
    """Both stages of the small network as PyTorch once computed them."""
    with np.load(SMALL) as golden:
        x = np.moveaxis(golden["picture"], 2, 0)[None] / np.float32(255)
        for stage in (1, 2):
            ours = OpenVINOEngine(weights, Options(precision="fp32", stage=stage)).run(x)
            np.testing.assert_allclose(ours, golden[f"stage{stage}"], rtol=0, atol=1e-5)


def check_published(weights: Weights, sample: Path) -> None:
    """The authors' own result for Rain100H, to a grey level, almost everywhere exactly.

    At most 1 in 10,000 of the pixels, and of the samples, may be off at all.
    """
    rainy = read_picture(sample / "rain100h_input.png").pixels
    published = read_picture(sample / "rain100h_published_result.png").pixels
    ours = Derainer(weights, precision="fp32")(rainy)
    off = np.abs(ours.astype(int) - published)
    assert off.max() <= 1, f"off by {off.max()} levels"
    assert np.mean(off > 0) <= 1e-4
    assert np.mean(off.max(axis=2) > 0) <= 1e-4


def rain100h(shared: Path) -> Weights:
    return read_weights(shared / "reference" / "weights" / "Rain100H.pth")


def test_small() -> None:
    check_small(small_weights())


def test_small_in_pytorch() -> None:
    weights = small_weights()
    shape = weights.architecture
    network = DPENet(shape.width, shape.n_ddrb, shape.n_erpab)
    network.load_state_dict({key: torch.tensor(array) for key, array in weights.state.items()})
    with np.load(SMALL) as golden, torch.no_grad():
        x = torch.from_numpy(np.moveaxis(golden["picture"], 2, 0)[None] / np.float32(255))
        for name, output in network(x)._asdict().items():
            np.testing.assert_allclose(output.numpy(), golden[name], rtol=0, atol=1e-5)


def test_published(shared: Path) -> None:
    check_published(rain100h(shared), shared / "reference" / "sample")


@dataclass(frozen=True)
class Mutation:
    """One thing wrong with the network: in its weights, or in how the graph is built."""

    name: str
    swap: tuple[str, str] | None = None
    dilations: tuple[int, int, int] = graph.DILATIONS
    relu_after: str | None = None

    def apply(self, weights: Weights, patch: pytest.MonkeyPatch) -> Weights:
        patch.setattr(graph, "DILATIONS", self.dilations)
        linear = graph.outconv

        def outconv(x: Node, state: graph.State, name: str) -> Node:
            out = linear(x, state, name)
            return op.relu(out) if name == self.relu_after else out

        patch.setattr(graph, "outconv", outconv)
        return replace(weights, state={self._swapped(k): v for k, v in weights.state.items()})

    def _swapped(self, key: str) -> str:
        for one, other in (self.swap, self.swap[::-1]) if self.swap else ():
            if key.startswith(one):
                return other + key.removeprefix(one)
        return key


MUTATIONS = [
    Mutation("ReLU after the output of R2Net", relu_after="outconv1"),
    Mutation("ReLU after the output of DRNet", relu_after="outconv2"),
    Mutation("two layers of a pair swapped", swap=("ddrb1.dconv5.0.", "ddrb1.dconv5.2.")),
    Mutation("two DDRBs swapped", swap=("ddrb1.", "ddrb2.")),
    Mutation("dilation 5 for 4", dilations=(1, 2, 4)),
]
MORE_MUTATIONS = [
    Mutation("two dilations of a DDRB swapped", swap=("ddrb2.dconv1.", "ddrb2.dconv2.")),
    Mutation("two ERPABs swapped", swap=("erpab1.", "erpab2.")),
    Mutation("two branches of an ERPAB swapped", swap=("erpab1.inconv1.", "erpab1.inconv2.")),
    Mutation("the input layers swapped", swap=("inconv1.", "inconv2.")),
    Mutation("the output layers swapped", swap=("outconv1.", "outconv2.")),
    Mutation("dilation 2 for 3", dilations=(1, 3, 5)),
    Mutation("dilations in another order", dilations=(2, 1, 5)),
]


def mutated_by(mutations: list[Mutation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("mutation", mutations, ids=lambda mutation: mutation.name)


def expect_failure(check: Callable[[Weights], None], weights: Weights, mutation: Mutation) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SWITCH, "0")  # a network kept from an earlier run would not be the mutated one
        mutated = mutation.apply(weights, patch)
        with pytest.raises(AssertionError):
            check(mutated)


@mutated_by(MUTATIONS + MORE_MUTATIONS)
def test_a_mutation_fails_the_small_check(mutation: Mutation) -> None:
    expect_failure(check_small, small_weights(), mutation)


@pytest.mark.slow
@mutated_by(MUTATIONS)
def test_a_mutation_fails_the_published_check(shared: Path, mutation: Mutation) -> None:
    sample = shared / "reference" / "sample"
    expect_failure(lambda weights: check_published(weights, sample), rain100h(shared), mutation)


def test_no_mutation_passes() -> None:
    """The patching itself breaks nothing."""
    with pytest.MonkeyPatch.context() as patch:
        check_small(Mutation("none").apply(small_weights(), patch))
