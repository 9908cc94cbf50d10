"""The measure of flicker: it follows the camera, and sees what changes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from benchmarks import flicker


@pytest.mark.parametrize("camera", ["shakes", "pans", "zooms"])
def test_the_truth_hardly_flickers_along_the_path_of_the_camera(camera: str) -> None:
    clip = flicker.draw(replace(flicker.RECIPES[3], camera=camera))
    for (one, two), views, (gone, moving) in zip(
        pairwise(clip.truth), pairwise(clip.views), pairwise(clip.moving), strict=True
    ):
        scene = ~(gone | moving)
        before, after, path = one.astype(float), two.astype(float), flicker._path(*views)
        along = flicker._change(before, after, path, scene)
        assert along < 0.75 * flicker._change(before, after, np.zeros_like(path), scene)
        # A change of 9 levels everywhere is one of about that much.
        assert flicker._change(before, after + 9, path, scene) == pytest.approx(9, abs=along)


def test_a_drawn_clip_is_the_same_every_time() -> None:
    one, two = (flicker.draw(flicker.RECIPES[0]) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(one.rainy, two.rainy, strict=True))
    assert not np.array_equal(one.rainy[0], one.rainy[1])
