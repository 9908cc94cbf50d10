"""Measure models on the benchmark folders; the figures in the model table come from here.

    python -m benchmarks.quality --model rain100h --model rain100l --dataset Rain100H
    python -m benchmarks.quality --weights ../shared/reference/weights     # all five, by file
    python -m benchmarks.quality --model universal --precision fp32,int8

For int8 the model needs its form (``dpenet models quantize``). Rows of
``benchmarks/results/quality.json`` for models, data sets and precisions that were not named stay as
they are, and ``src/dpenet/zoo/scores.json`` is made anew from all of them. The figures are ours:
means over the pairs in the folder, which for Rain100H and Rain100L are the first 50 of 100.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY, commit, cpu, libraries

from dpenet.atomic import atomic_path
from dpenet.evaluation.evaluate import INPUT, Evaluation, Method, Row, evaluate, model_method
from dpenet.evaluation.report import evaluation_page
from dpenet.metrics import DEFAULT_PROTOCOL, PROTOCOLS

RESULTS = REPOSITORY / "benchmarks" / "results" / "quality.json"
SCORES = REPOSITORY / "src" / "dpenet" / "zoo" / "scores.json"
DATASETS = ("Rain100H", "Rain100L", "Rain1200_samples")
SCHEMA = 1
KEY = ("model", "dataset", "protocol", "precision")


def main() -> None:
    """Measure what the arguments name, and write both files."""
    args = _arguments()
    folder = args.data / "benchmarks"
    datasets = args.dataset or [name for name in DATASETS if (folder / name).is_dir()]
    for precision in args.precision.split(","):
        methods = [model_method(model, precision, args.threads) for model in args.model]
        for path in args.weights:
            for file in sorted(path.glob("*.pth")) if path.is_dir() else [path]:
                made = model_method(file, precision, args.threads)
                # The model table names those files in small letters.
                methods.append(Method(made.name.lower(), made.run, made.precision))
        for dataset in datasets:
            _measure(folder / dataset, methods, args)


def _measure(root: Path, methods: Sequence[Method], args: argparse.Namespace) -> None:
    dataset = root.name
    found = evaluate(root, methods, protocol=args.protocol, on_picture=_tell)
    if found.failures:
        raise SystemExit(f"{dataset}: {found.failures[0].error}")
    # Read anew, for another run may have written meanwhile.
    rows = {_key(row): row for row in [*_read().get("rows", []), *_rows(found, dataset)]}
    _write(list(rows.values()))
    for method in found.methods:
        print(dataset, method, *found.mean(method))
    if args.report:
        page = args.report / dataset / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(evaluation_page(found, methods), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    home = Path(os.environ.get("DPENET_TEST_DATA", REPOSITORY.parent / "shared"))
    parser.add_argument("--data", type=Path, default=home, help="folder that holds benchmarks/")
    parser.add_argument("--dataset", action="append", help=f"of benchmarks/; {DATASETS}")
    parser.add_argument(
        "--model", action="append", default=[], help="name in the model table, or a file"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        action="append",
        default=[],
        help="a published .pth file, or the folder of them",
    )
    parser.add_argument("--threads", type=int, help="of the processor; default all")
    parser.add_argument("--report", type=Path, help="folder for a page per data set")
    parser.add_argument("--precision", default="fp32", help="one, or several with commas")
    parser.add_argument("--protocol", default=DEFAULT_PROTOCOL, choices=PROTOCOLS)
    return parser.parse_args()


def _tell(name: str, rows: Sequence[Row]) -> None:
    print(name, *(f"{row.method} {row.score.psnr:.2f}" for row in rows if row.score), flush=True)


def _rows(found: Evaluation, dataset: str) -> list[dict[str, Any]]:
    return [
        {
            "model": method,
            "dataset": dataset,
            "protocol": found.protocol,
            "precision": found.precisions[method] or "none",
            "psnr": round(found.mean(method).psnr, 4),
            "ssim": round(found.mean(method).ssim, 5),
            "pairs": len(found.scores(method)),
            "worse": [name for name, gain in found.gains(method).items() if gain < 0],
            "commit": commit(),
        }
        for method in found.methods
    ]


def _key(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in KEY)


def _read() -> dict[str, Any]:
    record: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if record.get("schema", SCHEMA) != SCHEMA:
        raise SystemExit(f"{RESULTS} has schema {record['schema']}, this script writes {SCHEMA}")
    return record


def _write(rows: list[dict[str, Any]]) -> None:
    order = {name: i for i, name in enumerate(DATASETS)}
    rows.sort(
        key=lambda r: (order.get(r["dataset"], 99), r["protocol"], r["model"] != INPUT, r["model"])
    )
    measured = commit()
    record = {
        "schema": SCHEMA,
        "commit": measured,
        "cpu": cpu(),
        "libraries": libraries("numpy", "openvino", "pillow"),
        "python": platform.python_version(),
        "protocols": {name: p.title for name, p in PROTOCOLS.items()},
        "rows": rows,
    }
    kept = ("model", "dataset", "protocol", "psnr", "ssim", "pairs", "precision")
    scores = {
        "schema": SCHEMA,
        "commit": measured,
        "rows": [{name: row[name] for name in kept} for row in rows],
    }
    for path, content in ((RESULTS, record), (SCORES, scores)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
