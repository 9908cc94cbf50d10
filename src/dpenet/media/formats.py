"""The picture formats: told apart by content when read, chosen by suffix when written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dpenet.errors import PictureError
from dpenet.media.directories import Content


@dataclass(frozen=True)
class Format:
    """A format that can be written.

    Attributes:
        name: As in ``Picture.format``.
        suffixes: Those that choose it, in lower case.
        samples: The types of samples that it holds, as numpy names them, the deepest last; others
            become the next that is not deeper, or the first.
        alpha: Whether it holds transparency; otherwise the picture is laid on white.
        pages: What it holds if it can hold more than one picture: ``"pages"`` or ``"frames"``.
    """

    name: str
    suffixes: tuple[str, ...]
    samples: tuple[str, ...]
    alpha: bool
    pages: str | None = None

    @property
    def sixteen_bit(self) -> bool:
        """Whether it holds 16-bit samples."""
        return "uint16" in self.samples

    def sample_type(self, held: np.dtype[Any]) -> np.dtype[Any]:
        """The type of its samples for a picture of another."""
        types = [np.dtype(name) for name in self.samples]
        return max((t for t in types if t.itemsize <= held.itemsize), default=types[0])


_8, _16 = ("uint8",), ("uint8", "uint16")
FORMATS = {
    format_.name: format_
    for format_ in (
        Format("png", (".png",), _16, alpha=True),
        Format("jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), _8, alpha=False),
        Format("tiff", (".tif", ".tiff"), (*_16, "float32"), alpha=True, pages="pages"),
        Format("webp", (".webp",), _8, alpha=True, pages="frames"),
        # Of 16 bits, it keeps 12.
        Format("avif", (".avif",), _16, alpha=True),
        Format("bmp", (".bmp", ".dib"), _8, alpha=True),
        Format("gif", (".gif",), _8, alpha=True, pages="frames"),
        Format("ppm", (".ppm", ".pgm", ".pnm"), _16, alpha=False),
        Format("pfm", (".pfm",), ("float32",), alpha=False),
    )
}
WRITTEN = {suffix: format_ for format_ in FORMATS.values() for suffix in format_.suffixes}
# What a folder is searched for. Files named one by one may have any suffix, or none.
READ = frozenset(WRITTEN) | {".heic", ".heif", ".hif", ".j2k", ".jp2", ".tga"}

_PHOTO_SUFFIXES = frozenset({".heic", ".heif", ".hif"})

_SIGNATURES = (
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("jpeg", rb"\xff\xd8\xff"),
    ("tiff", rb"II[*+]\0|MM\0[*+]"),
    ("webp", rb"RIFF....WEBP"),
    ("gif", rb"GIF8[79]a"),
    ("bmp", rb"BM"),
    ("ppm", rb"P[56]\s"),
    ("pfm", rb"P[Ff]\s"),
)
# The brands of ISO 23008-12 and of the AVIF specification; a file lists all that it conforms to.
_BRANDS = {"avif": {b"avif", b"avis"}, "heic": {b"heic", b"heix", b"heim", b"heis", b"hevc"}}


def sniff(data: Content) -> str | None:
    """The format that the first bytes of a file tell, or None if it is not one of the usual."""
    head = data[:256]
    for name, signature in _SIGNATURES:
        if re.match(signature, head, re.DOTALL):
            return name
    if head[4:8] == b"ftyp":
        size = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[at : at + 4] for at in range(8, size, 4)}
        for name, known in _BRANDS.items():
            if brands & known:
                return name
    return None


def default_format(name: str) -> str:
    """The format that a picture is written in if none is asked for.

    Its own where that can be written. A HEIC photo becomes a JPEG, which is what phones and photo
    programs make of it when they pass it on; anything else becomes a PNG.

    Args:
        name: As in ``Picture.format``.
    """
    return name if name in FORMATS else "jpeg" if name == "heic" else "png"


def written_suffix(suffix: str) -> str:
    """The suffix of a result, for the lower-case suffix of a source that is only read."""
    return ".jpg" if suffix in _PHOTO_SUFFIXES else ".png"


def format_for(path: Path) -> Format:
    """The format that a file name asks for.

    Raises:
        PictureError: If no format that can be written has this suffix.
    """
    try:
        return WRITTEN[path.suffix.lower()]
    except KeyError:
        raise PictureError(
            f"{path}: cannot write {path.suffix or 'a file without suffix'}; "
            f"use one of {' '.join(WRITTEN)}"
        ) from None
