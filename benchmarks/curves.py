"""Draw the validation curves of trainings as one SVG, from their CSV logs, and list their results.

    python -m benchmarks.curves LABEL=RUN LABEL=RUN --output curves.svg --results results.json

Results come from the metadata of each run's last weights.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.machine import commit, cpu, libraries

from dpenet.atomic import atomic_path
from dpenet.zoo.weights import read_weights

Curve = list[tuple[int, float]]  # step, value
COLOURS = ("#0b6bcb", "#c2410c", "#15803d", "#7e22ce")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 16, 16, 44


def main() -> None:
    """Read the runs that the arguments name, and write the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("runs", nargs="+", metavar="LABEL=FOLDER")
    parser.add_argument("--column", default="val/psnr")
    parser.add_argument("--title", default="validation PSNR in dB (matlab-y)")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--results", type=Path)
    args = parser.parse_args()
    curves: dict[str, Curve] = {}
    for run in args.runs:
        label, _, folder = run.rpartition("=")
        curves[label or folder] = read_curve(Path(folder), args.column)
        baseline = read_curve(Path(folder), f"{args.column}_input")
    if baseline:
        curves["rainy input"] = [(0, baseline[-1][1]), baseline[-1]]
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.output) as temporary:
        temporary.write_text(draw(curves, args.title), encoding="utf-8")
    if args.results:
        rows = [result(*run.rpartition("=")[::2]) for run in args.runs]
        record = {
            "schema": 1,
            "commit": commit(),
            "cpu": cpu(),
            "libraries": libraries("torch", "pytorch-lightning"),
            "rows": rows,
        }
        with atomic_path(args.results) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def result(label: str, run: str) -> dict[str, Any]:
    """How long a training took, on what, and what it scored at its end."""
    metadata = read_weights(Path(run) / "last.safetensors").metadata
    return {
        "run": label or run,
        "steps": metadata["steps"],
        "patches": metadata["steps"] * metadata["batch"],
        "hours": metadata["hours"],
        **metadata["validation"],
        "validation_pictures": metadata["data"]["validation_pictures"],
        "loss": metadata["recipe"]["loss"],
    }


def read_curve(run: Path, column: str) -> Curve:
    """A column over the steps; where a resumed run did steps again, its values count."""
    values: dict[int, float] = {}
    versions = sorted(
        run.glob("csv/version_*/metrics.csv"), key=lambda p: int(p.parent.name.split("_")[1])
    )
    for path in versions:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if row.get(column):
                    # Lightning counts steps from 0.
                    values[int(row["step"]) + 1] = float(row[column])
    return sorted(values.items())


def draw(curves: dict[str, Curve], title: str) -> str:
    """The figure: axes with round ticks, a line and a label per curve."""
    steps = [step for curve in curves.values() for step, _ in curve]
    heights = [value for curve in curves.values() for _, value in curve]
    xs, ys = ticks(0, max(steps)), ticks(min(heights), max(heights))

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (step - xs[0]) / (xs[-1] - xs[0])

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - ys[0]) / (ys[-1] - ys[0])

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        *(
            f'<path d="M{LEFT} {y(v):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
            f'<text x="{LEFT - 8}" y="{y(v) + 4:.1f}" text-anchor="end">{v:g}</text>'
            for v in ys
        ),
        *(
            f'<text x="{x(s):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{s:g}</text>'
            for s in xs
        ),
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">'
        f"{escape(title)} over training steps</text>",
    ]
    for i, (label, curve) in enumerate(curves.items()):
        colour = "#666" if label == "rainy input" else COLOURS[i % len(COLOURS)]
        dash = ' stroke-dasharray="5 4"' if label == "rainy input" else ""
        points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in curve)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>'
        )
        # The key stands where rising curves and a low baseline leave room.
        row = HEIGHT // 2 + 18 * (i - len(curves) // 2)
        parts.append(
            f'<path d="M{WIDTH - 190} {row - 4}h24" stroke="{colour}" stroke-width="2"{dash}/>'
            f'<text x="{WIDTH - 158}" y="{row}">{escape(label)}: {curve[-1][1]:.2f}</text>'
        )
    return "\n".join([*parts, "</svg>", ""])


def ticks(low: float, high: float, about: int = 6) -> Sequence[float]:
    """Round numbers that enclose the range."""
    raw = max(high - low, 1e-6) / about
    power = 10.0 ** math.floor(math.log10(raw))
    size = next(power * m for m in (1, 2, 5, 10) if power * m >= raw)
    first, last = math.floor(low / size), math.ceil(high / size)
    return [round(size * i, 10) for i in range(first, max(last, first + 1) + 1)]


if __name__ == "__main__":
    main()
