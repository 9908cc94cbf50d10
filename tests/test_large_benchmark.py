from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks import large, speed_tables
from numpy.typing import NDArray

from dpenet.inference.derainer import Derainer
from dpenet.media.images import read_picture


@pytest.fixture
def arguments() -> argparse.Namespace:
    return argparse.Namespace(model="universal-nano", precision="int8", threads=1)


def test_a_complete_picture_in_tiles_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: argparse.Namespace
) -> None:
    monkeypatch.setattr(large, "TILE", 100)
    path = tmp_path / "small.jpg"
    large._mosaic(path, 210, 250)
    assert read_picture(path).pixels.shape == (210, 250, 3)
    found = large._compare_complete(arguments, path)
    assert (found["width"], found["height"], found["tiles"]) == (250, 210, [3, 3])
    assert found["compared"] == 250 * 210 * 3
    assert found["differing"] <= 1e-4 * found["compared"]
    assert found["worst"] <= 1


def test_a_seam_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: argparse.Namespace
) -> None:
    path = tmp_path / "small.jpg"
    large._mosaic(path, 60, 70)

    def derain(self: Derainer, rainy: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.zeros_like(rainy)
        if self.options.tile:
            out[3, 4:6, 0] = 7
        return out

    monkeypatch.setattr(Derainer, "derain_pixels", derain)
    found = large._compare_complete(arguments, path)
    assert (found["differing"], found["worst"]) == (2, 7)


def test_the_table_says_what_was_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"model": "universal", "precision": "int8", "tiles": [9, 7], "computed": 1.19}
    row |= {"peak_bytes": 10**9, "cpu_seconds_per_megapixel": 7, "cpu_ratio_to_2_megapixels": 1.1}
    row |= {"differing": 0, "compared": 100}
    complete = {"differing": 1, "compared": 6_000_000, "tiles": [4, 4]}
    record = {"rows": [row, row | {"complete": complete}]}
    (tmp_path / "large.json").write_text(json.dumps(record))
    monkeypatch.setattr(speed_tables, "RESULTS", tmp_path)
    before, after = speed_tables.large_table().splitlines()[2:]
    assert before.endswith("| 0 of 100 | not measured |")
    assert after.endswith("| 0 of 100 | 1 of 6,000,000, 4 x 4 tiles |")
