"""Pictures inside a page: error maps, and JPEG as data addresses."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ERROR_FULL = 48  # levels of error shown in the brightest colour
_LONGEST = 960  # px, more than a column of the page ever has
# Six anchors from black over red to pale yellow, evenly spaced; report.css has the same.
_RAMP = np.array(
    [(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)]
)


def error_map(result: NDArray[np.uint8], target: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where a result (H, W, 3) differs from its target: the mean absolute error in colours."""
    error = np.abs(result.astype(np.int16) - target).mean(axis=2)
    position = np.clip(error / ERROR_FULL, 0, 1) * (len(_RAMP) - 1)
    anchors = np.arange(len(_RAMP))
    planes = [np.interp(position, anchors, _RAMP[:, channel]) for channel in range(3)]
    colours: NDArray[np.uint8] = np.rint(np.stack(planes, axis=2)).astype(np.uint8)
    return colours


def as_rgb8(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of a grey or coloured picture of 8 or 16 bits."""
    if pixels.dtype == np.uint16:
        pixels = np.rint(pixels / 257).astype(np.uint8)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).astype(np.uint8)


def data_address(picture: NDArray[np.uint8]) -> str:
    """A picture as ``data:image/jpeg;base64,...``, made smaller where it is very large."""
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    return jpeg_address(image, quality=88)


def jpeg_address(image: Image.Image, **options: int) -> str:
    """An image as ``data:image/jpeg;base64,...``, written with the options of Pillow's JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
