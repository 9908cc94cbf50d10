from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpenet.inference import tiling
from dpenet.inference.engines import OpenVINOEngine
from dpenet.inference.options import Options
from dpenet.inference.tiling import automatic_tile, plan_tiles, run_tiled
from dpenet.zoo import Weights

Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def on_windows(engine: OpenVINOEngine) -> Function:
    """An engine as a function from (h, w, 3) to (h, w, 3), not clipped."""

    def function(window: NDArray[np.float32]) -> NDArray[np.float32]:
        x = np.ascontiguousarray(np.moveaxis(window, 2, 0)[None])
        return np.moveaxis(engine.run(x)[0], 0, 2)

    return function


@pytest.fixture(scope="session")
def networks(make_weights: Callable[..., Weights]) -> dict[tuple[int, int], tuple[Function, int]]:
    """By seed and stage: a small random network, and its receptive field."""
    networks = {}
    for seed, stage in itertools.product((0, 1, 2), (1, 2)):
        weights = make_weights(width=seed + 2, n_ddrb=1 + seed % 2, n_erpab=1, seed=seed)
        engine = OpenVINOEngine(weights, Options(precision="fp32", stage=stage, threads=1))
        architecture = weights.architecture
        field = architecture.stage1_field if stage == 1 else architecture.receptive_field
        networks[seed, stage] = on_windows(engine), field
    return networks


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2),
    stage=st.integers(1, 2),
    height=st.integers(1, 100),
    width=st.integers(1, 100),
    tile=st.integers(12, 110),
)
@example(seed=0, stage=2, height=4, width=5, tile=1)
@example(seed=1, stage=2, height=65, width=97, tile=32)
def test_tiled_equals_whole(
    networks: dict[tuple[int, int], tuple[Function, int]],
    seed: int,
    stage: int,
    height: int,
    width: int,
    tile: int,
) -> None:
    function, halo = networks[seed, stage]
    picture = np.random.default_rng(height * 1000 + width).random((height, width, 3), np.float32)
    tiled = run_tiled(function, picture, tile, halo)
    np.testing.assert_allclose(tiled, function(picture), rtol=0, atol=1e-5)


def test_a_smaller_halo_shows(
    networks: dict[tuple[int, int], tuple[Function, int]], rng: np.random.Generator
) -> None:
    function, halo = networks[0, 2]
    picture = rng.random((90, 90, 3), np.float32)
    off = np.abs(run_tiled(function, picture, 30, halo // 4) - function(picture)).max()
    assert off > 1e-4


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    tile=st.integers(0, 310),
    halo=st.integers(0, 200),
)
@example(height=300, width=1, tile=1, halo=7)
@example(height=129, width=257, tile=128, halo=181)
@settings(deadline=None)
def test_the_cores_partition_the_picture(height: int, width: int, tile: int, halo: int) -> None:
    if tile and (height / tile) * (width / tile) > 400:
        tile += 20
    covered = np.zeros((height, width), int)
    for part in plan_tiles(height, width, tile, halo):
        covered[part.core] += 1
        core, window = covered[part.core].shape, covered[part.window].shape
        assert max(core) <= (tile or max(height, width))
        assert np.prod(window) == part.pixels
        # The core lies in the window where the plan says, with the halo or the picture's edge
        # on each side of it.
        rows, columns = np.mgrid[:height, :width]
        for axis, position in enumerate((rows, columns)):
            inside = position[part.window][part.core_in_window]
            assert np.array_equal(inside, position[part.core])
            first, last = position[part.window].min(), position[part.window].max()
            assert first == max(0, inside.min() - halo)
            assert last == min((height, width)[axis] - 1, inside.max() + halo)
    assert (covered == 1).all()


def test_no_tile_is_a_sliver() -> None:
    sides = {part.rows.stop - part.rows.start for part in plan_tiles(1001, 500, 500, 10)}
    assert sides == {333, 334}


def test_tile_0_is_the_whole_picture_in_one_window() -> None:
    (part,) = plan_tiles(700, 30, 0, 181)
    assert part.window == part.core == (slice(0, 700), slice(0, 30))


@given(
    free=st.integers(0, 2**36),
    height=st.integers(1, 20_000),
    width=st.integers(1, 20_000),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
)
def test_the_automatic_tile_stays_in_half_of_the_free_memory(
    free: int, height: int, width: int, precision: str
) -> None:
    halo = 101
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "free_memory", lambda: free)
        tile = automatic_tile(height, width, halo, precision)
    per_pixel = tiling.BYTES_PER_PIXEL[precision]
    if tile == 0:
        assert height * width * per_pixel <= free / 2
    else:
        assert height * width * per_pixel > free / 2 - per_pixel
        assert tile == tiling.LEAST_TILE or (tile + 2 * halo) ** 2 * per_pixel <= free / 2
        assert tile >= tiling.LEAST_TILE


def test_free_memory_is_plausible() -> None:
    assert 10**7 < tiling.free_memory() < 10**14
