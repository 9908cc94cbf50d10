"""Folders that fill up: which of their files are whole, without a moment of busy waiting.

Looks are repeated, instead of asking the system to tell of changes: it tells nothing of what other
machines write to a network drive, and whether a file still grows takes a second look anyway.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from dpenet.cli.console import say
from dpenet.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dpenet.media.jobs import Job

SETTLED_SECONDS = 2.0
"""A file that has not changed for so long is no longer being written."""
_SHARE = 0.05  # of a core, for looking


class _State(NamedTuple):
    size: int
    changed: int


def settled(find: Callable[[], list[Job]]) -> Iterator[tuple[list[Job], list[Job]]]:
    """Wait for files that are new or have changed, until the caller has enough.

    Args:
        find: Looks for all jobs that there are now.

    Yields:
        Jobs whose files are not empty and were the same at two looks, and all that were found.
    """
    jobs: list[Job] = []
    told = ""
    seen: dict[Path, _State] = {}
    handed: dict[Path, _State] = {}
    while True:
        began = time.monotonic()
        try:
            jobs, told = find(), ""
        except UsageError as error:  # such as a network drive that is gone for a while
            if str(error) != told:
                told = str(error)
                say(told)
        now = {job.source: state for job in jobs if job.source and (state := _state(job.source))}
        whole = {path for path, state in now.items() if seen.get(path) == state}
        due = {path: now[path] for path in whole if handed.get(path) != now[path]}
        seen = now
        looked = time.monotonic() - began
        if due:
            handed = {path: state for path, state in handed.items() if path in now} | due
            yield [job for job in jobs if job.source in due], jobs
        time.sleep(max(SETTLED_SECONDS, looked / _SHARE))


def _state(path: Path) -> _State | None:
    """What changes while a file is written; None if there is nothing in it yet."""
    try:
        status = path.stat()
    except OSError:
        return None
    return _State(status.st_size, status.st_mtime_ns) if status.st_size else None
