"""Two processes on the CPU, started as a user would start them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dpenet.training.callbacks import Status
from dpenet.training.config import Recipe
from dpenet.training.fit import fit
from dpenet.zoo import load_weights

MakeRecipe = Callable[..., Recipe]
SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.mark.slow
def test_two_processes_equal_one_with_twice_the_batch(tiny: MakeRecipe, tmp_path: Path) -> None:
    # Three validation pictures: one process scores two of them, the other one.
    common = {"validation": {"share": 0.5}, "optimiser": {"name": "adam", "clip": 0.01}}
    alone = tiny(output=tmp_path / "alone", data={"batch": 4}, **common)
    seen: list[Status] = []
    fit(alone, report=seen.append)

    together = tiny(output=tmp_path / "together", data={"batch": 2}, **common)
    path = tmp_path / "together.yaml"
    path.write_text(together.model_dump_json())
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "dpenet", "train", str(path), "--json"],
        env={**os.environ, "PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr

    one = load_weights(alone.output / "last.safetensors")
    two = load_weights(together.output / "last.safetensors")
    assert one.metadata["steps"] == two.metadata["steps"] == 10
    for key, expected in one.state.items():
        np.testing.assert_allclose(two.state[key], expected, atol=2e-5, err_msg=key)

    scores = [status.scores for status in seen if status.scores]
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    scores_together = [line["scores"] for line in lines if line["scores"]]
    assert len(scores_together) == len(scores) == 3, "only the first process reports"
    for found, wanted in zip(scores_together, scores, strict=True):
        assert found["psnr_input"] == pytest.approx(wanted["psnr_input"], abs=1e-4)
        assert found["psnr"] == pytest.approx(wanted["psnr"], abs=0.02)
        assert found["ssim"] == pytest.approx(wanted["ssim"], abs=1e-3)
