"""Folders for clips: they go when a clip is done, or when the next service starts."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

if sys.platform != "win32":
    import fcntl

PREFIX = "dpenet-clip-"
# A folder that is younger may not have been locked yet.
_LOCKING_SECONDS = 1


@contextmanager
def clip_folder(place: Path | None) -> Iterator[Path]:
    """A folder of one's own, locked as long as it is there.

    Args:
        place: Where to make it; None is where the system keeps temporary files.
    """
    with TemporaryDirectory(prefix=PREFIX, dir=place) as name, _opened(Path(name)) as lock:
        _lock(lock)
        yield Path(name)


def remove_left(place: Path) -> None:
    """Remove the folders of services that were killed: those that nobody has locked.

    Args:
        place: Where they are.
    """
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # of another user, in use, or just gone
            if time.time() - folder.stat().st_mtime < _LOCKING_SECONDS:
                continue
            with _opened(folder) as lock:
                _lock(lock)
                shutil.rmtree(folder)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Lock a folder until it is closed or the process ends, however it does.

    Raises:
        OSError: If another has locked it.
    """
    # A number of a process would tell nothing of one in another container.
    if sys.platform != "win32":
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
