"""`derain`, for one picture: a `Derainer` that is made when it is needed, and kept for the next."""

from __future__ import annotations

import functools
import threading
from dataclasses import asdict
from os import fspath
from pathlib import Path
from typing import Any, Unpack, overload

from dpenet.inference.derainer import Derainer, InMemory
from dpenet.inference.options import Options, Tuning

_KEPT = 2


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
        **tuning: ``precision``, ``device``, ``threads``, ``tile``, ``memory``, ``stage`` and
            ``strength``, as `Options` describes them.

    Returns:
        The picture without rain; for a path, the path written.

    Raises:
        UsageError: If an option or the picture is of no use.
        PictureError: If a file or bytes cannot be read, or the result cannot be written.
        ModelError: If the model is unknown or damaged.
    """
    options = Options(model=fspath(model), **tuning)
    with _lock:
        derainer: Any = _derainer(options)  # mypy resolves no overloads for a union of arguments
    return derainer(picture, out=out, overwrite=overwrite)


_lock = threading.Lock()


@functools.lru_cache(maxsize=_KEPT)
def _derainer(options: Options) -> Derainer:
    return Derainer(**asdict(options))
