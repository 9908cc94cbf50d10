"""``dpenet train``: from a recipe to weights."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dpenet.cli.console import duration, emit_json, say
from dpenet.errors import MissingExtraError

if TYPE_CHECKING:
    from dpenet.training.callbacks import Status

app = typer.Typer(add_completion=False)

INTERRUPTED = 130


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="A training recipe, YAML; see recipes/.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=C", help="Override a key of the recipe; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last checkpoint, if there is one.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON record per report.")] = False,
) -> None:
    """Train a network by a recipe.

    Ctrl-C and SIGTERM end the training after the step with a checkpoint, from which --resume goes
    on to the same weights. On several devices: torchrun --nproc_per_node=N -m dpenet train RECIPE.
    """
    import logging

    try:
        from dpenet.training.callbacks import TrainingInterruptedError
        from dpenet.training.config import load_recipe
        from dpenet.training.fit import fit
    except ModuleNotFoundError as error:
        raise MissingExtraError("Training", "train") from error

    # Lightning's notes on its own products and on hardware that is not there.
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    chosen = load_recipe(recipe, set_ or ())
    first_process = os.environ.get("RANK", "0") == "0"
    view = _Json() if json else _view()
    try:
        with view:
            weights = fit(chosen, resume=resume, report=view.show)
    except TrainingInterruptedError as stop:
        if first_process:
            say(str(stop))
        raise typer.Exit(INTERRUPTED) from stop
    if first_process and not json:
        say(f"the best weights are in {weights}; use them with --model {weights}")


class _Json:
    """One record per status on stdout."""

    def __enter__(self) -> _Json:
        return self

    def __exit__(self, *_: object) -> None: ...

    def show(self, status: Status) -> None:
        emit_json(asdict(status))


class _Lines(_Json):
    """One line per status on stderr."""

    def show(self, status: Status) -> None:
        say(describe(status))


class _Bar(_Json):
    """A live bar with the last status, and a line above it for every validation."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._task = self._bar.add_task("reading the pictures", total=None)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, status: Status) -> None:
        if status.scores is not None:
            self._bar.console.print(describe(status), markup=False, soft_wrap=True)
        else:
            self._bar.update(
                self._task,
                completed=status.step,
                total=status.steps,
                description=describe(status),
            )


def _view() -> _Json:
    import sys

    return _Bar() if sys.stderr.isatty() else _Lines()


def describe(status: Status) -> str:
    """A status in one line."""
    where = f"step {status.step} of {status.steps}"
    if status.scores is not None:
        return (
            f"{where}  validation ({status.scores['protocol']}): {status.scores['psnr']:.2f} dB, "
            f"SSIM {status.scores['ssim']:.4f} (rainy: {status.scores['psnr_input']:.2f} dB, "
            f"{status.scores['ssim_input']:.4f})"
        )
    left = "" if status.seconds_left is None else f", {duration(status.seconds_left)} left"
    return f"{where}  loss {status.loss:.4f}  {status.images_per_second:.1f} images/s{left}"
