"""Damaged files of every kind: derained or refused in a line; never a crash, a hang, half a file.

    pytest tests/fuzz                             # 150 damaged files, or those of a minute
    DPENET_FUZZ_SECONDS=600 pytest tests/fuzz     # as many as there are in ten minutes
    DPENET_FUZZ=20000 DPENET_FUZZ_SECONDS=9999 pytest tests/fuzz    # no more than so many

What is found goes into ``corpus/``, under a name that says what was wrong.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from tests.conftest import REPOSITORY
from tests.fuzz.seeds import seeds

FILE_SECONDS = 60.0  # for files that take milliseconds
BYTES = 2_000_000_000  # of memory, where 1 GB is allowed to pictures and the network
SECONDS = float(os.environ.get("DPENET_FUZZ_SECONDS", "60"))
EXAMPLES = int(os.environ.get("DPENET_FUZZ", "150" if SECONDS <= 60 else "1_000_000_000"))
BATCH = 50
CORPUS = sorted(Path(__file__).with_name("corpus").iterdir())


class Child:
    """A process that derains files, started anew when it dies."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def derain(self, path: Path) -> dict[str, Any]:
        """What became of a file.

        Raises:
            AssertionError: If deraining it crashed or hung.
        """
        if self._process is None:
            command = [sys.executable, "-X", "faulthandler", "-m", "tests.fuzz.child"]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY
            )
        child = self._process
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(f"{path}\n")
        child.stdin.flush()
        ready, _, _ = select.select([child.stdout], [], [], FILE_SECONDS)
        answer = child.stdout.readline() if ready else ""
        if not answer:
            self.close()
            raise AssertionError(f"it crashed: {child.wait()}" if ready else "it hung")
        found: dict[str, Any] = json.loads(answer)
        if found["peak"] > BYTES:
            self.close()  # the peak would stay
        return found

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture(scope="module")
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.close()


def check(child: Child, path: Path) -> None:
    """A file is derained or refused, and no more."""
    found = child.derain(path)
    assert "wrong" not in found, found["wrong"]
    assert found["peak"] <= BYTES


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """A real file with bytes changed, cut, moved or put in; now and then under another's name."""
    name = draw(st.sampled_from(sorted(seeds())))
    content = bytearray(seeds()[name])
    for _ in range(draw(st.integers(1, 6))):
        # The beginning holds what matters most.
        end = draw(st.sampled_from([64, 512, len(content)]))
        at = draw(st.integers(0, max(0, min(end, len(content)) - 1)))
        length = draw(st.sampled_from([1, 1, 2, 4, 40, 400]))
        match draw(st.sampled_from(["change", "change", "cut", "end", "repeat", "insert"])):
            case "change":
                extreme = st.sampled_from([b"\0", b"\1", b"\x7f", b"\x80", b"\xff"])
                fresh = draw(extreme | st.binary(min_size=1, max_size=1)) * min(length, 8)
                content[at : at + len(fresh)] = fresh
            case "cut":
                del content[at : at + length]
            case "end":
                del content[max(at, 1) :]
            case "repeat":
                content[at:at] = content[at : at + length]
            case "insert":
                content[at:at] = draw(st.binary(min_size=1, max_size=16))
    if draw(st.integers(0, 9)) == 0:
        name = draw(st.sampled_from(sorted(seeds())))
    return name, bytes(content)


def test_damaged_files_are_derained_or_refused(child: Child, tmp_path: Path) -> None:
    @settings(
        max_examples=min(BATCH, EXAMPLES),
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(file=damaged())
    def some(file: tuple[str, bytes]) -> None:
        name, content = file
        path = tmp_path / name
        path.write_bytes(content)
        check(child, path)

    end = time.monotonic() + SECONDS
    # Where main is checked, every run draws the same.
    first = 0 if "CI" in os.environ else secrets.randbits(32)
    for number in range(0, EXAMPLES, BATCH):
        seed(first + number)(some)()
        if time.monotonic() > end:
            break


@pytest.mark.parametrize("name", sorted(seeds()))
def test_an_undamaged_file_is_derained(child: Child, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(seeds()[name])
    assert child.derain(path).keys() == {"peak"}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_was_found_stays_mended(child: Child, path: Path) -> None:
    check(child, path)
