from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.data.content import find_same, fingerprint, fit, same_picture
from dpenet.data.layouts import list_pairs
from dpenet.data.pairs import load_pair


def scene(seed: int, size: int = 160) -> NDArray[np.uint8]:
    """Blocks and texture unlike those of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = np.kron(rng.integers(30, 220, (8, 8, 3)), np.ones((size // 8, size // 8, 1)))
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def jpeg(picture: NDArray[np.uint8], quality: int = 70) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


@pytest.mark.parametrize(("down", "right"), [(0, 1), (-3, 0), (7, -12), (16, 16)])
def test_finds_the_shift(down: int, right: int) -> None:
    big = scene(0, 200)
    first = big[20:180, 20:180]
    second = big[20 - down : 180 - down, 20 - right : 180 - right]
    found = fit(first, second)
    assert (found.down, found.right) == (down, right)
    assert found.shifted
    assert not found.unrelated


def test_aligned_unrelated_and_flat() -> None:
    a = scene(0)
    assert not fit(a, jpeg(a)).shifted
    other = fit(a, scene(1))
    assert other.unrelated
    assert not other.shifted
    flat = fit(a, np.full_like(a, 128))
    assert not flat.unrelated
    assert not flat.shifted


@pytest.mark.parametrize("name", ["Rain100H", "Rain100L", "Rain1200_samples"])
def test_rain_is_not_taken_for_a_shift(name: str, shared: Path) -> None:
    pairs = [load_pair(p) for p in list_pairs(shared / "benchmarks" / name).pairs[:12]]
    for rainy, clean in pairs:
        found = fit(clean, rainy)
        assert (found.down, found.right) == (0, 0)
        assert not found.unrelated
        assert fit(clean[1:], rainy[:-1]).shifted
    for (rainy, own), (_, clean) in pairwise(pairs):
        if rainy.shape == clean.shape and not np.array_equal(clean, own):
            assert fit(clean, rainy).unrelated


def test_an_encoding_does_not_hide_a_picture() -> None:
    a = scene(0)
    assert same_picture(fingerprint(a), fingerprint(a.copy())) == "the same pixels"
    again = same_picture(fingerprint(a), fingerprint(jpeg(a)))
    assert again == "the same picture, encoded anew"
    smaller = np.asarray(Image.fromarray(a).resize((120, 120)))
    assert same_picture(fingerprint(a), fingerprint(smaller)) == again
    assert same_picture(fingerprint(a), fingerprint(scene(1))) is None
    assert same_picture(fingerprint(a), fingerprint(a[:, ::-1])) is None


def test_grey_skies_are_different_pictures() -> None:
    skies = [np.clip(np.random.default_rng(i).normal(180, 2, (64, 64, 3)), 0, 255) for i in (0, 1)]
    a, b = (fingerprint(sky.astype(np.uint8)) for sky in skies)
    assert same_picture(a, b) is None
    assert same_picture(a, a) == "the same pixels"


def test_finds_each_copy_once() -> None:
    prints = [fingerprint(p) for p in (scene(0), scene(1), jpeg(scene(0)), scene(1), scene(1))]
    assert [(i, j) for i, j, _ in find_same(prints)] == [(0, 2), (1, 3), (1, 4)]
    assert [(i, j) for i, j, _ in find_same(prints[:2], prints[2:4])] == [(0, 0), (1, 1)]
    assert find_same([], prints) == []


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (33, 31)])
def test_small_pictures_have_fingerprints_too(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
    assert fingerprint(picture).thumbnail.shape == (32, 32, 3)
    fit(picture, picture)
