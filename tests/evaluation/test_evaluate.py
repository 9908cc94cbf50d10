from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.data.layouts import NoPairsError
from dpenet.errors import DataError, PictureError, UsageError
from dpenet.evaluation.evaluate import (
    INPUT,
    Method,
    evaluate,
    model_method,
    results_method,
    row_record,
)
from dpenet.metrics import mean_score, score


def halfway(root: Path) -> Method:
    """A method that gets half of the rain off, by looking at the target."""

    def run(name: str, rainy: NDArray[np.uint8]) -> NDArray[np.uint8]:
        target = np.asarray(Image.open(root / "target" / f"{name}.png"))
        result: NDArray[np.uint8] = ((rainy.astype(int) + target) // 2).astype(np.uint8)
        return result

    return Method("halfway", run, "fp32")


@pytest.fixture
def dataset(tmp_path: Path, photo: NDArray[np.uint8], rng: np.random.Generator) -> Path:
    for i in range(4):
        clean = np.roll(photo, 7 * i, axis=0)
        rainy = np.clip(clean + rng.normal(0, 4 + 4 * i, photo.shape), 0, 255).astype(np.uint8)
        for side, picture in (("input", rainy), ("target", clean)):
            path = tmp_path / "set" / side / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)
    return tmp_path / "set"


def read(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


@pytest.mark.parametrize("protocol", ["matlab-y", "rgb"])
def test_scores_every_pair_and_the_input(dataset: Path, protocol: str) -> None:
    seen: list[str] = []
    found = evaluate(
        dataset, [halfway(dataset)], protocol=protocol, on_picture=lambda name, _: seen.append(name)
    )
    expected = [
        score(read(dataset / "input" / f"{i}.png"), read(dataset / "target" / f"{i}.png"), protocol)
        for i in range(4)
    ]
    assert seen == ["0", "1", "2", "3"]
    assert found.methods == (INPUT, "halfway")
    assert list(found.scores(INPUT).values()) == expected
    assert found.mean(INPUT) == mean_score(expected)
    assert all(gain > 5 for gain in found.gains("halfway").values())
    assert list(found.gains("halfway").values()) == sorted(found.gains("halfway").values())
    summary = found.summary("halfway")
    assert summary["gain"] == pytest.approx(found.mean("halfway").psnr - found.mean(INPUT).psnr)
    assert (summary["pairs"], summary["precision"], summary["protocol"]) == (4, "fp32", protocol)


def test_results_of_another_tool_pair_by_name(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "peer"
    folder.mkdir()
    for i in (3, 1, 0, 2):  # neither order nor extension matters
        Image.fromarray(read(dataset / "target" / f"{i}.png")).save(folder / f"{i}.bmp")
    method = results_method(folder, ["0", "1", "2", "3"])
    found = evaluate(dataset, [method])
    assert method.name == "peer"
    assert found.mean("peer").psnr == math.inf
    summary = found.summary("peer")
    assert (summary["psnr"], summary["identical"]) == (None, 4)
    (folder / "2.bmp").rename(folder / "two.bmp")
    with pytest.raises(DataError, match="no result for 1 of 4 pictures, such as '2'"):
        results_method(folder, ["0", "1", "2", "3"])
    Image.fromarray(read(dataset / "target" / "1.png")).save(folder / "1.png")
    with pytest.raises(DataError, match="two results of one name"):
        results_method(folder, ["0"])


def test_one_bad_picture_does_not_stop_the_rest(dataset: Path) -> None:
    (dataset / "input" / "1.png").write_bytes(b"rain")

    def run(name: str, rainy: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if name == "2":
            raise PictureError("too wet")
        return rainy[:-1] if name == "3" else rainy

    found = evaluate(dataset, [Method("odd", run)])
    assert [(row.picture, row.method) for row in found.failures] == [
        ("1", INPUT),
        ("2", "odd"),
        ("3", "odd"),
    ]
    assert found.failures[1].error == "too wet"
    assert list(found.scores("odd")) == ["0"]
    assert found.summary("odd")["failed"] == 2
    assert row_record(found.failures[0])["psnr"] is None


def test_json_and_csv_hold_the_same_numbers(dataset: Path) -> None:
    found = evaluate(dataset, [halfway(dataset)])
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    lines = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert len(lines) == len(record["pictures"]) == 8
    for line, picture in zip(lines, record["pictures"], strict=True):
        assert (line["picture"], line["method"]) == (picture["picture"], picture["method"])
        assert float(line["psnr"]) == pytest.approx(picture["psnr"])
    assert [mean["method"] for mean in record["means"]] == [INPUT, "halfway"]


def test_refuses_what_cannot_be_told_apart(dataset: Path) -> None:
    with pytest.raises(UsageError, match="one name"):
        evaluate(dataset, [halfway(dataset), halfway(dataset)])
    with pytest.raises(UsageError, match="protocol"):
        evaluate(dataset, [], protocol="psnr")
    with pytest.raises(NoPairsError):
        evaluate(dataset / "input", [])


def test_a_model_equals_its_derainer(shared: Path, tmp_path: Path) -> None:
    from dpenet.inference.derainer import Derainer

    sample = shared / "reference" / "sample"
    crop = (slice(100, 164), slice(100, 196))
    for name, side in (("rain100h_input", "input"), ("rain100h_target", "target")):
        (tmp_path / side).mkdir()
        Image.fromarray(read(sample / f"{name}.png")[crop]).save(tmp_path / side / "a.png")
    weights = shared / "reference" / "weights" / "Rain100H.pth"
    method = model_method(weights, "fp32")
    rainy, target = (read(tmp_path / side / "a.png") for side in ("input", "target"))
    result = Derainer(weights, precision="fp32")(rainy)
    found = evaluate(tmp_path, [method])
    assert found.scores("Rain100H")["a"] == score(result, target)
    assert found.gains("Rain100H")["a"] > 8
    assert found.precisions["Rain100H"] == "fp32"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset_name", "psnr", "ssim"),
    [("Rain100H", 32.056, 0.9295), ("Rain100L", 39.294, 0.9848)],
)
def test_published_checkpoints_score_as_measured(
    shared: Path, dataset_name: str, psnr: float, ssim: float
) -> None:
    method = model_method(shared / "reference" / "weights" / f"{dataset_name}.pth", "fp32")
    mean = evaluate(shared / "benchmarks" / dataset_name, [method]).mean(dataset_name)
    assert mean.psnr == pytest.approx(psnr, abs=0.01)
    assert mean.ssim == pytest.approx(ssim, abs=5e-4)
