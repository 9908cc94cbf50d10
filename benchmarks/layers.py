"""Where the time of one large picture goes: in eager PyTorch, and in OpenVINO.

    dpenet models fetch rain100h && dpenet models quantize rain100h
    python -m benchmarks.layers

Writes ``benchmarks/results/layers.json``. PyTorch's operations are timed one by one as they are
called; OpenVINO counts its own layers, in fp32 and in int8. A kind of layer has the same name in
all of them. It takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from benchmarks.speed import FULL
from torch.overrides import TorchFunctionMode

from dpenet.atomic import atomic_path
from dpenet.inference.benchmark import noise
from dpenet.inference.core import openvino_core
from dpenet.inference.pixels import to_network
from dpenet.inference.roofline import bandwidth, peak_gflops
from dpenet.inference.torch_engine import network_of
from dpenet.zoo import Weights, load_weights
from dpenet.zoo.int8 import Int8, find_int8

RESULTS = REPOSITORY / "benchmarks" / "results" / "layers.json"
SCHEMA = 1
SUMS = "sums, ReLU, sigmoid, products"
LEFT = "convolutions 3x3 left in fp32"
ROUNDING = "rounding to 8 bits"
KINDS = {
    "cat": "concatenation",
    "Concat": "concatenation",
    "FakeQuantize": ROUNDING,
    "Reorder": "change of layout",
}


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", default="1920x1080", metavar="WxH")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    torch.set_num_threads(args.threads or torch.get_num_threads())
    weights = load_weights(FULL)
    form = find_int8(weights)
    if form is None:
        raise SystemExit(f"{FULL} has no int8 form here; run: dpenet models quantize {FULL}")
    x = to_network(noise(width, height))
    engines: dict[str, Callable[[], Mapping[str, float]]] = {
        "PyTorch fp32, eager": eager(weights, x),
        "dpenet fp32": ours(weights, x, args.threads),
        "dpenet int8": ours(weights, x, args.threads, form),
    }
    turns: dict[str, list[Mapping[str, float]]] = {name: [] for name in engines}
    for turn in range(args.turns + 1):
        for name, run in engines.items():
            times = run()
            if turn:
                turns[name].append(times)
    record = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "threads": torch.get_num_threads(),
        "libraries": libraries("openvino", "torch"),
        "model": FULL,
        "width": width,
        "height": height,
        "protocol": f"medians of {args.turns} turns after one to warm up; the engines alternate",
        "peaks": {
            "fp32": round(peak_gflops("fp32", args.threads) or 0, 2),
            "int8": round(peak_gflops("int8", args.threads) or 0, 2),
            "memory": round(bandwidth(args.threads), 2),
        },
        "gigaoperations": gigaoperations(weights, width * height),
        "gigaoperations_int8": gigaoperations(weights, width * height, form),
        "milliseconds": {name: medians(times) for name, times in turns.items()},
    }
    with atomic_path(args.output) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record["milliseconds"], indent=1))


def eager(weights: Weights, x: np.ndarray[Any, Any]) -> Callable[[], Mapping[str, float]]:
    """The released script's network; each run gives milliseconds by kind of operation."""
    network = network_of(weights)
    rainy = torch.from_numpy(x)

    class Clock(TorchFunctionMode):
        def __init__(self) -> None:
            super().__init__()
            self.times: dict[str, float] = defaultdict(float)

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            start = time.perf_counter()
            out = func(*args, **(kwargs or {}))
            seconds = time.perf_counter() - start
            name = getattr(func, "__name__", "")
            if name == "conv2d":
                # F.conv2d(input, weight, bias, stride, padding, dilation, groups)
                self.times[convolution(args[1].shape, args[5][0])] += seconds * 1000
            elif isinstance(out, torch.Tensor) and seconds > 1e-5:
                self.times[KINDS.get(name, SUMS)] += seconds * 1000
            return out

    def run() -> Mapping[str, float]:
        clock = Clock()
        with torch.no_grad(), clock:
            network(rainy)
        return clock.times

    return run


def ours(
    weights: Weights, x: np.ndarray[Any, Any], threads: int | None, int8: Int8 | None = None
) -> Callable[[], Mapping[str, float]]:
    """The network as OpenVINO runs it; each run gives milliseconds by kind of layer."""
    from dpenet.inference.graph import build_graph

    # As the engine compiles it, with counters. What is not in an int8 form stays in fp32.
    config = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False, "PERF_COUNT": True}
    config |= {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None:
        config["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino_core().compile_model(build_graph(weights, int8=int8), "CPU", config)
    request = compiled.create_infer_request()
    keys = {key.removesuffix(".weight"): value.shape for key, value in weights.state.items()}

    def run() -> Mapping[str, float]:
        request.infer({0: x}, share_inputs=True, share_outputs=True)
        times: dict[str, float] = defaultdict(float)
        for layer in request.get_profiling_info():
            kind = KINDS.get(layer.node_type, SUMS)
            if layer.node_type == "Convolution":
                name = layer.node_name
                left = int8 is not None and name not in int8.convolutions
                kind = convolution(keys[name], dilation_of(name), left=left)
            times[kind] += layer.real_time.total_seconds() * 1000
        compiled.release_memory()
        return times

    return run


def dilation_of(key: str) -> int:
    """The dilation of a convolution, from its key in the state dict."""
    if found := re.search(r"ddrb\d+\.dconv(\d)", key):
        return int(found[1])
    found = re.search(r"erpab\d+\.inconv(\d)", key)
    return (1, 2, 5)[int(found[1]) - 1] if found else 1


def convolution(shape: tuple[int, ...], dilation: int, *, left: bool = False) -> str:
    """The kind of a convolution, from the shape of its kernel, and whether int8 leaves it out."""
    if shape[2] == 1:
        return "convolutions 1x1"
    if 1 in shape[:2]:
        return "convolutions 3x3 to and from 1 channel"
    return LEFT if left else f"convolutions 3x3, dilation {dilation}"


def gigaoperations(weights: Weights, pixels: int, int8: Int8 | None = None) -> dict[str, float]:
    """10^9 operations of each kind of convolution that OpenVINO computes; of a form, its own."""
    sums: dict[str, float] = defaultdict(float)
    for key, kernel in weights.state.items():
        # Those 1x1 convolutions are folded into the branches before them.
        folded = key.startswith("erpab") and ".outconv." in key
        counted = int8 is None or key.removesuffix(".weight") in int8.convolutions
        if key.endswith(".weight") and not folded and counted:
            kind = convolution(kernel.shape, dilation_of(key))
            sums[kind] += 2 * kernel.size * pixels / 1e9
    return {kind: round(value, 3) for kind, value in sums.items()}


def medians(turns: list[Mapping[str, float]]) -> dict[str, float]:
    """By kind, the longest first."""
    kinds = {kind for times in turns for kind in times}
    found = {k: statistics.median(times.get(k, 0.0) for times in turns) for k in kinds}
    return {k: round(v, 2) for k, v in sorted(found.items(), key=lambda item: -item[1])}


if __name__ == "__main__":
    main()
