"""Timestamps that are missing, wrong or cut off: no frame is lost for them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tests.clipmaking import RATE, contents, copy_clip, make_clip, planes, without_stamps

from dpenet.errors import PictureError
from dpenet.media import video
from dpenet.media.frames import Damage, read_frames
from dpenet.media.video import survey


def read(path: Path) -> tuple[list[Fraction], list[list[bytes]], int]:
    clip, damage = survey(path), Damage()
    frames = [
        (frame.pts or 0, planes(frame))
        for segment in clip.segments
        for frame in read_frames(clip, segment, damage)
    ]
    return [pts * clip.time_base for pts, _ in frames], [one for _, one in frames], damage.frames


def test_frames_of_avi_come_in_the_order_they_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "SEGMENT_FRAMES", 10)
    options = {"g": "12", "bf": "3", "x264-params": "b-adapt=0"}
    path = make_clip(tmp_path / "a.avi", frames=60, options=options)
    with av.open(str(path)) as file:
        given: list[Any] = [frame.pts for frame in file.decode(video=0)]
    assert given != sorted(given)
    times, frames, damaged = read(path)
    assert damaged == 0
    assert frames == contents(path).frames and len(frames) == 60
    np.testing.assert_allclose(np.diff([float(time) for time in times]), 1 / RATE)


@pytest.mark.parametrize("numbers", [{5}, {4, 5, 6}, {40}, set(range(60))])
def test_a_few_missing_timestamps_are_filled_in(tmp_path: Path, numbers: set[int]) -> None:
    whole = make_clip(
        tmp_path / "a.ts",
        frames=60,
        audio="mp2",
        options={"g": "12", "bf": "3"},
        container={"output_ts_offset": "100"},
    )
    times, frames, damaged = read(without_stamps(whole, numbers))
    assert frames == contents(whole).frames
    assert damaged == 0
    expected = [float(time) for time in contents(whole).times]
    if len(numbers) < 60:
        np.testing.assert_allclose([float(time) for time in times], expected, atol=1.5 / RATE)
    else:  # FFmpeg itself finds where it begins
        assert 99 < times[0] < 101


def test_a_wild_timestamp_moves_no_other_frame(tmp_path: Path) -> None:
    good = make_clip(tmp_path / "good.mkv", frames=60, options={"g": "12", "bf": "0"})

    def wild(packet: Any) -> None:
        if packet.pts == 400:
            packet.pts = packet.dts = 430
        elif packet.pts == 1200:
            packet.pts = 1000 * 3600

    path = copy_clip(good, tmp_path / "a.mkv", wild)
    times, frames, _ = read(path)
    whole = contents(good)
    assert frames == whole.frames
    moved = sum(a != b for a, b in zip(times, whole.times, strict=True))
    assert moved <= 2 and max(times) < 3


def test_frames_after_a_key_frame_that_an_edit_list_cuts_off(tmp_path: Path) -> None:
    whole = make_clip(tmp_path / "whole.mp4", frames=60, options={"g": "100", "bf": "2"})
    path = copy_clip(whole, tmp_path / "a.mp4", earlier(Fraction(7, RATE)))
    times, frames, damaged = read(path)
    assert times == [Fraction(number, RATE) for number in range(53)]
    assert frames == contents(whole).frames[7:]
    assert damaged == 0


def earlier(seconds: Fraction) -> Any:
    def move(packet: Any) -> None:
        packet.pts -= round(seconds / packet.time_base)
        packet.dts -= round(seconds / packet.time_base)

    return move


def transport(path: Path, at: int, frames: int = 20, **options: Any) -> bytes:
    container = {"output_ts_offset": str(at), **options}
    return make_clip(path, "mpeg2video", frames=frames, container=container).read_bytes()


def test_a_stream_that_begins_in_the_middle_ends_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    # FFmpeg looks for streams in the first seconds alone.
    late = transport(tmp_path / "b.ts", 20, mpegts_start_pid="768", mpegts_pmt_start_pid="4352")
    path.write_bytes(transport(path, 0, frames=400) + late)
    with av.open(str(path)) as file, pytest.raises(IndexError):
        list(file.demux(file.streams.video[0]))
    _, frames, damaged = read(path)
    assert (len(frames), damaged) == (400, 0)


def test_timestamps_that_begin_again_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    data = transport(path, 0)
    path.write_bytes(data + data)
    with pytest.raises(PictureError, match=r"begin again after 0\.\d s.*-c copy"):
        survey(path)


def test_a_single_frame_of_another_size_is_damage(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "odd.ts"), "w", container_options={"output_ts_offset": "5"}) as out:
        stream = out.add_stream("mpeg2video", rate=RATE)
        stream.width, stream.height = 32, 32
        out.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
        out.mux(stream.encode())
    path = tmp_path / "a.ts"
    odd = (tmp_path / "odd.ts").read_bytes()
    path.write_bytes(transport(path, 0) + odd + transport(tmp_path / "b.ts", 10))
    _, frames, damaged = read(path)
    # The decoder itself loses one where the size changes.
    assert len(frames) >= 39
    assert damaged == 41 - len(frames)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le", "gray"])
def test_y4m_that_is_cut_short_lacks_a_frame(tmp_path: Path, pixel_format: str) -> None:
    strict = {"strict": "experimental"}
    path = make_clip(
        tmp_path / "a.y4m", "rawvideo", frames=4, pixel_format=pixel_format, container=strict
    )
    assert (survey(path).frames, survey(path).missing) == (4, 0)
    path.write_bytes(path.read_bytes()[:-1])
    assert (survey(path).frames, survey(path).missing) == (3, 1)
