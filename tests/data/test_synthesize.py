from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpenet.data.layouts import list_pairs
from dpenet.data.pairs import load_pair
from dpenet.data.synthesize import synthesize
from dpenet.errors import DataError


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    for i, name in enumerate(["a", "b", "sub/a"]):
        path = tmp_path / "clean" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = (20 + 40 * i, 60, 90)
        Image.new("RGB", (40 + i, 32), colour).save(path)
    return tmp_path / "clean"


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_what_is_written_reads_back_as_pairs(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = list(synthesize(clean, out, kind="heavy", seed=3, per_image=2))
    pairs = list_pairs(out)
    assert pairs.layout == "folders"
    names = [
        pair.rainy.relative_to(out / "input").with_suffix("").as_posix() for pair in pairs.pairs
    ]
    assert sorted(names) == [f"{name}-{k}" for name in ("a", "b", "sub/a") for k in (1, 2)]
    assert not pairs.orphans
    assert sorted(pair.name for pair in made) == sorted(names)
    for name, pair in zip(names, pairs.pairs, strict=True):
        rainy, target = load_pair(pair)
        np.testing.assert_array_equal(target, np.asarray(Image.open(clean / f"{name[:-2]}.png")))
        assert rainy.mean() > target.mean()
    lines = [json.loads(line) for line in (out / "rain.jsonl").read_text().splitlines()]
    assert [line["name"] for line in lines] == [pair.name for pair in made]
    assert all(line["rain"]["layers"] for line in lines)


def test_the_same_seed_writes_the_same_bytes_whatever_else_is_there(
    clean: Path, tmp_path: Path
) -> None:
    first, again, other, alone = (tmp_path / name for name in "wxyz")
    list(synthesize(clean, first, seed=5))
    list(synthesize(clean, again, seed=5))
    list(synthesize(clean, other, seed=6))
    assert contents(first) == contents(again)
    rainy = "input/b-1.png"
    assert contents(other)[rainy] != contents(first)[rainy]
    list(synthesize(clean / "b.png", alone, seed=5))
    assert contents(alone)[rainy] == contents(first)[rainy]


def test_two_rains_on_a_picture_differ(clean: Path, tmp_path: Path) -> None:
    list(synthesize(clean / "a.png", tmp_path / "out", per_image=2, kind="heavy"))
    made = contents(tmp_path / "out")
    assert made["input/a-1.png"] != made["input/a-2.png"]
    assert made["target/a-1.png"] == made["target/a-2.png"]


def test_what_cannot_be_done_is_said_and_nothing_is_lost(clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="not empty"):
        list(synthesize(clean, out))
    assert contents(out) == {"mine.txt": b"keep"}
    with pytest.raises(DataError, match="holds no pictures"):
        list(synthesize(tmp_path / "nowhere", tmp_path / "new"))
    Image.new("RGB", (8, 8)).save(clean / "a.jpg")
    with pytest.raises(DataError, match="would give the same files"):
        list(synthesize(clean, tmp_path / "new"))
    assert not (tmp_path / "new").exists()
