from __future__ import annotations

import subprocess
import sys

import pytest

from dpenet.inference import memory
from dpenet.inference.memory import bytes_per_pixel, free_memory, working_memory
from dpenet.zoo import Architecture, load_weights

# Peak memory of one run beyond that of a small one, in bytes per pixel.
MEASURE = """
import sys
from pathlib import Path
import numpy as np
from dpenet.inference.engines import open_engine
from dpenet.inference.options import Options
from dpenet.zoo import load_weights

model, precision, stage = sys.argv[1:]
options = Options(precision=precision, stage=int(stage), threads=1)
engine = open_engine(load_weights(model), options)
engine.run(np.zeros((1, 3, 32, 32), np.float32))

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

before = peak()
engine.run(np.zeros((1, 3, 400, 400), np.float32))
print((peak() - before) / 400**2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize(
    ("model", "precision", "stage"),
    [
        ("universal-nano", "fp32", 2),
        ("universal-nano", "fp32", 1),
        ("universal-nano", "int8", 2),
        ("universal-light", "fp32", 2),
        ("universal-light", "int8", 2),
    ],
)
def test_the_bytes_of_a_pixel_are_what_a_run_takes(model: str, precision: str, stage: int) -> None:
    command = [sys.executable, "-c", MEASURE, model, precision, str(stage)]
    found = float(subprocess.run(command, capture_output=True, check=True).stdout)
    said = bytes_per_pixel(load_weights(model).architecture, precision, stage)
    assert 0.85 * said <= found <= said


def test_narrow_and_short_networks_take_less() -> None:
    full, half = Architecture(32), Architecture(16)
    assert bytes_per_pixel(half, "fp32") < 0.6 * bytes_per_pixel(full, "fp32")
    assert bytes_per_pixel(full, "bf16") < bytes_per_pixel(full, "fp32")
    assert bytes_per_pixel(full, "fp32", 1) < bytes_per_pixel(full, "fp32", 2)
    assert bytes_per_pixel(full, "fp32") < bytes_per_pixel(full, "int8")


def test_half_of_what_is_free_is_taken_or_what_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 8_000_000_000)
    assert working_memory(None) == 4_000_000_000
    assert working_memory(2_000_000_000) == 2_000_000_000 - memory.OWN_MEMORY


def test_free_memory_is_plausible() -> None:
    assert 10**7 < free_memory() < 10**14
