"""Which device is PyTorch's, found without importing torch where there is none for it."""

from __future__ import annotations

import os
import platform
import sys
from importlib.util import find_spec
from pathlib import Path

from dpenet.errors import MissingExtraError

TORCH_DEVICES = ("cuda", "mps", "torch-cpu")
"""Kinds of devices. The last one is the processor, for tests and measurements."""


def torch_device(name: str, precision: str) -> str | None:
    """The device of PyTorch that an option names, or None if OpenVINO is to compute.

    ``auto`` takes CUDA, then MPS, where there is such a device and torch is installed for it.
    Importing torch takes seconds, so nothing is imported to find out that there is none.

    Args:
        name: Of the device, as in `Options`.
        precision: As in `Options`. No device of PyTorch has int8, so ``auto`` leaves that to
            OpenVINO.

    Returns:
        ``cuda``, ``cuda:1``, ``mps``, ``torch-cpu`` or None.

    Raises:
        MissingExtraError: If a device of PyTorch is named and torch is not installed.
    """
    wanted = name.lower()
    if wanted.partition(":")[0] in TORCH_DEVICES:
        if find_spec("torch") is None:
            raise MissingExtraError(f"device {wanted}", "torch")
        return wanted
    if wanted != "auto" or precision == "int8":
        return None
    kind = "cuda" if _may_have_cuda() else "mps" if _may_have_mps() else None
    if kind is None:
        return None
    from dpenet.inference.torch_engine import is_there

    return kind if is_there(kind) else None


def _may_have_cuda() -> bool:
    """Whether there are a driver of NVIDIA's and a torch that is built for CUDA."""
    windows = Path(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32", "nvcuda.dll")
    drivers = (Path("/dev/nvidia0"), Path("/usr/lib/wsl/lib/libcuda.so.1"), windows)
    torch = find_spec("torch") if any(driver.exists() for driver in drivers) else None
    folders = torch.submodule_search_locations if torch is not None else None
    return any(any(Path(folder, "lib").glob("*torch_cuda*")) for folder in folders or ())


def _may_have_mps() -> bool:
    """Whether this is a Mac with Apple's own processor, and torch is installed."""
    apple = (sys.platform, platform.machine()) == ("darwin", "arm64")
    return apple and find_spec("torch") is not None
