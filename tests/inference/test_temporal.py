"""The temporal filter on drawn scenes, with a stand-in for the network whose errors are known."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpenet.inference.temporal import TemporalFilter

Pixels = NDArray[Any]
HEIGHT, WIDTH = 144, 192


def _scene(height: int, width: int, seed: int) -> Pixels:
    """Smooth texture with edges, (height, width, 3), levels 30..200."""
    rng = np.random.default_rng(seed)
    scene = np.zeros((height, width, 3))
    for size in (4, 12, 32):
        coarse = rng.random((height // size + 2, width // size + 2, 3))
        y, x = np.arange(height) / size, np.arange(width) / size
        i, j, fy, fx = y.astype(int), x.astype(int), (y % 1)[:, None, None], (x % 1)[:, None]
        top = coarse[i][:, j] * (1 - fx) + coarse[i][:, j + 1] * fx
        scene += (
            top * (1 - fy) + (coarse[i + 1][:, j] * (1 - fx) + coarse[i + 1][:, j + 1] * fx) * fy
        )
    scene = 30 + 170 * scene / 3
    return np.where(scene > 130, scene, scene * 0.8)


def _seen(truth: Sequence[Pixels], seed: int = 0) -> tuple[list[Pixels], list[Pixels]]:
    """Rainy frames, and results that leave a third of the rain and err a little besides."""
    rng = np.random.default_rng(seed)
    rainy, clean = [], []
    for frame in truth:
        height, width, _ = frame.shape
        rain = np.zeros((height, width, 1))
        for _ in range(height * width // 150):
            y, x = rng.integers(height), rng.integers(width)
            rain[y : y + 12, x] = rng.uniform(20, 60)
        wrong = rng.normal(0, 2, frame.shape)
        rainy.append(_levels(frame + rain))
        clean.append(_levels(frame + rain * rng.uniform(0, 0.7, (1, width, 1)) + wrong))
    return rainy, clean


def _levels(frame: Pixels) -> Pixels:
    return np.rint(frame).clip(0, 255).astype(np.uint8)


def _filtered(rainy: Sequence[Pixels], clean: Sequence[Pixels]) -> list[Pixels]:
    steady = TemporalFilter()
    done = [one for pair in zip(rainy, clean, strict=True) for one in steady.push(*pair)]
    return done + steady.flush()


def _psnr(frames: Sequence[Pixels], truth: Sequence[Pixels], where: Any = ...) -> float:
    errors = [(a.astype(float) - b)[where] for a, b in zip(frames, truth, strict=True)]
    return float(10 * np.log10(255**2 / np.mean(np.concatenate(errors) ** 2)))


def _flicker(frames: Sequence[Pixels]) -> float:
    return float(np.mean([np.abs(np.subtract(a, b, dtype=float)) for a, b in pairwise(frames)]))


def test_of_a_static_scene_flicker_falls_and_psnr_rises() -> None:
    truth = [_scene(HEIGHT, WIDTH, 1)] * 7
    rainy, clean = _seen(truth)
    steady = _filtered(rainy, clean)
    assert _psnr(steady, truth) > _psnr(clean, truth) + 4
    assert _flicker(steady) < 0.6 * _flicker(clean)


@pytest.mark.parametrize("step", [(0.0, 3.0), (1.5, -0.5), (0.0, 9.5)])
def test_a_camera_that_moves_gains_too(step: tuple[float, float]) -> None:
    large = _scene(2 * (HEIGHT + 40), 2 * (WIDTH + 140), 2)
    truth = []
    for t in range(6):
        top, left = (int(2 * (20 + step[0] * t)), int(2 * (60 + step[1] * t)))
        view = large[top : top + 2 * HEIGHT, left : left + 2 * WIDTH]
        truth.append(view.reshape(HEIGHT, 2, WIDTH, 2, 3).mean((1, 3)))
    rainy, clean = _seen(truth)
    steady = _filtered(rainy, clean)
    assert _psnr(steady, truth) > _psnr(clean, truth) + 3


@pytest.mark.parametrize("speed", [2, 7, 25])
def test_moving_objects_are_no_worse_and_their_surroundings_better(speed: int) -> None:
    background, cutout = _scene(HEIGHT, WIDTH, 3), 255 - _scene(40, 40, 4)
    truth, masks = [], []
    for t in range(6):
        left = 10 + speed * t
        frame, mask = background.copy(), np.zeros((HEIGHT, WIDTH), bool)
        frame[50:90, left : left + 40], mask[50:90, left : left + 40] = (
            cutout[:, : WIDTH - left],
            True,
        )
        truth.append(frame)
        masks.append(mask)
    rainy, clean = _seen(truth)
    steady = _filtered(rainy, clean)
    for before, after, true, mask in zip(clean, steady, truth, masks, strict=True):
        assert _psnr([after], [true], mask) >= _psnr([before], [true], mask) - 0.02
        assert _psnr([after], [true], ~mask) > _psnr([before], [true], ~mask) + 1


def test_a_cut_leaves_no_ghost() -> None:
    truth = [_scene(HEIGHT, WIDTH, 5)] * 3 + [_scene(HEIGHT, WIDTH, 6)] * 3
    rainy, clean = _seen(truth)
    steady = _filtered(rainy, clean)
    # On its own side each still has a neighbour.
    before = _filtered(rainy[:3], clean[:3]) + _filtered(rainy[3:], clean[3:])
    for after, alone, true in zip(steady, before, truth, strict=True):
        assert _psnr([after], [true]) > _psnr([alone], [true]) - 0.05


def test_what_flashes_without_rain_stays() -> None:
    """An object of a single frame, in which the network saw no rain, is no streak."""
    truth = [_scene(HEIGHT, WIDTH, 7)] * 3
    truth[1] = truth[1].copy()
    truth[1][40:72, 60:100] = 240
    frames = [_levels(frame) for frame in truth]
    assert np.abs(np.subtract(_filtered(frames, frames)[1], frames[1], dtype=float)).max() <= 2


def test_without_rain_a_still_scene_stays_as_it_is() -> None:
    frame = _levels(_scene(HEIGHT, WIDTH, 8))
    for after in _filtered([frame] * 4, [frame] * 4):
        assert np.array_equal(after, frame)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2, 3), (17, 31), (33, 50), (145, 191)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_size_and_depth(size: tuple[int, int], dtype: type) -> None:
    rainy, clean = _seen([_scene(*size, 9)] * 4)
    scale = np.iinfo(dtype).max // 255
    frames = [[(frame.astype(dtype) * dtype(scale)) for frame in kind] for kind in (rainy, clean)]
    steady = _filtered(*frames)
    assert [frame.shape for frame in steady] == [(*size, 3)] * 4
    assert all(frame.dtype == dtype for frame in steady)
    for wide, narrow in zip(steady, _filtered(rainy, clean), strict=True):
        assert np.abs(wide / scale - narrow).max() <= 0.51


def test_a_bright_frame_does_not_overflow() -> None:
    white = np.full((64, 64, 3), 65535, np.uint16)
    rng = np.random.default_rng(0)
    noisy = [white - rng.integers(0, 300, white.shape, dtype=np.uint16) for _ in range(3)]
    assert min(int(frame.min()) for frame in _filtered([white] * 3, noisy)) > 65000


def test_frames_come_one_late_and_all_of_them() -> None:
    rainy, clean = _seen([_scene(64, 64, 10)] * 3)
    steady = TemporalFilter()
    counts = [len(steady.push(*pair)) for pair in zip(rainy, clean, strict=True)]
    assert counts == [0, 1, 1]
    assert len(steady.flush()) == 1
    assert steady.flush() == []
    assert TemporalFilter().flush() == []


def test_a_single_frame_stays_as_it_is() -> None:
    rainy, clean = _seen([_scene(64, 64, 11)])
    assert np.array_equal(_filtered(rainy, clean)[0], clean[0])


def test_after_a_flush_nothing_of_the_clip_is_left() -> None:
    rainy, clean = _seen([_scene(HEIGHT, WIDTH, 12)] * 4)
    steady = TemporalFilter()
    for pair in zip(rainy[:2], clean[:2], strict=True):
        steady.push(*pair)
    steady.flush()
    done = [one for pair in zip(rainy[2:], clean[2:], strict=True) for one in steady.push(*pair)]
    for again, fresh in zip(done + steady.flush(), _filtered(rainy[2:], clean[2:]), strict=True):
        assert np.array_equal(again, fresh)


def test_another_size_is_a_cut() -> None:
    small, large = _seen([_scene(64, 64, 13)] * 2), _seen([_scene(80, 96, 13)] * 2)
    together = _filtered(small[0] + large[0], small[1] + large[1])
    for one, apart in zip(together, _filtered(*small) + _filtered(*large), strict=True):
        assert np.array_equal(one, apart)


def test_the_frames_given_are_not_changed() -> None:
    rainy, clean = _seen([_scene(64, 64, 14)] * 3)
    copies = [frame.copy() for frame in rainy + clean]
    _filtered(rainy, clean)
    assert all(np.array_equal(a, b) for a, b in zip(rainy + clean, copies, strict=True))


def test_memory_does_not_grow_with_the_clip() -> None:
    rainy, clean = _seen([_scene(HEIGHT, WIDTH, 15)] * 2)

    def peak(count: int) -> int:
        steady = TemporalFilter()
        tracemalloc.start()
        for t in range(count):
            # New arrays, as a decoder gives: a filter that kept them would be found out.
            steady.push(rainy[t % 2].copy(), clean[t % 2].copy())
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(2)  # what numpy allocates once
    assert peak(14) < peak(4) + rainy[0].nbytes


@pytest.mark.parametrize(
    ("rainy", "clean"),
    [
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)),
        (np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint16)),
        (np.zeros((8, 8, 1), np.uint8), np.zeros((8, 8, 1), np.uint8)),
        (np.zeros((8, 8, 3), np.float32), np.zeros((8, 8, 3), np.float32)),
        (np.zeros((0, 8, 3), np.uint8), np.zeros((0, 8, 3), np.uint8)),
    ],
)
def test_what_is_no_frame_is_refused(rainy: Pixels, clean: Pixels) -> None:
    with pytest.raises(ValueError, match="frame"):
        TemporalFilter().push(rainy, clean)
