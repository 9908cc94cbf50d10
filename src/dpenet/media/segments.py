"""Segments of a clip, encoded apart: each a file that is finished or not there."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.codec import Codec
from av.container import OutputContainer
from av.packet import Packet

from dpenet.atomic import atomic_path
from dpenet.errors import PictureError, UsageError
from dpenet.media.encoders import Encoder
from dpenet.media.video import COLOUR, Clip

MILLISECOND = Fraction(1, 1000)
_GLOBAL_HEADER, _WANTS_GLOBAL_HEADER = 1 << 22, 1 << 6  # AV_CODEC_FLAG_..., AVFMT_GLOBALHEADER
# In a container without a global header, their packets carry a start code and all parameters, which
# Matroska takes away.
_WITH_START_CODES = ("h264", "hevc")
# What holds the parts, in this order: QuickTime has a place for a few codecs that no other has.
_PART_CONTAINERS = ("matroska", "nut", "mov")
_MOST_DELAY = 64  # frames, and more than any encoder reorders by
_UPRIGHT = struct.pack("=9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


@dataclass(frozen=True)
class Part:
    """An encoded segment.

    Attributes:
        path: The file, with the numbers of the frames as milliseconds.
        stamps: The real timestamps of the frames.
        delay: By how many frames the encoder reorders.
        damaged: How many of the frames were damaged in the source.
        matrix: The display matrix, 9 integers; empty if there is none.
    """

    path: Path
    stamps: tuple[int, ...]
    delay: int
    damaged: int
    matrix: tuple[int, ...]

    @classmethod
    def load(cls, path: Path) -> Part | None:
        """A part that was finished, or None."""
        try:
            note = json.loads(_note(path).read_bytes())
        except (OSError, ValueError):
            return None
        return cls(path, tuple(note.pop("stamps")), matrix=tuple(note.pop("matrix")), **note)


class PartWriter:
    """Encodes the frames of a segment. A context: what is not finished in it is gone after it.

    Args:
        clip: The source.
        encoder: From `dpenet.media.encoders.find_encoder`.
        pixel_format: Of the frames that will come.
        path: Where the part goes.
        container: Name of the container that the parts will be joined in.
    """

    def __init__(
        self, clip: Clip, encoder: Encoder, pixel_format: str, path: Path, container: str
    ) -> None:
        self._clip, self._encoder, self._format = clip, encoder, pixel_format
        self._path, self._container = path, container
        self._rate = _rate(clip)
        self._stamps: list[int] = []
        self._matrix: tuple[int, ...] = ()
        self._packets = self._delay = 0
        self._stack = ExitStack()
        self._stream: Any = None

    def __enter__(self) -> PartWriter:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path))
            kind = part_container(self._encoder, self._container)
            # Else NUT counts from the first decoding, not the first frame.
            options = {"avoid_negative_ts": "disabled"}
            self._out = stack.enter_context(
                av.open(str(temporary), "w", format=kind, container_options=options)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def write(self, frame: av.VideoFrame) -> None:
        """Encode a frame."""
        if self._stream is None:
            self._stream = self._open(frame)
        assert frame.pts is not None
        self._stamps.append(frame.pts)
        frame.pts, frame.time_base = len(self._stamps) - 1, 1 / self._rate
        frame.duration = 1
        self._mux(self._stream.encode(frame))

    def finish(self, damaged: int) -> Part:
        """Complete the part; a note beside it, of what the file does not say, comes last."""
        with self._stack:
            if self._stream is not None:
                self._mux(self._stream.encode())
        part = Part(self._path, tuple(self._stamps), self._delay, damaged, self._matrix)
        note = {name: value for name, value in vars(part).items() if name != "path"}
        with atomic_path(_note(self._path)) as temporary:
            temporary.write_text(json.dumps(note), encoding="utf-8")
        return part

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self._delay = max(self._delay, self._packets - packet.pts)
            # Nobody reads it, and that of x265 is a random number for clips of a frame or two.
            packet.dts = self._packets - _MOST_DELAY
            self._packets += 1
            packet.time_base = MILLISECOND
            self._out.mux(packet)

    def _open(self, frame: av.VideoFrame) -> Any:
        stream = _encode_with(self._out, self._clip, self._encoder, self._format)
        if not _has_global_header(self._container):
            stream.codec_context.flags &= ~_GLOBAL_HEADER
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is not None and bytes(matrix) != _UPRIGHT:
            self._matrix = struct.unpack("=9i", bytes(matrix))
        return stream


def blank_part(clip: Clip, encoder: Encoder, pixel_format: str, path: Path, container: str) -> Part:
    """A part of one black frame, made as all others are, to see whether they can be.

    Args:
        clip: The source.
        encoder: To try.
        pixel_format: Of the frames that will come.
        path: Where the part goes.
        container: Name of the container that the parts will be joined in.

    Raises:
        PictureError: If the encoder does not take such frames.
        UsageError: If no container for parts takes what it makes.
    """
    frame = av.VideoFrame(clip.width, clip.height, pixel_format)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts, frame.color_range = 0, clip.colour[0]
    try:
        with PartWriter(clip, encoder, pixel_format, path, container) as writer:
            writer.write(frame)
            return writer.finish(0)
    except (av.FFmpegError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in (EDQUOT, ENOSPC):
            raise
        reason = error.strerror or error if isinstance(error, av.FFmpegError) else error
        raise PictureError(
            f"{clip.path}: {encoder.name} cannot encode {clip.width} x {clip.height} pixels in "
            f"{pixel_format} ({reason}); use another --codec"
        ) from error


def _encode_with(out: OutputContainer, clip: Clip, encoder: Encoder, pixel_format: str) -> Any:
    """Add a stream to a container for the picture of a clip, encoded anew."""
    rate = _rate(clip)
    stream = out.add_stream(encoder.name, rate=rate, options=dict(encoder.options))
    context: Any = stream.codec_context
    context.width, context.height, context.pix_fmt = clip.width, clip.height, pixel_format
    context.time_base = 1 / rate
    mark_pixels(context, clip)
    return stream


def mark_pixels(context: Any, clip: Clip) -> None:
    """Note what the numbers of the pixels mean."""
    context.sample_aspect_ratio = clip.pixel_aspect or 0
    for name, value in zip(COLOUR, clip.colour, strict=True):
        setattr(context, name, value)


def _rate(clip: Clip) -> Fraction:
    """About the mean rate, and one that every encoder takes."""
    return min(max(clip.rate.limit_denominator(1001), Fraction(1)), Fraction(1000))


def part_container(encoder: Encoder, final: str) -> str:
    """A container for the parts that an encoder makes.

    Args:
        encoder: Of the parts.
        final: The container that they will be joined in.

    Raises:
        UsageError: If there is none.
    """
    family = Codec(encoder.name, "w").canonical_name
    plain = family in _WITH_START_CODES and not _has_global_header(final)
    for kind in _PART_CONTAINERS[plain:]:
        with av.open(BytesIO(), "w", format=kind) as container:
            if encoder.name in container.supported_codecs:
                return kind
    raise UsageError(f"{encoder.name} makes no clips that can be joined; use another --codec")


def _has_global_header(container: str) -> bool:
    return bool(av.ContainerFormat(container, "w").flags & _WANTS_GLOBAL_HEADER)


def _note(part: Path) -> Path:
    return part.with_suffix(".json")
