"""int8 forms of models: whole-number kernels, and the range of what enters each convolution.

A form belongs to the very weights it was made from, told by their digest: one made from others is
never used. Those of embedded models come with the package; the user's are in ``int8/`` under
`dpenet.zoo.store.home`.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray

from dpenet.atomic import atomic_path
from dpenet.errors import ModelError
from dpenet.zoo.store import embedded_path, home
from dpenet.zoo.weights import METADATA, Weights

_PARTS = ("kernel", "step", "high")


@dataclass(frozen=True)
class Int8Convolution:
    """One convolution in int8, without bias.

    It computes ``step * (kernel * a)`` for ``a = round(255 * clip(x / high, 0, 1))``.

    Attributes:
        kernel: (outputs, inputs, k, k), int8.
        step: (outputs,), float32: what 1 in the whole-number result is worth.
        high: (inputs,), float32: the input that becomes 255; 0 and all below become 0.
    """

    kernel: NDArray[np.int8]
    step: NDArray[np.float32]
    high: NDArray[np.float32]


@dataclass(frozen=True)
class Int8:
    """The int8 form of a model. Convolutions that are not in it stay as the weights have them.

    Attributes:
        convolutions: By name, which is the key of the weights without ``.weight``.
        weights: Digest of the weights that it was made from.
        calibration: What the ranges were measured on.
    """

    convolutions: Mapping[str, Int8Convolution]
    weights: str
    calibration: str

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all numbers, in hexadecimal."""
        digest = hashlib.sha256()
        for name, convolution in sorted(self.convolutions.items()):
            digest.update(name.encode())
            for part in _PARTS:
                digest.update(getattr(convolution, part).tobytes())
        return digest.hexdigest()


def int8_path(weights: Weights) -> Path:
    """Where the user's own int8 form of these weights is, or would be."""
    return home() / "int8" / f"{weights.digest}.safetensors"


def find_int8(weights: Weights) -> Int8 | None:
    """The int8 form of these very weights, the user's own before the embedded; None if absent.

    Raises:
        ModelError: If there is one, and it is damaged.
    """
    for path in (int8_path(weights), embedded_path(f"{weights.name}.int8")):
        if path.is_file() and (form := read_int8(path)).weights == weights.digest:
            _check(form, weights, path)
            return form
    return None


def read_int8(path: Path) -> Int8:
    """Read an int8 form.

    Raises:
        ModelError: If the file cannot be read, or is no such form.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            facts = json.loads(file.metadata()[METADATA])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        names = sorted({key.rpartition(".")[0] for key in arrays})
        convolutions = {
            name: Int8Convolution(*(arrays[f"{name}.{part}"] for part in _PARTS)) for name in names
        }
        return Int8(convolutions, str(facts["weights"]), str(facts["calibration"]))
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: not an int8 form of a model, or damaged ({error})") from error


def write_int8(path: Path, form: Int8) -> None:
    """Write an int8 form; the file appears whole or not at all.

    Raises:
        ModelError: If it cannot be written.
    """
    from safetensors.numpy import save

    arrays = {
        f"{name}.{part}": np.ascontiguousarray(getattr(convolution, part))
        for name, convolution in form.convolutions.items()
        for part in _PARTS
    }
    facts = {"weights": form.weights, "calibration": form.calibration}
    content = save(arrays, {METADATA: json.dumps(facts, sort_keys=True)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from error


def _check(form: Int8, weights: Weights, path: Path) -> None:
    for name, convolution in form.convolutions.items():
        kernel = weights.state.get(f"{name}.weight")
        shapes = None if kernel is None else (kernel.shape, kernel.shape[:1], kernel.shape[1:2])
        arrays = (convolution.kernel, convolution.step, convolution.high)
        fits = shapes == tuple(array.shape for array in arrays)
        types = [array.dtype for array in arrays] == [np.int8, np.float32, np.float32]
        positive = all((array > 0).all() and np.isfinite(array).all() for array in arrays[1:])
        if not (fits and types and positive):
            raise ModelError(
                f"{path} is damaged at {name}; delete it and run: "
                f"dpenet models quantize {weights.name}"
            )
