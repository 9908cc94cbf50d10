"""The container file: what it says, and what its steps give; nothing here can build it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FILE = REPOSITORY / "Dockerfile"
USER = 10001


def steps() -> list[tuple[str, str]]:
    """The instructions, each with its argument on one line."""
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", FILE.read_text(), flags=re.M))
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in lines.splitlines() if line]


def last(instruction: str) -> str:
    return [argument for name, argument in steps() if name == instruction][-1]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in shlex.split(last("ENV")))


def test_the_linter_has_nothing_to_say() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    run = subprocess.run([linter, FILE], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")


def test_it_runs_as_nobody_in_particular_from_a_pinned_slim_image() -> None:
    bases = [argument for name, argument in steps() if name == "FROM"]
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+( AS \w+)?", base) for base in bases)
    assert last("USER") == f"{USER}:{USER}"
    names = [name for name, _ in steps()]
    assert "ADD" not in names
    assert names[-1] == "ENTRYPOINT" and names.index("USER") > names.index("RUN")
    assert not {name for name in environment() if "TOKEN" in name}


def test_what_is_copied_is_there_and_not_ignored() -> None:
    kept = (REPOSITORY / ".dockerignore").read_text().split()
    for name in [*copied(), "src"]:
        assert (REPOSITORY / name).exists()
        assert f"!{name}" in kept


def copied() -> list[str]:
    """The files that the first step takes from the checkout."""
    return next(argument for name, argument in steps() if name == "COPY").split()[:-1]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can read."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def may_be_another() -> bool:
    """Whether this process may become another user, who can reach the interpreter."""
    folders = Path(sys.executable).resolve().parents
    return os.geteuid() == 0 and all(folder.stat().st_mode & 0o001 for folder in folders)


@pytest.mark.slow
def test_its_steps_give_a_service_that_needs_no_disk(folder: Path) -> None:
    source, venv = folder / "source", folder / "venv"
    source.mkdir()
    for name in copied():
        shutil.copy(REPOSITORY / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "src", source / "src", ignore=ignored)
    for command in last("RUN").replace("/opt/dpenet", str(venv)).split("&&"):
        program, *arguments = shlex.split(command)
        program = {"python": sys.executable}.get(program, program)
        subprocess.run([program, *arguments], cwd=source, check=True)
    assert not list(venv.glob("lib/python*/site-packages/torch"))
    assert list(venv.glob("lib/python*/site-packages/pillow_heif"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = environment() | {
        "PATH": f"{venv}/bin:{os.environ['PATH']}",
        "DPENET_SERVER_PORT": str(port),
        "DPENET_SERVER_HOST": "127.0.0.1",
    }
    probe = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    # Nothing here belongs to that user, so that it can write nothing.
    other: dict[str, Any] = {"user": USER, "group": USER} if may_be_another() else {}
    entry = json.loads(last("ENTRYPOINT"))
    service = subprocess.Popen(entry, env=variables, cwd="/", **other)
    try:
        for _ in range(300):
            time.sleep(0.2)
            if not subprocess.run(
                probe, env=variables, capture_output=True, check=False
            ).returncode:
                break
        else:
            pytest.fail("the health check does not succeed")
        picture = (REPOSITORY / "examples" / "boats.jpg").read_bytes()
        kind = {"Content-Type": "image/jpeg"}
        request = Request(f"http://127.0.0.1:{port}/v1/derain", picture, kind)
        with urlopen(request, timeout=100) as answer:
            assert answer.read().startswith(b"\xff\xd8")
    finally:
        service.terminate()
        service.wait(60)
