"""Clips among files: told by their first bytes, without any decoder."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from dpenet.errors import MissingExtraError

SUFFIXES = frozenset(
    (
        *(".264", ".265", ".3gp", ".avi", ".flv", ".h264", ".hevc", ".ivf", ".m2ts", ".m4v"),
        *(".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogv", ".ts"),
        *(".webm", ".wmv", ".y4m"),
    )
)
"""What files with a clip are called. Any other name does as well, if the content is one."""

HEAD_BYTES = 1024
"""How much of its beginning tells what a file is."""

_PICTURES = rb"avi[fs]|hei[cfmsx]|hev[cx]|mif1|msf1"
_SIGNATURES = re.compile(
    rb"....ftyp(?!" + _PICTURES + rb")"  # MP4 and QuickTime; AVIF and HEIC are pictures
    rb"|....(?:moov|mdat|free|wide|skip|pnot)"
    rb"|\x1a\x45\xdf\xa3"  # Matroska, WebM
    rb"|RIFF....AVI "
    rb"|\x00\x00\x01[\xb0\xb3\xba]"  # MPEG-1, -2 and -4
    rb"|\x00?\x00\x00\x01(?:[\x09\x27\x47\x67]|[\x40\x46]\x01)"  # bare H.264 and H.265
    rb"|\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47"  # MPEG transport stream
    # The same from the middle of a packet: four heads of packets that can be.
    rb"|.{1,187}?(?:\x47[\x00-\x7f].[\x10-\x3f].{184}){4}"
    rb"|.{1,191}?(?:\x47[\x00-\x7f].[\x10-\x3f].{188}){4}"
    rb"|FLV\x01|OggS|YUV4MPEG2 |nut/multimedia|DKIF|\.RMF"
    rb"|\x30\x26\xb2\x75\x8e\x66\xcf\x11"  # ASF: WMV
    rb"|\x06\x0e\x2b\x34\x02\x05\x01\x01",  # MXF
    re.DOTALL,
)


def is_clip(source: Path | bytes) -> bool:
    """Whether a file, or data that begins like one, is a clip rather than a picture.

    A file that cannot be read is none.
    """
    if isinstance(source, bytes):
        head = source
    else:
        try:
            with source.open("rb") as file:
                head = file.read(HEAD_BYTES)
        except OSError:
            return False
    return _SIGNATURES.match(head) is not None


def need_video() -> None:
    """Check that clips can be decoded, before the modules that do so are imported.

    Raises:
        MissingExtraError: If PyAV is not installed.
    """
    if find_spec("av") is None:
        raise MissingExtraError("reading and writing clips", "video")
