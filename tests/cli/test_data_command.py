from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dpenet.cli.app import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 200, (64, 64, 3), dtype=np.uint8)
        for side, extra in (("rain", 20), ("norain", 0)):
            (tmp_path / side).mkdir(exist_ok=True)
            Image.fromarray(noise + np.uint8(extra)).save(tmp_path / side / f"{i}.png")
    return tmp_path


def test_a_good_set(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "data", "check", str(dataset))
    assert code == 0
    assert "3 pairs over 3 backgrounds" in out
    assert "such as rain/0.png with norain/0.png" in out
    assert "nothing is wrong" in out


def test_a_bad_set_fails(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "norain" / "2.png").unlink()
    code, out, _ = run(capsys, "data", "check", str(dataset))
    assert code == 1
    assert "WRONG: 1 without a partner" in out
    assert "2.png" in out


def test_json_and_overlap(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(
        capsys, "data", "check", str(dataset), "--json", "--against", str(dataset / "norain")
    )
    record = json.loads(out)
    assert code == 1
    assert record["counts"] == {"overlap": 3}
    assert record["layout"] == "folders"


def test_duplicates_are_only_noted(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in ("rain", "norain"):
        (dataset / side / "copy.png").write_bytes((dataset / side / "0.png").read_bytes())
    code, out, _ = run(capsys, "data", "check", str(dataset))
    assert code == 0
    assert "4 pairs over 3 backgrounds" in out
    assert "note: 1 repeated backgrounds" in out


def test_what_is_no_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "data", "check", str(tmp_path))
    assert code == 1
    assert "holds no pictures" in err
    code, _, err = run(capsys, "data", "check", str(tmp_path), "--layout", "rain13")
    assert code == 2
    assert "rain1400" in err


def test_synthesize(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "made"
    code, said, err = run(
        capsys, "data", "synthesize", str(dataset / "norain"), str(out), "--kind", "light",
        "--seed", "4", "--per-image", "2", "--json",
    )  # fmt: skip
    assert code == 0
    records = [json.loads(line) for line in said.splitlines()]
    assert [record["name"] for record in records] == [f"{i}-{k}" for i in range(3) for k in (1, 2)]
    assert "6 pairs in" in err
    code, said, _ = run(capsys, "data", "check", str(out))
    assert code == 0
    assert "6 pairs over 3 backgrounds" in said


def test_synthesize_knows_its_kinds(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["data", "synthesize", str(dataset), str(tmp_path / "made"), "--kind", "drizzle"]
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert "foggy" in err
    assert not (tmp_path / "made").exists()
