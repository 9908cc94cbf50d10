from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import dpenet
from dpenet.inference import shortcut
from dpenet.inference.derainer import Derainer


def test_the_function_equals_the_class(model_file: Path, photo: NDArray[np.uint8]) -> None:
    expected = Derainer(model_file, strength=0.5)(photo)
    assert np.array_equal(dpenet.derain(photo, model=model_file, strength=0.5), expected)


def test_the_function_keeps_the_network(model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    make = Derainer.__init__

    def counted(self: Derainer, *args: Any, **kwargs: Any) -> None:
        made.append("one")
        make(self, *args, **kwargs)

    monkeypatch.setattr(Derainer, "__init__", counted)
    shortcut._derainer.cache_clear()
    picture = np.zeros((9, 9, 3), np.uint8)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: dpenet.derain(picture, model=model_file), range(8)))
    assert made == ["one"]
    dpenet.derain(picture, model=str(model_file), stage=1)
    assert made == ["one", "one"]


def test_unknown_options_are_refused(model_file: Path) -> None:
    with pytest.raises(TypeError, match="strenght"):
        dpenet.derain(np.zeros((4, 4), np.uint8), model=model_file, strenght=1)  # type: ignore
