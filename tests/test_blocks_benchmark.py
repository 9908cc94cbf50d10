from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from benchmarks import tables
from benchmarks.blocks import effective_rank, measure
from benchmarks.speed_tables import NOT_YET

from dpenet.network import DPENet


def test_a_block_that_does_nothing_is_told_from_one_that_works() -> None:
    torch.manual_seed(1)
    network = DPENet(4, 2, 1)
    with torch.no_grad():
        for weight in network.get_submodule("ddrb2").parameters():
            weight.zero_()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    working, idle, attention = measure(network, torch.rand(1, 3, 24, 24))
    assert [row["block"] for row in (working, idle, attention)] == ["ddrb1", "ddrb2", "erpab1"]
    assert idle["psnr_without"] is None
    assert 20 < working["psnr_without"] < 80
    assert 1 <= working["rank"] <= 4
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


def test_the_effective_rank_counts_independent_channels() -> None:
    torch.manual_seed(2)
    noise = torch.rand(2, 3, 200, 200)
    assert effective_rank(noise) == pytest.approx(3, abs=0.01)
    doubled = torch.cat([noise[:, :1], 2 * noise[:, :1], torch.zeros_like(noise)], dim=1)
    assert effective_rank(doubled) == pytest.approx(1, abs=1e-6)


def test_each_model_has_a_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert tables.blocks_table() == NOT_YET
    rows = [
        {"model": "rain100h", "block": "ddrb2", "psnr_without": 20.0, "rank": 5.55},
        {"model": "universal", "block": "ddrb2", "psnr_without": None, "rank": 2.04},
        {"model": "universal", "block": "ddrb10", "psnr_without": 30.126, "rank": 3.0},
    ]
    (tmp_path / "blocks.json").write_text(json.dumps({"rows": rows}))
    assert tables.blocks_table().splitlines() == [
        "| PSNR without it; channels in | `universal` | `rain100h` |",
        "| --- | ---: | ---: |",
        "| `ddrb2` | equal; 2.0 | 20.00 dB; 5.5 |",
        "| `ddrb10` | 30.13 dB; 3.0 |  |",
    ]
