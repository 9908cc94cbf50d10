"""The network in PyTorch, for devices that OpenVINO does not drive: CUDA, and MPS on Macs.

Imported only when such a device is used. The same code runs on the processor under the name
``torch-cpu``: that is how it is tested where there is no such device.
"""

from __future__ import annotations

import threading
from dataclasses import asdict

import numpy as np
import torch
from numpy.typing import NDArray

from dpenet.errors import UsageError
from dpenet.inference.memory import is_lack, too_many
from dpenet.inference.options import Options
from dpenet.inference.pipeline import check_stop
from dpenet.network import DPENet
from dpenet.zoo import Weights

_DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# fp16 and bf16 are equally fast on these devices; fp16 is more accurate, and nothing in this
# network comes near its limits.
_FASTEST = {"cuda": "fp16", "mps": "fp16", "cpu": "fp32"}

# Tensors of as many channels as the network is wide that live at once at its peak, layouts that
# convolutions want included; measured on the processor.
_LIVE_TENSORS = 13
# Other programs use the device too, and what PyTorch keeps may lie in pieces.
_SHARE_OF_FREE = 0.8

_TRIAL_SIDE = 64
# By this share of what the network changes a result may be off. bf16 is off by a few hundredths,
# something else than the network by about 1.
_TRIAL_TOLERANCE = 0.2


class TorchEngine:
    """The network on a device of PyTorch; an `dpenet.inference.engines.Engine`.

    Activations are channels-last, as tensor cores want them, and of 16 bits by autocast unless
    fp32 is asked for, which is computed without TF32. What the network gives is added to the
    picture in fp32 always. One call computes at a time.

    Args:
        weights: Parameters of the network.
        options: Precision and stage are used.
        device: ``cuda``, ``cuda:1``, ``mps`` or ``torch-cpu``.

    Attributes:
        precision: ``fp32``, ``fp16`` or ``bf16``.
        device: Device that it runs on.
        streams: 1.

    Raises:
        UsageError: If the device is absent, lacks the precision, or computes something else than
            the processor does.
    """

    streams = 1

    def __init__(self, weights: Weights, options: Options, device: str) -> None:
        self.device = device
        self._device = _find_device(device)
        auto = options.precision == "auto"
        self.precision = _FASTEST[self._device.type] if auto else options.precision
        if self.precision not in _DTYPES:
            raise UsageError(
                f"device {device} has no {self.precision} arithmetic; use precision fp16 or fp32"
            )
        self._stage = options.stage
        network = network_of(weights)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.to(self._device)
        self._lock = threading.Lock()
        if self._device.type != "cpu":
            reference = Options(precision="fp32", stage=options.stage)
            _compare(self, TorchEngine(weights, reference, "torch-cpu"))

    def run(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Derain one picture: (1, 3, H, W), RGB in 0..1, to the same shape, not clipped.

        Raises:
            PictureError: If the device lacks the memory for it.
        """
        with self._lock:
            check_stop()
            try:
                return self._compute(x)
            except RuntimeError as error:
                if not is_lack(error):
                    raise
        self._release()
        raise too_many(x.shape[2], x.shape[3], self.device)

    def most_pixels(self) -> int | None:
        """How many pixels at once its free memory is good for; None for the processor."""
        device = self._device
        if device.type == "cpu":
            return None
        with self._lock:  # what a picture on the device takes is free for the next one
            if device.type == "cuda":
                free, _ = torch.cuda.mem_get_info(device)
                # What PyTorch keeps for the next picture is free too.
                free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
            else:
                free = torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
        free = int(free * _SHARE_OF_FREE)
        number = torch.finfo(_DTYPES[self.precision]).bits // 8
        return free // (_LIVE_TENSORS * self._network.width * number)

    @torch.inference_mode()
    def _compute(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        rainy = torch.from_numpy(x).to(self._device, memory_format=torch.channels_last)
        dtype, kind = _DTYPES[self.precision], self._device.type
        with (
            torch.autocast(kind, dtype, enabled=self.precision != "fp32"),
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
        ):
            clean = rainy + self._network.r2net(rainy)
            if self._stage == 2:
                clean = clean + self._network.drnet(torch.relu(clean))
        out: NDArray[np.float32] = clean.contiguous().cpu().numpy()
        return out

    def _release(self) -> None:
        """Give back what PyTorch keeps for the next picture."""
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()


def network_of(weights: Weights) -> DPENet:
    """The network with these weights, on the processor, ready to be run."""
    network = DPENet(**asdict(weights.architecture)).eval()
    network.load_state_dict({key: torch.tensor(value) for key, value in weights.state.items()})
    return network


def is_there(device: str) -> bool:
    """Whether PyTorch can compute on ``cuda``, ``cuda:1``, ``mps`` or ``torch-cpu`` here."""
    kind, _, number = device.partition(":")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        return (number or "0") in map(str, range(count))
    return not number and (kind == "torch-cpu" or torch.backends.mps.is_available())


def _find_device(name: str) -> torch.device:
    if not is_there(name):
        raise UsageError(
            f"PyTorch {torch.__version__} finds no device {name!r} here: install the PyTorch that "
            "is built for it, or use device cpu"
        )
    return torch.device("cpu" if name == "torch-cpu" else name)


def _compare(engine: TorchEngine, reference: TorchEngine) -> None:
    """Have two engines compute the same small picture.

    Drivers are many, and not all have been tried: a wrong result must not pass for a picture.

    Raises:
        UsageError: If the results differ by more than precision explains.
    """
    side = _TRIAL_SIDE
    trial = np.random.default_rng(0).random((1, 3, side, side), np.float32)
    expected, found = reference.run(trial), engine.run(trial)
    off, changed = (float(np.linalg.norm(expected - other)) for other in (found, trial))
    if not off <= _TRIAL_TOLERANCE * changed:  # NaN is wrong too
        raise UsageError(
            f"device {engine.device} computes a wrong result in {engine.precision}: update its "
            f"driver or PyTorch (here {torch.__version__}), or use device cpu"
        )
