from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.cli import watch
from dpenet.cli.watch import SETTLED_SECONDS, settled
from dpenet.errors import UsageError
from dpenet.media.jobs import Job, plan_jobs

Photo = NDArray[np.uint8]


class Clock:
    """Time that passes only where somebody sleeps, and what happens meanwhile."""

    def __init__(self, *events: Callable[[], object]) -> None:
        self.now, self.naps = 0.0, [0.0]
        self.events = list(events)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.naps.append(seconds)
        if not self.events:
            raise KeyboardInterrupt
        self.events.pop(0)()


def nothing() -> None:
    """Nobody writes anything."""


def handed(clock: Clock, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, str]]:
    """When which files are found to be whole, until there are no more events."""
    monkeypatch.setattr(watch, "time", clock)
    found = []
    with pytest.raises(KeyboardInterrupt):
        for due, _ in settled(lambda: plan_jobs([str(folder)], watched=True)):
            found += [(clock.now, Path(str(job.source)).name) for job in due]
    return found


def test_a_file_is_taken_once_it_no_longer_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    (tmp_path / "there.png").write_bytes(b"before")

    def grow(content: bytes) -> Callable[[], object]:
        def write() -> None:
            with path.open("ab") as file:
                file.write(content)

        return write

    clock = Clock(grow(b""), nothing, grow(b"half"), grow(b"of it"), nothing, nothing, nothing)
    assert handed(clock, tmp_path, monkeypatch) == [
        (SETTLED_SECONDS, "there.png"),
        (5 * SETTLED_SECONDS, "a.png"),
    ]


def test_a_file_that_is_replaced_or_comes_back_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"one")

    def touch() -> None:
        os.utime(path, ns=(1, 1))

    def renew() -> None:
        path.write_bytes(b"one")

    clock = Clock(nothing, touch, nothing, path.unlink, renew, nothing, nothing)
    times = [when for when, _ in handed(clock, tmp_path, monkeypatch)]
    assert times == [SETTLED_SECONDS * step for step in (1, 3, 6)]


def test_looking_takes_little_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(nothing, nothing)
    monkeypatch.setattr(watch, "time", clock)

    def slow() -> list[Job]:
        clock.now += 2.0
        return []

    with pytest.raises(KeyboardInterrupt):
        next(settled(slow))
    assert clock.naps[1:] == [40.0] * 3


def test_what_goes_wrong_for_a_while_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(watch, "say", told.append)
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    job = Job(path, None, None)
    looks = iter(["", "gone", "gone", "", "gone"])

    def find() -> list[Job]:
        if problem := next(looks):
            raise UsageError(problem)
        return [job]

    monkeypatch.setattr(watch, "time", Clock(*[nothing] * 4))
    found: list[tuple[list[Job], list[Job]]] = []
    with pytest.raises(KeyboardInterrupt):
        found.extend(settled(find))
    assert found == [([job], [job])]
    assert told == ["gone", "gone"]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs signals and /proc")
def test_a_watched_folder(tmp_path: Path, photo: Photo, model: Path) -> None:
    """Pictures come one by one, one of them slowly and one twice; Ctrl-C ends it."""
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    command = [sys.executable, "-m", "dpenet", "derain", str(folder), "--watch", "-r", "--json"]
    process = subprocess.Popen(
        [*command, "-o", str(out), "-m", str(model)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        rest = _fill(folder, out, photo, process)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert re.search(r"\d done, 1 skipped, 1 failed in ", rest) and "Traceback" not in rest
    assert (out / "slow.png").read_bytes() == (out / "first.png").read_bytes()
    assert not list(out.rglob(".*"))


def _fill(folder: Path, out: Path, photo: Photo, process: subprocess.Popen[bytes]) -> str:
    """Put pictures into a watched folder; returns the last that is said."""
    assert process.stdout is not None and process.stderr is not None
    lines = iter(process.stdout)

    def told() -> tuple[str, str]:
        record = json.loads(next(lines))
        return Path(record["input"]).name, record["status"]

    assert b"Watching" in process.stderr.readline()
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "PNG")
    content = file.getvalue()
    (folder / "first.png").write_bytes(content)
    assert told() == ("first.png", "done")
    assert (out / "first.png").is_file()
    with (folder / "slow.png").open("wb") as slow:
        for start in range(0, len(content), len(content) // 50):
            slow.write(content[start : start + len(content) // 50])
            slow.flush()
            time.sleep(0.1)
    assert not (out / "slow.png").exists()
    assert told() == ("slow.png", "done")
    (folder / "below").mkdir()
    for name in ("a.png", "a.tga"):  # which would become a.png as well
        (folder / "below" / name).write_bytes(content)
    Image.fromarray(photo[::-1].copy()).save(folder / "first.png")
    again = {told(), told(), told()}
    assert again == {("a.tga", "failed"), ("a.png", "done"), ("first.png", "skipped")}

    before = _processor_seconds(process.pid)
    time.sleep(5)
    assert _processor_seconds(process.pid) - before < 0.5
    process.send_signal(signal.SIGINT)
    process.wait(30)
    return process.stderr.read().decode()


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
