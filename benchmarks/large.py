"""Derain a picture of 100 megapixels within 2 GB, and compare it with small ones.

    python -m benchmarks.large --model universal --threads 1

A mosaic of the example pictures is derained from file to file in a process of its own, after and
before pictures of 2 megapixels, which fit whole. Recorded are the peak of resident memory, the
time per megapixel, and whether the result equals that of an untiled run: in the large picture
around some corners of tiles, in a small one, cut into smaller tiles, everywhere. Rows of
``benchmarks/results/large.json`` for other models stay as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries

from dpenet.inference.derainer import Derainer
from dpenet.inference.tiling import Grid
from dpenet.media.bands import Header, read_bands, write_bands
from dpenet.media.images import read_picture
from dpenet.media.metadata import Metadata
from dpenet.media.plain import Samples

RESULTS = REPOSITORY / "benchmarks" / "results" / "large.json"
PICTURES = sorted((REPOSITORY / "examples").glob("*.jpg"))
SCHEMA = 1
SMALL = (1250, 1600)
# Side of what is compared around a corner of tiles.
COMPARED = 64
# Of the small picture: with their halos they are smaller than those of the large one under 2 GB.
TILE = 400


def main() -> None:
    """Measure one model, and write the file."""
    args = _arguments()
    if args.child:
        print(json.dumps(_child(args)))
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        row = _measure(args, Path(name))
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    rows = [old for old in rows if _key(old) != _key(row)] + [row]
    record = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "libraries": libraries("numpy", "openvino", "pyvips"),
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(row, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--model", default="universal", help="name in the model table, or a file")
    parser.add_argument("--size", type=int, default=10_000, help="side of the large picture")
    parser.add_argument("--memory", default="2GB")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, help="of the processor; default all")
    parser.add_argument("--folder", type=Path, help="for the pictures; default temporary")
    parser.add_argument("--child", nargs="+", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("model", "precision", "width", "height", "memory"))


def _measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    large, small = folder / "large.jpg", folder / "small.jpg"
    _mosaic(large, args.size, args.size)
    _mosaic(small, *SMALL)
    first, whole, last = (_run(path) for path in (small, large, small))
    megapixels = args.size**2 / 1e6

    def per_megapixel(kind: str) -> tuple[float, float]:
        """Of the large picture, and of the small ones on average."""
        small_ones = (first[kind] + last[kind]) / 2
        return whole[kind] / megapixels, small_ones / (SMALL[0] * SMALL[1] / 1e6)

    (wall, small_wall), (busy, small_busy) = map(per_megapixel, ("seconds", "cpu_seconds"))
    return {
        "model": whole["model"],
        "precision": whole["precision"],
        "width": args.size,
        "height": args.size,
        "memory": args.memory,
        "threads": args.threads,
        "peak_bytes": whole["peak_bytes"],
        # Processor time is what counts on a machine that does other things too.
        "seconds_per_megapixel": round(wall, 3),
        "ratio_to_2_megapixels": round(wall / small_wall, 3),
        "cpu_seconds_per_megapixel": round(busy, 3),
        "cpu_ratio_to_2_megapixels": round(busy / small_busy, 3),
        "tiles": [len(whole["rows"]), len(whole["columns"])],
        "window": whole["window"],
        "computed": whole["computed"],
        **_compare(args, large, whole),
        "complete": _compare_complete(args, small),
    }


def _mosaic(path: Path, height: int, width: int) -> None:
    """Examples side by side and mirrored, no two tiles of a grid alike."""
    pictures = [read_picture(picture).pixels[:400, :640] for picture in PICTURES]
    row = np.concatenate([*pictures, *(picture[:, ::-1] for picture in pictures)], axis=1)
    row = np.tile(row, (1, -(-width // row.shape[1]), 1))
    header = Header(height, width, 3, np.dtype(np.uint8), Metadata(), "jpeg")
    with write_bands(path, header) as write:
        for index, top in enumerate(range(0, height, len(row))):
            write(np.roll(row, 211 * index, axis=1)[: height - top, :width])


def _run(path: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.large", *sys.argv[1:], "--child", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.PIPE, check=True)
    run: dict[str, Any] = json.loads(done.stdout)
    print(path.name, run, flush=True)
    return run


def _child(args: argparse.Namespace) -> dict[str, Any]:
    """Derain one file, as a user would, and tell what it took."""
    (source,) = args.child
    derainer = Derainer(
        args.model, precision=args.precision, threads=args.threads, memory=args.memory
    )
    grids = []
    plan = derainer.plan

    def watched(*size: Any, **held: Any) -> Grid:
        grids.append(plan(*size, **held))
        return grids[-1]

    derainer.estimate_seconds(64, 64)  # a first run, which also compiles
    derainer.plan = watched  # type: ignore[method-assign]
    start, busy = time.perf_counter(), time.process_time()
    derainer(source, out=source.with_suffix(".tif"), overwrite=True)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - busy
    status = Path("/proc/self/status").read_text().splitlines()
    (grid,) = grids
    return {
        "model": derainer.weights.name,
        "precision": derainer.precision,
        "seconds": round(seconds, 3),
        "cpu_seconds": round(cpu_seconds, 3),
        "peak_bytes": next(int(s.split()[1]) * 1024 for s in status if s.startswith("VmHWM")),
        "rows": [span.start for span in grid.rows],
        "columns": [span.start for span in grid.columns],
        "window": grid.window,
        "computed": round(grid.pixels / (grid.rows[-1].stop * grid.columns[-1].stop), 3),
    }


def _compare(args: argparse.Namespace, source: Path, whole: dict[str, Any]) -> dict[str, int]:
    """Untiled results around corners of tiles against what was written there."""
    derainer = Derainer(args.model, precision=args.precision, threads=args.threads, tile=0)
    around = COMPARED // 2 + derainer.weights.architecture.receptive_field
    differing = worst = samples = 0
    rows, columns = whole["rows"][1:], whole["columns"][1:]
    for row in rows[:: max(1, len(rows) // 2)][:2]:
        rainy, clean = (
            _band(path, row - around, row + around) for path in (source, source.with_suffix(".tif"))
        )
        for column in columns[:: max(1, len(columns) // 2)][:2]:
            window = np.s_[:, column - around : column + around]
            middle = np.s_[around - COMPARED // 2 : around + COMPARED // 2]
            expected = derainer.derain_pixels(rainy[window])[middle, middle]
            off = np.abs(expected.astype(int) - clean[window][middle, middle])
            differing += int(np.count_nonzero(off))
            worst = max(worst, int(off.max()))
            samples += off.size
    return {"compared": samples, "differing": differing, "worst": worst}


def _compare_complete(args: argparse.Namespace, source: Path) -> dict[str, Any]:
    """Every sample of a picture in tiles against the same in one piece."""
    rainy = read_picture(source).pixels
    one, many = (
        Derainer(args.model, precision=args.precision, threads=args.threads, tile=tile)
        for tile in (0, TILE)
    )
    off = np.abs(np.subtract(many.derain_pixels(rainy), one.derain_pixels(rainy), dtype=int))
    height, width = rainy.shape[:2]
    return {
        "width": width,
        "height": height,
        "tiles": [len(spans) for spans in many.plan(height, width)],
        "compared": off.size,
        "differing": int(np.count_nonzero(off)),
        "worst": int(off.max()),
    }


def _band(path: Path, first: int, last: int) -> Samples:
    with read_bands(path, path.parent) as (_, reader):
        return reader.read(first, last)


if __name__ == "__main__":
    main()
