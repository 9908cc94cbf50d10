"""The embedded models remove rain, and leave alone what is none: neither a blur nor an identity."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

from dpenet.evaluation.residue import rain_angle, residue
from dpenet.inference.derainer import Derainer
from dpenet.metrics import score
from dpenet.rain import render_rain, sample_rain
from dpenet.rain.drawing import from_levels, to_levels
from dpenet.zoo import list_models
from dpenet.zoo.table import get_card

Levels = NDArray[np.uint8]
EMBEDDED = [name for name in list_models() if get_card(name).embedded]
# Photos that only tests see (scripts/photos.toml), 240 x 240.
PHOTOS: dict[str, Levels] = {
    "cat": data.chelsea()[40:280, 100:340],
    "coffee": data.coffee()[100:340, 150:390],
    "rocket": data.rocket()[100:340, 200:440],
}
# dB gained at least on the mean, of what the weights reach now.
GAINS = {"light": 0.3, "heavy": 3.5}
GAINS_OF_UNIVERSAL = {"light": 0.3, "heavy": 8.0}  # the others have not seen all of this rain


@pytest.fixture(scope="module", params=EMBEDDED)
def derainer(request: pytest.FixtureRequest) -> Derainer:
    return Derainer(request.param, precision="fp32")


@pytest.mark.parametrize("kind", GAINS)
def test_rain_is_removed(derainer: Derainer, kind: str) -> None:
    gains, before, after = [], 0.0, 0.0
    for seed, clean in enumerate(PHOTOS.values()):
        rng = np.random.default_rng([11, seed])
        rain = sample_rain(kind, rng)  # type: ignore[arg-type]
        rainy = render_rain(from_levels(clean), rain, rng)
        levels = to_levels(rainy)
        derained = derainer(levels)
        gains.append(score(derained, clean).psnr - score(levels, clean).psnr)
        angle = rain_angle(levels)
        before += residue(levels, angle)
        after += residue(derained, angle)
    least = GAINS_OF_UNIVERSAL if derainer.weights.name == "universal" else GAINS
    assert np.mean(gains) > least[kind]
    assert after < 0.5 * before


@pytest.mark.parametrize("photo", PHOTOS)
def test_a_picture_without_rain_stays_as_it_is(derainer: Derainer, photo: str) -> None:
    clean = PHOTOS[photo]
    assert score(derainer(clean), clean).psnr > 27
