"""The shape of a DPENet: what a state dict must hold, and what can be told from one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from numpy.typing import NDArray

from dpenet.errors import ModelError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """How wide and how deep a DPENet is (`dpenet.network.DPENet` draws it).

    Args:
        width: Channels of every hidden layer, 1 or more (paper: 32).
        n_ddrb: DDRBs in R2Net, 1 or more (paper: 10; light: 5).
        n_erpab: ERPABs in DRNet, 1 or more (paper: 3).

    Raises:
        ModelError: If a number is not a positive integer.
    """

    width: int = 32
    n_ddrb: int = 10
    n_erpab: int = 3

    def __post_init__(self) -> None:
        for field in fields(self):
            value: object = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ModelError(f"{field.name} must be an integer of at least 1, not {value!r}")

    @classmethod
    def of(cls, state: Mapping[str, NDArray[Any]]) -> Architecture:
        """Deduce the architecture from a state dict, every key and shape of which must fit.

        Raises:
            ModelError: If keys are missing, unexpected, or of the wrong shape; it names them.
        """
        first = state.get("inconv1.0.weight")
        architecture = cls(
            width=first.shape[0] if first is not None and first.ndim == 4 and first.size else 32,
            n_ddrb=_count(state, "ddrb"),
            n_erpab=_count(state, "erpab"),
        )
        expected = architecture.shapes()
        missing = [key for key in expected if key not in state]
        unexpected = [key for key in state if key not in expected]
        if missing or unexpected:
            found = [("missing", missing), ("unexpected", unexpected)]
            raise ModelError(
                "these are not the weights of a DPENet: "
                + "; ".join(f"{what} {_some(keys)}" for what, keys in found if keys)
            )
        wrong = [
            f"{key} is {_cross(state[key].shape)} instead of {_cross(shape)}"
            for key, shape in expected.items()
            if state[key].shape != shape
        ]
        if wrong:
            raise ModelError(f"not the shapes of a DPENet: {_some(wrong)}")
        return architecture

    @property
    def stage1_field(self) -> int:
        """How many pixels each way a pixel of stage 1 depends on: 16 per DDRB."""
        return 16 * self.n_ddrb

    @property
    def receptive_field(self) -> int:
        """How many pixels each way a pixel of the result depends on: 7 more per ERPAB."""
        return self.stage1_field + 7 * self.n_erpab

    @property
    def parameters(self) -> int:
        """How many numbers are learnt (paper: 647,328)."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def shapes(self) -> dict[str, Shape]:
        """Every key of the state dict with its shape, in the order of the published files."""
        w = self.width
        shapes: dict[str, Shape] = {
            "inconv1.0.weight": (w, 3, 1, 1),
            "inconv2.0.weight": (w, 3, 1, 1),
            "outconv1.0.weight": (3, w, 1, 1),
            "outconv2.0.weight": (3, w, 1, 1),
        }
        for block in range(1, self.n_ddrb + 1):
            for dilation in (1, 2, 5):
                for layer in (0, 2):
                    shapes[f"ddrb{block}.dconv{dilation}.{layer}.weight"] = (w, w, 3, 3)
        for block in range(1, self.n_erpab + 1):
            for branch in (1, 2, 3):
                shapes[f"erpab{block}.inconv{branch}.weight"] = (w, w, 3, 3)
            shapes[f"erpab{block}.outconv.0.bias"] = (w,)
            shapes[f"erpab{block}.outconv.0.weight"] = (w, 3 * w, 1, 1)
            shapes[f"erpab{block}.pa.0.weight"] = (1, w, 3, 3)
            shapes[f"erpab{block}.pa.2.weight"] = (w, 1, 3, 3)
        return shapes


def _count(state: Mapping[str, NDArray[Any]], block: str) -> int:
    """How many blocks of a kind there are; at least 1, so that what misses can be named.

    Numbers are counted, not read: a key such as ``ddrb999999999.`` must not cost memory.
    """
    found = (re.match(rf"{block}(\d+)\.", key) for key in state)
    return max(1, len({match[1] for match in found if match}))


def _some(names: list[str], most: int = 3) -> str:
    # Keys of an untrusted file must not reach a terminal with control characters in them.
    short = [name[:100] for name in names[:most]]
    shown = ", ".join(name if name.isprintable() else repr(name) for name in short)
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _cross(shape: Shape) -> str:
    return "x".join(map(str, shape)) or "a single number"
