"""Metadata into encoded files, where libvips and Pillow would not write it as it was.

Sources: CIPA DC-008 (EXIF), the JFIF, PNG and WebP container specifications, TIFF 6.0, and
ISO 14496-12 and 23008-12 for AVIF.
"""

from __future__ import annotations

import struct
import zlib

from dpenet.media import directories
from dpenet.media import metadata as kept
from dpenet.media.directories import Content, Directory, tiff_directory
from dpenet.media.metadata import Metadata

PLACEHOLDER = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
"""An EXIF block that says nothing."""


def embed(encoded: bytes, format_name: str, metadata: Metadata) -> bytes:
    """Put what libvips does not write as it was into a file that it encoded.

    Args:
        encoded: A whole JPEG, PNG, WebP, AVIF or little-endian TIFF file. Of a JPEG or PNG the
            first bytes will do: the rest follows unchanged. In an AVIF `PLACEHOLDER` stands for
            the EXIF.
        format_name: Its format; files of other formats are returned as they are.
        metadata: Its EXIF (and for TIFF its IPTC, for JPEG its resolution) is embedded.
    """
    match format_name:
        case "jpeg":
            return _into_jpeg(encoded, metadata)
        case "tiff":
            start, end = tiff_ends(encoded, metadata)
            return start + encoded[len(start) :] + end
        case "png" if metadata.exif:
            chunk = b"eXIf" + metadata.exif
            ends = struct.pack(">I", len(metadata.exif)), struct.pack(">I", zlib.crc32(chunk))
            return encoded[:33] + ends[0] + chunk + ends[1] + encoded[33:]  # after the header
        case "webp" if metadata.exif:
            return _into_webp(encoded, metadata.exif)
        case "avif" if metadata.exif:
            return _into_avif(encoded, metadata.exif)
    return encoded


def _into_jpeg(encoded: bytes, metadata: Metadata) -> bytes:
    x, y = (min(round(per_mm * 25.4), 65535) for per_mm in metadata.resolution)
    jfif = b"JFIF\0" + struct.pack(">HBHHBB", 0x0102, 1, x, y, 0, 0)
    segments = segment(0xE0, jfif)
    if metadata.exif and len(metadata.exif) < 65528:  # all that a segment can hold
        segments += segment(0xE1, b"Exif\0\0" + metadata.exif)
    rest = encoded[2:]
    if rest.startswith(b"\xff\xe0"):  # the encoder's own
        rest = rest[2 + int.from_bytes(rest[2:4], "big") :]
    return encoded[:2] + segments + rest


def segment(marker: int, content: bytes) -> bytes:
    """A segment of a JPEG; it holds up to 65,533 bytes."""
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _into_webp(encoded: bytes, exif: bytes) -> bytes:
    chunks = encoded[12:]
    if not chunks.startswith(b"VP8X"):
        # A plain file has no place for metadata: it becomes an extended one. Its own header has the
        # size, in 14 bits each.
        flags = 0
        if chunks.startswith(b"VP8L"):
            (header,) = struct.unpack_from("<I", chunks, 9)
            across, down = header & 0x3FFF, header >> 14 & 0x3FFF
            flags = (header >> 28 & 1) << 4  # transparent
        else:
            across, down = ((size & 0x3FFF) - 1 for size in struct.unpack_from("<HH", chunks, 14))
        size = across.to_bytes(3, "little") + down.to_bytes(3, "little")
        chunks = b"VP8X" + struct.pack("<II", 10, flags) + size + chunks
    flags = chunks[8] | 0x08
    chunks = chunks[:8] + bytes([flags]) + chunks[9:]
    chunks += b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _into_avif(encoded: bytes, exif: bytes) -> bytes:
    """Put a block into an AVIF at its end, and let the item point there."""
    content = struct.pack(">I", 6) + b"Exif\0\0"
    item = encoded.find(content)
    # Where the list of places has it: a base, and one extent at 0 from there, before its length.
    extent = struct.Struct(">IHI")
    at = encoded.find(extent.pack(item, 1, 0), 0, item) if item >= 0 else -1
    if at < 0:
        raise ValueError("libvips has left no place for EXIF")
    content += exif
    place = extent.pack(len(encoded) + 8, 1, 0) + struct.pack(">I", len(content))
    box = struct.pack(">I4s", len(content) + 8, b"mdat") + content
    return encoded[:at] + place + encoded[at + len(place) :] + box


def tiff_ends(data: Content, metadata: Metadata) -> tuple[bytes, bytes]:
    """What makes a little-endian TIFF or BigTIFF file hold the metadata.

    Args:
        data: The file.
        metadata: Its EXIF and IPTC are embedded.

    Returns:
        What the first bytes of the file become, and what to add at its end; both empty if there
        is nothing to embed. The directory moves to the end; strips stay where they are.
    """
    added: Directory = {}
    if metadata.exif:
        described = tiff_directory(metadata.exif)
        added = {tag: value for tag, value in described.items() if tag in kept.DESCRIPTIVE}
    if metadata.photoshop:
        added[kept.PHOTOSHOP] = (1, metadata.photoshop)
        if iptc := kept.find_resource(metadata.photoshop, kept.IPTC_RESOURCE):
            added[kept.IPTC] = (7, iptc)
    if not added:
        return b"", b""
    form, _ = directories.header(data)
    padding = b"\0" * (len(data) % 2)
    at = len(data) + len(padding)
    start = data[: form.first] + struct.pack(form.order + form.word, at)
    return start, padding + directories.pack(tiff_directory(data) | added, form, at)
