"""What computes: a compiled network behind one small interface."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import UsageError
from dpenet.inference.compiled import compile_once
from dpenet.inference.core import openvino_core
from dpenet.inference.devices import torch_device
from dpenet.inference.memory import is_lack, too_many
from dpenet.inference.options import Options
from dpenet.inference.pipeline import check_stop
from dpenet.inference.precision import plan
from dpenet.zoo import Weights
from dpenet.zoo.int8 import Int8

_STEP_MILLISECONDS = 100
# What pictures up to this size took is kept for the next one: taking it again from the system is
# time that small pictures feel. Larger ones may have taken gigabytes.
_KEPT_PIXELS = 1 << 16
_PRECISION_OF_TYPE = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


class Engine(Protocol):
    """The network on a device. May be called from several threads.

    Attributes:
        precision: Number format that it computes in: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        device: Device that it runs on, in lower case: ``cpu``, ``gpu.0``, ...
        streams: How many calls of `run` it computes at once; more of them wait.
    """

    precision: str
    device: str
    streams: int

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Derain one picture: (1, 3, H, W), RGB in 0..1, to the same shape, not clipped.

        Raises:
            PictureError: If there is not the memory for it.
        """

    def most_pixels(self) -> int | None:
        """How many pixels at once a device with memory of its own has room for; else None."""


def open_engine(weights: Weights, options: Options, *, streams: int = 1) -> Engine:
    """The network on the device that the options name.

    Args:
        weights: Parameters of the network.
        options: Precision, device, threads and stage are used.
        streams: How many pictures to compute at once. 1 puts all threads on one picture, for
            large ones; more share the threads out, for many small ones. No more than there are
            threads.

    Raises:
        UsageError: If the device is absent, lacks the precision, or cannot run the network, or the
            network has no int8 form.
        MissingExtraError: If the device needs torch, which is not installed.
    """
    if (device := torch_device(options.device, options.precision)) is not None:
        from dpenet.inference.torch_engine import TorchEngine

        return TorchEngine(weights, options, device)
    return OpenVINOEngine(weights, options, streams=streams)


class OpenVINOEngine:
    """The network compiled by OpenVINO. See `open_engine`."""

    def __init__(self, weights: Weights, options: Options, *, streams: int = 1) -> None:
        core = openvino_core()
        device = _find_device(core, options.device)
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if streams > 1:
            config = {"PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": streams}
        if device == "CPU":
            # Pinned threads all start at the first core: two runs at a time would share it while
            # the others idle. Unpinned ones measured as fast.
            config["ENABLE_CPU_PINNING"] = False
        capabilities = core.get_property(device, "OPTIMIZATION_CAPABILITIES")
        hint, int8 = plan(options.precision, device, capabilities, weights)
        if hint is not None:
            config["INFERENCE_PRECISION_HINT"] = hint
        if options.threads is not None:
            config["INFERENCE_NUM_THREADS"] = options.threads

        def compile_network() -> _Compiled:
            identity = _identity(weights, options.stage, int8)
            model = compile_once(
                core, device, config, identity, lambda: _build(weights, options.stage, int8)
            )
            return _Compiled(model)

        try:
            compiled = compile_network()
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UsageError(
                f"device {device.lower()} cannot run this model ({reason}); try device cpu"
            ) from error
        actual = compiled.model.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.precision = "int8" if int8 is not None else _PRECISION_OF_TYPE.get(actual, actual)
        self.device = device.lower()
        self.streams = compiled.streams
        self._compile = compile_network
        self._compiled: _Compiled | None = compiled
        self._lock = threading.Lock()
        self._calls = 0
        self._largest = 0

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Derain one picture: (1, 3, H, W), RGB in 0..1, to the same shape, not clipped.

        Raises:
            PictureError: If there is not the memory for it.
        """
        height, width = x.shape[2:]
        with self._lock:
            self._calls += 1
        try:
            with self._request() as request:
                return _infer(request, x)
        except (MemoryError, RuntimeError) as error:
            if not is_lack(error):
                raise
            raise too_many(height, width, self.device) from error
        finally:
            self._release(height * width)

    @contextmanager
    def _request(self) -> Iterator[Any]:
        """Wait for a request that computes nothing."""
        while True:
            with self._lock:
                if self._compiled is None:
                    self._compiled = self._compile()
                compiled = self._compiled
            request = compiled.free.get()
            try:
                if compiled is not self._compiled:
                    continue
                yield request
                return
            except BaseException:
                # A run that was cancelled leaves OpenVINO's graph half changed: it fails with a
                # picture of another size, and crashes when its memory is released.
                with self._lock:
                    if self._compiled is compiled:
                        self._compiled = None
                raise
            finally:
                compiled.free.put(request)

    def most_pixels(self) -> int | None:
        """None: what the system has free is what counts."""
        return None

    def _release(self, pixels: int) -> None:
        """Give memory back once nothing runs or waits."""
        with self._lock:
            self._calls -= 1
            self._largest = max(self._largest, pixels)
            if not self._calls and self._largest > _KEPT_PIXELS:
                if self._compiled is not None:
                    self._compiled.model.release_memory()
                self._largest = 0


class _Compiled:
    """A compiled model, and the requests that can run at once."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.streams = int(model.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
        # The last one used is the next: its memory is at hand.
        self.free: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(self.streams):
            self.free.put(model.create_infer_request())


def _infer(request: Any, x: NDArray[np.float32]) -> NDArray[np.float32]:
    check_stop()
    request.start_async({0: x}, share_inputs=True)
    try:
        # In steps, so that an interrupt is noticed at once and not after a minute.
        while not request.wait_for(_STEP_MILLISECONDS):
            check_stop()
    except BaseException:
        request.cancel()
        with suppress(RuntimeError):  # "was canceled"
            request.wait()
        raise
    out: NDArray[np.float32] = request.get_output_tensor().data.copy()
    return out


def _build(weights: Weights, stage: int, int8: Int8 | None) -> Any:
    # OpenVINO's operations take a while to import, and a cached network does without.
    from dpenet.inference.graph import build_graph

    return build_graph(weights, stage, int8)


def _identity(weights: Weights, stage: int, int8: Int8 | None) -> bytes:
    """A digest of the network: its parameters, and the code that builds it."""
    digest = hashlib.sha256(Path(__file__).with_name("graph.py").read_bytes())
    form = None if int8 is None else int8.digest
    digest.update(repr((weights.digest, stage, form)).encode())
    return digest.digest()


def _find_device(core: Any, name: str) -> str:
    """OpenVINO's name of a device: ``gpu`` is also ``GPU.0`` where there are several."""
    if name == "auto":
        return "CPU"
    available: list[str] = core.available_devices
    wanted = name.upper()
    if wanted not in {part for device in available for part in (device, device.split(".")[0])}:
        raise UsageError(
            f"there is no device {name!r} here; available: auto, {', '.join(available).lower()}"
        )
    return wanted
