"""How much memory a deraining takes, and how much there is."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from pathlib import Path

from dpenet.zoo import Architecture

# What is taken to be free where the system does not say (it does on Linux).
UNKNOWN_FREE_MEMORY = 6_000_000_000
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
    return free_memory() // 2 if budget is None else budget - OWN_MEMORY


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


def free_memory() -> int:
    """Bytes that this process may still take, as far as the system tells."""
    free = UNKNOWN_FREE_MEMORY
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.exists():
        _, _, rest = meminfo.read_text().partition("MemAvailable:")
        free = int(rest.split(maxsplit=1)[0]) * 1024
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        free = min(free, int(text))
    return free
