"""What tests of ``dpenet derain`` share: a small network, and a way to run it fast."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from dpenet.cli.app import main
from dpenet.zoo import Architecture
from dpenet.zoo.weights import write_weights


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random network whose output visibly differs from its input."""
    rng = np.random.default_rng(5)
    architecture = Architecture(width=4, n_ddrb=1, n_erpab=1)
    state = {
        key: rng.normal(0, 0.25, shape).astype(np.float32)
        for key, shape in architecture.shapes().items()
    }
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    write_weights(path, state, {})
    return path


class Done(NamedTuple):
    returncode: int
    stdout: bytes
    stderr: bytes


Derain = Callable[..., Done]


@pytest.fixture
def derain(monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]) -> Derain:
    """Runs ``dpenet derain`` in this process, which is a lot faster than a new one."""

    def run(*arguments: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        with pytest.raises(SystemExit) as stop:
            main(["derain", *map(str, arguments)])
        out, err = capsysbinary.readouterr()
        return Done(int(stop.value.code or 0), out, err)

    return run
