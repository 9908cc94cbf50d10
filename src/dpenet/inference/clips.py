"""A clip to a clip: decoded, derained and encoded at the same time, segment by segment."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from dpenet.atomic import atomic_path
from dpenet.errors import DpenetError, PictureError, UsageError
from dpenet.inference.moving import (
    Frame,
    Hand,
    Pixels,
    TemporalFilter,
    derained,
    steadied,
    turns,
)
from dpenet.inference.parts import drop_useless, finished, part_path, plan
from dpenet.inference.pipeline import awaited
from dpenet.media.colour import Colours, output_format, sample_bits
from dpenet.media.encoders import find_encoder
from dpenet.media.files import make_folder
from dpenet.media.frames import Damage, read_frames
from dpenet.media.frames import decode as decode_frames
from dpenet.media.hdr import light_of, with_light
from dpenet.media.joining import container_for, join, unfit_streams
from dpenet.media.segments import Part, PartWriter
from dpenet.media.video import Clip, Segment, open_clip, picture_stream, survey

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer


@dataclass(frozen=True)
class ClipOptions:
    """How a clip is read and written.

    Attributes:
        codec: Encoder or codec; None takes the source's own kind, or H.264.
        quality: On the encoder's scale, less is better; None for its usual one.
        preset: The encoder's own name for how fast it is; None for its usual one.
        start: Seconds to begin at.
        end: Seconds to end before.
        deinterlace: Whether an interlaced source may be read, each two fields as a frame.

    Raises:
        UsageError: If start or end are no times.
    """

    codec: str | None = None
    quality: float | None = None
    preset: str | None = None
    start: float | None = None
    end: float | None = None
    deinterlace: bool = False

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            seconds = getattr(self, name)
            if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
                raise UsageError(f"--{name} takes seconds, 0 or more, not {seconds}")


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
        light_kept: Whether the encoder wrote what an HDR source says of its light.
    """

    frames: int
    damaged: int
    resumed: int
    left_out: tuple[int, ...]
    aspect_kept: bool = True
    depth_kept: bool = True
    light_kept: bool = True


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
    found: Callable[[int], None] = lambda frames: None,
    advance: Callable[[int], None] = lambda frames: None,
) -> Outcome:
    """Derain a clip; sound, subtitles, chapters, metadata and timestamps are kept.

    Finished segments lie in a hidden folder beside the target until the clip is complete, and
    stay there if it is interrupted, or fails for a reason that may pass.

    Args:
        derainer: What derains.
        clip: From `look_at`.
        target: The clip to write, whole or not at all.
        options: How.
        overwrite: Whether the target may be replaced.
        resume: Whether finished segments of an interrupted run are taken over. Only those of the
            same source, model and options are; threads, tiles and memory may differ.
        temporal: Makes a filter that steadies a segment.
        found: Called once before any work, with the number of frames that are taken over.
        advance: Called after each frame that is done, with their number.

    Raises:
        PictureError: If the source cannot be read, or the target cannot be written.
        UsageError: If there is no such encoder or container.
    """
    encoder = find_encoder(clip.codec, options.codec, options.quality, options.preset)
    encoder = with_light(encoder, clip.light)
    pixel_format = output_format(clip.pixel_format, list(encoder.formats))
    container = container_for(target)
    if target.exists() and not overwrite:
        raise PictureError(f"{target}: exists already; --overwrite replaces it")
    folder = target.with_name(f".{target.name}.parts")
    encoding = repr((options, encoder, pixel_format, container, bool(temporal)))
    colours = Colours(pixel_format)
    damages = {segment.number: Damage() for segment in clip.segments}

    def encode(segment: Segment, frames: Iterator[Frame]) -> Callable[[], Part]:
        """Encode a segment; what is returned finishes it."""
        path = part_path(folder, segment)
        with ExitStack() as stack:
            writer = stack.enter_context(PartWriter(clip, encoder, pixel_format, path, container))
            for one in steadied(frames, temporal() if temporal else None):
                writer.write(colours.changed(one.frame, one.rainy, one.clean))
                advance(1)
            stack.pop_all()  # from here on it is `finish` that closes the writer
        return partial(writer.finish, damages[segment.number].frames)

    def decode(segments: Iterable[Segment]) -> Iterator[Frame]:
        for segment in segments:
            damage = damages[segment.number]
            for frame in read_frames(clip, segment, damage, deinterlace=options.deinterlace):
                rainy = colours.to_rgb(frame)
                yield Frame(segment, frame, rainy, rainy)

    with _told(target):
        make_folder(target.parent)
        unfit = unfit_streams(clip, encoder, pixel_format, target)
    with _cleaning(folder, clip), _told(target):
        made = finished(folder, plan(derainer, clip, encoding), clip, resume=resume)
        resumed = sum(len(part.stamps) for part in made.values())
        found(resumed)
        advance(resumed)
        rest = [segment for segment in clip.segments if segment.number not in made]
        hand = Hand.of_clip(derainer, clip)
        # An encoder holds dozens of frames back to the end of a segment. The network does not wait
        # for those: the next segment is computed meanwhile.
        finishing: dict[int, Future[Part]] = {}
        with (
            ThreadPoolExecutor(1, "dpenet-finish") as beside,
            closing(derained(derainer, decode(rest), hand)) as frames,
        ):
            for segment, group in groupby(frames, key=lambda one: one.segment):
                latest = beside.submit(encode(segment, group))
                made |= {number: awaited(part) for number, part in finishing.items()}
                finishing = {segment.number: latest}
            made |= {number: awaited(part) for number, part in finishing.items()}
        parts = [made[number] for number in sorted(made)]
        # Among the parts, so that what a killed run leaves of a long clip goes when they do.
        with atomic_path(target, folder) as temporary:
            join(clip, parts, temporary, unfit)
            aspect, light = _kept(temporary, clip)
    shutil.rmtree(folder, ignore_errors=True)
    damaged = clip.missing + sum(part.damaged for part in parts)
    damaged += sum(one.frames for number, one in damages.items() if number not in made)
    return Outcome(
        frames=sum(len(part.stamps) for part in parts),
        damaged=damaged,
        resumed=resumed,
        left_out=tuple(sorted(unfit)),
        aspect_kept=aspect,
        depth_kept=sample_bits(pixel_format) >= sample_bits(clip.pixel_format),
        light_kept=light,
    )


@contextmanager
def _told(target: Path) -> Iterator[None]:
    """Make one line of what the file system and FFmpeg say."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        raise PictureError(f"{target}: cannot be written: {error.strerror or error}") from error


@contextmanager
def _cleaning(folder: Path, clip: Clip) -> Iterator[None]:
    """Where a clip fails, keep finished parts if they are of use, and say so."""
    try:
        yield
    except DpenetError as error:
        # What is wrong with the source itself comes again; memory and disks can be had.
        lasting = isinstance(error, PictureError) and error.__cause__ is None
        if not (kept := drop_useless(folder, clip, lasting=lasting)):
            raise
        raise PictureError(
            f"{error}; {kept} frames are finished, and the same command with --resume goes on"
        ) from error.__cause__
    except BaseException:
        drop_useless(folder, clip, lasting=False)
        raise


def _kept(path: Path, clip: Clip) -> tuple[bool, bool]:
    """Whether a finished clip has the pixel aspect and the light of its source."""
    with open_clip(path) as container:
        stream = picture_stream(container)
        aspect = (stream.sample_aspect_ratio or 1) == (clip.pixel_aspect or 1)
        first = next(decode_frames(container, stream), None) if any(clip.light) else None
        return aspect, first is None or light_of(first) == clip.light


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
        rainy = np.rot90(colours.to_rgb(frame), turns(frame))
        rows.append(np.hstack((rainy, derainer.derain_pixels(rainy))))
    if not rows:
        raise PictureError(f"{clip.path}: no frame of it can be decoded")
    return np.vstack(rows)
