"""The frames of a clip, decoded one closed segment at a time."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import inf

import av
from av.container import InputContainer
from av.filter import Graph
from av.video.stream import VideoStream

from dpenet.errors import PictureError
from dpenet.media.video import Clip, Segment, open_clip, packets, picture_stream

_OUTPUT_CORRUPT = 8  # AV_CODEC_FLAG_OUTPUT_CORRUPT: what was concealed is shown, as ffmpeg does
_TRIES = 4
# So many frames of another size, one after another, are no damage: that of a header lasts until the
# next.
_ODD_FRAMES = 30
# So many frames without a timestamp are held until one that has one comes.
_MOST_WAITING = 16
# Codecs store whole blocks: tiny frames are far larger than what is shown of them.
_PADDING = 1 << 16


@dataclass
class Damage:
    """Frames that could not be decoded, or not as they were.

    Attributes:
        frames: How many.
    """

    frames: int = 0


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
        # What claims to be far larger than the clip costs no memory: it is damage, or a trap.
        stream.codec_context.options = {"max_pixels": str(4 * clip.width * clip.height + _PADDING)}
        _seek(container, stream, segment)
        frames = _of_one_size(_timed(container, stream, clip, segment), clip)
        if deinterlace:
            frames = _progressive(_within(frames, segment), stream)
        count = 0
        for frame in _within(frames, segment):
            count += 1
            damage.frames += frame.is_corrupt
            yield frame
        damage.frames += max(0, segment.frames - count)


def decode(
    container: InputContainer,
    stream: VideoStream,
    *,
    fed: list[int] | None = None,
    damage: Damage | None = None,
) -> Iterator[av.VideoFrame]:
    """Decode a stream to its end, passing over what cannot be.

    Args:
        container: The clip.
        stream: Of it.
        fed: A heap, which gets the timestamps of the packets.
        damage: Counts what is passed over.
    """
    ended = False
    for packet in packets(container, [stream]):
        ended = not packet.size
        if fed is not None and packet.pts is not None and packet.size:
            heapq.heappush(fed, packet.pts)
        try:
            frames = packet.decode()
        except av.FFmpegError:
            if damage is not None:
                damage.frames += 1
            continue
        yield from frames
    if not ended:
        with suppress(av.FFmpegError):
            yield from stream.codec_context.decode(None)


def _seek(container: InputContainer, stream: VideoStream, segment: Segment) -> None:
    """Go to a key frame at or before the segment's first frame, where the file can do that."""
    if segment.start is None or segment.number == 0:
        return
    back = 0
    for _ in range(_TRIES):
        try:
            container.seek(segment.start - back, stream=stream)
        except av.FFmpegError:
            break
        packet = next(packets(container, [stream]), None)
        if packet is None:
            break
        if packet.is_keyframe and packet.pts is not None and packet.pts <= segment.start:
            container.seek(segment.start - back, stream=stream)
            return
        back = 4 * back or round(2 / (stream.time_base or 1))
    container.seek(container.start_time or 0)


def _timed(
    container: InputContainer, stream: VideoStream, clip: Clip, segment: Segment
) -> Iterator[av.VideoFrame]:
    """Frames with timestamps that rise."""
    if segment.start is None:
        first = stream.start_time
        if first is None:  # the sound may have one
            first = round((container.start_time or 0) / av.time_base / clip.time_base)
        for index, frame in enumerate(decode(container, stream)):
            frame.pts = first + round(index / clip.rate / clip.time_base)
            frame.time_base = clip.time_base
            yield frame
    elif clip.in_decoding_order:
        yield from _sorted(container, stream)
    else:
        yield from _filled(decode(container, stream), clip.last)


def _sorted(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
    """Give frames the timestamps of their packets in the order of rising time."""
    fed: list[int] = []
    last: int | None = None
    for frame in decode(container, stream, fed=fed):
        if frame.key_frame and frame.pts is not None:
            # Those of packets that gave no frame.
            while fed and fed[0] < frame.pts:
                heapq.heappop(fed)
        frame.pts = heapq.heappop(fed) if fed else frame.pts
        if last is not None and (frame.pts is None or frame.pts <= last):
            frame.pts = last + 1
        last = frame.pts
        yield frame


def _filled(frames: Iterable[av.VideoFrame], step: int) -> Iterator[av.VideoFrame]:
    """Spread frames whose timestamps are missing or go back between those before and after.

    Args:
        frames: In the order in which they are shown.
        step: From one to the next where there is nothing to go by.
    """
    waiting: list[av.VideoFrame] = []
    last: int | None = None

    def spread(end: int | None) -> Iterator[av.VideoFrame]:
        nonlocal last
        count = len(waiting)
        for index, frame in enumerate(waiting, 1):
            if last is None:
                frame.pts = (end or 0) - (count + 1 - index) * step
            elif end is None:
                frame.pts = last + step
            else:
                frame.pts = max(last + 1, last + (end - last) // (count + 2 - index))
            last = frame.pts
            yield frame
        waiting.clear()

    for frame, following in _pairs(frames):
        past = -inf if last is None else last
        # Of two in the wrong order, the one that fits between its neighbours is right.
        if (
            frame.pts is None
            or frame.pts <= past
            or past < (inf if following is None else following) <= frame.pts
        ):
            waiting.append(frame)
            if len(waiting) >= _MOST_WAITING:
                yield from spread(None)
            continue
        yield from spread(frame.pts)
        frame.pts = last = frame.pts if last is None else max(frame.pts, last + 1)
        yield frame
    yield from spread(None)


def _pairs(frames: Iterable[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, int | None]]:
    """Frames, each with the timestamp of the next."""
    held: av.VideoFrame | None = None
    for frame in frames:
        if held is not None:
            yield held, frame.pts
        held = frame
    if held is not None:
        yield held, None


def _of_one_size(frames: Iterable[av.VideoFrame], clip: Clip) -> Iterator[av.VideoFrame]:
    """Leave out frames of another size, which are damaged unless there are several."""
    odd = 0
    for frame in frames:
        if (frame.width, frame.height) == (clip.width, clip.height):
            odd = 0
            yield frame
            continue
        odd += 1
        if odd == _ODD_FRAMES:
            raise PictureError(
                f"{clip.path}: its picture changes from {clip.width} x {clip.height} to "
                f"{frame.width} x {frame.height}, and only clips of one size are derained"
            )


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
