"""``dpenet benchmark``: how fast this machine is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet.cli.console import aligned, emit_json, say, write_text
from dpenet.errors import UsageError

if TYPE_CHECKING:
    from dpenet.inference.benchmark import Benchmark, Row

app = typer.Typer(add_completion=False)


@app.command()
def benchmark(
    size: Annotated[
        str | None,
        typer.Option(
            metavar="WxH",
            show_default=False,
            help="Of the picture, such as 1920x1080. Default: that, or a smaller one if this "
            "machine would take more than about a minute.",
        ),
    ] = None,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A name, or a weights file.")
    ] = "universal",
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, bf16, fp16 or int8; may be repeated. Default: all."),
    ] = None,
    device: Annotated[str, typer.Option(help="As for dpenet derain.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(show_default=False, help="CPU threads. Default: all cores.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything as one JSON file.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON record per precision on stdout.")
    ] = False,
) -> None:
    """Measure how fast this machine derains, in each precision, and what limits it.

    Times are from pixels to pixels, without reading and writing files. Run it while nothing else
    does.
    """
    from dataclasses import asdict

    from dpenet.inference.benchmark import PRECISIONS
    from dpenet.inference.benchmark import benchmark as run

    found = run(
        model,
        size=None if size is None else _parse(size),
        precisions=precision or PRECISIONS,
        device=device,
        threads=threads,
        tell=say,
    )
    if json:
        about = {"model": found.model, "width": found.width, "height": found.height}
        for row in found.rows:
            emit_json({**about, **asdict(row), "reason": None})
        for name, reason in found.unavailable.items():
            emit_json({**about, "precision": name, "reason": reason})
    else:
        _print(found)
    if output:
        from json import dumps

        write_text(output, dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n")


def _parse(size: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,5})[xX]([1-9]\d{0,5})", size, re.ASCII)
    if found is None:
        raise UsageError(f"a size is WIDTHxHEIGHT, such as 1920x1080, not {size!r}")
    return int(found[1]), int(found[2])


def _print(found: Benchmark) -> None:
    header = ("PRECISION", "DEVICE", "TIME", "MPIXEL/S", "MEMORY", "GFLOP/S", "OF PEAK")
    typer.echo(aligned([header, *map(_cells, found.rows)]))
    for name, reason in found.unavailable.items():
        typer.echo(f"{name}: not available here: {reason}")
    threads = f"{found.threads or 'all'} of {found.cores} cores"
    peaks = ", ".join(f"{peak:.0f} GFLOP/s in {p}" for p, peak in found.peak_gflops.items())
    typer.echo(
        f"\n{found.model}, {found.width} x {found.height} pixels, median of {found.turns}; "
        f"{found.processor}, {threads}."
        f"\nAt most it does {peaks}, and moves {found.bandwidth:.1f} GB/s to and from memory."
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.precision,
        row.device,
        f"{row.milliseconds:.0f} ms",
        f"{row.megapixels_per_second:.2f}",
        "?" if row.peak_memory is None else f"{row.peak_memory / 1e6:.0f} MB",
        f"{row.gflops:.0f}",
        "" if row.share_of_peak is None else f"{row.share_of_peak:.0%}",
    )
