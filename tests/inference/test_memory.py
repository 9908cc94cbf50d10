from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
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
    monkeypatch.setattr(memory, "free_lately", lambda: 8_000_000_000)
    assert working_memory(None) == 4_000_000_000
    assert working_memory(2_000_000_000) == 2_000_000_000 - memory.OWN_MEMORY


def test_free_memory_is_looked_up_anew_after_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    known = iter((1, 2))
    monkeypatch.setattr(memory, "free_memory", lambda: next(known))
    moments = iter((50.0, 50.1, 50.3, 50.3))
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    assert [memory.free_lately() for _ in range(4)] == [1, 1, 2, 2]


def test_free_memory_is_what_the_system_says(tmp_path: Path) -> None:
    free = psutil.virtual_memory().available
    assert free_memory(tmp_path) == pytest.approx(free, rel=0.5)
    assert free_memory() > 0


V1 = ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.mark.parametrize("names", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [("50000000", "40000000", 10_000_000 + 3_000_000), ("50000000", "60000000", 0)],
)
def test_a_container_leaves_what_it_has_not_used(
    tmp_path: Path, names: tuple[str, str, str], limit: str, used: str, left: int
) -> None:
    *files, cache = names
    for name, text in zip(files, (limit, used), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    # Files in memory are given up when memory is needed.
    stat = (tmp_path / files[0]).with_name("memory.stat")
    stat.write_text(f"anon 1\n{cache} 3000000\n")
    assert free_memory(tmp_path) == left


def test_a_container_without_a_limit_leaves_what_the_system_has(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_memory(tmp_path) > 10**7
