"""What a picture file holds beside its pixels, carried over byte for byte.

libvips rewrites EXIF through libexif (which can break maker notes), invents one where there was
none, and neither reads nor writes it in TIFF. So EXIF goes around it here: the block of the
source, patched in place only where the output differs, is put into the encoded file.

Sources: TIFF 6.0 (directories), CIPA DC-008 (EXIF), the JFIF, PNG and WebP container
specifications, and Adobe's image resource blocks for IPTC.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_ORIENTATION, _EXIF, _GPS, _INTEROPERABILITY = 0x0112, 0x8769, 0x8825, 0xA005
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
_IPTC, _PHOTOSHOP = 0x83BB, 0x8649
_IPTC_RESOURCE = 0x0404
# Tags of a TIFF's first directory that describe the picture rather than how it is stored:
# description, maker, model, software, date, artist, computer, rating, copyright, Windows' XP tags.
_DESCRIPTIVE = frozenset(
    {0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749, 0x8298, _EXIF, _GPS}
) | frozenset(range(0x9C9B, 0x9CA0))
# Field type: bytes of a value, bytes of the number it is made of.
_TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1)} | {
    8: (2, 2), 9: (4, 4), 10: (8, 4), 11: (4, 4), 12: (8, 8), 13: (4, 4)
}  # fmt: skip

Directory = dict[int, "tuple[int, bytes] | Directory"]
"""Tag to type and little-endian value, or to the directory that the tag points at."""


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
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    photoshop: bytes | None = None
    resolution: tuple[float, float] = (72 / 25.4, 72 / 25.4)
    comments: tuple[tuple[str, str], ...] = ()


def upright(exif: bytes, height: int, width: int) -> bytes | None:
    """Patch an EXIF block for an output that is turned upright: orientation 1, its new size.

    Everything else stays where it is, because maker notes refer to absolute positions. The link
    to the thumbnail is cut: it shows the rain, and lies the way the source did.

    Args:
        exif: The block, with or without the ``Exif`` heading of JPEG.
        height: Of the output in pixels.
        width: Of the output in pixels.

    Returns:
        The patched block without heading, or None if it is too damaged to be understood.
    """
    data = bytearray(exif.removeprefix(b"Exif\0\0"))
    try:
        order, start = _header(data)
        for tag, at in _fields(data, order, start):
            if tag == _ORIENTATION:
                struct.pack_into(order + "HIHH", data, at + 2, 3, 1, 1, 0)
            elif tag == _EXIF:
                for inner, inner_at in _fields(data, order, _number(data, order, at + 8)):
                    if inner in (_PIXEL_WIDTH, _PIXEL_HEIGHT):
                        size = width if inner == _PIXEL_WIDTH else height
                        struct.pack_into(order + "HII", data, inner_at + 2, 4, 1, size)
        (count,) = struct.unpack_from(order + "H", data, start)
        struct.pack_into(order + "I", data, start + 2 + 12 * count, 0)
    except (struct.error, ValueError):
        return None
    return bytes(data)


def tiff_directory(data: bytes) -> Directory:
    """The first directory of a TIFF file or EXIF block; empty if damaged or a BigTIFF."""
    try:
        order, start = _header(data)
        return _read(data, order, start, {_EXIF, _GPS})
    except (struct.error, ValueError):
        return {}


def exif_of_tiff(directory: Directory) -> bytes | None:
    """The EXIF block that says what a TIFF's own directory says, or None if it says nothing."""
    described = {tag: field for tag, field in directory.items() if tag in _DESCRIPTIVE}
    return b"II*\0\x08\0\0\0" + _pack(described, 8) if described else None


def photoshop_of_tiff(directory: Directory) -> bytes | None:
    """The Adobe resources in a TIFF's directory, or ones made to hold its bare IPTC."""
    for tag in (_PHOTOSHOP, _IPTC):
        match directory.get(tag):
            case (int(), bytes(value)):
                return value if tag == _PHOTOSHOP else _resource(_IPTC_RESOURCE, value)
    return None


def embed(encoded: bytes, format_name: str, metadata: Metadata) -> bytes:
    """Put what libvips does not write as it was into a file that it encoded.

    Args:
        encoded: A whole JPEG, PNG, lossy WebP or little-endian TIFF file.
        format_name: Its format; files of other formats are returned as they are.
        metadata: Its EXIF (and for TIFF its IPTC, for JPEG its resolution) is embedded.
    """
    match format_name:
        case "jpeg":
            return _into_jpeg(encoded, metadata)
        case "tiff":
            return _into_tiff(encoded, metadata)
        case "png" if metadata.exif:
            chunk = b"eXIf" + metadata.exif
            ends = struct.pack(">I", len(metadata.exif)), struct.pack(">I", zlib.crc32(chunk))
            return encoded[:33] + ends[0] + chunk + ends[1] + encoded[33:]  # after the header
        case "webp" if metadata.exif:
            return _into_webp(encoded, metadata.exif)
    return encoded


def _into_jpeg(encoded: bytes, metadata: Metadata) -> bytes:
    x, y = (min(round(per_mm * 25.4), 65535) for per_mm in metadata.resolution)
    jfif = b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, 1, x, y, 0, 0)
    segments = _segment(0xE0, jfif)
    if metadata.exif and len(metadata.exif) < 65528:  # all that a segment can hold
        segments += _segment(0xE1, b"Exif\0\0" + metadata.exif)
    return encoded[:2] + segments + encoded[2:]


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _into_webp(encoded: bytes, exif: bytes) -> bytes:
    chunks = encoded[12:]
    if not chunks.startswith(b"VP8X"):
        # A plain file, lossy and without alpha, has no place for metadata: it becomes an extended
        # one. Its own header has the size, in 14 bits each.
        width, height = (int(size) & 0x3FFF for size in struct.unpack_from("<HH", chunks, 14))
        size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
        chunks = b"VP8X" + struct.pack("<I4x", 10) + size + chunks
    flags = chunks[8] | 0x08
    chunks = chunks[:8] + bytes([flags]) + chunks[9:]
    chunks += b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _into_tiff(encoded: bytes, metadata: Metadata) -> bytes:
    added: Directory = {}
    if metadata.exif:
        described = tiff_directory(metadata.exif)
        added = {tag: field for tag, field in described.items() if tag in _DESCRIPTIVE}
    if metadata.photoshop:
        added[_PHOTOSHOP] = (1, metadata.photoshop)
        if iptc := _find_resource(metadata.photoshop, _IPTC_RESOURCE):
            added[_IPTC] = (7, iptc)
    if not added:
        return encoded
    # The directory is written anew at the end; strips lie where they lay.
    encoded += b"\0" * (len(encoded) % 2)
    directory = _pack(tiff_directory(encoded) | added, len(encoded))
    return encoded[:4] + struct.pack("<I", len(encoded)) + encoded[8:] + directory


def _header(data: bytes | bytearray) -> tuple[str, int]:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
    if order is None:
        raise ValueError("neither a TIFF nor an EXIF block")
    return order, _number(data, order, 4)


def _number(data: bytes | bytearray, order: str, at: int) -> int:
    (number,) = struct.unpack_from(order + "I", data, at)
    return int(number)


def _fields(data: bytes | bytearray, order: str, start: int) -> Iterator[tuple[int, int]]:
    """Tag and position of each 12-byte field of the directory at ``start``."""
    (count,) = struct.unpack_from(order + "H", data, start)
    for at in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from(order + "H", data, at)
        yield tag, at


def _read(data: bytes, order: str, start: int, pointers: set[int]) -> Directory:
    directory: Directory = {}
    for tag, at in _fields(data, order, start):
        kind, count = struct.unpack_from(order + "HI", data, at + 2)
        if tag in pointers:
            directory[tag] = _read(data, order, _number(data, order, at + 8), {_INTEROPERABILITY})
        elif kind in _TYPES:
            size, unit = _TYPES[kind]
            where = at + 8 if size * count <= 4 else _number(data, order, at + 8)
            value = data[where : where + size * count]
            if len(value) == size * count:
                directory[tag] = (kind, _swapped(value, unit) if order == ">" else value)
    return directory


def _swapped(value: bytes, unit: int) -> bytes:
    if unit == 1:
        return value
    return b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))


def _pack(directory: Directory, at: int) -> bytes:
    """A little-endian directory for the file position ``at``, followed by its longer values."""
    fields, values = b"", b""
    base = at + 2 + 12 * len(directory) + 4
    for tag, field in sorted(directory.items()):
        position = base + len(values)
        if isinstance(field, dict):
            kind, count, inline = 4, 1, struct.pack("<I", position)
            values += _pack(field, position)
        else:
            kind, value = field
            count, inline = len(value) // _TYPES[kind][0], value.ljust(4, b"\0")
            if len(value) > 4:
                inline = struct.pack("<I", position)
                values += value
        values += b"\0" * (len(values) % 2)
        fields += struct.pack("<HHI", tag, kind, count) + inline
    return struct.pack("<H", len(directory)) + fields + b"\0\0\0\0" + values


def _resource(identifier: int, content: bytes) -> bytes:
    head = struct.pack(">4sHHI", b"8BIM", identifier, 0, len(content))
    return head + content + b"\0" * (len(content) % 2)


def _find_resource(resources: bytes, identifier: int) -> bytes | None:
    at = 0
    while resources[at : at + 4] == b"8BIM" and at + 12 <= len(resources):
        (found,) = struct.unpack_from(">H", resources, at + 4)
        at += 6 + (resources[at + 6] + 2) // 2 * 2  # the name: a length byte and padding to even
        size = _number(resources.ljust(at + 4, b"\0"), ">", at)
        if found == identifier:
            return resources[at + 4 : at + 4 + size]
        at += 4 + size + size % 2
    return None
