"""Draw what benchmarks/speed.py measured.

python -m benchmarks.speed_figures
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import REPOSITORY

from dpenet.metrics import DEFAULT_PROTOCOL

RESULTS = REPOSITORY / "benchmarks" / "results"
FIGURES = REPOSITORY / "docs" / "images"
# Which sets a model is scored on, as (model, set): the published checkpoints each on its own.
PUBLISHED = (("rain100h", "Rain100H"), ("rain100l", "Rain100L"))
_NAMES = {"rain100h": "published checkpoints"}
_COLOURS = {
    "rain100h": "#0b6bcb",
    "universal": "#c2410c",
    "universal-light": "#15803d",
    "universal-nano": "#7e22ce",
}
_MARKERS = {"fp32": "o", "bf16": "s", "int8": "^"}


def draw(record: dict[str, Any], folder: Path) -> None:
    """Write speed-time.svg, speed-memory.svg and speed-accuracy.svg."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "dpenet", "axes.spines.top": False})
    mpl.rcParams.update({"axes.spines.right": False, "font.size": 9})
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    for name, plot in {"time": _time, "memory": _memory, "accuracy": _accuracy}.items():
        figure, axis = plt.subplots(figsize=(5.4, 3.7), layout="constrained")
        plot(axis, record)
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        figure.savefig(folder / f"speed-{name}.svg", metadata={"Date": None})
        plt.close(figure)


def _time(axis: Any, record: dict[str, Any]) -> None:
    for label, style, rows in _lines(record):
        axis.plot(*zip(*[(m, s) for m, s, _ in rows], strict=True), label=label, **style)
    axis.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="seconds")
    _finish(axis)


def _memory(axis: Any, record: dict[str, Any]) -> None:
    for label, style, rows in _lines(record):
        points = [(m, b / 1e9) for m, _, b in rows if b is not None]
        if points:
            axis.plot(*zip(*points, strict=True), label=label, **style)
    axis.set(xscale="log", xlabel="megapixels", ylabel="peak memory, GB")
    axis.set_ylim(bottom=0)
    _finish(axis)


def _lines(
    record: dict[str, Any],
) -> list[tuple[str, dict[str, Any], list[tuple[float, float, int | None]]]]:
    """Label, style, and (megapixels, seconds, bytes) of each line."""
    full = record["rows"][0]["model"]
    wanted = {
        ("contiguous_format", "fp32"): ("PyTorch, eager fp32", "#666", "o"),
        (None, "fp32"): ("dpenet fp32", _COLOURS[full], "o"),
        (None, "bf16"): ("dpenet bf16", _COLOURS[full], "s"),
        (None, "int8"): ("dpenet int8", _COLOURS[full], "^"),
    }
    lines = []
    for (layout, precision), (label, colour, marker) in wanted.items():
        rows = [
            (r["width"] * r["height"] / 1e6, r["milliseconds"] / 1000, r["peak_memory"])
            for r in record["rows"]
            if (r["model"], r["layout"], r["precision"]) == (full, layout, precision)
            and "unavailable" not in r
        ]
        if rows:
            lines.append((f"full network, {label}", _style(colour, marker), rows))
    sweep = record["sweep"]
    rows = [(r["megapixels"], r["seconds"], r["peak_memory"]) for r in sweep["rows"]]
    if rows:
        precision, model = sweep["rows"][0]["precision"], sweep["model"]
        label = f"{model}, dpenet {precision}, memory {sweep['memory']}"
        lines.append((label, _style(_COLOURS[model], "D"), rows))
    return lines


def _style(colour: str, marker: str) -> dict[str, Any]:
    return {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}


def _accuracy(axis: Any, record: dict[str, Any]) -> None:
    quality = json.loads((RESULTS / "quality.json").read_text())["rows"]
    scores = {
        (q["model"], q["dataset"], q["precision"]): q["psnr"]
        for q in quality
        if q["protocol"] == DEFAULT_PROTOCOL
    }
    widest = max(row["width"] for row in record["rows"])
    named = set()
    for row in record["rows"]:
        model, precision = row["model"], row["precision"]
        eager = row["layout"] == "contiguous_format"
        if row["width"] != widest or "unavailable" in row or (row["layout"] and not eager):
            continue
        sets = PUBLISHED if model == PUBLISHED[0][0] else [(model, s) for _, s in PUBLISHED]
        found = [scores.get((name, dataset, precision)) for name, dataset in sets]
        if None in found:
            continue
        point = row["megapixels_per_second"], sum(filter(None, found)) / len(found)
        label = _NAMES.get(model, model) + (", eager PyTorch" if eager else "")
        colour = "#666" if eager else _COLOURS[model]
        known = label in named
        axis.plot(*point, _MARKERS[precision], color=colour, label=None if known else label)
        axis.annotate(precision, point, xytext=(5, 4), textcoords="offset points", fontsize=8)
        named.add(label)
    axis.set(xscale="log", xlabel="megapixels per second, 1920 x 1080")
    axis.set_ylabel("PSNR in dB, mean of Rain100H and L")
    axis.margins(0.15)
    _finish(axis)


def _finish(axis: Any) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    for one in (axis.xaxis, axis.yaxis):
        if one.get_scale() == "log":
            one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            one.set_minor_formatter(NullFormatter())
    axis.grid(visible=True, color="#ddd", linewidth=0.6)
    axis.set_axisbelow(True)


if __name__ == "__main__":
    draw(json.loads((RESULTS / "speed.json").read_text()), FIGURES)
