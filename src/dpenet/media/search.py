"""Files below a folder, or that a pattern matches, however deep the folders are."""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from glob import has_magic
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from dpenet.errors import UsageError


class Found(NamedTuple):
    """A file, and its place below the folder or pattern that led to it."""

    path: Path
    place: Path


def in_folder(folder: Path, recursive: bool) -> list[Found]:
    """The files in a folder, in natural order, those of folders below after its own.

    Links to files are among them, and those that lead nowhere; links to folders are not followed.

    Raises:
        OSError: If a folder cannot be read.
    """
    found: list[Found] = []
    left = [folder]
    while left:
        here = left.pop()
        entries = sorted(_entries(here), key=lambda entry: natural(entry.name))
        paths = [here / entry.name for entry in entries if _may_be_file(entry)]
        found += [Found(path, path.relative_to(folder)) for path in paths]
        if recursive:
            left += [here / entry.name for entry in reversed(entries) if _is_own_folder(entry)]
    return found


def in_pattern(pattern: Path) -> tuple[Path, list[Found]]:
    """The folder that a pattern starts from, and the files that it matches.

    ``**`` stands for any number of folders, and does not follow links to others.
    """
    fixed = Path(*takewhile(lambda part: not has_magic(part), pattern.parts))
    parts = pattern.relative_to(fixed).parts
    if any("**" in part and part != "**" for part in parts):
        raise UsageError(f"{pattern}: ** stands for whole folders: write **/*.png, not **.png")
    paths = map(Path, sorted(map(str, _matches(fixed, parts)), key=natural))
    return fixed, [Found(path, path.relative_to(fixed)) for path in paths if path.is_file()]


def _matches(root: Path, parts: tuple[str, ...]) -> set[Path]:
    matches: set[Path] = set()
    left = [(root, parts)]
    seen = set(left)
    while left:
        here, (first, *others) = left.pop()
        rest = tuple(others)
        following: list[tuple[Path, tuple[str, ...]]] = []
        if first == "**":
            below = [entry for entry in _readable(here) if _is_own_folder(entry)]
            following += [(here / entry.name, (first, *rest)) for entry in below]
            following += [(here, rest)] if rest else []
        else:
            names = [first]
            if has_magic(first):
                names = fnmatch.filter([entry.name for entry in _readable(here)], first)
            matches.update(here / name for name in names if not rest)
            following += [(here / name, rest) for name in names if rest]
        left += [one for one in following if one not in seen]
        seen.update(following)
    return matches


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _readable(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing if it is none, or may not be read."""
    try:
        return _entries(folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _may_be_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link of which reading will say that it leads to none.

    Pipes and devices are neither: to open one could take for ever.
    """
    try:
        return stat.S_ISREG(entry.stat().st_mode)
    except OSError:
        return True


def natural(name: str) -> list[str | int]:
    """A sort key that counts: ``im2`` before ``im10``."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)] + [name]
