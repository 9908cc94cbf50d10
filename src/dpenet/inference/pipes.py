"""Clips through pipes: frames are written as soon as they are derained, and nothing is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from typing import IO, TYPE_CHECKING, Any

import av
from av.container import InputContainer, OutputContainer

from dpenet.errors import PictureError, UsageError
from dpenet.inference.moving import Frame, Hand, TemporalFilter, derained, steadied
from dpenet.media.colour import Colours, sample_bits
from dpenet.media.frames import Damage, decode
from dpenet.media.video import DEMUXERS, Segment, picture_stream
from dpenet.media.y4m import HEAD_BYTES, is_cut_short

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer


def derain_stream(
    derainer: Derainer,
    source: IO[bytes],
    target: IO[bytes],
    *,
    raw: str | None = None,
    temporal: Callable[[], TemporalFilter] | None = None,
) -> tuple[int, int, int]:
    """Derain frames from one pipe to another, as they come.

    What is damaged is left out, or concealed as FFmpeg does.

    Args:
        derainer: What derains.
        source: A clip in Y4M, or any container that needs no seeking; its picture alone is read.
        target: Gets Y4M.
        raw: Size, as in ``640x480``, of frames of bare rgb24 pixels, in both pipes.
        temporal: Makes a filter that steadies the clip.

    Returns:
        Height, width, and how many frames were damaged or cut short.

    Raises:
        PictureError: If the input is no clip, or no frame of it can be decoded.
        UsageError: If it is interlaced, or ``raw`` is no size.
    """
    bare = raw is not None
    if raw is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", raw):
        raise UsageError(f"--raw takes a size such as 640x480, not {raw!r}")
    metered = _Metered(source)
    try:
        with (
            av.open(
                metered,
                "r",
                format="rawvideo" if bare else None,
                container_options={"video_size": raw, "pixel_format": "rgb24"}
                if raw
                else {"format_whitelist": DEMUXERS},
            ) as given,
            av.open(
                target,
                "w",
                format="rawvideo" if bare else "yuv4mpegpipe",
                container_options={"strict": "experimental"},
            ) as out,
        ):
            stream = picture_stream(given)
            damage = Damage()
            count = _derain(derainer, given, out, damage, temporal() if temporal else None)
            height, width = stream.codec_context.height, stream.codec_context.width
            blank = av.VideoFrame(width, height, out.streams.video[0].pix_fmt or "")
            damage.frames += is_cut_short(metered.head, metered.end, count, blank)
    except av.FFmpegError as error:
        raise PictureError(f"standard input: {error.strerror or error}") from error
    if not count:
        raise PictureError("standard input: no frame of it can be decoded")
    return height, width, damage.frames


def _derain(
    derainer: Derainer,
    given: InputContainer,
    out: OutputContainer,
    damage: Damage,
    filter_: TemporalFilter | None,
) -> int:
    """Derain all frames; returns how many there were."""
    stream = picture_stream(given)
    context: Any = stream.codec_context
    height, width, pixel_format = context.height, context.width, context.pix_fmt
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    made: Any = out.add_stream("rawvideo", rate=rate)
    made.width, made.height, made.pix_fmt = width, height, pixel_format
    made.sample_aspect_ratio = stream.sample_aspect_ratio or 0
    made.color_range = context.color_range
    colours = Colours(pixel_format)
    segment = Segment(0, None, None, 0)

    def frames() -> Iterator[Frame]:
        for frame in decode(given, stream, damage=damage):
            if frame.interlaced_frame:
                raise UsageError("standard input: is interlaced; deinterlace it before the pipe")
            if (frame.height, frame.width) != (height, width):
                damage.frames += 1
                continue
            damage.frames += frame.is_corrupt
            rainy = colours.to_rgb(frame)
            yield Frame(segment, frame, rainy, rainy)

    count = 0
    depth = sample_bits(pixel_format)
    hand = Hand.of(derainer, height, width, depth)
    with closing(derained(derainer, frames(), hand)) as clean:
        for one in steadied(clean, filter_):
            frame = colours.changed(one.frame, one.rainy, one.clean)
            frame.pts, frame.time_base = count, 1 / rate
            out.mux(made.encode(frame))
            count += 1
    if count:
        out.mux(made.encode())
    return count


class _Metered:
    """A pipe or file that is read, how it begins, and how far it was read."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source
        self.head = b""
        self._at = self.end = 0

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        if self._at == len(self.head):
            self.head += data[: HEAD_BYTES - len(self.head)]
        self._at += len(data)
        self.end = max(self.end, self._at)
        return data

    def seekable(self) -> bool:
        return self._source.seekable()

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = self._source.seek(offset, whence)
        return self._at

    def tell(self) -> int:
        return self._at
