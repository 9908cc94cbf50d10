"""Time, throughput and memory of the network: eager PyTorch, and ours in each precision.

    dpenet models import ../shared/reference/weights/Rain100H.pth    # or: models fetch rain100h
    dpenet models quantize rain100h
    python -m benchmarks.speed

One run writes ``benchmarks/results/speed.json`` and the figures in ``docs/images/``. All variants
are timed in one process by turns, so that what else the machine does falls on all of them, after a
turn at full size that is not counted; peak memory is that of a process of its own for each. All go
from 8-bit pixels to 8-bit pixels. It takes about twenty minutes on two cores: nothing else should
run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from benchmarks.speed_claims import judge
from numpy.typing import NDArray

from dpenet.atomic import atomic_path
from dpenet.errors import DpenetError
from dpenet.inference.benchmark import in_turns, noise, operations_per_pixel, peak_memory
from dpenet.inference.derainer import Derainer
from dpenet.inference.roofline import bandwidth, peak_gflops
from dpenet.zoo import list_models, load_weights

RESULTS = REPOSITORY / "benchmarks" / "results" / "speed.json"
SCHEMA = 1
SIZES = ((480, 320), (1920, 1080))
PRECISIONS = ("fp32", "bf16", "int8")
FULL = "rain100h"  # any checkpoint of the full network runs as fast
OWN = ("universal", "universal-light", "universal-nano")
SWEEP = (0.25, 0.5, 1, 2, 4, 8, 16, 32)  # megapixels
SWEEP_SECONDS = 100.0  # for all of them; larger ones are left out
SWEEP_MODEL, SWEEP_MEMORY = "universal-nano", "1GB"
EAGER = "PyTorch fp32, eager"

Picture = NDArray[np.uint8]
Run = Callable[[Picture], Picture]


class Variant(NamedTuple):
    """One way to run a model; a row for each size. ``layout`` is None for ours."""

    label: str
    model: str
    precision: str
    layout: str | None = None


def main() -> None:
    """Measure, write the results, and draw."""
    args = _arguments()
    if args.child:
        print(json.dumps(_child(**json.loads(args.child))))
        return
    variants = list(_variants())
    peaks = _peaks(args.threads)
    rows: list[dict[str, Any]] = []
    for size in args.size or SIZES:
        rows += measure(variants, size, args.turns, args.threads)
        for row in rows[-len(variants) :]:
            _say(row)
    sweep = _sweep(args.sweep, args.threads)
    # Once more: the first time may have been a bad one for the machine.
    again = _peaks(args.threads)
    peaks = {name: max(value, again[name]) for name, value in peaks.items()}
    for row in rows:
        if "gflops" in row and row["precision"] in peaks:
            row["share_of_peak"] = round(row["gflops"] / peaks[row["precision"]], 4)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "threads": args.threads or os.cpu_count(),
        "libraries": libraries("openvino", "torch", "numpy"),
        "python": platform.python_version(),
        "protocol": "medians of turns after one at full size to warm up; the variants alternate; "
        "operations are those of the network as published; ratios are medians of the ratios of "
        "each turn",
        "peaks": peaks,
        "rows": rows,
        "sweep": {"model": SWEEP_MODEL, "memory": SWEEP_MEMORY, "rows": sweep},
    }
    record["claims"] = judge(record)
    with atomic_path(args.output) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for claim in record["claims"]:
        _say(claim)
    from benchmarks.speed_figures import draw

    draw(record, args.figures)


def _arguments() -> argparse.Namespace:
    def size(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split("x")))

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", type=size, action="append", metavar="WxH", help=f"{SIZES}")
    parser.add_argument("--turns", type=int, help="default: 3 to 7, as large pictures allow")
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument(
        "--sweep",
        type=float,
        nargs="*",
        metavar="MEGAPIXELS",
        help=f"default: as many of {SWEEP} as take {SWEEP_SECONDS:g} s together",
    )
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path, default=REPOSITORY / "docs" / "images")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def _variants() -> Iterable[Variant]:
    yield Variant(EAGER, FULL, "fp32", "contiguous_format")
    yield Variant("PyTorch fp32, channels last", FULL, "fp32", "channels_last")
    yield Variant("PyTorch bf16, channels last", FULL, "bf16", "channels_last")
    for model in (FULL, *OWN):
        if model in list_models():
            for precision in PRECISIONS:
                yield Variant(f"dpenet {precision}", model, precision)


def measure(
    variants: list[Variant], size: tuple[int, int], turns: int | None, threads: int | None
) -> list[dict[str, Any]]:
    """A row for each variant, also for those that this machine has not."""
    width, height = size
    picture = noise(width, height)
    runs: dict[Variant, Run] = {}
    reasons: dict[Variant, str] = {}
    for variant in variants:
        try:
            runs[variant] = open_variant(variant, threads)
        except DpenetError as error:
            reasons[variant] = str(error)
    # One of 1920 x 1080 keeps eager PyTorch busy for a minute.
    turns = turns or (7 if width * height < 500_000 else 3)
    times = in_turns({v: _call(run, picture) for v, run in runs.items()}, turns)
    eager = next((times[v] for v in runs if v.label == EAGER), None)
    rows = []
    for variant in variants:
        row: dict[str, Any] = variant._asdict() | {"width": width, "height": height}
        rows.append(row)
        if variant in reasons:
            row["unavailable"] = reasons[variant]
            continue
        seconds = times[variant]
        median = statistics.median(seconds)
        work = operations_per_pixel(load_weights(variant.model).architecture) * width * height
        row |= {
            "turns": turns,
            "milliseconds": round(1000 * median, 1),
            "spread": [round(1000 * f(seconds), 1) for f in (min, max)],
            "megapixels_per_second": round(width * height / median / 1e6, 4),
            "gflops": round(work / median / 1e9, 2),
            "peak_memory": _memory(variant, size, threads),
        }
        if eager is not None and variant.model == FULL:
            ratios = [a / b for a, b in zip(eager, seconds, strict=True)]
            row["times_eager"] = round(statistics.median(ratios), 3)
    return rows


def open_variant(variant: Variant, threads: int | None) -> Run:
    """What derains a picture by a variant.

    Raises:
        DpenetError: If this machine has not what it needs.
    """
    if variant.layout is None:
        derainer = Derainer(variant.model, precision=variant.precision, threads=threads)
        return derainer.derain_pixels
    if variant.precision == "bf16" and not {"avx512_bf16", "amx_bf16"} & set(cpu()["flags"]):
        raise DpenetError("this processor has no bf16 arithmetic; PyTorch would emulate it")
    return _open_torch(variant, variant.layout, threads)


def _open_torch(variant: Variant, layout: str, threads: int | None) -> Run:
    """As the released script does: a tensor of floats, the whole picture, clamp, 8 bits."""
    import torch  # not above: it would count as memory of ours

    from dpenet.inference.torch_engine import network_of

    torch.set_num_threads(threads or torch.get_num_threads())
    order = getattr(torch, layout)
    network = network_of(load_weights(variant.model))
    network.to(memory_format=order)  # type: ignore[call-overload]
    bf16 = variant.precision == "bf16"

    def run(picture: Picture) -> Picture:
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].contiguous().float() / 255
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            y = network(x.contiguous(memory_format=order))[1]
        y = (y.float().clamp(0, 1) * 255).round().byte()
        return np.ascontiguousarray(y[0].permute(1, 2, 0).numpy())

    return run


def _call(run: Run, picture: Picture) -> Callable[[], object]:
    return lambda: run(picture)


def _peaks(threads: int | None) -> dict[str, float]:
    """10^9 operations per second in each precision, and 10^9 bytes per second of memory."""
    peaks = {name: peak_gflops(name, threads) for name in PRECISIONS}
    peaks["memory"] = bandwidth(threads)
    return {name: round(value, 2) for name, value in peaks.items() if value is not None}


def _memory(variant: Variant, size: tuple[int, int], threads: int | None) -> int | None:
    done = _in_child(kind="memory", variant=variant, size=size, threads=threads)
    found: int | None = done["peak_memory"]
    return found


def _sweep(wanted: list[float] | None, threads: int | None) -> list[dict[str, Any]]:
    """Files of so many pixels, read, derained and written under a budget of memory."""
    rows: list[dict[str, Any]] = []
    for megapixels in SWEEP if wanted is None else wanted:
        if wanted is None and rows:
            spent = sum(row["seconds"] for row in rows)
            expected = rows[-1]["seconds"] / rows[-1]["megapixels"] * megapixels
            if spent + expected > SWEEP_SECONDS:
                break
        measured = _in_child(kind="sweep", size=megapixels, threads=threads)
        rows.append({"megapixels": megapixels, **measured})
        _say(rows[-1])
    return rows


def _in_child(**job: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.speed", "--child", json.dumps(job)]
    paths = [str(REPOSITORY), str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _child(kind: str, size: Any, threads: int | None, variant: Any = None) -> dict[str, Any]:
    if kind == "memory":
        open_variant(Variant(*variant), threads)(noise(*size))
        return {"peak_memory": peak_memory()}
    import pyvips

    with tempfile.TemporaryDirectory() as folder:
        rainy, clean = Path(folder, "rainy.tif"), Path(folder, "clean.tif")
        side = round((1e6 * size) ** 0.5)
        # Written from one small tile, so that making the file takes no memory.
        tile = pyvips.Image.new_from_array(noise(256, 256))
        count = -(-side // 256)
        tile.replicate(count, count).crop(0, 0, side, side).tiffsave(str(rainy))
        derainer = Derainer(SWEEP_MODEL, threads=threads, memory=SWEEP_MEMORY)
        derainer.derain_pixels(noise(64, 64))
        start = time.perf_counter()
        derainer(rainy, out=clean)
        seconds = time.perf_counter() - start
    return {
        "precision": derainer.precision,
        "seconds": round(seconds, 3),
        "peak_memory": peak_memory(),
    }


def _say(record: dict[str, Any]) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
