"""Compare the rain that dpenet.rain draws with rain that others have made or photographed.

    python scripts/gather_photos.py photos
    python -m benchmarks.rainfit

The rain layer of a pair is what it adds, input minus target; where scenes are bright, screening
hides part of it, which is divided out. References: the 18 pairs of Rain1200_samples, the
training pair of the DPENet repository, and, for the direction alone, every other picture of
real_rain. No pair of Rain100H or Rain100L is looked at. Writes benchmarks/results/rainfit.json and
docs/images/rainfit.svg.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from benchmarks.machine import REPOSITORY, commit
from numpy.typing import NDArray
from scipy import ndimage

from dpenet.atomic import atomic_path
from dpenet.data.layouts import list_pairs, list_pictures
from dpenet.data.pairs import read_rgb
from dpenet.evaluation.residue import rain_angle
from dpenet.rain import RainKind, render_rain, sample_rain
from dpenet.rain.drawing import from_levels

RESULTS = REPOSITORY / "benchmarks" / "results" / "rainfit.json"
FIGURE = REPOSITORY / "docs" / "images" / "rainfit.svg"
KINDS: tuple[RainKind, ...] = ("light", "heavy")  # what both references have; no veil
DRAWS = 150
CROP = 256
TOO_BRIGHT = 0.6  # little rain shows on such pixels, and noise is blown up where it is divided out
QUANTILES = (5, 50, 95)

Picture = NDArray[np.float32]


class Statistics(NamedTuple):
    """Of one rain layer.

    Attributes:
        psnr: Of the rainy picture, in dB.
        mean, spread: Of the layer, in 0..1.
        skew: Of its values: 0 for noise, large for few bright streaks.
        along: Pixels along the rain after which the autocorrelation falls below a half.
        across: Autocorrelation of neighbours across the rain: fine streaks have little.
        angle: In degrees from the vertical.
    """

    psnr: float
    mean: float
    spread: float
    skew: float
    along: float
    across: float
    angle: float


def main() -> None:
    """Measure references and draws; write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    home = Path(os.environ.get("DPENET_TEST_DATA", REPOSITORY.parent / "shared"))
    parser.add_argument("--data", type=Path, default=home)
    parser.add_argument("--photos", type=Path, default=REPOSITORY / "photos")
    args = parser.parse_args()
    sets: dict[str, list[Statistics]] = {}
    for pair in list_pairs(args.data / "benchmarks" / "Rain1200_samples").pairs:
        density = pair.name.split("_")[0]
        measured = statistics(_read(pair.rainy), _read(pair.clean), screened=True)
        sets.setdefault(f"Rain1200 {density}", []).append(measured)
    sample = args.data / "reference" / "sample"
    rainy, clean = _read(sample / "train_input.png"), _read(sample / "train_target.png")
    sets["DPENet training pair"] = [statistics(rainy, clean)]
    photos = list_pictures(args.photos / "train")
    if not photos:
        raise SystemExit(f"{args.photos} holds no photos; gather_photos.py fetches them")
    for kind in KINDS:
        sets[f"ours {kind}"] = list(_drawn(photos, kind))
    real = list_pictures(args.data / "real_rain")[::2]
    angles = [float(rain_angle(read_rgb(path))) for path in real]
    record = {
        "schema": 1,
        "commit": commit(),
        "sets": {name: _summary(rows) for name, rows in sets.items()},
        "real_rain_angles": sorted(angles),
    }
    with atomic_path(RESULTS) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    _draw(sets)


def statistics(rainy: Picture, clean: Picture, *, screened: bool = False) -> Statistics:
    """Measure the rain between two pictures.

    Args:
        rainy: (H, W, 3) in 0..1.
        clean: Its target.
        screened: Whether rain was screened over the scene, not added.
    """
    layer = (rainy - clean).mean(axis=2)
    level = clean.mean(axis=2)
    if screened:
        layer = layer / np.maximum(1 - level, 1 - TOO_BRIGHT)
    shown = layer[level < TOO_BRIGHT]
    if shown.size < layer.size // 20:
        shown = layer.ravel()
    mean, spread = float(shown.mean()), float(shown.std()) or 1e-9
    angle, along, across = _direction(np.where(level < TOO_BRIGHT, layer, mean))
    error = float(np.mean((rainy - clean) ** 2)) or 1e-9
    skew = float(np.mean((shown - mean) ** 3)) / spread**3
    return Statistics(-10 * np.log10(error), mean, spread, skew, along, across, angle)


def _direction(layer: Picture) -> tuple[float, float, float]:
    """Lean in degrees, from the structure tensor, and autocorrelation along and across it."""
    fine = layer - ndimage.gaussian_filter(layer, 12)
    dx, dy = (ndimage.gaussian_filter(fine, 1, order=order) for order in ((0, 1), (1, 0)))
    lean = 0.5 * np.arctan2(2 * np.mean(dx * dy), np.mean(dx * dx) - np.mean(dy * dy))
    spectrum = np.abs(np.fft.rfft2(fine - fine.mean())) ** 2
    correlation = np.fft.fftshift(np.fft.irfft2(spectrum, fine.shape))
    centre = np.array(correlation.shape) // 2
    correlation /= max(correlation.max(), 1e-12)

    def profile(steps: NDArray[np.float64], direction: float) -> NDArray[np.float64]:
        line = [centre[0] + steps * np.cos(direction), centre[1] - steps * np.sin(direction)]
        found: NDArray[np.float64] = ndimage.map_coordinates(correlation, line, order=1)
        return found

    steps = np.arange(0, min(centre) - 1, 0.5)
    below = np.flatnonzero(profile(steps, lean) < 0.5)
    along = steps[below[0]] if below.size else steps[-1]
    (across,) = profile(np.ones(1), lean + np.pi / 2)
    return float(np.degrees(lean)), float(along), float(across)


def _drawn(photos: Iterable[Path], kind: RainKind) -> Iterator[Statistics]:
    photos = list(photos)
    for seed in range(DRAWS):
        rng = np.random.default_rng([2024, seed])
        photo = _read(photos[int(rng.integers(len(photos)))])
        top, left = (int(rng.integers(max(1, side - CROP + 1))) for side in photo.shape[:2])
        clean = photo[top : top + CROP, left : left + CROP]
        rain = sample_rain(kind, rng)
        yield statistics(render_rain(clean, rain, rng), clean, screened=rain.screen > 0.5)


def _summary(rows: list[Statistics]) -> dict[str, Any]:
    table = np.asarray(rows)
    return {"pictures": len(rows)} | {
        name: [round(float(q), 3) for q in np.percentile(table[:, i], QUANTILES)]
        for i, name in enumerate(Statistics._fields)
    }


def _draw(sets: dict[str, list[Statistics]]) -> None:
    """Three planes of statistics: ours as a cloud, the references as marks upon it."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "dpenet"
    from matplotlib import pyplot as plt

    planes = [
        ("mean", "spread", "mean of the rain layer", "its standard deviation"),
        ("psnr", "along", "PSNR of the rainy picture, dB", "correlation length along the rain, px"),
        ("angle", "skew", "lean from the vertical, degrees", "skewness of the layer"),
    ]
    figure, axes = plt.subplots(1, 3, figsize=(12, 4), layout="constrained")
    for axis, (x, y, across, up) in zip(axes, planes, strict=True):
        for name, rows in sets.items():
            ours = name.startswith("ours")
            marks = {"s": 12, "alpha": 0.45, "linewidths": 0} if ours else {"s": 60, "marker": "x"}
            columns = [[getattr(row, field) for row in rows] for field in (x, y)]
            axis.scatter(*columns, label=name, **marks)
        axis.set_xlabel(across)
        axis.set_ylabel(up)
    axes[1].set_yscale("log")
    axes[2].set_ylim(-2, 8)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(FIGURE, metadata={"Date": None})


def _read(path: Path) -> Picture:
    return from_levels(read_rgb(path))


if __name__ == "__main__":
    main()
