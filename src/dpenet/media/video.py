"""Clips: what they hold, and their frames, one closed segment at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.container import InputContainer
from av.filter import Graph
from av.stream import Disposition
from av.video.stream import VideoStream

from dpenet.errors import PictureError

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

_OUTPUT_CORRUPT = 8  # AV_CODEC_FLAG_OUTPUT_CORRUPT: what was concealed is shown, as ffmpeg does
_PROGRESSIVE = (0, 1)  # AVFieldOrder: unknown, progressive
_TRIES = 4


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
    missing: int = 0
    begin: Fraction | None = None
    end: Fraction | None = None

    @property
    def frames(self) -> int:
        """How many frames there should be."""
        return sum(segment.frames for segment in self.segments)


@dataclass
class Damage:
    """Frames that could not be decoded, or not as they were.

    Attributes:
        frames: How many.
    """

    frames: int = 0


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
        packets: list[tuple[int | None, bool]] = []
        first = damaged = None
        listed = 0
        try:
            for packet in container.demux(stream):
                listed += packet.size > 0
                if not packet.size or packet.is_discard:
                    continue
                packets.append((packet.pts, packet.is_keyframe))
                if first is None and len(packets) < MOST_FRAMES:
                    with suppress(av.FFmpegError):
                        first = next(iter(packet.decode()), None)
        except av.FFmpegError as error:
            damaged = error
        if first is None:
            with suppress(av.FFmpegError):
                first = next(iter(stream.codec_context.decode(None)), None)
        if first is None:
            reason = f": {damaged.strerror}" if damaged else ""
            raise PictureError(f"{path}: no frame of it can be decoded{reason}")
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
            # Only MP4 and QuickTime list every frame; other headers are often wrong.
            missing=max(0, stream.frames - listed) if "mp4" in container.format.name else 0,
        )
    limits = [None if at is None else zero + Fraction(at) for at in (start, end)]
    return _divided(clip, packets, *limits)


def _divided(
    clip: Clip,
    packets: Sequence[tuple[int | None, bool]],
    start: Fraction | None,
    end: Fraction | None,
) -> Clip:
    stamped = sorted((pts, key) for pts, key in packets if pts is not None)
    if len(stamped) < len(packets):
        if start is not None or end is not None:
            raise PictureError(f"{clip.path}: has no timestamps; --start and --end need them")
        # It cannot be entered in the middle.
        return replace(clip, segments=(Segment(0, None, None, len(packets)),))
    kept = [
        (pts, key)
        for pts, key in stamped
        if (start is None or pts * clip.time_base >= start)
        and (end is None or pts * clip.time_base < end)
    ]
    if not kept:
        raise PictureError(f"{clip.path}: has no frame between --start and --end")
    begin = kept[0][0] * clip.time_base if start is not None else None
    last = stamped[stamped.index(kept[-1]) + 1][0] if kept[-1] != stamped[-1] else None
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
    for index, (_, key) in enumerate(frames):
        length = index - starts[-1]
        if (length >= SEGMENT_FRAMES and key) or length >= MOST_FRAMES:
            starts.append(index)
    bounds = [*starts, len(frames)]
    stamps = [*(frames[index][0] for index in starts), end]
    return [
        Segment(number, stamps[number], stamps[number + 1], last - first)
        for number, (first, last) in enumerate(pairwise(bounds))
    ]


def read_frames(
    clip: Clip, segment: Segment, damage: Damage, *, deinterlace: bool = False
) -> Iterator[av.VideoFrame]:
    """Decode a segment.

    What is damaged is concealed as FFmpeg does, or left out.

    Args:
        clip: From `survey`.
        segment: One of its segments.
        damage: Counts the damaged frames.
        deinterlace: Whether to make one progressive frame of every two fields.

    Yields:
        Frames as stored: not rotated, in the clip's pixel format, their timestamps in its time
        base, rising.

    Raises:
        PictureError: If the file cannot be read, or the size of its picture changes.
    """
    with open_clip(clip.path) as container:
        stream = picture_stream(container)
        stream.codec_context.flags |= _OUTPUT_CORRUPT
        _seek(container, stream, segment)
        frames: Iterable[av.VideoFrame] = _decode(container, stream)
        if segment.start is None:
            frames = _stamped(frames, clip)
        if deinterlace:
            frames = _progressive(_within(frames, segment), stream)
        last = None
        count = 0
        for frame in _within(frames, segment):
            if frame.width != clip.width or frame.height != clip.height:
                raise PictureError(
                    f"{clip.path}: its picture changes from {clip.width} x {clip.height} to "
                    f"{frame.width} x {frame.height}, and only clips of one size are derained"
                )
            if last is not None and frame.pts is not None and frame.pts <= last:
                continue  # counted below
            last = frame.pts
            count += 1
            damage.frames += frame.is_corrupt
            yield frame
        damage.frames += max(0, segment.frames - count)


def _seek(container: InputContainer, stream: VideoStream, segment: Segment) -> None:
    """Go to a key frame at or before the segment's first frame, where the file can do that."""
    if segment.start is None or segment.number == 0:
        return
    back = 0
    for _ in range(_TRIES):
        try:
            container.seek(segment.start - back, stream=stream)
            packet = next(container.demux(stream))
        except (av.FFmpegError, StopIteration):
            break
        if packet.is_keyframe and packet.pts is not None and packet.pts <= segment.start:
            container.seek(segment.start - back, stream=stream)
            return
        back = 4 * back or round(2 / (stream.time_base or 1))
    container.seek(container.start_time or 0)


def _decode(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            packet = None  # the file ends before its time; the missing frames are counted
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            continue
        yield from frames


def _stamped(frames: Iterable[av.VideoFrame], clip: Clip) -> Iterator[av.VideoFrame]:
    for index, frame in enumerate(frames):
        frame.pts = round(index / clip.rate / clip.time_base)
        frame.time_base = clip.time_base
        yield frame


def _within(frames: Iterable[av.VideoFrame], segment: Segment) -> Iterator[av.VideoFrame]:
    """The frames of the segment; decoding goes on to the first beyond it and no further."""
    for frame in frames:
        if frame.pts is None or (segment.start is not None and frame.pts < segment.start):
            continue
        if segment.end is not None and frame.pts >= segment.end:
            return
        yield frame


def _progressive(frames: Iterable[av.VideoFrame], stream: VideoStream) -> Iterator[av.VideoFrame]:
    graph = Graph()
    source = graph.add_buffer(template=stream)
    graph.link_nodes(source, graph.add("bwdif", "send_frame"), graph.add("buffersink")).configure()

    def finished() -> Iterator[av.VideoFrame]:
        while True:
            try:
                frame = graph.vpull()
            except (av.BlockingIOError, av.EOFError):
                return
            # The filter counts in halves.
            assert frame.pts is not None and frame.time_base is not None
            frame.pts = round(frame.pts * frame.time_base / (stream.time_base or 1))
            frame.time_base = stream.time_base
            yield frame

    for frame in frames:
        graph.vpush(frame)
        yield from finished()
    graph.vpush(None)
    yield from finished()
