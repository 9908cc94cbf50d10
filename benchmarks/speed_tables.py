"""The tables of docs/performance.md, from the measured figures."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.machine import REPOSITORY
from benchmarks.speed_figures import PUBLISHED

from dpenet.metrics import DEFAULT_PROTOCOL

RESULTS = REPOSITORY / "benchmarks" / "results"
NOT_YET = "Not measured yet."
# How much lower than fp32 a precision may score, in dB.
MOST_LOST = {"bf16": 0.05, "int8": 0.10}
# What 100 megapixels may take: bytes, and times as long for each as those of a small picture.
LARGE_BYTES, LARGE_TIMES = 2_000_000_000, 1.3


def speed_table() -> str:
    """Every variant at every size."""
    if not (RESULTS / "speed.json").exists():
        return NOT_YET
    record = _read("speed")
    parts = [_machine(record)]
    for width, height in dict.fromkeys((r["width"], r["height"]) for r in record["rows"]):
        lines = [
            [f"{width} x {height}", "model", "ms", "MP/s", "memory", "GFLOP/s", "of peak", "times"],
            ["---", "---", *["---:"] * 6],
        ]
        for row in record["rows"]:
            if (row["width"], row["height"]) != (width, height):
                continue
            start = [row["label"], f"`{row['model']}`"]
            if "unavailable" in row:
                lines.append([*start, "not available here", *[""] * 5])
                continue
            share, times = row.get("share_of_peak"), row.get("times_eager")
            lines.append(
                [
                    *start,
                    f"{row['milliseconds']:,.0f}",
                    f"{row['megapixels_per_second']:.3f}",
                    "" if row["peak_memory"] is None else f"{row['peak_memory'] / 1e9:.2f} GB",
                    f"{row['gflops']:.1f}",
                    "" if share is None else f"{share:.0%}",
                    "" if times is None else f"{times:.2f}",
                ]
            )
        parts.append(table(lines))
    return "\n\n".join(parts)


def folder_table() -> str:
    """Folders of small pictures against the engine alone."""
    record = _read("folder")
    head = ["model", "precision", "engine alone", "folder", "share", "processor time", "share"]
    rows = [
        [
            f"`{row['model']}`",
            row["precision"],
            f"{row['engine_ms']:.1f} ms",
            f"{row['folder_ms']:.1f} ms",
            f"{row['share']:.0%}",
            f"{row['engine_cpu_ms']:.1f} of {row['folder_cpu_ms']:.1f} ms",
            f"{row['cpu_share']:.0%}",
        ]
        for row in record["rows"]
    ]
    lines = [head, ["---", "---", *["---:"] * 5], *rows]
    cpu = record["cpu"]
    return f"{cpu['model']}, {cpu['cores']} cores ({', '.join(cpu['flags'])}).\n\n{table(lines)}"


def folder_steps_table() -> str:
    """Where the processor's time goes in a folder of small pictures."""
    rows = _read("folder")["rows"]
    lines = [["", *(f"`{row['model']}` {row['precision']}" for row in rows)]]
    lines.append(["---", *["---:"] * len(rows)])
    lines += [
        [step, *(f"{row['steps_cpu_ms'][step]:.2f} ms" for row in rows)]
        for step in rows[0]["steps_cpu_ms"]
    ]
    return table(lines)


def large_table() -> str:
    """Pictures beyond the memory that is allowed."""
    head = ["model", "precision", "tiles", "pixels computed", "peak of resident memory"]
    head += ["seconds per megapixel", "against 2 megapixels", "differing around tiles' corners"]
    lines = [head, ["---", "---", *["---:"] * 6]]
    record = _read("large")
    for row in record["rows"]:
        down, across = row["tiles"]
        lines.append(
            [
                f"`{row['model']}`",
                row["precision"],
                f"{down} x {across}",
                f"{row['computed']:.2f} times",
                f"{row['peak_bytes'] / 1e9:.2f} GB",
                f"{row['cpu_seconds_per_megapixel']:.2f}",
                f"{row['cpu_ratio_to_2_megapixels']:.2f} times",
                f"{row['differing']:,} of {row['compared']:,}",
            ]
        )
    return table(lines)


def claims_table() -> str:
    """What is claimed of speed and accuracy, and whether it was verified."""
    if not (RESULTS / "speed.json").exists():
        return NOT_YET
    record = _read("speed")
    lines = [["claim", "measured", "verdict"], ["---", "---:", "---"]]
    for claim in record["claims"]:
        measured = f"{claim['measured']:.2f} times" if "measured" in claim else ""
        lines.append([claim["claim"], measured, claim["verdict"]])
    for precision, most in MOST_LOST.items():
        claim = (
            f"{precision} scores at most {most:.2f} dB below fp32, mean of both benchmark halves"
        )
        lost = lost_decibels(precision)
        if lost is None:
            lines.append([claim, "", "not verified: not measured"])
        else:
            verdict = "verified" if round(lost, 4) <= most else "false"
            lines.append([claim, f"{-lost:+.3f} dB", verdict])
    for row in _read("large")["rows"]:
        times, taken = row["cpu_ratio_to_2_megapixels"], row["peak_bytes"]
        megapixels = row["width"] * row["height"] / 1e6
        claim = (
            f"{megapixels:.0f} megapixels, `{row['model']}` in {row['precision']}: less than "
            f"{LARGE_BYTES / 1e9:g} GB, at most {LARGE_TIMES} times the time per megapixel of 2, "
            "equal to the picture in one piece where compared"
        )
        holds = taken < LARGE_BYTES and times <= LARGE_TIMES and not row["differing"]
        measured = f"{taken / 1e9:.2f} GB, {times:.2f} times, {row['differing']} differ"
        lines.append([claim, measured, "verified" if holds else "false"])
    return table(lines)


def lost_decibels(precision: str) -> float | None:
    """How much less the published checkpoints score than in fp32; None if not measured."""
    scores = {
        (row["model"], row["dataset"], row["precision"]): row["psnr"]
        for row in _read("quality")["rows"]
        if row["protocol"] == DEFAULT_PROTOCOL
    }
    if any((*pair, precision) not in scores for pair in PUBLISHED):
        return None
    lost = sum(scores[*pair, "fp32"] - scores[*pair, precision] for pair in PUBLISHED)
    return float(lost) / len(PUBLISHED)


def layers_table() -> str:
    """Where the time goes, before and after."""
    if not (RESULTS / "layers.json").exists():
        return NOT_YET
    record = _read("layers")
    before, after = record["milliseconds"].values()
    peak = record["peaks"]["fp32"]
    head = ["", *record["milliseconds"], "GFLOP/s", "of peak"]
    lines = [head, ["---", *["---:"] * 4]]
    for kind in before | after:
        cells = [
            f"{times[kind]:,.0f} ms ({times[kind] / sum(times.values()):.0%})"
            if kind in times
            else ""
            for times in (before, after)
        ]
        work = record["gigaoperations"].get(kind)
        if work and kind in after:
            pace = work / after[kind] * 1000
            cells += [f"{pace:.0f}", f"{pace / peak:.0%}"]
        lines.append([kind, *cells, *[""] * (4 - len(cells))])
    totals = [f"**{sum(times.values()):,.0f} ms**" for times in (before, after)]
    work = sum(record["gigaoperations"].values())
    pace = work / sum(after.values()) * 1000
    lines.append(["**all**", *totals, f"**{pace:.0f}**", f"**{pace / peak:.0%}**"])
    size = f"One picture of {record['width']} x {record['height']}, `{record['model']}`"
    return f"{size}. {_machine(record)}\n\n{table(lines)}"


def _machine(record: dict[str, Any]) -> str:
    flags = ", ".join(record["cpu"]["flags"])
    peaks = ", ".join(f"{v:.0f} GFLOP/s {k}" for k, v in record["peaks"].items() if k != "memory")
    return (
        f"{record['cpu']['model']}, {record['threads']} cores ({flags}). "
        f"Measured peaks: {peaks}, {record['peaks']['memory']:.0f} GB/s of memory."
    )


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def table(lines: list[list[str]]) -> str:
    """Rows of Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
