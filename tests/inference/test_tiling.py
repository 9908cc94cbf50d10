from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from dpenet.inference import tiling
from dpenet.inference.engines import Engine, OpenVINOEngine, open_engine
from dpenet.inference.options import Options
from dpenet.inference.tiling import (
    SEAM_TOLERANCE,
    Cost,
    Grid,
    cheapest_grid,
    run_tiled,
    square_grid,
)
from dpenet.zoo import Weights, load_weights

Function = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def on_windows(engine: Engine) -> Function:
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


def shapes() -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, 100), st.integers(1, 100))


@settings(max_examples=30)
@given(seed=st.integers(0, 2), stage=st.integers(1, 2), shape=shapes(), tile=st.integers(12, 110))
@example(seed=0, stage=2, shape=(4, 5), tile=1)
@example(seed=1, stage=2, shape=(65, 97), tile=32)
def test_tiled_equals_whole(
    networks: dict[tuple[int, int], tuple[Function, int]],
    seed: int,
    stage: int,
    shape: tuple[int, int],
    tile: int,
) -> None:
    function, halo = networks[seed, stage]
    picture = np.random.default_rng(shape).random((*shape, 3), np.float32)
    tiled = run_tiled(function, picture, square_grid(*shape, halo, tile))
    np.testing.assert_allclose(tiled, function(picture), rtol=0, atol=SEAM_TOLERANCE["fp32"])


@settings(max_examples=20)
@given(seed=st.integers(0, 2), shape=shapes(), pixels=st.integers(1, 10_000))
def test_under_any_budget_the_result_is_that_of_the_whole(
    networks: dict[tuple[int, int], tuple[Function, int]],
    seed: int,
    shape: tuple[int, int],
    pixels: int,
) -> None:
    function, halo = networks[seed, 2]
    picture = np.random.default_rng(shape).random((*shape, 3), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "LEAST_CORE", 16)
        grid = cheapest_grid(*shape, halo, Cost(1), pixels)
    tiled = run_tiled(function, picture, grid)
    np.testing.assert_allclose(tiled, function(picture), rtol=0, atol=SEAM_TOLERANCE["fp32"])


@pytest.mark.parametrize("seed", range(4))
def test_tiles_in_bf16_equal_the_whole(
    make_weights: Callable[..., Weights], rng: np.random.Generator, seed: int
) -> None:
    """Computed by PyTorch, which has bf16 on any processor."""
    from dpenet.inference.torch_engine import TorchEngine

    weights = make_weights(width=seed + 2, n_ddrb=1 + seed % 2, seed=seed)
    function = on_windows(TorchEngine(weights, Options(precision="bf16"), "torch-cpu"))
    picture = rng.random((100, 90, 3), np.float32)
    grid = square_grid(100, 90, weights.architecture.receptive_field, 30)
    off = run_tiled(function, picture, grid) - function(picture)
    assert np.abs(off).max() <= SEAM_TOLERANCE["bf16"]
    assert np.abs(off).mean() <= SEAM_TOLERANCE["bf16"] / 100


@pytest.fixture(scope="session")
def quantised() -> tuple[Function, int]:
    """The smallest embedded int8 model, and its receptive field."""
    weights = load_weights("universal-nano")
    engine = open_engine(weights, Options(precision="int8", threads=1))
    return on_windows(engine), weights.architecture.receptive_field


@settings(max_examples=10)
@given(shape=shapes(), tile=st.integers(12, 110), seed=st.integers(0, 2**31))
@example(shape=(211, 97), tile=24, seed=0)
def test_tiles_in_int8_equal_the_whole(
    quantised: tuple[Function, int], shape: tuple[int, int], tile: int, seed: int
) -> None:
    """The ranges are fixed, so a tile rounds as the whole does."""
    function, halo = quantised
    picture = np.random.default_rng(seed).random((*shape, 3), np.float32)
    grid = square_grid(*shape, halo, tile)
    off = run_tiled(function, picture, grid) - function(picture)
    assert np.abs(off).max() <= SEAM_TOLERANCE["int8"]


def test_a_smaller_halo_shows(
    networks: dict[tuple[int, int], tuple[Function, int]], rng: np.random.Generator
) -> None:
    function, halo = networks[0, 2]
    picture = rng.random((90, 90, 3), np.float32)
    grid = square_grid(90, 90, halo // 4, 30)
    assert np.abs(run_tiled(function, picture, grid) - function(picture)).max() > 1e-4


def check_partition(height: int, width: int, halo: int, grid: Grid) -> None:
    covered = np.zeros((height, width), int)
    rows, columns = np.mgrid[:height, :width]
    windows = []
    for down, across in itertools.product(grid.rows, grid.columns):
        covered[down.core, across.core] += 1
        windows.append(covered[down.window, across.window].shape)
        # The core lies in the window where the plan says, with the halo or the picture's edge
        # on each side of it.
        for position, span, length in ((rows, down, height), (columns, across, width)):
            window = position[down.window, across.window]
            inside = window[down.core_in_window, across.core_in_window]
            assert np.array_equal(inside, position[down.core, across.core])
            assert window.min() == max(0, inside.min() - halo) == span.first
            assert window.max() == min(length - 1, inside.max() + halo) == span.last - 1
    assert (covered == 1).all()
    assert grid.pixels == sum(h * w for h, w in windows)
    assert grid.window == tuple(np.max(windows, axis=0))


@given(
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    tile=st.integers(0, 310),
    halo=st.integers(0, 200),
)
@example(height=300, width=1, tile=1, halo=7)
@example(height=129, width=257, tile=128, halo=181)
def test_the_cores_partition_the_picture(height: int, width: int, tile: int, halo: int) -> None:
    if tile and (height / tile) * (width / tile) > 400:
        tile += 20
    grid = square_grid(height, width, halo, tile)
    check_partition(height, width, halo, grid)
    for axis, length in ((grid.rows, height), (grid.columns, width)):
        assert max(span.stop - span.start for span in axis) <= (tile or length)


def test_no_tile_is_a_sliver() -> None:
    grid = square_grid(1001, 500, 10, 500)
    assert {span.stop - span.start for span in grid.rows} == {333, 334}


def test_tile_0_is_the_whole_picture_in_one_window() -> None:
    ((rows,), (columns,)) = square_grid(700, 30, 181, 0)
    assert rows.window == rows.core == slice(0, 700)
    assert columns.window == columns.core == slice(0, 30)


@settings(max_examples=60)
@given(
    height=st.integers(1, 700),
    width=st.integers(1, 700),
    halo=st.integers(0, 128),
    cost=st.builds(Cost, st.integers(1, 1000), st.integers(0, 10_000)),
    share=st.floats(0, 1.2),
)
def test_the_cheapest_grid_is_the_best_that_fits(
    height: int, width: int, halo: int, cost: Cost, share: float
) -> None:
    """Against all grids whose cores are not narrower than the halo, computed one by one."""
    memory = int(share * cost.of(square_grid(height, width, halo, 0)))
    grid = cheapest_grid(height, width, halo, cost, memory)
    check_partition(height, width, halo, grid)
    cores = [span.stop - span.start for axis in grid for span in axis]
    assert min(cores) >= tiling.LEAST_CORE // 2 or min(cores) in (height, width)
    counts = [range(1, -(-length // tiling.LEAST_CORE) + 1) for length in (height, width)]
    every = [tiling._grid(height, width, halo, r, c) for r, c in itertools.product(*counts)]
    fitting = [other.pixels for other in every if cost.of(other) <= memory]
    if cost.of(grid) <= memory:
        # Windows are taken to be a pixel higher or wider than some are.
        assert grid.pixels <= 1.02 * min(fitting)
    else:
        assert cost.of(grid) <= 1.02 * min(map(cost.of, every))


def test_a_picture_that_fits_is_taken_whole() -> None:
    assert len(cheapest_grid(1000, 2000, 96, Cost(676), 1000 * 2000 * 676).columns) == 1


def test_a_hundred_megapixels_under_2_gb_cost_little_more_than_the_whole() -> None:
    """The published networks in fp32: 676 bytes a pixel, 96 pixels of halo."""
    grid = cheapest_grid(10_000, 10_000, 96, Cost(676, 4 * 30_000), 1_750_000_000)
    assert grid.pixels < 1.3 * 10**8


def test_a_strip_is_cut_along_its_length_only() -> None:
    grid = cheapest_grid(300, 50_000, 96, Cost(1), 1_000_000)
    assert (len(grid.rows), len(grid.columns)) == (1, 16)
