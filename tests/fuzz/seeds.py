"""Small real files of every kind that is read: what mutations start from."""

from __future__ import annotations

import io
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin
from tests.clipmaking import make_clip

NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
CLIPS: dict[str, tuple[str, str | None]] = {
    "clip.mp4": ("libx264", "aac"),
    "clip.mkv": ("libx265", "flac"),
    "clip.webm": ("libvpx-vp9", "libopus"),
    "clip.avi": ("mpeg4", "mp2"),
    "clip.ts": ("mpeg2video", "mp2"),
    "h264.avi": ("libx264", None),
    "bare.h264": ("libx264", None),
}


@cache
def seeds() -> dict[str, bytes]:
    """Content by a name whose suffix tells the kind."""
    return _pictures() | _clips()


def _pictures() -> dict[str, bytes]:
    rgb = Image.fromarray(NOISE)
    alpha = Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]))
    frames: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(255 - NOISE)]}
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a street"
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "a street", zip=True)
    deep = NOISE.astype(np.uint16) * 257
    return {
        "baseline.jpg": _saved(rgb, "jpeg", exif=exif),
        "progressive.jpg": _saved(rgb, "jpeg", progressive=True),
        "grey.jpg": _saved(rgb.convert("L"), "jpeg"),
        "cmyk.jpg": _saved(rgb.convert("CMYK"), "jpeg"),
        "plain.png": _saved(rgb, "png", exif=exif, pnginfo=text),
        "alpha.png": _saved(alpha, "png"),
        "palette.png": _saved(rgb.convert("P"), "png"),
        "plain.tif": _tiff(NOISE, photometric="rgb"),
        "deep.tif": _tiff(deep, photometric="rgb", compression="zlib"),
        "float.tif": _tiff(NOISE.astype(np.float32) / 255, photometric="rgb"),
        "pages.tif": _tiff(np.stack([NOISE, NOISE]), photometric="rgb"),
        "lossy.webp": _saved(rgb, "webp", exif=exif),
        "frames.webp": _saved(rgb, "webp", lossless=True, **frames),
        "frames.gif": _saved(rgb, "gif", duration=40, loop=0, **frames),
        "plain.avif": _saved(rgb, "avif"),
        "plain.bmp": _saved(rgb, "bmp"),
        "plain.ppm": _saved(rgb, "ppm"),
        "plain.pfm": b"PF\n32 24\n-1.0\n" + (NOISE / np.float32(255)).tobytes(),
        "plain.jp2": _saved(rgb, "jpeg2000"),
    }


def _clips() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: make_clip(Path(folder, name), codec, frames=4, audio=audio).read_bytes()
            for name, (codec, audio) in CLIPS.items()
        }


def _saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def _tiff(pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()
