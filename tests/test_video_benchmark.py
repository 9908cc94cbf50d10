"""The table of what a clip costs says what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import video, video_tables

ROW: dict[str, Any] = {
    "model": "a", "stage": 2, "precision": "int8", "preset": "", "engine_fps": 20.0,
    "clip_fps": 18.0, "share": 0.9, "memory_growth": 1.004,
}  # fmt: skip
REPORT: dict[str, Any] = {
    "schema": video.SCHEMA,
    "cpu": {"cores": 2, "flags": ["avx2"]},
    "libraries": {"av": "1"},
    "protocol": "160 x 120, 60 s at 25 frames/s, H.264; by turns",
    "rows": [ROW],
}


def test_each_row_has_its_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_tables, "RESULTS", tmp_path / "video.json")
    assert video_tables.video_table() == "Not measured yet."
    slow = ROW | {"model": "b", "share": 0.8}
    growing = ROW | {"model": "c", "memory_growth": 1.2}
    report = REPORT | {"rows": [ROW, slow, growing]}
    (tmp_path / "video.json").write_text(json.dumps(report))
    *_, first, second, third = video_tables.video_table().splitlines()
    assert first == "| `a` | 2 | int8 | usual | 20.0 | 18.0 | 90 % | +0.4 % | yes |"
    assert second.endswith("| 80 % | +0.4 % | **no** |")
    assert third.endswith("| 90 % | +20.0 % | **no** |")


def test_rows_of_other_models_stay_if_they_compare(tmp_path: Path) -> None:
    output = tmp_path / "video.json"
    other, again = ROW | {"model": "b"}, ROW | {"share": 0.95}
    assert video.rows_beside(REPORT, ROW, output) == [ROW]
    output.write_text(json.dumps(REPORT | {"rows": [other, ROW]}))
    assert video.rows_beside(REPORT, again, output) == [again, other]
    assert video.rows_beside(REPORT | {"libraries": {"av": "2"}}, again, output) == [again]
