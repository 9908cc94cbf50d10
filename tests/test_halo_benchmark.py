from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import halo

from dpenet.inference.derainer import Derainer
from dpenet.inference.tiling import run_tiled, square_grid
from dpenet.media.images import read_picture
from dpenet.zoo import Architecture, Weights, get_card, list_models, load_weights
from dpenet.zoo.weights import read_weights


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(halo.RESULTS.read_text())["rows"]
    return found


@pytest.mark.parametrize("name", list_models())
def test_the_halo_of_a_model_is_one_step_wider_than_measured(
    rows: list[dict[str, Any]], name: str
) -> None:
    card = get_card(name)
    used = load_weights(name).halo_8bit if card.embedded else card.halo_8bit
    if used is None:  # the receptive field, then
        return
    enough = [row["halo"] for row in rows if row["model"] == name and not halo._shows(row)]
    assert used == min(enough) + halo.STEP


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
    found = list(halo._measure(small_weights(), 1))
    assert [row["halo"] for row in found] == list(range(32, 32 - 16 * len(found), -16))
    assert not halo._shows(found[0])
    # Where no halo is enough, wider ones are tried up to the receptive field.
    monkeypatch.setattr(halo, "START", 16)
    monkeypatch.setattr(halo, "_shows", lambda row: True)
    assert [row["halo"] for row in halo._measure(small_weights(), 1)] == [16, 32]


@pytest.mark.slow
def test_a_published_network_shows_no_seam_in_8_bits(shared: Path) -> None:
    """On another picture than those that the halos were measured on, a seam across its middle."""
    halo_8bit = get_card("rain100h").halo_8bit
    assert halo_8bit is not None
    weights = read_weights(shared / "reference" / "weights" / "Rain100H.pth")
    rainy = read_picture(min((shared / "benchmarks" / "Rain100H" / "input").iterdir())).pixels
    derain: Callable[..., Any] = Derainer(weights, precision="fp32").derain_window
    height, width, _ = rainy.shape
    whole = derain(rainy).astype(int)
    tiled = run_tiled(derain, rainy, square_grid(height, width, halo_8bit, 240))
    off = np.abs(tiled - whole)
    assert off.max() <= 1
    assert np.count_nonzero(off) <= 1e-5 * off.size
    # As much as a narrow one does show.
    narrow = run_tiled(derain, rainy, square_grid(height, width, 24, 240))
    assert np.count_nonzero(narrow - whole) > 1e-4 * off.size
