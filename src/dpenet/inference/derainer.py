"""`Derainer`, a compiled network that derains pictures of any kind, and `derain`, the shortcut."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from os import fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from dpenet.errors import PictureError, UsageError
from dpenet.inference import pixels, tiling
from dpenet.inference.engines import Engine, OpenVINOEngine
from dpenet.inference.options import Options, Tuning
from dpenet.media.formats import format_for
from dpenet.media.images import encode_picture, read_picture, with_pixels, write_picture
from dpenet.zoo import Weights, load_weights

if TYPE_CHECKING:
    from PIL.Image import Image

# A picture in memory comes back as its own kind.
InMemory = TypeVar("InMemory", bytes, NDArray[Any], "Image")

_CACHED_DERAINERS = 2
_PROBE_SIDE = 128


class Derainer:
    """Removes rain from pictures with a network that is loaded and compiled once.

    Safe to call from several threads.

    Args:
        model: Name in the model zoo, path of a weights file, or weights already loaded.
        **tuning: ``precision``, ``device``, ``threads``, ``tile``, ``stage`` and ``strength``, as
            `Options` describes them.

    Attributes:
        options: What was asked for.
        weights: The parameters in use.
        precision: Number format that is computed in: ``fp32``, ``bf16`` or ``fp16``.
        device: Device that computes: ``cpu``, ``gpu``, ...

    Raises:
        UsageError: If an option cannot be, or the device or its precision is not there.
        ModelError: If the model is unknown or damaged.
    """

    def __init__(self, model: str | Path | Weights = "universal", **tuning: Unpack[Tuning]) -> None:
        name = model.name if isinstance(model, Weights) else fspath(model)
        self.options = Options(model=name, **tuning)
        self.weights = model if isinstance(model, Weights) else load_weights(name)
        self._engine: Engine = OpenVINOEngine(self.weights, self.options)
        self.precision = self._engine.precision
        self.device = self._engine.device

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
                - bytes of an image file: bytes of the same format (PNG for one that is only read,
                  such as HEIF), with metadata and depth kept;
                - an array, (H, W), (H, W, 1) or (H, W, 3), RGB, or with alpha (H, W, 2) or
                  (H, W, 4); uint8, uint16, or float in 0..1: the same shape and dtype;
                - a PIL image: the same mode, size and ``info``. Its EXIF orientation is not
                  applied. One whose transparency is a colour or palette entry gets an alpha
                  channel; a palette is made anew.
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
        """Derain several pictures, of any kinds and sizes.

        Args:
            pictures: Each as for a single call.
            out: For paths, where to write each.
            overwrite: Whether files in ``out`` may exist and be replaced.

        Returns:
            The results in the order of ``pictures``.

        Raises:
            UsageError: As for a single call, or if ``out`` is not as long as ``pictures``.
            PictureError: As for a single call; the pictures after it are not touched.
        """
        if out is not None and len(out) != len(pictures):
            raise UsageError(f"{len(pictures)} pictures need as many out=, not {len(out)}")
        targets: Sequence[str | Path | None] = [None] * len(pictures) if out is None else out
        return [
            self._derain(picture, target, overwrite)
            for picture, target in zip(pictures, targets, strict=True)
        ]

    def derain_pixels(self, colour: NDArray[Any]) -> NDArray[Any]:
        """Derain bare pixels: what every other way of calling comes down to.

        Args:
            colour: (H, W, 3) RGB or (H, W, 1) grey; uint8, uint16, or float in 0..1.

        Returns:
            The same shape and dtype, clipped to the range.

        Raises:
            UsageError: If the array is not such a picture.
        """
        bare, alpha = pixels.split_alpha(colour)
        if alpha is not None or colour.ndim != 3:
            raise UsageError(f"pixels are (H, W, 3) or (H, W, 1), not {colour.shape}")
        pixels.check_range(bare)
        return tiling.run_tiled(self._derain_window, bare, self._tile(*bare.shape[:2]), self._halo)

    def estimate_seconds(self, height: int, width: int) -> float:
        """About how long a picture of this size will take, from a short run made once."""
        tiles = tiling.plan_tiles(height, width, self._tile(height, width), self._halo)
        return self._seconds_per_pixel * sum(tile.pixels for tile in tiles)

    rain_layer = staticmethod(pixels.rain_layer)

    def _derain(self, picture: Any, out: str | Path | None, overwrite: bool) -> Any:
        if isinstance(picture, str | Path):
            return self._derain_file(Path(picture), out, overwrite)
        if out is not None:
            raise UsageError("out= goes with the path of a picture; other kinds are returned")
        if isinstance(picture, bytes):
            rainy = read_picture(picture)
            return encode_picture(with_pixels(rainy, self.derain_pixels(rainy.pixels)))
        if isinstance(picture, np.ndarray):
            return self._derain_array(picture)
        from PIL import Image

        if isinstance(picture, Image.Image):
            clean = self._derain_array(pixels.from_pil(picture))
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
        rainy = read_picture(source)
        clean = with_pixels(rainy, self.derain_pixels(rainy.pixels))
        write_picture(clean, target, overwrite=overwrite)
        return target

    def _derain_array(self, picture: NDArray[Any]) -> NDArray[Any]:
        colour, alpha = pixels.split_alpha(picture)
        return pixels.join_alpha(self.derain_pixels(colour), alpha, picture.shape)

    def _derain_window(self, colour: NDArray[Any]) -> NDArray[Any]:
        x = pixels.to_network(colour)
        y = self._engine.run(x)
        np.clip(y, 0, 1, out=y)
        if self.options.strength < 1:
            y = x + np.float32(self.options.strength) * (y - x)
        return pixels.from_network(y, like=colour)

    @property
    def _halo(self) -> int:
        architecture = self.weights.architecture
        first = self.options.stage == 1
        return architecture.stage1_field if first else architecture.receptive_field

    def _tile(self, height: int, width: int) -> int:
        if self.options.tile is not None:
            return self.options.tile
        return tiling.automatic_tile(height, width, self._halo, self.precision)

    @functools.cached_property
    def _seconds_per_pixel(self) -> float:
        probe = np.zeros((1, 3, _PROBE_SIDE, _PROBE_SIDE), np.float32)
        self._engine.run(probe)  # the first run of a size also compiles for it
        start = time.perf_counter()
        self._engine.run(probe)
        return (time.perf_counter() - start) / _PROBE_SIDE**2


@overload
def derain(
    picture: str | Path,
    *,
    out: str | Path,
    overwrite: bool = False,
    model: str | Path = "universal",
    **tuning: Unpack[Tuning],
) -> Path: ...
@overload
def derain(
    picture: InMemory, *, model: str | Path = "universal", **tuning: Unpack[Tuning]
) -> InMemory: ...
def derain(
    picture: Any,
    *,
    model: str | Path = "universal",
    out: str | Path | None = None,
    overwrite: bool = False,
    **tuning: Unpack[Tuning],
) -> Any:
    """Remove rain from a picture; the same kind comes back.

    The last few networks used stay loaded, so that a loop over pictures is as fast as a `Derainer`.

    Args:
        picture: Path, bytes of an image file, numpy array or PIL image: see `Derainer.__call__`.
        model: Name in the model zoo, or path of a weights file.
        out: Where to write the result, needed for a path.
        overwrite: Whether ``out`` may exist and be replaced.
        **tuning: ``precision``, ``device``, ``threads``, ``tile``, ``stage`` and ``strength``, as
            `Options` describes them.

    Returns:
        The picture without rain; for a path, the path written.

    Raises:
        UsageError: If an option or the picture is of no use.
        PictureError: If a file or bytes cannot be read, or the result cannot be written.
        ModelError: If the model is unknown or damaged.
    """
    options = Options(model=fspath(model), **tuning)
    with _cache_lock:
        derainer = _cached_derainer(options)
    return derainer._derain(picture, out, overwrite)


_cache_lock = threading.Lock()


@functools.lru_cache(maxsize=_CACHED_DERAINERS)
def _cached_derainer(options: Options) -> Derainer:
    return Derainer(**asdict(options))
