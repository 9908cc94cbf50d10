"""What the processor can do at most, measured: arithmetic in each precision, and memory.

Both with OpenVINO's kernels, which the network runs on too: a matrix product and a convolution
whose data stay in the caches, and a sum of two vectors that do not fit there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from dpenet.inference.core import openvino_core

_TYPES = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
_SIDES = (512, 1024, 2048)  # of the matrices
_CHANNELS, _PICTURES = 64, (64, 128)  # of the convolutions, and their sides in pixels
_DEPTH = 4  # layers, of which the conversion of the first one's input is a small part
_SECONDS = 0.25  # for each of them
_VECTOR = 1 << 25  # numbers: three such vectors are 400 MB


def peak_gflops(precision: str, threads: int | None = None) -> float | None:
    """Operations per second of the processor, in 10^9; a multiplication and an addition are two.

    Args:
        precision: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        threads: None for all cores.

    Returns:
        The best of several kernels, or None if the processor has no such arithmetic.
    """
    core = openvino_core()
    if precision.upper() not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return None
    config = _config(threads) | {"INFERENCE_PRECISION_HINT": _TYPES[precision]}
    return max(
        operations / _best_seconds(core, model, config) / 1e9
        for model, operations in _kernels(int8=precision == "int8")
    )


def bandwidth(threads: int | None = None) -> float:
    """Bytes per second to and from memory, in 10^9: ``3 x + y`` over vectors (STREAM's triad)."""
    import openvino
    from openvino import opset15 as op

    x, y = (op.parameter([_VECTOR], np.float32) for _ in range(2))
    model = openvino.Model([x * np.array([3], np.float32) + y], [x, y])
    return 3 * 4 * _VECTOR / _best_seconds(openvino_core(), model, _config(threads)) / 1e9


def _config(threads: int | None) -> dict[str, Any]:
    config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
    return config if threads is None else config | {"INFERENCE_NUM_THREADS": threads}


def _kernels(int8: bool) -> Iterator[tuple[Any, int]]:
    """Models of a few equal layers, with the number of their operations."""
    import openvino
    from openvino import opset15 as op

    for side in _SIDES:
        x = start = op.parameter([side, side], np.float32)
        for _ in range(_DEPTH):
            x = op.matmul(_quantised(x, int8), _kernel((side, side), int8), False, True)
        yield openvino.Model([x], [start]), _DEPTH * 2 * side**3
    for side in _PICTURES:
        x = start = op.parameter([1, _CHANNELS, side, side], np.float32)
        for _ in range(_DEPTH):
            kernel = _kernel((_CHANNELS, _CHANNELS, 3, 3), int8)
            x = op.convolution(_quantised(x, int8), kernel, [1, 1], [1, 1], [1, 1], [1, 1])
        yield openvino.Model([x], [start]), _DEPTH * 2 * 9 * _CHANNELS**2 * side**2


def _quantised(x: Any, int8: bool) -> Any:
    from openvino import opset15 as op

    low, high = np.float32(0), np.float32(255)
    return op.fake_quantize(x, low, high, low, high, 256) if int8 else x


def _kernel(shape: tuple[int, ...], int8: bool) -> Any:
    """Weights that keep numbers in range; as int8 they are one with their scale per output."""
    from openvino import opset15 as op

    whole = np.random.default_rng(0).integers(-8, 9, shape)
    scale = np.float32(1 / math.prod(shape[1:]))
    if not int8:
        return op.constant(whole.astype(np.float32) * scale)
    scales = np.full((shape[0], *[1] * (len(shape) - 1)), scale)
    return op.multiply(op.convert(op.constant(whole.astype(np.int8)), "f32"), op.constant(scales))


def _best_seconds(core: Any, model: Any, config: dict[str, Any]) -> float:
    """The shortest of the runs that fit in a quarter of a second, after one to warm up."""
    request = core.compile_model(model, "CPU", config).create_infer_request()
    inputs = {i: np.ones(list(port.shape), np.float32) for i, port in enumerate(model.inputs)}
    best, start = math.inf, time.perf_counter()
    for turn in range(1000):
        begin = time.perf_counter()
        request.infer(inputs, share_inputs=True, share_outputs=True)
        if turn:
            best = min(best, time.perf_counter() - begin)
        if turn > 1 and time.perf_counter() - start > _SECONDS:
            break
    return best
