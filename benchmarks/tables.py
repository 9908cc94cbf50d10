"""Write the tables of README and docs from the measured figures.

    python -m benchmarks.tables            # rewrite what stands between the markers
    python -m benchmarks.tables --check    # fail if something stands there that was not measured

A table stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from benchmarks.machine import REPOSITORY

from dpenet.metrics import DEFAULT_PROTOCOL
from dpenet.zoo import list_models

PAGES = ("README.md", "docs/evaluation.md", "docs/training.md")
RESULTS = REPOSITORY / "benchmarks" / "results"


def models_table() -> str:
    """PSNR and SSIM of every model on every benchmark, under the default protocol."""
    quality = json.loads((RESULTS / "quality.json").read_text())
    measured = {
        (row["model"], row["dataset"]): f"{row['psnr']:.2f} / {row['ssim']:.4f}"
        for row in quality["rows"]
        if row["protocol"] == DEFAULT_PROTOCOL and row["precision"] in ("fp32", "none")
    }
    datasets = list(dict.fromkeys(dataset for _, dataset in measured))
    lines = [["model", *datasets], ["---"] * (1 + len(datasets))]
    for model in ("input", *list_models()):
        scores = [measured.get((model, dataset), "not measured") for dataset in datasets]
        lines.append([f"`{model}`" if model != "input" else "*no deraining*", *scores])
    return _table(lines)


def short_table() -> str:
    """What the short trainings cost and gained."""
    lines = [["loss", "patches", "minutes", "rainy", "derained", "gain"], ["---"] * 6]
    for row in json.loads((RESULTS / "short.json").read_text())["rows"]:
        before = f"{row['psnr_input']:.2f} dB / {row['ssim_input']:.4f}"
        after = f"{row['psnr']:.2f} dB / {row['ssim']:.4f}"
        gain = f"{row['psnr'] - row['psnr_input']:+.2f} dB"
        minutes = f"{60 * row['hours']:.0f}"
        lines.append([row["run"], f"{row['patches']:,}", minutes, before, after, gain])
    return _table(lines)


def training_table() -> str:
    """Patches per second of our training step and of the plain loop."""
    record = json.loads((RESULTS / "training.json").read_text())
    lines = [["loop", "patch", "batch", "precision", "patches/s", "times plain"], ["---"] * 6]
    for row in record["rows"]:
        times = f"{row['times_plain']:.2f}" if "times_plain" in row else ""
        pace = f"{row['patches_per_second']:.1f}"
        cells = [row["loop"], row["patch"], row["batch"], row.get("precision", ""), pace, times]
        lines.append([str(cell) for cell in cells])
    machine = f"{record['cpu']['cores']} cores ({', '.join(record['cpu']['flags'])})"
    claims = "".join(f"\n\n{claim['claim']}: {claim['verdict']}." for claim in record["claims"])
    return f"On {machine}:\n\n{_table(lines)}{claims}"


def _table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "models": models_table,
    "short": short_table,
    "training": training_table,
}


def filled(page: str) -> str:
    """The page with every table made anew."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, found, rest = page.partition(begin)
        if found:  # a table is only made for a page that has a place for it
            page = f"{before}{begin}\n{table()}\n{end}{rest.partition(end)[2]}"
    return page


def main() -> None:
    """Rewrite the pages, or check them."""
    for name in PAGES:
        path = REPOSITORY / name
        page = path.read_text(encoding="utf-8")
        if filled(page) == page:
            continue
        if "--check" in sys.argv:
            raise SystemExit(f"{name} has a stale table; run: python -m benchmarks.tables")
        path.write_text(filled(page), encoding="utf-8")


if __name__ == "__main__":
    main()
