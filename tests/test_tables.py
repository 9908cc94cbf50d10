from __future__ import annotations

from benchmarks import tables
from benchmarks.machine import REPOSITORY


def test_published_tables_are_what_was_measured() -> None:
    for name in tables.PAGES:
        page = (REPOSITORY / name).read_text(encoding="utf-8")
        assert ":begin -->\n" in page
        assert tables.filled(page) == page, "run: python -m benchmarks.tables"


def test_a_figure_changed_by_hand_is_found() -> None:
    page = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert "0.3667" in page
    assert tables.filled(page.replace("0.3667", "0.9667")) == page
