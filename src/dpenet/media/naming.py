"""What the result of a file is called: by what the file holds, not by what somebody named it."""

from __future__ import annotations

import re
from pathlib import Path

from dpenet.media.containers import HEAD_BYTES, SUFFIXES, is_clip
from dpenet.media.formats import FORMATS, READ, WRITTEN, default_format, sniff, written_suffix

# In the order in which they are tried, on what is known to be a clip.
_CLIPS = (
    (".3gp", rb".{4}ftyp3g"),
    (".mov", rb".{4}(?:ftypqt|moov|mdat|free|wide|skip|pnot)"),
    (".mp4", rb".{4}ftyp"),
    (".webm", rb"\x1a\x45\xdf\xa3.{0,64}webm"),
    (".mkv", rb"\x1a\x45\xdf\xa3"),
    (".avi", rb"RIFF"),
    (".flv", rb"FLV"),
    (".ogv", rb"OggS"),
    (".y4m", rb"YUV4MPEG2"),
    (".nut", rb"nut/"),
    (".ivf", rb"DKIF"),
    (".wmv", rb"\x30\x26\xb2\x75"),
    (".mxf", rb"\x06\x0e\x2b\x34"),
    (".mpg", rb"\x00\x00\x01[\xb3\xba]"),
    (".h264", rb"\x00?\x00\x00\x01[\x09\x27\x47\x67]"),
    (".hevc", rb"\x00?\x00\x00\x01[\x40\x46]\x01"),
    (".ts", rb"\x47.{187}\x47"),
    (".m2ts", rb".{4}\x47.{191}\x47"),
)
_ANY_CLIP = ".mkv"
# Suffixes of clips that no result has.
_FOREIGN = frozenset({".asf", ".divx", ".f4v", ".m2v", ".rm", ".vob"})


def named(place: Path, source: Path) -> Path:
    """A place with the suffix of the result of a file.

    That is the file's own if its content is of that kind. Otherwise it is the usual one of the
    content; of content that is not known, which may be a picture of a rare format, one by the name.

    Args:
        place: The name of the file, or the way to it.
        source: The file; nothing is known of the content of one that cannot be read.
    """
    suffix = place.suffix.lower()
    fitting, usual = _suffixes(_head(source))
    if not fitting:
        fitting, usual = SUFFIXES.union(WRITTEN), written_suffix(suffix)
    if suffix in fitting:
        return place
    known = suffix in READ | SUFFIXES | _FOREIGN
    return place.with_name((place.stem if known else place.name) + usual)


def _suffixes(head: bytes) -> tuple[frozenset[str], str]:
    """Those that fit a file, by its first bytes, and the usual one; of what is not known none."""
    if is_clip(head):
        kinds = (suffix for suffix, kind in _CLIPS if re.match(kind, head, re.DOTALL))
        return SUFFIXES, next(kinds, _ANY_CLIP)
    if (kind := sniff(head)) is None:
        return frozenset(), ""
    suffixes = FORMATS[default_format(kind)].suffixes
    return frozenset(suffixes), suffixes[0]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""
