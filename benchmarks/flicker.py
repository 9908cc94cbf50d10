"""Measure how steady derained clips are, frame by frame and with the temporal filter.

    python -m benchmarks.flicker                # drawn clips, and NTU_b1_Rain20 where it is
    python -m benchmarks.flicker --only pagoda --threads 1

The drawn clips are pictures of ``examples/clean`` seen by a camera that stands, shakes, pans or
zooms, with two round pieces of another picture that move on their own; new streaks of one rain fall
in every frame. Their truth and the camera's path are known. Of the real clip they are not: there
the motion is that between the results of frame by frame, by an independent method (iterative
Lucas-Kanade of scikit-image), and only what one frame becomes of the next is compared.

Flicker is the mean difference, in levels of 255, between a frame and the frame before moved by the
camera; of drawn clips outside the moving pieces, and of the error rather than the picture.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dpenet.atomic import atomic_path
from dpenet.inference.derainer import Derainer
from dpenet.inference.temporal import TemporalFilter
from dpenet.rain import Rain, RainKind, render_rain, sample_rain

RESULTS = REPOSITORY / "benchmarks" / "results" / "flicker.json"
SCHEMA = 1
SIZE = WIDTH, HEIGHT = 320, 240
FRAMES = 10
REAL = "NTU_b1_Rain20 (real rain)"
ZOOM = 1.25  # pixels of the photo for one of the clip

Pixels = NDArray[Any]


@dataclass(frozen=True)
class Recipe:
    """A clip to draw: what is seen, what moves across it, the camera, the rain, the seed."""

    scene: str
    cutout: str
    camera: str
    rain: RainKind
    seed: int


RECIPES = (
    Recipe("cathedral", "boats", "stands", "heavy", 101),
    Recipe("pagoda", "mountains", "stands", "light", 102),
    Recipe("mountains", "pagoda", "shakes", "heavy", 103),
    Recipe("boats", "cathedral", "shakes", "light", 104),
    Recipe("pagoda", "boats", "pans", "mixed", 105),
    Recipe("cathedral", "mountains", "zooms", "mixed", 106),
)


@dataclass(frozen=True)
class Drawn:
    """A drawn clip: frames (H, W, 3) uint8, masks (H, W) of what moves, what the camera saw."""

    truth: list[Pixels]
    rainy: list[Pixels]
    moving: list[Pixels]
    views: list[tuple[float, float, float]]


def main() -> None:
    """Measure all clips, and write the results."""
    parser = argparse.ArgumentParser(description="Measure flicker.")
    home = Path(os.environ.get("DPENET_TEST_DATA", REPOSITORY.parent / "shared"))
    parser.add_argument("--data", type=Path, default=home, help="folder that holds video/")
    parser.add_argument("--threads", type=int, help="of the processor; default all")
    parser.add_argument("--only", help="text in the names of the clips to measure; others stay")
    args = parser.parse_args()
    derainer = Derainer("universal-light", precision="fp32", threads=args.threads)
    real = args.data / "video" / "NTU_b1_Rain20" / "input"
    for clip in [*map(_name, RECIPES), *([REAL] if real.is_dir() else [])]:
        if args.only and args.only not in clip:
            continue
        if clip == REAL:
            frames = [
                np.asarray(Image.open(path).convert("RGB")) for path in sorted(real.iterdir())
            ]
            rows = real_rows(clip, frames, derainer)
        else:
            rows = drawn_rows(next(one for one in RECIPES if _name(one) == clip), derainer)
        _write(rows, derainer)
    _write([], derainer, cost=cost(derainer))


def _name(recipe: Recipe) -> str:
    return f"{recipe.scene}, camera {recipe.camera}, {recipe.rain} rain"


def _write(rows: list[dict[str, Any]], derainer: Derainer, **more: Any) -> None:
    """Put rows, and what else was measured, in the place of older ones."""
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    names = [*map(_name, RECIPES), REAL]
    kept = [row for row in old["rows"] if row["clip"] not in {new["clip"] for new in rows}]
    record = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "libraries": libraries("numpy", "openvino", "pillow", "scikit-image"),
        "model": derainer.weights.name,
        "precision": derainer.precision,
        "cost": old.get("cost"),
        **more,
        "rows": sorted(kept + rows, key=lambda row: names.index(row["clip"])),
    }
    with atomic_path(RESULTS) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def drawn_rows(recipe: Recipe, derainer: Derainer) -> list[dict[str, Any]]:
    """PSNR and flicker on a drawn clip, rainy and by each method."""
    clip = draw(recipe)
    rows = []
    for method, frames in methods(clip.rainy, derainer).items():
        errors = [a.astype(float) - b for a, b in zip(frames, clip.truth, strict=True)]
        changes = [
            _change(one, two, _path(before, after), ~(gone | moving))
            for (one, two), (before, after), (gone, moving) in zip(
                pairwise(errors), pairwise(clip.views), pairwise(clip.moving), strict=True
            )
        ]
        rows.append(
            {
                "clip": _name(recipe),
                "method": method,
                "psnr": _psnr(errors, [np.ones((HEIGHT, WIDTH), bool)] * FRAMES),
                "psnr_moving": _psnr(errors, clip.moving),
                "flicker": round(float(np.mean(changes)), 3),
            }
        )
        print(*rows[-1].values(), flush=True)
    return rows


def real_rows(name: str, rainy: Sequence[Pixels], derainer: Derainer) -> list[dict[str, Any]]:
    """Flicker on a clip without truth, rainy and by each method."""
    from skimage.registration import optical_flow_ilk

    results = methods(rainy, derainer)
    flows = [
        np.asarray(optical_flow_ilk(after.mean(2) / 255, before.mean(2) / 255, radius=12))
        for before, after in pairwise(results["frame by frame"])
    ]
    everywhere = np.ones(rainy[0].shape[:2], bool)
    rows = []
    for method, frames in results.items():
        changes = [
            _change(one.astype(float), two.astype(float), flow, everywhere)
            for (one, two), flow in zip(pairwise(frames), flows, strict=True)
        ]
        flicker = round(float(np.mean(changes)), 3)
        rows.append({"clip": name, "method": method, "flicker": flicker})
        print(*rows[-1].values(), flush=True)
    return rows


def methods(rainy: Sequence[Pixels], derainer: Derainer) -> dict[str, list[Pixels]]:
    """The clip as it is, derained frame by frame, and steadied."""
    clean = [derainer.derain_pixels(frame) for frame in rainy]
    steady = TemporalFilter()
    done = [one for pair in zip(rainy, clean, strict=True) for one in steady.push(*pair)]
    return {
        "rainy": list(rainy),
        "frame by frame": clean,
        "temporal": done + steady.flush(),
    }


def cost(derainer: Derainer) -> dict[str, float]:
    """Processor seconds for a million pixels: of the network, and of the filter at its dearest."""
    recipe = RECIPES[2]  # a shaking camera: everything is interpolated
    rainy = [np.tile(frame, (4, 4, 1)) for frame in draw(recipe).rainy[:3]]
    derainer.derain_pixels(rainy[0])
    start = time.process_time()
    clean = [derainer.derain_pixels(frame) for frame in rainy]
    network = time.process_time() - start
    steady = TemporalFilter()
    steady.push(rainy[0], clean[0])
    start = time.process_time()
    for pair in zip(rainy[1:], clean[1:], strict=True):
        steady.push(*pair)
    million = rainy[0].size / 3e6
    spent = (time.process_time() - start) / 2
    return {"network": round(network / 3 / million, 3), "filter": round(spent / million, 3)}


def draw(recipe: Recipe) -> Drawn:
    """The clip of a recipe."""
    folder = REPOSITORY / "examples" / "clean"
    scene, other = (
        Image.open(folder / f"{name}.jpg").convert("RGB") for name in (recipe.scene, recipe.cutout)
    )
    rng = np.random.default_rng(recipe.seed)
    views = list(_views(recipe.camera, rng))
    pieces = [_piece(other, side, speed, rng) for side, speed in ((90, 2.3), (60, 7.0))]
    rain = sample_rain(recipe.rain, rng)
    # Light and depth are uneven in the scene, not anew in every frame.
    layers = tuple(replace(layer, unevenness=0.0) for layer in rain.layers)
    veil = Rain((), veil=rain.veil, airlight=rain.airlight)
    rain = replace(rain, layers=layers, veil=0.0)
    truth, rainy, moving = [], [], []
    for number, (x, y, scale) in enumerate(views):
        left, top = scene.width / 2 + x, scene.height / 2 + y
        half = WIDTH / 2 * scale, HEIGHT / 2 * scale
        box = (left - half[0], top - half[1], left + half[0], top + half[1])
        frame, mask = scene.resize(SIZE, Image.Resampling.BICUBIC, box), Image.new("L", SIZE)
        for cutout, start, velocity in pieces:
            i, j = start + velocity * (number - FRAMES / 2)
            shift = (1, 0, -j, 0, 1, -i)
            layer = cutout.transform(SIZE, Image.Transform.AFFINE, shift, Image.Resampling.BICUBIC)
            frame.paste(layer, (0, 0), layer.getchannel("A"))
            mask.paste(255, (0, 0), layer.getchannel("A"))
        truth.append(np.asarray(frame))
        moving.append(np.asarray(mask) > 12)
        clean = (truth[-1] / 255).astype(np.float32)
        veiled = render_rain(clean, veil, np.random.default_rng(recipe.seed))
        wet = render_rain(veiled, rain, np.random.default_rng((recipe.seed, number)))
        rainy.append(np.rint(wet * 255).astype(np.uint8))
    return Drawn(truth, rainy, moving, views)


def _views(camera: str, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Centres, from the photo's own, and photo pixels for one of the clip."""
    wander = np.cumsum(rng.normal(0, 0.4, (FRAMES, 2)), 0) + rng.normal(0, 0.6, (FRAMES, 2))
    for number in range(FRAMES):
        at = number - FRAMES / 2
        if camera == "shakes":
            yield (ZOOM * wander[number, 0] + 0.7 * at, ZOOM * wander[number, 1], ZOOM)
        elif camera == "pans":
            yield (6.1 * at, 0.0, ZOOM)
        else:
            yield (0.0, 0.0, ZOOM * 1.01 ** (at if camera == "zooms" else 0))


def _piece(
    photo: Image.Image, side: int, speed: float, rng: np.random.Generator
) -> tuple[Image.Image, Pixels, Pixels]:
    """A round piece of a photo, where it is in the middle of the clip, and its way per frame."""
    left, top = (int(rng.integers(0, length - side)) for length in photo.size)
    cutout = photo.crop((left, top, left + side, top + side)).convert("RGBA")
    disc = Image.new("L", (4 * side, 4 * side))
    ImageDraw.Draw(disc).ellipse((8, 8, 4 * side - 8, 4 * side - 8), fill=255)
    cutout.putalpha(disc.resize((side, side), Image.Resampling.BOX))
    angle = rng.uniform(-0.4, 0.4) + np.pi * rng.integers(2)
    start = rng.uniform(0.3, 0.7, 2) * (HEIGHT, WIDTH) - side / 2
    return cutout, start, speed * np.array([np.sin(angle), np.cos(angle)])


def _path(before: tuple[float, float, float], after: tuple[float, float, float]) -> Pixels:
    """(2, H, W): how much further down and right a pixel of one view was in the view before."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] - np.array([HEIGHT - 1, WIDTH - 1])[:, None, None] / 2
    (x0, y0, s0), (x1, y1, s1) = before, after
    return np.stack([(y * s1 + y1 - y0) / s0 - y, (x * s1 + x1 - x0) / s0 - x])


def _change(before: Pixels, after: Pixels, path: Pixels, where: Pixels) -> float:
    """Mean difference to the picture before, moved; linear between pixels."""
    height, width, _ = after.shape
    at = np.mgrid[:height, :width] + path
    inside = (at[0] >= 0) & (at[0] <= height - 1.001) & (at[1] >= 0) & (at[1] <= width - 1.001)
    y, x = at[0].clip(0, height - 1.001), at[1].clip(0, width - 1.001)
    i, j = y.astype(int), x.astype(int)
    v, u = (y - i)[..., None], (x - j)[..., None]
    top = before[i, j] * (1 - u) + before[i, j + 1] * u
    bottom = before[i + 1, j] * (1 - u) + before[i + 1, j + 1] * u
    moved = top * (1 - v) + bottom * v
    return float(np.abs(after - moved)[inside & where].mean())


def _psnr(errors: Sequence[Pixels], masks: Sequence[Pixels]) -> float:
    """Of all frames together, all channels, peak 255."""
    chosen = [error[mask] for error, mask in zip(errors, masks, strict=True)]
    return round(float(10 * np.log10(255**2 / np.mean(np.concatenate(chosen) ** 2))), 3)


if __name__ == "__main__":
    main()
