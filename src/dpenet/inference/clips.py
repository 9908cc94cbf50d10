"""A clip to a clip: decoded, derained and encoded at the same time, segment by segment."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from dpenet.atomic import atomic_path
from dpenet.errors import PictureError, UsageError
from dpenet.inference.pipeline import in_order
from dpenet.media.colour import Colours, output_format, sample_bits
from dpenet.media.encoders import find_encoder
from dpenet.media.joining import container_for, join, unfit_streams
from dpenet.media.segments import Part, PartWriter
from dpenet.media.video import (
    DEMUXERS,
    Clip,
    Damage,
    Segment,
    open_clip,
    picture_stream,
    read_frames,
    survey,
)

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer
    from dpenet.zoo import Weights

Pixels = NDArray[Any]
_PLAN = "plan.json"


class TemporalFilter(Protocol):
    """Steadies the frames of a segment. Made anew for each."""

    def push(self, rainy: Pixels, clean: Pixels) -> list[Pixels]:
        """Take a frame as it was and without rain; return the results that are ready, in order."""

    def flush(self) -> list[Pixels]:
        """The results that are still missing."""


@dataclass(frozen=True)
class ClipOptions:
    """How a clip is read and written.

    Attributes:
        codec: Encoder or codec; None takes the source's own kind, or H.264.
        quality: On the encoder's scale, less is better; None for its usual one.
        start: Seconds to begin at.
        end: Seconds to end before.
        deinterlace: Whether an interlaced source may be read, each two fields as a frame.
    """

    codec: str | None = None
    quality: float | None = None
    start: float | None = None
    end: float | None = None
    deinterlace: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a clip.

    Attributes:
        frames: How many were written.
        damaged: How many of the source were damaged or missing.
        resumed: How many were there from an earlier run.
        left_out: Numbers of streams of data that the container has no place for.
        aspect_kept: Whether the container and codec have a place for the aspect of the pixels.
        depth_kept: Whether the codec has samples of as many bits as the source's.
    """

    frames: int
    damaged: int
    resumed: int
    left_out: tuple[int, ...]
    aspect_kept: bool = True
    depth_kept: bool = True


def look_at(source: Path, options: ClipOptions) -> Clip:
    """What a clip holds, if it can be derained with these options.

    Raises:
        PictureError: If it cannot be read.
        UsageError: If it is interlaced and may not be.
    """
    clip = survey(source, options.start, options.end)
    if clip.interlaced and not options.deinterlace:
        raise UsageError(
            f"{source}: is interlaced; --deinterlace makes progressive frames of its fields"
        )
    return clip


def derain_clip(
    derainer: Derainer,
    clip: Clip,
    target: Path,
    options: ClipOptions = ClipOptions(),
    *,
    overwrite: bool = False,
    resume: bool = False,
    temporal: Callable[[], TemporalFilter] | None = None,
    advance: Callable[[int], None] = lambda frames: None,
) -> Outcome:
    """Derain a clip; sound, subtitles, chapters, metadata and timestamps are kept.

    Finished segments lie in a hidden folder beside the target until the clip is complete, and
    stay there if it is interrupted.

    Args:
        derainer: What derains.
        clip: From `look_at`.
        target: The clip to write, whole or not at all.
        options: How.
        overwrite: Whether the target may be replaced.
        resume: Whether finished segments of an interrupted run are taken over. Only those of the
            same source, model and options are.
        temporal: Makes a filter that steadies a segment.
        advance: Called after each frame that is done, with their number.

    Raises:
        PictureError: If the source cannot be read, or the target cannot be written.
        UsageError: If there is no such encoder or container.
    """
    encoder = find_encoder(clip.codec, options.codec, options.quality)
    pixel_format = output_format(clip.pixel_format, list(encoder.formats))
    container = container_for(target)
    if target.exists() and not overwrite:
        raise PictureError(f"{target}: exists already; --overwrite replaces it")
    unfit = unfit_streams(clip, encoder, pixel_format, target)
    folder = target.with_name(f".{target.name}.parts")
    plan = _plan(derainer, clip, options, repr((encoder, pixel_format, container, bool(temporal))))
    try:
        parts = _finished(folder, plan, clip, resume=resume)
        resumed = sum(len(part.stamps) for part in parts.values())
        advance(resumed)
        colours = Colours(pixel_format)

        damages = {segment.number: Damage() for segment in clip.segments}

        def encode(segment: Segment, frames: Iterator[_Frame]) -> Part:
            path = _part(folder, segment)
            with PartWriter(clip, encoder, pixel_format, path, container) as writer:
                for one in _steadied(frames, temporal() if temporal else None):
                    writer.write(colours.changed(one.frame, one.rainy, one.clean))
                    advance(1)
                return writer.finish(damages[segment.number].frames)

        def decode() -> Iterator[_Frame]:
            for segment in clip.segments:
                if segment.number not in parts:
                    damage = damages[segment.number]
                    for frame in read_frames(
                        clip, segment, damage, deinterlace=options.deinterlace
                    ):
                        rainy = colours.to_rgb(frame)
                        yield _Frame(segment, frame, rainy, rainy)

        made = dict(parts)
        with closing(_derained(derainer, decode())) as frames:
            for segment, group in groupby(frames, key=lambda one: one.segment):
                made[segment.number] = encode(segment, group)
        ordered = [made[number] for number in sorted(made)]
        # Among the parts, so that what a killed run leaves of a long clip goes when they do.
        with atomic_path(target, folder) as temporary:
            join(clip, ordered, temporary, unfit)
            with open_clip(temporary) as result:
                aspect = picture_stream(result).sample_aspect_ratio
    except (OSError, av.FFmpegError) as error:
        reason = error.strerror or str(error)
        raise PictureError(f"{target}: cannot be written: {reason}") from error
    shutil.rmtree(folder, ignore_errors=True)
    written = sum(len(part.stamps) for part in ordered)
    damaged = clip.missing + sum(part.damaged for part in ordered)
    damaged += sum(one.frames for number, one in damages.items() if number not in made)
    return Outcome(
        frames=written,
        damaged=damaged,
        resumed=resumed,
        left_out=tuple(sorted(unfit)),
        aspect_kept=(aspect or 1) == (clip.pixel_aspect or 1),
        depth_kept=sample_bits(pixel_format) >= sample_bits(clip.pixel_format),
    )


def preview(derainer: Derainer, clip: Clip, count: int, *, deinterlace: bool = False) -> Pixels:
    """The first frames of a clip, one below the other: rainy on the left, derained on the right.

    Returns:
        (count * H, 2 * W, 3), uint8 or uint16; H and W as the clip is seen.

    Raises:
        PictureError: If no frame can be decoded.
    """
    colours = Colours("rgb24")
    damage = Damage()
    frames = (
        frame
        for segment in clip.segments
        for frame in read_frames(clip, segment, damage, deinterlace=deinterlace)
    )
    rows = []
    for frame in islice(frames, count):
        rainy = np.rot90(colours.to_rgb(frame), _turns(frame))
        rows.append(np.hstack((rainy, derainer.derain_pixels(rainy))))
    if not rows:
        raise PictureError(f"{clip.path}: no frame of it can be decoded")
    return np.vstack(rows)


def derain_stream(
    derainer: Derainer,
    source: IO[bytes],
    target: IO[bytes],
    *,
    raw: str | None = None,
    temporal: Callable[[], TemporalFilter] | None = None,
) -> tuple[int, int]:
    """Derain frames from one pipe to another, as they come.

    Args:
        derainer: What derains.
        source: A clip in Y4M, or any container that needs no seeking; its picture alone is read.
        target: Gets Y4M.
        raw: Size, as in ``640x480``, of frames of bare rgb24 pixels, in both pipes.
        temporal: Makes a filter that steadies the clip.

    Returns:
        Height and width.

    Raises:
        PictureError: If the input is damaged.
        UsageError: If it is interlaced, or ``raw`` is no size.
    """
    bare = raw is not None
    if raw is not None and not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", raw):
        raise UsageError(f"--raw takes a size such as 640x480, not {raw!r}")
    try:
        with (
            av.open(
                source,
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
            return _stream(derainer, given, out, temporal() if temporal else None)
    except av.FFmpegError as error:
        raise PictureError(f"standard input: {error.strerror or error}") from error


def _stream(
    derainer: Derainer,
    given: av.container.InputContainer,
    out: av.container.OutputContainer,
    filter_: TemporalFilter | None,
) -> tuple[int, int]:
    stream = picture_stream(given)
    context: Any = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    made: Any = out.add_stream("rawvideo", rate=rate)
    made.width, made.height, made.pix_fmt = context.width, context.height, context.pix_fmt
    made.sample_aspect_ratio = stream.sample_aspect_ratio or 0
    made.color_range = context.color_range
    colours = Colours(context.pix_fmt)
    segment = Segment(0, None, None, 0)

    def decode() -> Iterator[_Frame]:
        for frame in given.decode(stream):
            if frame.interlaced_frame:
                raise UsageError("standard input: is interlaced; deinterlace it before the pipe")
            rainy = colours.to_rgb(frame)
            yield _Frame(segment, frame, rainy, rainy)

    with closing(_derained(derainer, decode())) as frames:
        for number, one in enumerate(_steadied(frames, filter_)):
            frame = colours.changed(one.frame, one.rainy, one.clean)
            frame.pts, frame.time_base = number, 1 / rate
            out.mux(made.encode(frame))
    out.mux(made.encode())
    return context.height, context.width


@dataclass
class _Frame:
    """A frame on its way."""

    segment: Segment
    frame: av.VideoFrame
    rainy: Pixels
    clean: Pixels


def _derained(derainer: Derainer, work: Iterable[_Frame]) -> Generator[_Frame]:
    """Derain frames on threads, while the thread that iterates decodes and encodes."""

    def derain(one: _Frame) -> _Frame:
        # Upright, as it will be seen: rain falls from above in what the network has learnt.
        turns = _turns(one.frame)
        clean = derainer.derain_pixels(np.rot90(one.rainy, turns))
        one.clean = np.ascontiguousarray(np.rot90(clean, -turns))
        return one

    threads = derainer.options.threads or os.cpu_count() or 1
    return in_order(derain, work, threads + 1)


def _turns(frame: av.VideoFrame) -> int:
    """Quarter turns counterclockwise after which a frame is seen."""
    return round(frame.rotation / 90)


def _steadied(frames: Iterator[_Frame], filter_: TemporalFilter | None) -> Iterator[_Frame]:
    """Hand the frames of a segment through a filter, which may hold some of them back."""
    if filter_ is None:
        yield from frames
        return
    waiting: list[_Frame] = []

    def ready(results: list[Pixels]) -> Iterator[_Frame]:
        for clean in results:
            one = waiting.pop(0)
            one.clean = clean
            yield one

    for one in frames:
        waiting.append(one)
        yield from ready(filter_.push(one.rainy, one.clean))
    yield from ready(filter_.flush())


def _plan(derainer: Derainer, clip: Clip, options: ClipOptions, encoding: str) -> str:
    """All that the parts depend on, as text."""
    state = clip.path.stat()
    return json.dumps(
        {
            "source": [str(clip.path.absolute()), state.st_size, state.st_mtime_ns],
            "segments": [segment.start for segment in clip.segments],
            "derainer": [repr(derainer.options), derainer.precision, _digest(derainer.weights)],
            "options": repr(options),
            "encoding": encoding,
        }
    )


def _digest(weights: Weights) -> str:
    digest = hashlib.sha256()
    for key, array in sorted(weights.state.items()):
        digest.update(key.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _part(folder: Path, segment: Segment) -> Path:
    return folder / f"{segment.number:06}.part"


def _finished(folder: Path, plan: str, clip: Clip, *, resume: bool) -> dict[int, Part]:
    """The parts that an earlier run left, if they are of use; else an empty folder for new ones."""
    note = folder / _PLAN
    if resume and note.is_file() and note.read_text(encoding="utf-8") == plan:
        found = {one.number: Part.load(_part(folder, one)) for one in clip.segments}
        return {number: part for number, part in found.items() if part is not None}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with atomic_path(note) as temporary:
        temporary.write_text(plan, encoding="utf-8")
    return {}
