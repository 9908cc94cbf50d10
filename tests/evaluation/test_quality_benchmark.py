from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import benchmarks.quality
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.evaluation.evaluate import Method


@pytest.fixture
def quality(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, writing into a temporary folder, with models that add their length."""
    module = benchmarks.quality

    def fake(model: str | Path, precision: str, threads: int | None) -> Method:
        name = Path(model).stem
        return Method(name, lambda _, rainy: rainy + np.uint8(len(name)), precision)

    monkeypatch.setattr(module, "RESULTS", tmp_path / "results" / "quality.json")
    monkeypatch.setattr(module, "SCORES", tmp_path / "scores.json")
    monkeypatch.setattr(module, "model_method", fake)
    return module


@pytest.fixture
def home(tmp_path: Path, photo: NDArray[np.uint8]) -> Path:
    for dataset, darker in (("Rain100H", 30), ("Rain100L", 8)):
        for side, picture in (("input", photo // 2), ("target", photo // 2 + np.uint8(darker))):
            path = tmp_path / "benchmarks" / dataset / side / "1.png"
            path.parent.mkdir(parents=True)
            Image.fromarray(picture.astype(np.uint8)).save(path)
    return tmp_path


def test_rows_not_named_stay(
    quality: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["quality.py", "--data", str(home), *arguments])
        quality.main()

    run("--weights", "somewhere/Rain100L.pth", "--model", "universal")
    run("--model", "universal", "--dataset", "Rain100L", "--precision", "bf16,int8")
    results = json.loads(quality.RESULTS.read_text())
    keys = [(r["model"], r["dataset"], r["precision"]) for r in results["rows"]]
    assert keys == [
        ("input", "Rain100H", "none"),
        ("rain100l", "Rain100H", "fp32"),
        ("universal", "Rain100H", "fp32"),
        ("input", "Rain100L", "none"),
        ("rain100l", "Rain100L", "fp32"),
        ("universal", "Rain100L", "fp32"),
        ("universal", "Rain100L", "bf16"),
        ("universal", "Rain100L", "int8"),
    ]
    assert results["schema"] == 1
    assert {"commit", "cpu", "libraries", "protocols"} <= set(results)
    scores = json.loads(quality.SCORES.read_text())
    assert len(scores["rows"]) == 8
    assert set(scores["rows"][0]) == {
        "model",
        "dataset",
        "protocol",
        "psnr",
        "ssim",
        "pairs",
        "precision",
    }
    by_key = {(r["model"], r["dataset"], r["precision"]): r["psnr"] for r in scores["rows"]}
    gained = by_key["universal", "Rain100L", "fp32"] - by_key["input", "Rain100L", "none"]
    assert gained > 10  # 8 levels off before, 1 after


def test_the_published_scores_agree_with_the_results() -> None:
    results = json.loads(benchmarks.quality.RESULTS.read_text())
    scores = json.loads(benchmarks.quality.SCORES.read_text())
    assert scores["rows"] == [{k: row[k] for k in scores["rows"][0]} for row in results["rows"]]
    named = {
        (r["model"], r["dataset"]): r
        for r in scores["rows"]
        if (r["protocol"], r["precision"]) == ("matlab-y", "fp32")
    }
    for name, psnr, ssim in (("Rain100H", 32.056, 0.9295), ("Rain100L", 39.294, 0.9848)):
        row = named[name.lower(), name]
        assert (row["psnr"], row["ssim"]) == (
            pytest.approx(psnr, abs=0.01),
            pytest.approx(ssim, abs=5e-4),
        )
