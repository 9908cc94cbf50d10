from __future__ import annotations

import json

import pytest
from benchmarks.load import RESULTS, table
from benchmarks.machine import REPOSITORY


@pytest.fixture
def record() -> dict[str, object]:
    found: dict[str, object] = json.loads(RESULTS.read_text())
    return found


def test_the_documentation_shows_what_was_measured(record: dict[str, object]) -> None:
    assert table(record) in (REPOSITORY / "docs" / "server.md").read_text()


def test_what_was_asked_for_was_reached(record: dict[str, list[dict[str, object]]]) -> None:
    rows = [row for row in record["rows"] if row["clients"] == 64]
    for row in rows:
        assert row["statuses"].keys() <= {"200", "429", "503"}  # type: ignore[attr-defined]
        assert row["p99_seconds"] < row["timeout_seconds"]  # type: ignore[operator]
    # The default model; a faster one leaves more of the time to what surrounds the network.
    (share,) = [row["share"] for row in rows if row["model"] == "universal"]
    assert share >= 0.8  # type: ignore[operator]
