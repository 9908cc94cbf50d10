"""The picture formats: told apart by content when read, chosen by suffix when written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dpenet.errors import PictureError


@dataclass(frozen=True)
class Format:
    """A format that can be written.

    Attributes:
        name: As in ``Picture.format``.
        suffixes: Those that choose it, in lower case.
        sixteen_bit: Whether it holds 16-bit samples; otherwise they are reduced to 8.
        alpha: Whether it holds transparency; otherwise the picture is laid on white.
    """

    name: str
    suffixes: tuple[str, ...]
    sixteen_bit: bool
    alpha: bool


FORMATS = {
    format_.name: format_
    for format_ in (
        Format("png", (".png",), sixteen_bit=True, alpha=True),
        Format("jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), sixteen_bit=False, alpha=False),
        Format("tiff", (".tif", ".tiff"), sixteen_bit=True, alpha=True),
        Format("webp", (".webp",), sixteen_bit=False, alpha=True),
        Format("bmp", (".bmp", ".dib"), sixteen_bit=False, alpha=True),
        Format("gif", (".gif",), sixteen_bit=False, alpha=True),
        Format("ppm", (".ppm", ".pgm", ".pnm"), sixteen_bit=True, alpha=False),
    )
}
WRITTEN = {suffix: format_ for format_ in FORMATS.values() for suffix in format_.suffixes}
# What a folder is searched for. Files named one by one may have any suffix, or none.
READ = frozenset(WRITTEN) | {".avif", ".heic", ".heif", ".j2k", ".jp2", ".tga"}

_SIGNATURES = (
    ("png", rb"\x89PNG\r\n\x1a\n"),
    ("jpeg", rb"\xff\xd8\xff"),
    ("tiff", rb"II[*+]\0|MM\0[*+]"),
    ("webp", rb"RIFF....WEBP"),
    ("gif", rb"GIF8[79]a"),
    ("bmp", rb"BM"),
    ("ppm", rb"P[56]\s"),
    ("heif", rb"....ftyp(?:avi[fs]|hei[cfmsx]|hev[cx]|mif1|msf1)"),
)


def sniff(data: bytes) -> str | None:
    """The format that the first bytes of a file tell, or None if it is not one of the usual."""
    for name, signature in _SIGNATURES:
        if re.match(signature, data, re.DOTALL):
            return name
    return None


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
