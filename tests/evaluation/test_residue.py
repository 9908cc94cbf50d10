from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data

from dpenet.evaluation.residue import rain_angle, residue
from dpenet.rain import Rain, StreakLayer, render_rain

LAYER = StreakLayer(angle=0, length=30, width=1.5, coverage=0.1, brightness=0.3)


@pytest.fixture(scope="module")
def scene() -> NDArray[np.float32]:
    cat: NDArray[np.uint8] = data.chelsea()[:240, :360]
    return cat.astype(np.float32) / np.float32(255)


def rainy(scene: NDArray[np.float32], **changes: float) -> NDArray[np.float32]:
    rain = Rain(layers=(replace(LAYER, **changes),))
    return 255 * render_rain(scene, rain, np.random.default_rng(0))


@pytest.mark.parametrize("angle", [-40, -15, 0, 20, 55])
def test_the_direction_of_rain_is_found(scene: NDArray[np.float32], angle: float) -> None:
    assert abs(rain_angle(rainy(scene, angle=angle)) - angle) <= 5


def test_more_rain_leaves_more_and_no_rain_nearly_nothing(scene: NDArray[np.float32]) -> None:
    some, more = (residue(rainy(scene, angle=10, brightness=b), 10) for b in (0.15, 0.4))
    none = residue(255 * scene, 10)
    assert more > 1.3 * some > 5 * none


def test_strong_edges_of_the_scene_do_not_outweigh_faint_rain(scene: NDArray[np.float32]) -> None:
    pillars = scene.copy()
    pillars[:, 60:300:60] = 1.0
    assert abs(rain_angle(rainy(pillars, angle=25, brightness=0.2)) - 25) <= 5


def test_a_blur_lowers_it_which_is_why_it_never_stands_alone(scene: NDArray[np.float32]) -> None:
    picture = rainy(scene, angle=10)
    blurred = ndimage.gaussian_filter(picture, (3, 3, 0))
    assert residue(blurred, 10) < 0.3 * residue(picture, 10)


def test_small_and_flat_pictures() -> None:
    assert residue(np.full((9, 7), 40.0), 0) == pytest.approx(0, abs=1e-9)
