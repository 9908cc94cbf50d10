"""Picture files opened, and written whole or not at all, with errors that people understand."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet.atomic import atomic_path
from dpenet.errors import DpenetError, PictureError
from dpenet.media import vips

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpenet.media.directories import Content


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A place to write a picture to, which becomes ``path`` if nothing fails.

    Raises:
        PictureError: If the file exists, or what is raised inside says that it cannot be written.
    """
    if path.exists() and not overwrite:
        raise PictureError(f"{path}: exists already; allow overwriting or choose another name")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            yield temporary
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error.strerror or error}") from error


def load(source: Path | bytes) -> tuple[str, bytes]:
    """Name and content of a picture file.

    Raises:
        PictureError: If it cannot be read or is empty.
    """
    if isinstance(source, bytes):
        name, data = "the picture", source
    else:
        name = str(source)
        with _refusing_absence(name):
            data = source.read_bytes()
    if not data:
        raise PictureError(f"{name}: is empty (zero bytes)")
    return name, data


@contextmanager
def viewed(source: Path | bytes) -> Iterator[tuple[str, Content]]:
    """Name and content of a picture file, of which only what is looked at is read.

    Raises:
        PictureError: If it cannot be read or is empty.
    """
    if isinstance(source, bytes):
        yield load(source)
        return
    name = str(source)
    with ExitStack() as stack:
        with _refusing_absence(name):
            file = stack.enter_context(source.open("rb"))
            if not os.fstat(file.fileno()).st_size:
                raise PictureError(f"{name}: is empty (zero bytes)")
            view = stack.enter_context(mmap(file.fileno(), 0, access=ACCESS_READ))
        yield name, view


@contextmanager
def _refusing_absence(name: str) -> Iterator[None]:
    try:
        yield
    except IsADirectoryError:
        raise PictureError(f"{name}: is a folder, not a picture") from None
    except OSError as error:
        raise PictureError(f"{name}: cannot be read: {error.strerror or error}") from error


@contextmanager
def refusing_damage(name: str, kind: str) -> Iterator[None]:
    """Turn what decoders raise into one sentence about the file."""
    try:
        yield
    except DpenetError:
        raise
    except Exception as error:  # pyvips.Error, and Pillow's readers raise whatever comes
        if kind == "other":
            raise PictureError(f"{name}: is not a picture that dpenet can read") from error
        raise PictureError(
            f"{name}: this {kind.upper()} is damaged, cut short or of a kind that cannot be read "
            f"({vips.reason(error)}); get a whole copy, or convert it to PNG"
        ) from error
