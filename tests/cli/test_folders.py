"""`dpenet derain` with folders: what is skipped, refused, full, and shown together."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.cli import derain as command

Photo = NDArray[np.uint8]
Derain = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    """Six pictures, one of them in a folder below."""
    root = tmp_path / "in"
    (root / "below").mkdir(parents=True)
    for number in range(5):
        Image.fromarray(np.roll(photo, number, 0)).save(root / f"{number}.bmp")
    Image.fromarray(photo).save(root / "below" / "5.bmp")
    return root


def statuses(done: Any) -> list[str]:
    return [json.loads(line)["status"] for line in done.stdout.splitlines()]


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_the_end_says_how_many_how_long_and_how_fast(
    derain: Derain, folder: Path, tmp_path: Path, model: Path
) -> None:
    (folder / "1.bmp").write_bytes(b"no picture")
    arguments = (folder, "-r", "-o", tmp_path / "out", "-m", model)
    start = time.perf_counter()
    *_, last = derain(*arguments).stderr.decode().splitlines()
    taken = time.perf_counter() - start
    said = re.fullmatch(r"5 done, 0 skipped, 1 failed in ([\d.]+) s \(([\d.]+) MP/s\)", last)
    assert said, last
    rounded = 0.05 if taken < 10 else 0.5
    assert 0 < float(said[1]) <= taken + rounded
    assert float(said[2]) >= 5 * 61 * 83 / 1e6 / taken - 0.005
    (folder / "1.bmp").unlink()
    *_, last = derain(*arguments).stderr.decode().splitlines()
    assert re.fullmatch(r"0 done, 5 skipped, 0 failed in [\d.]+ s", last), last


def test_a_rerun_of_many_does_not_name_each(
    derain: Derain, folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_FEW", 4)
    assert derain(folder, "-m", model).returncode == 0
    again = derain(folder, "-m", model, "--json")
    assert again.returncode == 0
    assert statuses(again) == ["skipped"] * 5
    assert b"5 skipped, they exist" in again.stderr and b"3.bmp" not in again.stderr


@pytest.mark.parametrize("at_once", [1, 3])
def test_jobs_are_done_so_many_at_once(
    derain: Derain,
    folder: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_once: int,
) -> None:
    from dpenet.inference import files as module

    alive = most = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal alive, most
        alive += 1
        most = max(most, alive)
        time.sleep(0.1)
        alive -= 1
        return 1, 1

    monkeypatch.setattr(module, "derain_file", counted)
    assert derain(folder, "-r", "-m", model, "--jobs", at_once).returncode == 0
    assert most == at_once
    assert derain(folder, "-m", model, "--jobs", 0).returncode == 2


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError("division\nby zero"), "a fault of dpenet (ZeroDivisionError('division"),
        (RecursionError(), "a fault of dpenet (RecursionError())"),
        (PermissionError(13, "Permission denied", "x"), "x: Permission denied"),
        (MemoryError(), "not the memory"),
    ],
)
@pytest.mark.parametrize("name", ["3.bmp", "3.y4m"])
def test_a_fault_of_dpenet_with_one_file_does_not_end_the_run(
    derain: Derain,
    folder: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
    name: str,
) -> None:
    from dpenet.inference import clips, files
    from dpenet.media import pages

    def look_at(path: Path, *_: object) -> Any:
        raise error

    real = pages.find_pages

    def find(source: Path) -> Any:
        return look_at(source) if source.name == name else real(source)

    monkeypatch.setattr(files, "find_pages", find)
    monkeypatch.setattr(pages, "find_pages", find)
    monkeypatch.setattr(clips, "look_at", look_at)
    if name == "3.y4m":
        (folder / "3.bmp").unlink()
        (folder / name).write_bytes(b"YUV4MPEG2 W2 H2 F25:1\n")
    done = derain(folder, "-m", model, "--json")
    assert done.returncode == 1
    assert sorted(statuses(done)) == ["done"] * 4 + ["failed"]
    assert b"Traceback" not in done.stderr
    (line,) = (line for line in done.stderr.decode().splitlines() if ": failed: " in line)
    assert f"{name}: failed: " in line and said in line
    monkeypatch.setenv("DPENET_TRACEBACK", "1")
    shown = derain(folder, "-m", model).stderr
    assert (b"Traceback" in shown) == ("fault" in said)


@pytest.mark.parametrize(
    ("option", "failed", "said"),
    [
        ("--compare", {"c.y4m"}, "c.y4m: --compare is for pictures"),
        ("--save-rain", {"c.y4m"}, "c.y4m: --save-rain is for pictures"),
        ("--preview=1", {f"{n}.bmp" for n in range(5)}, "3.bmp: --preview is for clips"),
    ],
)
def test_what_one_kind_does_not_have_is_no_reason_to_refuse_the_other(
    derain: Derain, folder: Path, model: Path, option: str, failed: set[str], said: str
) -> None:
    frame = b"FRAME\n" + bytes(64 * 48 * 3 // 2)
    (folder / "c.y4m").write_bytes(b"YUV4MPEG2 W64 H48 F25:1 C420jpeg\n" + 2 * frame)
    planned = derain(folder, "-m", model, "--json", "--dry-run", option)
    done = derain(folder, "-m", model, "--json", option)
    for result, good in ((planned, "planned"), (done, "done")):
        assert result.returncode == 1
        records = [json.loads(line) for line in result.stdout.splitlines()]
        states = {Path(record["input"]).name: record["status"] for record in records}
        names = {"c.y4m", *(f"{n}.bmp" for n in range(5))}
        assert states == {name: "failed" if name in failed else good for name in names}
        assert said in result.stderr.decode()
    assert derain(folder / min(failed), "-m", model, option).returncode == 2


def test_a_folder_in_the_place_of_a_result_is_an_error(
    derain: Derain, folder: Path, model: Path
) -> None:
    (folder / "2.derained.bmp").mkdir()
    done = derain(folder, "-m", model, "--json")
    assert done.returncode == 1
    assert sorted(statuses(done)) == ["done"] * 4 + ["failed"]
    assert b"2.derained.bmp: is a folder" in done.stderr
    for more in ([], ["--overwrite"]):
        done = derain(folder / "2.bmp", "-m", model, *more)
        assert done.returncode == 1 and b"2.derained.bmp: is a folder" in done.stderr


def test_two_that_would_make_one_are_refused_before_anything_is_written(
    derain: Derain, folder: Path, tmp_path: Path, model: Path
) -> None:
    (folder / "below" / "0.bmp").write_bytes((folder / "0.bmp").read_bytes())
    done = derain(folder, folder / "below", "-o", tmp_path / "out", "-m", model)
    assert done.returncode == 2
    assert b"would both be written" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["two words.png", "雨 été.png", "-rf.png", "a[1].png", "%s$x.png"])
def test_names_as_people_have_them(
    derain: Derain,
    tmp_path: Path,
    photo: Photo,
    model: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save(tmp_path / "x.png")
    (tmp_path / "x.png").rename(name)
    done = derain(".", "-m", model, "--json", "--save-rain", "--compare")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["input"] == name
    stem = name.removesuffix(".png")
    made = {f"{stem}.derained.png", f"{stem}.rain.png", f"{stem}.compare.html"}
    assert files(tmp_path) == {name, *made}
    assert derain("-m", model, "--overwrite", "--", name).returncode == 0


@pytest.mark.parametrize("suffix", ["bmp", "png", "tif", "webp"])
def test_a_name_that_is_no_unicode(tmp_path: Path, photo: Photo, model: Path, suffix: str) -> None:
    path = os.fsencode(tmp_path) + b"/\xffrain." + suffix.encode()
    Image.fromarray(photo).save(tmp_path / f"x.{suffix}")
    (tmp_path / f"x.{suffix}").rename(os.fsdecode(path))
    command = [sys.executable, "-m", "dpenet", "derain", "--json", "--compare", "-m", str(model)]
    done = subprocess.run([*command, os.fsdecode(path)], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["input"] == os.fsdecode(path)
    assert Path(os.fsdecode(path.replace(b"rain.", b"rain.derained."))).is_file()
    assert b"1 done" not in done.stderr and b"Traceback" not in done.stderr


def test_links_are_followed_but_not_into_a_loop(
    derain: Derain, folder: Path, tmp_path: Path, model: Path
) -> None:
    (folder / "below" / "up").symlink_to(folder)
    (folder / "link.bmp").symlink_to("0.bmp")
    (folder / "itself.bmp").symlink_to("itself.bmp")
    (folder / "nowhere.bmp").symlink_to("gone.bmp")
    out = tmp_path / "out"
    done = derain(folder, "-r", "-o", out, "-m", model)
    assert done.returncode == 1
    assert b"6 done" not in done.stderr and b"7 done, 0 skipped, 2 failed" in done.stderr
    assert b"Traceback" not in done.stderr
    assert files(out) == {*(f"{n}.bmp" for n in range(5)), "below/5.bmp", "link.bmp"}
    assert (out / "link.bmp").read_bytes() == (out / "0.bmp").read_bytes()
    done = derain(folder / "**" / "*.bmp", "-o", tmp_path / "again", "-m", model)
    assert files(tmp_path / "again") == files(out)
    named = derain(folder / "below" / "up", "-o", tmp_path / "named", "-m", model)
    assert b"6 done" in named.stderr


def test_where_nothing_can_be_written_is_said_before_any_work(
    derain: Derain, folder: Path, tmp_path: Path, model: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = derain(folder, "-o", tmp_path / "file" / "out", "-m", model)
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert "file/out: nothing can be written there" in line and "-o" in line


def test_a_full_disk_ends_the_run_and_another_goes_on(
    derain: Derain, folder: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    room = 2
    real = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal room
        room -= 1
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    done = derain(folder, "-r", "-o", out, "-m", model, "--json", "--jobs", 1)
    assert done.returncode == 1
    assert statuses(done) == ["done", "done", "failed"]
    *_, failed, summary, hint = done.stderr.decode().splitlines()
    assert "No space left on device" in failed
    assert summary.startswith("2 done, 0 skipped, 1 failed")
    assert "3 are left" in hint
    assert files(out) == {"0.bmp", "1.bmp"}

    monkeypatch.setattr(os, "fsync", real)
    assert derain(folder, "-r", "-o", out, "-m", model).returncode == 0
    whole = tmp_path / "whole"
    assert derain(folder, "-r", "-o", whole, "-m", model).returncode == 0
    assert files(out) == files(whole)
    assert all((out / name).read_bytes() == (whole / name).read_bytes() for name in files(whole))


def test_a_rain_layer_without_its_result_is_no_reason_to_skip(
    derain: Derain, tmp_path: Path, photo: Photo, model: Path
) -> None:
    """A run that is killed may leave it: it is written first."""
    Image.fromarray(photo).save(tmp_path / "x.png")
    assert derain(tmp_path, "-m", model, "--save-rain").returncode == 0
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    (tmp_path / "x.derained.png").unlink()
    assert statuses(derain(tmp_path, "-m", model, "--save-rain", "--json")) == ["done"]
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_comparisons_are_written_beside_results_also_later(
    derain: Derain, folder: Path, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    arguments = (folder, "-r", "-o", out, "-m", model, "--json")
    assert derain(*arguments).returncode == 0
    states = {path: path.stat().st_mtime_ns for path in out.rglob("*.bmp")}
    assert statuses(derain(*arguments, "--compare", "--compare-png")) == ["done"] * 6
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.bmp")} == states
    stems = [*map(str, range(5)), "below/5"]
    marks = (".bmp", ".compare.html", ".compare.png")
    assert files(out) == {stem + mark for stem in stems for mark in marks}
    assert statuses(derain(*arguments, "--compare", "--compare-png")) == ["skipped"] * 6
    # Nor are they taken for pictures.
    again = derain(out, "-r", "-m", model, "--dry-run", "--json")
    assert len(statuses(again)) == 6


def test_a_comparison_of_a_pipe(derain: Derain, tmp_path: Path, photo: Photo, model: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    out = tmp_path / "y.png"
    assert derain("-", "-o", out, "--compare-png", "-m", model, stdin=data).returncode == 0
    both = np.asarray(Image.open(tmp_path / "y.compare.png"))
    np.testing.assert_array_equal(both, np.hstack((photo, np.asarray(Image.open(out)))))
    assert derain("-", "--compare", "-m", model, stdin=data).returncode == 2
