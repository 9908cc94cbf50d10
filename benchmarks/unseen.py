"""Measure models on photos that no training of ours has seen, and on real rain.

    python scripts/gather_photos.py photos
    python -m benchmarks.unseen --model universal --model rain100h

Three questions: how well is synthetic rain of each kind removed; does a picture without rain stay
as it is; and how much less does a really rainy picture have of what looks like streaks
(`dpenet.evaluation.residue`). Rows for models that were not named stay as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from numpy.typing import NDArray
from PIL import Image

from dpenet.atomic import atomic_path
from dpenet.data.layouts import list_pictures
from dpenet.data.pairs import read_rgb
from dpenet.data.synthesize import synthesize
from dpenet.evaluation.evaluate import Method, evaluate, model_method
from dpenet.evaluation.residue import rain_angle, residue
from dpenet.metrics import DEFAULT_PROTOCOL, score
from dpenet.rain import RainKind

RESULTS = REPOSITORY / "benchmarks" / "results" / "unseen.json"
UNSEEN = ("test", "valid", "examples")  # folders of gather_photos.py; valid only chose the best
KINDS: tuple[RainKind, ...] = ("light", "heavy", "foggy")
CROP = 320
SCHEMA = 1

Levels = NDArray[np.uint8]
Row = dict[str, Any]


def main() -> None:
    """Measure what the arguments name."""
    args = _arguments()
    if not list_pictures(args.photos / UNSEEN[0]):
        raise SystemExit(f"{args.photos} holds no photos; gather_photos.py fetches them")
    methods = [model_method(model, "fp32", args.threads) for model in args.model]
    with tempfile.TemporaryDirectory() as folder:
        clean = Path(folder) / "clean"
        for split in UNSEEN:
            _crop(list_pictures(args.photos / split), clean)
        rows = [*_synthetic(clean, Path(folder), methods), *_clean(clean, methods)]
    if args.real.is_dir():
        rows += _real(list_pictures(args.real), methods)
    _write(rows)


def _crop(photos: Iterable[Path], out: Path) -> None:
    """The middle of each photo, so that a slow model is done in minutes."""
    out.mkdir(exist_ok=True)
    for photo in photos:
        if ".crop" in photo.name:  # another cut of the same scene
            continue
        levels = read_rgb(photo)
        top, left = (max(0, (side - CROP) // 2) for side in levels.shape[:2])
        Image.fromarray(levels[top : top + CROP, left : left + CROP]).save(
            out / f"{photo.stem}.png"
        )


def _synthetic(clean: Path, folder: Path, methods: Sequence[Method]) -> Iterable[Row]:
    for kind in KINDS:
        for _ in synthesize(clean, folder / kind, kind=kind, seed=2024):
            pass
        found = evaluate(folder / kind, methods, protocol=DEFAULT_PROTOCOL)
        for method in found.methods:
            mean = found.mean(method)
            yield _row(method, f"{kind} rain", len(found.scores(method)), mean.psnr, mean.ssim)


def _clean(clean: Path, methods: Sequence[Method]) -> Iterable[Row]:
    """PSNR and SSIM of the output against the input itself, where there is no rain to remove."""
    pictures = [(path.name, read_rgb(path)) for path in list_pictures(clean)]
    for method in methods:
        scores = [score(method.run(name, levels), levels) for name, levels in pictures]
        psnrs, ssims = zip(*scores, strict=True)
        worst = {"least_psnr": round(min(psnrs), 3)}
        yield _row(method.name, "no rain", len(scores), np.mean(psnrs), np.mean(ssims)) | worst


def _real(pictures: Sequence[Path], methods: Sequence[Method]) -> Iterable[Row]:
    rainy = [read_rgb(path) for path in pictures]
    angles = [rain_angle(levels) for levels in rainy]
    before = [residue(levels, angle) for levels, angle in zip(rainy, angles, strict=True)]
    for method in methods:
        run: Callable[[str, Levels], Levels] = method.run
        after = [
            residue(run(path.name, levels), angle)
            for path, levels, angle in zip(pictures, rainy, angles, strict=True)
        ]
        yield {
            "model": method.name,
            "set": "real rain",
            "pictures": len(pictures),
            "residue_left": round(float(np.sum(after) / np.sum(before)), 4),
            "by_picture": {
                path.stem: [angle, round(b, 4), round(a, 4)]
                for path, angle, b, a in zip(pictures, angles, before, after, strict=True)
            },
        }


def _row(method: str, dataset: str, count: int, psnr: Any, ssim: Any) -> Row:
    print(f"{dataset:12} {method:20} {psnr:.2f} dB {ssim:.4f}", flush=True)
    return {
        "model": method,
        "set": dataset,
        "pictures": count,
        "psnr": round(float(psnr), 4),
        "ssim": round(float(ssim), 5),
    }


def _write(rows: Sequence[Row]) -> None:
    record = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"rows": []}
    merged = {(row["model"], row["set"]): row for row in [*record["rows"], *rows]}
    with atomic_path(RESULTS) as temporary:
        temporary.write_text(
            json.dumps(
                {
                    "schema": SCHEMA,
                    "commit": commit(),
                    "cpu": cpu(),
                    "libraries": libraries("numpy", "openvino", "pillow"),
                    "protocol": DEFAULT_PROTOCOL,
                    "precision": "fp32",
                    "rows": [merged[key] for key in sorted(merged)],
                },
                indent=1,
            )
            + "\n"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    home = Path(os.environ.get("DPENET_TEST_DATA", REPOSITORY.parent / "shared"))
    parser.add_argument("--photos", type=Path, default=REPOSITORY / "photos")
    parser.add_argument("--real", type=Path, default=home / "real_rain", help="rainy pictures")
    parser.add_argument("--model", action="append", default=[], help="name or weights file")
    parser.add_argument("--threads", type=int, help="of the processor; default all")
    return parser.parse_args()


if __name__ == "__main__":
    main()
