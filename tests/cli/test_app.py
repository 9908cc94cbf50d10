from __future__ import annotations

import subprocess
import sys

import pytest

import dpenet
from dpenet.cli.app import COMMANDS

HEAVY = ("numpy", "openvino", "torch", "pyvips", "PIL", "requests", "pooch")


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["derain", "--help"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from dpenet.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        f"print('loaded:', [m for m in {HEAVY} if m in sys.modules])"
    )
    result = python(code, *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith("loaded: []\n")


def test_version() -> None:
    result = python("from dpenet.cli.app import main; main()", "--version")
    assert result.stdout == f"dpenet {dpenet.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = python("from dpenet.cli.app import main; main()", command, "--help")
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout


def test_an_unknown_command_is_a_usage_error() -> None:
    result = python("from dpenet.cli.app import main; main()", "derian")
    assert result.returncode == 2
    assert "derain" in result.stderr
