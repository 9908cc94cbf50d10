"""``dpenet derain``: pictures in, pictures without rain out."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet.cli.console import Stopwatch, duration, emit_json, progress, say
from dpenet.errors import DpenetError, PictureError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpenet.inference.derainer import Derainer
    from dpenet.media.jobs import Job

app = typer.Typer(add_completion=False)

LONG_JOB_SECONDS = 10.0
_PROCESSING = "Processing"


@dataclass
class Record:
    """What became of one picture; one line of ``--json``."""

    input: str
    output: str
    status: str  # done, skipped, failed or, with --dry-run, planned
    error: str | None = None
    seconds: float | None = None
    model: str | None = None
    precision: str | None = None
    device: str | None = None
    width: int | None = None
    height: int | None = None

    def __str__(self) -> str:
        if self.status == "failed":
            return f"{self.input}: failed: {self.error}"
        note = {
            "skipped": "skipped, it exists (--overwrite replaces it)",
            "planned": "would be written",
        }.get(self.status, duration(self.seconds or 0))
        return f"{self.input} -> {self.output}  {note}"


@app.command()
def derain(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            show_default=False,
            help="Pictures, folders or globs; - reads one picture from standard input.",
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
    suffix: Annotated[
        str, typer.Option(help="What is put before the extension when there is no -o.")
    ] = ".derained",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Take folders with all they contain.")
    ] = False,
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
        typer.Option(help="auto, fp32 or bf16.", rich_help_panel=_PROCESSING),
    ] = "auto",
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, or another device of OpenVINO: gpu, npu.", rich_help_panel=_PROCESSING
        ),
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(help="CPU threads. Default: all cores.", rich_help_panel=_PROCESSING),
    ] = None,
    tile: Annotated[
        int | None,
        typer.Option(
            help="Side in pixels of the squares that a picture is processed in, 0 for the whole "
            "picture. Default: as large as memory allows. The result is the same.",
            rich_help_panel=_PROCESSING,
        ),
    ] = None,
) -> None:
    """Remove rain from pictures.

    Format, metadata, colour profile, transparency and bit depth are kept. Outputs are written whole
    or not at all, and none that exists is replaced unless you say so.
    """
    from dpenet.inference.derainer import Derainer
    from dpenet.media.jobs import plan_jobs

    jobs = plan_jobs(inputs, out=out, suffix=suffix, recursive=recursive, save_rain=save_rain)
    if json and any(job.target is None for job in jobs):
        raise UsageError("--json and the picture cannot both go to standard output: give -o FILE")
    exists = {job: not overwrite and _exists(job) for job in jobs}
    skipped = [job for job in jobs if exists[job]]
    pending = [job for job in jobs if not exists[job]]

    def report(record: Record) -> None:
        if json:
            emit_json(asdict(record))
        else:
            say(str(record))

    for job in skipped:
        report(_record(job, "skipped"))
    if dry_run:
        for job in pending:
            report(_record(job, "planned"))
        return
    failures = 0
    if pending:
        derainer = Derainer(
            model,
            precision=precision,
            device=device,
            threads=threads,
            tile=tile,
            stage=stage,
            strength=strength,
        )
        _announce(pending, derainer)
        with progress(len(pending), "pictures") as advance:
            for job in pending:
                record = _process(job, derainer, overwrite)
                failures += record.status == "failed"
                advance(str(record))
                if json:
                    emit_json(asdict(record))
    if len(jobs) > 1:
        say(f"{len(pending) - failures} done, {len(skipped)} skipped, {failures} failed")
    if failures:
        raise typer.Exit(1)


def _process(job: Job, derainer: Derainer, overwrite: bool) -> Record:
    """Do one job; what goes wrong with it is in the record, so that the others go on."""
    from dpenet.media.images import encode_picture, read_picture, with_pixels, write_picture

    watch = Stopwatch()
    record = _record(job, "done")
    record.model = derainer.weights.name
    record.precision, record.device = derainer.precision, derainer.device
    try:
        rainy = read_picture(sys.stdin.buffer.read() if job.source is None else job.source)
        record.height, record.width = rainy.pixels.shape[:2]
        clean = with_pixels(rainy, derainer.derain_pixels(rainy.pixels))
        if job.rain is not None:
            rain = with_pixels(rainy, derainer.rain_layer(rainy.pixels, clean.pixels))
            write_picture(rain, job.rain, overwrite=overwrite)
        if job.target is None:
            sys.stdout.buffer.write(encode_picture(clean))
            sys.stdout.buffer.flush()
        else:
            write_picture(clean, job.target, overwrite=overwrite)
    except DpenetError as error:
        record.status, record.error = "failed", str(error)
    record.seconds = round(watch.seconds, 3)
    return record


def _announce(jobs: Sequence[Job], derainer: Derainer) -> None:
    """Say how long a long job will take, before it starts."""
    from dpenet.media.images import read_size

    seconds = 0.0
    for job in jobs:
        if job.source is not None:
            with suppress(PictureError):  # reported when its turn comes
                seconds += derainer.estimate_seconds(*read_size(job.source))
    if seconds > LONG_JOB_SECONDS:
        say(
            f"About {duration(seconds)} for {len(jobs)} picture{'s'[: len(jobs) > 1]} "
            f"({derainer.weights.name}, {derainer.precision}, {derainer.device})"
        )


def _exists(job: Job) -> bool:
    return any(output is not None and output.exists() for output in (job.target, job.rain))


def _record(job: Job, status: str) -> Record:
    return Record(input=str(job.source or "-"), output=str(job.target or "-"), status=status)
