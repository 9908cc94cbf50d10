"""`Derainer`, a compiled network that derains pictures of any kind."""

from __future__ import annotations

import copy
import functools
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dpenet.errors import PictureError, UsageError
from dpenet.inference import memory, pixels, tiling
from dpenet.inference.engines import Engine, open_engine
from dpenet.inference.files import derain_content, derain_file
from dpenet.inference.options import Options, Tuning
from dpenet.inference.pipeline import Room, in_order, in_worker
from dpenet.media.formats import format_for
from dpenet.media.images import Picture, with_pixels
from dpenet.media.profiles import Profile, profile_of
from dpenet.zoo import Weights, load_weights

if TYPE_CHECKING:
    from PIL.Image import Image

# A picture in memory comes back as its own kind.
InMemory = TypeVar("InMemory", bytes, NDArray[Any], "Image")
Item = TypeVar("Item")
Result = TypeVar("Result")

SMALL_PIXELS = 1 << 18
"""Of pictures up to this size several are computed side by side, each on a core of its own: the
smaller one is, the less it gains from all cores at once."""

_PROBE_SIDE, _PROBES = 128, 3
# Small pictures before a second engine for them pays for its opening.
_FEW = 8


class Derainer:
    """Removes rain from pictures with a network that is loaded and compiled once.

    Safe to call from several threads.

    Args:
        model: Name in the model zoo, path of a weights file, or weights already loaded.
        **tuning: ``precision``, ``device``, ``threads``, ``tile``, ``memory``, ``stage`` and
            ``strength``, as `Options` describes them.

    Attributes:
        options: What was asked for.
        weights: The parameters in use.
        precision: Number format that is computed in: ``fp32``, ``bf16``, ``fp16`` or ``int8``.
        device: Device that computes: ``cpu``, ``gpu``, ...

    Raises:
        UsageError: If an option cannot be, or the device or its precision is not there.
        ModelError: If the model is unknown or damaged.
    """

    def __init__(self, model: str | Path | Weights = "universal", **tuning: Unpack[Tuning]) -> None:
        name = model.name if isinstance(model, Weights) else fspath(model)
        self.options = Options(model=name, **tuning)
        self.weights = model if isinstance(model, Weights) else load_weights(name)
        self._engine: Engine = open_engine(self.weights, self.options)
        self.precision = self._engine.precision
        self.device = self._engine.device
        self.room = Room()
        self._small_engine = self._engine
        self._small_pictures = 0
        self._lock = threading.Lock()

    @overload
    def __call__(
        self, picture: str | Path, *, out: str | Path, overwrite: bool = False
    ) -> Path: ...
    @overload
    def __call__(self, picture: InMemory) -> InMemory: ...
    def __call__(
        self, picture: Any, *, out: str | Path | None = None, overwrite: bool = False
    ) -> Any:
        """Derain one picture; the same kind comes back.

        Args:
            picture: One of

                - a path: the result is written to ``out``, with metadata and depth kept;
                - bytes of an image file: bytes of the same format (JPEG for a HEIC photo, PNG for
                  others that are only read), with metadata and depth kept;
                - an array, (H, W), (H, W, 1) or (H, W, 3), RGB, or with alpha (H, W, 2) or
                  (H, W, 4); uint8, uint16, or float in 0..1: the same shape and dtype;
                - a PIL image: the same mode, size and ``info``, of which the ICC profile counts.
                  Its EXIF orientation is not applied. One whose transparency is a colour or palette
                  entry gets an alpha channel; a palette is made anew.
            out: Where to write, for a path only.
            overwrite: Whether ``out`` may exist and be replaced.

        Returns:
            The picture without rain; for a path, the path written.

        Raises:
            UsageError: If ``out`` is missing or out of place, or the picture is of no such kind.
            PictureError: If a file or bytes cannot be read, or the result cannot be written.
        """
        return self._derain(picture, out, overwrite)

    @overload
    def batch(
        self, pictures: Sequence[str | Path], *, out: Sequence[str | Path], overwrite: bool = False
    ) -> list[Path]: ...
    @overload
    def batch(self, pictures: Sequence[InMemory]) -> list[InMemory]: ...
    def batch(
        self,
        pictures: Sequence[Any],
        *,
        out: Sequence[str | Path] | None = None,
        overwrite: bool = False,
    ) -> list[Any]:
        """Derain several pictures, of any kinds and sizes, several at a time.

        Args:
            pictures: Each as for a single call.
            out: For paths, where to write each.
            overwrite: Whether files in ``out`` may exist and be replaced.

        Returns:
            The results in the order of ``pictures``.

        Raises:
            UsageError: As for a single call, or if ``out`` is not as long as ``pictures``.
            PictureError: As for a single call; some of the pictures after it may be done.
        """
        if out is not None and len(out) != len(pictures):
            raise UsageError(f"{len(pictures)} pictures need as many out=, not {len(out)}")
        targets: Sequence[str | Path | None] = [None] * len(pictures) if out is None else out

        def one(job: tuple[Any, str | Path | None]) -> Any:
            return self._derain(*job, overwrite)

        with closing(self.each(one, list(zip(pictures, targets, strict=True)))) as results:
            return list(results)

    def each(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Generator[Result]:
        """Apply a function that derains with this object to items, several at a time.

        One picture is read and another written while a third computes; small ones are computed
        side by side. As many pictures are in hand at once as memory and the processor are good for.
        See `dpenet.inference.pipeline.in_order` for order, errors, and how to stop early.
        """
        # Twice what computes: half of them wait for the disk.
        return in_order(function, items, min(len(items), 2 * self.threads + 2))

    def derain_picture(self, picture: Picture) -> Picture:
        """Derain a decoded picture, and keep all that its file holds.

        What floats have beyond the range from 0 to 1, which the network does not see, stays.

        Raises:
            UsageError: If the memory allowed is too little.
        """
        colour = picture.pixels
        if colour.dtype.kind != "f":
            return with_pixels(picture, self.derain_pixels(colour, icc=picture.info.icc))
        seen = np.clip(colour, 0, 1)
        clean = self.derain_pixels(seen, icc=picture.info.icc)
        return with_pixels(picture, clean + (colour - seen))

    def derain_pixels(self, colour: NDArray[Any], *, icc: bytes | None = None) -> NDArray[Any]:
        """Derain bare pixels: what every other way of calling comes down to.

        Args:
            colour: (H, W, 3) RGB or (H, W, 1) grey; uint8, uint16, or float in 0..1.
            icc: The profile of its colours, which are shown to the network as sRGB; without one,
                they are sRGB.

        Returns:
            The same shape and dtype, clipped to the range.

        Raises:
            UsageError: If the array is not such a picture.
        """
        bare, alpha = pixels.split_alpha(colour)
        if alpha is not None or colour.ndim != 3:
            raise UsageError(f"pixels are (H, W, 3) or (H, W, 1), not {colour.shape}")
        pixels.check_range(bare)
        height, width, _ = bare.shape
        held = max(2 * bare.nbytes, self.room.taken)
        grid = self.plan(height, width, bare.dtype, held=held)
        profile = profile_of(icc, bare.shape[2])
        return tiling.run_tiled(functools.partial(self.derain_window, profile=profile), bare, grid)

    def derain_window(self, colour: NDArray[Any], profile: Profile | None = None) -> NDArray[Any]:
        """Derain pixels, as `derain_pixels` does, in one go and unchecked."""
        seen = colour if profile is None else profile.to_srgb(colour)
        x = pixels.to_network(seen)
        y = self._engine_for(x.shape[2] * x.shape[3]).run(x)
        np.clip(y, 0, 1, out=y)
        if self.options.strength < 1:
            y = x + np.float32(self.options.strength) * (y - x)
        clean = pixels.from_network(y, like=seen)
        return clean if profile is None else profile.with_change(colour, seen, clean)

    def at_strength(self, strength: float) -> Derainer:
        """The same network in memory, for another mix of input and result.

        Args:
            strength: As `Options` has it.

        Raises:
            UsageError: If it is not from 0 to 1.
        """
        other = copy.copy(self)
        other.options = replace(self.options, strength=strength)
        return other

    def plan(
        self,
        height: int,
        width: int,
        dtype: DTypeLike = np.uint8,
        *,
        held: int = 0,
        band_row: int = 0,
    ) -> tiling.Grid:
        """The tiles in which a picture is computed.

        Args:
            height: Of the picture.
            width: Of the picture.
            dtype: Of its pixels. Those of 8 bits need no more halo than shows in 8 bits.
            held: Bytes that the picture and its result take meanwhile.
            band_row: Bytes for each row of pixels of a tile, if the picture is held in bands.

        Raises:
            UsageError: If the memory allowed is too little for any tiles.
        """
        halo = self._halo(np.dtype(dtype))
        if self.options.tile is not None:
            return tiling.square_grid(height, width, halo, self.options.tile)
        cost = tiling.Cost(self._bytes_per_pixel, band_row)
        share = own = self.working_memory - held
        if (most := self._engine.most_pixels()) is not None:
            share = min(own, most * self._bytes_per_pixel)
        grid = tiling.cheapest_grid(height, width, halo, cost, share)
        lacking = (cost.of(grid) - own) * self._engine.streams
        if self._budget is not None and lacking > 0:
            needed = math.ceil((self._budget + lacking) / 1e6)
            raise UsageError(f"{width} x {height} pixels need --memory {needed}MB at least")
        return grid

    @property
    def working_memory(self) -> int:
        """Bytes that pictures may take: their copies, and what the network needs for one."""
        others = 0
        if self._small_engine is not self._engine:
            others = self._small_engine.streams * SMALL_PIXELS * self._bytes_per_pixel
        return memory.working_memory(self._budget) // self._engine.streams - others

    @property
    def _bytes_per_pixel(self) -> int:
        architecture, stage = self.weights.architecture, self.options.stage
        return memory.bytes_per_pixel(architecture, self.precision, stage)

    @property
    def _budget(self) -> int | None:
        budget = self.options.memory
        assert not isinstance(budget, str)  # options turn it into bytes
        return budget

    def estimate_seconds(self, height: int, width: int) -> float:
        """About how long a picture of this size will take, from a short run made once.

        Raises:
            UsageError: If the memory allowed is too little for it.
        """
        return self._seconds_per_pixel * self.plan(height, width).pixels

    rain_layer = staticmethod(pixels.rain_layer)

    def _derain(self, picture: Any, out: str | Path | None, overwrite: bool) -> Any:
        if isinstance(picture, str | Path):
            return self._derain_file(Path(picture), out, overwrite)
        if out is not None:
            raise UsageError("out= goes with the path of a picture; other kinds are returned")
        if isinstance(picture, bytes):
            return derain_content(self, picture)
        if isinstance(picture, np.ndarray):
            return self._derain_array(picture)
        from PIL import Image

        if isinstance(picture, Image.Image):
            icc = picture.info.get("icc_profile")
            clean = self._derain_array(pixels.from_pil(picture), icc)
            return pixels.to_pil(clean, like=picture)
        raise UsageError(
            "a picture is a path, bytes, a numpy array or a PIL image, "
            f"not {type(picture).__qualname__}"
        )

    def _derain_file(self, source: Path, out: str | Path | None, overwrite: bool) -> Path:
        if out is None:
            raise UsageError(f"where should {source} go without its rain? Give out=")
        target = Path(out)
        # Before the work, not after it.
        format_for(target)
        if target.exists() and not overwrite:
            raise PictureError(f"{target}: exists already; pass overwrite=True or another out=")
        derain_file(self, source, target, overwrite=overwrite)
        return target

    def _derain_array(self, picture: NDArray[Any], icc: bytes | None = None) -> NDArray[Any]:
        colour, alpha = pixels.split_alpha(picture)
        return pixels.join_alpha(self.derain_pixels(colour, icc=icc), alpha, picture.shape)

    def _engine_for(self, size: int) -> Engine:
        """The engine for so many pixels: another one for small pictures, once there are many."""
        if size > SMALL_PIXELS or not in_worker() or self.device != "cpu":
            return self._engine
        with self._lock:
            self._small_pictures += 1
            if self._small_pictures == _FEW and (streams := self._streams) > 1:
                self._small_engine = open_engine(self.weights, self.options, streams=streams)
        return self._small_engine

    @property
    def _streams(self) -> int:
        """How many small pictures to compute at once, in half of the memory."""
        affordable = self.working_memory // 2 // (SMALL_PIXELS * self._bytes_per_pixel)
        return min(self.threads, affordable)

    @property
    def threads(self) -> int:
        """How many processor threads compute, as far as this process may use them."""
        if self.options.threads is not None:
            return self.options.threads
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1

    def _halo(self, dtype: np.dtype[Any]) -> int:
        architecture = self.weights.architecture
        first = self.options.stage == 1
        full = architecture.stage1_field if first else architecture.receptive_field
        halo = self.weights.halo_8bit(self.precision) if dtype == np.uint8 else None
        return full if halo is None else min(full, halo)

    @functools.cached_property
    def _seconds_per_pixel(self) -> float:
        probe = np.zeros((1, 3, _PROBE_SIDE, _PROBE_SIDE), np.float32)
        self._engine.run(probe)  # the first run of a size also compiles for it
        seconds = []
        for _ in range(_PROBES):
            start = time.perf_counter()
            self._engine.run(probe)
            seconds.append(time.perf_counter() - start)
        # What else the machine does meanwhile makes it slower, never faster.
        return min(seconds) / _PROBE_SIDE**2
