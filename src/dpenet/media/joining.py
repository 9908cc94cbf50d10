"""Segments of a clip joined without loss, beside all else that the clip has."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import av
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from dpenet.errors import PictureError, UsageError
from dpenet.media.encoders import Encoder
from dpenet.media.segments import MILLISECOND, Part, blank_part, mark_pixels
from dpenet.media.video import Clip, open_clip, packets, picture_stream

_BITEXACT = 1 << 10  # AVFMT_FLAG_BITEXACT
_MP4 = frozenset({"mp4", "mov", "ipod", "3gp", "3g2"})
# What the pixels are is in their tag alone.
_TAGGED = ("prores", "rawvideo", "utvideo")
_CONTAINERS = {
    "264": "h264", "265": "hevc", "m2ts": "mpegts", "m4v": "mp4", "mkv": "matroska",
    "mpeg": "mpeg", "mpg": "mpeg", "mts": "mpegts", "ts": "mpegts", "wmv": "asf",
    "y4m": "yuv4mpegpipe",
}  # fmt: skip
# What MP4 has a place for; anything else needs QuickTime's own table of keys.
_MP4_KEYS = frozenset(
    (
        *("album", "album_artist", "artist", "comment", "composer", "compilation", "copyright"),
        *("creation_time", "date", "description", "disc", "episode_id", "genre", "grouping"),
        *("lyrics", "network", "show", "synopsis", "title", "track"),
    )
)
_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})


def container_for(target: Path) -> str:
    """The container that a file name asks for.

    Raises:
        UsageError: If there is none for its suffix.
    """
    suffix = target.suffix.lower().removeprefix(".")
    name = _CONTAINERS.get(suffix, suffix)
    try:
        if av.ContainerFormat(name, "w").is_output:
            return name
    except ValueError:
        pass
    raise UsageError(f"{target}: no container for clips is called .{suffix}; use .mkv or .mp4")


def unfit_streams(clip: Clip, encoder: Encoder, pixel_format: str, target: Path) -> set[int]:
    """Try out, before any work, whether a container holds all that a clip has.

    Args:
        clip: The source.
        encoder: Of the new picture.
        pixel_format: Of its frames.
        target: Its suffix names the container.

    Returns:
        Numbers of streams of data, other than sound, text and attachments, that it cannot hold.

    Raises:
        PictureError: If the encoder does not take the frames, or the container cannot hold the
            picture or another stream.
        UsageError: If what the encoder makes cannot be joined.
        OSError: If there is no room for the trial.
    """
    with open_clip(clip.path) as source:
        data = {
            stream.index
            for stream in source.streams
            if stream.type in ("data", "unknown") and not _is_rewritten(stream, source)
        }
    reason: Exception | None = None
    with TemporaryDirectory(prefix=f".{target.name[:40]}-", dir=target.parent) as folder:
        part = blank_part(
            clip, encoder, pixel_format, Path(folder, "trial.part"), container_for(target)
        )
        for unfit in [set(), data] if data else [data]:
            try:
                _try_out(clip, part, target, unfit)
                return unfit
            except (av.FFmpegError, ValueError, PictureError) as error:
                reason = error
    raise PictureError(
        f"{clip.path}: does not fit into a {target.suffix} file ({reason}); "
        f"use {'' if target.suffix == '.mkv' else '.mkv, or '}another --codec"
    )


def _try_out(clip: Clip, part: Part, target: Path, unfit: Collection[int]) -> None:
    """Write a part of one frame into a container in memory, with all streams that it is to hold."""
    with (
        open_clip(clip.path) as source,
        av.open(str(part.path)) as first,
        _container(clip, source, BytesIO(), target) as out,
    ):
        picture = _add_streams(clip, source, out, unfit, first, part)[0]
        out.start_encoding()
        for _, packet in _picture_packets(clip, [part], picture):
            out.mux(packet)


def join(clip: Clip, parts: Sequence[Part], target: Path, unfit: Collection[int]) -> None:
    """Write the parts and all other streams of the source into one file.

    Packets are copied as they are; timestamps are those of the source.

    Args:
        clip: The source.
        parts: All its segments, in order.
        target: The file to write.
        unfit: Streams to leave out.

    Raises:
        PictureError: If there is no picture in any part.
        av.FFmpegError: If the file cannot be written.
    """
    parts = [part for part in parts if part.stamps]
    if not parts:
        raise PictureError(f"{clip.path}: no frame of it can be decoded")
    with (
        open_clip(clip.path) as source,
        av.open(str(parts[0].path)) as first,
        _container(clip, source, str(target), target) as out,
    ):
        picture, copies = _add_streams(clip, source, out, unfit, first, parts[0])
        moving = _picture_packets(clip, parts, picture)
        others = _other_packets(clip, source, copies)
        out.start_encoding()
        for _, packet in heapq.merge(moving, others, key=lambda timed: timed[0]):
            out.mux(packet)


def _container(
    clip: Clip, source: InputContainer, file: str | BytesIO, target: Path
) -> OutputContainer:
    metadata = {key: text for key, text in source.metadata.items() if key not in _OF_THE_FILE}
    kind = container_for(target)
    options = {"strict": "experimental"}
    if kind in _MP4:
        flags = ["use_metadata_tags"] * (not metadata.keys() <= _MP4_KEYS)
        flags += ["faststart"] * isinstance(file, str)
        if flags:
            options["movflags"] = "+".join(flags)
        if clip.time_base.numerator == 1:
            options["video_track_timescale"] = str(clip.time_base.denominator)
    out = av.open(file, "w", format=kind, container_options=options)
    out.flags |= _BITEXACT  # no random numbers: the same input, the same bytes
    out.metadata.update(metadata)
    out.set_chapters(_chapters(clip, source))
    return out


def _add_streams(
    clip: Clip,
    source: InputContainer,
    out: OutputContainer,
    unfit: Collection[int],
    encoded: InputContainer,
    part: Part,
) -> tuple[Any, dict[int, Any]]:
    """Add a stream for the new picture, and copies of all others of the source by their numbers."""
    main, new = picture_stream(source).index, encoded.streams.video[0]
    streams: dict[int, Any] = {}
    for stream in source.streams:
        template: Any = new if stream.index == main else stream
        if stream.index in unfit or _is_rewritten(stream, source):
            continue
        made = out.add_stream_from_template(template, opaque=True)
        made.metadata.update(stream.metadata)
        if "name" in stream.metadata:  # how MP4 reads what it writes as the title
            made.metadata.setdefault("title", stream.metadata["name"])
        made.id, made.disposition = stream.id, stream.disposition
        streams[stream.index] = made
    picture = streams.pop(main)
    _dress(picture, clip, part)
    if picture.codec_context.name in _TAGGED:
        picture.codec_context.codec_tag = new.codec_context.codec_tag
    return picture, streams


def _dress(made: Any, clip: Clip, part: Part) -> None:
    """Give the new picture stream all that the source's has beside its pixels."""
    made.set_display_matrix(part.matrix or None)
    made.time_base = clip.time_base
    context = made.codec_context
    context.framerate = clip.rate
    mark_pixels(context, clip)
    if made.container.format.name in _MP4 and context.name == "hevc":
        context.codec_tag = "hvc1"  # the only one that Apple's players know


def _is_rewritten(stream: Stream, source: InputContainer) -> bool:
    """Whether a stream is QuickTime's form of the chapters or the time code, which are kept."""
    chapters = stream.name == "bin_data" and bool(source.chapters())
    return stream.type == "data" and (chapters or "timecode" in stream.metadata)


def _chapters(clip: Clip, source: InputContainer) -> list[Any]:
    chapters: list[Any] = source.chapters()
    if clip.begin is None and clip.end is None:
        return chapters
    first, kept = clip.begin or Fraction(0), []
    for chapter in chapters:
        base = chapter["time_base"]
        start = max(chapter["start"] * base, first)
        end = min(chapter["end"] * base, clip.end or inf)
        if start < end:
            times = {"start": round((start - first) / base), "end": round((end - first) / base)}
            kept.append(chapter | times)
    return kept


def _picture_packets(
    clip: Clip, parts: Sequence[Part], stream: Any
) -> Iterator[tuple[float, Packet[Any]]]:
    shift = round((clip.begin or 0) / clip.time_base)
    stamps = [stamp - shift for part in parts for stamp in part.stamps]
    ends = [*stamps[1:], stamps[-1] + clip.last]
    step = ends[0] - stamps[0]
    delay = max(part.delay for part in parts)
    before = index = 0
    unit = float(clip.time_base)
    for part in parts:
        with av.open(str(part.path)) as container:
            for packet in container.demux(container.streams.video[0]):
                if packet.pts is None or not packet.size:
                    continue
                number = before + round(packet.pts * packet.time_base / MILLISECOND)
                packet.time_base = clip.time_base
                packet.pts = stamps[number]
                # Decoded in the order of the packets, a fixed number of frames ahead.
                late = delay - index
                packet.dts = stamps[0] - late * step if late > 0 else stamps[-late]
                packet.duration = ends[number] - stamps[number]
                packet.stream = stream
                index += 1
                yield packet.dts * unit, packet
        before += len(part.stamps)


def _other_packets(
    clip: Clip, source: InputContainer, copies: dict[int, Stream]
) -> Iterator[tuple[float, Packet[Any]]]:
    if not copies:
        return
    time = 0.0
    # What an edit list cuts off stays in the file; others would play it, and all else later.
    hides = next(iter(copies.values())).container.format.name in _MP4
    for packet in packets(source, [source.streams[index] for index in copies]):
        if not packet.size:
            continue
        if packet.pts is not None:
            base = packet.time_base
            stream: Any = packet.stream
            cover = stream.disposition & Disposition.attached_pic
            if packet.is_discard and not hides:
                continue
            first, end = (-inf if clip.begin is None else clip.begin), (clip.end or inf)
            if not cover and not first <= packet.pts * base < end:
                continue
            shift = 0 if cover else round((clip.begin or 0) / base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            time = packet.dts * float(base)
        packet.stream = copies[packet.stream.index]
        yield time, packet
