"""What a picture file holds beside its pixels, carried over byte for byte.

libvips rewrites EXIF through libexif (which can break maker notes), invents one where there was
none, and neither reads nor writes it in TIFF. So EXIF goes around it here: the block of the
source, patched in place only where the output differs, is put into the encoded file.

Sources: CIPA DC-008 (EXIF), TIFF 6.0, and Adobe's image resource blocks for IPTC.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from dpenet.media import directories
from dpenet.media.coding import Coding
from dpenet.media.directories import EXIF, GPS, Directory

_ORIENTATION = 0x0112
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_THUMBNAIL, _THUMBNAIL_SIZE = 0x0201, 0x0202
IPTC, PHOTOSHOP = 0x83BB, 0x8649
IPTC_RESOURCE = 0x0404
_THUMBNAIL_RESOURCES = (0x0409, 0x040C)
_SUBFILE = 0x00FE
# Tags of a TIFF's directory that describe the picture rather than how it is stored: what page it
# is, description, maker, model, software, date, artist, computer, rating, copyright, Windows' XP
# tags.
DESCRIPTIVE = frozenset(
    {_SUBFILE, EXIF, GPS, 0x010E, 0x010F, 0x0110, 0x011D, 0x0129, 0x0131, 0x0132, 0x013B, 0x013C}
) | frozenset({0x4746, 0x4749, 0x8298, *range(0x9C9B, 0x9CA0)})
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|>)\s*)[2-8]")


class Thumbnail(NamedTuple):
    """Where an EXIF block has room for a thumbnail; positions are in bytes from its start.

    Attributes:
        link: Where the position of its directory belongs.
        directory: That position.
        length: Where the directory has the length of the thumbnail.
        place: Where the thumbnail belongs.
        room: How many bytes it may have.
    """

    link: int
    directory: int
    length: int
    place: int
    room: int


# Pixels per millimetre that formats can hold; a file that says more, or nothing real, is damaged.
_MOST_PER_MM = 1e6


@dataclass(frozen=True)
class Metadata:
    """What is kept of a file beside its pixels.

    Attributes:
        icc: ICC profile.
        exif: EXIF block, from its byte order mark on, its orientation upright.
        xmp: XMP packet.
        photoshop: Adobe image resources, among them IPTC.
        resolution: Pixels per millimetre, horizontal and vertical; 72 dpi if the file has none.
        comments: Text entries of a PNG, as libvips names them.
        thumbnail: Where the EXIF block had a thumbnail, if it had one.
        coding: How the file was compressed, if it was a JPEG, WebP or AVIF.
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None
    resolution: tuple[float, float] = (72 / 25.4, 72 / 25.4)
    comments: tuple[tuple[str, str], ...] = ()
    thumbnail: Thumbnail | None = None
    coding: Coding | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not all(0 < per_mm < _MOST_PER_MM for per_mm in self.resolution):
            object.__setattr__(self, "resolution", Metadata.resolution)

    def at_quality(self, quality: int | None) -> Metadata:
        """The same of an output that is compressed as somebody wants it.

        Args:
            quality: From 1 to 100, on the scale of the output's format; None for that of the
                source. Formats without loss have none.
        """
        return self if quality is None else replace(self, coding=Coding("", asked=quality))


def upright(exif: bytes, height: int, width: int) -> tuple[bytes | None, Thumbnail | None]:
    """Patch an EXIF block for an output that is turned upright: orientation 1, its new size.

    Everything else stays where it is, because maker notes refer to absolute positions. The
    thumbnail, which shows the rain, and lies the way the source did, is blanked, and the link to it
    cut; `with_thumbnail` puts another in its place.

    Args:
        exif: The block, with or without the ``Exif`` heading of JPEG.
        height: Of the output in pixels.
        width: Of the output in pixels.

    Returns:
        The patched block without heading, or None if it is too damaged to be understood; and where
        the thumbnail was.
    """
    data = bytearray(exif.removeprefix(b"Exif\0\0"))
    try:
        form, start = directories.header(data)
        if form.big:  # no EXIF block is
            return None, None
        order = form.order
        inner_start: int | None = None
        for tag, at in directories.fields(data, form, start):
            if tag == _ORIENTATION:
                struct.pack_into(order + "HIHH", data, at + 2, 3, 1, 1, 0)
            elif tag == EXIF and inner_start is None:  # which a damaged block repeats
                inner_start = directories.number(data, form, at + 8)
                for inner, inner_at in directories.fields(data, form, inner_start):
                    if inner in (_PIXEL_WIDTH, _PIXEL_HEIGHT):
                        size = width if inner == _PIXEL_WIDTH else height
                        struct.pack_into(order + "HII", data, inner_at + 2, 4, 1, size)
        thumbnail = _blank_thumbnail(data, form, directories.link(data, form, start))
    except (struct.error, ValueError):
        return None, None
    return bytes(data), thumbnail


def _blank_thumbnail(data: bytearray, form: directories.Form, link: int) -> Thumbnail | None:
    start = directories.number(data, form, link)
    struct.pack_into(form.order + "I", data, link, 0)
    if not start:
        return None
    values = {}
    try:
        for tag, at in directories.fields(data, form, start):
            if tag == _ORIENTATION:
                struct.pack_into(form.order + "HIHH", data, at + 2, 3, 1, 1, 0)
            values[tag] = at + form.value
        place, room = (
            directories.number(data, form, values[tag]) for tag in (_THUMBNAIL, _THUMBNAIL_SIZE)
        )
    except (struct.error, ValueError, KeyError):
        return None  # none, or one that is not a JPEG
    if data[place : place + 2] != b"\xff\xd8" or place + room > len(data):
        return None
    data[place : place + room] = bytes(room)
    return Thumbnail(link, start, values[_THUMBNAIL_SIZE], place, room)


def with_thumbnail(exif: bytes, thumbnail: Thumbnail, jpeg: bytes) -> bytes:
    """Put a thumbnail where `upright` took one away.

    Args:
        exif: The block.
        thumbnail: Where.
        jpeg: What, no longer than there is room.
    """
    data = bytearray(exif)
    form, _ = directories.header(data)
    struct.pack_into(form.order + "I", data, thumbnail.link, thumbnail.directory)
    struct.pack_into(form.order + "I", data, thumbnail.length, len(jpeg))
    data[thumbnail.place : thumbnail.place + len(jpeg)] = jpeg
    return bytes(data)


def upright_xmp(xmp: bytes) -> bytes:
    """The packet, saying that the picture is upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def exif_of_tiff(directory: Directory) -> bytes | None:
    """The EXIF block that says what a TIFF's own directory says, or None if it says nothing."""
    described = {tag: value for tag, value in directory.items() if tag in DESCRIPTIVE}
    if not any(described.get(_SUBFILE, (0, b""))[1]):
        described.pop(_SUBFILE, None)  # it is the main picture, as every other
    if not described:
        return None
    return b"II*\0\x08\0\0\0" + directories.pack(described, directories.CLASSIC, 8)


def photoshop_of_tiff(directory: Directory) -> bytes | None:
    """The Adobe resources in a TIFF's directory, or ones made to hold its bare IPTC."""
    for tag in (PHOTOSHOP, IPTC):
        match directory.get(tag):
            case (int(), bytes(value)):
                return value if tag == PHOTOSHOP else _resource(IPTC_RESOURCE, value)
    return None


def _resource(identifier: int, content: bytes) -> bytes:
    head = struct.pack(">4sHHI", b"8BIM", identifier, 0, len(content))
    return head + content + b"\0" * (len(content) % 2)


def without_thumbnails(resources: bytes) -> bytes:
    """Adobe's image resources without those that show the rainy picture."""
    found = list(_resources(resources))
    if not any(identifier in _THUMBNAIL_RESOURCES for identifier, _, _ in found):
        return resources
    keep = [whole for identifier, whole, _ in found if identifier not in _THUMBNAIL_RESOURCES]
    return b"".join(keep)


def find_resource(resources: bytes, identifier: int) -> bytes | None:
    """What one of Adobe's image resources holds."""
    return next((held for found, _, held in _resources(resources) if found == identifier), None)


def _resources(resources: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Identifier, bytes and content of each."""
    start = 0
    while resources[start : start + 4] == b"8BIM" and start + 12 <= len(resources):
        (identifier,) = struct.unpack_from(">H", resources, start + 4)
        # The name: a length byte and padding to even.
        at = start + 6 + (resources[start + 6] + 2) // 2 * 2
        size = int.from_bytes(resources[at : at + 4], "big")
        end = at + 4 + size + size % 2
        yield identifier, resources[start:end], resources[at + 4 : at + 4 + size]
        start = end
