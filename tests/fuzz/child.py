"""Derains one file after another as a user would; dies alone if a codec does.

A path a line on standard input; for each, a line of JSON on standard output.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np

from dpenet.errors import DpenetError
from dpenet.inference.benchmark import peak_memory
from dpenet.inference.clips import ClipOptions, derain_clip, look_at
from dpenet.inference.derainer import Derainer
from dpenet.inference.files import derain_file
from dpenet.media.containers import is_clip
from dpenet.media.formats import WRITTEN
from dpenet.media.images import read_picture
from dpenet.zoo import Architecture, Weights


def main() -> None:
    """Answer until the input ends."""
    derainer = Derainer(_tiny(), precision="fp32", threads=1, memory="1GB")
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as folder:
            answer = _try(derainer, Path(line.rstrip("\n")), Path(folder))
        sys.stdout.write(json.dumps(answer | {"peak": peak_memory()}) + "\n")
        sys.stdout.flush()


def _tiny() -> Weights:
    rng = np.random.default_rng(0)
    architecture = Architecture(1, 1, 1)
    state = {
        key: rng.normal(0, 0.5 / math.sqrt(math.prod(shape[1:])), shape).astype(np.float32)
        for key, shape in architecture.shapes().items()
    }
    return Weights(state, architecture, name="tiny")


def _try(derainer: Derainer, source: Path, folder: Path) -> dict[str, str]:
    suffix = source.suffix if source.suffix in WRITTEN or is_clip(source) else ".png"
    target = folder / f"out{suffix}"
    try:
        if is_clip(source):
            derain_clip(derainer, look_at(source, ClipOptions()), target)
        else:
            derain_file(derainer, source, target)
    except DpenetError as error:
        left = [path.name for path in folder.iterdir() if not path.name.endswith(".parts")]
        if left:
            return {"wrong": f"refused, and yet left {left}"}
        if "\n" in str(error) or not str(error):
            return {"wrong": f"the error is no line: {error!r}"}
        return {"error": str(error)}
    except BaseException:
        return {"wrong": traceback.format_exc()}
    return _look_at(target)


def _look_at(target: Path) -> dict[str, str]:
    """Whether what was written can be read."""
    try:
        if is_clip(target):
            look_at(target, ClipOptions())
        elif target.suffix.lower() not in {".gif", ".webp", ".tif"}:  # they may hold several
            read_picture(target)
    except DpenetError as error:
        return {"wrong": f"the result cannot be read: {error}"}
    return {}


if __name__ == "__main__":
    main()
