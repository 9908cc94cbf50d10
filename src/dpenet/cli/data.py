"""``dpenet data``: what a data set holds, what is wrong in it, and making one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dpenet.cli.console import emit_json, say

if TYPE_CHECKING:
    from dpenet.data.check import Report

RainKind = Literal["light", "heavy", "mixed", "foggy"]  # dpenet.rain's, whose import takes long

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Check and make data sets of rainy and clean pictures.",
)

_SHOWN = 8
_STEP = 200
_TITLES = {
    "orphan": "without a partner",
    "unreadable": "unreadable",
    "size": "pairs of two sizes",
    "misaligned": "misaligned pairs",
    "unrelated": "pairs of two scenes",
    "duplicate": "repeated backgrounds",
    "overlap": "backgrounds in both data sets",
    "checksum": "files that are not the official ones",
}


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The data set's folder, or SPA-Data's list.")
    ],
    layout: Annotated[
        str,
        typer.Option(help="auto, folders, rain100, rain800, rain1200, rain1400, heavyrain or spa."),
    ] = "auto",
    against: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A test set, to find backgrounds that both hold."),
    ] = None,
    checksums: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Official files to compare with: SHA-256, size, path; tabs between.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Write the report as one JSON record.")
    ] = False,
) -> None:
    """Check that pictures pair, read, fit each other, and are in no test set.

    Exit status 1 if anything is wrong. Repeated backgrounds are told but are not wrong.
    """
    from dpenet.data.check import check_dataset

    report = check_dataset(
        folder, layout, against=against, checksums=checksums, progress=_tell_progress
    )
    if json:
        emit_json(report.to_json())
    else:
        _print(report)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def synthesize(
    clean: Annotated[
        Path,
        typer.Argument(metavar="CLEAN", help="A picture, or a folder with all it contains."),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")],
    kind: Annotated[RainKind, typer.Option(help="mixed is any of the others.")] = "mixed",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    per_image: Annotated[
        int, typer.Option(min=1, metavar="N", help="Rainy pictures to make of each clean one.")
    ] = 1,
    json: Annotated[
        bool, typer.Option("--json", help="Write one JSON record per pair to standard output.")
    ] = False,
) -> None:
    """Make clean pictures rainy: pairs for training or testing.

    Writes OUT/input and OUT/target with pictures of equal names, and OUT/rain.jsonl with what fell
    on each.
    """
    from dataclasses import asdict

    from dpenet.data.synthesize import synthesize

    count = 0
    made = synthesize(clean, out, kind=kind, seed=seed, per_image=per_image)
    for count, pair in enumerate(made, start=1):
        if json:
            emit_json({"name": pair.name, "source": str(pair.source), "rain": asdict(pair.rain)})
        elif count % _STEP == 0:
            say(f"{count} pairs")
    say(f"{count} pairs in {out}")


def _tell_progress(done: int, total: int) -> None:
    if done % _STEP == 0 and done < total:
        say(f"{done} of {total} pairs")


def _print(report: Report) -> None:
    typer.echo(f"{report.root}: {report.pairs} pairs over {report.backgrounds} backgrounds")
    typer.echo(f"layout {report.layout}: {report.reason}")
    if report.listed is not None:
        typer.echo(f"{report.verified} of the {report.listed} official files are here, unchanged")
    for kind, count in report.counts().items():
        mark = "note" if kind == "duplicate" else "WRONG"
        typer.echo(f"\n{mark}: {count} {_TITLES[kind]}")
        some = [problem for problem in report.problems if problem.kind == kind]
        for problem in some[:_SHOWN]:
            typer.echo(f"  {', '.join(problem.files)}: {problem.detail}")
        if count > _SHOWN:
            typer.echo(f"  and {count - _SHOWN} more (--json lists all)")
    typer.echo("\nnothing is wrong" if report.ok else "\nsome things are wrong")
