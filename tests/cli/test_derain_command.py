from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dpenet.cli import pictures
from dpenet.cli.console import duration
from dpenet.inference.derainer import Derainer
from dpenet.media import images
from dpenet.media.jobs import plan_jobs

Photo = NDArray[np.uint8]


@pytest.fixture
def folder(tmp_path: Path, photo: Photo) -> Path:
    """A folder with a PNG, a JPEG, a damaged PNG, a text, and a PNG in a folder below."""
    root = tmp_path / "in"
    (root / "below").mkdir(parents=True)
    Image.fromarray(photo).save(root / "a.png")
    Image.fromarray(photo[::-1].copy()).save(root / "b b.jpg")
    (root / "broken.png").write_bytes((root / "a.png").read_bytes()[:300])
    (root / "notes.txt").write_text("no picture")
    Image.fromarray(photo[:, ::-1].copy()).save(root / "below" / "c.png")
    return root


def run(*arguments: object, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "dpenet", "derain", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
    )


def records(result: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def read(path: Path) -> Photo:
    return np.asarray(Image.open(path), np.uint8)


def test_a_file_gets_its_derained_twin_beside_it(tmp_path: Path, photo: Photo, model: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "street.png")
    result = run(tmp_path / "street.png", "-m", model)
    assert result.returncode == 0, result.stderr
    assert result.stdout == b""
    expected = Derainer(model)(photo)
    assert np.abs(expected.astype(int) - photo).mean() > 1
    np.testing.assert_array_equal(read(tmp_path / "street.derained.png"), expected)


def test_a_bad_picture_in_a_folder_is_reported_and_the_rest_goes_on(
    folder: Path, tmp_path: Path, model: Path
) -> None:
    result = run(folder, "-o", tmp_path / "out", "-m", model, "--json")
    assert result.returncode == 1
    by_name = {Path(r["input"]).name: r for r in records(result)}
    assert set(by_name) == {"a.png", "b b.jpg", "broken.png"}
    good, bad = by_name["a.png"], by_name["broken.png"]
    assert good["status"] == "done"
    assert (good["width"], good["height"]) == (83, 61)
    assert (good["model"], good["precision"], good["device"]) == ("small", "fp32", "cpu")
    assert good["seconds"] > 0
    assert bad["status"] == "failed"
    assert "broken.png" in bad["error"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "b b.jpg"]
    assert b"2 done, 0 skipped, 1 failed" in result.stderr


def test_recursive_keeps_the_tree(folder: Path, tmp_path: Path, model: Path) -> None:
    (folder / "broken.png").unlink()
    assert run(folder, "-r", "-o", tmp_path / "out", "-m", model).returncode == 0
    assert (tmp_path / "out" / "below" / "c.png").is_file()


def test_what_exists_is_skipped_and_kept_unless_overwritten(
    tmp_path: Path, photo: Photo, model: Path
) -> None:
    Image.fromarray(photo).save(tmp_path / "x.png")
    target = tmp_path / "x.derained.png"
    target.write_bytes(b"mine")
    result = run(tmp_path / "x.png", "-m", model, "--json")
    assert result.returncode == 0
    assert records(result)[0]["status"] == "skipped"
    assert target.read_bytes() == b"mine"
    assert run(tmp_path / "x.png", "-m", model, "--overwrite").returncode == 0
    assert read(target).shape == photo.shape


def test_a_rerun_does_not_take_its_own_outputs(folder: Path, model: Path) -> None:
    (folder / "broken.png").unlink()
    assert run(folder, "-m", model, "--save-rain").returncode == 0
    before = sorted(folder.iterdir())
    again = run(folder, "-m", model, "--save-rain", "--json")
    assert [r["status"] for r in records(again)] == ["skipped", "skipped"]
    assert sorted(folder.iterdir()) == before


def test_save_rain_writes_what_was_removed(tmp_path: Path, photo: Photo, model: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "x.png")
    assert run(tmp_path / "x.png", "-m", model, "--save-rain").returncode == 0
    clean = read(tmp_path / "x.derained.png").astype(int)
    expected = np.clip(photo.astype(int) - clean, 0, 255)
    np.testing.assert_array_equal(read(tmp_path / "x.rain.png"), expected)


def test_standard_input_to_standard_output(tmp_path: Path, photo: Photo, model: Path) -> None:
    Image.fromarray(photo).save(tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    result = run("-", "-m", model, stdin=data)
    assert result.returncode == 0, result.stderr
    (tmp_path / "out.png").write_bytes(result.stdout)
    np.testing.assert_array_equal(read(tmp_path / "out.png"), Derainer(model)(photo))
    assert run("-", "-m", model, "--json", stdin=data).returncode == 2


def test_dry_run_only_says(folder: Path, model: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = run(folder, "-m", model, "--dry-run", "--json")
    assert {r["status"] for r in records(result)} == {"planned"}
    assert sorted(folder.rglob("*")) == before


def test_stage_strength_and_tile_reach_the_network(
    tmp_path: Path, photo: Photo, model: Path
) -> None:
    Image.fromarray(photo).save(tmp_path / "x.png")
    for name, value, tuning in (
        ("stage", 1, {"stage": 1}),
        ("strength", 0.5, {"strength": 0.5}),
        ("tile", 16, {"tile": 16}),
    ):
        out = tmp_path / f"{name}.png"
        arguments = (tmp_path / "x.png", "-m", model, "-o", out, f"--{name}", value)
        assert run(*arguments).returncode == 0
        np.testing.assert_array_equal(read(out), Derainer(model, **tuning)(photo))


def test_little_memory_is_kept_to_in_bands_or_refused(
    tmp_path: Path, photo: Photo, model: Path
) -> None:
    big = np.tile(photo, (12, 12, 1))  # 2.2 MB
    Image.fromarray(big).save(tmp_path / "x.png")
    result = run(tmp_path / "x.png", "-m", model, "--save-rain", "--memory", "195MB", "--json")
    assert result.returncode == 0, result.stderr
    (record,) = records(result)
    assert (record["height"], record["width"]) == big.shape[:2]
    assert record["seconds"] > 0
    clean = read(tmp_path / "x.derained.png")
    np.testing.assert_array_equal(clean, Derainer(model)(big))
    rain = np.clip(big.astype(int) - clean, 0, 255)
    np.testing.assert_array_equal(read(tmp_path / "x.rain.png"), rain)
    result = run(tmp_path / "x.png", "-m", model, "--overwrite", "--memory", "180MB", "--json")
    assert result.returncode == 1
    assert "need --memory" in records(result)[0]["error"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["missing.png"], 2, "missing.png"),
        (["x.png", "--model", "rain100x"], 1, "rain100h"),
        (["x.png", "--stage", "3"], 2, "stage"),
        (["x.png", "--memory", "much"], 2, "memory"),
        (["x.png", "--precision", "fp8"], 2, "precision"),
        (["x.png", "--device", "toaster"], 2, "toaster"),
        ([], 2, "INPUT"),
    ],
)
def test_mistakes_are_one_line_that_says_what_to_do(
    tmp_path: Path, photo: Photo, arguments: list[str], status: int, message: str
) -> None:
    Image.fromarray(photo).save(tmp_path / "x.png")
    result = run(*(str(tmp_path / a) if a.endswith(".png") else a for a in arguments))
    assert result.returncode == status, result.stderr
    assert message in result.stderr.decode()
    assert b"Traceback" not in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.png"]


def test_a_terminal_gets_a_bar(tmp_path: Path, photo: Photo, model: Path) -> None:
    for name in "abc":
        Image.fromarray(photo).save(tmp_path / f"{name}.png")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "dpenet", "derain", str(tmp_path), "-m", str(model)]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(command, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read_terminal(ours):
            shown += chunk
    assert process.returncode == 0
    assert "━".encode() in shown
    assert b"3 done" in shown


def _read_terminal(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux reports the end of a pseudo-terminal as an error
        return b""


def test_an_interrupted_run_leaves_no_part_of_an_output(
    tmp_path: Path, photo: Photo, model: Path
) -> None:
    big = np.tile(photo, (20, 20, 1))
    for index in range(12):
        Image.fromarray(big).save(tmp_path / f"{index:02d}.bmp")
    command = [sys.executable, "-m", "dpenet", "derain", str(tmp_path), "-m", str(model)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (tmp_path / "00.derained.bmp").exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    finished = sorted(tmp_path.glob("*.derained.bmp"))
    assert finished
    for path in finished:
        assert read(path).shape == big.shape


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interrupt_stops_soon_and_leaves_whole_pictures_only(
    tmp_path: Path, photo: Photo, model: Path
) -> None:
    big = np.tile(photo, (9, 9, 1))
    for index in range(40):
        Image.fromarray(big).save(tmp_path / f"{index:02d}.bmp")
    command = [sys.executable, "-m", "dpenet", "derain", str(tmp_path), "-m", str(model)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while process.poll() is None and not (tmp_path / "00.derained.bmp").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in told
    assert b" done, 0 skipped, 0 failed in " in told
    finished = set(tmp_path.glob("*.derained.bmp"))
    assert 1 <= len(finished) < 20
    assert len(list(tmp_path.iterdir())) == 40 + len(finished)  # no temporary file
    for path in finished:
        assert read(path).shape == big.shape


def test_a_folder_gives_what_each_picture_gives_in_the_order_of_names(
    tmp_path: Path, photo: Photo, model: Path
) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    root.mkdir()
    for index in range(24):
        size = 4 * (30 - index) if index % 8 else 120
        name = f"{index}.{'bmp' if index % 5 == 0 else 'png'}"
        Image.fromarray(np.tile(photo, (2, 2, 1))[:size, : size + index]).save(root / name)
    (root / "11.png").write_bytes(b"no picture")
    result = run(root, "-o", out, "-m", model, "--json", "--threads", 2)
    assert result.returncode == 1
    names = [Path(record["input"]).name for record in records(result)]
    assert names == sorted(names, key=lambda name: int(name.partition(".")[0]))
    assert [r["status"] for r in records(result)] == ["done"] * 11 + ["failed"] + ["done"] * 12
    derainer = Derainer(model, threads=2)
    for name in set(names) - {"11.png"}:
        derainer(root / name, out=tmp_path / name)
        assert (tmp_path / name).read_bytes() == (out / name).read_bytes()


def test_a_long_job_is_announced_from_a_few_headers(
    tmp_path: Path, photo: Photo, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for index in range(60):
        Image.fromarray(photo).save(tmp_path / f"{index}.png")
    jobs = plan_jobs([str(tmp_path)])
    derainer = Derainer(model)
    read_headers = []
    told: list[str] = []

    def read_size(path: Path) -> tuple[int, int]:
        read_headers.append(path)
        return 61, 83

    monkeypatch.setattr(images, "read_size", read_size)
    monkeypatch.setattr(Derainer, "estimate_seconds", lambda *_: 3.0)
    monkeypatch.setattr(pictures, "say", told.append)
    monkeypatch.setattr(pictures, "SAMPLED_PICTURES", 10)
    pictures.announce(jobs, derainer)
    assert len(read_headers) == 10
    assert told == ["About 3 min for 60 pictures (small, fp32, cpu)"]
    pictures.announce(jobs[:2], derainer)  # too few pixels to ask
    assert len(told) == 1


def test_every_frame_counts_in_what_is_announced(
    tmp_path: Path, photo: Photo, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [Image.fromarray(np.roll(photo, step, axis=1)) for step in range(60)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    told: list[str] = []
    monkeypatch.setattr(Derainer, "estimate_seconds", lambda *_: 3.0)
    monkeypatch.setattr(pictures, "say", told.append)
    pictures.announce(plan_jobs([str(tmp_path / "a.gif")]), Derainer(model))
    assert told == ["About 3 min for 1 picture (small, fp32, cpu)"]


def test_a_piped_animation_stays_one(tmp_path: Path, photo: Photo, model: Path) -> None:
    frames = [Image.fromarray(np.roll(photo, 9 * step, axis=1)) for step in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=70)
    command = [sys.executable, "-m", "dpenet", "derain", "-", "-m", str(model)]
    result = subprocess.run(
        command, input=(tmp_path / "a.gif").read_bytes(), capture_output=True, check=True
    )
    (tmp_path / "b.gif").write_bytes(result.stdout)
    assert getattr(Image.open(tmp_path / "b.gif"), "n_frames", 1) == 3


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.042, "0.04 s"), (0.42, "0.4 s"), (12.3, "12 s"), (200, "3 min"), (4800, "1 h 20 min")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text
