from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import tables
from benchmarks.speed_tables import NOT_YET


def test_each_network_has_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.quantization_table() == NOT_YET
    rows = [
        {"model": "rain100h", "int8": "`ddrb1.dconv1`", "convolutions": 2, "psnr": 50.125},
        {"model": "rain100h", "int8": "all of these", "convolutions": 69, "psnr": 45.0},
        {"model": "universal", "int8": "`ddrb1.dconv1`", "convolutions": 2, "psnr": None},
    ]
    (tmp_path / "quantization.json").write_text(json.dumps({"rows": rows}))
    first, second = tables.quantization_table().split("\n\n")
    assert first.splitlines() == [
        "| `rain100h`, in int8 | convolutions | PSNR against fp32 |",
        "| --- | ---: | ---: |",
        "| `ddrb1.dconv1` | 2 | 50.12 dB |",
        "| all of these | 69 | 45.00 dB |",
    ]
    assert second.startswith("| `universal`, in int8 |")
    assert second.endswith("| `ddrb1.dconv1` | 2 | equal |")
