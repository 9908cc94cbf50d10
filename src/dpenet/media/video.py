"""Clips: what they hold, and how they are divided into closed segments."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median_low
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from dpenet.errors import PictureError
from dpenet.media.hdr import light_of
from dpenet.media.y4m import HEAD_BYTES, is_cut_short

SEGMENT_FRAMES, MOST_FRAMES = 120, 480
"""A segment ends at the first key frame after so many frames, and at the latest after so many."""

COLOUR = ("color_range", "color_primaries", "color_trc", "colorspace")
"""What FFmpeg calls the properties in `Clip.colour`."""

DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,flv,ogg,yuv4mpegpipe,nut,asf,"
    "mxf,ivf,h264,hevc,obu,m4v,mjpeg,dv,gxf,wtv,rm"
)
"""What FFmpeg may take a clip for. Playlists (DASH, HLS, concat) open the files and addresses that
they name, which somebody else may have written there."""

_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
# So many packets before a key frame and after it tell whether the time goes on there.
_NEAR = 8


@dataclass(frozen=True)
class Segment:
    """Frames that are processed apart from all others.

    Attributes:
        number: Its place in the clip.
        start: Timestamp of its first frame; None if the clip has none, or begins anywhere.
        end: Timestamp that its frames are below; None at the end of the clip.
        frames: How many there should be.
    """

    number: int
    start: int | None
    end: int | None
    frames: int


@dataclass(frozen=True)
class Clip:
    """What is known of a clip before it is decoded.

    Attributes:
        path: The file.
        width: Of its frames, in pixels, as stored.
        height: Of its frames, as stored.
        codec: Family of the codec, such as ``h264``.
        pixel_format: As FFmpeg calls it.
        rate: Mean frames per second.
        time_base: Unit of the timestamps, in seconds.
        last: How long the last frame is shown, in that unit.
        pixel_aspect: Width of a pixel by its height; None if unknown.
        colour: Range, primaries, transfer and matrix, as FFmpeg numbers them.
        interlaced: Whether its frames are two fields each.
        segments: All frames that were asked for, in order.
        in_decoding_order: Whether the timestamps rise in the order of the packets, though the
            frames are shown in another: AVI knows no other.
        light: What its first frame says of its light, from `dpenet.media.hdr.light_of`.
        missing: Frames that the header promises and the file lacks.
        begin: Time of the first frame if it was asked to begin later, in seconds.
        end: Time of the end if it was asked to end earlier, in seconds.
    """

    path: Path
    width: int
    height: int
    codec: str
    pixel_format: str
    rate: Fraction
    time_base: Fraction
    last: int
    pixel_aspect: Fraction | None
    colour: tuple[int, ...]
    interlaced: bool
    segments: tuple[Segment, ...]
    in_decoding_order: bool = False
    light: tuple[bytes, bytes] = (b"", b"")
    missing: int = 0
    begin: Fraction | None = None
    end: Fraction | None = None

    @property
    def frames(self) -> int:
        """How many frames there should be."""
        return sum(segment.frames for segment in self.segments)


def open_clip(path: Path) -> InputContainer:
    """Open a clip; to be used in a ``with``.

    Raises:
        PictureError: If it is not a clip, or so damaged that nothing can be read.
    """
    # FFmpeg's own words, in the middle of a progress bar, help nobody.
    av.logging.set_level(None)
    try:
        return av.open(
            path,
            metadata_errors="replace",
            container_options={"fflags": "+genpts", "format_whitelist": DEMUXERS},
        )
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or str(error)
        raise PictureError(f"{path}: is no clip, or is truncated or damaged: {reason}") from error


def picture_stream(container: InputContainer) -> VideoStream:
    """The stream with the moving picture, which is no cover.

    Raises:
        PictureError: If there is none that can be decoded.
    """
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & Disposition.attached_pic:
            return stream
    raise PictureError(f"{container.name}: holds no moving picture that can be decoded")


def packets(container: InputContainer, streams: Sequence[Stream]) -> Iterator[Packet[Any]]:
    """The packets of streams, as far as the file can be read."""
    found = container.demux(streams)
    while True:
        try:
            packet = next(found, None)
        except (av.FFmpegError, IndexError):
            # It ends before its time, or PyAV meets a stream that the header does not name.
            return
        if packet is None:
            return
        yield packet


def survey(path: Path, start: float | None = None, end: float | None = None) -> Clip:
    """Look through a clip without decoding more than its first frame.

    Args:
        path: The file.
        start: Seconds to begin at; None for the beginning.
        end: Seconds to end before; None for the end.

    Raises:
        PictureError: If the file is no clip, is damaged beyond use, or has no frame in this time.
    """
    with open_clip(path) as container:
        stream = picture_stream(container)
        interlaced = stream.codec_context.field_order not in _PROGRESSIVE
        stamps: list[tuple[int | None, bool]] = []
        first = None
        listed = 0
        for packet in packets(container, [stream]):
            listed += packet.size > 0
            # What an edit list cuts off may be needed to decode the rest.
            if packet.size and not packet.is_discard:
                stamps.append((packet.pts, packet.is_keyframe))
            if first is None and packet.size and listed < MOST_FRAMES:
                with suppress(av.FFmpegError):
                    first = next(iter(packet.decode()), None)
        if first is None:
            with suppress(av.FFmpegError):
                first = next(iter(stream.codec_context.decode(None)), None)
        if first is None:
            raise PictureError(f"{path}: no frame of it can be decoded")
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        base = stream.time_base or 1 / rate
        zero = Fraction(container.start_time or 0, av.time_base)
        clip = Clip(
            path=path,
            width=first.width,
            height=first.height,
            codec=stream.codec_context.codec.canonical_name,
            pixel_format=first.format.name,
            rate=rate,
            time_base=base,
            last=first.duration or max(1, round(1 / rate / base)),
            pixel_aspect=stream.sample_aspect_ratio,
            colour=tuple(getattr(stream.codec_context, name) for name in COLOUR),
            interlaced=interlaced or first.interlaced_frame,
            segments=(),
            in_decoding_order=container.format.name == "avi"
            and stream.codec_context.has_b_frames
            and all(
                a[0] is not None and b[0] is not None and a[0] < b[0] for a, b in pairwise(stamps)
            ),
            light=light_of(first),
            missing=_missing(container, stream, listed, path, first),
        )
    limits = [None if at is None else zero + Fraction(at) for at in (start, end)]
    if (at := _new_beginning(stamps)) is not None:
        seconds = float(at * clip.time_base - zero)
        raise PictureError(
            f"{path}: its timestamps begin again after {seconds:.1f} s, as in files put together; "
            f"ffmpeg -i {path.name} -c copy whole.mkv makes them run on"
        )
    return _divided(clip, stamps, *limits)


def _missing(
    container: InputContainer, stream: VideoStream, listed: int, path: Path, first: av.VideoFrame
) -> int:
    """How many frames there should be more than are listed."""
    if container.format.name == "yuv4mpegpipe":
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return int(is_cut_short(head, path.stat().st_size, listed, first))
    # Only MP4 and QuickTime list every frame; other headers are often wrong.
    return max(0, stream.frames - listed) if "mp4" in container.format.name else 0


def _new_beginning(stamps: Sequence[tuple[int | None, bool]]) -> int | None:
    """A timestamp near the end of a stretch, if those of another begin again after it, or None."""
    known = [(pts, key) for pts, key in stamps if pts is not None]
    times = [pts for pts, _ in known]
    for index, (_, key) in enumerate(known):
        before, after = times[max(0, index - _NEAR) : index], times[index : index + _NEAR]
        if not key or min(len(before), len(after)) < _NEAR // 2:
            continue
        # The medians, for single timestamps may be damaged; and those of all before, for a damaged
        # one may carry several after it along.
        new = median_low(after)
        if new <= median_low(before) and new <= median_low(times[:index]):
            return median_low(before)
    return None


def _filled(stamps: Sequence[tuple[int | None, bool]]) -> list[tuple[int, bool]]:
    """In order of time; a packet without a timestamp has that of the one before it."""
    last = next((pts for pts, _ in stamps if pts is not None), 0)
    out = []
    for pts, key in stamps:
        last = last if pts is None else pts
        out.append((last, key and pts is not None))
    return sorted(out)


def _divided(
    clip: Clip,
    stamps: Sequence[tuple[int | None, bool]],
    start: Fraction | None,
    end: Fraction | None,
) -> Clip:
    if all(pts is None for pts, _ in stamps):
        if start is not None or end is not None:
            raise PictureError(f"{clip.path}: has no timestamps; --start and --end need them")
        # It cannot be entered in the middle.
        return replace(clip, segments=(Segment(0, None, None, len(stamps)),))
    stamped = _filled(stamps)
    kept = [
        (pts, key)
        for pts, key in stamped
        if (start is None or pts * clip.time_base >= start)
        and (end is None or pts * clip.time_base < end)
    ]
    if not kept:
        raise PictureError(f"{clip.path}: has no frame between --start and --end")
    begin = kept[0][0] * clip.time_base if start is not None else None
    last = next((pts for pts, _ in stamped if pts > kept[-1][0]), None)
    missing = clip.missing if end is None else 0
    segments = tuple(cut(kept, last))
    return replace(clip, segments=segments, begin=begin, end=end, missing=missing)


def cut(frames: Sequence[tuple[int, bool]], end: int | None) -> list[Segment]:
    """Divide a clip at key frames, or where there is none for long, anywhere.

    Args:
        frames: Timestamp of each, in order, and whether it is a key frame.
        end: Timestamp of the frame after them; None if there is none.
    """
    starts = [0]
    for index, (pts, key) in enumerate(frames):
        length = index - starts[-1]
        enough = (length >= SEGMENT_FRAMES and key) or length >= MOST_FRAMES
        # Several frames of one timestamp stay together.
        if enough and pts > frames[index - 1][0]:
            starts.append(index)
    bounds = [*starts, len(frames)]
    stamps = [*(frames[index][0] for index in starts), end]
    return [
        Segment(number, stamps[number], stamps[number + 1], last - first)
        for number, (first, last) in enumerate(pairwise(bounds))
    ]
