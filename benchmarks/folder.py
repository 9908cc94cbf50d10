"""Measure how much of the engine's own throughput a folder of many small pictures reaches.

    python -m benchmarks.folder                        # 2,000 pictures of 128 px
    python -m benchmarks.folder --model rain100h --count 200

In one process and in turn, part of the folder by part: the engine alone on the pictures' arrays,
then everything from files to files. Both are also counted in processor seconds, which other work on
the machine blurs less. Then each step on its own, one picture after another: where the time goes.

Rows of ``benchmarks/results/folder.json`` for other models and sizes stay as they are.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from numpy.typing import NDArray
from PIL import Image

from dpenet.atomic import atomic_path
from dpenet.inference import pixels
from dpenet.inference.derainer import Derainer
from dpenet.inference.engines import Engine, open_engine
from dpenet.inference.files import derain_file
from dpenet.media.images import encode_picture, read_picture, with_pixels

RESULTS = REPOSITORY / "benchmarks" / "results" / "folder.json"
PHOTOS = REPOSITORY / "examples"
SCHEMA = 1
KEY = ("model", "precision", "side")
PART = 200


def main() -> None:
    """Measure what the arguments name, and write the results."""
    args = _arguments()
    derainer = Derainer(args.model, precision=args.precision)
    threads = derainer.threads
    engine = open_engine(derainer.weights, derainer.options, streams=threads)
    with tempfile.TemporaryDirectory() as name:
        files = _make_pictures(Path(name), args.count, args.side)
        alone, whole = [], []
        _folder(derainer, files[:PART])  # opens what is opened for many
        _alone(engine, files[:PART])
        for first in range(0, len(files), PART):
            part = files[first : first + PART]
            alone.append(_alone(engine, part))
            whole.append(_folder(derainer, part))
            print(*(f"{1000 * seconds:.2f}" for seconds in (*alone[-1], *whole[-1])), flush=True)
        steps = _steps(derainer, engine, files[:PART])
    row = {
        "model": derainer.weights.name,
        "precision": derainer.precision,
        "side": args.side,
        "pictures": args.count,
        "streams": engine.streams,
        "share": median(a[0] / w[0] for a, w in zip(alone, whole, strict=True)),
        "cpu_share": median(a[1] / w[1] for a, w in zip(alone, whole, strict=True)),
        "engine_ms": 1000 * median(a[0] for a in alone),
        "folder_ms": 1000 * median(w[0] for w in whole),
        "engine_cpu_ms": 1000 * median(a[1] for a in alone),
        "folder_cpu_ms": 1000 * median(w[1] for w in whole),
        "steps_cpu_ms": steps,
        "commit": commit(),
    }
    _write(row)
    print(json.dumps(row, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--model", default="universal", help="name in the model table, or a file")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--count", type=int, default=2000, help="pictures in the folder")
    parser.add_argument("--side", type=int, default=128, help="of a picture, in pixels")
    return parser.parse_args()


def _make_pictures(folder: Path, count: int, side: int) -> list[Path]:
    """PNG files cut out of photos at random places."""
    rng = np.random.default_rng(0)
    photos = [np.asarray(Image.open(path)) for path in sorted(PHOTOS.glob("*.jpg"))]
    files = []
    for number in range(count):
        photo = photos[number % len(photos)]
        y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        files.append(folder / f"{number:05d}.png")
        Image.fromarray(photo[y : y + side, x : x + side]).save(files[-1])
    return files


def _timed(work: Callable[[], object], count: int) -> tuple[float, float]:
    """Seconds by the clock, and of all processors, for one of ``count`` pictures."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return (time.perf_counter() - start) / count, (time.process_time() - busy) / count


def _alone(engine: Engine, files: Sequence[Path]) -> tuple[float, float]:
    arrays = [pixels.to_network(read_picture(path).pixels) for path in files]
    with ThreadPoolExecutor(engine.streams) as pool:
        return _timed(lambda: list(pool.map(engine.run, arrays)), len(files))


def _folder(derainer: Derainer, files: Sequence[Path]) -> tuple[float, float]:
    out = files[0].parent / "out"

    def one(path: Path) -> None:
        derain_file(derainer, path, out / path.name, overwrite=True)

    def work() -> None:
        with closing(derainer.each(one, files)) as results:
            list(results)

    return _timed(work, len(files))


def _steps(derainer: Derainer, engine: Engine, files: Sequence[Path]) -> dict[str, float]:
    """Processor milliseconds of each step for a picture, one step of one picture at a time."""
    spent: dict[str, list[float]] = {}

    def step(name: str, function: Callable[..., Any], *args: Any, **named: Any) -> Any:
        start = time.process_time()
        result = function(*args, **named)
        spent.setdefault(name, []).append(time.process_time() - start)
        return result

    def write(path: Path, content: bytes) -> None:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)

    for path in files:
        rainy = step("read and decode", read_picture, path)
        step("plan", derainer.plan, *rainy.pixels.shape[:2], rainy.pixels.dtype)
        x = step("to the network", pixels.to_network, rainy.pixels)
        y: NDArray[np.float32] = step("network", engine.run, x)
        np.clip(y, 0, 1, out=y)
        clean = step("from the network", pixels.from_network, y, like=rainy.pixels)
        content = step("encode", encode_picture, with_pixels(rainy, clean))
        step("write", write, path.with_suffix(".out"), content)
    return {name: round(1000 * median(seconds), 3) for name, seconds in spent.items()}


def _write(row: dict[str, Any]) -> None:
    former: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if former.get("schema", SCHEMA) != SCHEMA:
        raise SystemExit(f"{RESULTS} has schema {former['schema']}, this script writes {SCHEMA}")
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
    rows = {tuple(old[k] for k in KEY): old for old in [*former.get("rows", []), rounded]}
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "cpu": cpu(),
        "libraries": libraries("numpy", "openvino", "pyvips"),
        "python": platform.python_version(),
        "rows": list(rows.values()),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(RESULTS) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
