"""Pictures larger than memory, read and written in bands: whole rows, from top to bottom.

PNG, JPEG and TIFF (BigTIFF too) can be read and written this way, with the same care for depth,
transparency and metadata as in :mod:`dpenet.media.images`.
"""

from __future__ import annotations

import os
import struct
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from dpenet.errors import PictureError
from dpenet.media import vips
from dpenet.media.directories import tiff_directory
from dpenet.media.embedding import embed, tiff_ends
from dpenet.media.files import make_folder, new_file, refusing_damage, viewed
from dpenet.media.formats import Format, format_for, sniff
from dpenet.media.images import (
    UPRIGHT,
    fitted,
    is_for_pillow,
    separate,
)
from dpenet.media.metadata import Metadata
from dpenet.media.named_colours import with_named_colours
from dpenet.media.plain import Samples

FORMATS = ("png", "jpeg", "tiff")
MAX_PIXELS = 2**32
"""Larger pictures (4.3 gigapixels) are refused before they are decoded."""
MOST_COMPRESSED = 2000
"""Samples for a byte of file, at most: deflate reaches 1,032. What claims more is no picture."""
JPEG_LARGEST_SIDE = 65500
CLASSIC_TIFF_BYTES = 2**32 - 2**26
"""More samples make a BigTIFF. Should nothing shrink, deflate and the metadata add little."""

_CHUNK_ROWS = 16
_CHUNK_COLUMNS = 4096


@dataclass(frozen=True)
class Header:
    """What is known of a picture before it is decoded.

    Attributes:
        height: Of the upright picture.
        width: Of the upright picture.
        channels: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.
        dtype: uint8 or uint16.
        info: What else the file holds.
        format: What the file is: one of ``FORMATS``.
    """

    height: int
    width: int
    channels: int
    dtype: np.dtype[Any]
    info: Metadata
    format: str

    @property
    def bytes_per_row(self) -> int:
        return self.width * self.channels * self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Of the decoded picture."""
        return self.height * self.bytes_per_row


class Reader(Protocol):
    """A picture of which bands are asked for from top to bottom; they may overlap."""

    def read(self, first: int, last: int) -> Samples:
        """Rows ``first`` to ``last - 1``: (rows, width, channels). Neither decreases."""


def read_header(path: Path) -> Header | None:
    """What a file says of its picture; None if it cannot be read in bands.

    That is so with other formats, with several pages or floats, and with interlaced PNG and
    progressive JPEG files, whose first row is complete only when the last is.

    Raises:
        PictureError: If the file cannot be read or is damaged.
    """
    opened = _open(path) if path.is_file() else None
    return opened and opened[0]


@contextmanager
def read_bands(path: Path, scratch: Path) -> Iterator[tuple[Header, Reader]]:
    """Open a picture that `read_header` knows, to be read in bands.

    Args:
        path: The file.
        scratch: A folder for the whole decoded picture, needed if EXIF says that it must be turned;
            it is removed in the end.

    Raises:
        PictureError: If it cannot be read in bands, is larger than ``MAX_PIXELS``, claims more
            than a file of its size can hold, or turns out to be damaged while it is read.
    """
    opened = _open(path) if path.is_file() else None
    if opened is None:
        raise PictureError(
            f"{path}: cannot be read in bands; save it as TIFF, or PNG or JPEG that is neither "
            "interlaced nor progressive"
        )
    header, image = opened
    _check_claim(path, header)
    turn = UPRIGHT.get(vips.orientation(image))
    stored = image.height, image.width
    reader = _Sequential(image, str(path), header)
    del image
    if turn is None:
        yield header, reader
        return
    with _decoded(reader, stored[0], scratch) as file:
        yield header, _Turned(file, stored, turn, header)


@contextmanager
def _decoded(reader: _Sequential, height: int, folder: Path) -> Iterator[IO[bytes]]:
    """A file without a name, with all samples of a picture."""
    with ExitStack() as stack:
        try:
            make_folder(folder)
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder))
            for first in range(0, height, _CHUNK_ROWS):
                file.write(reader.read(first, min(height, first + _CHUNK_ROWS)).data)
            file.flush()
        except OSError as error:
            raise PictureError(
                f"{folder}: no room to turn the picture upright: {error.strerror or error}"
            ) from error
        yield file


@contextmanager
def write_bands(
    path: Path, header: Header, *, overwrite: bool = False
) -> Iterator[Callable[[Samples], None]]:
    """Write a picture band by band, whole or not at all, in the format that the suffix names.

    As with `dpenet.media.images.write_picture`, except that JPEG files are a few percent larger:
    their code tables would have to be chosen after the last row.

    Args:
        path: Where; missing folders are created.
        header: Of the picture.
        overwrite: Whether an existing file may be replaced.

    Yields:
        A function that takes the next rows, (rows, width, channels).

    Raises:
        PictureError: If the file exists, cannot be written, or its suffix or format is unfit.
    """
    target = format_for(path)
    if target.name not in FORMATS:
        raise PictureError(f"{path}: so large a picture is written as PNG, JPEG or TIFF only")
    if target.name == "jpeg" and max(header.height, header.width) > JPEG_LARGEST_SIDE:
        raise PictureError(
            f"{path}: JPEG ends at {JPEG_LARGEST_SIDE} pixels a side; write PNG or TIFF"
        )
    with (
        new_file(path, overwrite=overwrite) as temporary,
        _encoding(temporary, target, header) as write,
    ):
        yield write


def _open(path: Path) -> tuple[Header, Any] | None:
    with viewed(path) as (name, data), refusing_damage(name, kind := sniff(data) or "other"):
        directory = tiff_directory(data) if kind == "tiff" else {}
        if kind not in FORMATS or is_for_pillow(kind, directory):
            return None
        image = vips.open_image(kind, path)
        if image.get_typeof("interlaced") or vips.count_pages(kind, image, data) > 1:
            return None
        lies = vips.orientation(image)
        image = vips.converted(name, kind, image)
        if image.format == "float":
            return None
        if image.bands > 4:
            raise ValueError(f"{image.bands} channels are neither grey nor RGB")
        height, width = (image.height, image.width)[:: -1 if 5 <= lies <= 8 else 1]
        info = vips.metadata(image, kind, data, directory, (height, width))
        info = with_named_colours(name, kind, data, info)
        dtype = np.dtype({"uchar": np.uint8, "ushort": np.uint16}[image.format])
        return Header(height, width, image.bands, dtype, info, kind), image


def _check_claim(path: Path, header: Header) -> None:
    claim = f"{path}: claims {header.width} x {header.height} pixels"
    if header.height * header.width > MAX_PIXELS:
        raise PictureError(f"{claim}, more than the {MAX_PIXELS // 10**6} megapixels that are read")
    if header.nbytes > MOST_COMPRESSED * (size := path.stat().st_size):
        raise PictureError(f"{claim}, which {size} bytes cannot hold: it is damaged or a trap")


class _Sequential:
    """Rows as they come out of the decoder; those still needed are kept."""

    def __init__(self, image: Any, name: str, header: Header) -> None:
        import pyvips

        self._region = pyvips.Region.new(image)
        self._width = image.width
        self._name, self._header = name, header
        self._first = 0
        self._rows = np.empty((0, image.width, header.channels), header.dtype)

    def read(self, first: int, last: int) -> Samples:
        kept = self._rows[first - self._first :][: last - first].copy()
        self._rows, known = kept, len(kept)  # the rest is free to go before more is taken
        rows = np.empty((last - first, *kept.shape[1:]), self._header.dtype)
        rows[:known] = kept
        with refusing_damage(self._name, self._header.format):
            for row in range(first + known, last, _CHUNK_ROWS):
                count = min(_CHUNK_ROWS, last - row)
                content = self._region.fetch(0, row, self._width, count)
                chunk = np.frombuffer(content, self._header.dtype)
                rows[row - first :][:count] = chunk.reshape(count, *rows.shape[1:])
        self._first, self._rows = first, rows
        return rows


class _Turned:
    """Rows of the upright picture, from a file of the samples as they were stored."""

    def __init__(
        self,
        file: IO[bytes],
        stored: tuple[int, int],
        turn: Callable[[Samples], Samples],
        header: Header,
    ) -> None:
        self._file, self._turn, self._header = file, turn, header
        self._stored = *stored, header.channels

    def read(self, first: int, last: int) -> Samples:
        header = self._header
        rows = np.empty((last - first, header.width, header.channels), header.dtype)
        for column in range(0, header.width, _CHUNK_COLUMNS):
            # Mapped anew each time: what was read of it before no longer counts as memory.
            samples = np.memmap(self._file, header.dtype, "r", shape=self._stored)
            part = self._turn(samples)[first:last, column : column + _CHUNK_COLUMNS]
            rows[:, column : column + _CHUNK_COLUMNS] = part
            del samples, part
        return rows


@contextmanager
def _encoding(file: Path, target: Format, header: Header) -> Iterator[Callable[[Samples], None]]:
    """Encode in a thread of its own what is written here; a pipe between them holds it back."""
    channels = header.channels - (header.channels % 2 == 0 and not target.alpha)
    written = replace(header, channels=channels, dtype=target.sample_type(header.dtype))
    reading, writing = os.pipe()
    failures: list[Exception] = []

    def encode() -> None:
        try:
            _save(reading, file, target.name, written)
        except Exception as error:  # told by the thread that waits
            failures.append(error)
        finally:
            os.close(reading)

    thread = threading.Thread(target=encode, name="dpenet-encode")
    thread.start()
    try:
        with os.fdopen(writing, "wb") as pipe:
            stream = _StoredPng(pipe, written)

            def write(rows: Samples) -> None:
                for top in range(0, len(rows), _CHUNK_ROWS):
                    part = separate(rows[top : top + _CHUNK_ROWS], header.info, header.format)
                    stream.write(fitted(part, target))

            yield write
            stream.end()
    except BrokenPipeError:
        pass  # the encoder gave up: its reason is the one to tell
    finally:
        thread.join()
    if failures:
        name = target.name.upper()
        raise PictureError(f"cannot be written as {name} ({vips.reason(failures[0])})")


def _save(reading: int, file: Path, format_name: str, header: Header) -> None:
    import pyvips

    source = pyvips.SourceCustom()
    source.on_read(lambda size: os.read(reading, size))
    image = pyvips.Image.pngload_source(
        source, access="sequential", fail_on="error", unlimited=True
    )
    image = vips.dressed(image, format_name, header.info)
    options = vips.save_options(format_name, image, header.info)
    if format_name == "tiff":
        image.tiffsave(str(file), bigtiff=header.nbytes > CLASSIC_TIFF_BYTES, **options)
        with viewed(file) as (_, data):
            start, end = tiff_ends(data, header.info)
        with file.open("rb+") as whole:
            whole.write(start)
            whole.seek(0, os.SEEK_END)
            whole.write(end)
        return
    if format_name == "jpeg":
        options["optimize_coding"] = False  # it would hold the whole picture
    with file.open("wb") as whole:
        sink = _Sink(whole, format_name, header.info)
        target = pyvips.TargetCustom()
        target.on_write(sink.write)
        try:
            getattr(image, f"{format_name}save_target")(target, **options)
        except pyvips.Error:
            if sink.error is not None:
                raise sink.error from None
            raise


class _Sink:
    """Where an encoder writes; adds what libvips does not write to the start of the file."""

    def __init__(self, file: IO[bytes], format_name: str, info: Metadata) -> None:
        self._file, self._format, self._info = file, format_name, info
        self._started = False
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        """Called by libvips, which takes no exceptions."""
        data = bytes(content)
        try:
            self._file.write(data if self._started else embed(data, self._format, self._info))
        except OSError as error:
            self.error = error
            return -1
        self._started = True
        return len(data)


class _StoredPng:
    """A PNG without compression: what carries samples of every kind to libvips as they come."""

    def __init__(self, pipe: IO[bytes], header: Header) -> None:
        self._pipe = pipe
        self._deflate = zlib.compressobj(0)
        depth, colour = header.dtype.itemsize * 8, {1: 0, 2: 4, 3: 2, 4: 6}[header.channels]
        pipe.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(
            b"IHDR", struct.pack(">IIBBBBB", header.width, header.height, depth, colour, 0, 0, 0)
        )

    def write(self, rows: Samples) -> None:
        for row in rows:
            filtered = b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes()
            if data := self._deflate.compress(filtered):
                self._chunk(b"IDAT", data)

    def end(self) -> None:
        self._chunk(b"IDAT", self._deflate.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, data: bytes) -> None:
        content = kind + data
        self._pipe.write(
            struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))
        )
