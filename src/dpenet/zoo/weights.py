"""Weights as files: safetensors of our own, and ``.pth`` as published."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from dpenet.atomic import atomic_path
from dpenet.errors import ModelError
from dpenet.zoo.architecture import Architecture
from dpenet.zoo.pth import as_float32, read_pth

_DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "bfloat16", "F64": "<f8"}
METADATA = "dpenet"
"""The one metadata entry of our safetensors files, a JSON object."""
# A DPENet 512 channels wide takes 0.7 GB: a bigger file is something else, and is not read.
_LARGEST_FILE = 1 << 30


@dataclass(frozen=True)
class Weights:
    """The learnt numbers of one DPENet, complete and finite.

    Attributes:
        state: Key to float32 array, with the keys and shapes of ``architecture.shapes()``.
        architecture: Width and depth, deduced from the state.
        metadata: What the file says of itself (source, licence, recipe, ...); may be empty.
        name: Name in the zoo, or the stem of the file.
    """

    state: Mapping[str, NDArray[np.float32]]
    architecture: Architecture
    metadata: Mapping[str, Any] = field(default_factory=dict)
    name: str = "custom"

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the learnt numbers, in hexadecimal: the same whatever file they are in."""
        digest = hashlib.sha256()
        for key, array in sorted(self.state.items()):
            digest.update(f"{key} {array.shape} ".encode())
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()

    def halo_8bit(self, precision: str) -> int | None:
        """How far pixels act on a result rounded to 8 bits, by its metadata; None if not told.

        Args:
            precision: That it is computed in. Shorter floating point gets what fp32 needs.
        """
        told = self.metadata.get("halo_8bit")
        halos = told if isinstance(told, dict) else {}
        halo = halos.get("int8" if precision == "int8" else "fp32")
        return halo if isinstance(halo, int) and halo >= 0 else None


def read_weights(path: Path) -> Weights:
    """Read and check a file of weights, ``.safetensors`` or ``.pth``, told apart by content.

    Raises:
        ModelError: If the file cannot be read, is neither, is damaged or malicious, or does not
            hold the complete and finite weights of a DPENet.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    if size > _LARGEST_FILE:
        raise ModelError(f"{path}: {size / 1e9:.1f} GB are too much for the weights of a DPENet")
    # Safetensors: the length of the header in 8 bytes, then the header, which is JSON.
    is_safetensors = start[8:] == b"{"
    state, metadata = _read_safetensors(path) if is_safetensors else (read_pth(path), {})
    return Weights(state, _check(state, str(path)), metadata, path.stem)


def write_weights(
    path: Path, state: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> None:
    """Write a state dict as safetensors, float32; the file appears whole or not at all.

    Args:
        path: The file to create or replace.
        state: Key to array, complete and finite.
        metadata: Facts to keep with it, as JSON allows.

    Raises:
        ModelError: If the state dict is not that of a DPENet, or the file cannot be written.
    """
    from safetensors.numpy import save

    shapes = _check(state, "weights to save").shapes()
    arrays = {key: np.ascontiguousarray(state[key], dtype=np.float32) for key in shapes}
    # One entry with sorted keys: the same weights give the same bytes.
    content = save(arrays, {METADATA: json.dumps(metadata, sort_keys=True, ensure_ascii=False)})
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from error


def _check(state: Mapping[str, NDArray[Any]], what: str) -> Architecture:
    try:
        architecture = Architecture.of(state)
    except ModelError as error:
        raise ModelError(f"{what}: {error}") from error
    for key, array in state.items():
        if not np.isfinite(array).all():
            raise ModelError(
                f"{what}: {key} holds NaN or infinite values; "
                "the training that made it diverged, or the file is damaged"
            )
    return architecture


def _read_safetensors(path: Path) -> tuple[dict[str, NDArray[np.float32]], dict[str, Any]]:
    try:
        content = path.read_bytes()
        state = {}
        for key, tensor in safetensors.deserialize(content):  # type: ignore[no-untyped-call]
            if tensor["dtype"] not in _DTYPES:
                raise ModelError(f"{path}: {key[:100]!r} is of type {tensor['dtype']}, not floats")
            numbers = as_float32(tensor["data"], _DTYPES[tensor["dtype"]])
            state[key] = numbers.reshape(tensor["shape"])
        length = int.from_bytes(content[:8], "little")
        entry = json.loads(content[8 : 8 + length]).get("__metadata__", {}).get(METADATA, "{}")
        metadata = json.loads(entry)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path}: damaged or cut short; download or copy it again ({error})"
        ) from error
    if not isinstance(metadata, dict):
        raise ModelError(f"{path}: its metadata entry {METADATA!r} is not a JSON object")
    return state, metadata
