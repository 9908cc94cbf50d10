from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.errors import PictureError
from dpenet.inference import files
from dpenet.inference.derainer import Derainer
from dpenet.inference.files import derain_file
from dpenet.media.images import Picture, read_picture
from dpenet.zoo import Weights


class Census:
    """Counts the decoded pictures that are alive."""

    def __init__(self) -> None:
        self.alive = self.most = self.born = 0
        self._lock = threading.Lock()

    def read(self, source: Path) -> Picture:
        picture = read_picture(source)
        with self._lock:
            self.born += 1
            self.alive += 1
            self.most = max(self.most, self.alive)
        weakref.finalize(picture.pixels, self._died)
        return picture

    def _died(self) -> None:
        with self._lock:
            self.alive -= 1


@pytest.fixture
def census(monkeypatch: pytest.MonkeyPatch) -> Census:
    census = Census()
    monkeypatch.setattr(files, "read_picture", census.read)
    return census


@pytest.fixture
def sources(tmp_path: Path, photo: NDArray[np.uint8]) -> list[Path]:
    paths = [tmp_path / f"{index}.bmp" for index in range(60)]
    for path in paths:
        Image.fromarray(photo).save(path)
    return paths


def derain_all(derainer: Derainer, sources: list[Path], out: Path) -> list[tuple[int, int]]:
    def one(source: Path) -> tuple[int, int]:
        return derain_file(derainer, source, out / source.name)

    with closing(derainer.each(one, sources)) as sizes:
        return list(sizes)


def test_few_pictures_are_in_memory_however_many_there_are(
    make_weights: Callable[..., Weights], sources: list[Path], tmp_path: Path, census: Census
) -> None:
    derainer = Derainer(make_weights(), precision="fp32", threads=2)
    sizes = derain_all(derainer, sources, tmp_path / "out")
    assert sizes == [(61, 83)] * 60
    assert census.born == 60
    assert 1 < census.most <= 2 * 2 + 2
    assert census.alive == 0
    assert derainer.room.taken == 0


def test_pictures_wait_for_one_another_where_memory_is_short(
    make_weights: Callable[..., Weights],
    sources: list[Path],
    tmp_path: Path,
    census: Census,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    derainer = Derainer(make_weights(), precision="fp32", threads=2)
    # A quarter of it holds the four copies of one picture, not of two.
    memory = 4 * 4 * 61 * 83 * 3 * 3 // 2
    monkeypatch.setattr(files, "needs_bands", lambda *_: False)
    grid = Derainer(make_weights(), tile=0).plan(61, 83)
    monkeypatch.setattr(Derainer, "working_memory", memory)
    monkeypatch.setattr(derainer, "plan", lambda *_, held: grid)
    derain_all(derainer, sources, tmp_path / "out")
    assert (census.born, census.most) == (60, 1)
    assert derainer.room.taken == 0


def test_a_failure_gives_its_room_back(
    make_weights: Callable[..., Weights], sources: list[Path], tmp_path: Path
) -> None:
    derainer = Derainer(make_weights(), precision="fp32", threads=2)
    sources[5].write_bytes(sources[5].read_bytes()[:900])

    def one(source: Path) -> bool:
        try:
            derain_file(derainer, source, tmp_path / "out" / source.name)
        except PictureError:
            return False
        return True

    with closing(derainer.each(one, sources)) as done:
        assert list(done) == [index != 5 for index in range(60)]
    assert derainer.room.taken == 0
