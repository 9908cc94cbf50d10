from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.rain.pictures import grey

from dpenet.rain import Array, Rain, StreakLayer, render_rain
from dpenet.rain import streak_mask as draw

LAYER = StreakLayer(angle=0, length=30, width=1.5, coverage=0.15, brightness=0.5)


def mask(layer: StreakLayer, seed: int = 0) -> Array:
    return draw(layer, 160, 160, np.random.default_rng(seed))


def direction(picture: Array) -> float:
    """Lean from the vertical, in degrees, by the structure tensor."""
    dy, dx = np.gradient(picture.astype(np.float64))
    # Along a streak the brightness is constant: the tensor's weak direction.
    return float(np.degrees(0.5 * np.arctan2(2 * (dx * dy).sum(), (dx**2 - dy**2).sum())))


def test_another_seed_gives_other_rain() -> None:
    assert not np.array_equal(mask(LAYER, 0), mask(LAYER, 1))


def test_no_rain_changes_nothing_but_rounding() -> None:
    clean = np.random.default_rng(0).random((20, 30, 3), dtype=np.float32)
    rainy = render_rain(clean, Rain(layers=()), np.random.default_rng(1))
    assert np.abs(rainy - clean).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("angle", [-40, -15, 0, 25, 60])
def test_streaks_lean_by_their_angle(angle: float) -> None:
    smooth = replace(LAYER, angle=angle, width=3, softness=2)  # differences need smooth edges
    assert direction(mask(smooth)) == pytest.approx(angle, abs=4)


def test_coverage_is_the_share_of_the_picture_under_streaks() -> None:
    thin = replace(LAYER, variation=0, taper=0, coverage=0.1)
    assert float(np.mean([mask(thin, s).mean() for s in range(8)])) == pytest.approx(0.1, rel=0.25)
    assert mask(replace(thin, coverage=0.3)).mean() > 2 * mask(thin).mean()


def test_longer_streaks_reach_farther_along_their_direction() -> None:
    def correlation(length: float, shift: int = 20) -> float:
        drawn = mask(replace(LAYER, length=length, taper=0))
        return float(np.corrcoef(drawn[shift:].ravel(), drawn[:-shift].ravel())[0, 1])

    assert correlation(60) > 0.4 > correlation(12)


def test_wider_and_softer_streaks_have_wider_and_softer_profiles() -> None:
    def neighbours(layer: StreakLayer) -> float:
        drawn = mask(layer)
        return float(np.corrcoef(drawn[:, 1:].ravel(), drawn[:, :-1].ravel())[0, 1])

    assert neighbours(replace(LAYER, width=4)) > neighbours(replace(LAYER, width=1)) + 0.1

    def steepest(layer: StreakLayer) -> float:
        return float(np.percentile(np.abs(np.diff(mask(layer), axis=1)), 99))

    assert steepest(replace(LAYER, softness=0.05)) > 1.5 * steepest(replace(LAYER, softness=3))


def test_variation_makes_most_streaks_faint() -> None:
    def lit(variation: float) -> float:
        drawn = mask(replace(LAYER, variation=variation, coverage=0.05, width=4, taper=0))
        return float(np.median(drawn[drawn > 0.05]))

    assert lit(0) > 0.8 > lit(1)


def test_crossing_streaks_add_up_as_far_as_they_may() -> None:
    dense = replace(LAYER, coverage=2.0, variation=0, taper=0)
    assert mask(replace(dense, overlap=1)).max() == 1
    grain = mask(replace(dense, overlap=math.inf))
    assert grain.max() > 3
    assert grain.mean() == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize("dry", [0.3, 0.9])
def test_a_share_of_the_picture_stays_dry(dry: float) -> None:
    dense = replace(LAYER, coverage=3.0, overlap=math.inf)
    whole, thresholded = mask(dense), mask(replace(dense, dry=dry))
    assert float(np.mean(thresholded == 0)) == pytest.approx(dry, abs=0.01)
    # Where it rains, what the least of the streaks add is taken off, and nothing else changes.
    wet = thresholded > 0
    assert np.ptp((whole - thresholded)[wet]) < 1e-4


def test_unevenness_leaves_the_mean_and_varies_over_the_picture() -> None:
    def corners(unevenness: float) -> float:
        layer = replace(LAYER, coverage=3.0, variation=0, overlap=math.inf, unevenness=unevenness)
        samples = [mask(layer, s)[a::2, :][:24, :24].mean() for s in range(6) for a in (0, 1)]
        return float(np.std(samples))

    assert corners(0.9) > 2 * corners(0.0)


@pytest.mark.parametrize("roughness", [0.4, 1.0])
def test_roughness_takes_a_random_part_of_every_pixel(roughness: float) -> None:
    streaks = replace(LAYER, coverage=0.5, variation=0)
    smooth, rough = mask(streaks), mask(replace(streaks, roughness=roughness))
    left = (rough / np.where(smooth > 0, smooth, 1))[smooth > 0]
    assert left.min() == pytest.approx(1 - roughness, abs=0.01)
    assert left.max() == pytest.approx(1, abs=0.01)
    assert left.mean() == pytest.approx(1 - roughness / 2, abs=0.02)
    along = [np.corrcoef(m[1:].ravel(), m[:-1].ravel())[0, 1] for m in (smooth, rough)]
    assert along[1] < along[0] - 0.02


def test_enlargement_keeps_sizes_and_coverage_and_blurs_edges() -> None:
    layer = replace(LAYER, width=6, length=60, softness=0.05, variation=0, taper=0, coverage=0.2)
    drawn, enlarged = ([mask(replace(layer, enlargement=e), s) for s in range(8)] for e in (1, 3))
    assert np.mean(enlarged) == pytest.approx(np.mean(drawn), rel=0.25)

    def correlation(masks: list[Array], down: int) -> float:
        return float(
            np.mean([np.corrcoef(m[down:].ravel(), m[:-down].ravel())[0, 1] for m in masks])
        )

    assert correlation(enlarged, 30) == pytest.approx(correlation(drawn, 30), abs=0.1)

    def edges(masks: list[Array]) -> float:
        return float(np.mean([np.percentile(np.abs(np.diff(m, axis=1)), 99) for m in masks]))

    assert edges(enlarged) < 0.6 * edges(drawn)


def test_reduction_makes_hard_slanting_edges_of_steps_finer_than_a_pixel() -> None:
    # Three pixels wide on a grid 1.72 times finer: the streaks of the DPENet training pair.
    reduced = replace(
        StreakLayer(angle=6, length=400, width=1.74, coverage=0.05, brightness=1),
        softness=0.03,
        variation=0,
        taper=0,
        enlargement=1 / 1.72,
    )
    hard = replace(reduced, enlargement=1)
    smooth = replace(hard, softness=1)

    def between(layer: StreakLayer) -> float:
        drawn = mask(layer)
        return float(np.mean((drawn > 0.05) & (drawn < 0.95)) / np.mean(drawn > 0.05))

    def as_below(layer: StreakLayer) -> float:
        drawn = mask(layer)
        edges = (drawn > 0.05) & (drawn < 0.95)
        return float(np.mean(np.abs(np.diff(drawn, axis=0))[edges[:-1]] < 0.01))

    assert between(hard) < 0.1 < 0.4 < between(reduced)
    assert as_below(smooth) < 0.1 < 0.4 < as_below(reduced)


def test_added_streaks_brighten_all_scenes_alike_and_screened_ones_spare_bright_scenes() -> None:
    def gain(level: float, screen: float) -> float:
        rain = Rain(layers=(replace(LAYER, brightness=0.3, variation=0),), screen=screen)
        return float(render_rain(grey(level), rain, np.random.default_rng(3)).mean() - level)

    assert gain(0.2, screen=0) == pytest.approx(gain(0.6, screen=0), rel=0.05)
    assert gain(0.2, screen=1) == pytest.approx(gain(0.6, screen=1) * 2, rel=0.15)


def test_the_veil_pulls_towards_the_airlight_and_lowers_contrast() -> None:
    clean = np.random.default_rng(0).random((48, 48, 3), dtype=np.float32)
    rain = Rain(layers=(), veil=1.0, airlight=0.9)
    veiled = render_rain(clean, rain, np.random.default_rng(2))
    assert veiled.std() < 0.75 * clean.std()
    assert clean.mean() < veiled.mean() < 0.9


def test_noise_and_jpeg_come_after_the_rain() -> None:
    noisy = render_rain(grey(0.5), Rain(layers=(), noise=0.02), np.random.default_rng(0))
    assert noisy.std() == pytest.approx(0.02, rel=0.1)
    rain = Rain(layers=(LAYER,))
    exact = render_rain(grey(0.3), rain, np.random.default_rng(0))
    coded = render_rain(grey(0.3), replace(rain, jpeg=75), np.random.default_rng(0))
    assert 0 < np.abs(coded - exact).mean() < 0.05


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="H, W, 3"):
        render_rain(np.zeros((4, 4), np.float32), Rain(layers=()), np.random.default_rng(0))
