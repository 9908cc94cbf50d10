"""How fast a model runs on this machine, in each precision, and how near that is to its limits."""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dpenet import __version__
from dpenet.errors import DpenetError, UsageError
from dpenet.inference.core import openvino_core
from dpenet.inference.derainer import Derainer
from dpenet.inference.roofline import bandwidth, peak_gflops
from dpenet.zoo import Architecture, load_weights

Key = TypeVar("Key")

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
SIZES = ((1920, 1080), (1280, 720), (960, 540), (480, 320), (240, 160))
SECONDS = 40.0
"""What deraining may take by default, all precisions together; the limits take some more."""

_MOST_TURNS, _FAIR_TURNS = 5, 3
_UNTIMED = 2  # runs of each precision besides its turns: one to warm up, one for the memory


@dataclass(frozen=True)
class Row:
    """What was measured of one precision.

    Attributes:
        precision: As in `Options`, and never ``auto``.
        device: That computed it.
        milliseconds: Median for one picture, from 8-bit pixels to 8-bit pixels.
        megapixels_per_second: The same, by area.
        gflops: 10^9 operations per second, counting those of the network as published.
        share_of_peak: ``gflops`` as a share of what the processor can do in this precision; None
            for other devices.
        peak_memory: Bytes that a process held at most that derained one such picture; None where
            the system does not tell.
    """

    precision: str
    device: str
    milliseconds: float
    megapixels_per_second: float
    gflops: float
    share_of_peak: float | None
    peak_memory: int | None


@dataclass(frozen=True)
class Benchmark:
    """What `benchmark` measured, and on what.

    Attributes:
        model: Name of the model.
        width: Of the picture, in pixels.
        height: Of the picture.
        turns: Timed runs of each precision, of which ``milliseconds`` is the median.
        processor: Its name.
        cores: How many it has.
        threads: How many were allowed; None if all.
        versions: Of dpenet, OpenVINO and torch, if it is installed.
        peak_gflops: By precision, what the processor can do at most.
        bandwidth: 10^9 bytes per second to and from memory.
        rows: One for each precision.
        unavailable: Precisions that this machine has not, and why.
    """

    model: str
    width: int
    height: int
    turns: int
    processor: str
    cores: int | None
    threads: int | None
    versions: dict[str, str]
    peak_gflops: dict[str, float]
    bandwidth: float
    rows: list[Row]
    unavailable: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold, with the number of its schema."""
        return {"schema": 1, **asdict(self)}


def benchmark(
    model: str = "universal",
    *,
    size: tuple[int, int] | None = None,
    precisions: Sequence[str] = PRECISIONS,
    device: str = "auto",
    threads: int | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Benchmark:
    """Measure a model in each precision that this machine has.

    The precisions take turns, so that what else the machine does falls on all of them. Peak memory
    is that of a process of its own for each.

    Args:
        model: As in `Options`.
        size: Width and height of the picture. By default the largest of `SIZES` of which three
            turns take no more than `SECONDS`, so that a slow machine gets a small one.
        precisions: Of `PRECISIONS`.
        device: As in `Options`.
        threads: As in `Options`.
        tell: Gets a line on what is being done.

    Raises:
        UsageError: If a precision or the device is unknown, or none of the precisions is there.
        ModelError: If the model is unknown or damaged.
    """
    for name in precisions:
        if name not in PRECISIONS:
            raise UsageError(f"{name!r} is none of the precisions {', '.join(PRECISIONS)}")
    weights = load_weights(model)
    derainers: dict[str, Derainer] = {}
    unavailable: dict[str, str] = {}
    for name in precisions:
        try:
            derainers[name] = Derainer(model, precision=name, device=device, threads=threads)
        except DpenetError as error:
            unavailable[name] = str(error)
    if not derainers:
        raise UsageError(next(iter(unavailable.values()), "name at least one precision"))
    width, height = size or _default_size(derainers.values())
    expected = _seconds(derainers.values(), width, height)
    turns = min(max(int(SECONDS / expected) - _UNTIMED, _FAIR_TURNS), _MOST_TURNS)
    tell(
        f"{width} x {height} pixels, {' and '.join(derainers)}, {turns} turn{'s'[: turns > 1]}: "
        f"about {expected * (turns + _UNTIMED):.0f} s"
    )
    picture = noise(width, height)
    times = in_turns({k: _call(d, picture) for k, d in derainers.items()}, turns)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    tell("peak memory")
    memory = {name: memory_of(model, name, device, threads, width, height) for name in derainers}
    tell("what the processor can do at most")
    peaks = {name: peak_gflops(name, threads) for name in derainers}
    work = operations_per_pixel(weights.architecture) * width * height

    def row(name: str) -> Row:
        seconds, peak, where = medians[name], peaks[name], derainers[name].device
        gflops = work / seconds / 1e9
        return Row(
            precision=name,
            device=where,
            milliseconds=round(1000 * seconds, 2),
            megapixels_per_second=round(width * height / seconds / 1e6, 4),
            gflops=round(gflops, 2),
            share_of_peak=round(gflops / peak, 4) if peak and where == "cpu" else None,
            peak_memory=memory[name],
        )

    return Benchmark(
        model=weights.name,
        width=width,
        height=height,
        turns=turns,
        processor=processor(),
        cores=os.cpu_count(),
        threads=threads,
        versions=_versions(),
        peak_gflops={name: round(peak, 2) for name, peak in peaks.items() if peak},
        bandwidth=round(bandwidth(threads), 2),
        rows=[row(name) for name in derainers],
        unavailable=unavailable,
    )


def operations_per_pixel(architecture: Architecture) -> int:
    """What the network as published does for a pixel: two for each weight of a convolution."""
    shapes = architecture.shapes().items()
    return 2 * sum(math.prod(shape) for key, shape in shapes if key.endswith(".weight"))


def in_turns(functions: Mapping[Key, Callable[[], object]], turns: int) -> dict[Key, list[float]]:
    """Time functions by turns: each is called once to warm up, then ``turns`` times.

    Args:
        functions: What to call.
        turns: How often to time each.

    Returns:
        Seconds of each call.
    """
    times: dict[Key, list[float]] = {name: [] for name in functions}
    for turn in range(-1, turns):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if turn >= 0:
                times[name].append(time.perf_counter() - start)
    return times


def noise(width: int, height: int) -> NDArray[np.uint8]:
    """A picture, (height, width, 3), to measure with: what is on it makes no difference."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def memory_of(
    model: str, precision: str, device: str, threads: int | None, width: int, height: int
) -> int | None:
    """Peak memory, in bytes, of a new process that derains a picture; None if it cannot be told."""
    job = {"model": model, "precision": precision, "device": device, "threads": threads}
    code = f"from {__name__} import _derain_and_tell as f; f({job!r}, {width}, {height})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found: int | None = json.loads(done.stdout) if done.returncode == 0 else None
    return found


def _derain_and_tell(tuning: dict[str, Any], width: int, height: int) -> None:
    Derainer(**tuning).derain_pixels(noise(width, height))
    sys.stdout.write(json.dumps(peak_memory()))


def peak_memory() -> int | None:
    """Most memory that this process has held so far, in bytes; None on Windows."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not getrusage, which on Linux counts what the parent held when it started this process.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # of macOS, in bytes


def processor() -> str:
    """What the processor calls itself."""
    return str(openvino_core().get_property("CPU", "FULL_DEVICE_NAME")).strip()


def _default_size(derainers: Collection[Derainer]) -> tuple[int, int]:
    for size in SIZES:
        if (_FAIR_TURNS + _UNTIMED) * _seconds(derainers, *size) <= SECONDS:
            break
    return size


def _seconds(derainers: Collection[Derainer], width: int, height: int) -> float:
    """About how long one picture takes in all precisions together."""
    return sum(derainer.estimate_seconds(height, width) for derainer in derainers)


def _call(derainer: Derainer, picture: NDArray[np.uint8]) -> Callable[[], object]:
    return lambda: derainer.derain_pixels(picture)


def _versions() -> dict[str, str]:
    found = {"dpenet": __version__, "openvino": version("openvino")}
    return found | ({"torch": version("torch")} if find_spec("torch") else {})
