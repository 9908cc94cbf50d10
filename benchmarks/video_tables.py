"""What a clip costs beside the network, as a table from the measured figures."""

from __future__ import annotations

import json
import textwrap
from typing import Any

from benchmarks.machine import REPOSITORY

RESULTS = REPOSITORY / "benchmarks" / "results" / "video.json"
CLAIMED_SHARE, CLAIMED_GROWTH = 0.85, 1.05


def is_kept(row: dict[str, Any]) -> bool:
    """Whether a clip runs at nearly the speed of the network, in memory that stays flat."""
    return bool(row["share"] >= CLAIMED_SHARE and row["memory_growth"] <= CLAIMED_GROWTH)


def video_table() -> str:
    """Frames per second of the network alone and from file to file, and memory, by model."""
    if not RESULTS.exists():
        return "Not measured yet."
    record = json.loads(RESULTS.read_text(encoding="utf-8"))
    machine = f"{record['cpu']['cores']} cores ({', '.join(record['cpu']['flags'])})"
    about = (
        f"A clip of {record['protocol'].removesuffix('; by turns')}, on {machine}. The network "
        "alone is `Derainer.batch` on the same frames; both ran by turns. Claimed are "
        f"{100 * CLAIMED_SHARE:.0f} % of its speed from file to file, and memory that grows by at "
        f"most {100 * (CLAIMED_GROWTH - 1):.0f} % from the tenth second to the last."
    )
    lines = [
        *textwrap.wrap(about, 100),
        "",
        "| model | stage | precision | preset | network, fps | clip, fps | share | memory | kept |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in record["rows"]:
        cells = [
            f"`{row['model']}`",
            str(row["stage"]),
            row["precision"],
            row["preset"] or "usual",
            f"{row['engine_fps']:.1f}",
            f"{row['clip_fps']:.1f}",
            f"{100 * row['share']:.0f} %",
            f"{100 * (row['memory_growth'] - 1):+.1f} %",
            "yes" if is_kept(row) else "**no**",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
