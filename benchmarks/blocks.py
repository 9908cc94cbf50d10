"""Measure how much of a network is used: what each block adds, and how much each gets to look at.

    python -m benchmarks.blocks --model universal --model rain100h

Writes ``benchmarks/results/blocks.json``, of squares of the pictures in ``examples/``: PSNR of the
result of a network whose block passes on what it gets, against that of the whole network, null
where they are equal; and of how many independent channels what enters the block consists, about
(effective rank of their covariance: Roy and Vetterli, EUSIPCO 2007). Rows of models that were not
named stay as they are.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.machine import REPOSITORY, commit
from benchmarks.quantization import examples
from torch import Tensor, nn

from dpenet.atomic import atomic_path
from dpenet.inference.torch_engine import network_of
from dpenet.network import DDRB, ERPAB, DPENet
from dpenet.zoo import load_weights

RESULTS = REPOSITORY / "benchmarks" / "results" / "blocks.json"
SCHEMA = 1


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", action="append", required=True, help="name, or a file")
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    pictures = torch.cat([torch.from_numpy(picture) for picture in examples()])
    rows = json.loads(args.output.read_text())["rows"] if args.output.exists() else []
    for name in args.model:
        weights = load_weights(name)
        found = [
            {"model": weights.name.lower()} | row for row in measure(network_of(weights), pictures)
        ]
        print(*found, sep="\n", flush=True)
        rows = [row for row in rows if row["model"] != found[0]["model"]] + found
    record = {"schema": SCHEMA, "commit": commit(), "rows": rows}
    with atomic_path(args.output) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


@torch.no_grad()
def measure(network: DPENet, pictures: Tensor) -> list[dict[str, Any]]:
    """What each block of a network does for pictures.

    Args:
        network: As it was trained; it comes back unchanged.
        pictures: Rainy ones, (N, 3, H, W), RGB in 0..1.

    Returns:
        For each block, in order: its name, ``psnr_without`` in dB and the ``rank`` of what it gets.
    """
    blocks = {
        name: block for name, block in network.named_children() if isinstance(block, DDRB | ERPAB)
    }
    entering: dict[nn.Module, Tensor] = {}

    def watch(block: nn.Module, args: tuple[Tensor]) -> None:
        (entering[block],) = args

    hooks = [block.register_forward_pre_hook(watch) for block in blocks.values()]
    whole = network(pictures).stage2.clamp(0, 1)
    for hook in hooks:
        hook.remove()
    rows = []
    for name, block in blocks.items():
        setattr(network, name, nn.Identity())
        error = float((network(pictures).stage2.clamp(0, 1) - whole).square().mean())
        setattr(network, name, block)
        psnr = round(-10 * math.log10(error), 2) if error else None
        rank = round(effective_rank(entering[block]), 2)
        rows.append({"block": name, "psnr_without": psnr, "rank": rank})
    return rows


def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the spectrum of the channels' covariance; (N, C, H, W)."""
    covariance = np.cov(features.double().movedim(1, 0).flatten(1).numpy())
    spectrum = np.linalg.eigvalsh(np.atleast_2d(covariance)).clip(min=0)
    shares = spectrum[spectrum > 0] / spectrum.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


if __name__ == "__main__":
    main()
