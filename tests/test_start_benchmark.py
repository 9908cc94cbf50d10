from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import speed_tables, start
from PIL import Image


def test_a_new_process_is_timed_by_turns_with_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "small.png"
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(picture)
    commands: list[list[str]] = []

    def run(command: list[str], **how: Any) -> None:
        assert how["check"]
        # The first one compiles, and is not counted.
        time.sleep(0.3 if commands else 2)
        commands.append(command)

    monkeypatch.setattr(subprocess, "run", run)
    row = start.measure("universal-nano", "fp32", picture, 3)
    assert len(commands) == 1 + 3
    assert commands[0][2:5] == ["dpenet", "derain", str(picture)]
    assert commands[0][-4:] == ["--model", "universal-nano", "--precision", "fp32"]
    assert 0.3 <= row["start_seconds"] < 2
    assert 0 < row["network_seconds"] < row["start_seconds"]
    beyond = row["start_seconds"] - row["network_seconds"]
    assert row["beyond_seconds"] == pytest.approx(beyond, abs=0.002)


def test_what_is_written_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        ("universal", "fp32"): {"start_seconds": 1.5, "beyond_seconds": 1.2},
        ("universal", "int8"): {"start_seconds": 1.25, "beyond_seconds": 1.1},
    }

    def measure(model: str, precision: str, picture: Path, turns: int) -> dict[str, Any]:
        assert Image.open(picture).size == (160, 120)
        return {"model": model, "precision": precision, **found[model, precision]}

    monkeypatch.setattr(start, "measure", measure)
    results = tmp_path / "start.json"
    command = ["start", "--model", "universal", "--output", str(results)]
    monkeypatch.setattr("sys.argv", command)
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    assert speed_tables.start_sentence() == speed_tables.NOT_YET
    start.main()
    sentence = speed_tables.start_sentence()
    assert "one picture of 160 x 120 takes 1.25 to 1.50 s" in sentence
    assert "1.10 to 1.20 s of that are not the network's" in sentence
    assert "(`universal`; fp32 and int8)" in sentence
    claim, measured, verdict = speed_tables._start_claim()
    assert "under 1.5 s beyond the model's own time once cached" in claim
    assert (measured, verdict) == ("1.20 s", "verified")
    record = json.loads(results.read_text())
    record["rows"][0]["beyond_seconds"] = 1.5
    results.write_text(json.dumps(record))
    assert speed_tables._start_claim()[2] == "false"
