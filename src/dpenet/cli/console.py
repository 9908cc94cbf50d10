"""What commands say: results as JSON lines on stdout, everything for people on stderr."""

from __future__ import annotations

import json
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dpenet.errors import DpenetError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path


_LINE_SECONDS = 10.0


def say(message: str) -> None:
    """Tell the person at the terminal something, on stderr."""
    sys.stderr.write(f"{message}\n")
    sys.stderr.flush()


def lighten_openvino() -> None:
    """Keep OpenVINO's package from importing its model converter, half of the time it takes."""
    sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]


def emit_json(record: Mapping[str, Any]) -> None:
    """Write one JSON line on stdout, of ASCII: file names may be what no encoding has."""
    write_output(f"{json.dumps(record)}\n".encode())


def write_output(content: bytes) -> None:
    """Write to standard output, and not only to its buffer.

    Raises:
        BrokenPipeError: If nobody reads it any more, which ends the program without a word.
        DpenetError: If it cannot be written for another reason.
    """
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DpenetError(f"standard output: cannot be written: {error.strerror}") from error


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


@contextmanager
def frame_progress(total: int, name: str) -> Iterator[Callable[[int], None]]:
    """Show progress over the frames of a clip; call the yielded function with those just done.

    A terminal gets a bar with frames per second and the time left; anything else a line now and
    then.
    """
    start = said = time.perf_counter()
    done = 0
    first: int | None = None

    def state() -> str:
        assert first is not None
        now = done - first  # without those that were there from an earlier run
        speed = now / max(time.perf_counter() - start, 1e-9)
        left = f", {duration((total - done) / speed)} left" if now and done < total else ""
        return f"{speed:.1f} frames/s{left}"

    def count(frames: int) -> None:
        nonlocal done, first
        if first is None:
            first = frames if frames > 1 else 0
        done += frames

    if not sys.stderr.isatty():

        def tell(frames: int) -> None:
            nonlocal said
            count(frames)
            if time.perf_counter() - said > _LINE_SECONDS:
                said = time.perf_counter()
                say(f"{name}: {done} of {total} frames, {state()}")

        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("frames", total=total)

        def advance(frames: int) -> None:
            count(frames)
            bar.update(task, advance=frames, description=f"frames · {state()}")

        yield advance


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """A table of plain text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = []
    for first, *others in lines:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        rows.append("  ".join([f"{first:<{widths[0]}}", *cells]))
    return "\n".join(rows)


def write_text(path: Path, text: str) -> None:
    """Write a file that was asked for, whole or not at all, and say so.

    Raises:
        DpenetError: If it cannot be written.
    """
    from dpenet.atomic import atomic_path

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DpenetError(f"cannot write {path}: {error.strerror or error}") from error
    say(f"wrote {path}")


def duration(seconds: float) -> str:
    """A length of time as people say it: ``0.04 s``, ``4.2 s``, ``12 s``, ``1 h 20 min``."""
    if seconds < 0.1:
        return f"{seconds:.2f} s"
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
