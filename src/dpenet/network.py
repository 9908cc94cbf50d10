"""DPENet, the dual-stage progressive enhancement network, in PyTorch.

Wen et al., "From heavy rain removal to detail restoration: A faster and better network",
Pattern Recognition 148 (2024) 110205. The classes carry the names of the paper's figures::

    x ─ R2Net (10 x DDRB) ─ + x ─ stage 1 ─ ReLU ─ DRNet (3 x ERPAB) ─ + stage 1 ─ stage 2

Attribute names (``inconv1``, ``ddrb3.dconv5.0``, ...) are those of the published checkpoints, so
that a published state dict loads with ``strict=True``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Stages(NamedTuple):
    """The two outputs of the network, each of shape (N, 3, H, W), not clipped to 0..1."""

    stage1: Tensor
    stage2: Tensor


def conv3x3(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size: padding = dilation, no bias."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation, bias=False)


class DDRB(nn.Module):
    """Dilated dense residual block: dilations 1, 2 and 5, each fed the sum of all before it.

    Shape: (N, width, H, W) in and out. Reach: 2 * (1 + 2 + 5) = 16 pixels each way.
    """

    reach = 16

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dconv1 = self._pair(width, dilation=1)
        self.dconv2 = self._pair(width, dilation=2)
        self.dconv5 = self._pair(width, dilation=5)

    @staticmethod
    def _pair(width: int, dilation: int) -> nn.Sequential:
        return nn.Sequential(
            conv3x3(width, width, dilation), nn.ReLU(), conv3x3(width, width, dilation)
        )

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.dconv1(x)
        x2 = self.dconv2(torch.relu(x + x1))
        x3 = self.dconv5(torch.relu(x + x1 + x2))
        return torch.relu(x + x1 + x2 + x3)


class ERPAB(nn.Module):
    """Enhanced residual pixel-wise attention block.

    Three parallel dilated convolutions are fused by a 1x1, and a one-channel bottleneck gives every
    pixel of every channel its own weight in 0..1.

    Shape: (N, width, H, W) in and out. Reach: 5 + 1 + 1 = 7 pixels each way.
    """

    reach = 7

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inconv1 = conv3x3(width, width, dilation=1)
        self.inconv2 = conv3x3(width, width, dilation=2)
        self.inconv3 = conv3x3(width, width, dilation=5)
        self.outconv = nn.Sequential(nn.Conv2d(3 * width, width, 1), nn.ReLU())
        self.pa = nn.Sequential(conv3x3(width, 1), nn.ReLU(), conv3x3(1, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        u = self.outconv(torch.cat([self.inconv1(x), self.inconv2(x), self.inconv3(x)], dim=1))
        return torch.relu(u * self.pa(u) + x)


class DPENet(nn.Module):
    """R2Net removes the streaks (stage 1), DRNet restores the details (stage 2).

    Both output layers are linear. The released code has a ReLU after each: with it the network
    can only brighten, and the published checkpoints remove nothing.

    Args:
        width: Channels of every hidden layer, 1 or more (paper: 32).
        n_ddrb: DDRBs in R2Net, 1 or more (paper: 10; light: 5).
        n_erpab: ERPABs in DRNet, 1 or more (paper: 3).

    Raises:
        ValueError: If a number is not a positive integer.
    """

    def __init__(self, width: int = 32, n_ddrb: int = 10, n_erpab: int = 3) -> None:
        super().__init__()
        for name, value in {"width": width, "n_ddrb": n_ddrb, "n_erpab": n_erpab}.items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, not {value!r}")
        self.width, self.n_ddrb, self.n_erpab = width, n_ddrb, n_erpab

        self.inconv1 = nn.Sequential(nn.Conv2d(3, width, 1, bias=False), nn.ReLU())
        for i in range(1, n_ddrb + 1):
            self.add_module(f"ddrb{i}", DDRB(width))
        self.outconv1 = nn.Sequential(nn.Conv2d(width, 3, 1, bias=False))

        self.inconv2 = nn.Sequential(nn.Conv2d(3, width, 1, bias=False), nn.ReLU())
        for i in range(1, n_erpab + 1):
            self.add_module(f"erpab{i}", ERPAB(width))
        self.outconv2 = nn.Sequential(nn.Conv2d(width, 3, 1, bias=False))

    @property
    def receptive_field(self) -> int:
        """How many pixels each way an output pixel depends on (full: 181, light: 101)."""
        return self.n_ddrb * DDRB.reach + self.n_erpab * ERPAB.reach

    def r2net(self, x: Tensor) -> Tensor:
        """Rain streaks removal: what to add to ``x`` to get stage 1."""
        features = self.inconv1(x)
        for i in range(1, self.n_ddrb + 1):
            features = self.get_submodule(f"ddrb{i}")(features)
        out: Tensor = self.outconv1(features)
        return out

    def drnet(self, stage1: Tensor) -> Tensor:
        """Details reconstruction: what to add to stage 1 to get stage 2."""
        features = self.inconv2(stage1)
        for i in range(1, self.n_erpab + 1):
            features = self.get_submodule(f"erpab{i}")(features)
        out: Tensor = self.outconv2(features)
        return out

    def forward(self, x: Tensor) -> Stages:
        """Derain a batch.

        Args:
            x: Rainy pictures, (N, 3, H, W), float, RGB in 0..1.

        Returns:
            Both stages, each (N, 3, H, W). Stage 2 is the result; clip it to 0..1.
        """
        stage1 = x + self.r2net(x)
        stage2 = stage1 + self.drnet(torch.relu(stage1))
        return Stages(stage1, stage2)


class LightDPENet(DPENet):
    """DPENet with 5 DDRBs: 57 % of the parameters, receptive field 101."""

    def __init__(self, width: int = 32, n_ddrb: int = 5, n_erpab: int = 3) -> None:
        super().__init__(width, n_ddrb, n_erpab)
