"""Measure how wide a halo 8-bit results need: ``halo_8bit`` in the model table comes from here.

    python -m benchmarks.halo --model universal
    python -m benchmarks.halo --weights ../shared/reference/weights     # all five, by file

Rainy photos are computed whole, and in small tiles with halos narrower than the receptive field,
in each precision that the model has: fp32, and int8 if its form is here (``dpenet models
quantize``). A halo is enough where the results differ by at most one level of 8 bits on at most one
sample in 100,000, a tenth of what the arithmetic itself may do; large tiles, as are used, have
fewer seams. The next wider one is to be used: it goes into the table by hand, for it belongs to the
pinned file, and into the metadata of an embedded model by itself. Rows of
``benchmarks/results/halo.json`` for other models and precisions stay as they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries

from dpenet.inference.derainer import Derainer
from dpenet.inference.tiling import run_tiled, square_grid
from dpenet.media.images import read_picture
from dpenet.zoo import Weights, load_weights
from dpenet.zoo.int8 import find_int8
from dpenet.zoo.store import stored_path
from dpenet.zoo.table import MODELS
from dpenet.zoo.weights import read_weights, write_weights

RESULTS = REPOSITORY / "benchmarks" / "results" / "halo.json"
PICTURES = sorted((REPOSITORY / "examples").glob("*.jpg"))
SCHEMA = 1
PRECISIONS = ("fp32", "int8")
HEIGHT, WIDTH, TILE = 320, 480, 160
START, STEP = 96, 16
MOST_DIFFERING = 1e-5


def main() -> None:
    """Measure what the arguments name, and write the file."""
    args = _arguments()
    for weights in _weights(args.model, args.weights):
        for precision in PRECISIONS if find_int8(weights) else PRECISIONS[:1]:
            found = list(_measure(weights, precision, args.threads))
            key = weights.name, precision
            _write([row for row in read_rows() if (row["model"], row["precision"]) != key] + found)
        halo = to_use([row for row in read_rows() if row["model"] == weights.name])
        print(weights.name, halo)
        if weights.name in MODELS and MODELS[weights.name].embedded:
            metadata = {**weights.metadata, "halo_8bit": halo}
            write_weights(stored_path(weights.name), weights.state, metadata)


def read_rows() -> list[dict[str, Any]]:
    """What was measured; rows that name no precision are of fp32."""
    if not RESULTS.exists():
        return []
    return [{"precision": "fp32"} | row for row in json.loads(RESULTS.read_text())["rows"]]


def enough(rows: Iterable[dict[str, Any]]) -> int | None:
    """The narrowest halo that was enough, of one model in one precision; None if none was."""
    return min((row["halo"] for row in rows if not _shows(row)), default=None)


def to_use(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """The halo for one model in each precision that was measured."""
    halos = {}
    for precision in sorted({row["precision"] for row in rows}):
        tried = [row for row in rows if row["precision"] == precision]
        field, found = tried[0]["receptive_field"], enough(tried)
        halos[precision] = field if found is None else min(found + STEP, field)
    return halos


def _write(rows: list[dict[str, Any]]) -> None:
    record = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "libraries": libraries("numpy", "openvino"),
        "pictures": [path.name for path in PICTURES],
        "height": HEIGHT,
        "width": WIDTH,
        "tile": TILE,
        "rows": rows,
    }
    RESULTS.write_text(json.dumps(record, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--model", action="append", default=[], help="name in the model table")
    parser.add_argument(
        "--weights", type=Path, help="folder of the published .pth files, named as in the table"
    )
    parser.add_argument("--threads", type=int, help="of the processor; default all")
    return parser.parse_args()


def _weights(names: Iterable[str], folder: Path | None) -> Iterator[Weights]:
    for name in names:
        yield load_weights(name)
    for path in sorted(folder.glob("*.pth")) if folder else []:
        yield replace(read_weights(path), name=path.stem.lower())


def _measure(weights: Weights, precision: str, threads: int | None) -> Iterator[dict[str, Any]]:
    """Narrower halos until one shows, or wider ones until one does not."""
    derainer = Derainer(weights, precision=precision, tile=0, threads=threads)
    pictures = [read_picture(path).pixels[:HEIGHT, :WIDTH] for path in PICTURES]
    whole = [derainer.derain_window(picture) for picture in pictures]
    field = weights.architecture.receptive_field
    halo, step, shows = min(START, field // STEP * STEP), 0, False
    while 0 < halo <= field and (step == 0 or shows == (step > 0)):
        grid = square_grid(HEIGHT, WIDTH, halo, TILE)
        tiled = [run_tiled(derainer.derain_window, picture, grid) for picture in pictures]
        off = np.abs(np.subtract(tiled, whole, dtype=int))
        row = {
            "model": weights.name,
            "precision": precision,
            "receptive_field": field,
            "halo": halo,
            "samples": off.size,
            "differing": int(np.count_nonzero(off)),
            "worst": int(off.max()),
        }
        print(row, flush=True)
        yield row
        shows = _shows(row)
        step = step or (STEP if shows else -STEP)
        halo += step


def _shows(row: dict[str, Any]) -> bool:
    return bool(row["worst"] > 1 or row["differing"] > row["samples"] * MOST_DIFFERING)


if __name__ == "__main__":
    main()
