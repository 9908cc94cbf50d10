"""``dpenet evaluate``: PSNR and SSIM of models over pairs, as a table, JSON, CSV and a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet.cli.console import aligned, emit_json, progress, say, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dpenet.evaluation.evaluate import Evaluation, Method, Row

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(
    data: Annotated[
        Path,
        typer.Argument(metavar="DATA", help="A folder of pairs, or of rainy pictures alone."),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="A name or a weights file; may be repeated. Default: universal."
        ),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Pictures that another tool made; may be repeated."),
    ] = None,
    layout: Annotated[str, typer.Option(help="How the pairs lie; see dpenet data check.")] = "auto",
    protocol: Annotated[
        str, typer.Option(help="matlab-y, matlab-y-uint8, rgb or pil-l.")
    ] = "matlab-y",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16, fp16 or int8.")] = "auto",
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a page, DIR/index.html.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write every score as CSV.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write everything as one JSON file.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="JSON on stdout: a line per picture, then per method.")
    ] = False,
) -> None:
    """Score models, or other tools' results, on pairs; without targets, make a gallery."""
    from dpenet.data.layouts import NoPairsError, list_pairs
    from dpenet.evaluation.evaluate import evaluate as run
    from dpenet.evaluation.evaluate import row_record
    from dpenet.evaluation.report import evaluation_page
    from dpenet.metrics import get_protocol

    get_protocol(protocol)
    try:
        names = [pair.name for pair in list_pairs(data, layout).pairs]
    except NoPairsError:
        if layout != "auto":
            raise
        _gallery(data, model, results, precision, report, json)
        return
    methods = _methods(model, results, precision, names)
    say(f"{len(names)} pairs, protocol {protocol}, {', '.join(m.name for m in methods)}")
    with progress(len(names), "pictures") as advance:

        def tell(name: str, rows: Sequence[Row]) -> None:
            advance(f"{name}: {', '.join(map(_said, rows))}")
            if json:
                for row in rows:
                    emit_json(row_record(row))

        found = run(data, methods, layout=layout, protocol=protocol, on_picture=tell)
    if json:
        for method in found.methods:
            emit_json({"mean": True, **found.summary(method)})
    else:
        _print(found)
    if csv:
        write_text(csv, found.to_csv())
    if output:
        from json import dumps

        write_text(output, dumps(found.to_json(), indent=1, ensure_ascii=False) + "\n")
    if report:
        write_text(report / "index.html", evaluation_page(found, methods))
    if found.failures:
        say(f"{len(found.failures)} could not be scored; the means leave them out")
        raise typer.Exit(1)


def _methods(
    models: list[str] | None, results: list[Path] | None, precision: str, names: Sequence[str]
) -> list[Method]:
    from dpenet.evaluation.evaluate import model_method, results_method

    made = [results_method(folder, names) for folder in results or []]
    chosen = models or ([] if results else ["universal"])
    return [model_method(model, precision) for model in chosen] + made


def _gallery(
    data: Path,
    models: list[str] | None,
    results: list[Path] | None,
    precision: str,
    report: Path | None,
    json: bool,
) -> None:
    """Pictures without targets: side by side on a page, and no score."""
    from dpenet.data.layouts import NoPairsError, list_pictures
    from dpenet.errors import UsageError
    from dpenet.evaluation.report import gallery_page

    sources = [
        (file.relative_to(data).with_suffix("").as_posix(), file) for file in list_pictures(data)
    ]
    if not sources:
        raise NoPairsError(f"{data} holds no pictures")
    if report is None:
        raise UsageError(
            f"{data} has {len(sources)} pictures without targets, so no score exists. For a "
            "gallery of them give --report DIR; if there are targets, say how they lie: --layout"
        )
    methods = _methods(models, results, precision, [name for name, _ in sources])
    say(f"{len(sources)} pictures without targets: no score exists, making a gallery")
    failed = []
    with progress(len(sources), "pictures") as advance:

        def tell(name: str, error: str | None) -> None:
            advance(f"{name}: {f'failed: {error}' if error else 'done'}")
            if error:
                failed.append(name)
            if json:
                emit_json({"picture": name, "psnr": None, "ssim": None, "error": error})

        page = gallery_page(data, sources, methods, tell)
    write_text(report / "index.html", page)
    if failed:
        raise typer.Exit(1)


def _said(row: Row) -> str:
    if row.score is None:
        return f"{row.method} failed: {row.error}"
    return f"{row.method} {row.score.psnr:.2f} dB {row.score.ssim:.4f}"


def _print(found: Evaluation) -> None:
    header = ("METHOD", "PSNR", "SSIM", "GAIN", "PAIRS", "S/PICTURE")
    lines = [header]
    for method in found.methods:
        r = found.summary(method)
        psnr, ssim, gain = (
            "inf" if value is None else format(value, kind)
            for value, kind in ((r["psnr"], ".3f"), (r["ssim"], ".4f"), (r["gain"], "+.3f"))
        )
        lines.append((method, psnr, ssim, gain, str(r["pairs"]), f"{r['seconds']:.2f}"))
    typer.echo(aligned(lines))
    typer.echo(f"\nMeans over pictures, protocol {found.protocol}, layout {found.layout}.")
