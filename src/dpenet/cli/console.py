"""What commands say: results as JSON lines on stdout, everything for people on stderr."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


def say(message: str) -> None:
    """Tell the person at the terminal something, on stderr."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def emit_json(record: Mapping[str, Any]) -> None:
    """Write one JSON line on stdout."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


@contextmanager
def progress(total: int, unit: str) -> Iterator[Callable[[str], None]]:
    """Show progress over ``total`` items; call the yielded function after each, with a line.

    A terminal gets a bar with the time left, and lines above it; anything else gets plain lines.
    """
    if not sys.stderr.isatty():
        yield say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as TimeLeft

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), TextColumn("·"), TimeLeft())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(unit, total=total)

        def advance(line: str) -> None:
            console.print(line, markup=False, soft_wrap=True)
            bar.advance(task)

        yield advance


def duration(seconds: float) -> str:
    """A length of time as people say it: ``0.4 s``, ``12 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start
