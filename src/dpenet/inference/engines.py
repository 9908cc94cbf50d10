"""What computes: a compiled network behind one small interface."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import UsageError
from dpenet.inference.options import Options
from dpenet.zoo import Weights

_STEP_MILLISECONDS = 100
_PRECISION_OF_TYPE = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}


class Engine(Protocol):
    """The network on a device. May be called from several threads.

    Attributes:
        precision: Number format that it computes in: ``fp32``, ``bf16`` or ``fp16``.
        device: Device that it runs on, in lower case: ``cpu``, ``gpu.0``, ...
    """

    precision: str
    device: str

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Derain one picture: (1, 3, H, W), RGB in 0..1, to the same shape, not clipped."""


class OpenVINOEngine:
    """The network compiled by OpenVINO.

    One call computes at a time, on all the threads allowed: running two at once would take twice
    the memory and no less time.

    Args:
        weights: Parameters of the network.
        options: Precision, device, threads and stage are used.

    Raises:
        UsageError: If the device is absent or lacks the precision.
    """

    def __init__(self, weights: Weights, options: Options) -> None:
        import openvino

        from dpenet.inference.graph import build_graph

        core = openvino.Core()
        device = _find_device(core, options.device)
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if device == "CPU":
            # Pinned threads all start at the first core: two runs at a time would share it while
            # the others idle. Unpinned ones measured as fast.
            config["ENABLE_CPU_PINNING"] = False
        if (hint := _precision_hint(core, device, options.precision)) is not None:
            config["INFERENCE_PRECISION_HINT"] = hint
        if options.threads is not None:
            config["INFERENCE_NUM_THREADS"] = options.threads
        try:
            compiled = core.compile_model(build_graph(weights, options.stage), device, config)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise UsageError(
                f"device {device.lower()} cannot run this model ({reason}); try device cpu"
            ) from error
        actual = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.precision = _PRECISION_OF_TYPE.get(actual, actual)
        self.device = device.lower()
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Derain one picture: (1, 3, H, W), RGB in 0..1, to the same shape, not clipped."""
        with self._lock:
            self._request.start_async({0: x}, share_inputs=True)
            try:
                # In steps, so that an interrupt is noticed at once and not after a minute.
                while not self._request.wait_for(_STEP_MILLISECONDS):
                    pass
            except BaseException:
                self._request.cancel()
                with suppress(RuntimeError):  # "was canceled"
                    self._request.wait()
                raise
            out: NDArray[np.float32] = self._request.get_output_tensor().data.copy()
            # It would keep what its largest picture took, gigabytes perhaps; taking it again is
            # quick beside the computation.
            self._compiled.release_memory()
        return out


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


def _precision_hint(core: Any, device: str, precision: str) -> str | None:
    """The value of INFERENCE_PRECISION_HINT; None leaves the device its own."""
    has_bf16 = "BF16" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and not has_bf16:
        raise UsageError(
            f"device {device.lower()} has no bf16 arithmetic; use precision fp32 or auto"
        )
    if precision == "bf16" or (precision == "auto" and has_bf16):
        return "bf16"
    # Without the hint OpenVINO may choose less than fp32 on its own, on the processor too.
    return "f32" if precision == "fp32" or device == "CPU" else None
