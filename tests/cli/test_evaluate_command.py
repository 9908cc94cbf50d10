from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.cli.app import main
from dpenet.evaluation import evaluate as evaluation
from dpenet.evaluation.evaluate import Method

Runner = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """Runs ``dpenet evaluate`` with models that darken by as many levels as they are called."""

    def fake(model: str | Path, precision: str = "auto") -> Method:
        levels = np.uint8(str(model))
        return Method(f"minus {model}", lambda _, rainy: rainy - levels, precision)

    monkeypatch.setattr(evaluation, "model_method", fake)

    def run_(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", *map(str, arguments)])
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out, said.err

    return run_


@pytest.fixture
def dataset(tmp_path: Path, photo: NDArray[np.uint8]) -> Path:
    clean = (photo // 2 + 20).astype(np.uint8)
    for i in range(3):
        for side, picture in (("input", clean + np.uint8(10 + i)), ("target", clean)):
            path = tmp_path / "set" / side / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return tmp_path / "set"


def test_several_models_in_one_table(run: Runner, dataset: Path) -> None:
    code, out, err = run(dataset, "--model", "5", "-m", "9", "--protocol", "rgb")
    assert code == 0
    lines = [line.split() for line in out.splitlines() if line]
    assert lines[0] == ["METHOD", "PSNR", "SSIM", "GAIN", "PAIRS", "S/PICTURE"]
    assert [line[0] for line in lines[1:4]] == ["input", "minus", "minus"]
    assert "protocol rgb" in out
    assert "0: input" in err


def test_json_lines(run: Runner, dataset: Path) -> None:
    code, out, _ = run(dataset, "-m", "9", "--json", "--precision", "fp32")
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    pictures = [r for r in records if "picture" in r]
    means = {r["method"]: r for r in records if r.get("mean")}
    assert len(pictures) == 6
    assert means["minus 9"]["precision"] == "fp32"
    assert means["minus 9"]["pairs"] == 3
    psnrs = [r["psnr"] for r in pictures if r["method"] == "minus 9"]
    assert means["minus 9"]["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-5)


def test_writes_csv_json_and_page(run: Runner, dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    code, *_ = run(
        dataset, "-m", "9", "--csv", out / "a.csv", "--output", out / "a.json", "--report", out
    )
    assert code == 0
    assert len((out / "a.csv").read_text().splitlines()) == 7
    assert json.loads((out / "a.json").read_text())["layout"] == "folders"
    assert "minus 9" in (out / "index.html").read_text()
    assert sorted(p.name for p in out.iterdir()) == ["a.csv", "a.json", "index.html"]


def test_results_of_a_peer_need_no_model(run: Runner, dataset: Path) -> None:
    code, out, _ = run(dataset, "--results", dataset / "target", "--json")
    means = [json.loads(line) for line in out.splitlines() if '"mean"' in line]
    assert code == 0
    assert [m["method"] for m in means] == ["input", "target"]
    assert means[1]["identical"] == 3
    code, out, _ = run(dataset, "--results", dataset / "target", "-m", "9")
    assert "minus 9" in out


def test_without_targets_a_gallery_and_no_score(run: Runner, dataset: Path, tmp_path: Path) -> None:
    rainy = dataset / "input"
    code, _, err = run(rainy, "-m", "9")
    assert code == 2
    assert "no score exists" in err
    code, out, err = run(rainy, "-m", "9", "--json", "--report", tmp_path / "gallery")
    assert code == 0
    assert all(json.loads(line)["psnr"] is None for line in out.splitlines())
    assert "no score exists" in (tmp_path / "gallery" / "index.html").read_text()
    code, _, err = run(rainy, "-m", "9", "--layout", "rain100")
    assert code == 1
    assert "no pairs of the layout rain100" in err


def test_a_failed_picture_fails_the_command(run: Runner, dataset: Path) -> None:
    (dataset / "input" / "1.png").write_bytes(b"")
    code, out, err = run(dataset, "-m", "9")
    assert code == 1
    assert "1.png cannot be read" in err
    assert "minus 9" in out


def test_wrong_options(run: Runner, dataset: Path, tmp_path: Path) -> None:
    assert run(dataset, "-m", "9", "--protocol", "y")[0] == 2
    assert run(dataset, "-m", "9", "-m", "9")[0] == 2
    assert run(tmp_path / "none", "-m", "9")[0] == 1
    (tmp_path / "file").write_text("")
    code, _, err = run(dataset, "-m", "9", "--csv", tmp_path / "file" / "a.csv")
    assert code == 1
    assert "cannot write" in err
