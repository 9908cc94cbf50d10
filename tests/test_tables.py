from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import tables
from benchmarks.machine import REPOSITORY

from dpenet.metrics import DEFAULT_PROTOCOL


def test_published_tables_are_what_was_measured() -> None:
    for name in tables.PAGES:
        page = (REPOSITORY / name).read_text(encoding="utf-8")
        assert ":begin -->\n" in page
        assert tables.filled(page) == page, "run: python -m benchmarks.tables"


def test_a_figure_changed_by_hand_is_found() -> None:
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "0.3667" in page
    assert tables.filled(page.replace("0.3667", "0.9667")) == page


def test_pairs_that_become_worse_are_named_if_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(model: str, dataset: str, **more: Any) -> dict[str, Any]:
        usual = {"model": model, "dataset": dataset, "pairs": 50, "precision": "fp32"}
        return usual | {"protocol": DEFAULT_PROTOCOL} | more

    rows = [
        row("universal", "A", worse=["31", "7"]),
        row("universal", "A", worse=["1", "2", "3"], protocol="rgb"),
        row("universal", "A", worse=["4", "5"], precision="int8"),
        row("universal", "B", worse=[]),
        row("universal-light", "A"),
        row("rain100h", "A", worse=["1"]),
    ]
    (tmp_path / "quality.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    _, _, full, light, nano = tables.worse_list().splitlines()
    assert full == "- `universal`: 2 of 50 of A (31, 7); 0 of 50 of B"
    assert light == "- `universal-light`: Not measured yet."
    assert nano == "- `universal-nano`: Not measured yet."
