from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dpenet.errors import ModelError, UsageError
from dpenet.inference import calibration
from dpenet.inference.calibration import MADE_UP
from dpenet.inference.engines import OpenVINOEngine
from dpenet.inference.options import Options
from dpenet.inference.precision import Plan, lost, plan
from dpenet.inference.quantize import quantize
from dpenet.zoo import Weights
from dpenet.zoo.int8 import Int8, int8_path, write_int8
from dpenet.zoo.table import MODELS, Score
from dpenet.zoo.weights import write_weights

OLD = ("FP32", "INT8", "EXPORT_IMPORT")
NEW = ("FP32", "INT8", "BF16", "EXPORT_IMPORT")
MakeWeights = Callable[..., Weights]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DPENET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(calibration, "SCENES", 2)
    return tmp_path / "home"


def scores(**psnr: float) -> tuple[Score, ...]:
    """Of two sets: in the second everything is measured alike, and fp32 scores 30 dB."""
    return tuple(
        Score(dataset, "matlab-y", value, 0.9, 50, precision)
        for precision, value in {"fp32": 30.0, **psnr}.items()
        for dataset, value in (("A", value), ("B", 30.0))
    )


@pytest.fixture
def known(
    make_weights: MakeWeights, home: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Weights]:
    """A model of the table with these scores, and an int8 form of it that needs no making."""

    def make(calibration: str | None = MADE_UP, **psnr: float) -> Weights:
        weights = replace(make_weights(), name="rain100l")
        write_weights(home / "models" / "rain100l.pth", weights.state, {})
        card = replace(MODELS["rain100l"], sha256=None, scores=scores(**psnr) if psnr else ())
        monkeypatch.setitem(MODELS, "rain100l", card)
        if calibration is not None:
            write_int8(int8_path(weights), Int8({}, weights.digest, calibration))
        return weights

    (home / "models").mkdir(parents=True)
    return make


def picked(weights: Weights, capabilities: tuple[str, ...], device: str = "CPU") -> str:
    hint, int8 = plan("auto", device, capabilities, weights)
    return f"{hint}+int8" if int8 is not None else str(hint)


def test_auto_without_scores_takes_bf16_or_fp32(known: Callable[..., Weights]) -> None:
    assert picked(known(), OLD) == "f32"
    assert picked(known(), NEW) == "bf16"
    assert picked(known(), ("FP32", "FP16", "INT8"), "GPU") == "None"


def test_auto_takes_int8_where_the_table_says_that_it_loses_little(
    known: Callable[..., Weights],
) -> None:
    weights = known(int8=29.951)
    assert picked(weights, OLD) == "f32+int8"
    assert picked(weights, NEW) == "f32+int8"
    assert picked(weights, ("FP32",)) == "f32"
    assert picked(weights, ("FP32", "FP16", "INT8"), "GPU") == "None"


@pytest.mark.parametrize(
    ("calibration", "psnr"),
    [
        (MADE_UP, {"int8": 29.949}),  # too much, on one of the sets
        (MADE_UP, {"bf16": 29.99}),  # never measured
        ("photos of cats", {"int8": 30.0}),  # another form than was measured
        (None, {"int8": 30.0}),  # none here
    ],
)
def test_auto_leaves_int8_alone(
    known: Callable[..., Weights], calibration: str | None, psnr: dict[str, float]
) -> None:
    assert picked(known(calibration, **psnr), OLD) == "f32"
    assert picked(known(calibration, **psnr), NEW) == "bf16"


def test_auto_leaves_bf16_alone_where_it_loses_much(known: Callable[..., Weights]) -> None:
    assert picked(known(None, bf16=29.8), NEW) == "f32"


def test_scores_of_a_model_are_not_those_of_a_namesake(
    known: Callable[..., Weights], make_weights: MakeWeights
) -> None:
    known(int8=30.0)
    namesake = replace(make_weights(seed=1), name="rain100l")
    write_int8(int8_path(namesake), Int8({}, namesake.digest, MADE_UP))
    assert picked(namesake, OLD) == "f32"


def test_lost_is_the_most_over_the_sets() -> None:
    assert lost(scores(int8=29.8), "int8") == pytest.approx(0.2)
    assert lost(scores(int8=30.1), "int8") == 0
    assert lost(scores(), "int8") is None
    assert lost(scores(int8=29.8)[2:], "int8") is None


def test_int8_without_a_form_says_how_to_make_one(make_weights: MakeWeights) -> None:
    with pytest.raises(UsageError, match="make one with: dpenet models quantize random-0"):
        plan("int8", "CPU", OLD, make_weights())


@pytest.mark.parametrize("precision", ["bf16", "fp16", "int8"])
def test_a_device_without_the_precision_is_refused(
    make_weights: MakeWeights, precision: str
) -> None:
    with pytest.raises(UsageError, match=f"npu has no {precision}.*use precision fp32 or auto"):
        plan(precision, "NPU", ("FP32",), make_weights())


def test_named_precisions(make_weights: MakeWeights) -> None:
    assert plan("fp32", "CPU", NEW, make_weights()) == Plan("f32")
    assert plan("bf16", "CPU", NEW, make_weights()) == Plan("bf16")
    assert plan("fp16", "GPU", ("FP32", "FP16"), make_weights()) == Plan("f16")


def test_the_form_of_other_weights_is_never_used(make_weights: MakeWeights) -> None:
    old, new = make_weights(4), make_weights(4, seed=1)
    write_int8(int8_path(old), quantize(old))
    assert OpenVINOEngine(old, Options(precision="int8")).precision == "int8"
    with pytest.raises(UsageError, match="no int8 form of these weights"):
        OpenVINOEngine(replace(new, name=old.name), Options(precision="int8"))
    # Not even where it bears the name that the right one would have.
    int8_path(old).rename(int8_path(new))
    with pytest.raises(UsageError, match="no int8 form of these weights"):
        OpenVINOEngine(new, Options(precision="int8"))


def test_a_damaged_form_is_refused(make_weights: MakeWeights) -> None:
    weights = make_weights(4)
    write_int8(int8_path(weights), quantize(weights))
    whole = int8_path(weights).read_bytes()
    int8_path(weights).write_bytes(whole[:-9])
    with pytest.raises(ModelError, match="damaged"):
        OpenVINOEngine(weights, Options(precision="int8"))
