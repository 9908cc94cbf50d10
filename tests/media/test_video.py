"""Clips divided into segments, which together are all their frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tests.clipmaking import HEIGHT, RATE, WIDTH, contents, make_clip, planes

from dpenet.errors import PictureError
from dpenet.media import video
from dpenet.media.frames import Damage, read_frames
from dpenet.media.video import Clip, Segment, cut, survey


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SEGMENT_FRAMES", 10)
    monkeypatch.setattr(video, "MOST_FRAMES", 25)


def read(clip: Clip) -> tuple[list[Fraction], list[list[bytes]], int]:
    damage = Damage()
    frames = [
        (frame.pts * clip.time_base, planes(frame))
        for segment in clip.segments
        for frame in read_frames(clip, segment, damage)
        if frame.pts is not None
    ]
    return [time for time, _ in frames], [samples for _, samples in frames], damage.frames


def test_segments_begin_at_key_frames(short_segments: None) -> None:
    frames = [(100 * index, index % 6 == 0) for index in range(30)]
    assert cut(frames, None) == [
        Segment(0, 0, 1200, 12),
        Segment(1, 1200, 2400, 12),
        Segment(2, 2400, None, 6),
    ]


def test_or_anywhere_if_there_is_none_for_long(short_segments: None) -> None:
    frames = [(index, index == 0) for index in range(60)]
    assert cut(frames, 77) == [
        Segment(0, 0, 25, 25),
        Segment(1, 25, 50, 25),
        Segment(2, 50, 77, 10),
    ]


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.mp4", "libx264", {"g": "12", "bf": "3"}),
        ("open.mp4", "libx264", {"g": "12", "bf": "3", "x264-params": "open-gop=1"}),
        ("a.mkv", "libx264", {"g": "12", "bf": "3"}),
        ("a.ts", "libx264", {"g": "12", "bf": "3"}),
        ("none.mp4", "libx264", {"g": "999", "sc_threshold": "0"}),
        ("a.webm", "libvpx-vp9", {"g": "12"}),
        ("a.mov", "prores_ks", {}),
        ("a.avi", "mpeg4", {"g": "12", "bf": "2"}),
        ("a.mpg", "mpeg2video", {"g": "12", "bf": "2"}),
        ("a.flv", "libx264", {"g": "12"}),
    ],
)
def test_segments_read_apart_are_the_whole(
    tmp_path: Path, short_segments: None, name: str, codec: str, options: dict[str, str]
) -> None:
    pixel_format = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    path = make_clip(tmp_path / name, codec, frames=70, options=options, pixel_format=pixel_format)
    whole = contents(path)
    clip = survey(path)
    assert (clip.width, clip.height, clip.rate) == (WIDTH, HEIGHT, Fraction(RATE))
    assert clip.frames == 70 and len(clip.segments) > 2
    times, frames, damaged = read(clip)
    assert times == whole.times
    assert frames == whole.frames
    assert damaged == 0


def test_a_stream_without_timestamps_is_one_segment(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.h264", frames=70, options={"g": "12"})
    clip = survey(path)
    assert len(clip.segments) == 1
    times, frames, _ = read(clip)
    assert frames == contents(path).frames
    np.testing.assert_allclose([float(time) for time in times], np.arange(70) / RATE, atol=1e-4)
    with pytest.raises(PictureError, match="no timestamps"):
        survey(path, start=1.0)


def test_a_part_in_time(tmp_path: Path, short_segments: None) -> None:
    path = make_clip(tmp_path / "a.mp4", frames=70, options={"g": "12"})
    clip = survey(path, start=0.5, end=1.0)
    whole = contents(path)
    times, frames, _ = read(clip)
    assert times == [Fraction(index, RATE) for index in range(13, 25)]
    assert frames == whole.frames[13:25]
    assert clip.begin == Fraction(13, RATE)
    with pytest.raises(PictureError, match="no frame between"):
        survey(path, start=5.0)


def test_interlaced_clips_are_known_and_become_progressive(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "field_order": "tt"}
    path = make_clip(tmp_path / "a.mpg", "mpeg2video", frames=20, options=options)
    clip = survey(path)
    assert clip.interlaced
    damage = Damage()
    (segment,) = clip.segments
    raw = list(read_frames(clip, segment, damage))
    progressive = list(read_frames(clip, segment, damage, deinterlace=True))
    assert [frame.pts for frame in progressive] == [frame.pts for frame in raw]
    assert any(planes(a) != planes(b) for a, b in zip(raw, progressive, strict=True))
    assert not any(frame.interlaced_frame for frame in progressive)
    assert damage.frames == 0


def damaged(path: Path, seed: int = 0) -> Path:
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    for at in np.random.default_rng(seed).integers(middle - 1500, middle + 1500, 40):
        data[at] ^= 0xFF
    bad = path.with_stem("bad")
    bad.write_bytes(data)
    return bad


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "libx264"), ("a.ts", "mpeg2video")])
def test_damage_in_the_middle_is_passed_over_and_counted(
    tmp_path: Path, name: str, codec: str
) -> None:
    good = make_clip(tmp_path / name, codec, frames=70, options={"g": "12", "b": "2M"})
    whole = contents(good)
    times, frames, count = read(survey(damaged(good)))
    assert count > 0
    assert set(times) <= set(whole.times) and len(times) > 50
    # What lies before the damage, and after the next key frame, is what it was.
    assert frames[:10] == whole.frames[:10] and frames[-5:] == whole.frames[-5:]


def test_a_file_cut_short_gives_what_it_has(tmp_path: Path) -> None:
    good = make_clip(
        tmp_path / "a.mp4", frames=70, options={"g": "12"}, container={"movflags": "faststart"}
    )
    data = good.read_bytes()
    good.write_bytes(data[: len(data) * 3 // 4])
    clip = survey(good)
    times, _, count = read(clip)
    assert 20 < len(times) < 70
    assert len(times) + clip.missing + count >= 70


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"\0\0\0\x18ftypmp42" + b"\0" * 500, b"RIFF"])
def test_what_is_no_clip_is_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=r"a\.mp4: [^\n]+$"):
        survey(path)


def test_a_truncated_mp4_is_refused_in_one_line(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(PictureError, match=r"truncated or damaged"):
        survey(path)


def test_sound_alone_is_no_clip(tmp_path: Path) -> None:
    path = tmp_path / "a.mka"
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1600), np.int16), format="s16", layout="stereo"
        )
        frame.sample_rate = 8000
        out.mux(stream.encode(frame))
    with pytest.raises(PictureError, match="no moving picture"):
        survey(path)


def test_a_picture_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.ts", "mpeg2video", frames=12)
    later = {"output_ts_offset": "10"}
    with av.open(str(tmp_path / "b.ts"), "w", container_options=later) as out:
        stream = out.add_stream("mpeg2video", rate=RATE)
        stream.width, stream.height = 32, 32
        for number in range(40):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    path.write_bytes(path.read_bytes() + (tmp_path / "b.ts").read_bytes())
    with pytest.raises(PictureError, match="changes from"):
        read(survey(path))


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    """FFmpeg would take the first for DASH, whatever it begins with, and open what it names."""
    clip = make_clip(tmp_path / "private.mp4", frames=2)
    names = {
        "dash.mp4": "AAAAftypisom<MPD profiles='urn:mpeg:dash:profile:isoff-on-demand:2011'>"
        f"<Period duration='PT1S'><AdaptationSet><Representation><BaseURL>{clip}</BaseURL>"
        "</Representation></AdaptationSet></Period></MPD>",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
        "concat.mp4": f"ffconcat version 1.0\nfile {clip.name}\n",
    }
    for name, content in names.items():
        path = tmp_path / name
        path.write_text(content)
        with pytest.raises(PictureError, match="is no clip"):
            survey(path)
    with av.open(str(tmp_path / "concat.mp4")) as opened:
        assert opened.streams.video  # what would have been opened
