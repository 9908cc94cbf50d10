"""`dpenet derain` with clips: the same verb, told apart by content."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests.clipmaking import HEIGHT, RATE, WIDTH, contents, make_clip, picture

from dpenet.inference.derainer import Derainer
from dpenet.inference.temporal import TemporalFilter

Derain = Callable[..., Any]


def test_a_clip_and_a_picture_in_one_go(derain: Derain, tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    clip = make_clip(folder / "a.mkv", "ffv1", frames=8, audio="flac", pixel_format="yuv444p")
    Image.fromarray(picture(0)).save(folder / "b.png")
    (folder / "code.ts").write_text("export const notAClip = 1;")
    done = derain(folder, "-m", model, "--json")
    assert done.returncode == 0, done.stderr
    records = {Path(row["input"]).name: row for row in map(json.loads, done.stdout.splitlines())}
    assert records.keys() == {"a.mkv", "b.png"}
    assert records["a.mkv"]["status"] == "done"
    assert (records["a.mkv"]["width"], records["a.mkv"]["height"]) == (WIDTH, HEIGHT)
    assert b"8 frames of 96 x 64: about" in done.stderr
    out = folder / "a.derained.mkv"
    before, after = contents(clip), contents(out)
    assert after.times == before.times and after.packets == before.packets
    assert after.frames != before.frames
    # The same as its frames one by one.
    derainer = Derainer(model)
    with av.open(str(clip)) as rainy, av.open(str(out)) as clean:
        for a, b in zip(rainy.decode(video=0), clean.decode(video=0), strict=True):
            wanted = derainer(a.to_ndarray(format="rgb24")).astype(float)
            got = b.to_ndarray(format="rgb24")
            assert np.abs(got - wanted).mean() < 2
    again = derain(folder, "-m", model, "--json")
    statuses = [json.loads(line)["status"] for line in again.stdout.splitlines()]
    assert statuses == ["skipped", "skipped"]


def test_options_of_clips(derain: Derain, tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=30)
    target = tmp_path / "out.mkv"
    done = derain(
        *(clip, "-o", target, "-m", model, "--codec", "mpeg4", "--crf", 5),
        *("--start", 0.4, "--end", 0.8),
    )
    assert done.returncode == 0, done.stderr
    with av.open(str(target)) as out:
        assert out.streams.video[0].codec_context.name == "mpeg4"
        assert sum(1 for _ in out.decode(video=0)) == 10


def test_a_preview(derain: Derain, tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4")
    done = derain(clip, "-m", model, "--preview", 2)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "a.preview.png") as image:
        assert image.size == (2 * WIDTH, 2 * HEIGHT)
    assert not (tmp_path / "a.derained.mp4").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [("truncated", "truncated or damaged"), ("interlaced", "--deinterlace"), ("sound", "picture")],
)
def test_what_cannot_be_done_is_one_line(
    derain: Derain, tmp_path: Path, model: Path, content: str, reason: str
) -> None:
    clip = tmp_path / "a.mkv"
    if content == "truncated":
        clip.write_bytes(make_clip(clip).read_bytes()[:300])
    elif content == "interlaced":
        make_clip(clip, "mpeg2video", options={"flags": "+ildct+ilme", "field_order": "tt"})
    else:
        with av.open(str(clip), "w") as out:
            stream = out.add_stream("pcm_s16le", rate=8000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 3200), np.int16), "s16", "stereo")
            frame.sample_rate = 8000
            out.mux(stream.encode(frame))
    done = derain(clip, "-m", model)
    assert done.returncode == 1
    lines = [line for line in done.stderr.decode().splitlines() if "failed" in line]
    assert len(lines) == 1 and reason in lines[0]
    assert b"Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mkv"]


def test_options_that_do_not_fit(derain: Derain, tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=3)
    Image.fromarray(picture(0)).save(tmp_path / "b.png")
    assert derain(clip, "-m", model, "--save-rain").returncode == 2
    assert derain(tmp_path / "b.png", "-m", model, "--preview", 2).returncode == 2
    assert derain(clip, "-m", model, "-o", "-").returncode == 2
    assert derain("-", "-m", model, "--raw", "wide", stdin=b"").returncode == 1


def y4m(frames: int, pixel_format: str = "yuv444p") -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format="yuv4mpegpipe", container_options={"strict": "-1"}) as out:
        stream = out.add_stream("rawvideo", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixel_format
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number), format="rgb24")
            frame.pts = number
            out.mux(stream.encode(frame))
    return file.getvalue()


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p10le"])
def test_a_pipe_of_y4m(derain: Derain, model: Path, pixel_format: str) -> None:
    data = y4m(5, pixel_format)
    same = derain("-", "-m", model, "--strength", 0, stdin=data)
    assert same.returncode == 0, same.stderr
    header, _, frames = same.stdout.partition(b"\n")
    assert header.split()[:4] == data.split(b"\n")[0].split()[:4]
    assert frames == data.partition(b"\n")[2]
    changed = derain("-", "-m", model, stdin=data).stdout
    assert len(changed) == len(same.stdout) and changed != same.stdout


def test_a_pipe_of_bare_pixels(derain: Derain, model: Path) -> None:
    pictures = [picture(number) for number in range(3)]
    data = b"".join(one.tobytes() for one in pictures)
    done = derain("-", "-m", model, "--raw", f"{WIDTH}x{HEIGHT}", stdin=data)
    assert done.returncode == 0, done.stderr
    derainer = Derainer(model)
    assert done.stdout == b"".join(derainer(one).tobytes() for one in pictures)


def test_frames_can_be_steadied(derain: Derain, tmp_path: Path, model: Path) -> None:
    pictures = [picture(number) for number in range(4)]
    data = b"".join(one.tobytes() for one in pictures)
    raw = ("-", "-m", model, "--raw", f"{WIDTH}x{HEIGHT}")
    steady, derainer = TemporalFilter(), Derainer(model)
    done = [out for one in pictures for out in steady.push(one, derainer(one))] + steady.flush()
    assert derain(*raw, "--temporal", stdin=data).stdout == b"".join(one.tobytes() for one in done)

    clip = make_clip(tmp_path / "a.mkv", "ffv1", frames=8, pixel_format="yuv444p")
    for name, option in (("one.mkv", ()), ("steady.mkv", ("--temporal",))):
        assert derain(clip, "-m", model, "-o", tmp_path / name, *option).returncode == 0
    single, steadied = contents(tmp_path / "one.mkv"), contents(tmp_path / "steady.mkv")
    assert steadied.times == single.times and steadied.frames != single.frames
    assert derain(clip, "-m", model, "--temporal", "--strength", 0.5).returncode == 2


@pytest.mark.parametrize("lost", [1, WIDTH * HEIGHT, 3 * WIDTH * HEIGHT - 1])
def test_a_pipe_cut_short_is_told(derain: Derain, model: Path, lost: int) -> None:
    for data, more in (
        (y4m(3), ()),
        (b"".join(picture(number).tobytes() for number in range(3)), ("--raw", "96x64")),
    ):
        done = derain("-", "-m", model, "--strength", 0, *more, stdin=data[:-lost])
        assert done.returncode == 0
        assert b"1 frames were damaged or cut short" in done.stderr
        assert data.startswith(done.stdout)
        assert len(data) - len(done.stdout) in (3 * WIDTH * HEIGHT, 3 * WIDTH * HEIGHT + 6)
        whole = derain("-", "-m", model, "--strength", 0, *more, stdin=data)
        assert whole.stdout == data and b"cut short" not in whole.stderr


def test_a_pipe_that_trickles_is_known(tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.ts", frames=3).read_bytes()
    still = io.BytesIO()
    Image.fromarray(picture(0)).save(still, "PNG")
    for data, begin in ((clip, b"YUV4MPEG2"), (still.getvalue(), b"\x89PNG")):
        command = [sys.executable, "-m", "dpenet", "derain", "-", "-o", "-", "-m", str(model)]
        if data is clip:
            command = [part for part in command if part != "-o"][:-3] + command[-2:]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stdout is not None
            for piece in (data[:7], data[7:200]):
                process.stdin.write(piece)
                process.stdin.flush()
                time.sleep(0.2)
            out, _ = process.communicate(data[200:])
        assert process.returncode == 0
        assert out.startswith(begin)


@pytest.mark.parametrize(
    "option",
    [
        ("--codec", "av1"),
        ("--crf", 3),
        ("--preset", "fast"),
        ("--start", 0),
        ("--end", 1),
        "--deinterlace",
        "--resume",
    ],
)
def test_a_pipe_takes_no_options_of_files(derain: Derain, model: Path, option: Any) -> None:
    given = option if isinstance(option, tuple) else (option,)
    done = derain("-", "-m", model, *given, stdin=y4m(1))
    assert done.returncode != 0 and done.stdout == b""
    assert f"{given[0]} is for clips in files" in done.stderr.decode()


def test_resuming_says_what_was_there(derain: Derain, tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=3)
    assert b"nothing to resume" in derain(clip, "-m", model, "--resume").stderr


def test_times_that_are_none_are_refused(derain: Derain, tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=3)
    for time_ in ("nan", "inf"):
        done = derain(clip, "-m", model, "--start", time_)
        assert done.returncode == 2 and b"--start takes seconds" in done.stderr


def test_hdr_is_told(derain: Derain, tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mkv", "ffv1", frames=2, colour={"color_trc": 16})
    assert b"is HDR (PQ)" in derain(clip, "-m", model).stderr


def test_a_damaged_pipe_is_one_line(derain: Derain, model: Path) -> None:
    done = derain("-", "-m", model, stdin=b"YUV4MPEG2 nonsense")
    assert done.returncode == 1
    assert b"standard input" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.slow
def test_a_terminal_sees_speed_and_time_left(tmp_path: Path, model: Path) -> None:
    clip = make_clip(tmp_path / "a.mp4", frames=60)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "dpenet", "derain", str(clip), "-m", str(model)]
    with subprocess.Popen(command, stderr=slave, stdout=subprocess.DEVNULL) as process:
        os.close(slave)
        shown = b""
        while chunk := _read(master):
            shown += chunk
        process.wait()
    os.close(master)
    assert process.returncode == 0, shown
    assert b"/60" in shown and b"frames/s" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # how Linux says that the other side is closed
        return b""


def test_a_long_clip_is_told_faster_ways(
    derain: Derain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dpenet.cli.clips.LONG_CLIP_SECONDS", 0.0)
    seconds = {1: 0.1, 2: 1.0}
    monkeypatch.setattr(
        Derainer, "estimate_seconds", lambda self, h, w: seconds[self.options.stage]
    )
    done = derain(make_clip(tmp_path / "a.mp4", frames=3))
    assert done.returncode == 0, done.stderr
    lines = done.stderr.decode().splitlines()
    assert "3 frames of 96 x 64: about 3.0 s (universal" in lines[0]
    assert "  with --stage 1: about 0.3 s" in lines[1:]
