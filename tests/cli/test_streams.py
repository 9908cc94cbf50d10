"""Standard streams that are full, closed, or no longer read by anybody."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.fixture
def picture(tmp_path: Path, photo: NDArray[np.uint8]) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(photo).save(path)
    return path


def shell(command: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command line in which ``dpenet`` stands for it, and ``{}`` for arguments."""
    filled = command.format(*(shlex.quote(str(argument)) for argument in arguments))
    dpenet = f"{shlex.quote(sys.executable)} -m dpenet"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", filled.replace("dpenet", dpenet, 1)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("dpenet derain {} -m {} -o - > /dev/full", "standard output: cannot be written: No space"),
        ("dpenet derain {} -m {} -o - >&-", "standard output: cannot be written: Bad file"),
        ("dpenet derain {} -m {} --json > /dev/full", "standard output: cannot be written: No"),
        ("dpenet derain {} -m {} --json >&-", "standard output: cannot be written: Bad file"),
        ("dpenet --version > /dev/full", "No space left on device"),
        ("dpenet derain - -m {1} -o {0}.png <&-", "is empty"),
    ],
)
def test_what_cannot_be_written_is_said_in_a_line(
    picture: Path, model: Path, command: str, said: str
) -> None:
    done = shell(command, picture, model)
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert len(done.stderr.splitlines()) <= 2


@pytest.mark.parametrize("what", ["-o -", "--json"])
def test_a_reader_that_has_enough_is_no_reason_for_words(
    picture: Path, model: Path, what: str
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "dpenet", "derain", str(picture), "-m", str(model)]
    done = subprocess.run(
        [*command, *what.split()], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == b"" or b" -> " in done.stderr.splitlines()[-1]


def test_closed_streams_do_not_get_into_the_picture(
    tmp_path: Path, picture: Path, model: Path
) -> None:
    assert shell("dpenet derain {} -m {} <&- >&- 2>&-", picture, model).returncode == 0
    first = (tmp_path / "a.derained.png").read_bytes()
    done = shell("dpenet derain {} -m {} --overwrite --json", picture, model)
    assert json.loads(done.stdout)["status"] == "done"
    assert (tmp_path / "a.derained.png").read_bytes() == first
