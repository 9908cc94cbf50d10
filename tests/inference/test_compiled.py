from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from dpenet.inference import compiled
from dpenet.inference.engines import OpenVINOEngine
from dpenet.inference.options import Options
from dpenet.zoo import Weights
from dpenet.zoo.int8 import Int8

MakeWeights = Callable[..., Weights]
FP32 = Options(precision="fp32")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DPENET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(compiled.SWITCH, raising=False)
    return tmp_path / "home"


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The stage of each network that was built and not taken from the cache."""
    from dpenet.inference import graph

    stages: list[int] = []
    build = graph.build_graph

    def counted(weights: Weights, stage: int = 2, int8: Int8 | None = None) -> Any:
        stages.append(stage)
        return build(weights, stage, int8)

    monkeypatch.setattr(graph, "build_graph", counted)
    return stages


def result(weights: Weights, options: Options = FP32, streams: int = 1) -> np.ndarray:
    x = np.random.default_rng(1).random((1, 3, 24, 33), np.float32)
    return OpenVINOEngine(weights, options, streams=streams).run(x)


def blobs() -> list[Path]:
    return sorted(compiled.folder().glob("*.blob"))


def test_what_was_compiled_once_is_taken_from_the_cache(
    make_weights: MakeWeights, built: list[int]
) -> None:
    weights = make_weights()
    first = result(weights)
    assert (len(built), len(blobs())) == (1, 1)
    np.testing.assert_array_equal(result(weights), first)
    assert (len(built), len(blobs())) == (1, 1)


def test_the_engine_is_the_same_from_the_cache(make_weights: MakeWeights) -> None:
    for _ in range(2):
        engine = OpenVINOEngine(make_weights(), Options(precision="fp32", threads=1))
        assert (engine.precision, engine.device, engine.streams) == ("fp32", "cpu", 1)
        assert engine._compiled is not None
        assert engine._compiled.model.get_property("INFERENCE_NUM_THREADS") == 1
        assert engine._compiled.model.get_property("ENABLE_CPU_PINNING") is False


def test_everything_that_changes_the_network_has_its_own_file(
    make_weights: MakeWeights, built: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = make_weights()
    negated = {"outconv1.0.weight": -weights.state["outconv1.0.weight"]}
    other = replace(weights, state={**weights.state, **negated})
    first = result(weights)
    assert not np.array_equal(result(other), first)
    assert not np.array_equal(result(weights, Options(precision="fp32", stage=1)), first)
    result(weights, Options(precision="fp32", threads=1))
    monkeypatch.setattr(openvino, "__version__", "another")
    result(weights)
    assert (built, len(blobs())) == ([2, 2, 1, 2, 2], 5)


@pytest.mark.parametrize("damage", ["bit", "cut", "empty", "noise"])
def test_a_damaged_file_is_compiled_anew(
    make_weights: MakeWeights, built: list[int], damage: str
) -> None:
    weights = make_weights()
    first = result(weights)
    (path,) = blobs()
    content = bytearray(path.read_bytes())
    match damage:
        case "bit":
            content[len(content) // 2] ^= 1
        case "cut":
            del content[len(content) // 2 :]
        case "empty":
            content.clear()
        case "noise":
            content[:] = np.random.default_rng(0).bytes(len(content))
    path.write_bytes(content)
    np.testing.assert_array_equal(result(weights), first)
    assert len(built) == 2
    result(weights)
    assert len(built) == 2


def test_a_file_that_the_device_refuses_is_compiled_anew(
    make_weights: MakeWeights, built: list[int]
) -> None:
    first = result(make_weights())
    (path,) = blobs()
    compiled._write(path, b"from another version of the driver")
    np.testing.assert_array_equal(result(make_weights()), first)
    assert len(built) == 2


def test_the_folder_stays_small_and_the_least_used_go_first(
    make_weights: MakeWeights, built: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    result(make_weights(seed=0))
    monkeypatch.setattr(compiled, "MOST_BYTES", int(blobs()[0].stat().st_size * 2.5))
    (oldest,) = blobs()
    os.utime(oldest, (1, 1))
    result(make_weights(seed=1))
    result(make_weights(seed=0))  # used again, so the other is the least used
    (second,) = (path for path in blobs() if path != oldest)
    os.utime(second, (2, 2))
    result(make_weights(seed=2))
    assert len(blobs()) == 2
    assert oldest in blobs()
    assert second not in blobs()


def test_without_a_home_to_write_to_it_compiles_each_time(
    make_weights: MakeWeights, built: list[int], home: Path
) -> None:
    home.write_text("a file where the folder should be")
    first = result(make_weights())
    np.testing.assert_array_equal(result(make_weights()), first)
    assert len(built) == 2


@pytest.mark.skipif(os.name != "posix", reason="needs a folder that refuses writing")
def test_a_cache_that_can_only_be_read_is_read(
    make_weights: MakeWeights, built: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    result(make_weights())
    monkeypatch.setattr(os, "utime", refuse)
    monkeypatch.setattr(compiled, "_write", refuse)
    result(make_weights())
    assert len(built) == 1


def test_it_can_be_turned_off(
    make_weights: MakeWeights, built: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(compiled.SWITCH, "0")
    result(make_weights())
    result(make_weights())
    assert len(built) == 2
    assert not compiled.folder().exists()


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    code = """
import numpy as np, dpenet
x = np.random.default_rng(0).random((9, 9, 3), np.float32)
print(dpenet.derain(x).tobytes().hex())
"""
    runs = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(3)
    ]
    results = {run.communicate()[0] for run in runs}
    assert len(results) == 1
    assert all(run.returncode == 0 for run in runs)
    assert [path.suffix for path in compiled.folder().iterdir()] == [".blob"]
