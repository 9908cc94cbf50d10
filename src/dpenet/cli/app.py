"""The ``dpenet`` program: which command lives where, and how errors become exit codes."""

from __future__ import annotations

import os
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

import dpenet
from dpenet.errors import DpenetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# Each module holds a Typer app named `app`: one command, or a group of them.
COMMANDS = ("derain", "models", "benchmark", "evaluate", "data", "train", "serve")


class LazyGroup(TyperGroup):
    """Imports a command's module when the command is run or listed, not before."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        names: Any = dict.fromkeys(COMMANDS)
        self.commands = names  # for "did you mean"

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"dpenet.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dpenet {dpenet.__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Remove rain from pictures, and train and measure the networks that do it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 something failed, 2 usage, 130 interrupted."""
    if not sys.warnoptions:  # what Pillow thinks of a damaged file is for its developers
        warnings.filterwarnings("ignore", module="PIL")
    _open_closed_streams()
    sys.exit(_ended(_exit_code(lambda: app(arguments))))


def _open_closed_streams() -> None:
    """Put something in the place of standard streams that were closed (``>&-``).

    Otherwise Python has none, and the next file that is opened, a picture, would be taken for it.
    What is written to an output that was closed fails, as it should.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            flags = os.O_WRONLY if name == "stderr" else os.O_RDONLY
            setattr(sys, name, os.fdopen(os.open(os.devnull, flags), mode))


def _exit_code(run: Callable[[], object]) -> int:
    """Run a command; an error that dpenet foresaw becomes one line on stderr."""
    try:
        run()
    except DpenetError as error:
        typer.echo(f"dpenet: {error}", err=True)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        about = f"{error.filename}: " if error.filename else ""
        typer.echo(f"dpenet: {about}{error.strerror or error}", err=True)
        return 1
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _ended(code: int) -> int:
    """Write what is left for standard output; the exit code, which is not 0 if that fails."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if not code:
            typer.echo(f"dpenet: standard output: {error.strerror}", err=True)
        # Otherwise Python would try again when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return code or 1
    return code
