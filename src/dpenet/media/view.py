"""A file's bytes, read where they are looked at."""

from __future__ import annotations

from io import BufferedReader, FileIO
from pathlib import Path
from typing import overload

_CHUNK = 1 << 16


class View(BufferedReader):
    """An open file that is looked at as bytes are.

    Unlike a file mapped into memory, it may be cut short meanwhile without ending the process: what
    is no longer there is missing from what is read.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(FileIO(path))
        self._size = self.seek(0, 2)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, where: int) -> int: ...
    @overload
    def __getitem__(self, where: slice) -> bytes: ...
    def __getitem__(self, where: int | slice) -> int | bytes:
        if isinstance(where, int):
            return self[where : where + 1][0]
        start, stop, _ = where.indices(self._size)
        self.seek(start)
        return self.read(max(0, stop - start))

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        """Where some bytes stand, as `bytes.find` has it."""
        start, end, _ = slice(start, end).indices(self._size)
        for at in range(start, end, _CHUNK):
            found = self[at : min(at + _CHUNK + len(wanted) - 1, end)].find(wanted)
            if found >= 0:
                return at + found
        return -1
