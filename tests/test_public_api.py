"""The names that users may rely on. A change here is a change for them: say so in CHANGELOG.md.

``python tests/test_public_api.py`` writes ``api_surface.json`` anew.
"""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import dpenet
from dpenet import errors

SURFACE = Path(__file__).with_name("api_surface.json")


def describe(thing: Any) -> Any:
    """A function's signature; a class's bases and public members."""
    if not inspect.isclass(thing):
        return str(inspect.signature(thing))
    members = {
        name: describe(member) if inspect.isfunction(member) else "attribute"
        for name, member in inspect.getmembers(thing)
        if name in ("__init__", "__call__") or not name.startswith("_")
        if inspect.isfunction(member) or not hasattr(BaseException, name)
    }
    return {"bases": [base.__name__ for base in thing.__bases__], "members": members}


def surface() -> dict[str, Any]:
    public = {f"dpenet.{name}": getattr(dpenet, name) for name in dpenet.__all__}
    public |= {
        f"dpenet.errors.{name}": thing
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, Exception)
    }
    return {name: describe(public[name]) for name in sorted(public)}


def test_no_public_name_goes_or_changes_unnoticed() -> None:
    recorded = json.loads(SURFACE.read_text())
    assert surface() == recorded, "if this is meant: python tests/test_public_api.py"


def test_every_public_name_is_there_and_listed() -> None:
    for name in dpenet.__all__:
        assert getattr(dpenet, name).__doc__
        assert name in dir(dpenet)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="derian"):
        dpenet.derian  # noqa: B018


def modules_after(statement: str) -> set[str]:
    """Which modules a fresh interpreter has loaded after a statement."""
    script = f"{statement}; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


@pytest.mark.parametrize("statement", ["import dpenet", "from dpenet import Options, DpenetError"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    heavy = {"numpy", "openvino", "torch", "PIL", "pyvips", "typer"}
    assert not modules_after(statement) & heavy


def test_deraining_loads_no_torch() -> None:
    derain = (
        "import numpy, dpenet; from dpenet.zoo import Architecture, Weights"
        "; a = Architecture(1, 1, 1)"
        "; w = Weights({k: numpy.zeros(s, 'f4') for k, s in a.shapes().items()}, a)"
        "; dpenet.Derainer(w)(numpy.zeros((4, 4, 3), 'u1'))"
    )
    loaded = modules_after(derain)
    assert "openvino" in loaded
    assert not loaded & {"torch", "pyvips", "pytorch_lightning"}


if __name__ == "__main__":
    SURFACE.write_text(json.dumps(surface(), indent=2) + "\n")
