"""``dpenet models``: which models there are, and getting them onto this machine."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dpenet.cli.console import emit_json

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="List, show, fetch, import and quantize models, and say where they are.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model; see: dpenet models list.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON record per model on stdout.")]

# Of the scores, the list shows those of the field's protocol at full precision.
_LISTED = {"protocol": "matlab-y", "precision": "fp32"}


@app.command("list")
def list_(json: Json = False) -> None:
    """List the models, and what we measured with them."""
    from dpenet.zoo.store import imported
    from dpenet.zoo.table import list_models

    records = [_record(name) for name in [*list_models(), *imported()]]
    if json:
        for record in records:
            emit_json(record)
        return
    datasets = dict.fromkeys(
        score["dataset"]
        for record in records
        for score in record["scores"]
        if score.items() >= _LISTED.items()
    )
    rows = [
        (r["name"], r["state"], r["trained_on"], *(_psnr(r, dataset) for dataset in datasets))
        for r in records
    ]
    _print_table(("NAME", "STATE", "TRAINED ON", *datasets), rows)
    if datasets:
        typer.echo(f"\nMean PSNR in dB, measured by us ({', '.join(_LISTED.values())}).")
        typer.echo("Before comparing, read the notes: dpenet models show NAME")
    if quantized := [f"{r['name']} {_lost(r['int8'])}" for r in records if r["int8"]]:
        typer.echo(textwrap.fill(f"int8 is here for: {', '.join(quantized)}.", 80))


@app.command()
def show(name: Name, json: Json = False) -> None:
    """Show all that is known of a model."""
    record = _record(name)
    if json:
        emit_json(record)
        return
    scores = record.pop("scores")
    record["int8"] = (
        f"here, calibrated on {form['calibration']} {_lost(form)}"
        if (form := record["int8"])
        else f"not here; to make it: dpenet models quantize {name}"
    )
    if "architecture" in record:
        record["architecture"] = "width {width}, {n_ddrb} DDRB, {n_erpab} ERPAB".format(
            **record["architecture"]
        )
    lines = [(key.replace("_", " "), value) for key, value in record.items() if value]
    lines += [
        (
            "measured",
            f"{s['dataset']}: {s['psnr']:.3f} dB, SSIM {s['ssim']:.4f} "
            f"({s['pairs']} pairs, {s['protocol']}, {s['precision']})",
        )
        for s in scores
    ]
    for label, value in lines:
        # A long word (a path, an address) stays in one piece, to be copied.
        text = textwrap.fill(
            str(value), 62, break_long_words=False, break_on_hyphens=False
        ).replace("\n", "\n" + 17 * " ")
        typer.echo(f"{label + ':':<17}{text}")


@app.command()
def fetch(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models of the table.")],
    json: Json = False,
) -> None:
    """Download published models, verify their sha256, and keep them for use offline."""
    from dpenet.zoo import store
    from dpenet.zoo.table import get_card

    for card in [get_card(name) for name in names]:
        path = store.fetch(card.name)
        _report(card.name, path, json)
        if not json and not card.embedded:
            typer.echo(f"licence: {card.licence}", err=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .pth or .safetensors file.")],
    name: Annotated[
        str | None,
        typer.Option("--name", help="What to call it, unless it is one of the published models."),
    ] = None,
    json: Json = False,
) -> None:
    """Check a file of weights and keep it under a name."""
    from dpenet.zoo.store import import_file, locate

    name = import_file(file, name)
    _report(name, locate(name), json)


@app.command()
def quantize(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A model, or a file of weights.")],
    photos: Annotated[
        Path | None,
        typer.Option(help="Photos of the kind to derain, rainy or not, to fit it to them too."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write it to this file, and not where it will be found.")
    ] = None,
    json: Json = False,
) -> None:
    """Make the int8 form of a model, for --precision int8. Takes a minute or two."""
    from dpenet.data.layouts import list_pictures
    from dpenet.data.pairs import read_rgb
    from dpenet.errors import UsageError
    from dpenet.inference import calibration
    from dpenet.inference import quantize as quantization
    from dpenet.rain.drawing import from_levels
    from dpenet.zoo import int8, load_weights

    weights = load_weights(name)
    files = list_pictures(photos) if photos is not None else []
    if photos is not None and not files:
        raise UsageError(f"there are no pictures in {photos}")
    chosen = files[:: max(1, len(files) // calibration.SCENES)][: calibration.SCENES]
    pictures = [from_levels(read_rgb(file)) for file in chosen]
    form = quantization.quantize(weights, pictures)
    path = int8.int8_path(weights) if output is None else output
    int8.write_int8(path, form)
    _report(weights.name, path, json)


@app.command()
def path(name: Name, json: Json = False) -> None:
    """Print where the file of a model is."""
    from dpenet.zoo.store import locate

    found = locate(name)
    if json:
        emit_json({"name": name, "path": str(found)})
    else:
        typer.echo(found)


def _report(name: str, path: Path, json: bool) -> None:
    if json:
        from dpenet.zoo.store import sha256_of

        emit_json({"name": name, "path": str(path), "sha256": sha256_of(path)})
    else:
        typer.echo(f"{name}: {path}")


def _record(name: str) -> dict[str, Any]:
    """What is known of a model of the table, or of one that the user imported."""
    from dpenet.zoo.store import imported, sha256_of, stored_path
    from dpenet.zoo.table import MODELS, unknown_model

    own = imported()
    if name in own:
        return {
            "name": name,
            "title": "Imported by you",
            "state": "imported",
            "path": str(own[name]),
            "sha256": sha256_of(own[name]),
            "trained_on": "",
            "scores": [],
            "int8": _int8(name),
        }
    if name not in MODELS:
        raise unknown_model(name, [*MODELS, *own])
    card, file = MODELS[name], stored_path(name)
    here = file.is_file()
    facts = asdict(card)
    if here and card.sha256 is None:
        facts["sha256"] = sha256_of(file)
    return {
        "name": name,
        "title": card.title,
        "state": "embedded" if card.embedded else "fetched" if here else "not fetched",
        "path": str(file) if here else None,
        "parameters": card.architecture.parameters,
        "receptive_field": card.architecture.receptive_field,
        "int8": _int8(name) if here else None,
        **{key: value for key, value in facts.items() if key not in ("name", "title", "embedded")},
    }


def _int8(name: str) -> dict[str, Any] | None:
    """What is known of the int8 form of a model that is here; None if there is no such form."""
    from dpenet.errors import ModelError
    from dpenet.inference.precision import lost, scores_of
    from dpenet.zoo import load_weights
    from dpenet.zoo.int8 import find_int8

    try:
        weights = load_weights(name)
        form = find_int8(weights)
    except ModelError:  # damaged: it says so when it is used
        return None
    if form is None:
        return None
    return {"calibration": form.calibration, "lost": lost(scores_of(weights, form), "int8")}


def _lost(form: dict[str, Any]) -> str:
    return "(loss not measured)" if form["lost"] is None else f"({form['lost']:.2f} dB lost)"


def _psnr(record: dict[str, Any], dataset: str) -> str:
    found = (
        f"{score['psnr']:.2f}"
        for score in record["scores"]
        if score.items() >= {"dataset": dataset, **_LISTED}.items()
    )
    return next(found, "")


def _print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people on a terminal, plain aligned columns for anything else."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*header, box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for row in rows:
            table.add_row(*row)
        Console(highlight=False).print(table)
        return
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        cells = (f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
