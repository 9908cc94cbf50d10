from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dpenet.errors import PictureError, UsageError
from dpenet.metrics import PROTOCOLS, Score, mean_score, score, to_uint8


def matlab_y(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    r, g, b = (picture[..., i].astype(np.float64) for i in range(3))
    return 16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255


def matlab_y_uint8(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Halves up, as MATLAB's round; in whole numbers, for in floats a half may be a bit less."""
    r, g, b = (picture[..., i].astype(np.int64) for i in range(3))
    luma: NDArray[np.int64] = 16 + (65481 * r + 128553 * g + 24966 * b + 127500) // 255000
    return luma.astype(np.float64)


def pil_l(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(Image.fromarray(picture).convert("L"), np.float64)


def oracle(a: NDArray[np.uint8], b: NDArray[np.uint8], protocol: str) -> Score:
    """The same numbers from scikit-image."""
    options: dict[str, Any] = {
        "gaussian_weights": True,
        "sigma": 1.5,
        "use_sample_covariance": False,
        "data_range": 255,
        "full": True,
    }
    functions: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.float64]]] = {
        "matlab-y": matlab_y,
        "matlab-y-uint8": matlab_y_uint8,
        "pil-l": pil_l,
        "rgb": lambda p: p.astype(np.float64),
    }
    planes = functions[protocol]
    x, y = planes(a), planes(b)
    axis = 2 if x.ndim == 3 else None
    _, similarity = structural_similarity(x, y, channel_axis=axis, **options)
    ratio = peak_signal_noise_ratio(y, x, data_range=255)
    return Score(float(ratio), float(similarity[5:-5, 5:-5].mean()))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(11, 60),
    width=st.integers(11, 60),
    noise=st.sampled_from([0.6, 4.0, 40.0]),
    seed=st.integers(0, 2**32 - 1),
)
@example(height=49, width=53, noise=40.0, seed=51)  # a luma that ends in exactly a half
def test_equals_scikit_image(
    protocol: str, height: int, width: int, noise: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 255, height * width).reshape(height, width, 1)
    a = np.clip(ramp + rng.normal(0, noise, (height, width, 3)), 0, 255).astype(np.uint8)
    b = np.clip(ramp + rng.normal(0, noise, (height, width, 3)), 0, 255).astype(np.uint8)
    b[0, 0] ^= 1  # never identical
    a[0, 0] = b[0, 0] ^ 7
    expected = oracle(a, b, protocol)
    assert score(a, b, protocol) == pytest.approx(expected, abs=1e-6)


def test_flat_pictures_and_extremes_are_stable() -> None:
    black, white = (np.full((20, 30, 3), v, np.uint8) for v in (0, 255))
    assert score(black, white, "rgb").psnr == pytest.approx(0)
    assert score(black, white, "rgb") == pytest.approx(oracle(black, white, "rgb"), abs=1e-6)
    assert score(white, white, "rgb").ssim == pytest.approx(1, abs=1e-12)


def test_pillow_luma_is_exact(rng: np.random.Generator) -> None:
    from dpenet.metrics import channels

    picture = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert np.array_equal(channels(picture, PROTOCOLS["pil-l"])[0], pil_l(picture))


def test_floats_are_clipped_and_rounded(photo: NDArray[np.uint8]) -> None:
    target = photo[::-1].copy()
    as_float = photo.astype(np.float32) / 255
    assert score(as_float, target) == score(photo, target)
    assert score(as_float + 0.3 / 255, target) == score(photo, target)
    assert to_uint8(np.array([-0.5, 2.0])).tolist() == [0, 255]


def test_studio_range_scores_higher_than_full_range(photo: NDArray[np.uint8]) -> None:
    noisy = np.clip(
        photo + np.random.default_rng(1).normal(0, 9, photo.shape[:2])[..., None], 0, 255
    )
    result = noisy.astype(np.uint8)
    gap = score(result, photo, "matlab-y").psnr - score(result, photo, "pil-l").psnr
    assert gap == pytest.approx(20 * math.log10(255 / 219), abs=0.02)  # 1.32 dB


def test_identical_pictures_do_not_spoil_the_mean(photo: NDArray[np.uint8]) -> None:
    same = score(photo, photo)
    assert same.psnr == math.inf
    assert mean_score([same, Score(30, 0.5), Score(40, 0.9)]) == pytest.approx((35, 2.4 / 3))
    assert mean_score([same]).psnr == math.inf
    with pytest.raises(ValueError, match="no scores"):
        mean_score([])


@pytest.mark.parametrize(
    ("result", "target", "reason"),
    [
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 21, 3), np.uint8), "one size"),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8), "shape"),
        (np.zeros((10, 20, 3), np.uint8), np.ones((10, 20, 3), np.uint8), "at least 11"),
        (np.zeros((20, 20, 3), np.int32), np.zeros((20, 20, 3), np.uint8), "int32"),
        (np.full((20, 20, 3), np.nan), np.zeros((20, 20, 3), np.uint8), "NaN"),
    ],
)
def test_refuses_with_a_reason(result: NDArray[Any], target: NDArray[Any], reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        score(result, target)


def test_unknown_protocol_lists_the_known(photo: NDArray[np.uint8]) -> None:
    with pytest.raises(UsageError, match="matlab-y-uint8"):
        score(photo, photo, "matlab")


@pytest.mark.parametrize(
    ("name", "expected"), [("Rain100H", (13.687, 0.3667)), ("Rain100L", (26.554, None))]
)
def test_rainy_inputs_of_the_benchmarks(
    shared: Path, name: str, expected: tuple[float, float | None]
) -> None:
    folder = shared / "benchmarks" / name
    scores = [
        score(np.asarray(Image.open(rainy)), np.asarray(Image.open(folder / "target" / rainy.name)))
        for rainy in sorted((folder / "input").glob("*.png"))
    ]
    assert len(scores) == 50
    mean = mean_score(scores)
    assert mean.psnr == pytest.approx(expected[0], abs=5e-4)
    if expected[1] is not None:
        assert mean.ssim == pytest.approx(expected[1], abs=5e-5)
