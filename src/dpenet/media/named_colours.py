"""Colours that a file names by numbers (ITU-T H.273) instead of describing them by a profile."""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache

from dpenet.errors import PictureError
from dpenet.media.directories import Content
from dpenet.media.metadata import Metadata

_DISPLAY_P3 = 12
_HDR = {16: "PQ", 18: "HLG"}
_HEADERS = 1 << 16  # where a file says it, in bytes


def with_named_colours(name: str, kind: str, data: Content, info: Metadata) -> Metadata:
    """The metadata, with a profile for colours that are named only.

    Args:
        name: Of the file, for errors.
        kind: Its format.
        data: Its content.
        info: What else it holds. If it has a profile, that counts.

    Raises:
        PictureError: If they are those of HDR, which no profile describes.
    """
    if info.icc is not None or (named := _named(kind, data)) is None:
        return info
    primaries, transfer = named
    if transfer in _HDR:
        raise PictureError(
            f"{name}: is an HDR picture ({_HDR[transfer]}), and only those of usual range are "
            "read; export it as SDR"
        )
    return replace(info, icc=_p3()) if primaries == _DISPLAY_P3 else info


def _named(kind: str, data: Content) -> tuple[int, int] | None:
    """Primaries and transfer function."""
    if kind in ("avif", "heic") and (at := data.find(b"colrnclx", 0, _HEADERS)) >= 0:
        return struct.unpack(">HH", data[at + 8 : at + 12])
    if kind == "png" and (at := data.find(b"cICP", 0, data.find(b"IDAT", 0, _HEADERS))) >= 0:
        return data[at + 4], data[at + 5]
    return None


@cache
def _p3() -> bytes:
    import pyvips

    return bytes(pyvips.Operation.call("profile_load", "p3"))
