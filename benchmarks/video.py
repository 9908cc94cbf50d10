"""What a clip costs beside the network: frames per second from file to file, and memory.

    python -m benchmarks.video                       # the fastest model, as it is by default
    python -m benchmarks.video --model universal     # another, beside it
    python -m benchmarks.video --preset veryfast     # a faster encoder, beside it

A small clip and the fastest model, so that decoding, encoding and dispatch show. The network alone
and the whole way are timed by turns on the same frames, so that what else the machine does falls
on both. Memory is that of a process of its own. Writes
``benchmarks/results/video.json``, where rows of other models stay if the machine and the libraries
are the same; it takes a few minutes for each.
"""

from __future__ import annotations

import argparse
import json
import operator
import os
import subprocess
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from benchmarks.video_tables import RESULTS, is_kept
from numpy.typing import NDArray

from dpenet.atomic import atomic_path
from dpenet.inference.clips import ClipOptions, derain_clip, look_at
from dpenet.inference.derainer import Derainer
from dpenet.media.colour import Colours
from dpenet.media.frames import Damage, read_frames
from dpenet.media.images import read_picture
from dpenet.rain import RainKind, render_rain, sample_rain

SCHEMA = 2
WIDTH, HEIGHT, RATE, SECONDS, PIECE = 160, 120, 25, 60, 10
TURNS = 3

_CHILD = """
import json, sys
from benchmarks.video import memory
print(json.dumps(memory(*sys.argv[1:])))
"""


def make_clip(path: Path, background: NDArray[np.uint8]) -> None:
    """Rain over a still that the camera pans across, two seconds again and again, H.264."""
    rng = np.random.default_rng(0)
    kind: RainKind = "light"
    rain = sample_rain(kind, rng)
    room = np.array(background.shape[:2]) - (HEIGHT, WIDTH)
    pictures = []
    for number in range(2 * RATE):
        top, left = (room * (0.5 + 0.4 * np.sin(number / 8 + np.array([0, 1])))).astype(int)
        clean = background[top : top + HEIGHT, left : left + WIDTH] / np.float32(255)
        rainy = np.clip(render_rain(clean.astype(np.float32), rain, rng), 0, 1)
        pictures.append((rainy * 255).astype(np.uint8))
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(SECONDS * RATE):
            frame = av.VideoFrame.from_ndarray(pictures[number % len(pictures)], format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())


def measure(
    model: str, stage: int, preset: str | None, source: Path, folder: Path
) -> dict[str, Any]:
    """Frames per second of the network alone and from file to file, by turns."""
    derainer = Derainer(model, stage=stage)
    spent = {"engine": 0.0, "clip": 0.0}
    options = ClipOptions(preset=preset)
    clip = look_at(source, options)
    colours = Colours(clip.pixel_format)
    pictures = [
        colours.to_rgb(frame)
        for segment in clip.segments
        for frame in read_frames(clip, segment, Damage())
    ]
    for turn in range(1 + TURNS):  # the first is to warm up
        begun = time.perf_counter()
        derainer.batch(pictures)
        between = time.perf_counter()
        derain_clip(
            derainer, look_at(source, options), folder / "clean.mp4", options, overwrite=True
        )
        ended = time.perf_counter()
        if turn:
            spent["engine"] += between - begun
            spent["clip"] += ended - between
    frames = TURNS * len(pictures)
    return {
        "model": model,
        "stage": stage,
        "preset": preset or "",
        "precision": derainer.precision,
        "device": derainer.device,
        "width": WIDTH,
        "height": HEIGHT,
        "frames": len(pictures),
        "engine_fps": round(frames / spent["engine"], 2),
        "clip_fps": round(frames / spent["clip"], 2),
        "share": round(spent["engine"] / spent["clip"], 3),
    }


def memory(source: str, target: str, model: str, stage: str, preset: str) -> dict[str, int]:
    """Resident bytes of this process after each ten seconds of a clip."""
    done = 0
    resident: dict[str, int] = {}

    def advance(frames: int) -> None:
        nonlocal done
        done += frames
        if done and done % (PIECE * RATE) == 0:
            fields = Path("/proc/self/statm").read_text().split()
            resident[str(done // RATE)] = int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    options = ClipOptions(preset=preset or None)
    clip = look_at(Path(source), options)
    derain_clip(Derainer(model, stage=int(stage)), clip, Path(target), options, advance=advance)
    return resident


def rows_beside(report: dict[str, Any], row: dict[str, Any], output: Path) -> list[dict[str, Any]]:
    """A new row, and those of an earlier report that can stand beside it."""
    try:
        earlier = json.loads(output.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return [row]
    same = all(earlier.get(key) == report[key] for key in ("schema", "cpu", "libraries"))
    key = operator.itemgetter("model", "stage", "preset")
    kept = [one for one in earlier["rows"] if key(one) != key(row)] if same else []
    return sorted([*kept, row], key=key)


def main() -> None:
    """Measure, write the results and say whether they are what we promise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="universal-nano")
    parser.add_argument("--stage", type=int, default=2)
    parser.add_argument("--preset", help="of the encoder")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    picture = sorted((REPOSITORY / "examples").glob("*.jpg"))[0]
    background = read_picture(picture).pixels.astype(np.uint8)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clip(folder / "rain.mp4", background)
        row = measure(
            arguments.model, arguments.stage, arguments.preset, folder / "rain.mp4", folder
        )
        child = subprocess.run(
            [
                *(sys.executable, "-c", _CHILD, str(folder / "rain.mp4")),
                *(str(folder / "m.mp4"), arguments.model, str(arguments.stage), row["preset"]),
            ],
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
        )
    resident = json.loads(child.stdout)
    row["memory_bytes"] = resident
    row["memory_growth"] = round(resident[str(SECONDS)] / resident[str(PIECE)], 3)
    row["commit"] = commit()
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "cpu": cpu(),
        "libraries": libraries("av", "numpy", "openvino"),
        "protocol": f"{WIDTH} x {HEIGHT}, {SECONDS} s at {RATE} frames/s, H.264; by turns",
    }
    report["rows"] = rows_beside(report, row, arguments.output)
    with atomic_path(arguments.output) as temporary:
        temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(row, indent=1))
    kept = is_kept(row)
    print("as claimed" if kept else "NOT as claimed")
    sys.exit(not kept)


if __name__ == "__main__":
    main()
