from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from dpenet.errors import ModelError, UsageError
from dpenet.inference import benchmark as module
from dpenet.inference import roofline
from dpenet.inference.benchmark import (
    benchmark,
    in_turns,
    memory_of,
    noise,
    operations_per_pixel,
    peak_memory,
)
from dpenet.inference.core import openvino_core
from dpenet.inference.derainer import Derainer
from dpenet.inference.roofline import bandwidth, peak_gflops
from dpenet.network import DPENet
from dpenet.zoo import Architecture, load_weights

HAS_BF16 = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.fixture
def no_roofline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "peak_gflops", lambda precision, _: {"fp32": 100.0}.get(precision))
    monkeypatch.setattr(module, "bandwidth", lambda _: 10.0)
    monkeypatch.setattr(module, "memory_of", lambda *_: 123)


@pytest.mark.usefixtures("no_roofline")
def test_figures_follow_from_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        module, "in_turns", lambda calls, _: {each: [9.0, 0.5, 0.1] for each in calls}
    )
    found = benchmark(size=(60, 40), precisions=["fp32"])
    (row,) = found.rows
    operations = operations_per_pixel(load_weights("universal").architecture) * 60 * 40
    assert (row.precision, row.device, row.peak_memory) == ("fp32", "cpu", 123)
    assert row.milliseconds == 500
    assert row.megapixels_per_second == 0.0048
    assert row.gflops == pytest.approx(operations / 0.5 / 1e9, abs=0.01)
    assert row.share_of_peak == pytest.approx(row.gflops / 100, abs=1e-4)
    assert (found.model, found.width, found.height) == ("universal", 60, 40)
    assert found.peak_gflops == {"fp32": 100}
    assert json.loads(json.dumps(found.to_json()))["rows"][0]["milliseconds"] == 500


@pytest.mark.usefixtures("no_roofline")
@pytest.mark.skipif(HAS_BF16, reason="this processor has bf16")
def test_a_precision_that_is_not_there_is_told_with_its_reason() -> None:
    found = benchmark(size=(20, 20), precisions=["bf16", "fp32"])
    assert [row.precision for row in found.rows] == ["fp32"]
    assert "no bf16" in found.unavailable["bf16"]
    with pytest.raises(UsageError, match="no bf16"):
        benchmark(size=(20, 20), precisions=["bf16"])


@pytest.mark.parametrize(
    ("seconds_per_megapixel", "size", "turns"),
    [(0.1, (1920, 1080), 5), (5.0, (1280, 720), 5), (20.0, (480, 320), 5), (1e4, (240, 160), 3)],
)
@pytest.mark.usefixtures("no_roofline")
def test_a_slow_machine_gets_a_small_picture_and_few_turns(
    monkeypatch: pytest.MonkeyPatch,
    seconds_per_megapixel: float,
    size: tuple[int, int],
    turns: int,
) -> None:
    monkeypatch.setattr(
        Derainer, "estimate_seconds", lambda _, h, w: h * w / 1e6 * seconds_per_megapixel
    )
    monkeypatch.setattr(module, "in_turns", lambda calls, _: {each: [1.0] for each in calls})
    told: list[str] = []
    found = benchmark(precisions=["fp32"], tell=told.append)
    assert (found.width, found.height, found.turns) == (*size, turns)
    assert f"{size[0]} x {size[1]} pixels, fp32, {turns} turn" in told[0]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match="'fp8' is none of the precisions fp32, "):
        benchmark(precisions=["fp8"])
    with pytest.raises(ModelError, match="no model"):
        benchmark("universel")


@pytest.mark.parametrize(("width", "n_ddrb", "n_erpab"), [(32, 10, 3), (3, 1, 2)])
def test_operations_are_those_of_the_convolutions(width: int, n_ddrb: int, n_erpab: int) -> None:
    side, counted = 16, 0

    def count(layer: torch.nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, torch.nn.Conv2d)
        counted += 2 * layer.weight[0].numel() * out.numel()

    network = DPENet(width, n_ddrb, n_erpab)
    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.no_grad():
        network(torch.zeros(1, 3, side, side))
    assert operations_per_pixel(Architecture(width, n_ddrb, n_erpab)) * side**2 == counted


def test_turns_alternate_after_a_warm_up() -> None:
    calls: list[str] = []

    def slow() -> None:
        calls.append("slow")
        time.sleep(0.02 if len(calls) > 2 else 1e-9)

    times = in_turns({"slow": slow, "fast": lambda: calls.append("fast")}, 2)
    assert calls == ["slow", "fast"] * 3
    assert [len(each) for each in times.values()] == [2, 2]
    assert min(times["slow"]) >= 0.02 > max(times["fast"])


def test_noise_is_a_picture() -> None:
    assert noise(5, 3).shape == (3, 5, 3)
    assert len(np.unique(noise(50, 50))) > 200


@pytest.mark.skipif(peak_memory() is None, reason="the system does not tell")
def test_peak_memory_is_that_of_the_process_alone() -> None:
    code = (
        "from dpenet.inference.benchmark import peak_memory as p\n"
        "before = p(); x = bytearray(10**8); del x; print(before, p())"
    )
    held = np.ones(10**8)  # 800 MB, which must not count
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert held[0]
    assert before < 3e8
    assert 0.9e8 < after - before < 1.3e8


def test_the_memory_of_a_picture_grows_with_it() -> None:
    small, large = (memory_of("universal", "fp32", "cpu", 1, side, side) for side in (16, 320))
    assert small is not None
    assert large is not None
    width = load_weights("universal").architecture.width
    assert large - small > 320**2 * width * 4 * 3  # tensors at least
    assert memory_of("universal", "fp99", "cpu", 1, 16, 16) is None


def test_a_processor_has_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "_SIDES", (512,))
    monkeypatch.setattr(roofline, "_PICTURES", (32,))
    monkeypatch.setattr(roofline, "_SECONDS", 0.05)
    monkeypatch.setattr(roofline, "_VECTOR", 1 << 20)
    fp32 = peak_gflops("fp32", threads=1)
    assert fp32 is not None
    a = np.ones((512, 512), np.float32)
    start = time.perf_counter()
    for _ in range(5):
        a @ a
    slowest = 5 * 2 * 512**3 / (time.perf_counter() - start) / 1e9 / 50
    assert slowest < fp32 < 10_000
    assert 0.1 < bandwidth(threads=1) < 1000
    if not HAS_BF16:
        assert peak_gflops("bf16", threads=1) is None
    assert (peak_gflops("int8", threads=1) or 0) > slowest
