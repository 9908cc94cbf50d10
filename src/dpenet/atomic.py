"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(target: Path, folder: Path | None = None) -> Iterator[Path]:
    """Write to a temporary name, which takes the place of the target only on success.

    Readers see the old file or the complete new one, never a part. The data are on the disk
    before the name changes, so that a power cut cannot leave an empty file under it. A replaced
    file keeps its mode.

    Args:
        target: The file to create or replace. Its folder must exist.
        folder: Where the temporary file lies, on the same file system; by default beside it.

    Yields:
        A hidden, empty file in that folder, with the suffix of the target.

    Raises:
        OSError: As the file system has it; the target is then untouched, the temporary file gone.
    """
    name = f".{target.stem[:40]}-{secrets.token_hex(4)}{target.suffix}"
    temporary = (target.parent if folder is None else folder) / name
    # Not tempfile: its files are private (0600) whatever the umask says.
    temporary.touch(exist_ok=False)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
