"""dpenet removes rain from photos with the DPENet network (Wen et al., Pattern Recognition 2024).

>>> import dpenet
>>> clean = dpenet.derain(rainy)              # array, PIL image or bytes in, the same kind out
>>> dpenet.derain("street.jpg", out="clean.jpg")

Public names are loaded on first use, so that ``import dpenet`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dpenet.errors import DpenetError as DpenetError
    from dpenet.inference.derainer import Derainer as Derainer
    from dpenet.inference.options import Options as Options
    from dpenet.inference.shortcut import derain as derain
    from dpenet.zoo import list_models as list_models
    from dpenet.zoo import load_weights as load_weights

__version__ = "0.1.0"

_HOMES = {
    "DpenetError": "dpenet.errors",
    "Derainer": "dpenet.inference.derainer",
    "derain": "dpenet.inference.shortcut",
    "Options": "dpenet.inference.options",
    "list_models": "dpenet.zoo",
    "load_weights": "dpenet.zoo",
}
__all__ = ["Derainer", "DpenetError", "Options", "derain", "list_models", "load_weights"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dpenet' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
