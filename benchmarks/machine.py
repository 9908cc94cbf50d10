"""What a benchmark's figures depend on besides the code: processor, libraries, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


def cpu() -> dict[str, Any]:
    """The processor, and those of its abilities that decide how networks run."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {"model": platform.processor(), "cores": os.cpu_count(), "flags": []}
    fields = dict(line.split("\t", 1) for line in lines if "\t" in line)
    flags = next((v for k, v in fields.items() if k.strip() == "flags"), "").split()
    return {
        "model": next((v.lstrip("\t: ") for k, v in fields.items() if k == "model name"), ""),
        "cores": os.cpu_count(),
        "flags": [f for f in flags if f.startswith(("avx", "amx", "fma", "asimd", "sve"))],
    }


def commit() -> str | None:
    """The short hash of the checkout that is measured; None outside one."""
    command = ["git", "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def libraries(*names: str) -> dict[str, str]:
    """Installed versions."""
    return {name: version(name) for name in names}
