"""Compiled networks kept between runs, so that a command does not compile what the last one did.

OpenVINO's own cache (``CACHE_DIR``) computes with a damaged file without noticing. Here every file
carries a checksum, appears whole or not at all, and one that is of no use is compiled anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dpenet.atomic import atomic_path
from dpenet.zoo.store import home

SWITCH = "DPENET_COMPILED_CACHE"
"""Environment variable that turns the cache off if it is ``0``."""
MOST_BYTES = 1 << 26
"""Of all files together: two dozen of the largest models. The least recently used go first."""

_DIGEST_BYTES = 32


def folder() -> Path:
    """Where compiled networks are kept: ``compiled/`` beside the models."""
    return home() / "compiled"


def compile_once(
    core: Any, device: str, config: dict[str, Any], identity: bytes, make: Callable[[], Any]
) -> Any:
    """Compile a network, or take what an earlier run compiled of it.

    Args:
        core: OpenVINO's core.
        device: Its name of the device.
        config: For the compilation.
        identity: All that tells this network from others.
        make: Builds the network; called only if it has to be compiled.

    Returns:
        OpenVINO's compiled model.

    Raises:
        RuntimeError: If the device cannot compile it.
    """
    if os.environ.get(SWITCH) == "0" or not _can_export(core, device):
        return core.compile_model(make(), device, config)
    path = folder() / f"{_key(core, device, config, identity)}.blob"
    if (blob := _read(path)) is not None:
        # One that another driver made, perhaps.
        with suppress(RuntimeError):
            return core.import_model(blob, device, config)
    compiled = core.compile_model(make(), device, config)
    # A home that is read-only, full or gone costs time, and nothing else.
    with suppress(OSError, RuntimeError):
        _write(path, compiled.export_model().getvalue())
    return compiled


def _can_export(core: Any, device: str) -> bool:
    return "EXPORT_IMPORT" in core.get_property(device, "OPTIMIZATION_CAPABILITIES")


def _key(core: Any, device: str, config: dict[str, Any], identity: bytes) -> str:
    import openvino

    facts = [openvino.__version__, device, sorted(config.items())]
    facts += [
        core.get_property(device, name)
        for name in ("FULL_DEVICE_NAME", "DEVICE_ARCHITECTURE", "OPTIMIZATION_CAPABILITIES")
    ]
    return hashlib.sha256(repr(facts).encode() + identity).hexdigest()


def _read(path: Path) -> bytes | None:
    """The content of a file that is there and whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(path)  # used just now
    digest, blob = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    return blob if hashlib.sha256(blob).digest() == digest else None


def _write(path: Path, blob: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(hashlib.sha256(blob).digest() + blob)
    files = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > MOST_BYTES:
            file.unlink(missing_ok=True)
