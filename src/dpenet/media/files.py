"""Picture files opened, and written whole or not at all, with errors that people understand."""

from __future__ import annotations

import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet.atomic import atomic_path
from dpenet.errors import DpenetError, PictureError
from dpenet.media import vips
from dpenet.media.view import View

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dpenet.media.directories import Content


@contextmanager
def new_file(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """A place to write a picture to, which becomes ``path`` if nothing fails.

    Raises:
        PictureError: If the file exists, or what is raised inside says that it cannot be written.
    """
    if path.is_dir():
        raise PictureError(f"{path}: is a folder, which no result replaces; choose another name")
    if path.exists() and not overwrite:
        raise PictureError(f"{path}: exists already; allow overwriting or choose another name")
    try:
        make_folder(path.parent)
        with atomic_path(path) as temporary:
            yield temporary
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error
    except OSError as error:
        raise PictureError(f"{path}: cannot be written: {error.strerror or error}") from error


def make_folder(path: Path) -> None:
    """Make a folder with those above that are missing; `Path.mkdir` goes no deeper than 1,000.

    Raises:
        OSError: As the file system has it.
    """
    for folder in reversed([path, *path.parents]):
        if not folder.is_dir():
            folder.mkdir(exist_ok=True)


def load(source: Path | bytes) -> tuple[str, bytes]:
    """Name and content of a picture file.

    Raises:
        PictureError: If it cannot be read or is empty.
    """
    if isinstance(source, bytes):
        name, data = "the picture", source
    else:
        name = str(source)
        with _refusing_absence(source):
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
    with _refusing_absence(source):
        view = View(source)
    with view:
        if not len(view):
            raise PictureError(f"{name}: is empty (zero bytes)")
        yield name, view


@contextmanager
def _refusing_absence(source: Path) -> Iterator[None]:
    """Refuse in a sentence what cannot be read, and what could take for ever: a pipe, a device."""
    try:
        mode = source.stat().st_mode
        if not stat.S_ISREG(mode):
            kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
            raise PictureError(f"{source}: is {kind}, not a picture")
        yield
    except OSError as error:
        raise PictureError(f"{source}: cannot be read: {error.strerror or error}") from error


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
