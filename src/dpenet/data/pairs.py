"""A rainy picture, its rain-free target, and how to read the two."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dpenet.errors import DataError

Half = Literal["left", "right"]
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
_DEEP_MODES = ("I", "F")  # more than 8 bits, which convert("RGB") would clip


@dataclass(frozen=True)
class Pair:
    """One training or test example.

    Attributes:
        name: Unique in its data set; results of other tools pair with it by this name.
        rainy: File with the rainy picture.
        clean: File with its target; the same file where the two stand side by side.
        rainy_half: Which half of ``rainy`` to take; None for all of it.
        clean_half: Likewise for ``clean``.
    """

    name: str
    rainy: Path
    clean: Path
    rainy_half: Half | None = None
    clean_half: Half | None = None


@dataclass(frozen=True)
class Pairs:
    """What a data set holds.

    Attributes:
        root: The folder (or list file) it was read from.
        layout: Name of the layout.
        reason: Why this layout: how the files were recognised.
        pairs: Sorted by name, numbers in numeric order.
        orphans: Pictures beside the pairs that have no partner, and listed files that are missing.
    """

    root: Path
    layout: str
    reason: str
    pairs: tuple[Pair, ...]
    orphans: tuple[Path, ...] = ()


def read_rgb(path: Path, half: Half | None = None) -> NDArray[np.uint8]:
    """An 8-bit picture, or one half of it, as (H, W, 3) RGB; alpha is dropped.

    The middle column of an odd width belongs to neither half.

    Raises:
        DataError: If the file cannot be read or has more than 8 bits per channel.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(_DEEP_MODES):
                raise DataError(f"{path} has more than 8 bits per channel; data sets are 8-bit")
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    width = pixels.shape[1] // 2
    if half == "left":
        return pixels[:, :width]
    if half == "right":
        return pixels[:, pixels.shape[1] - width :]
    return pixels


def load_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The rainy picture and its target, two arrays (H, W, 3) of one size.

    Raises:
        DataError: If one cannot be read or the sizes differ.
    """
    rainy = read_rgb(pair.rainy, pair.rainy_half)
    clean = read_rgb(pair.clean, pair.clean_half)
    if rainy.shape != clean.shape:
        sizes = (f"{p.shape[1]}x{p.shape[0]}" for p in (rainy, clean))
        raise DataError(
            f"the pair {pair.name!r} differs in size: {pair.rainy} is {next(sizes)}, "
            f"{pair.clean} is {next(sizes)}"
        )
    return rainy, clean
