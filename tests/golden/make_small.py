"""Make ``small.npz``: a small random network, an input, and what PyTorch computes of it.

Run it only when the network itself is meant to change: ``python tests/golden/make_small.py``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from dpenet.network import DPENet
from dpenet.zoo import Architecture

SMALL = Path(__file__).with_name("small.npz")


def main() -> None:
    rng = np.random.default_rng(6)
    architecture = Architecture(width=3, n_ddrb=2, n_erpab=2)
    state = {
        # Of a size that every layer shows in the output, which stays of the order of 1.
        key: rng.normal(0, 0.7 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        for key, shape in architecture.shapes().items()
    }
    picture = rng.integers(0, 256, (13, 17, 3), np.uint8)
    network = DPENet(architecture.width, architecture.n_ddrb, architecture.n_erpab)
    network.load_state_dict({key: torch.from_numpy(array) for key, array in state.items()})
    x = torch.from_numpy(np.moveaxis(picture, 2, 0)[None] / np.float32(255))
    with torch.no_grad():
        stages = network(x)
    outputs = {"stage1": stages.stage1.numpy(), "stage2": stages.stage2.numpy()}
    np.savez_compressed(SMALL, allow_pickle=False, picture=picture, **outputs, **state)


if __name__ == "__main__":
    main()
