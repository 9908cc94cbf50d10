"""What became of each picture, and of all together."""

from __future__ import annotations

import errno
import os
import traceback
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dpenet.cli.console import Stopwatch, duration, emit_json
from dpenet.errors import DpenetError

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer
    from dpenet.media.jobs import Job

TRACEBACK = "DPENET_TRACEBACK"
"""The environment variable that has faults of dpenet shown in full."""

_LONGEST = 200

# After these, whatever comes next would fail as well.
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


@dataclass
class Record:
    """What became of one picture or clip; one line of ``--json``."""

    input: str
    output: str
    status: str  # done, skipped, failed or, with --dry-run, planned
    error: str | None = None
    seconds: float | None = None
    model: str | None = None
    precision: str | None = None
    device: str | None = None
    width: int | None = None
    height: int | None = None
    frames: int | None = None  # of a clip

    def __post_init__(self) -> None:
        self.ends_all = False

    @classmethod
    def of(cls, job: Job, status: str, derainer: Derainer | None = None) -> Record:
        """The record of a job, and of what does it."""
        record = cls(str(job.source or "-"), str(job.target or "-"), status)
        if derainer is not None:
            record.model = derainer.weights.name
            record.precision, record.device = derainer.precision, derainer.device
        return record

    def fail(self, error: Exception) -> None:
        """Note what went wrong, and whether it would go wrong with all others too."""
        self.status, self.error = "failed", self._told(error)
        cause = error if isinstance(error, OSError) else error.__cause__
        self.ends_all = isinstance(cause, OSError) and cause.errno in _NO_ROOM

    def _told(self, error: Exception) -> str:
        """One line about an error, foreseen or not."""
        match error:
            case DpenetError():
                return str(error)
            case MemoryError():
                return "there is not the memory for it: try --jobs 1, and a smaller --memory"
            case OSError():
                return f"{error.filename or self.input}: {error.strerror or error}"
        if os.environ.get(TRACEBACK):
            traceback.print_exception(error)
        what = " ".join(repr(error).split())[:_LONGEST]
        return (
            f"a fault of dpenet ({what}): please report it where you have dpenet from, with the "
            f"file; {TRACEBACK}=1 shows where it is"
        )

    def __str__(self) -> str:
        if self.status == "failed":
            return f"{self.input}: failed: {self.error}"
        note = {
            "skipped": "skipped, it exists (--overwrite replaces it)",
            "planned": "would be written",
        }.get(self.status, duration(self.seconds or 0))
        return f"{self.input} -> {self.output}  {note}"


class Tally:
    """Counts records, and writes each as JSON if that is wanted."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._watch = Stopwatch()
        self._counts: Counter[str] = Counter()
        self._pixels = 0

    def add(self, record: Record) -> None:
        """Take one more."""
        self._counts[record.status] += 1
        if record.status == "done":
            self._pixels += (record.width or 0) * (record.height or 0) * (record.frames or 1)
        if self._json:
            emit_json(asdict(record))

    @property
    def failed(self) -> int:
        """How many failed."""
        return self._counts["failed"]

    def __str__(self) -> str:
        counts: dict[str, Any] = {
            name: self._counts[name] for name in ("done", "skipped", "failed")
        }
        line = ", ".join(f"{count} {name}" for name, count in counts.items())
        seconds = self._watch.seconds
        speed = f" ({self._pixels / 1e6 / seconds:.2f} MP/s)" if self._pixels else ""
        return f"{line} in {duration(seconds)}{speed}"
