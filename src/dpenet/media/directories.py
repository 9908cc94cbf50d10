"""The directories of TIFF and BigTIFF files, of which an EXIF block has one too.

Sources: TIFF 6.0, the BigTIFF proposal of its library, CIPA DC-008 (EXIF).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from dpenet.media.view import View

EXIF, GPS, INTEROPERABILITY = 0x8769, 0x8825, 0xA005
# Field type: bytes of a value, bytes of the number it is made of.
_TYPES = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (4, 4), 5: (8, 4), 6: (1, 1), 7: (1, 1)} | {
    8: (2, 2), 9: (4, 4), 10: (8, 4), 11: (4, 4), 12: (8, 8), 13: (4, 4), 16: (8, 8), 17: (8, 8)
}  # fmt: skip

# Which tags point at directories, and which do so in those. A damaged file may go round in circles.
_Pointers = dict[int, "_Pointers"]
_POINTERS: _Pointers = {EXIF: {INTEROPERABILITY: {}}, GPS: {INTEROPERABILITY: {}}}

_MOST_FIELDS = 65535
_MOST_BYTES = 1 << 28
"""Of values together, such as the positions of all tiles of a picture."""

Content = bytes | View
"""A file's content, or a view of it of which only what is needed is read."""

Directory = dict[int, "tuple[int, bytes] | Directory"]
"""Tag to type and little-endian value, or to the directory that the tag points at."""


def tiff_directory(data: Content, page: int = 0) -> Directory:
    """A page's directory of a TIFF or BigTIFF file or an EXIF block; empty if damaged."""
    try:
        form, start = header(data)
        for _ in range(page):
            start = number(data, form, link(data, form, start))
        return _Reader(data, form).read(start, _POINTERS)
    except (struct.error, ValueError):
        return {}


class Form(NamedTuple):
    """How a TIFF file counts.

    Attributes:
        order: Of bytes, as `struct` has it.
        counts: Format of the number of fields in a directory.
        word: Format of a position or a number of values; one fits into a field.
    """

    order: str
    counts: str
    word: str

    @property
    def big(self) -> bool:
        return self.word == "Q"

    @property
    def first(self) -> int:
        """Where the header has the position of the first directory."""
        return 8 if self.big else 4

    @property
    def value(self) -> int:
        """Where a field has its value, or the position of it."""
        return 4 + struct.calcsize(self.word)

    @property
    def field(self) -> int:
        """Bytes of a field."""
        return 4 + 2 * struct.calcsize(self.word)


CLASSIC, BIG = Form("<", "H", "I"), Form("<", "Q", "Q")
_FORMS = {
    b"II*\0": CLASSIC,
    b"MM\0*": Form(">", "H", "I"),
    b"II+\0": BIG,
    b"MM\0+": Form(">", "Q", "Q"),
}


def header(data: Content | bytearray) -> tuple[Form, int]:
    """How a file counts, and the position of its first directory."""
    form = _FORMS.get(bytes(data[:4]))
    if form is None:
        raise ValueError("neither a TIFF nor an EXIF block")
    return form, number(data, form, form.first)


def number(data: Content | bytearray, form: Form, at: int) -> int:
    """The position or count that stands at a position."""
    (value,) = _unpacked(form.order + form.word, data, at)
    return int(value)


def _unpacked(kind: str, data: Content | bytearray, at: int) -> tuple[Any, ...]:
    return struct.unpack(kind, data[at : at + struct.calcsize(kind)])


def fields(data: Content | bytearray, form: Form, start: int) -> Iterator[tuple[int, int]]:
    """Tag and position of each field of the directory at ``start``."""
    (count,) = _unpacked(form.order + form.counts, data, start)
    if count > _MOST_FIELDS:
        raise ValueError(f"a directory of {count} fields")
    start += struct.calcsize(form.counts)
    for at in range(start, start + form.field * count, form.field):
        (tag,) = _unpacked(form.order + "H", data, at)
        yield tag, at


def link(data: Content | bytearray, form: Form, start: int) -> int:
    """Where the directory at ``start`` has the position of the next one."""
    (count,) = _unpacked(form.order + form.counts, data, start)
    return start + struct.calcsize(form.counts) + form.field * int(count)


class _Reader:
    """Reads directories, whose values may share bytes, but are not much longer than their file."""

    def __init__(self, data: Content, form: Form) -> None:
        self._data, self._form = data, form
        self._left = min(4 * len(data), _MOST_BYTES)

    def read(self, start: int, pointers: _Pointers) -> Directory:
        """The directory at a position, with those that it points at; a tag counts once."""
        data, form = self._data, self._form
        directory: Directory = {}
        for tag, at in fields(data, form, start):
            if tag in directory:
                continue
            kind, count = _unpacked(form.order + "H" + form.word, data, at + 2)
            at += form.value
            if tag in pointers:
                # A BigTIFF may have this in 4 bytes too.
                short = form._replace(word="I") if kind in (4, 13) else form
                directory[tag] = self.read(number(data, short, at), pointers[tag])
            elif kind in _TYPES:
                size, unit = _TYPES[kind]
                inline = size * count <= struct.calcsize(form.word)
                where = at if inline else number(data, form, at)
                value = self._value(where, size * count)
                if len(value) == size * count:
                    directory[tag] = (kind, _swapped(value, unit) if form.order == ">" else value)
        return directory

    def _value(self, at: int, size: int) -> bytes:
        value = self._data[at : at + size]
        self._left -= len(value)
        if self._left < 0:
            raise ValueError("the values are longer than the file")
        return value


def _swapped(value: bytes, unit: int) -> bytes:
    if unit == 1:
        return value
    return b"".join(value[i : i + unit][::-1] for i in range(0, len(value), unit))


def pack(directory: Directory, form: Form, at: int) -> bytes:
    """A little-endian directory for the file position ``at``, followed by its longer values."""
    entries, values = bytearray(), bytearray()  # of bytes, each += would copy all
    word = struct.calcsize(form.word)
    base = at + struct.calcsize(form.counts) + form.field * len(directory) + word
    for tag, field in sorted(directory.items()):
        position = struct.pack("<" + form.word, base + len(values))
        if isinstance(field, dict):
            kind, count, inline = 18 if form.big else 4, 1, position
            values += pack(field, form, base + len(values))
        else:
            kind, value = field
            count, inline = len(value) // _TYPES[kind][0], value.ljust(word, b"\0")
            if len(value) > word:
                inline = position
                values += value
        values += b"\0" * (len(values) % 2)
        entries += struct.pack("<HH" + form.word, tag, kind, count) + inline
    return struct.pack("<" + form.counts, len(directory)) + bytes(entries + bytes(word) + values)
