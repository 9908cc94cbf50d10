"""Where training pictures come from: pairs on disk, or clean photos made rainy on the fly.

A source knows its pictures by number and cuts them; every random choice comes from the generator
that it is handed.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from dpenet.data.check import require_good_pairs
from dpenet.data.layouts import list_pictures
from dpenet.data.pairs import Half, Pair, load_pair, read_rgb
from dpenet.errors import DataError
from dpenet.rain import Rain, render_rain, sample_rain
from dpenet.rain.drawing import from_levels, jpeg_round_trip, to_levels
from dpenet.training.config import PairData, PhotoData, Recipe

Levels = NDArray[np.uint8]  # (H, W, 3) RGB, 0..255
Picture = NDArray[np.float32]  # (H, W, 3) RGB, 0..1
Example = tuple[Picture, Picture]  # rainy, clean
NO_RAIN = Rain(layers=())
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CHOICES = 4  # of which a busy crop is the busiest


class Source(ABC):
    """Numbered scenes, of which it keeps as many in memory as it may.

    Args:
        cache_bytes: How much memory decoded pictures may take.
    """

    def __init__(self, cache_bytes: float) -> None:
        self._free = cache_bytes
        self._kept: dict[int, tuple[Levels, ...]] = {}

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def only(self, indices: Sequence[int]) -> Source:
        """The source of these scenes alone."""

    @abstractmethod
    def size(self, index: int) -> tuple[int, int]:
        """Height and width of a scene, from the file's header."""

    @abstractmethod
    def path(self, index: int) -> Path:
        """The file to name when a scene is at fault."""

    @abstractmethod
    def cut(self, index: int, patch: int, rng: np.random.Generator) -> Example:
        """A random square of ``patch`` pixels."""

    @abstractmethod
    def centre(self, index: int, crop: int, rng: np.random.Generator) -> Example:
        """The middle, at most ``crop`` pixels high and wide."""

    @abstractmethod
    def _digests(self, index: int) -> tuple[str, ...]:
        """Digests of a scene's files, that of the clean one last."""

    @abstractmethod
    def _read(self, index: int) -> tuple[Levels, ...]: ...

    @cached_property
    def digests(self) -> tuple[tuple[str, ...], ...]:
        """Of every scene: what its files hold, the clean one last. Reads all files once."""
        return tuple(self._digests(index) for index in range(len(self)))

    @property
    def clean_digests(self) -> set[str]:
        return {clean for *_, clean in self.digests}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the contents of all pictures, whatever their names and order."""
        lines = sorted(" ".join(digests) for digests in self.digests)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def pictures(self, index: int) -> tuple[Levels, ...]:
        """The decoded pictures of a scene."""
        if index in self._kept:
            return self._kept[index]
        pictures = self._read(index)
        needed = sum(picture.nbytes for picture in pictures)
        # Every epoch visits every scene once: those kept first are as useful as any other.
        if needed <= self._free:
            self._free -= needed
            self._kept[index] = pictures
        return pictures

    def require_crops(self, patch: int) -> None:
        """Raise a `DataError` if a picture is smaller than the crops to be cut from it."""
        small = [i for i in range(len(self)) if min(self.size(i)) < patch]
        if small:
            height, width = self.size(small[0])
            raise DataError(
                f"{len(small)} of {len(self)} pictures are smaller than the crops of {patch} px, "
                f"such as {self.path(small[0])} ({width}x{height}): set data.patch lower or remove "
                "them"
            )


class PairSource(Source):
    """Pictures with real or rendered rain, and their targets."""

    def __init__(self, pairs: Sequence[Pair], cache_bytes: float) -> None:
        super().__init__(cache_bytes)
        self._pairs = tuple(pairs)

    def __len__(self) -> int:
        return len(self._pairs)

    def only(self, indices: Sequence[int]) -> PairSource:
        return PairSource([self._pairs[i] for i in indices], self._free)

    def size(self, index: int) -> tuple[int, int]:
        height, width = _header_size(self._pairs[index].clean)
        return height, width if self._pairs[index].clean_half is None else width // 2

    def path(self, index: int) -> Path:
        return self._pairs[index].rainy

    def cut(self, index: int, patch: int, rng: np.random.Generator) -> Example:
        rainy, clean = self.pictures(index)
        window = _window(rainy.shape, patch, rng)
        return from_levels(rainy[window]), from_levels(clean[window])

    def centre(self, index: int, crop: int, rng: np.random.Generator) -> Example:
        rainy, clean = self.pictures(index)
        window = _middle(rainy.shape, crop)
        return from_levels(rainy[window]), from_levels(clean[window])

    def _digests(self, index: int) -> tuple[str, ...]:
        pair = self._pairs[index]
        return _digest(pair.rainy, pair.rainy_half), _digest(pair.clean, pair.clean_half)

    def _read(self, index: int) -> tuple[Levels, ...]:
        return load_pair(self._pairs[index])


class PhotoSource(Source):
    """Clean photos on which rain falls anew each time."""

    def __init__(self, photos: Sequence[Path], data: PhotoData, cache_bytes: float) -> None:
        super().__init__(cache_bytes)
        self._photos = tuple(photos)
        self._data = data

    def __len__(self) -> int:
        return len(self._photos)

    def only(self, indices: Sequence[int]) -> PhotoSource:
        return PhotoSource([self._photos[i] for i in indices], self._data, self._free)

    def size(self, index: int) -> tuple[int, int]:
        return _header_size(self._photos[index])

    def path(self, index: int) -> Path:
        return self._photos[index]

    def cut(self, index: int, patch: int, rng: np.random.Generator) -> Example:
        busy = rng.random() < self._data.busy_share
        pieces = [self._piece(index, patch, rng) for _ in range(_CHOICES if busy else 1)]
        clean = from_levels(max(pieces, key=_detail))
        if rng.random() < self._data.toned_share:
            clean = _toned(clean, rng)
        if rng.random() < self._data.grained_share:
            clean = _grained(clean, rng)
        spared = rng.random() < self._data.rain.clean_share
        rain = NO_RAIN if spared else sample_rain(self._data.rain.kind, rng)
        return render_rain(clean, rain, rng), clean

    def _piece(self, index: int, patch: int, rng: np.random.Generator) -> Levels:
        """A random square without rain."""
        (photo,) = self.pictures(index)
        side = min(round(patch * float(rng.uniform(*self._data.scale))), *photo.shape[:2])
        piece = photo[_window(photo.shape, side, rng)]
        if side != patch:
            resized = Image.fromarray(piece).resize((patch, patch), Image.Resampling.LANCZOS)
            piece = np.asarray(resized)
        return np.rot90(piece, int(rng.integers(4))) if self._data.turned else piece

    def centre(self, index: int, crop: int, rng: np.random.Generator) -> Example:
        (photo,) = self.pictures(index)
        clean = from_levels(photo[_middle(photo.shape, crop)])
        return render_rain(clean, sample_rain(self._data.rain.kind, rng), rng), clean

    def _digests(self, index: int) -> tuple[str, ...]:
        return (_digest(self._photos[index]),)

    def _read(self, index: int) -> tuple[Levels, ...]:
        path = self._photos[index]
        try:
            with Image.open(path) as picture:
                return (np.asarray(ImageOps.exif_transpose(picture).convert("RGB")),)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error


def open_sources(recipe: Recipe) -> tuple[Source, Source]:
    """The training and the validation scenes of a recipe; no clean scene is in both.

    Raises:
        DataError: If a folder is missing or holds nothing of use, or the two would overlap.
    """
    training = _open(recipe.data, recipe.data.folder)
    training.require_crops(recipe.data.patch)
    if recipe.validation.folder is not None:
        validation = _open(recipe.data, recipe.validation.folder)
        common = training.clean_digests & validation.clean_digests
        if common:
            raise DataError(
                f"{len(common)} clean pictures of {recipe.validation.folder} are also in the "
                "training set: the validation would be worthless"
            )
    else:
        training, validation = _split(training, recipe.validation.share, recipe.seed)
    return training, validation.only(range(min(len(validation), recipe.validation.limit)))


def _open(data: PairData | PhotoData, folder: Path) -> Source:
    cache_bytes = data.cache_gb * 1e9 / max(data.workers, 1)
    if isinstance(data, PairData):
        return PairSource(require_good_pairs(folder, data.layout).pairs, cache_bytes)
    photos = list_pictures(folder)
    if not photos:
        raise DataError(f"{folder} holds no pictures, or does not exist: set data.photos")
    return PhotoSource(photos, data, cache_bytes)


def _split(source: Source, share: float, seed: int) -> tuple[Source, Source]:
    """Hold out a share of the clean scenes, with all that shows them."""
    scenes = sorted(source.clean_digests)
    if len(scenes) < 2:
        raise DataError(
            f"{source.path(0)} is the only clean picture: nothing is left for validation; "
            "add pictures, or give a validation.folder"
        )
    order = np.random.default_rng(seed).permutation(len(scenes))
    count = min(max(1, round(share * len(scenes))), len(scenes) - 1)
    held_out = {scenes[i] for i in order[:count]}
    inside = [i for i, (*_, clean) in enumerate(source.digests) if clean in held_out]
    outside = [i for i, (*_, clean) in enumerate(source.digests) if clean not in held_out]
    return source.only(outside), source.only(inside)


def _digest(path: Path, half: Half | None = None) -> str:
    """Of a whole file; of the pixels where a file holds two pictures."""
    if half is not None:
        return hashlib.sha256(read_rgb(path, half).tobytes()).hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


def _header_size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _window(shape: tuple[int, ...], side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    top, left = (int(rng.integers(length - side + 1)) for length in shape[:2])
    return slice(top, top + side), slice(left, left + side)


def _detail(picture: Levels) -> float:
    """How much neighbouring pixels differ, on average."""
    levels = picture.astype(np.int16)
    return float(sum(np.abs(np.diff(levels, axis=axis)).mean() for axis in (0, 1)))


def _toned(picture: Picture, rng: np.random.Generator) -> Picture:
    """The same scene in other light, through another lens or on other film; 256 levels again."""
    black, white = float(rng.uniform(0, 0.3)), float(rng.uniform(0.6, 1))
    picture = black + (white - black) * picture ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    grey = picture @ _LUMA
    colourfulness = 0.0 if rng.random() < 0.1 else float(rng.uniform(0.4, 1.3))
    picture = grey[..., np.newaxis] * (1 - colourfulness) + picture * colourfulness
    levels = to_levels(picture)
    if rng.random() < 0.5:  # as cameras and scanners sharpen
        sharpening = ImageFilter.UnsharpMask(0.8, percent=int(rng.integers(150)), threshold=0)
        levels = np.asarray(Image.fromarray(levels).filter(sharpening))
    return from_levels(levels)


def _grained(picture: Picture, rng: np.random.Generator) -> Picture:
    """The same scene on grainy film, or from a file with the marks of JPEG; 256 levels again."""
    channels = 1 if rng.random() < 0.5 else 3
    grain = rng.standard_normal((*picture.shape[:2], channels), dtype=np.float32)
    spread = float(rng.uniform(0, 0.7))  # a grain of more than one pixel
    for axis in (0, 1):
        grain = grain + spread * (np.roll(grain, 1, axis) + np.roll(grain, -1, axis))
    strength = float(np.exp(rng.uniform(np.log(0.005), np.log(0.04))))
    picture = picture + strength / float(grain.std()) * grain
    levels = to_levels(picture)
    if rng.random() < 0.5:
        levels = jpeg_round_trip(levels, int(rng.integers(50, 95)))
    return from_levels(levels)


def _middle(shape: tuple[int, ...], crop: int) -> tuple[slice, slice]:
    rows, columns = (
        slice(start := max(0, (length - crop) // 2), start + crop) for length in shape[:2]
    )
    return rows, columns
