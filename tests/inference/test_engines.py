from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dpenet.errors import PictureError, UsageError
from dpenet.inference import engines
from dpenet.inference.core import openvino_core
from dpenet.inference.engines import OpenVINOEngine, open_engine
from dpenet.inference.options import Options
from dpenet.inference.pipeline import Stopped, in_order
from dpenet.zoo import Weights
from dpenet.zoo.weights import write_weights

HAS_BF16 = "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")

# Prints the audit events of the interpreter, and the open files of the process, that are sockets.
# OpenVINO's telemetry is Python code; its native libraries would show among the open files.
DERAIN_AND_REPORT_SOCKETS = """
import os, sys
events = []
sys.addaudithook(lambda event, _: events.append(event) if event.startswith("socket.") else None)

import numpy as np
import dpenet

dpenet.derain(np.zeros((9, 9, 3), np.uint8), model=sys.argv[1])
if "--control" in sys.argv:
    import socket
    control = socket.socket()
links = []
if os.path.isdir("/proc/self/fd"):
    for number in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{number}"
        links.append(os.readlink(path) if os.path.lexists(path) else "")
print([*events, *(link for link in links if link.startswith("socket:"))])
"""


def test_bf16_is_used_where_it_is_and_refused_where_it_is_not(
    make_weights: Callable[..., Weights],
) -> None:
    best = "bf16" if HAS_BF16 else "fp32"
    assert OpenVINOEngine(make_weights(), Options(precision="auto")).precision == best
    if HAS_BF16:
        assert OpenVINOEngine(make_weights(), Options(precision="bf16")).precision == "bf16"
    else:
        with pytest.raises(UsageError, match=r"no bf16.*use precision fp32 or auto"):
            OpenVINOEngine(make_weights(), Options(precision="bf16"))


def test_fp32_is_fp32(make_weights: Callable[..., Weights]) -> None:
    engine = OpenVINOEngine(make_weights(), Options(precision="fp32"))
    assert (engine.precision, engine.device) == ("fp32", "cpu")


@pytest.mark.parametrize("device", ["auto", "cpu", "CPU"])
def test_the_processor_goes_by_several_names(
    make_weights: Callable[..., Weights], device: str
) -> None:
    assert OpenVINOEngine(make_weights(), Options(device=device)).device == "cpu"


@pytest.mark.parametrize("device", ["abacus", "gpu.7", "cpu0"])
def test_an_absent_device_is_refused_with_those_there(
    make_weights: Callable[..., Weights], device: str
) -> None:
    with pytest.raises(UsageError, match=f"'{device}' here; available: auto, .*cpu"):
        OpenVINOEngine(make_weights(), Options(device=device))


def test_threads_reach_the_engine(make_weights: Callable[..., Weights]) -> None:
    engine = OpenVINOEngine(make_weights(), Options(threads=1))
    assert engine._compiled is not None
    assert engine._compiled.model.get_property("INFERENCE_NUM_THREADS") == 1


def test_threads_are_free_to_move(make_weights: Callable[..., Weights]) -> None:
    engine = OpenVINOEngine(make_weights(), Options(threads=1))
    assert engine._compiled is not None
    assert engine._compiled.model.get_property("ENABLE_CPU_PINNING") is False


def test_the_result_does_not_change_with_the_next_call(
    make_weights: Callable[..., Weights], rng: np.random.Generator
) -> None:
    engine = OpenVINOEngine(make_weights(), Options(precision="fp32"))
    x = rng.random((1, 3, 20, 30), np.float32)
    first = engine.run(x)
    kept = first.copy()
    engine.run(1 - x)
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("streams", [1, 2])
def test_threads_that_call_at_once_get_their_own_result(
    make_weights: Callable[..., Weights], rng: np.random.Generator, streams: int
) -> None:
    options = Options(precision="fp32", threads=streams)
    engine = OpenVINOEngine(make_weights(8, 2, 2), options, streams=streams)
    inputs = [
        rng.random((1, 3, int(height), int(width)), np.float32)
        for height, width in rng.integers(1, 90, (16, 2))
    ]
    serial = [engine.run(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        concurrent = list(pool.map(engine.run, inputs))
    for ours, expected in zip(concurrent, serial, strict=True):
        assert np.array_equal(ours, expected)


def test_streams_are_no_more_than_threads(make_weights: Callable[..., Weights]) -> None:
    options = Options(threads=1)
    assert open_engine(make_weights(), options).streams == 1
    assert open_engine(make_weights(), options, streams=8).streams == 1


def test_streams_do_not_change_the_result(
    make_weights: Callable[..., Weights], rng: np.random.Generator
) -> None:
    weights, options = make_weights(8, 2, 2), Options(precision="fp32")
    one, many = open_engine(weights, options), open_engine(weights, options, streams=2)
    for shape in ((64, 64), (128, 128), (37, 101)):
        x = rng.random((1, 3, *shape), np.float32)
        assert np.array_equal(one.run(x), many.run(x))


def test_memory_is_given_back_after_large_pictures_once_nothing_runs(
    make_weights: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = OpenVINOEngine(make_weights(), Options(precision="fp32"))
    assert engine._compiled is not None
    released = []

    class Model:
        def release_memory(self) -> None:
            released.append(engine._calls)

    engine._compiled.model = Model()
    monkeypatch.setattr(engines, "_KEPT_PIXELS", 100)
    small, large = (np.zeros((1, 3, side, side), np.float32) for side in (10, 11))
    engine.run(small)
    assert released == []
    engine.run(large)
    engine.run(small)
    assert released == [0]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(engine.run, [large, small] * 10))
    assert engine._calls == 0
    assert 1 < len(released) <= 11
    assert not any(released)


def test_a_worker_whose_result_nobody_awaits_stops_computing(
    make_weights: Callable[..., Weights],
) -> None:
    engine = OpenVINOEngine(make_weights(16, 4, 2), Options(precision="fp32"))
    small, large = (np.zeros((1, 3, side, side), np.float32) for side in (9, 900))
    expected = engine.run(small)
    running, ends = threading.Event(), []

    def work(x: NDArray[np.float32]) -> None:
        if x is large:
            running.set()
        try:
            engine.run(x)
        except Stopped:
            ends.append(x)
            raise

    with closing(in_order(work, [small] + [large] * 50, 2)) as results:
        next(results)
        assert running.wait(10)
    assert 1 <= len(ends) <= 2
    assert np.array_equal(engine.run(small), expected)


@pytest.mark.slow
def test_an_interrupt_stops_the_computation(make_weights: Callable[..., Weights]) -> None:
    engine = OpenVINOEngine(make_weights(32, 10, 3), Options(precision="fp32"))
    x = np.zeros((1, 3, 300, 300), np.float32)
    expected = engine.run(x)
    start = time.perf_counter()
    engine.run(x)
    whole = time.perf_counter() - start

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, whole / 10)
    start = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt):
            engine.run(x)
    finally:
        signal.signal(signal.SIGALRM, former)
    assert time.perf_counter() - start < whole * 0.7
    assert np.array_equal(engine.run(x), expected)


@pytest.mark.parametrize("control", [False, True])
def test_deraining_opens_no_socket(
    make_weights: Callable[..., Weights], tmp_path: Path, control: bool
) -> None:
    model = tmp_path / "small.safetensors"
    write_weights(model, make_weights().state, {})
    run = subprocess.run(
        [sys.executable, "-c", DERAIN_AND_REPORT_SOCKETS, str(model)] + ["--control"] * control,
        env=os.environ | {"DPENET_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (run.stdout.strip() == "[]") is not control, run.stdout


@pytest.mark.parametrize("message", ["Failed to allocate 480000000 bytes", "std::bad_alloc"])
def test_too_little_memory_says_what_to_do_and_the_next_picture_is_computed(
    make_weights: Callable[..., Weights], monkeypatch: pytest.MonkeyPatch, message: str
) -> None:
    engine = open_engine(make_weights(), Options(precision="fp32", threads=1))
    small = np.zeros((1, 3, 10, 20), np.float32)
    infer = engines._infer

    def fail(*_: object) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(engines, "_infer", fail)
    with pytest.raises(PictureError, match=r"20 x 10 pixels .* cpu: .*--tile .*--memory"):
        engine.run(small)
    monkeypatch.setattr(engines, "_infer", infer)
    assert engine.run(small).shape == small.shape


def test_memory_that_is_really_too_little(make_weights: Callable[..., Weights]) -> None:
    # A view of one number: its features would take more than any address space has.
    shape = (1, 3, 2_000_000, 2_000_000)
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), shape, (0, 0, 0, 0))
    engine = open_engine(make_weights(), Options(precision="fp32", threads=1))
    with pytest.raises(PictureError, match="--tile"):
        engine.run(huge)
