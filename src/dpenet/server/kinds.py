"""Media types: of what is sent, and which of them the client wants back."""

from __future__ import annotations

from dpenet.media.formats import FORMATS
from dpenet.server.failures import RefusedError

_TYPES = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "tiff": "image/tiff",
    "webp": "image/webp",
    "avif": "image/avif",
    "bmp": "image/bmp",
    "gif": "image/gif",
    "ppm": "image/x-portable-anymap",
    "pfm": "image/x-portable-floatmap",
}
PICTURES = {name: type_ for name, type_ in _TYPES.items() if name in FORMATS}
"""The media type of every format that an answer can have."""

CLIPS = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
}
"""The media type of every kind of clip that is taken."""

_FALLBACKS = {"heic": "jpeg"}


def answer_format(sent: str, asked: str | None, accept: str | None) -> str:
    """The format of the answer.

    Args:
        sent: Format of the picture that came, as `dpenet.media.formats.sniff` names it.
        asked: The parameter ``format``, which decides if it is there.
        accept: The header Accept. Of the formats that it likes best the one sent is taken.

    Raises:
        RefusedError: If nothing that it accepts can be written.
    """
    if asked is not None:
        return asked
    own = sent if sent in PICTURES else _FALLBACKS.get(sent, "png")
    if not accept:
        return own
    liking = _parse(accept)
    best = max(PICTURES, key=lambda name: (_quality(PICTURES[name], liking), name == own))
    if _quality(PICTURES[best], liking) <= 0:
        raise RefusedError(
            406, "not_acceptable", f"the answer can be one of: {', '.join(PICTURES.values())}"
        )
    return best


def clip_suffix(head: bytes) -> str | None:
    """What a file with a clip is called, by its first bytes; None if it is of no kind taken."""
    if head[4:8] == b"ftyp":
        return ".mov" if head[8:12] == b"qt  " else ".mp4"
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ".webm" if b"webm" in head[:64] else ".mkv"
    return ".avi" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


def _parse(accept: str) -> dict[str, float]:
    """How much each media range is liked, from 0 to 1 (RFC 9110, section 12.5.1)."""
    liking = {}
    for item in accept.split(","):
        media_range, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            liking[media_range] = min(1.0, max(0.0, float(quality)))
        except ValueError:
            liking[media_range] = 0.0
    return liking


def _quality(media_type: str, liking: dict[str, float]) -> float:
    ranges = (media_type, media_type.partition("/")[0] + "/*", "*/*")
    return next((liking[name] for name in ranges if name in liking), 0.0)
