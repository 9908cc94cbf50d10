"""``dpenet serve``: a web page and an HTTP service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dpenet.cli.console import lighten_openvino
from dpenet.errors import MissingExtraError, UsageError

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    host: Annotated[
        str | None,
        typer.Option(show_default=False, help="Address to listen on. Default: 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None, typer.Option(show_default=False, help="Port to listen on. Default: 8000.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            show_default=False,
            help="Used unless a request names one. Default: universal.",
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(show_default=False, help="As for dpenet derain. Default: auto.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(show_default=False, help="As for dpenet derain. Default: auto.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(show_default=False, help="CPU threads. Default: all cores.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", show_default=False, help="What a model may take, such as 2GB."
        ),
    ] = None,
) -> None:
    """Serve a page for people and an HTTP service for programs, on this machine only unless told.

    Limits, a token and everything else are environment variables; docs/server.md lists them.
    """
    lighten_openvino()
    try:
        from pydantic import ValidationError

        from dpenet.server.run import serve as run
        from dpenet.server.settings import Settings
    except ImportError as error:
        raise MissingExtraError("dpenet serve", "server") from error
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "model": model,
        "precision": precision,
        "device": device,
        "threads": threads,
        "memory": memory,
    }
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = f"DPENET_SERVER_{first['loc'][0]}".upper()
        raise UsageError(f"{name}: {first['msg']}") from None
    run(settings)
