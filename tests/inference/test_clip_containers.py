"""Which encoder goes into which container: known before any work, true after it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tests.clipmaking import RATE, contents, copy_clip, make_clip
from tests.inference.test_clips import run

from dpenet.errors import PictureError
from dpenet.inference.clips import ClipOptions
from dpenet.media import video

BFRAMES = {"g": "12", "bf": "3", "x264-params": "b-adapt=0"}


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SEGMENT_FRAMES", 12)


def never(rgb: Any) -> Any:
    raise AssertionError("work was begun")


@pytest.mark.parametrize("source", ["a.avi", "a.mp4"])
@pytest.mark.parametrize("target", ["b.avi", "b.ts", "b.h264", "b.mkv"])
def test_h264_in_containers_with_and_without_a_header(
    tmp_path: Path, source: str, target: str
) -> None:
    audio = None if target.endswith("h264") else "libmp3lame"
    path = make_clip(tmp_path / source, frames=40, options=BFRAMES, audio=audio)
    outcome = run(path, tmp_path / target)
    assert (outcome.frames, outcome.damaged) == (40, 0)
    before, after = contents(path), contents(tmp_path / target)
    assert len(after.frames) == 40
    for old, new in zip(before.frames, after.frames, strict=True):
        difference = np.frombuffer(new[0], np.uint8).astype(float) - np.frombuffer(old[0], "u1")
        assert np.abs(difference).mean() < 2.5


def test_quicktime_animation_stays(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mov", "qtrle", frames=30, pixel_format="rgb24")
    run(path, tmp_path / "b.mov")
    before, after = contents(path), contents(tmp_path / "b.mov")
    assert after == before
    with av.open(str(tmp_path / "b.mov")) as file:
        assert file.streams.video[0].codec_context.name == "qtrle"


def test_what_does_not_fit_is_told_apart(tmp_path: Path) -> None:
    animation = make_clip(tmp_path / "a.mov", "qtrle", frames=3, pixel_format="rgb24")
    with pytest.raises(PictureError, match=r"does not fit into a \.mkv.*; use another --codec"):
        run(animation, tmp_path / "b.mkv", change=never)
    # It takes two sizes alone, which this is none of.
    clip = make_clip(tmp_path / "a.mp4", frames=3)
    with pytest.raises(PictureError, match=r"h261 cannot encode 96 x 64 .*use another --codec"):
        run(clip, tmp_path / "b.mkv", ClipOptions(codec="h261"), change=never)
    assert not list(tmp_path.glob(".*"))


def test_sound_that_an_edit_list_hides_stays_hidden(tmp_path: Path) -> None:
    def earlier(packet: Any) -> None:
        packet.pts -= round(Fraction(7, RATE) / packet.time_base)
        packet.dts -= round(Fraction(7, RATE) / packet.time_base)

    whole = make_clip(tmp_path / "whole.mp4", frames=60, audio="aac", options={"g": "100"})
    path = copy_clip(whole, tmp_path / "a.mp4", earlier)
    for name in ("b.mkv", "b.mp4"):
        run(path, tmp_path / name)
        after = contents(tmp_path / name)
        # A packet of sound may reach across the beginning.
        assert 0 <= after.times[0] < Fraction(1024, 48000)
        assert len(after.times) == 53
    assert contents(tmp_path / "b.mp4").packets == contents(path).packets


@pytest.mark.parametrize("limits", [1, 2])
def test_motion_jpeg_keeps_the_range(tmp_path: Path, limits: int) -> None:
    colour = {"color_range": limits}
    path = make_clip(tmp_path / "a.mkv", "ffv1", frames=4, colour=colour)
    for name in ("b.mkv", "b.mp4", "b.avi"):
        run(path, tmp_path / name, ClipOptions(codec="mjpeg"))
        before, after = contents(path), contents(tmp_path / name)
        assert after.colour[0] == limits
        for old, new in zip(before.frames, after.frames, strict=True):
            difference = np.frombuffer(new[0], "u1").astype(float) - np.frombuffer(old[0], "u1")
            assert abs(difference.mean()) < 0.5


HDR = "hdr10=1:max-cll=1000,400:master-display="
DISPLAY = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


def test_the_light_of_hdr_stays_or_is_missed(tmp_path: Path) -> None:
    path = make_clip(
        tmp_path / "a.mp4",
        "libx265",
        frames=6,
        pixel_format="yuv420p10le",
        colour={"color_range": 1, "color_primaries": 9, "color_trc": 16, "colorspace": 9},
        options={"x265-params": f"log-level=none:{HDR}{DISPLAY}"},
    )
    light = video.survey(path).light
    assert all(light)
    for name in ("b.mp4", "b.mkv"):
        assert run(path, tmp_path / name).light_kept
        assert video.survey(tmp_path / name).light == light
    assert not run(path, tmp_path / "c.mkv", ClipOptions(codec="ffv1")).light_kept


@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "mpeg4"])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_of_few_frames(tmp_path: Path, codec: str, frames: int) -> None:
    path = make_clip(tmp_path / "a.mkv", "ffv1", frames=frames)
    for _ in range(3):
        run(path, tmp_path / "b.mkv", ClipOptions(codec=codec), overwrite=True)
        assert contents(tmp_path / "b.mkv").times == contents(path).times
