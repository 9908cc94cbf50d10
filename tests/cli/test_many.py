from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PICTURES = 10_000
SIDE = 32
# Of the second half of a folder: less than a quarter of what its pictures' pixels would take, and
# more than the megabyte that allocators take or leave.
MOST_GROWTH = PICTURES // 2 * SIDE * SIDE * 3 // 4


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_memory_stays_flat_however_many_pictures_there_are(tmp_path: Path, model: Path) -> None:
    root = tmp_path / "in"
    rng = np.random.default_rng(3)
    head = b"P6\n%d %d\n255\n" % (SIDE, SIDE)
    for number in range(PICTURES):
        path = root / f"{number // 100:03d}" / f"{number}.ppm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + rng.bytes(3 * SIDE * SIDE))
    command = [sys.executable, "-m", "dpenet", "derain", str(root), "-r", "--json"]
    memory = []
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "out"), "-m", str(model)],
        stdout=subprocess.PIPE,
        stderr=(tmp_path / "told").open("wb"),
    ) as process:
        assert process.stdout is not None
        for number, line in enumerate(process.stdout):
            assert json.loads(line)["status"] == "done"
            if number % 100 == 99:
                memory.append(_resident_bytes(process.pid))
    assert process.returncode == 0
    assert len(memory) == PICTURES // 100
    assert len(list((tmp_path / "out").rglob("*.ppm"))) == PICTURES
    half = len(memory) // 2
    growth = max(memory[-10:]) - max(memory[half - 10 : half])
    assert growth < MOST_GROWTH, [value >> 20 for value in memory]
    *_, summary = (tmp_path / "told").read_text().splitlines()
    assert summary.startswith(f"{PICTURES} done, 0 skipped, 0 failed in ")


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
