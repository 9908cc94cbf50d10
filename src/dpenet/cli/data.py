"""``dpenet data``: what a data set holds, and what is wrong in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet.cli.console import emit_json, say

if TYPE_CHECKING:
    from dpenet.data.check import Report

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Look into data sets of rainy and clean pictures.",
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


@app.callback()
def _group() -> None:
    """Keep `check` a sub-command although it is the only one."""


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
