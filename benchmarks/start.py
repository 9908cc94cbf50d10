"""Measure how long ``dpenet derain`` takes for one small picture, in a process of its own.

    python -m benchmarks.start

For each model and precision a first process fills the cache of compiled networks and is not
counted. The network alone is timed in this process, warm, on the same picture and by turns with the
others. Writes ``benchmarks/results/start.json``; it takes about two minutes on two cores, and
nothing else should run meanwhile.
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
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from benchmarks.speed import OWN
from PIL import Image

from dpenet.atomic import atomic_path
from dpenet.inference.benchmark import in_turns
from dpenet.inference.derainer import Derainer
from dpenet.media.images import read_picture

RESULTS = REPOSITORY / "benchmarks" / "results" / "start.json"
PHOTO = min((REPOSITORY / "examples").glob("*.jpg"))
SCHEMA = 1
WIDTH, HEIGHT = 160, 120
PRECISIONS = ("fp32", "int8")


def main() -> None:
    """Measure what the arguments name, and write the results."""
    args = _arguments()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder, "small.png")
        Image.open(PHOTO).crop((0, 0, WIDTH, HEIGHT)).save(picture)
        for model in args.model or OWN:
            for precision in PRECISIONS:
                rows.append(measure(model, precision, picture, args.turns))
                print(json.dumps(rows[-1]), flush=True)
    record = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "threads": os.cpu_count(),
        "libraries": libraries("numpy", "openvino", "pyvips"),
        "python": platform.python_version(),
        "protocol": f"medians of {args.turns} turns after one that fills the cache; a new process "
        "and the network alone alternate",
        "width": WIDTH,
        "height": HEIGHT,
        "rows": rows,
    }
    with atomic_path(args.output) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--model", action="append", help=f"name in the model table; default {', '.join(OWN)}"
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def measure(model: str, precision: str, picture: Path, turns: int) -> dict[str, Any]:
    """Seconds of the clock for a picture: of a new process, and of the network alone."""
    command = [sys.executable, "-m", "dpenet", "derain", str(picture), "--overwrite"]
    command += ["--model", model, "--precision", precision]
    derainer = Derainer(model, precision=precision)
    pixels = read_picture(picture).pixels
    times = in_turns(
        {
            "start": lambda: subprocess.run(command, capture_output=True, check=True),
            "network": lambda: derainer.derain_pixels(pixels),
        },
        turns,
    )
    start, network = (statistics.median(times[name]) for name in ("start", "network"))
    return {
        "model": model,
        "precision": precision,
        "turns": turns,
        "start_seconds": round(start, 3),
        "network_seconds": round(network, 3),
        "beyond_seconds": round(start - network, 3),
    }


if __name__ == "__main__":
    main()
