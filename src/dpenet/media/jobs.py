"""What to read and where to write it: from the words of a command line to a list of jobs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path

from dpenet.errors import PictureError, UsageError
from dpenet.media.formats import READ, WRITTEN, format_for

RESULT, RAIN = ".derained", ".rain"
"""What stands before the suffix of a result, and of the layer of rain taken from it."""


@dataclass(frozen=True)
class Job:
    """One picture to derain.

    Attributes:
        source: The file to read, or None for standard input.
        target: The file to write, or None for standard output.
        rain: The file for the removed rain, or None if it is not asked for.
    """

    source: Path | None
    target: Path | None
    rain: Path | None


@dataclass(frozen=True)
class _Found:
    """A picture, and its place below the folder or pattern that led to it."""

    path: Path
    place: Path


def plan_jobs(
    inputs: Sequence[str],
    *,
    out: str | None = None,
    suffix: str = RESULT,
    recursive: bool = False,
    save_rain: bool = False,
) -> list[Job]:
    """Decide for each picture where its result goes. No picture is read, nothing is written.

    Folders and patterns give the pictures in them in natural order, without hidden files, earlier
    results, and what lies in the output folder. Formats that are only read become PNG.

    Args:
        inputs: Files, folders, patterns (``"*.jpg"``, ``"photos/**/*.png"``), or ``-`` alone for
            standard input.
        out: A folder, where names (and the tree of a folder or pattern) are kept; a file, for a
            single picture; ``-`` for standard output. By default results lie beside the inputs,
            or go to standard output if the input comes from standard input.
        suffix: What results beside the inputs carry before their suffix.
        recursive: Whether folders are searched below their first level.
        save_rain: Whether the removed rain is written too.

    Returns:
        The jobs in the order of the inputs, each picture once.

    Raises:
        UsageError: If an input is missing or holds no picture, if two inputs would make one
            output or an output would replace an input, or if ``out`` does not fit.
    """
    if not inputs:
        raise UsageError("no picture given; name files, folders or patterns, or - for a pipe")
    if not suffix or os.sep in suffix:
        raise UsageError(f"the suffix {suffix!r} cannot tell results from inputs; try {RESULT!r}")
    piped = "-" in inputs
    if piped and len(inputs) > 1:
        raise UsageError("- (standard input) is one picture and cannot go with other inputs")
    found = [] if piped else _find(inputs, suffix, recursive, Path(out) if out else None)
    if piped and out is None:
        out = "-"
    if out is not None and (folder := _folder(out, single=piped or len(found) == 1)):
        if piped:
            raise UsageError(f"a picture from standard input has no name to keep; give a file, "
                             f"not the folder {folder}")  # fmt: skip
        targets: list[Path | None] = [folder / _written(one.place) for one in found]
    elif out is None:
        targets = [_marked(_written(one.path), suffix) for one in found]
    else:
        if len(found) > 1:
            raise UsageError(f"-o {out} is one file, but there are {len(found)} pictures; "
                             "name a folder")  # fmt: skip
        targets = [None if out == "-" else Path(out)]
    sources = [None] if piped else [one.path for one in found]
    jobs = [
        Job(source, target, _rain(source, target, beside=out is None) if save_rain else None)
        for source, target in zip(sources, targets, strict=True)
    ]
    _refuse_clashes(jobs)
    return jobs


def _find(inputs: Sequence[str], suffix: str, recursive: bool, out: Path | None) -> list[_Found]:
    found: dict[Path, _Found] = {}
    missing = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            pictures = _in_folder(path, recursive)
        elif path.exists():
            found.setdefault(path.absolute(), _Found(path, Path(path.name)))
            continue
        elif has_magic(text):
            pictures = _in_pattern(text)
        else:
            missing.append(text)
            continue
        pictures = [one for one in pictures if not _is_left_out(one, suffix, out)]
        if not pictures:
            deeper = "" if recursive else " (folders inside folders are searched with --recursive)"
            raise UsageError(f"{text}: there is no picture to derain{deeper}")
        for one in pictures:
            found.setdefault(one.path.absolute(), one)
    if missing:
        raise UsageError(f"there is no file or folder {', '.join(missing)}")
    # The shell may have expanded a pattern to results of an earlier run as well.
    known = {(one.path.parent, one.path.stem) for one in found.values()}
    return [one for one in found.values() if not _origins(one.path, suffix) & known]


def _in_folder(folder: Path, recursive: bool) -> list[_Found]:
    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be searched: {error.strerror}") from error

    found = []
    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = sorted(folders, key=_natural) if recursive else []
        paths = [Path(root, name) for name in sorted(files, key=_natural)]
        found += [_Found(path, path.relative_to(folder)) for path in paths]
    return found


def _in_pattern(pattern: str) -> list[_Found]:
    fixed = Path(*takewhile(lambda part: not has_magic(part), Path(pattern).parts))
    matches = sorted(map(Path, glob(pattern, recursive=True)), key=lambda p: _natural(str(p)))  # noqa: PTH207
    return [_Found(path, path.relative_to(fixed)) for path in matches if path.is_file()]


def _is_left_out(one: _Found, suffix: str, out: Path | None) -> bool:
    """Whether a search passes over a file: no picture, hidden, a result, or in the output."""
    if one.path.suffix.lower() not in READ or _origins(one.path, suffix):
        return True
    if any(part.startswith(".") for part in one.place.parts):
        return True
    # Only an output folder below the searched one; the reverse is no reason to leave out a file.
    here = one.path.parent.resolve()
    folders = [here, *here.parents]
    start, output = folders[len(one.place.parts) - 1], out.resolve() if out else None
    return output is not None and output in folders and start in output.parents


def _origins(path: Path, suffix: str) -> set[tuple[Path, str]]:
    """Folder and stem of what a file may be the result of, going by its name; empty if of none."""
    marks = [mark for mark in (suffix, RESULT, RAIN) if path.stem.endswith(mark)]
    return {(path.parent, path.stem.removesuffix(mark)) for mark in marks}


def _natural(name: str) -> list[str | int]:
    """A sort key that counts: ``im2`` before ``im10``."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if i % 2 else part.casefold() for i, part in enumerate(parts)] + [name]


def _folder(out: str, single: bool) -> Path | None:
    """The folder that ``out`` names, or None if it is one file or standard output."""
    path = Path(out)
    if out.endswith(os.sep) or path.is_dir():
        return path
    if out == "-" or path.suffix.lower() in WRITTEN:
        return None
    if single and path.suffix:
        try:
            format_for(path)
        except PictureError as error:
            raise UsageError(f"{error}, or end a folder's name with {os.sep}") from None
    return path


def _written(path: Path) -> Path:
    """The path with a suffix that can be written."""
    if path.suffix.lower() in WRITTEN:
        return path
    return path.with_name((path.stem if path.suffix.lower() in READ else path.name) + ".png")


def _marked(path: Path, mark: str) -> Path:
    return path.with_name(path.stem + mark + path.suffix)


def _rain(source: Path | None, target: Path | None, *, beside: bool) -> Path:
    if target is None:
        raise UsageError("the rain layer needs a file beside the result; name one with -o")
    return _marked(_written(source) if beside and source else target, RAIN)


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    inputs = {job.source.resolve() for job in jobs if job.source}
    made: dict[Path, Path | None] = {}
    for job in jobs:
        for output in filter(None, (job.target, job.rain)):
            place = output.resolve()
            if place in inputs:
                raise UsageError(
                    f"{job.source}: its result {output} would replace an input; "
                    "choose another folder or suffix"
                )
            if place in made:
                raise UsageError(
                    f"{made[place]} and {job.source} would both be written to {output}; "
                    "rename one, or derain them apart"
                )
            made[place] = job.source
