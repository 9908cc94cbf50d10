from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset15 as op

from dpenet.inference import calibration, graph
from dpenet.inference.calibration import MADE_UP, dead_leaves, rainy_scenes
from dpenet.inference.core import openvino_core
from dpenet.inference.engines import OpenVINOEngine
from dpenet.inference.options import Options
from dpenet.inference.quantize import quantize, quantized_convolutions, round_kernel
from dpenet.zoo import Weights
from dpenet.zoo.int8 import Int8, int8_path, write_int8

MakeWeights = Callable[..., Weights]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DPENET_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module", autouse=True)
def few_scenes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "SCENES", 3)
        yield


@pytest.fixture(scope="module")
def weights(make_weights: MakeWeights) -> Weights:
    return make_weights(8, 2, 1)


@pytest.fixture(scope="module")
def form(weights: Weights) -> Int8:
    return quantize(weights)


def test_int8_is_close_to_fp32_and_is_int8(
    weights: Weights, form: Int8, rng: np.random.Generator
) -> None:
    write_int8(int8_path(weights), form)
    x = np.ascontiguousarray(dead_leaves(64, rng).transpose(2, 0, 1)[None])
    for stage in (1, 2):
        full = OpenVINOEngine(weights, Options(precision="fp32", stage=stage))
        small = OpenVINOEngine(weights, Options(precision="int8", stage=stage))
        change = np.sqrt(np.mean((full.run(x) - x) ** 2))
        error = np.sqrt(np.mean((full.run(x) - small.run(x)) ** 2))
        assert 0 < error < change / 50
        again = OpenVINOEngine(weights, Options(precision="int8", stage=stage))  # from the cache
        assert np.array_equal(again.run(x), small.run(x))


def test_what_runs_in_int8(weights: Weights, form: Int8) -> None:
    """All 3x3 convolutions but the first pair and the attention's, and no pass over memory more."""
    model = graph.build_graph(weights, int8=form)
    config = {"INFERENCE_PRECISION_HINT": "f32"}
    layers = openvino_core().compile_model(model, "CPU", config).get_runtime_model().get_ops()
    kinds = [
        tuple(layer.get_rt_info()[key].get() for key in ("layerType", "runtimePrecision"))
        for layer in layers
    ]
    assert kinds.count(("Convolution", "u8")) == len(form.convolutions) == 2 * 6 - 2 + 3
    full = graph.build_graph(weights)
    layers = openvino_core().compile_model(full, "CPU", config).get_runtime_model().get_ops()
    before = [layer.get_rt_info()["layerType"].get() for layer in layers]
    assert [kind for kind, _ in kinds].count("Eltwise") <= before.count("Eltwise")


@pytest.mark.parametrize("pair", ["ddrb1.dconv5", "ddrb2.dconv1"])
def test_the_pair_that_costs_most_stays_in_floating_point(weights: Weights, pair: str) -> None:
    state = dict(weights.state)
    state[f"{pair}.2.weight"] = 100 * state[f"{pair}.2.weight"]
    loud = Weights(state, weights.architecture)
    every = quantized_convolutions(loud, rainy_scenes()).keys()
    left_out = every - quantize(loud).convolutions.keys()
    assert left_out == {f"{pair}.0", f"{pair}.2"}


def test_the_processor_computes_what_a_form_says(
    weights: Weights, form: Int8, rng: np.random.Generator
) -> None:
    """Exactly, over the whole range: without VNNI, sums of 16 bits must not overflow."""
    name, dilation = "ddrb1.dconv2.0", 2
    chosen = form.convolutions[name]
    high = chosen.high.reshape(-1, 1, 1)
    x = rng.uniform(-0.5, 1.5, (8, 30, 40)).astype(np.float32) * high
    whole = np.rint(255 * np.clip(x / high, 0, 1)).astype(np.int64)
    padded = np.pad(whole, ((0, 0), (dilation, dilation), (dilation, dilation)))
    expected = np.zeros((8, 30, 40))
    for i, j in np.ndindex(3, 3):
        part = padded[:, dilation * i :, dilation * j :][:, :30, :40]
        expected += np.einsum("oi,ihw->ohw", chosen.kernel[:, :, i, j].astype(np.int64), part)
    expected *= chosen.step.reshape(-1, 1, 1)

    rainy = op.parameter([1, 8, -1, -1], np.float32)
    layer = graph.convolution(op.relu(rainy), weights.state[f"{name}.weight"], name, dilation)
    model = openvino.Model([op.result(layer)], [rainy], "one")
    graph._to_int8(model, form)
    run = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(run([x[None]])[0][0], expected, rtol=1e-5, atol=1e-5)


def test_rounding_makes_up_for_its_errors(rng: np.random.Generator) -> None:
    mixing = rng.normal(size=(40, 40)) / 4
    inputs = np.clip(mixing @ rng.normal(40, 30, (40, 2000)) + 90, 0, 255)
    kernel = rng.normal(size=(6, 40))
    partner = np.arange(40) ^ 1
    whole, step = round_kernel(kernel, inputs @ inputs.T, partner)
    nearest = np.rint(kernel / step[:, None])
    ours, plain = (
        np.mean(((step[:, None] * numbers - kernel) @ inputs) ** 2) for numbers in (whole, nearest)
    )
    assert ours < plain / 4
    signs = np.maximum([whole.astype(int), -whole.astype(int)], 0)
    assert (signs + signs[:, :, partner]).max() <= 128


def test_a_network_that_is_silent_can_be_quantized(identity_weights: Weights) -> None:
    state = {key: np.zeros_like(array) for key, array in identity_weights.state.items()}
    form = quantize(Weights(state, identity_weights.architecture))
    assert all((c.kernel == 0).all() and (c.step > 0).all() for c in form.convolutions.values())


def test_scenes_are_the_same_every_time_and_photos_are_added(rng: np.random.Generator) -> None:
    scenes = rainy_scenes()
    assert len(scenes) == 3
    assert all(np.array_equal(*pair) for pair in zip(scenes, rainy_scenes(), strict=True))
    photo = rng.random((200, 90, 3), np.float32)
    more = rainy_scenes([photo])
    assert [picture.shape for picture in more[3:]] == [(1, 3, 128, 90)] * 3
    assert all(0 <= picture.min() <= picture.max() <= 1 for picture in more)


def test_a_form_says_what_it_was_calibrated_on(weights: Weights, form: Int8) -> None:
    assert form.calibration == MADE_UP
    photo = np.full((20, 30, 3), 0.5, np.float32)
    assert quantize(weights, [photo]).calibration == f"{MADE_UP}, 1 photos"
