"""The options of a deraining, the same behind Python, the command line and any server."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, TypedDict

from dpenet.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
STAGES = (1, 2)

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12} | {
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40
}  # fmt: skip
_MEMORY = re.compile(r"(\d{1,15}(?:\.\d{1,15})?) ?([kmgt]i?|)b?", re.IGNORECASE | re.ASCII)


class Tuning(TypedDict, total=False):
    """The fields of `Options` beside the model, for typed keyword arguments."""

    precision: str
    device: str
    threads: int | None
    tile: int | None
    memory: int | str | None
    stage: int
    strength: float


@dataclass(frozen=True)
class Options:
    """How to derain. Immutable, checked when made, usable as a dictionary key.

    Attributes:
        model: Name in the model zoo, or path of a ``.pth`` or ``.safetensors`` file.
        precision: Number format of the arithmetic. ``fp32`` equals PyTorch to 8 bits; ``bf16``
            (about 0.03 dB lower, twice as fast) and ``fp16`` need a device that has them; ``int8``
            needs an int8 form of the model (``dpenet models quantize``). ``auto`` takes the fastest
            that scores at most 0.05 dB below fp32 in the table of models; without scores bf16
            where the device has it, else fp32, else the device's own format.
        device: ``cpu``; ``cuda``, ``cuda:1`` or ``mps``, with torch; any other that OpenVINO finds
            by its name there, in any case: ``gpu``, ``gpu.1``, ``npu``. ``auto`` takes CUDA or MPS
            if torch is installed for it, else the processor.
        threads: Processor threads, 1 or more; None leaves the choice to OpenVINO (all cores).
        tile: Side in pixels of the squares that a picture is processed in, halo not counted;
            0 takes it whole; None leaves it to ``memory``. Tiles change the memory and the time,
            not the result.
        memory: What the process may take at its peak: bytes, or text such as ``2GB``, ``500MB`` or
            ``1.5GiB``, which becomes bytes here. Pictures are taken whole where that fits, else in
            the tiles that cost least time; files too large to be held at all, band by band. None
            leaves half of what is free.
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
    memory: int | str | None = None
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
        object.__setattr__(self, "memory", _bytes(self.memory))
        if not _is_int(self.stage, least=1) or self.stage not in STAGES:
            raise UsageError(f"stage must be {_listed(STAGES)}, not {self.stage!r}")
        number = isinstance(self.strength, int | float) and not isinstance(self.strength, bool)
        if not number or not math.isfinite(self.strength) or not 0 <= self.strength <= 1:
            raise UsageError(f"strength must be from 0 to 1, not {self.strength!r}")


def _bytes(memory: Any) -> int | None:
    if memory is None or _is_int(memory, least=1):
        return memory  # type: ignore[no-any-return]
    found = _MEMORY.fullmatch(memory.strip()) if isinstance(memory, str) else None
    size = int(float(found[1]) * _UNITS[found[2].lower()]) if found else 0
    if size < 1:
        raise UsageError(f"memory must be bytes, or text such as 2GB or 500MB, not {memory!r}")
    return size


def _is_int(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _listed(values: tuple[object, ...]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} or {last}"
