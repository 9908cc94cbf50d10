"""The tables and sentences of docs/performance.md, from the measured figures."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.machine import REPOSITORY
from benchmarks.speed_figures import PUBLISHED

from dpenet.metrics import DEFAULT_PROTOCOL
from dpenet.zoo import get_card

RESULTS = REPOSITORY / "benchmarks" / "results"
NOT_YET = "Not measured yet."
ABSENT = "not measured"
# How much lower than fp32 a precision may score, in dB.
MOST_LOST = {"bf16": 0.05, "int8": 0.10}
# What 100 megapixels may take: bytes, and times as long for each as those of a small picture.
LARGE_BYTES, LARGE_TIMES = 2_000_000_000, 1.3
# What a folder of small pictures is to reach of the engine's own throughput.
FOLDER = {"model": "universal-light", "precision": "int8", "side": 128}
FOLDER_PICTURES, FOLDER_SHARE = 2000, 0.85
# What a new process may take for a small picture beyond the network's own time.
START_SECONDS = 1.5
# The engines of layers.json with the precision of ours, and what a kind of layer is called there.
ENGINES = {"PyTorch fp32, eager": None, "dpenet fp32": "fp32", "dpenet int8": "int8"}
DILATED = "convolutions 3x3, dilation {}"


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
    head = ["model", "precision", "pictures", "engine alone", "folder", "share"]
    head += ["processor time", "share"]
    rows = [
        [
            f"`{row['model']}`",
            row["precision"],
            f"{row['pictures']:,}",
            f"{row['engine_ms']:.1f} ms",
            f"{row['folder_ms']:.1f} ms",
            f"{row['share']:.0%}",
            f"{row['engine_cpu_ms']:.1f} of {row['folder_cpu_ms']:.1f} ms",
            f"{row['cpu_share']:.0%}",
        ]
        for row in record["rows"]
    ]
    lines = [head, ["---", "---", *["---:"] * 6], *rows]
    return f"{_processor(record['cpu'])}.\n\n{table(lines)}"


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
    head += ["differing in a complete picture"]
    lines = [head, ["---", "---", *["---:"] * 7]]
    record = _read("large")
    for row in record["rows"]:
        down, across = row["tiles"]
        complete = ABSENT
        if found := row.get("complete"):
            complete = (
                f"{found['differing']:,} of {found['compared']:,}, "
                f"{' x '.join(map(str, found['tiles']))} tiles"
            )
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
                complete,
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
            lines.append([claim, "", f"not verified: {ABSENT}"])
        else:
            verdict = "verified" if round(lost, 4) <= most else "false"
            lines.append([claim, f"{-lost:+.3f} dB", verdict])
    lines += map(_large_claim, _read("large")["rows"])
    lines.append(_folder_claim())
    if (RESULTS / "start.json").exists():
        lines.append(_start_claim())
    return table(lines)


def _large_claim(row: dict[str, Any]) -> list[str]:
    times, taken = row["cpu_ratio_to_2_megapixels"], row["peak_bytes"]
    megapixels = row["width"] * row["height"] / 1e6
    claim = (
        f"{megapixels:.0f} megapixels, `{row['model']}` in {row['precision']}: less than "
        f"{LARGE_BYTES / 1e9:g} GB, at most {LARGE_TIMES} times the time per megapixel of 2, equal "
        "to the picture in one piece: around corners of tiles, and everywhere in a smaller one"
    )
    complete = row.get("complete")
    differing = row["differing"] + (complete["differing"] if complete else 0)
    measured = f"{taken / 1e9:.2f} GB, {times:.2f} times, {differing} differ"
    if taken >= LARGE_BYTES or times > LARGE_TIMES or differing:
        return [claim, measured, "false"]
    return [claim, measured, "verified" if complete else "not verified: only corners compared"]


def _folder_claim() -> list[str]:
    side = FOLDER["side"]
    claim = (
        f"a folder of {FOLDER_PICTURES:,} pictures of {side} x {side}, `{FOLDER['model']}` in "
        f"{FOLDER['precision']}, file to file: at least {FOLDER_SHARE:.0%} of the engine's own "
        "throughput"
    )
    row = next((row for row in _read("folder")["rows"] if row.items() >= FOLDER.items()), None)
    if row is None:
        return [claim, "", f"not verified: {ABSENT}"]
    verdict = "verified" if row["share"] >= FOLDER_SHARE else "false"
    if row["pictures"] < FOLDER_PICTURES:
        verdict = f"not verified: {row['pictures']:,} pictures"
    return [claim, f"{row['share']:.1%}", verdict]


def _start_claim() -> list[str]:
    record = _read("start")
    claim = (
        f"cold start, `dpenet derain` of one picture of {record['width']} x {record['height']}: "
        f"under {START_SECONDS:g} s beyond the model's own time once cached"
    )
    longest = max(row["beyond_seconds"] for row in record["rows"])
    verdict = "verified" if longest < START_SECONDS else "false"
    return [claim, f"{longest:.2f} s", verdict]


def start_sentence() -> str:
    """What the first picture of a process takes."""
    if not (RESULTS / "start.json").exists():
        return NOT_YET
    record = _read("start")
    start, beyond = (
        " to ".join(
            dict.fromkeys(f"{f(row[name] for row in record['rows']):.2f}" for f in (min, max))
        )
        for name in ("start_seconds", "beyond_seconds")
    )
    models = ", ".join(dict.fromkeys(f"`{row['model']}`" for row in record["rows"]))
    precisions = " and ".join(dict.fromkeys(row["precision"] for row in record["rows"]))
    return (
        f"On {_processor(record['cpu'])}, `dpenet derain` of one picture of {record['width']} x "
        f"{record['height']} takes {start} s in a process of its own, once the compiled network is "
        f"in the cache. {beyond} s of that are not the network's: Python and OpenVINO start, the "
        f"picture is read and written ({models}; {precisions})."
    )


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
    kinds = list(dict.fromkeys(kind for each in record["milliseconds"].values() for kind in each))
    columns = [["", "---", *kinds, _bold("all")]]
    for engine, precision in ENGINES.items():
        times = record["milliseconds"].get(engine, {})
        total = sum(times.values())
        cells = [
            f"{times[k]:,.0f} ms ({times[k] / total:.0%})" if k in times else "" for k in kinds
        ]
        columns.append([engine, "---:", *cells, _bold(f"{total:,.0f} ms") if times else ABSENT])
        if precision is not None:
            work, peak = _operations(record, precision), record["peaks"].get(precision)
            paces = [_pace(work.get(kind), times.get(kind), peak) for kind in kinds]
            pace, share = _pace(sum(record["gigaoperations"].values()), total, peak)
            columns.append(["GFLOP/s", "---:", *(p for p, _ in paces), _bold(pace)])
            columns.append(["of peak", "---:", *(s for _, s in paces), _bold(share)])
    size = f"One picture of {record['width']} x {record['height']}, `{record['model']}`"
    lines = [list(line) for line in zip(*columns, strict=True)]
    return f"{size}. {_machine(record)}\n\n{table(lines)}"


def dilation_sentence() -> str:
    """How much longer the most dilated convolutions take than those that are not."""
    if not (RESULTS / "layers.json").exists():
        return NOT_YET
    record = _read("layers")
    found = []
    for engine, precision in ENGINES.items():
        if (times := record["milliseconds"].get(engine)) is not None:
            work = _operations(record, precision)
            one, five = (times[kind] / work[kind] for kind in map(DILATED.format, (1, 5)))
            found.append(f"{five / one:.2f} times ({engine})")
    return (
        "For the same number of operations 3x3 convolutions of dilation 5 take "
        f"{', '.join(found)} as long as those of dilation 1."
    )


def balance_sentence() -> str:
    """Operations for each byte of memory: those of a convolution, and those of the processor."""
    if not (RESULTS / "layers.json").exists():
        return NOT_YET
    record = _read("layers")
    width, peaks = get_card(record["model"]).architecture.width, record["peaks"]
    needed = 2 * 9 * width**2 / (2 * 4 * width)
    return (
        f"In fp32 a 3x3 convolution of {width} channels does {needed:.0f} operations for each byte "
        "that it reads or writes, and the processor at its peak "
        f"{peaks['fp32'] / peaks['memory']:.0f} in the time that memory takes for one."
    )


def _operations(record: dict[str, Any], precision: str | None) -> dict[str, float]:
    """10^9 operations by kind of convolution; of int8, only what is computed in 8 bits."""
    found: dict[str, float] = record["gigaoperations"]
    return record.get("gigaoperations_int8", {}) if precision == "int8" else found


def _pace(
    operations: float | None, milliseconds: float | None, peak: float | None
) -> tuple[str, str]:
    """10^9 operations per second, and their share of the peak, as far as they are known."""
    if not (operations and milliseconds and peak):
        return "", ""
    pace = 1000 * operations / milliseconds
    return f"{pace:.0f}", f"{pace / peak:.0%}"


def _bold(cell: str) -> str:
    return cell and f"**{cell}**"


def _machine(record: dict[str, Any]) -> str:
    peaks = ", ".join(f"{v:.0f} GFLOP/s {k}" for k, v in record["peaks"].items() if k != "memory")
    return (
        f"{_processor(record['cpu'] | {'cores': record['threads']})}. "
        f"Measured peaks: {peaks}, {record['peaks']['memory']:.0f} GB/s of memory."
    )


def _processor(cpu: dict[str, Any]) -> str:
    return f"{cpu['model']}, {cpu['cores']} cores ({', '.join(cpu['flags'])})"


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


def table(lines: list[list[str]]) -> str:
    """Rows of Markdown."""
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
