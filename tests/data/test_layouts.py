from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.data.layouts import LAYOUTS, NoPairsError, list_pairs, natural_key
from dpenet.data.pairs import Pair, load_pair
from dpenet.errors import DataError, UsageError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def names(root: Path, pair: Pair) -> tuple[str, str]:
    return pair.rainy.relative_to(root).as_posix(), pair.clean.relative_to(root).as_posix()


CASES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "rain13k": ("folders", [(f"input/{i}.png", f"target/{i}.png") for i in (1, 2, 10)]),
    "own": (
        "folders",
        [("rainy/a b.JPG", "Clean/a b.png"), ("rainy/sub/c.jpg", "Clean/sub/c.jpg")],
    ),
    "norain": ("folders", [("rain/x.png", "norain/x.png")]),
    "ground truth": ("folders", [("in/x.png", "ground truth/x.png")]),
    "rain100 in one folder": (
        "rain100",
        [(f"rain-{i:03}.png", f"norain-{i:03}.png") for i in (1, 2, 100)],
    ),
    "rain100 by PReNet": ("rain100", [("rainy/rain-001.png", "norain-001.png")]),
    "rain100 by JORDER": ("rain100", [("rain/X2/norain-001x2.png", "norain/norain-001.png")]),
    "rain200": ("rain100", [(f"rain/norain-{i}x2.png", f"norain/norain-{i}.png") for i in (1, 12)]),
    "rain100, x2 target": ("rain100", [("rain-7.png", "norain-7x2.png")]),
    "rain100, zeros": ("rain100", [("input/001.png", "target/1.png")]),
    "rain1400": (
        "rain1400",
        [
            (f"rainy image/{n}_{k}.jpg", f"ground truth/{n}.jpg")
            for n in (1, 10)
            for k in (1, 2, 14)
        ],
    ),
    "rain1400 renamed": ("rain1400", [("rainy_image/901_1.jpg", "ground_truth/901.jpg")]),
    "heavy rain": (
        "heavyrain",
        [(f"in/im_0001_s{s}_a04.png", "gt/im_0001.png") for s in (80, 85)],
    ),
    "heavy rain in one folder": ("heavyrain", [("im_0003_s95_a06.png", "im_0003.png")]),
}


@pytest.mark.parametrize("case", CASES)
def test_recognises_and_pairs_by_name(case: str, tmp_path: Path) -> None:
    layout, expected = CASES[case]
    touch(tmp_path, *(name for pair in expected for name in pair), "notes.txt", "input/.hidden.png")
    for asked in ("auto", layout):
        found = list_pairs(tmp_path, asked)
        assert found.layout == layout
        assert {names(tmp_path, pair) for pair in found.pairs} == set(expected)
        assert len({pair.name for pair in found.pairs}) == len(expected)
        assert not found.orphans
        assert LAYOUTS[layout].title in found.reason


def test_pairs_come_in_numeric_order(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{side}/{i}.png" for side in ("input", "target") for i in (10, 9, 1)))
    assert [pair.name for pair in list_pairs(tmp_path).pairs] == ["1", "9", "10"]
    assert sorted(["b10", "b9", "a"], key=natural_key) == ["a", "b9", "b10"]


def test_spa_reads_its_list(tmp_path: Path) -> None:
    touch(tmp_path, "real_world/000/000-1/000-1_0_0.png", "real_world_gt/000/000_0_0.png")
    listing = tmp_path / "real_world.txt"
    row = "/real_world/000/000-1/000-1_0_0.png /real_world_gt/000/000_0_0.png\n"
    listing.write_text(row + row.replace("000-1_0_0", "000-1_9_9"))
    for root in (tmp_path, listing):
        found = list_pairs(root)
        assert found.layout == "spa"
        assert [pair.rainy.name for pair in found.pairs] == ["000-1_0_0.png"]
        assert [path.name for path in found.orphans] == ["000-1_9_9.png"]
    inside = tmp_path / "real_world" / "real_world.txt"  # as some copies have it
    listing.rename(inside)
    assert len(list_pairs(inside).pairs) == 1


def test_several_lists_are_ambiguous(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "b/1gt.png")
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text("a/1.png b/1gt.png\n")
    with pytest.raises(DataError, match=r"several lists.*train\.txt"):
        list_pairs(tmp_path, "spa")
    assert len(list_pairs(tmp_path / "test.txt").pairs) == 1


def side_by_side(root: Path, photo: NDArray[np.uint8], rainy: str, name: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    clean = np.clip(photo.astype(int) + rng.integers(-30, 30), 0, 255)
    streaks = np.repeat(rng.random((1, photo.shape[1], 1)) > 0.9, photo.shape[0], axis=0)
    wet = np.clip(clean + 70 * streaks, 0, 255)
    both = (wet, clean) if rainy == "left" else (clean, wet)
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(both, axis=1).astype(np.uint8)).save(path)


@pytest.mark.parametrize(("rainy", "layout"), [("right", "rain800"), ("left", "rain1200")])
def test_halves_are_told_by_looking(
    rainy: str, layout: str, tmp_path: Path, photo: NDArray[np.uint8]
) -> None:
    for i in range(5):
        side_by_side(tmp_path, photo, rainy, f"{i}.png", i)
    (tmp_path / "5.png").write_bytes(b"damaged")  # tells nothing, and hides nothing
    found = list_pairs(tmp_path)
    assert (found.layout, len(found.pairs)) == (layout, 6)
    assert f"the rain is on the {rainy}" in found.reason
    wet, clean = load_pair(found.pairs[0])
    assert wet.shape == clean.shape == photo.shape
    assert wet.mean() > clean.mean() + 3


def test_densities_of_rain1200(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    for density in ("Rain_Heavy", "Rain_Light"):
        for i in range(3):
            side_by_side(tmp_path, photo, "left", f"{density}/train2018new/{i}.png", i)
    found = list_pairs(tmp_path)
    assert found.layout == "rain1200"
    assert found.pairs[0].name == "Rain_Heavy/train2018new/0"
    assert len({pair.name for pair in found.pairs}) == 6


def test_halves_that_contradict_are_refused(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    for i, rainy in enumerate(("left", "right", "left", "right")):
        side_by_side(tmp_path, photo, rainy, f"{i}.png", i)
    with pytest.raises(DataError, match="--layout rain800"):
        list_pairs(tmp_path)
    assert len(list_pairs(tmp_path, "rain1200").pairs) == 4


def test_ordinary_photos_are_no_pairs(tmp_path: Path, rng: np.random.Generator) -> None:
    for i in range(3):
        noise = rng.integers(0, 255, (40, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    with pytest.raises(NoPairsError, match=r"3 in \./.*such as 0\.png") as error:
        list_pairs(tmp_path)
    assert all(f"  {name}: " in str(error.value) for name in LAYOUTS)


def test_orphans_are_told(tmp_path: Path) -> None:
    touch(tmp_path, "input/1.png", "target/1.png", "input/2.png", "target/3.png", "other/4.png")
    found = list_pairs(tmp_path)
    assert [path.name for path in found.orphans] == ["2.png", "3.png"]


def test_a_data_set_inside_is_not_entered(tmp_path: Path) -> None:
    touch(tmp_path, "test/input/1.png", "test/target/1.png", "train/input/1.png")
    with pytest.raises(NoPairsError, match="1 in test/input/"):
        list_pairs(tmp_path)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (("input/1.png", "target/1.png", "target/1.jpg"), "two targets with one name"),
        (("input/1.png", "input/1.jpg", "target/1.png"), "two rainy pictures"),
    ],
)
def test_double_claims_are_refused(files: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=reason):
        list_pairs(touch(tmp_path, *files))


def test_two_readings_of_one_folder_are_ambiguous(tmp_path: Path) -> None:
    touch(tmp_path, "input/im_1_s1_a1.png", "target/im_1_s1_a1.png", "target/im_1.png")
    with pytest.raises(DataError, match="folders or heavyrain"):
        list_pairs(tmp_path)
    assert list_pairs(tmp_path, "heavyrain").pairs[0].clean.name == "im_1.png"


def test_what_cannot_be_read_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rain1400"):
        list_pairs(tmp_path, "rain14")
    with pytest.raises(DataError, match="does not exist"):
        list_pairs(tmp_path / "nowhere")
    with pytest.raises(NoPairsError, match="holds no pictures"):
        list_pairs(tmp_path)
    with pytest.raises(NoPairsError, match="no pairs of the layout rain1400"):
        list_pairs(touch(tmp_path, "input/1.png", "target/1.png"), "rain1400")


def test_benchmarks(shared: Path) -> None:
    for name, count in (("Rain100H", 50), ("Rain100L", 50), ("Rain1200_samples", 18)):
        found = list_pairs(shared / "benchmarks" / name)
        assert len(found.pairs) == count
        assert all(pair.rainy.name == pair.clean.name for pair in found.pairs)
    with pytest.raises(NoPairsError):
        list_pairs(shared / "real_rain")
