from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.data.pairs import Pair, load_pair, read_rgb
from dpenet.errors import DataError


def test_reads_rgb_of_any_8_bit_kind(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    for mode in ("RGB", "RGBA", "L", "P"):
        Image.fromarray(photo).convert(mode).save(tmp_path / f"{mode}.png")
        assert read_rgb(tmp_path / f"{mode}.png").shape == photo.shape
    assert np.array_equal(read_rgb(tmp_path / "RGBA.png"), photo)


def test_halves_leave_out_an_odd_middle(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    assert photo.shape[1] == 83
    Image.fromarray(photo).save(tmp_path / "x.png")
    pair = Pair("x", tmp_path / "x.png", tmp_path / "x.png", "left", "right")
    rainy, clean = load_pair(pair)
    assert np.array_equal(rainy, photo[:, :41])
    assert np.array_equal(clean, photo[:, 42:])


def test_sixteen_bits_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 40000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(DataError, match="more than 8 bits"):
        read_rgb(tmp_path / "deep.png")


def test_unreadable_and_unequal_files_are_named(tmp_path: Path, photo: NDArray[np.uint8]) -> None:
    Image.fromarray(photo).save(tmp_path / "a.png")
    Image.fromarray(photo[:-1]).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"83x61.*b\.png is 83x60"):
        load_pair(Pair("p", tmp_path / "a.png", tmp_path / "b.png"))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name in ("cut.png", "absent.png"):
        with pytest.raises(DataError, match=name):
            read_rgb(tmp_path / name)
