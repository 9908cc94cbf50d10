"""Segments of a clip, encoded apart: each a file that is finished or not there."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet

from dpenet.atomic import atomic_path
from dpenet.media.encoders import Encoder
from dpenet.media.video import COLOUR, Clip

MILLISECOND = Fraction(1, 1000)
_GLOBAL_HEADER, _WANTS_GLOBAL_HEADER = 1 << 22, 1 << 6  # AV_CODEC_FLAG_..., AVFMT_GLOBALHEADER
# Their parameter sets are put where the container wants them; those of others must be there.
_REWRITTEN = ("libx264", "libx265")
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
            kind = _part_container(self._encoder)
            self._out = stack.enter_context(av.open(str(temporary), "w", format=kind))
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
        if self._stream is not None:
            self._mux(self._stream.encode())
        self._stack.close()
        part = Part(self._path, tuple(self._stamps), self._delay, damaged, self._matrix)
        note = {name: value for name, value in vars(part).items() if name != "path"}
        with atomic_path(_note(self._path)) as temporary:
            temporary.write_text(json.dumps(note), encoding="utf-8")
        return part

    def _mux(self, packets: Iterable[Packet[Any]]) -> None:
        for packet in packets:
            assert packet.pts is not None
            self._delay = max(self._delay, self._packets - packet.pts)
            self._packets += 1
            packet.time_base = MILLISECOND
            self._out.mux(packet)

    def _open(self, frame: av.VideoFrame) -> Any:
        stream = encode_with(self._out, self._clip, self._encoder, self._format)
        final = av.ContainerFormat(self._container, "w").flags
        if self._encoder.name not in _REWRITTEN and not final & _WANTS_GLOBAL_HEADER:
            stream.codec_context.flags &= ~_GLOBAL_HEADER
        matrix: Any = frame.side_data.get("DISPLAYMATRIX")
        if matrix is not None and bytes(matrix) != _UPRIGHT:
            self._matrix = struct.unpack("=9i", bytes(matrix))
        return stream


def encode_with(out: OutputContainer, clip: Clip, encoder: Encoder, pixel_format: str) -> Any:
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


def _part_container(encoder: Encoder) -> str:
    """A container for parts: Matroska holds most codecs, NUT most others."""
    with av.open(BytesIO(), "w", format="matroska") as container:
        return "matroska" if encoder.name in container.supported_codecs else "nut"


def _note(part: Path) -> Path:
    return part.with_suffix(".json")
