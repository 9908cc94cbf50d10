"""HEIC photos, whose codec comes with the extra ``heif``."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from dpenet.errors import MissingExtraError
from dpenet.media import metadata as kept
from dpenet.media.metadata import Metadata
from dpenet.media.plain import Samples


def open_heic(source: bytes | Path) -> Any:
    """The main picture of a file, not yet decoded; its size is the upright picture's.

    Raises:
        MissingExtraError: If the extra is not installed.
        Exception: Of many kinds if the file is damaged.
    """
    try:
        import pillow_heif
    except ImportError:
        raise MissingExtraError("reading HEIC", "heif") from None
    file = BytesIO(source) if isinstance(source, bytes) else source
    pictures = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
    return pictures[pictures.primary_index]


def decode_heic(image: Any) -> tuple[Samples, Metadata]:
    """Decode: (H, W, 1 to 4) and what else the file holds.

    The file says itself how it is turned; its EXIF repeats that, and does not count.

    Raises:
        Exception: Of many kinds if the file is damaged.
    """
    width, height = image.size
    samples = np.asarray(image)
    if samples.dtype == np.uint16:
        # The bits are at the upper end; the lower ones repeat them, so that white is all ones.
        samples = samples | samples >> np.uint16(image.info["bit_depth"])
    exif, thumbnail = None, None
    if block := image.info.get("exif"):
        exif, thumbnail = kept.upright(block, height, width)
    xmp = image.info.get("xmp")
    info = Metadata(
        icc=image.info.get("icc_profile") or None,
        exif=exif,
        xmp=kept.upright_xmp(xmp) if xmp else None,
        thumbnail=thumbnail,
    )
    return np.ascontiguousarray(samples).reshape(height, width, -1), info
