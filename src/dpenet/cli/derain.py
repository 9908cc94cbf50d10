"""``dpenet derain``: pictures in, pictures without rain out."""

from __future__ import annotations

from contextlib import closing
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet.cli.clips import ClipChoices, clip_jobs, derain_clips
from dpenet.cli.console import lighten_openvino, say
from dpenet.cli.pictures import derain_pictures
from dpenet.cli.records import Record, Tally
from dpenet.cli.watch import settled
from dpenet.errors import DpenetError, PictureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from dpenet.media.jobs import Job

app = typer.Typer(add_completion=False)

_PROCESSING = "Processing"
_CLIPS = "Clips"
# More that are skipped are said in one line.
_FEW = 10


@app.command()
def derain(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Pictures, clips, folders or globs; - reads a picture or a Y4M clip from "
            "standard input.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="File or folder to write to; - is standard output. "
            "Default: beside the input, street.jpg as street.derained.jpg.",
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", help="A name (see dpenet models list), or a .pth or .safetensors file."
        ),
    ] = "universal",
    strength: Annotated[
        float, typer.Option(help="From 0 (the input) to 1 (the result): how much rain to remove.")
    ] = 1.0,
    stage: Annotated[
        int, typer.Option(help="2 is the result, 1 the first stage only: faster, fewer details.")
    ] = 2,
    save_rain: Annotated[
        bool, typer.Option("--save-rain", help="Also write what was removed, as x.rain.ext.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare", help="Also write x.compare.html: before and after, with a slider."
        ),
    ] = False,
    compare_png: Annotated[
        bool,
        typer.Option(
            "--compare-png", help="Also write x.compare.png: before and after, side by side."
        ),
    ] = False,
    suffix: Annotated[
        str, typer.Option(help="What is put before the extension when there is no -o.")
    ] = ".derained",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Take folders with all they contain.")
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on with what comes into the folders, until Ctrl-C."),
    ] = False,
    quality: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100,
            help="Of JPEG, WebP and AVIF. Default: as the source was compressed, or 95 (AVIF 90).",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace outputs that exist.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Write one JSON record per picture to standard output.")
    ] = False,
    precision: Annotated[
        str,
        typer.Option(help="auto, fp32, bf16, fp16 or int8.", rich_help_panel=_PROCESSING),
    ] = "auto",
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda, cuda:1, mps (these with torch), or another device of OpenVINO: "
            "gpu, npu.",
            rich_help_panel=_PROCESSING,
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads. Default: all cores.", rich_help_panel=_PROCESSING),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            min=1,
            help="Pictures in hand at once. Default: as many as processor and memory are good for.",
            rich_help_panel=_PROCESSING,
        ),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of the squares that a picture is processed in, 0 for the whole "
            "picture. Default: as large as --memory allows. The result is the same.",
            rich_help_panel=_PROCESSING,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What the program may take at its peak, such as 2GB or 500MB. "
            "Default: half of what is free.",
            rich_help_panel=_PROCESSING,
        ),
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            help="Encoder or codec, such as libx265 or av1. Default: the clip's own, or H.264.",
            rich_help_panel=_CLIPS,
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(
            help="Quality on the encoder's scale: less is better.", rich_help_panel=_CLIPS
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="The encoder's own name for how fast it is, such as veryfast: larger files or "
            "less quality for less time.",
            rich_help_panel=_CLIPS,
        ),
    ] = None,
    start: Annotated[
        float | None, typer.Option(help="Seconds to begin at.", rich_help_panel=_CLIPS)
    ] = None,
    end: Annotated[
        float | None, typer.Option(help="Seconds to end before.", rich_help_panel=_CLIPS)
    ] = None,
    deinterlace: Annotated[
        bool,
        typer.Option(
            "--deinterlace", help="Make frames of the fields of a clip.", rich_help_panel=_CLIPS
        ),
    ] = False,
    preview: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Derain only so many frames, into a picture of before and after.",
            rich_help_panel=_CLIPS,
        ),
    ] = None,
    temporal: Annotated[
        bool,
        typer.Option(
            "--temporal",
            help="Steady a clip: let the frames before and after help.",
            rich_help_panel=_CLIPS,
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with a clip that was interrupted.", rich_help_panel=_CLIPS
        ),
    ] = False,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            help="Standard input is frames of bare rgb24 pixels of this size, and so is the "
            "output.",
            rich_help_panel=_CLIPS,
        ),
    ] = None,
) -> None:
    """Remove rain from pictures and clips.

    Format, metadata, colour profile, transparency and bit depth are kept. Outputs are written whole
    or not at all, and none that exists is replaced unless you say so.
    """
    lighten_openvino()
    from dpenet.inference.derainer import Derainer
    from dpenet.media.containers import is_clip
    from dpenet.media.jobs import check_writable, find_clashes, is_many, plan_jobs

    if temporal and strength < 1:
        raise UsageError("--temporal works on the whole result: leave out --strength")
    choices = ClipChoices(
        codec, crf, preset, start, end, deinterlace, preview, resume, raw, temporal
    )
    find = partial(
        plan_jobs,
        inputs,
        out=out,
        suffix=suffix,
        recursive=recursive,
        save_rain=save_rain,
        compare=[".html"] * compare + [".png"] * compare_png,
        watched=watch,
    )
    jobs = find()
    if watch and not all(map(is_many, inputs)):
        raise UsageError("--watch is for folders, and for patterns in quotes")
    for problem in find_clashes(jobs).values():
        raise UsageError(problem)
    if json and any(job.target is None for job in jobs):
        raise UsageError("--json and the picture cannot both go to standard output: give -o FILE")
    tally = Tally(json=json)
    many = watch or len(jobs) > 1
    if not many:
        jobs = [_fitted(job, choices) for job in jobs]
    elif dry_run or not watch:
        jobs = _fit(jobs, {}, choices, tally)
    if dry_run:
        for job in jobs:
            is_skipped = job.is_done and not overwrite
            _report(Record.of(job, "skipped" if is_skipped else "planned"), tally)
        _end(tally)
        return
    check_writable(job for job in jobs if overwrite or not job.is_done)

    @cache
    def derainer() -> Derainer:
        return Derainer(
            model,
            precision=precision,
            device=device,
            threads=threads,
            tile=tile,
            memory=memory,
            stage=stage,
            strength=strength,
        )

    def work(pending: Sequence[Job]) -> Generator[Record]:
        clips = {job for job in pending if job.source is not None and is_clip(job.source)}
        pictures = [job for job in pending if job not in clips]
        yield from derain_pictures(
            pictures,
            derainer(),
            choices,
            overwrite=overwrite,
            at_once=at_once,
            quality=quality,
        )
        for job in (job for job in pending if job in clips):
            try:
                yield from derain_clips([job], derainer(), choices, overwrite=overwrite)
            except DpenetError:
                raise  # it is about all
            except Exception as error:
                yield _failed(job, error)

    batches: Iterator[list[Job]] = iter([jobs])
    if watch:
        derainer()
        say("Watching; Ctrl-C ends it")
        batches = (_fit(due, find_clashes(found), choices, tally) for due, found in settled(find))
    try:
        for batch in batches:
            if pending := batch if overwrite else _without_done(batch, tally):
                with closing(work(pending)) as records:
                    _count(records, len(pending), tally)
    finally:
        if many:
            say(str(tally))
    _end(tally)


def _end(tally: Tally) -> None:
    if tally.failed:
        raise typer.Exit(1)


def _report(record: Record, tally: Tally) -> None:
    say(str(record))
    tally.add(record)


def _failed(job: Job, error: Exception) -> Record:
    record = Record.of(job, "failed")
    record.fail(error)
    say(str(record))
    return record


def _without_done(jobs: Sequence[Job], tally: Tally) -> list[Job]:
    """The jobs that are still to be done; the others are counted as skipped."""
    skipped = [Record.of(job, "skipped") for job in jobs if job.is_done]
    for record in skipped:
        tally.add(record)
    if len(skipped) > _FEW:
        say(f"{len(skipped)} skipped, they exist (--overwrite replaces them)")
    else:
        for record in skipped:
            say(str(record))
    return [job for job in jobs if not job.is_done]


def _count(records: Iterator[Record], total: int, tally: Tally) -> None:
    for number, record in enumerate(records, 1):
        tally.add(record)
        if record.ends_all and number < total:
            raise DpenetError(
                f"nothing more can be written, and {total - number} are left: make room, and the "
                "same command does them (with --resume, what is begun of a clip is taken over)"
            )


def _fit(
    jobs: Sequence[Job], clashes: Mapping[Job, str], choices: ClipChoices, tally: Tally
) -> list[Job]:
    """Of several jobs, those that can be done; the others fail alone."""
    fit = []
    for job in jobs:
        try:
            if job in clashes:
                raise UsageError(clashes[job])
            fit.append(_fitted(job, choices))
        except DpenetError as error:
            tally.add(_failed(job, error))
    return fit


def _fitted(job: Job, choices: ClipChoices) -> Job:
    """The job as its input wants it.

    Raises:
        DpenetError: If it cannot be done.
    """
    for output in job.outputs:
        if output.is_dir():
            raise PictureError(
                f"{output}: is a folder, which no result replaces; choose another name with -o"
            )
    (fit,) = clip_jobs([job], choices)
    return fit
