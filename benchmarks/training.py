"""Patches per second of our training step against the plain loop, in one run.

    python -m benchmarks.training

The plain loop is what the released script does: float32, NCHW, eager, Adam, SSIM and edges by
two-dimensional convolutions. Ours is the step of `dpenet.training`: channels last, bfloat16 where
the hardware multiplies it, clipping, averaged weights. The two take turns, so that what else the
machine does falls on both; seconds of the processor are stated beside those of the clock.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from benchmarks.machine import REPOSITORY, commit, cpu, libraries
from PIL import Image
from torch import Tensor

from dpenet.atomic import atomic_path
from dpenet.network import DPENet
from dpenet.training.config import Recipe
from dpenet.training.dataset import TrainingSet
from dpenet.training.fit import choose_precision
from dpenet.training.module import Batch, TrainingModule
from dpenet.training.sources import open_sources

RESULTS = REPOSITORY / "benchmarks" / "results" / "training.json"
SCHEMA = 1
CLAIM = "at least 5 times the plain loop on a CPU with AVX512-BF16 or AMX"
Step = Callable[[], None]


def main() -> None:
    """Measure, print, and write ``benchmarks/results/training.json``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--size", action="append", metavar="PATCHxBATCH", help="default 64x8")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    sizes = [tuple(map(int, size.split("x"))) for size in args.size or ["64x8"]]
    rows = [row for patch, batch in sizes for row in measure(patch, batch, args.turns)]
    record = {
        "schema": SCHEMA,
        "commit": commit(),
        "cpu": cpu(),
        "threads": torch.get_num_threads(),
        "libraries": libraries("torch", "pytorch-lightning", "numpy"),
        "python": platform.python_version(),
        "protocol": f"median of {args.turns} turns after one to warm up; the loops alternate",
        "rows": rows,
        "claims": [judge(rows)],
    }
    with atomic_path(args.output) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    for row in rows:
        print(row)
    print(record["claims"])


def measure(patch: int, batch: int, turns: int) -> list[dict[str, Any]]:
    """One row per loop, and one for the loading of the data."""
    inputs = torch.rand(batch, 3, patch, patch), torch.rand(batch, 3, patch, patch)
    precision = choose_precision("auto")
    loops = {"plain": plain_step(inputs), "ours": our_step(inputs, patch, batch)}
    clock: dict[str, list[float]] = {name: [] for name in loops}
    processor: dict[str, list[float]] = {name: [] for name in loops}
    for turn in range(turns + 1):
        for name, step in loops.items():
            wall, busy = time.perf_counter(), time.process_time()
            step()
            if turn:
                clock[name].append(time.perf_counter() - wall)
                processor[name].append(time.process_time() - busy)
    rows: list[dict[str, Any]] = [
        {
            "loop": name,
            "precision": precision if name == "ours" else "32-true",
            "patch": patch,
            "batch": batch,
            "patches_per_second": round(batch / statistics.median(clock[name]), 3),
            "cpu_seconds_per_patch": round(statistics.median(processor[name]) / batch, 4),
            "times_plain": round(
                statistics.median(a / b for a, b in zip(clock["plain"], clock[name], strict=True)),
                3,
            ),
            "times_plain_by_cpu": round(
                statistics.median(processor["plain"]) / statistics.median(processor[name]), 3
            ),
        }
        for name in loops
    ]
    loading = loading_seconds(patch)
    rows.append(
        {
            "loop": "one data worker, with rain",
            "patch": patch,
            "batch": batch,
            "patches_per_second": round(1 / loading, 1),
            "cpu_seconds_per_patch": round(loading, 5),
        }
    )
    return rows


def our_step(batch: Batch, patch: int, size: int) -> Step:
    """The step as the recipe universal.yaml makes it."""
    recipe = Recipe.model_validate(
        {
            "output": "unused",
            "data": {"photos": "unused", "patch": patch, "batch": size},
            "optimiser": {"name": "adamw", "clip": 1.0},
            "loss": {"l1": 1.0},
            "steps": 1,
        }
    )
    module = TrainingModule(recipe, DPENet(), steps=1, steps_per_epoch=1, fingerprint="")
    parameters = list(module.parameters())
    averaged = [p.detach().clone() for p in parameters]
    optimiser = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0)
    bfloat16 = choose_precision("auto") == "bf16-mixed"

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = module.loss(batch)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, recipe.optimiser.clip or 0)
        optimiser.step()
        with torch.no_grad():
            for kept, now in zip(averaged, parameters, strict=True):
                kept.lerp_(now, 1e-3)

    return step


def plain_step(batch: Batch) -> Step:
    """The step as the released script makes it, with the network and the loss put right."""
    network = DPENet()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-4)
    rainy, clean = batch
    x = torch.arange(11.0) - 5
    window = torch.outer(*[torch.exp(-(x**2) / 4.5)] * 2)
    window = (window / window.sum()).expand(3, 1, 11, 11)
    taps = torch.tensor([0.05, 0.25, 0.4, 0.25, 0.05])
    kernel = torch.outer(taps, taps).expand(3, 1, 5, 5)

    def mean(t: Tensor) -> Tensor:
        return F.conv2d(t, window, padding=5, groups=3)

    def ssim(a: Tensor, b: Tensor) -> Tensor:
        ma, mb = mean(a), mean(b)
        va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
        c1, c2 = 1e-4, 9e-4
        return (
            (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
        ).mean()

    def laplacian(t: Tensor) -> Tensor:
        def blur(u: Tensor) -> Tensor:
            return F.conv2d(F.pad(u, (2, 2, 2, 2), mode="replicate"), kernel, groups=3)

        up = torch.zeros_like(t)
        up[:, :, ::2, ::2] = blur(t)[:, :, ::2, ::2] * 4
        return t - blur(up)

    def edge(a: Tensor, b: Tensor) -> Tensor:
        return torch.sqrt((laplacian(a) - laplacian(b)) ** 2 + 1e-6).mean()

    def step() -> None:
        optimiser.zero_grad()
        one, two = network(rainy)
        loss = 2 - ssim(one, clean) - ssim(two, clean)
        loss = loss + 0.05 * (edge(one, clean) + edge(two, clean))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def loading_seconds(patch: int, crops: int = 200) -> float:
    """Seconds of the processor that a crop of a photo takes, with its rain."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for i in range(4):
            noise = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((960, 640)).save(Path(folder) / f"{i}.jpg")
        data = {"photos": folder, "patch": patch, "scale": [1, 2], "workers": 0}
        recipe = Recipe.model_validate({"output": "unused", "data": data, "steps": 1})
        training, _ = open_sources(recipe)
        dataset = TrainingSet(training, patch=patch, flips=True, seed=0)
        for i in range(len(training)):
            dataset[1, i]
        start = time.process_time()
        for i in range(crops):
            dataset[2, i]
        return (time.process_time() - start) / crops


def judge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether the claim holds; a machine without the instructions cannot tell."""
    if choose_precision("auto") != "bf16-mixed" or torch.cuda.is_available():
        return {"claim": CLAIM, "verdict": "not verified: this CPU multiplies no bfloat16"}
    ratio = min(row["times_plain"] for row in rows if row["loop"] == "ours")
    return {"claim": CLAIM, "verdict": "verified" if ratio >= 5 else "false", "measured": ratio}


if __name__ == "__main__":
    main()
