from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dpenet.errors import ModelError
from dpenet.zoo import Architecture, Weights, list_models, load_weights, store
from dpenet.zoo.int8 import Int8, Int8Convolution, find_int8, int8_path, read_int8, write_int8
from dpenet.zoo.table import get_card

SMALL = Architecture(2, 1, 1)
NAME = "ddrb1.dconv2.0"
State = dict[str, NDArray[np.float32]]


@pytest.fixture
def weights(small_state: State, home: Path) -> Weights:
    return Weights(small_state, SMALL, name="mine")


@pytest.fixture
def form(weights: Weights, rng: np.random.Generator) -> Int8:
    kernel = rng.integers(-127, 128, (2, 2, 3, 3)).astype(np.int8)
    step, high = np.full(2, 0.125, np.float32), np.full(2, 3, np.float32)
    return Int8({NAME: Int8Convolution(kernel, step, high)}, weights.digest, "a test")


def test_what_is_written_is_found(weights: Weights, form: Int8) -> None:
    assert find_int8(weights) is None
    write_int8(int8_path(weights), form)
    found = find_int8(weights)
    assert found is not None
    assert (found.weights, found.calibration) == (weights.digest, "a test")
    assert found.digest == form.digest
    for part in ("kernel", "step", "high"):
        ours, theirs = (getattr(f.convolutions[NAME], part) for f in (found, form))
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)


def test_the_name_of_the_model_does_not_matter(weights: Weights, form: Int8) -> None:
    write_int8(int8_path(weights), form)
    assert find_int8(replace(weights, name="other")) is not None


def test_the_form_of_other_weights_is_not_found(
    weights: Weights, form: Int8, random_state: Callable[[Architecture], State]
) -> None:
    other = Weights(random_state(SMALL), SMALL, name="mine")
    assert other.digest != weights.digest
    write_int8(int8_path(weights), form)
    assert find_int8(other) is None
    write_int8(int8_path(other), form)  # the file of one under the name of another
    assert find_int8(other) is None


def test_an_embedded_form_is_for_the_embedded_weights_only(
    weights: Weights, form: Int8, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_EMBEDDED", tmp_path)
    write_int8(tmp_path / "mine.int8.safetensors", form)
    assert find_int8(weights) is not None
    write_int8(tmp_path / "mine.int8.safetensors", replace(form, weights="0" * 64))
    assert find_int8(weights) is None


@pytest.mark.parametrize("name", [n for n in list_models() if get_card(n).embedded])
def test_embedded_models_come_with_their_form(name: str, home: Path) -> None:
    weights = load_weights(name)
    assert find_int8(weights) is not None, "run: scripts/embed_weights.py"


@pytest.mark.parametrize(
    "change",
    [
        {"step": np.zeros(2, np.float32)},
        {"high": np.array([1, np.nan], np.float32)},
        {"high": np.ones(3, np.float32)},
        {"kernel": np.zeros((2, 2, 3, 3), np.float32)},
    ],
)
def test_a_form_that_does_not_fit_is_refused(
    weights: Weights, form: Int8, change: dict[str, NDArray[np.float32]]
) -> None:
    convolution = replace(form.convolutions[NAME], **change)  # type: ignore[arg-type]
    write_int8(int8_path(weights), replace(form, convolutions={NAME: convolution}))
    with pytest.raises(ModelError, match=f"damaged at {NAME}.*dpenet models quantize mine"):
        find_int8(weights)


def test_a_convolution_that_the_network_lacks_is_refused(weights: Weights, form: Int8) -> None:
    unknown = {"ddrb9.dconv1.0": form.convolutions[NAME]}
    write_int8(int8_path(weights), replace(form, convolutions=unknown))
    with pytest.raises(ModelError, match="damaged"):
        find_int8(weights)


@pytest.mark.parametrize("kept", [0, 9, 100, -1])
def test_a_file_cut_short_is_refused(weights: Weights, form: Int8, kept: int) -> None:
    path = int8_path(weights)
    write_int8(path, form)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ModelError, match="not an int8 form"):
        read_int8(path)


def test_plain_weights_are_no_form(weights: Weights, tmp_path: Path) -> None:
    from dpenet.zoo.weights import write_weights

    write_weights(tmp_path / "w.safetensors", weights.state, {})
    with pytest.raises(ModelError, match="not an int8 form"):
        read_int8(tmp_path / "w.safetensors")


def test_a_folder_that_cannot_be_written(form: Int8, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match="cannot write"):
        write_int8(tmp_path / "file" / "x.safetensors", form)
