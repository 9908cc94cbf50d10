from __future__ import annotations

import numpy as np

from dpenet.rain import Array


def grey(level: float, height: int = 64, width: int = 80) -> Array:
    return np.full((height, width, 3), level, np.float32)
