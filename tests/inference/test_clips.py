"""Clips derained from file to file: everything but the rain stays as it was."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.clipmaking import HEIGHT, RATE, WIDTH, contents, make_clip, picture

from dpenet.errors import DpenetError, PictureError, UsageError
from dpenet.inference.clips import (
    ClipOptions,
    Outcome,
    derain_clip,
    look_at,
    preview,
)
from dpenet.inference.derainer import Derainer
from dpenet.inference.pipeline import Room
from dpenet.media import video
from dpenet.media.colour import Colours
from dpenet.media.segments import Part, PartWriter

Pixels = NDArray[Any]
USUAL = ClipOptions()


class Stub:
    """Does to frames what it is told to, in place of a network."""

    options = SimpleNamespace(threads=2, stage=2, strength=1.0)
    threads = 2
    working_memory = 1 << 30
    precision, device = "fp32", "cpu"
    weights = SimpleNamespace(digest="stub", name="stub")

    def __init__(self, change: Callable[[Pixels], Pixels] = lambda rgb: rgb) -> None:
        self.derain_pixels = change
        self.room = Room()


def run(
    source: Path,
    target: Path,
    options: ClipOptions = USUAL,
    change: Callable[[Pixels], Pixels] = lambda rgb: rgb,
    **how: Any,
) -> Outcome:
    derainer = cast(Derainer, Stub(change))
    return derain_clip(derainer, look_at(source, options), target, options, **how)


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "SEGMENT_FRAMES", 12)
    monkeypatch.setattr(video, "MOST_FRAMES", 24)


@pytest.mark.parametrize(
    ("name", "codec", "audio", "options"),
    [
        ("a.mp4", "libx264", "aac", {"g": "12", "bf": "3"}),
        ("a.mov", "libx264", "pcm_s16le", {"g": "12", "bf": "3"}),
        ("a.mkv", "libx264", "flac", {"g": "12", "bf": "3"}),
        ("a.ts", "libx264", "mp2", {"g": "12", "bf": "3"}),
        ("a.flv", "libx264", "aac", {"g": "12"}),
        ("h.mp4", "libx265", "aac", {"g": "12", "x265-params": "log-level=none"}),
        ("a.webm", "libvpx-vp9", "libopus", {"g": "12"}),
        ("v.mkv", "libvpx", "libopus", {"g": "12"}),
        ("v.mp4", "libsvtav1", "aac", {"g": "12", "svtav1-params": "log-level=-1"}),
        ("a.avi", "mpeg4", "libmp3lame", {"g": "12"}),
        ("m.mp4", "mpeg4", "aac", {"g": "12", "bf": "2"}),
        ("p.mov", "prores_ks", "pcm_s16le", {}),
        ("a.mpg", "mpeg2video", "mp2", {"g": "12"}),
        ("f.mkv", "ffv1", "flac", {}),
    ],
)
def test_sound_timestamps_and_codec_stay(
    tmp_path: Path,
    short_segments: None,
    name: str,
    codec: str,
    audio: str,
    options: dict[str, str],
) -> None:
    pixel_format = "yuv422p10le" if codec == "prores_ks" else "yuv420p"
    source = make_clip(
        tmp_path / name, codec, frames=40, audio=audio, options=options, pixel_format=pixel_format
    )
    target = tmp_path / f"out.{name}"
    seen: list[int] = []
    outcome = run(source, target, advance=seen.append)
    assert outcome == Outcome(frames=40, damaged=0, resumed=0, left_out=())
    assert sum(seen) == 40
    before, after = contents(source), contents(target)
    assert after.packets == before.packets and len(after.packets[1]) > 5
    assert after.times == before.times
    assert after.colour == before.colour
    deep = pixel_format.endswith("10le")
    kind = np.uint16 if deep else np.uint8
    for old, new in zip(before.frames, after.frames, strict=True):
        for a, b in zip(old, new, strict=True):
            difference = np.frombuffer(b, kind).astype(float) - np.frombuffer(a, kind)
            # No colour shift: what the codec adds has no direction.
            assert abs(difference.mean()) < (1.5 if deep else 0.5)
            assert np.abs(difference).mean() < (6 if deep else 2.5)
    with av.open(str(source)) as one, av.open(str(target)) as other:
        assert [s.type for s in one.streams] == [s.type for s in other.streams]
        a_video, b_video = one.streams.video[0], other.streams.video[0]
        assert a_video.codec_context.name == b_video.codec_context.name
        assert a_video.pix_fmt == b_video.pix_fmt
        assert a_video.time_base == b_video.time_base
        assert a_video.average_rate == b_video.average_rate
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("matrix", [1, 6, 9])
@pytest.mark.parametrize("limits", [1, 2])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "yuv444p"])
def test_without_change_a_lossless_clip_is_the_same_to_the_bit(
    tmp_path: Path, matrix: int, limits: int, pixel_format: str
) -> None:
    colour = {
        "color_range": limits,
        "colorspace": matrix,
        "color_primaries": matrix,
        "color_trc": 1 if matrix == 1 else 6,
    }
    source = make_clip(
        tmp_path / "a.mkv", "ffv1", frames=6, pixel_format=pixel_format, colour=colour
    )
    run(source, tmp_path / "b.mkv")
    before, after = contents(source), contents(tmp_path / "b.mkv")
    assert after.frames == before.frames
    expected = tuple(colour[name] for name in video.COLOUR)
    assert after.colour == before.colour == expected


def test_what_the_model_says_is_what_is_seen(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", "ffv1", frames=6, colour={"colorspace": 1})
    wanted = (200, 90, 40)
    run(source, tmp_path / "b.mkv", change=lambda rgb: np.full_like(rgb, wanted))
    with av.open(str(tmp_path / "b.mkv")) as out:
        for frame in out.decode(video=0):
            rgb = Colours("rgb24").to_rgb(frame)
            np.testing.assert_allclose(rgb.reshape(-1, 3).mean(0), wanted, atol=1)


def test_a_varying_frame_rate_stays(tmp_path: Path, short_segments: None) -> None:
    gaps = np.random.default_rng(0).integers(200, 90000, 49)
    stamps = [0, *(int(stamp) for stamp in np.cumsum(gaps))]
    base = Fraction(1, 90000)
    source = make_clip(
        tmp_path / "a.mp4",
        frames=50,
        stamps=stamps,
        time_base=base,
        options={"bf": "3", "g": "12"},
        container={"video_track_timescale": "90000"},
    )
    assert contents(source).times == [stamp * base for stamp in stamps]
    run(source, tmp_path / "b.mp4")
    assert contents(tmp_path / "b.mp4").times == [stamp * base for stamp in stamps]
    run(source, tmp_path / "c.mp4", ClipOptions(codec="mpeg4"))
    assert contents(tmp_path / "c.mp4").times == [stamp * base for stamp in stamps]


TURNED = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)


def rich(path: Path, plain: Path) -> Path:
    """A copy of a clip with all that a container may hold beside picture and sound."""
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        out.metadata.update({"title": "Rain", "artist": "Jörg", "creation_time": "2020-01-02"})
        out.set_chapters(
            [
                {
                    "id": number,
                    "start": number * 700,
                    "end": (number + 1) * 700,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": f"part {number}"},
                }
                for number in range(2)
            ]
        )
        copies: dict[int, Any] = {
            stream.index: out.add_stream_from_template(stream, opaque=True)
            for stream in source.streams
        }
        copies[0].set_display_matrix(TURNED)
        copies[0].metadata["language"] = "eng"
        copies[1].metadata.update({"language": "deu", "title": "Ton"})
        text: Any = None
        if path.suffix == ".mkv":
            text = out.add_mux_stream("subrip")
            text.metadata["language"] = "fra"
            out.add_attachment("font.ttf", "font/ttf", b"glyphs" * 50)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
        for number in range(3 if text else 0):
            packet = av.Packet(f"line {number}".encode())
            packet.stream, packet.time_base = text, Fraction(1, 1000)
            packet.pts = packet.dts = number * 300
            packet.duration = 200
            out.mux(packet)
    return path


def described(path: Path) -> list[Any]:
    own = {"encoder", "ENCODER", "DURATION", "major_brand", "minor_version", "compatible_brands"}
    with av.open(str(path)) as file:
        return [
            {key: text for key, text in file.metadata.items() if key not in own},
            [
                (chapter["start"] * chapter["time_base"], chapter["metadata"])
                for chapter in cast(list[Any], file.chapters())
            ],
            [
                (
                    stream.type,
                    {key: text for key, text in stream.metadata.items() if key not in own},
                    stream.disposition,
                    stream.data if isinstance(stream, av.stream.AttachmentStream) else None,
                )
                for stream in file.streams
            ],
            next(file.decode(video=0)).rotation,
        ]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
def test_metadata_chapters_subtitles_attachments_and_rotation_stay(
    tmp_path: Path, suffix: str
) -> None:
    plain = make_clip(tmp_path / "plain.mp4", audio="aac")
    source = rich(tmp_path / f"a{suffix}", plain)
    target = tmp_path / f"b{suffix}"
    run(source, target)
    assert described(target) == described(source)
    assert described(target)[-1] == -90
    assert contents(target).packets == contents(source).packets


def test_rotation_and_pixel_aspect_stay_with_another_codec(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mp4", audio="aac")
    with av.open(str(plain)) as source, av.open(str(tmp_path / "a.mp4"), "w") as out:
        copies: dict[int, Any] = {
            stream.index: out.add_stream_from_template(stream, opaque=True)
            for stream in source.streams
        }
        copies[0].codec_context.sample_aspect_ratio = Fraction(4, 3)
        copies[0].set_display_matrix(TURNED)
        for packet in source.demux():
            if packet.size:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)
    for codec in (None, "libx265", "mpeg4", "libsvtav1"):
        run(tmp_path / "a.mp4", tmp_path / "b.mp4", ClipOptions(codec=codec), overwrite=True)
        with av.open(str(tmp_path / "b.mp4")) as out_file:
            assert out_file.streams.video[0].sample_aspect_ratio == Fraction(4, 3)
            assert next(out_file.decode(video=0)).rotation == -90
    assert not run(tmp_path / "a.mp4", tmp_path / "b.mkv", ClipOptions(codec="ffv1")).aspect_kept


def test_frames_are_derained_and_shown_upright(tmp_path: Path) -> None:
    source = rich(tmp_path / "a.mp4", make_clip(tmp_path / "plain.mp4", audio="aac"))
    upright = np.rot90(picture(0), -1).astype(int)
    seen: list[Pixels] = []

    def change(rgb: Pixels) -> Pixels:
        seen.append(rgb)
        return rgb

    run(source, tmp_path / "b.mp4", change=change)
    assert min(np.abs(rgb - upright).mean() for rgb in seen) < 5
    shown = preview(cast(Derainer, Stub()), look_at(source, USUAL), 1)
    for half in np.hsplit(shown, 2):
        assert np.abs(half - upright).mean() < 5


def test_what_a_codec_has_fewer_bits_for_is_told(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", "ffv1", frames=2, pixel_format="yuv420p10le")
    assert run(source, tmp_path / "same.mkv").depth_kept
    assert not run(source, tmp_path / "fewer.mkv", ClipOptions(codec="mpeg4")).depth_kept


def test_a_container_that_lacks_a_place_is_refused_before_any_work(tmp_path: Path) -> None:
    source = rich(tmp_path / "a.mkv", make_clip(tmp_path / "plain.mp4", audio="aac"))

    def never(rgb: Pixels) -> Pixels:
        raise AssertionError("work was begun")

    with pytest.raises(PictureError, match=r"does not fit into a \.webm"):
        run(source, tmp_path / "b.webm", change=never)
    with pytest.raises(UsageError, match="no container"):
        run(source, tmp_path / "b.unknown", change=never)
    with pytest.raises(UsageError, match="no encoder"):
        run(source, tmp_path / "b.mkv", ClipOptions(codec="nothing"), change=never)
    with pytest.raises(UsageError, match="no quality"):
        run(source, tmp_path / "b.mkv", ClipOptions(codec="ffv1", quality=3), change=never)
    with pytest.raises(UsageError, match=r"--preset is for libx264.* not for ffv1"):
        run(source, tmp_path / "b.mkv", ClipOptions(codec="ffv1", preset="fast"), change=never)
    with pytest.raises(UsageError, match=r"has the presets ultrafast.* not 'quick'"):
        run(source, tmp_path / "b.mkv", ClipOptions(preset="quick"), change=never)
    (tmp_path / "b.mkv").touch()
    with pytest.raises(PictureError, match="exists"):
        run(source, tmp_path / "b.mkv", change=never)
    assert not list(tmp_path.glob(".*"))


def test_quality_is_the_encoders(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4")
    sizes = []
    for quality in (10, 40):
        target = tmp_path / f"{quality}.mp4"
        run(source, target, ClipOptions(quality=quality))
        sizes.append(target.stat().st_size)
    assert sizes[0] > 2 * sizes[1]


@pytest.mark.parametrize(
    ("codec", "presets"),
    [
        ("libx264", ("ultrafast", "slow")),
        ("libx265", ("ultrafast", "slow")),
        ("libsvtav1", ("12", "6")),
    ],
)
def test_a_preset_is_the_encoders(tmp_path: Path, codec: str, presets: tuple[str, str]) -> None:
    source = make_clip(tmp_path / "a.mp4")
    written = []
    for preset in presets:
        target = tmp_path / f"{preset}.mp4"
        run(source, target, ClipOptions(codec=codec, preset=preset))
        written.append(target.read_bytes())
    assert written[0] != written[1]


def test_a_segment_that_cannot_be_finished_is_no_part(
    tmp_path: Path, short_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=60, options={"g": "12"})
    finish = PartWriter.finish

    def failing(self: PartWriter, damaged: int) -> Part:
        if self._path.stem == "000002":
            monkeypatch.setattr(self, "_mux", full)
        return finish(self, damaged)

    def full(packets: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartWriter, "finish", failing)
    with pytest.raises(PictureError, match=r"No space.*frames are finished.*--resume"):
        run(source, tmp_path / "b.mp4")
    parts = {path.name for path in (tmp_path / ".b.mp4.parts").iterdir()}
    # The one that was computed meanwhile is of use, too.
    notes = {f"00000{number}.json" for number in (0, 1, 3)}
    assert {name for name in parts if name.startswith(("0", ".0"))} == notes | {
        note.replace("json", "part") for note in notes
    }
    monkeypatch.setattr(PartWriter, "finish", finish)
    assert run(source, tmp_path / "b.mp4", resume=True).resumed == 36


def test_a_part_in_time_begins_at_zero_with_its_sound(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mkv", audio="pcm_s16le", frames=60, options={"g": "12"})
    run(source, tmp_path / "b.mkv", ClipOptions(start=0.5, end=1.5))
    before, after = contents(source), contents(tmp_path / "b.mkv")
    assert after.times == [Fraction(number, RATE) for number in range(25)]
    start, end = Fraction(13, RATE), Fraction(3, 2)
    sound = b"".join(data for time, data in before.packets[1] if start <= (time or 0) < end)
    assert b"".join(data for _, data in after.packets[1]) == sound


def test_interlaced_clips_need_a_decision(tmp_path: Path) -> None:
    options = {"flags": "+ildct+ilme", "field_order": "tt"}
    source = make_clip(tmp_path / "a.mpg", "mpeg2video", frames=20, options=options)
    with pytest.raises(UsageError, match="--deinterlace"):
        run(source, tmp_path / "b.mpg")
    outcome = run(source, tmp_path / "b.mpg", ClipOptions(deinterlace=True))
    assert outcome.frames == 20
    assert contents(tmp_path / "b.mpg").times == contents(source).times
    with av.open(str(tmp_path / "b.mpg")) as file:
        assert not next(file.decode(video=0)).interlaced_frame


class Interrupt(BaseException):
    pass


def test_resuming_takes_over_what_is_finished(tmp_path: Path, short_segments: None) -> None:
    source = make_clip(tmp_path / "a.mp4", audio="aac", frames=70, options={"g": "12", "bf": "2"})
    run(source, tmp_path / "whole.mp4", change=lambda rgb: rgb // 2)

    def until(last: int) -> Callable[[int], None]:
        done: list[int] = []

        def advance(count: int) -> None:
            done.append(count)
            if sum(done) > last:
                raise Interrupt

        return advance

    target = tmp_path / "b.mp4"
    with pytest.raises(Interrupt):
        run(source, target, change=lambda rgb: rgb // 2, advance=until(30))
    assert not target.exists()
    with pytest.raises(Interrupt):
        run(source, target, change=lambda rgb: rgb // 2, advance=until(45), resume=True)
    outcome = run(source, target, change=lambda rgb: rgb // 2, resume=True)
    assert outcome.resumed == 36
    assert outcome.frames == 70
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_nothing_is_taken_over_from_other_options(tmp_path: Path, short_segments: None) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=40, options={"g": "12"})

    def stop(rgb: Pixels) -> Pixels:
        raise Interrupt

    frames: Iterator[int] = iter(range(100))
    with pytest.raises(Interrupt):
        run(source, tmp_path / "b.mp4", change=lambda rgb: rgb if next(frames) < 35 else stop(rgb))
    kept = list((tmp_path / ".b.mp4.parts").glob("*.part"))
    assert kept
    outcome = run(source, tmp_path / "b.mp4", ClipOptions(quality=30), resume=True)
    assert outcome.resumed == 0


def test_resuming_minds_what_changes_a_frame_alone(
    tmp_path: Path, short_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=60, options={"g": "12"})
    target = tmp_path / "b.mp4"

    def resumed(**options: Any) -> list[int]:
        changed = SimpleNamespace(**vars(Stub.options) | options)
        monkeypatch.setattr(Stub, "options", changed)
        numbers = iter(range(100))
        found: list[int] = []

        def change(rgb: Pixels) -> Pixels:
            if next(numbers) == 30:
                raise Interrupt
            return rgb

        with pytest.raises(Interrupt):
            run(source, target, change=change, resume=True, found=found.append)
        return found

    assert resumed() == [0]
    assert resumed(threads=1, tile=64, memory=10**9)[0] >= 12
    assert resumed(strength=0.5) == [0]
    assert run(source, target, resume=True).resumed >= 12


def test_parts_stay_only_where_they_are_of_use(tmp_path: Path, short_segments: None) -> None:
    source = make_clip(tmp_path / "a.mp4", frames=60, options={"g": "12"})

    def failing(at: int, error: Exception) -> Callable[[Pixels], Pixels]:
        numbers = iter(range(100))

        def change(rgb: Pixels) -> Pixels:
            if next(numbers) == at:
                raise error
            return rgb

        return change

    full = OSError(errno.ENOSPC, "No space left on device")
    for at, error, kept in (
        (3, full, False),
        (50, full, True),
        (50, UsageError("more --memory"), True),
        (50, PictureError("its picture changes"), False),
    ):
        with pytest.raises(PictureError if at == 50 else DpenetError) as failure:
            run(source, tmp_path / "b.mp4", change=failing(at, error))
        assert ("--resume" in str(failure.value)) == kept
        assert (tmp_path / ".b.mp4.parts").exists() == kept
    assert not list(tmp_path.glob(".*"))


def test_memory_bounds_the_frames_in_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_clip(tmp_path / "a.mkv", "ffv1", frames=30)
    frame = WIDTH * HEIGHT * 9
    for memory, most in ((1 << 30, 12 * frame), (16 * frame, 4 * frame), (0, frame)):
        monkeypatch.setattr(Stub, "working_memory", memory)
        derainer = Stub()
        taken: list[int] = []

        def change(rgb: Pixels, taken: list[int] = taken, room: Room = derainer.room) -> Pixels:
            taken.append(room.taken)
            return rgb

        derainer.derain_pixels = change
        clip = look_at(source, USUAL)
        derain_clip(cast(Derainer, derainer), clip, tmp_path / "b.mkv", overwrite=True)
        assert set(taken) == {most}
        assert derainer.room.taken == 0


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_start_and_end_are_times(seconds: float) -> None:
    with pytest.raises(UsageError, match="--start takes seconds"):
        ClipOptions(start=seconds)
    with pytest.raises(UsageError, match="--end takes seconds"):
        ClipOptions(end=seconds)


class Delay:
    """Holds two frames back and brightens them, as a filter in time might."""

    def __init__(self) -> None:
        self.held: list[Pixels] = []

    def push(self, rainy: Pixels, clean: Pixels) -> list[Pixels]:
        np.testing.assert_array_equal(rainy // 2, clean)
        self.held.append(clean + 10)
        return [self.held.pop(0)] if len(self.held) > 2 else []

    def flush(self) -> list[Pixels]:
        return self.held


def test_a_filter_may_hold_frames_back(tmp_path: Path, short_segments: None) -> None:
    source = make_clip(tmp_path / "a.avi", "utvideo", frames=30, pixel_format="gbrp")
    run(source, tmp_path / "b.avi", change=lambda rgb: rgb // 2, temporal=Delay)
    before, after = contents(source), contents(tmp_path / "b.avi")
    assert after.times == before.times
    for old, new in zip(before.frames, after.frames, strict=True):
        for a, b in zip(old, new, strict=True):
            np.testing.assert_array_equal(
                np.frombuffer(b, np.uint8), np.frombuffer(a, np.uint8) // 2 + 10
            )


def test_damage_is_counted(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio="aac", frames=60, options={"g": "12", "b": "2M"})
    data = bytearray(source.read_bytes())
    middle = data.index(b"mdat") + len(data) // 3
    lost = len(data) // 8  # several frames whole: less may be concealed without a mark
    data[middle : middle + lost] = b"\xff" * lost
    source.write_bytes(data)
    outcome = run(source, tmp_path / "b.mp4")
    assert outcome.damaged > 0
    assert len(contents(tmp_path / "b.mp4").times) == outcome.frames > 30


def test_a_preview_is_both_side_by_side(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.avi", "utvideo", pixel_format="gbrp")
    derainer = cast(Derainer, Stub(lambda rgb: rgb // 2))
    pixels = preview(derainer, look_at(source, ClipOptions()), 3)
    assert pixels.shape == (3 * HEIGHT, 2 * WIDTH, 3)
    np.testing.assert_array_equal(pixels[:, WIDTH:], pixels[:, :WIDTH] // 2)


_SLOWLY = """
import sys, time
from pathlib import Path
from tests.inference.test_clips import run
from dpenet.media import video
from dpenet.media.colour import Colours
video.SEGMENT_FRAMES, video.MOST_FRAMES = 12, 24

def halve(rgb):
    time.sleep(float(sys.argv[3]))
    return rgb // 2

outcome = run(Path(sys.argv[1]), Path(sys.argv[2]), change=halve, resume=True)
print(outcome.resumed)
"""


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", audio="aac", frames=100, options={"g": "12", "bf": "2"})

    def start(target: str, pause: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _SLOWLY, str(source), str(tmp_path / target), str(pause)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    assert start("whole.mp4", 0).communicate()[0] == "0\n"
    parts = tmp_path / ".b.mp4.parts"
    for wanted in (2, 5):
        process = start("b.mp4", 0.05)
        deadline = time.monotonic() + 60
        while len(list(parts.glob("0*.json"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "b.mp4").exists()
    assert int(start("b.mp4", 0).communicate()[0]) >= 60
    assert (tmp_path / "b.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
