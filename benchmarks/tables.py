"""Write the tables of README and docs from the measured figures.

    python -m benchmarks.tables            # rewrite what stands between the markers
    python -m benchmarks.tables --check    # fail if something stands there that was not measured

A table stands between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from benchmarks import halo, load
from benchmarks.machine import REPOSITORY
from benchmarks.speed_tables import (
    ABSENT,
    NOT_YET,
    balance_sentence,
    claims_table,
    dilation_sentence,
    folder_steps_table,
    folder_table,
    large_table,
    layers_table,
    speed_table,
    start_sentence,
)
from benchmarks.video_tables import video_table

from dpenet.metrics import DEFAULT_PROTOCOL
from dpenet.zoo import get_card, list_models, load_weights

PAGES = (
    "README.md",
    "docs/evaluation.md",
    "docs/large_pictures.md",
    "docs/performance.md",
    "docs/quantization.md",
    "docs/rain.md",
    "docs/server.md",
    "docs/training.md",
    "docs/universal.md",
    "docs/video.md",
)
RESULTS = REPOSITORY / "benchmarks" / "results"


def models_table() -> str:
    """PSNR and SSIM of every model on every benchmark, under the default protocol."""
    measured = {pair: f"{row['psnr']:.2f} / {row['ssim']:.4f}" for pair, row in _quality().items()}
    datasets = list(dict.fromkeys(dataset for _, dataset in measured))
    lines = [["model", *datasets], ["---"] * (1 + len(datasets))]
    for model in ("input", *list_models()):
        scores = [measured.get((model, dataset), ABSENT) for dataset in datasets]
        lines.append([f"`{model}`" if model != "input" else "*no deraining*", *scores])
    return _table(lines)


def _quality() -> dict[tuple[str, str], dict[str, Any]]:
    """What was measured, under the default protocol and in full precision: by model and set."""
    return {
        (row["model"], row["dataset"]): row
        for row in json.loads((RESULTS / "quality.json").read_text())["rows"]
        if row["protocol"] == DEFAULT_PROTOCOL and row["precision"] in ("fp32", "none")
    }


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


def rainfit_table() -> str:
    """Statistics of the rain of others and of ours."""
    record = json.loads((RESULTS / "rainfit.json").read_text())
    columns = {
        "psnr": "PSNR, dB", "mean": "mean", "spread": "deviation", "skew": "skewness",
        "along": "length, px", "across": "across", "angle": "lean, degrees",
    }  # fmt: skip
    lines = [["rain", "pictures", *columns.values()], ["---"] * (2 + len(columns))]
    for name, row in record["sets"].items():
        # Of one picture, all percentiles are the same.
        cells = [" / ".join(dict.fromkeys(map(_short, row[column]))) for column in columns]
        lines.append([name, str(row["pictures"]), *cells])
    angles = record["real_rain_angles"]
    low, middle, high = angles[0], angles[len(angles) // 2], angles[-1]
    leans = " / ".join(map(_short, (low, middle, high)))
    lines.append(["real rain (least / median / most)", str(len(angles)), *[""] * 6, leans])
    return _table(lines)


def load_table() -> str:
    """The service under load."""
    return load.table(json.loads((RESULTS / "load.json").read_text()))


def comparison_table() -> str:
    """Every model on everything at hand: pairs, photos in rain of ours, dry photos, real rain."""
    unseen = json.loads((RESULTS / "unseen.json").read_text())["rows"]
    found = _quality()
    pairs = list(dict.fromkeys(dataset for _, dataset in found))
    found |= {(row["model"], row["set"]): row for row in unseen}
    rainy = [*pairs, "light rain", "heavy rain", "foggy rain"]
    lines = [["model", *rainy, "no rain: mean / least", "real rain: residue left"]]
    lines.append(["---"] * len(lines[0]))
    for model in ("input", *list_models()):
        rows = [found.get((model, name)) for name in rainy]
        cells = [f"{row['psnr']:.2f}" if row else ABSENT for row in rows]
        clean, real = (found.get((model, name)) for name in ("no rain", "real rain"))
        absent = "" if model == "input" else ABSENT
        cells.append(f"{clean['psnr']:.1f} / {clean['least_psnr']:.1f}" if clean else absent)
        cells.append(f"{100 * real['residue_left']:.0f} %" if real else absent)
        lines.append([f"`{model}`" if model != "input" else "*no deraining*", *cells])
    return _table(lines)


def flicker_table() -> str:
    """Clips derained frame by frame and steadied."""
    rows = json.loads((RESULTS / "flicker.json").read_text())["rows"]
    found = {(row["clip"], row["method"]): row for row in rows}
    names = {"psnr": "PSNR, dB", "psnr_moving": "PSNR of what moves, dB", "flicker": "flicker"}
    lines = [["clip", *names.values()], ["---"] * 4]
    for clip in dict.fromkeys(row["clip"] for row in rows):
        single, steady = found[clip, "frame by frame"], found[clip, "temporal"]
        cells = [
            f"{single[name]:.2f} → {steady[name]:.2f}" if name in single else "" for name in names
        ]
        lines.append([clip, *cells])
    return _table(lines)


def flicker_cost() -> str:
    """What the filter costs beside the network."""
    spent = json.loads((RESULTS / "flicker.json").read_text())["cost"]
    return (
        f"For a million pixels the filter took {spent['filter']:.1f} s of one core, "
        f"the network {spent['network']:.1f} s in fp32."
    )


def halo_table() -> str:
    """How wide a halo 8-bit results need in each precision, and which one is used."""
    rows = halo.read_rows()
    heads = ["model", "receptive field"]
    heads += [f"{name}: {what}" for name in halo.PRECISIONS for what in ("enough", "used")]
    lines = [heads, ["---", *["---:"] * 5]]
    for model in list_models():
        card = get_card(model)
        field = card.architecture.receptive_field
        used = load_weights(model).metadata["halo_8bit"] if card.embedded else card.halo_8bit
        cells = []
        for precision in halo.PRECISIONS:
            tried = [r for r in rows if (r["model"], r["precision"]) == (model, precision)]
            cells.append(str(halo.enough(tried) or field) if tried else ABSENT)
            cells.append(str((used or {}).get(precision, field)))
        lines.append([f"`{model}`", str(field), *cells])
    return _table(lines)


def quantization_table() -> str:
    """What int8 costs, part by part of each network."""
    path = RESULTS / "quantization.json"
    if not path.exists():
        return NOT_YET
    rows = json.loads(path.read_text())["rows"]
    parts = []
    for model in dict.fromkeys(row["model"] for row in rows):
        lines = [[f"`{model}`, in int8", "convolutions", "PSNR against fp32"]]
        lines.append(["---", "---:", "---:"])
        lines += [
            [row["int8"], str(row["convolutions"]), _decibels(row["psnr"])]
            for row in rows
            if row["model"] == model
        ]
        parts.append(_table(lines))
    return "\n\n".join(parts)


def blocks_table() -> str:
    """What each block of each network is worth, and what it gets to look at."""
    path = RESULTS / "blocks.json"
    if not path.exists():
        return NOT_YET
    rows = json.loads(path.read_text())["rows"]
    found = {(row["model"], row["block"]): row for row in rows}
    models = [model for model in list_models() if any(row["model"] == model for row in rows)]
    lines = [["PSNR without it; channels in", *(f"`{model}`" for model in models)]]
    lines.append(["---", *["---:"] * len(models)])
    for kind in ("ddrb", "erpab"):
        names = {row["block"] for row in rows if row["block"].startswith(kind)}
        for name in sorted(names, key=lambda name: int(name.removeprefix(kind))):
            of_models = [found.get((model, name)) for model in models]
            cells = [
                f"{_decibels(row['psnr_without'])}; {row['rank']:.1f}" if row else ""
                for row in of_models
            ]
            lines.append([f"`{name}`", *cells])
    return _table(lines)


def _decibels(value: float | None) -> str:
    return "equal" if value is None else f"{value:.2f} dB"


def _short(value: float) -> str:
    return f"{value:.3g}"


def worse_list() -> str:
    """Which pairs come out of the models of our own worse than they went in."""
    quality = _quality()
    lines = ["Pairs that come out worse than they went in, the worst first:", ""]
    for model in (name for name in list_models() if get_card(name).embedded):
        worse = {
            dataset: (row["worse"], row["pairs"])
            for (measured, dataset), row in quality.items()
            if measured == model and "worse" in row
        }
        sets = [
            f"{len(names)} of {pairs} of {dataset}" + f" ({', '.join(names)})" * bool(names)
            for dataset, (names, pairs) in worse.items()
        ]
        lines.append(f"- `{model}`: {'; '.join(sets) or NOT_YET}")
    return "\n".join(lines)


def _table(lines: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TABLES: dict[str, Callable[[], str]] = {
    "balance": balance_sentence,
    "blocks": blocks_table,
    "claims": claims_table,
    "comparison": comparison_table,
    "dilation": dilation_sentence,
    "flicker": flicker_table,
    "flicker-cost": flicker_cost,
    "folder": folder_table,
    "folder-steps": folder_steps_table,
    "halo": halo_table,
    "large": large_table,
    "layers": layers_table,
    "load": load_table,
    "models": models_table,
    "quantization": quantization_table,
    "rainfit": rainfit_table,
    "short": short_table,
    "speed": speed_table,
    "start": start_sentence,
    "training": training_table,
    "video": video_table,
    "worse": worse_list,
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
