"""Pairs made from clean pictures and drawn rain, as files that any trainer reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from dpenet.atomic import atomic_path
from dpenet.data.layouts import list_pictures
from dpenet.data.pairs import read_rgb
from dpenet.errors import DataError
from dpenet.rain import Rain, RainKind, render_rain, sample_rain
from dpenet.rain.drawing import from_levels, to_levels

LIST = "rain.jsonl"


@dataclass(frozen=True)
class Synthetic:
    """One pair that was written.

    Attributes:
        name: Of both files, without suffix, relative to ``input`` and ``target``.
        source: The clean picture.
        rain: What fell on it.
    """

    name: str
    source: Path
    rain: Rain


def synthesize(
    clean: Path, out: Path, *, kind: RainKind = "mixed", seed: int = 0, per_image: int = 1
) -> Iterator[Synthetic]:
    """Make clean pictures rainy, one after another.

    Writes ``out/input/NAME-K.png`` (rainy) and ``out/target/NAME-K.png`` (clean), the layout
    "folders", and at the end ``out/rain.jsonl`` with the parameters of every rain. What falls on a
    picture depends on the seed, K and the picture's name alone: other pictures in the folder do
    not change it, and the same call writes the same bytes.

    Args:
        clean: A picture, or a folder with all it contains.
        out: The folder to write to; it must be new or empty.
        kind: See `dpenet.rain.sample_rain`.
        seed: Of all rain.
        per_image: Rainy pictures made of each clean one.

    Yields:
        Each pair after it was written.

    Raises:
        DataError: If there are no pictures, one cannot be read, two would give the same files, or
            ``out`` is not empty or cannot be written.
    """
    sources = _sources(clean)
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty: choose another folder, or empty it")
    lines = []
    try:
        for name, source in sources.items():
            levels = read_rgb(source)
            for k in range(1, per_image + 1):
                rng = np.random.default_rng([seed, k, *sha256(name.encode()).digest()])
                rain = sample_rain(kind, rng)
                rainy = render_rain(from_levels(levels), rain, rng)
                made = Synthetic(f"{name}-{k}", source, rain)
                _save(out / "target" / f"{made.name}.png", levels)
                _save(out / "input" / f"{made.name}.png", to_levels(rainy))
                lines.append(json.dumps({"name": made.name, "rain": asdict(rain)}) + "\n")
                yield made
        with atomic_path(out / LIST) as temporary:
            temporary.write_text("".join(lines), "utf-8")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error.strerror or error}") from error


def _sources(clean: Path) -> dict[str, Path]:
    """Pictures by the names of what is made of them: the path in the folder without its suffix."""
    if clean.is_file():
        return {clean.stem: clean}
    pictures = list_pictures(clean) if clean.is_dir() else []
    if not pictures:
        raise DataError(f"{clean} holds no pictures, or does not exist")
    sources: dict[str, Path] = {}
    for picture in pictures:
        name = picture.relative_to(clean).with_suffix("").as_posix()
        if name in sources:
            raise DataError(f"{sources[name]} and {picture} would give the same files: rename one")
        sources[name] = picture
    return sources


def _save(path: Path, levels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(levels).save(temporary)
