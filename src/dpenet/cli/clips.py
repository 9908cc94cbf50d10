"""The part of ``dpenet derain`` that is about clips."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from dpenet.cli.console import Stopwatch, duration, frame_progress, say
from dpenet.cli.records import Record
from dpenet.errors import DpenetError, UsageError

if TYPE_CHECKING:
    from dpenet.inference.clips import ClipOptions
    from dpenet.inference.derainer import Derainer
    from dpenet.inference.temporal import TemporalFilter
    from dpenet.media.jobs import Job
    from dpenet.media.video import Clip

LONG_CLIP_SECONDS = 60.0
_FASTER = 0.8
# What is chosen for clips, and a pipe has no place for.
_NOT_PIPED = ("codec", "crf", "preset", "start", "end", "deinterlace", "resume")


class ClipChoices(NamedTuple):
    """What the command line says about clips."""

    codec: str | None
    crf: float | None
    preset: str | None
    start: float | None
    end: float | None
    deinterlace: bool
    preview: int | None
    resume: bool
    raw: str | None
    temporal: bool

    def options(self) -> ClipOptions:
        """How clips are to be read and written."""
        from dpenet.inference.clips import ClipOptions

        return ClipOptions(
            self.codec, self.crf, self.preset, self.start, self.end, self.deinterlace
        )

    @property
    def steady(self) -> Callable[[], TemporalFilter] | None:
        """What makes the filter of a segment, if one is wanted."""
        from dpenet.inference.temporal import TemporalFilter

        return TemporalFilter if self.temporal else None


def clip_jobs(jobs: Sequence[Job], choices: ClipChoices) -> list[Job]:
    """The jobs with those for clips made fit: all of them if there is a preview to make.

    Raises:
        UsageError: If a clip is asked for what only pictures have.
        MissingExtraError: If there are clips, and PyAV is not installed.
    """
    from dpenet.media.containers import is_clip, need_video
    from dpenet.media.formats import WRITTEN
    from dpenet.media.jobs import PREVIEW

    out = []
    for job in jobs:
        if job.source is not None and is_clip(job.source):
            need_video()
            if job.rain is not None:
                raise UsageError(f"{job.source}: --save-rain is for pictures, and this is a clip")
            if job.compare:
                raise UsageError(f"{job.source}: --compare is for pictures; --preview shows a clip")
            if job.target is None:
                raise UsageError(f"{job.source}: name a file for the clip; a pipe takes Y4M from -")
            if choices.preview and job.target.suffix.lower() not in WRITTEN:
                name = f"{job.source.stem}{PREVIEW}.png"
                job = replace(job, target=job.target.with_name(name))
        elif choices.preview:
            raise UsageError(f"{job.source or '-'}: --preview is for clips")
        out.append(job)
    return out


def derain_clips(
    jobs: Sequence[Job],
    derainer: Derainer,
    choices: ClipChoices,
    *,
    overwrite: bool,
) -> Generator[Record]:
    """Do the jobs one after another; what goes wrong with one is in its record."""
    if not jobs:
        return  # without what only clips need
    from dpenet.inference.clips import derain_clip, look_at, preview
    from dpenet.media.images import Picture, write_picture

    options = choices.options()
    for job in jobs:
        assert job.source is not None and job.target is not None
        watch = Stopwatch()
        one = Record.of(job, "done", derainer)
        try:
            clip = look_at(job.source, options)
            one.width, one.height = clip.width, clip.height
            if choices.preview:
                pixels = preview(derainer, clip, choices.preview, deinterlace=options.deinterlace)
                write_picture(Picture(pixels), job.target, overwrite=overwrite)
            else:
                _announce(clip, derainer)
                with frame_progress(clip.frames, str(job.source)) as advance:
                    outcome = derain_clip(
                        derainer,
                        clip,
                        job.target,
                        options,
                        overwrite=overwrite,
                        resume=choices.resume,
                        temporal=choices.steady,
                        found=partial(_tell_found, clip) if choices.resume else lambda frames: None,
                        advance=advance,
                    )
                one.frames = outcome.frames
                _report(clip, outcome)
        except DpenetError as error:
            one.fail(error)
        except KeyboardInterrupt:
            if not choices.preview:
                say(f"{job.source}: interrupted; the same command with --resume goes on")
            raise
        one.seconds = round(watch.seconds, 3)
        say(str(one))
        yield one


def derain_pipe(derainer: Derainer, choices: ClipChoices, target: Path | None) -> tuple[int, int]:
    """Derain a clip from standard input to standard output; returns height and width.

    Raises:
        UsageError: If ``target`` is a file, or an option or the clip is not fit for a pipe.
        PictureError: If the input is damaged.
    """
    from dpenet.inference.pipes import derain_stream
    from dpenet.media.containers import need_video

    need_video()
    if target is not None:
        raise UsageError("a clip from standard input goes to standard output, as it came")
    for name in _NOT_PIPED:
        value = getattr(choices, name)
        if value is not None and value is not False:
            raise UsageError(f"--{name} is for clips in files, and - is a pipe")
    height, width, damaged = derain_stream(
        derainer, sys.stdin.buffer, sys.stdout.buffer, raw=choices.raw, temporal=choices.steady
    )
    if damaged:
        say(f"-: {damaged} frames were damaged or cut short")
    return height, width


def is_piped_clip(choices: ClipChoices) -> bool:
    """Whether standard input holds a clip. It can still be read from its beginning."""
    from dpenet.media.containers import HEAD_BYTES, is_clip

    if choices.raw is not None:
        return True
    given: Any = sys.stdin.buffer
    if given.seekable():
        return is_clip(given.peek(HEAD_BYTES)[:HEAD_BYTES])
    head = b""
    # A pipe gives what there is, which may be less.
    while len(head) < HEAD_BYTES and (more := given.read1(HEAD_BYTES - len(head))):
        head += more
    sys.stdin = io.TextIOWrapper(io.BufferedReader(_Unread(head, sys.stdin)))
    return is_clip(head)


class _Unread(io.RawIOBase):
    """A stream from which nothing has been read yet, made of its beginning and the rest."""

    def __init__(self, head: bytes, rest: TextIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        rest: Any = self._rest.buffer
        data = self._head[: len(buffer)] or rest.read1(len(buffer))
        self._head = self._head[len(data) :]
        buffer[: len(data)] = data
        return len(data)


def _tell_found(clip: Clip, frames: int) -> None:
    if frames:
        say(f"{clip.path}: {frames} of {clip.frames} frames are there from before")
    else:
        say(f"{clip.path}: nothing to resume: no part is finished with this model and options")


def _announce(clip: Clip, derainer: Derainer) -> None:
    """Say how long a clip will take, and a long one how long in other ways."""
    from dpenet.media.hdr import hdr_name

    seconds = clip.frames * derainer.estimate_seconds(clip.height, clip.width)
    kind = f"{derainer.weights.name}, {derainer.precision}, {derainer.device}"
    say(
        f"{clip.path}: {clip.frames} frames of {clip.width} x {clip.height}: "
        f"about {duration(seconds)} ({kind})"
    )
    if name := hdr_name(clip.colour[2]):
        say(f"{clip.path}: is HDR ({name}), which no model has learnt: see --preview first")
    if seconds > LONG_CLIP_SECONDS:
        for option, shorter in _faster(clip, derainer, seconds):
            say(f"  with {option}: about {duration(shorter)}")


def _faster(clip: Clip, derainer: Derainer, seconds: float) -> Iterator[tuple[str, float]]:
    """Other ways to derain a clip that would take clearly less time."""
    from dpenet.inference.derainer import Derainer
    from dpenet.inference.options import PRECISIONS
    from dpenet.zoo.table import MODELS

    given = derainer.options
    others: dict[str, dict[str, Any]] = {
        f"--model {card.name}": {"model": card.name}
        for card in MODELS.values()
        if card.embedded and card.name != given.model
    }
    others |= {
        f"--precision {name}": {"precision": name}
        for name in PRECISIONS
        if name not in ("auto", derainer.precision)
    }
    if given.stage == 2:
        others["--stage 1"] = {"stage": 1}
    for option, change in others.items():
        try:
            options: Any = vars(given) | change
            shorter = clip.frames * Derainer(**options).estimate_seconds(clip.height, clip.width)
        except DpenetError:
            continue  # this machine cannot do that
        if shorter < _FASTER * seconds:
            yield option, shorter


def _report(clip: Clip, outcome: Any) -> None:
    if outcome.damaged:
        say(f"{clip.path}: {outcome.damaged} frames were damaged or missing")
    if not outcome.aspect_kept:
        say(f"{clip.path}: its pixels are {clip.pixel_aspect} wide, which got lost; use .mp4")
    if not outcome.depth_kept:
        say(f"{clip.path}: rounded, the codec has fewer bits; --codec libx265 or ffv1 keeps them")
    if not outcome.light_kept:
        say(f"{clip.path}: what it says of its light (HDR) got lost; --codec libx265 keeps it")
    for stream in outcome.left_out:
        say(f"{clip.path}: stream {stream}, of data, has no place in this container: left out")
