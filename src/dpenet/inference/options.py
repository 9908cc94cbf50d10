"""The options of a deraining, the same behind Python, the command line and any server."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypedDict

from dpenet.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16")
STAGES = (1, 2)


class Tuning(TypedDict, total=False):
    """The fields of `Options` beside the model, for typed keyword arguments."""

    precision: str
    device: str
    threads: int | None
    tile: int | None
    stage: int
    strength: float


@dataclass(frozen=True)
class Options:
    """How to derain. Immutable, checked when made, usable as a dictionary key.

    Attributes:
        model: Name in the model zoo, or path of a ``.pth`` or ``.safetensors`` file.
        precision: Number format of the arithmetic. ``fp32`` equals PyTorch to 8 bits; ``bf16``
            (about 0.03 dB lower, twice as fast) needs a processor that has it; ``auto`` takes bf16
            where the device has it, else fp32, else the device's own format.
        device: ``auto`` and ``cpu`` are the processor; any other device that OpenVINO finds goes by
            its OpenVINO name in any case: ``gpu``, ``gpu.1``, ``npu``.
        threads: Processor threads, 1 or more; None leaves the choice to OpenVINO (all cores).
        tile: Side in pixels of the squares that a picture is processed in, halo not counted;
            0 takes it whole; None takes it whole if that fits in half of the free memory, else in
            squares that do. Tiles change the memory and the time, not the result.
        stage: 2 for the network's result, 1 for its first stage alone (faster, fewer details).
        strength: From 0 (the input) to 1 (the result); a mix of both in between.

    Raises:
        UsageError: If a field has a value it cannot have.
    """

    model: str = "universal"
    precision: str = "auto"
    device: str = "auto"
    threads: int | None = None
    tile: int | None = None
    stage: int = 2
    strength: float = 1.0

    def __post_init__(self) -> None:
        for field in ("model", "device"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value:
                raise UsageError(f"{field} must be a name, not {value!r}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision must be {_listed(PRECISIONS)}, not {self.precision!r}")
        if self.threads is not None and not _is_int(self.threads, least=1):
            raise UsageError(f"threads must be an integer of at least 1, not {self.threads!r}")
        if self.tile is not None and not _is_int(self.tile, least=0):
            raise UsageError(
                f"tile must be a side in pixels, or 0 for the whole picture, not {self.tile!r}"
            )
        if not _is_int(self.stage, least=1) or self.stage not in STAGES:
            raise UsageError(f"stage must be {_listed(STAGES)}, not {self.stage!r}")
        number = isinstance(self.strength, int | float) and not isinstance(self.strength, bool)
        if not number or not math.isfinite(self.strength) or not 0 <= self.strength <= 1:
            raise UsageError(f"strength must be from 0 to 1, not {self.strength!r}")


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _listed(values: tuple[object, ...]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}"
