"""The part of ``dpenet derain`` that is about pictures."""

from __future__ import annotations

import math
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet.cli.clips import ClipChoices, derain_pipe, is_piped_clip
from dpenet.cli.console import Stopwatch, duration, progress, say, write_output
from dpenet.cli.records import Record

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from dpenet.inference.derainer import Derainer
    from dpenet.media.jobs import Job

LONG_JOB_SECONDS = 10.0
# So few take less than that anywhere, and need no trial run.
SHORT_JOB_PIXELS = 1 << 18
SAMPLED_PICTURES = 64


def derain_pictures(
    jobs: Sequence[Job],
    derainer: Derainer,
    choices: ClipChoices,
    *,
    overwrite: bool,
    at_once: int | None,
    quality: int | None,
) -> Generator[Record]:
    """Do the jobs, several at a time; what goes wrong with one is in its record.

    Args:
        jobs: All of them without clips in files.
        derainer: What derains.
        choices: For clips that come from standard input.
        overwrite: Whether outputs that exist are replaced; otherwise they are kept.
        quality: Of lossy formats; None for that of each source.
        at_once: How many pictures may be in hand; by default as many as there is memory for.
    """
    if not jobs:
        return
    from dpenet.inference.pipeline import in_order

    announce(jobs, derainer)

    def process(job: Job) -> Record:
        return _process(job, derainer, choices, overwrite, quality)

    working = in_order(process, jobs, at_once) if at_once else derainer.each(process, jobs)
    with progress(len(jobs), "pictures") as advance, closing(working) as records:
        for record in records:
            advance(str(record))
            yield record


def announce(jobs: Sequence[Job], derainer: Derainer) -> None:
    """Say how long a long job will take, before it starts."""
    from dpenet.media.images import read_size
    from dpenet.media.pages import find_pages

    # Of many pictures, some stand for all.
    sample = jobs[:: math.ceil(len(jobs) / SAMPLED_PICTURES)]
    sizes = []
    for job in sample:
        if job.source is not None:
            with suppress(Exception):  # reported when its turn comes
                pages = find_pages(job.source)
                sizes.append((read_size(job.source), pages.count if pages else 1))
    share = len(sample) / len(jobs)
    if sum(count * math.prod(size) for size, count in sizes) / share < SHORT_JOB_PIXELS:
        return
    seconds = 0.0
    for size, count in sizes:
        with suppress(Exception):
            seconds += count * derainer.estimate_seconds(*size) / share
    if seconds > LONG_JOB_SECONDS:
        say(
            f"About {duration(seconds)} for {len(jobs)} picture{'s'[: len(jobs) > 1]} "
            f"({derainer.weights.name}, {derainer.precision}, {derainer.device})"
        )


def _process(
    job: Job, derainer: Derainer, choices: ClipChoices, overwrite: bool, quality: int | None
) -> Record:
    """Do one job; what goes wrong with it is in the record, so that the others go on."""
    watch = Stopwatch()
    record = Record.of(job, "done", derainer)
    try:
        if job.source is None and is_piped_clip(choices):
            record.height, record.width = derain_pipe(derainer, choices, job.target)
        else:
            rainy = job.source or sys.stdin.buffer.read()
            if job.target is None or overwrite or not job.target.exists():
                record.height, record.width = _derain(rainy, job, derainer, overwrite, quality)
            for page in job.compare:
                _compare(rainy, job, page, overwrite)
    except BrokenPipeError:
        raise  # nobody reads the output any more
    except Exception as error:
        record.fail(error)
    record.seconds = round(watch.seconds, 3)
    return record


def _derain(
    rainy: Path | bytes, job: Job, derainer: Derainer, overwrite: bool, quality: int | None
) -> tuple[int, int]:
    """Write result and rain, the result last: where it is, the rain is too. Gives height, width."""
    from dpenet.inference.files import derain_content, derain_file
    from dpenet.media.images import (
        at_quality,
        read_picture,
        read_size,
        with_pixels,
        write_picture,
    )

    # There may be one from a run that was killed in between.
    rain = job.rain if job.rain and (overwrite or not job.rain.exists()) else None
    if job.target and isinstance(rainy, Path):
        return derain_file(
            derainer, rainy, job.target, rain=rain, overwrite=overwrite, quality=quality
        )
    if job.target is None:
        write_output(derain_content(derainer, rainy, quality=quality))
        return read_size(rainy)
    picture = at_quality(read_picture(rainy), quality)
    clean = derainer.derain_picture(picture)
    if rain is not None:
        layer = derainer.rain_layer(picture.pixels, clean.pixels)
        write_picture(with_pixels(picture, layer), rain, overwrite=overwrite)
    write_picture(clean, job.target, overwrite=overwrite)
    height, width, _ = picture.pixels.shape
    return height, width


def _compare(rainy: Path | bytes, job: Job, page: Path, overwrite: bool) -> None:
    from dpenet.evaluation.compare import write_comparison

    if job.target is not None and (overwrite or not page.exists()):
        write_comparison(rainy, job.target, page, overwrite=overwrite)
