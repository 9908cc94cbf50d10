"""Measure what int8 costs, part by part of the network, and what the rounding of kernels gains.

    python -m benchmarks.quantization --weights ../shared/reference/weights/Rain100H.pth

Writes ``benchmarks/results/quantization.json``: PSNR of the result in int8 against that in fp32, on
squares of the pictures in ``examples/``, which no calibration has seen; null where they are equal,
as where a part of the network has learnt to do nothing.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from numpy.typing import NDArray

from dpenet.atomic import atomic_path
from dpenet.data.pairs import read_rgb
from dpenet.inference.calibration import MADE_UP, rainy_scenes
from dpenet.inference.graph import build_graph
from dpenet.inference.pixels import to_network
from dpenet.inference.quantize import costliest_pair, only, quantized_convolutions, results
from dpenet.zoo import Weights, load_weights
from dpenet.zoo.int8 import Int8

RESULTS = REPOSITORY / "benchmarks" / "results" / "quantization.json"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.jpg"))
SCHEMA = 1
SIDE = 160


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--weights", type=Path, action="append", default=[])
    parser.add_argument("--model", action="append", default=[])
    args = parser.parse_args()
    rows = [
        {"model": weights.name.lower(), "int8": part, "convolutions": count, "psnr": psnr}
        for weights in map(load_weights, [*args.weights, *args.model])
        for part, count, psnr in _measure(weights)
    ]
    record = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "libraries": libraries("numpy", "openvino"),
        "pictures": [path.name for path in EXAMPLES],
        "rows": rows,
    }
    with atomic_path(RESULTS) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def examples() -> list[NDArray[np.float32]]:
    """Squares of the example pictures, each (1, 3, H, W), RGB in 0..1."""
    return [to_network(_centre(read_rgb(path))) for path in EXAMPLES]


def _measure(weights: Weights) -> list[tuple[str, int, float | None]]:
    pictures = examples()
    full = results(weights, None, pictures)
    rows = []
    for part, form in _parts(weights).items():
        pairs = zip(results(weights, form, pictures), full, strict=True)
        error = float(np.mean([(a.clip(0, 1) - b.clip(0, 1)) ** 2 for a, b in pairs]))
        psnr = round(-10 * math.log10(error), 2) if error else None
        rows.append((part, len(form.convolutions), psnr))
        print(weights.name, *rows[-1], flush=True)
    return rows


def _centre(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    top, left = ((size - SIDE) // 2 for size in picture.shape[:2])
    return picture[top : top + SIDE, left : left + SIDE]


def _parts(weights: Weights) -> dict[str, Int8]:
    scenes = rainy_scenes()
    whole = Int8(quantized_convolutions(weights, scenes), weights.digest, MADE_UP)
    kept = set(costliest_pair(weights, whole, scenes))
    shipped = only(whole, whole.convolutions.keys() - kept)
    pair = f"`{min(kept).removesuffix('.0')}`"
    parts = {pair: only(whole, kept)}
    names = [key.partition(".")[0] for key in weights.architecture.shapes()]
    for block in dict.fromkeys(name for name in names if name.startswith(("ddrb", "erpab"))):
        inside = {name for name in whole.convolutions if name.startswith(f"{block}.")}
        title = "the rest of " * bool(inside & kept) + f"`{block}`"
        parts[title] = only(whole, inside - kept)
    parts["all of these"] = whole
    parts[f"all but {pair}: the int8 form"] = shipped
    parts["the same with kernels rounded to the nearest"] = _nearest(weights, shipped)
    return parts


def _nearest(weights: Weights, form: Int8) -> Int8:
    """The form with each number of a kernel rounded on its own."""
    convolutions = dict(form.convolutions)
    for layer in build_graph(weights).get_ops():
        if (old := convolutions.get(layer.friendly_name)) is not None:
            kernel = layer.input_value(1).get_node().data * old.high[:, None, None] / 255
            whole = np.rint(kernel / old.step[:, None, None, None]).clip(-127, 127)
            convolutions[layer.friendly_name] = replace(old, kernel=whole.astype(np.int8))
    return replace(form, convolutions=convolutions)


if __name__ == "__main__":
    main()
