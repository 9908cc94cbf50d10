from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", REPOSITORY / "benchmarks/tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_published_tables_are_what_was_measured(tables: ModuleType) -> None:
    for name in tables.PAGES:
        page = (REPOSITORY / name).read_text(encoding="utf-8")
        assert ":begin -->\n" in page
        assert tables.filled(page) == page, "run: python benchmarks/tables.py"


def test_a_figure_changed_by_hand_is_found(tables: ModuleType) -> None:
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert tables.filled(page.replace("0.36", "0.99")) == page
