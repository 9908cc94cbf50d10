"""Make `docs/images/rain/*.jpg`: what each parameter of `dpenet.rain` does, on a free photo.

python scripts/make_rain_pictures.py
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dpenet.rain import KINDS, Rain, StreakLayer, render_rain, sample_rain
from dpenet.rain.drawing import to_levels

REPOSITORY = Path(__file__).resolve().parents[1]
PHOTO = REPOSITORY / "examples" / "clean" / "mountains.jpg"
OUT = REPOSITORY / "docs" / "images" / "rain"
CELL = (260, 195)  # width, height
GAP = 4

LAYER = StreakLayer(angle=15, length=40, width=1.8, coverage=0.12, brightness=0.6)
OF_LAYER: dict[str, list[Any]] = {
    "angle": [-40, 0, 40],
    "length": [10, 40, 150],
    "width": [0.8, 2, 5],
    "coverage": [0.03, 0.3, 3],
    "brightness": [0.2, 0.5, 0.9],
    "softness": [0.05, 1, 4],
    "variation": [0, 0.5, 1],
    "taper": [0, 0.5, 1],
    "overlap": [1, 2, 4],
    "dry": [0, 0.5, 0.9],
    "unevenness": [0, 0.5, 1],
    "roughness": [0, 0.5, 1],
    "enlargement": [0.5, 1, 3],
}
# Where the effect shows best.
BASE = {"overlap": {"coverage": 0.9, "brightness": 0.25}, "taper": {"length": 80, "width": 4}}
BASE |= {"dry": {"coverage": 2, "overlap": 4, "brightness": 0.3}}
BASE |= {"unevenness": {"coverage": 0.3}, "softness": {"width": 4}, "roughness": {"width": 4}}
BASE |= {"enlargement": {"width": 3, "softness": 0.05}}
OF_RAIN: dict[str, list[Any]] = {
    "layers": [
        (LAYER,),
        (LAYER, replace(LAYER, angle=-30)),
        tuple(replace(LAYER, angle=a) for a in (-45, -15, 0, 20, 50)),
    ],
    "screen": [0, 0.5, 1],
    "tint": [(1, 1, 1), (0.8, 0.9, 1), (0.5, 0.7, 1)],
    "veil": [0, 0.5, 1.5],
    "airlight": [0.4, 0.7, 1],
    "noise": [0, 0.02, 0.06],
    "jpeg": [None, 50, 10],
}


def main() -> None:
    """Draw a strip of three for every parameter, and one for every kind of rain."""
    OUT.mkdir(parents=True, exist_ok=True)
    with Image.open(PHOTO) as photo:
        clean = np.asarray(photo.convert("RGB").resize(CELL), np.float32) / np.float32(255)
    missing = {f.name for kind in (StreakLayer, Rain) for f in fields(kind)} - {*OF_LAYER, *OF_RAIN}
    if missing:
        raise SystemExit(f"no picture for {missing}")
    for name, values in OF_LAYER.items():
        base = replace(LAYER, **BASE.get(name, {}))  # type: ignore[arg-type]
        _strip(name, clean, [Rain((replace(base, **{name: value}),)) for value in values])
    for name, values in OF_RAIN.items():
        rain = Rain((LAYER,), veil=0.8 if name == "airlight" else 0.0)
        _strip(name, clean, [replace(rain, **{name: value}) for value in values])
    for kind in KINDS:
        rains = [sample_rain(kind, np.random.default_rng(seed)) for seed in range(3)]
        _strip(f"kind-{kind}", clean, rains)


def _strip(name: str, clean: np.ndarray[Any, np.dtype[np.float32]], rains: list[Rain]) -> None:
    height, width, _ = clean.shape
    strip = Image.new("RGB", (len(rains) * (width + GAP) - GAP, height), "white")
    for i, rain in enumerate(rains):
        rainy = render_rain(clean, rain, np.random.default_rng(7))
        levels = to_levels(rainy)
        strip.paste(Image.fromarray(levels), (i * (width + GAP), 0))
    strip.save(OUT / f"{name}.jpg", quality=85)


if __name__ == "__main__":
    main()
