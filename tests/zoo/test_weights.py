from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from dpenet.errors import ModelError
from dpenet.zoo import Architecture
from dpenet.zoo.weights import read_weights, write_weights

State = dict[str, NDArray[np.float32]]
METADATA = {"licence": "Apache-2.0", "scores": [{"psnr": 30.5}], "name": "é"}


@pytest.fixture
def small_file(small_state: State, tmp_path: Path) -> Path:
    path = tmp_path / "small.safetensors"
    write_weights(path, small_state, METADATA)
    return path


def test_what_was_written_is_read(small_state: State, small_file: Path) -> None:
    weights = read_weights(small_file)
    assert weights.architecture == Architecture(2, 1, 1)
    assert (weights.metadata, weights.name) == (METADATA, "small")
    assert weights.state.keys() == small_state.keys()
    for key, array in weights.state.items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, small_state[key])


def test_safetensors_itself_reads_the_file(small_state: State, small_file: Path) -> None:
    theirs = load_file(small_file)
    assert theirs.keys() == small_state.keys()
    for key, array in theirs.items():
        np.testing.assert_array_equal(array, small_state[key])


def test_the_same_weights_give_the_same_bytes(
    small_state: State, small_file: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.safetensors"
    turned = dict(reversed(small_state.items()))
    write_weights(again, turned, dict(reversed(METADATA.items())))
    assert again.read_bytes() == small_file.read_bytes()


def test_arrays_of_any_layout_are_written_right(small_state: State, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    strided = {key: np.asfortranarray(array, np.float64) for key, array in small_state.items()}
    write_weights(path, strided, {})
    for key, array in read_weights(path).state.items():
        np.testing.assert_array_equal(array, small_state[key])


def test_half_precision_is_read_as_torch_reads_it(small_state: State, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    from safetensors.torch import save_file as save_torch

    path = tmp_path / "a.safetensors"
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        tensors = {key: torch.from_numpy(array).to(dtype) for key, array in small_state.items()}
        save_torch(tensors, path)
        for key, array in read_weights(path).state.items():
            np.testing.assert_array_equal(array, tensors[key].float().numpy())


def test_the_content_tells_the_format_not_the_suffix(
    small_file: Path, small_state: State, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    disguised = tmp_path / "a.pth"
    disguised.write_bytes(small_file.read_bytes())
    assert read_weights(disguised).metadata == METADATA
    disguised = tmp_path / "a.safetensors"
    torch.save({key: torch.from_numpy(array) for key, array in small_state.items()}, disguised)
    assert read_weights(disguised).architecture == Architecture(2, 1, 1)


@pytest.mark.parametrize("name", ["HeavyRain", "Rain100H", "Rain100L", "Rain1400", "Rain800"])
def test_published_checkpoints_are_whole(name: str, shared: Path) -> None:
    weights = read_weights(shared / "reference" / "weights" / f"{name}.pth")
    assert weights.architecture == Architecture()
    assert weights.name == name


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused(bad: float, small_state: State, tmp_path: Path) -> None:
    small_state["erpab1.pa.0.weight"][0, 0, 1, 1] = bad
    path = tmp_path / "a.safetensors"
    with pytest.raises(ModelError, match=r"erpab1\.pa\.0\.weight holds NaN or infinite"):
        write_weights(path, small_state, {})
    assert not path.exists()
    save_file(small_state, path)
    with pytest.raises(ModelError, match=r"a\.safetensors: erpab1\.pa\.0\.weight holds NaN"):
        read_weights(path)


def test_wrong_keys_and_shapes_name_the_file(small_state: State, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    kernel = small_state.pop("ddrb1.dconv5.2.weight")
    save_file(small_state, path)
    with pytest.raises(ModelError, match=r"a\.safetensors: .*missing ddrb1\.dconv5\.2\.weight"):
        read_weights(path)
    save_file(small_state | {"ddrb1.dconv5.2.weight": kernel[..., :1].copy()}, path)
    with pytest.raises(ModelError, match=r"a\.safetensors: .*2x2x3x1 instead of 2x2x3x3"):
        read_weights(path)


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"inconv1.0.weight": np.zeros((2, 3, 1, 1), np.int64)}, path)
    with pytest.raises(ModelError, match="of type I64, not floats"):
        read_weights(path)


@pytest.mark.parametrize("entry", ["[1]", "{", "[" * 100_000])
def test_odd_metadata_are_refused(entry: str, small_state: State, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(small_state, path, {"dpenet": entry})
    with pytest.raises(ModelError, match=r"a\.safetensors"):
        read_weights(path)


def test_metadata_of_others_are_ignored(small_state: State, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(small_state, path, {"format": "pt"})
    assert read_weights(path).metadata == {}


def test_our_metadata_are_one_json_entry(small_file: Path) -> None:
    content = small_file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert list(header["__metadata__"]) == ["dpenet"]
    assert json.loads(header["__metadata__"]["dpenet"]) == METADATA


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with path.open("wb") as file:
        file.truncate(5 << 30)  # sparse: takes no space
    with pytest.raises(ModelError, match=r"5\.4 GB are too much"):
        read_weights(path)


def test_a_missing_file_and_an_impossible_target(small_state: State, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.pth: No such file"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(ModelError, match=r"cannot write .*a\.safetensors: No such file"):
        write_weights(tmp_path / "none" / "a.safetensors", small_state, {})


FUZZ = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(cut=st.integers(0, 10_000))
def test_truncated_safetensors_are_refused(cut: int, small_file: Path) -> None:
    content = small_file.read_bytes()
    path = small_file.with_name("cut")
    path.write_bytes(content[: cut % len(content)])
    with pytest.raises(ModelError):
        read_weights(path)


@FUZZ
@given(
    edits=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=8),
    header=st.booleans(),
)
def test_mutated_safetensors_raise_nothing_but_model_errors(
    edits: list[tuple[int, int]], header: bool, small_file: Path
) -> None:
    content = bytearray(small_file.read_bytes())
    end = 8 + int.from_bytes(content[:8], "little") if header else len(content)
    for place, value in edits:
        content[place % end] = value
    path = small_file.with_name("mutated")
    path.write_bytes(bytes(content))
    try:
        weights = read_weights(path)
    except ModelError as error:
        assert str(path) in str(error)
    else:
        assert all(np.isfinite(array).all() for array in weights.state.values())


def test_a_file_holds_the_numbers_and_a_small_header(
    random_state: Callable[[Architecture], State], tmp_path: Path
) -> None:
    path = tmp_path / "full.safetensors"
    write_weights(path, random_state(Architecture()), {})
    assert path.stat().st_size - 4 * Architecture().parameters < 10_000
