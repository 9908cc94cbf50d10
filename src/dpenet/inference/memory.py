"""How much memory a deraining takes, and how much there is."""

from __future__ import annotations

import ctypes
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dpenet.errors import PictureError
from dpenet.zoo import Architecture

# What the process takes beside pictures and the network's tensors: Python, OpenVINO, libvips and
# the weights (130 MB measured), and memory that is not given back at once.
OWN_MEMORY = 180_000_000
# Copies of a picture that reading, deraining and writing it whole hold at once: file, samples,
# result, and the result encoded.
COPIES = 4
# Copies of a band's rows: what is read, the result, and some kept for the next; and what computing
# the rain that was removed adds to them.
BAND_COPIES, RAIN_COPIES = 3, 3
# Rows that libvips keeps while it decodes and encodes bands, measured.
CACHED_ROWS = 2000
# Tensors of `width` channels that live at once where the network needs most memory, by stage, and
# bytes of a number. Measured as peak memory per pixel on processors with AVX2 (fp32) and
# AVX512-BF16 (bf16); the tests hold the former. What int8 saves in a convolution's input it loses
# to sums in fp32 that stand beside it: measured 4.5 (16 channels) and 4.7 (32).
_LIVE_TENSORS = {1: 3, 2: 5}
_BYTES = {"fp32": 4.0, "bf16": 2.5, "fp16": 2.5, "int8": 4.75}
# The picture as float32: what goes in, what comes out, its copy, and some layer's fourth.
_PICTURE_BYTES = 4 * 3 * 4
_LATELY_SECONDS = 0.2
_LACKS = ("out of memory", "an't allocate", "ailed to allocate", "bad_alloc")


def bytes_per_pixel(architecture: Architecture, precision: str, stage: int = 2) -> int:
    """Peak memory that the network takes for each pixel that it computes at once.

    Args:
        architecture: Its width counts.
        precision: As an engine has it.
        stage: 1 needs less than 2.
    """
    number = _BYTES[precision]
    return math.ceil(_LIVE_TENSORS[stage] * architecture.width * number) + _PICTURE_BYTES


def working_memory(budget: int | None) -> int:
    """Bytes for pictures and tensors: a budget less `OWN_MEMORY`; for None, half of what is free.

    It may be negative.
    """
    return free_lately() // 2 if budget is None else budget - OWN_MEMORY


def give_back() -> None:
    """Return freed memory to the system: glibc keeps much of it, in pieces that do not fit again.

    It takes about a millisecond; other C libraries are left alone.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    return trim


def free_lately() -> int:
    """`free_memory`, looked up a few times a second: small pictures need it far more often."""
    return _free_in(int(time.monotonic() / _LATELY_SECONDS))


@functools.lru_cache(maxsize=1)
def _free_in(_moment: int) -> int:
    return free_memory()


def free_memory(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that this process may still take, as far as the system and its container tell.

    Args:
        cgroup: Where the limits of the container are.
    """
    import psutil

    free = int(psutil.virtual_memory().available)
    for version in _CGROUPS:
        limit, used = (_number(cgroup / name) for name in (version.limit, version.used))
        if limit is not None and used is not None:
            free = min(free, max(0, limit - used + _file_cache(cgroup / version.stat)))
    return free


class _CgroupFiles(NamedTuple):
    limit: str
    used: str
    stat: str


_CGROUPS = (
    _CgroupFiles("memory.max", "memory.current", "memory.stat"),
    _CgroupFiles(
        "memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"
    ),
)


def _number(path: Path) -> int | None:
    """What a file says, if it is a number: "max" is no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _file_cache(stat: Path) -> int:
    """Bytes of files in memory that count as used, and are given up when they are needed."""
    try:
        words = dict(line.split() for line in stat.read_text().splitlines())
        return int(words.get("total_inactive_file", words.get("inactive_file", 0)))
    except (OSError, ValueError):
        return 0


def is_lack(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory."""
    # OpenVINO and PyTorch, but for CUDA, have no exception of their own for it.
    return isinstance(error, MemoryError) or any(text in str(error) for text in _LACKS)


def too_many(height: int, width: int, device: str) -> PictureError:
    """The error for pixels that, computed at once, need more memory than a device has."""
    return PictureError(
        f"{width} x {height} pixels at once are too many for the memory of device {device}: "
        "set --tile to a smaller side, or --memory to a smaller size"
    )
