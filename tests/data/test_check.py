from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.data.check import Report, check_dataset, require_good_pairs
from dpenet.errors import DataError


def scene(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(30, 200, (6, 8, 3)), np.ones((20, 20, 1)))
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def rainy(picture: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed + 1000)
    streaks = np.cumsum(rng.random(picture.shape[:2]) > 0.995, axis=0) % 3 == 1
    wet: NDArray[np.uint8] = np.clip(picture + 60.0 * streaks[..., None], 0, 255).astype(np.uint8)
    return wet


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Six good pairs."""
    root = tmp_path / "set"
    for i in range(6):
        save(root / "target" / f"{i}.png", scene(i))
        save(root / "input" / f"{i}.png", rainy(scene(i), i))
    return root


def save(path: Path, picture: NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)


def kinds(report: Report) -> list[str]:
    return [problem.kind for problem in report.problems]


def test_a_good_set_has_no_problems(dataset: Path) -> None:
    seen: list[tuple[int, int]] = []
    report = check_dataset(dataset, progress=lambda done, total: seen.append((done, total)))
    assert report.ok
    assert kinds(report) == []
    assert (report.pairs, report.backgrounds, report.layout) == (6, 6, "folders")
    assert seen == [(i, 6) for i in range(1, 7)]
    assert len(require_good_pairs(dataset).pairs) == 6


def break_it(dataset: Path, how: str) -> None:
    rainy_file = dataset / "input" / "2.png"
    if how == "orphan":
        (dataset / "target" / "2.png").unlink()
    elif how == "unreadable":
        rainy_file.write_bytes(b"not a picture")
    elif how == "size":
        save(rainy_file, scene(2)[:-1])
    elif how == "misaligned":
        save(rainy_file, np.roll(rainy(scene(2), 2), 1, axis=1))
    elif how == "unrelated":
        save(rainy_file, rainy(scene(77), 2))


@pytest.mark.parametrize("how", ["orphan", "unreadable", "size", "misaligned", "unrelated"])
def test_a_broken_pair_is_found_and_stops_a_training(dataset: Path, how: str) -> None:
    break_it(dataset, how)
    report = check_dataset(dataset)
    assert kinds(report) == [how]
    assert not report.ok
    assert any("2.png" in file for file in report.problems[0].files)
    with pytest.raises(DataError, match=r"1 wrong pairs(.|\n)*2\.png(.|\n)*dpenet data check"):
        require_good_pairs(dataset)


def test_a_truncated_picture_is_unreadable(dataset: Path) -> None:
    file = dataset / "input" / "4.png"
    file.write_bytes(file.read_bytes()[:-2000])  # the header is whole
    assert kinds(check_dataset(dataset)) == ["unreadable"]


def test_repeated_backgrounds_are_noted(dataset: Path) -> None:
    save(dataset / "target" / "5.png", scene(1))
    save(dataset / "input" / "5.png", rainy(scene(1), 5))
    Image.fromarray(scene(0)).save(dataset / "target" / "9.jpg", quality=80)
    save(dataset / "input" / "9.png", rainy(scene(0), 9))
    report = check_dataset(dataset)
    assert kinds(report) == ["duplicate", "duplicate"]
    assert (report.pairs, report.backgrounds) == (7, 5)
    assert report.ok
    found = {tuple(Path(f).name for f in problem.files) for problem in report.problems}
    assert found == {("1.png", "5.png"), ("0.png", "9.jpg")}
    require_good_pairs(dataset)


def test_one_target_for_many_is_no_duplicate(tmp_path: Path) -> None:
    save(tmp_path / "ground truth" / "1.png", scene(0))
    for k in (1, 2, 3):
        save(tmp_path / "rainy image" / f"1_{k}.png", rainy(scene(0), k))
    report = check_dataset(tmp_path)
    assert (report.layout, report.pairs, report.backgrounds) == ("rain1400", 3, 1)
    assert kinds(report) == []


def test_a_renamed_test_picture_in_the_training_set_is_found(dataset: Path, tmp_path: Path) -> None:
    other = tmp_path / "test"
    save(other / "gt" / "x.png", scene(50))
    save(other / "rain" / "x.png", rainy(scene(50), 3))
    save(other / "gt" / "renamed.png", scene(3))
    save(other / "rain" / "renamed.png", rainy(scene(3), 99))
    (other / "gt" / "anew.jpg").parent.mkdir(exist_ok=True)
    Image.fromarray(scene(4)).save(other / "gt" / "anew.jpg", quality=75)
    save(other / "rain" / "anew.png", rainy(scene(4), 98))
    report = check_dataset(dataset, against=other)
    found = {tuple(Path(f).name for f in problem.files) for problem in report.problems}
    assert kinds(report) == ["overlap", "overlap"]
    assert found == {("3.png", "renamed.png"), ("4.png", "anew.jpg")}
    assert not report.ok
    shutil.rmtree(other / "rain")  # a plain folder of pictures will do
    assert kinds(check_dataset(dataset, against=other)) == ["overlap", "overlap"]


def test_checksums(dataset: Path, tmp_path: Path) -> None:
    lines = [
        f"{hashlib.sha256(f.read_bytes()).hexdigest()}\t{f.stat().st_size}\t"
        f"{f.relative_to(dataset).as_posix()}"
        for f in sorted(dataset.rglob("*.png"))
    ]
    listing = tmp_path / "sha256.tsv"
    listing.write_text("\n".join(lines) + "\n")
    report = check_dataset(dataset, checksums=listing)
    assert (report.verified, report.listed, report.ok) == (12, 12, True)
    save(dataset / "input" / "0.png", rainy(scene(0), 42))
    (dataset / "input" / "1.png").rename(dataset / "input" / "6.png")
    (dataset / "target" / "1.png").rename(dataset / "target" / "6.png")
    report = check_dataset(dataset, checksums=listing)
    assert (report.verified, report.listed) == (11, 12)  # the renamed ones are still official
    assert kinds(report) == ["checksum"]
    assert "differs from the official" in report.problems[0].detail
    listing.write_text("nonsense\n")
    with pytest.raises(DataError, match="tab-separated"):
        check_dataset(dataset, checksums=listing)


def test_the_official_list_is_understood(shared: Path, dataset: Path) -> None:
    listing = shared / "benchmarks" / "Rain1400_official_sha256.tsv"
    report = check_dataset(dataset, checksums=listing)
    assert (report.verified, report.listed) == (0, 15000)
    assert {problem.detail for problem in report.problems} == {"a file is not on the official list"}


def test_the_report_is_json(dataset: Path) -> None:
    break_it(dataset, "size")
    record = json.loads(json.dumps(check_dataset(dataset).to_json()))
    assert record["ok"] is False
    assert record["counts"] == {"size": 1}
    assert record["problems"][0]["error"] is True


def test_what_the_benchmarks_hold(shared: Path) -> None:
    # The repeated backgrounds that fall into the first half of the set.
    repeated = {("3", "4"), ("5", "14"), ("6", "25"), ("7", "36"), ("8", "47")}
    folder = shared / "benchmarks"
    report = check_dataset(folder / "Rain100H", against=folder / "Rain100L")
    pairs = {
        kind: {tuple(Path(f).stem for f in p.files) for p in report.problems if p.kind == kind}
        for kind in ("duplicate", "overlap")
    }
    assert pairs["duplicate"] == repeated
    assert len(pairs["overlap"]) == 50  # the two sets differ in their rain only
    assert report.counts() == {"duplicate": 5, "overlap": 50}
