from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import halo, tables

from dpenet.inference.derainer import Derainer
from dpenet.inference.tiling import run_tiled, square_grid
from dpenet.media.images import read_picture
from dpenet.zoo import Architecture, Weights, get_card, list_models, load_weights
from dpenet.zoo.weights import read_weights


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return halo.read_rows()


@pytest.mark.parametrize("name", list_models())
def test_the_halos_of_a_model_are_what_was_measured(rows: list[dict[str, Any]], name: str) -> None:
    card = get_card(name)
    used = load_weights(name).metadata["halo_8bit"] if card.embedded else card.halo_8bit
    if used is None:  # the receptive field, then
        return
    assert used == halo.to_use([row for row in rows if row["model"] == name])


def small_weights() -> Weights:
    architecture = Architecture(width=4, n_ddrb=2, n_erpab=1)
    rng = np.random.default_rng(0)
    state = {
        key: rng.normal(0, 0.1, shape).astype(np.float32)
        for key, shape in architecture.shapes().items()
    }
    return Weights(state, architecture, name="small")


def test_halos_are_tried_until_one_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halo, "PICTURES", halo.PICTURES[:1])
    found = list(halo._measure(small_weights(), "fp32", 1))
    assert [row["halo"] for row in found] == list(range(32, 32 - 16 * len(found), -16))
    assert not halo._shows(found[0])
    assert {row["precision"] for row in found} == {"fp32"}
    # Where no halo is enough, wider ones are tried up to the receptive field.
    monkeypatch.setattr(halo, "START", 16)
    monkeypatch.setattr(halo, "_shows", lambda row: True)
    assert [row["halo"] for row in halo._measure(small_weights(), "fp32", 1)] == [16, 32]


def tried(precision: str, differing: dict[int, int], model: str = "small") -> list[dict[str, Any]]:
    facts = {"model": model, "precision": precision, "receptive_field": 101, "samples": 10**6}
    return [facts | {"halo": at, "differing": off, "worst": 1} for at, off in differing.items()]


def test_the_next_wider_halo_is_used_in_each_precision() -> None:
    full = tried("fp32", {64: 0, 48: 3, 32: 20})
    assert halo.enough(full) == 48
    assert halo.to_use(full) == {"fp32": 64}
    both = [*full, *tried("int8", {64: 11, 80: 10})]
    assert halo.to_use(both) == {"fp32": 64, "int8": 96}
    assert halo.to_use(tried("int8", {96: 0, 80: 50})) == {"int8": 101}
    assert halo.enough(tried("int8", {80: 99, 96: 99})) is None
    assert halo.to_use(tried("int8", {80: 99, 96: 99})) == {"int8": 101}


def test_rows_of_the_same_model_and_precision_are_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halo, "RESULTS", tmp_path / "halo.json")
    monkeypatch.setattr("sys.argv", ["halo", "--model", "universal-nano"])
    monkeypatch.setattr(halo, "stored_path", lambda name: tmp_path / f"{name}.safetensors")
    differing = {"fp32": {48: 0, 32: 99}, "int8": {64: 0, 48: 99}}
    monkeypatch.setattr(
        halo,
        "_measure",
        lambda weights, precision, threads: tried(precision, differing[precision], weights.name),
    )
    other = tried("int8", {80: 0}, "universal")
    halo._write([*tried("fp32", {80: 0}, "universal-nano"), *other])
    halo.main()
    new = [tried(precision, each, "universal-nano") for precision, each in differing.items()]
    assert halo.read_rows() == [*other, *new[0], *new[1]]
    embedded = read_weights(tmp_path / "universal-nano.safetensors")
    assert embedded.metadata["halo_8bit"] == {"fp32": 64, "int8": 80}
    assert embedded.digest == load_weights("universal-nano").digest


def test_the_table_shows_each_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = tried("fp32", {96: 0, 80: 0, 64: 99}, "heavyrain")
    monkeypatch.setattr(halo, "read_rows", lambda: rows)
    used = get_card("heavyrain").halo_8bit
    assert used is not None
    row = f"| `heavyrain` | 181 | 80 | {used['fp32']} | not measured | 181 |"
    assert row in tables.halo_table()
    rows += tried("int8", {96: 99, 112: 0}, "heavyrain")
    row = f"| `heavyrain` | 181 | 80 | {used['fp32']} | 112 | 181 |"
    assert row in tables.halo_table()


def test_a_model_without_an_int8_form_is_measured_in_fp32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(halo, "RESULTS", tmp_path / "halo.json")
    monkeypatch.setattr("sys.argv", ["halo"])
    monkeypatch.setattr(halo, "_weights", lambda *_: [small_weights()])
    asked: list[str] = []

    def measure(weights: Weights, precision: str, threads: int | None) -> list[dict[str, Any]]:
        asked.append(precision)
        return tried(precision, {48: 0})

    monkeypatch.setattr(halo, "_measure", measure)
    halo.main()
    assert asked == ["fp32"]


@pytest.mark.slow
def test_a_published_network_shows_no_seam_in_8_bits(shared: Path) -> None:
    """On another picture than those that the halos were measured on, a seam across its middle."""
    halos = get_card("rain100h").halo_8bit
    assert halos is not None
    weights = read_weights(shared / "reference" / "weights" / "Rain100H.pth")
    rainy = read_picture(min((shared / "benchmarks" / "Rain100H" / "input").iterdir())).pixels
    derain: Callable[..., Any] = Derainer(weights, precision="fp32").derain_window
    height, width, _ = rainy.shape
    whole = derain(rainy).astype(int)
    tiled = run_tiled(derain, rainy, square_grid(height, width, halos["fp32"], 240))
    off = np.abs(tiled - whole)
    assert off.max() <= 1
    assert np.count_nonzero(off) <= 1e-5 * off.size
    # As much as a narrow one does show.
    narrow = run_tiled(derain, rainy, square_grid(height, width, 24, 240))
    assert np.count_nonzero(narrow - whole) > 1e-4 * off.size
