"""``kill -9`` in the middle of the work: nothing is damaged, and another run completes it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests.clipmaking import contents, make_clip

Photo = NDArray[np.uint8]

pytestmark = pytest.mark.slow


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "dpenet", "derain", *map(str, arguments)]


def complete(*arguments: object) -> list[str]:
    """Runs to the end; returns the states of the pictures."""
    done = subprocess.run(command(*arguments, "--json"), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["status"] for line in done.stdout.splitlines()]


def kill_when(sign: Path, pattern: str, count: int, delay: float, arguments: list[str]) -> None:
    """Kill a run, without any warning, some time after so many files have appeared."""
    with subprocess.Popen(arguments, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(sign.glob(pattern))) < count:
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
    assert process.returncode == -9, "it was done before it could be killed"


def visible(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if not p.name.startswith(".")}


def test_a_folder(tmp_path: Path, photo: Photo, model: Path) -> None:
    root, whole, out = tmp_path / "in", tmp_path / "whole", tmp_path / "out"
    root.mkdir()
    for number in range(60):
        picture = np.roll(np.tile(photo, (5, 5, 1)), number, 0)
        Image.fromarray(picture).save(root / f"{number:02d}.{'png' if number % 2 else 'jpg'}")
    options = ("-m", model, "--save-rain", "--compare-png")
    complete(root, "-o", whole, *options)
    wanted = visible(whole)
    assert len(wanted) == 180
    for turn, delay in enumerate((0.0, 0.013, 0.037, 0.081)):
        before = len(visible(out)) if out.exists() else 0
        kill_when(out, "[0-9]*", before + 12, delay, command(root, "-o", out, *options))
        found = visible(out)
        assert before + 12 <= len(found) < 180
        assert all(content == wanted[name] for name, content in found.items())
        assert turn < 3 or complete(root, "-o", out, *options).count("skipped") >= 8
    assert visible(out) == wanted
    # What a killed run leaves is hidden, and no other run takes it for a picture.
    again = ("-o", tmp_path / "again", "-m", model, "--dry-run")
    leftover = out / ".07-0123abcd.jpg"
    leftover.write_bytes(b"part of a picture")
    assert len(complete(out, "-r", *again)) == len(complete(out / "*", *again)) == 60


def test_a_folder_beside_its_pictures(tmp_path: Path, photo: Photo, model: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        for number in range(30):
            picture = np.roll(np.tile(photo, (5, 5, 1)), number, 0)
            Image.fromarray(picture).save(tmp_path / name / f"{number}.bmp")
    complete(tmp_path / "whole", "-m", model)
    killed = tmp_path / "killed"
    kill_when(killed, "*.derained.bmp", 5, 0.01, command(killed, "-m", model))
    assert len(complete(killed, "-m", model)) == 30
    assert visible(killed) == visible(tmp_path / "whole")


def test_a_clip(tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", frames=600, audio="flac", options={"g": "24"})
    whole, out = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    complete(clip, "-o", whole, "-m", model)
    parts = tmp_path / ".out.mkv.parts"
    for count, delay in ((1, 0.0), (3, 0.05)):
        arguments = command(clip, "-o", out, "-m", model, "--resume")
        kill_when(parts, "[0-9]*.part", count, delay, arguments)
        assert not out.exists()
        assert len(list(parts.glob("[0-9]*.part"))) >= count
    # No run takes the parts for clips, and a new one goes on from them.
    assert complete(tmp_path, "-r", "-m", model, "--dry-run") == ["planned"] * 2
    complete(clip, "-o", out, "-m", model, "--resume")
    assert not parts.exists()
    assert contents(out) == contents(whole)
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mkv", "whole.mkv", "out.mkv"}


def test_the_last_step_of_a_clip(tmp_path: Path, model: Path) -> None:
    """Killed while the parts are joined: the output is not there, and what is left is hidden."""
    clip = make_clip(tmp_path / "a.mkv", frames=20)
    whole, out = tmp_path / "whole.mkv", tmp_path / "out.mkv"
    complete(clip, "-o", whole, "-m", model)
    code = (
        "import os, signal, dpenet.inference.clips as clips\n"
        "from dpenet.cli.app import main\n"
        "join = clips.join\n"
        "def killed(*arguments):\n"
        "    join(*arguments)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "clips.join = killed\n"
        "main()\n"
    )
    arguments = ["derain", str(clip), "-o", str(out), "-m", str(model)]
    done = subprocess.run([sys.executable, "-c", code, *arguments], check=False)
    assert done.returncode == -9
    assert not out.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mkv", "whole.mkv", ".out.mkv.parts"}
    complete(clip, "-o", out, "-m", model, "--resume")
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.mkv", "whole.mkv", "out.mkv"}
