"""Make `examples/`: free photos, and the same photos in four kinds of our own synthetic rain.

    python scripts/make_examples.py PHOTOS/examples examples

The page of `dpenet serve` gets smaller files of the rainy ones.

PHOTOS is what `scripts/gather_photos.py` wrote. The weights we ship never saw these photos.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from dpenet.rain import Rain, StreakLayer, render_rain
from dpenet.rain.drawing import to_levels

SIDE = 640
SEED = 5
QUALITY = 93
PAGE = Path(__file__).parents[1] / "src/dpenet/server/page/examples"
PAGE_QUALITY = 72

# Hand-picked so that each picture shows another difficulty.
SCENES: dict[str, tuple[str, Rain]] = {
    "cathedral": (
        "gcompris-monument-berlin-cathedral.png",
        Rain(
            layers=(
                StreakLayer(8, 22, 1.0, 0.25, 0.30, softness=0.8, variation=0.6, taper=0.5),
                StreakLayer(9, 46, 1.8, 0.06, 0.50, softness=1.0, variation=0.6, taper=0.4),
            )
        ),
    ),
    "mountains": (
        "lomiri-picosdeeuropa.png",
        Rain(
            layers=(
                StreakLayer(-14, 30, 1.2, 0.35, 0.45, softness=0.3, variation=0.4),
                StreakLayer(12, 38, 1.6, 0.25, 0.50, softness=0.3, variation=0.4, taper=0.2),
                StreakLayer(2, 24, 1.0, 0.30, 0.35, softness=0.5, variation=0.4),
            ),
            screen=0.3,
        ),
    ),
    "boats": (
        "plasma-eveningglow.png",
        Rain(
            layers=(
                StreakLayer(20, 28, 1.0, 0.20, 0.28, softness=0.9, variation=0.7, taper=0.5),
                StreakLayer(21, 50, 1.6, 0.05, 0.45, softness=1.0, variation=0.5, taper=0.5),
            ),
            screen=1.0,
        ),
    ),
    "pagoda": (
        "sklearn-china.png",
        Rain(
            layers=(StreakLayer(-6, 26, 1.2, 0.22, 0.35, softness=0.6, variation=0.6, taper=0.4),),
            veil=0.35,
            airlight=0.82,
        ),
    ),
}


def make_examples(photos: Path, out: Path) -> None:
    """Write ``out/NAME.jpg`` (rainy) and ``out/clean/NAME.jpg`` for every scene."""
    (out / "clean").mkdir(parents=True, exist_ok=True)
    for name, (photo, rain) in SCENES.items():
        picture = Image.open(photos / photo).convert("RGB")
        picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        clean = np.asarray(picture, np.float32) / np.float32(255)
        rainy = render_rain(clean, rain, np.random.default_rng(SEED))
        picture.save(out / "clean" / f"{name}.jpg", quality=QUALITY)
        Image.fromarray(to_levels(rainy)).save(out / f"{name}.jpg", quality=QUALITY)
    for rainy_file in out.glob("*.jpg"):
        Image.open(rainy_file).save(
            PAGE / rainy_file.name, quality=PAGE_QUALITY, optimize=True, progressive=True
        )


if __name__ == "__main__":
    make_examples(Path(sys.argv[1]), Path(sys.argv[2]))
