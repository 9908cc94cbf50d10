"""What to read and where to write it: from the words of a command line to a list of jobs."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from glob import has_magic
from pathlib import Path

from dpenet.errors import PictureError, UsageError
from dpenet.media.containers import SUFFIXES, is_clip
from dpenet.media.formats import READ, WRITTEN, format_for
from dpenet.media.naming import named
from dpenet.media.search import Found, in_folder, in_pattern

RESULT, RAIN = ".derained", ".rain"
"""What stands before the suffix of a result, and of the layer of rain taken from it."""
COMPARE, PREVIEW = ".compare", ".preview"
"""What stands before the suffix of a comparison with the input, and of a few frames of a clip."""


@dataclass(frozen=True)
class Job:
    """One picture to derain.

    Attributes:
        source: The file to read, or None for standard input.
        target: The file to write, or None for standard output.
        rain: The file for the removed rain, or None if it is not asked for.
        compare: The files that show before and after together: pages or pictures.
    """

    source: Path | None
    target: Path | None
    rain: Path | None
    compare: tuple[Path, ...] = ()

    @property
    def outputs(self) -> tuple[Path, ...]:
        """All files to write."""
        return tuple(path for path in (self.target, self.rain, *self.compare) if path is not None)

    @property
    def is_done(self) -> bool:
        """Whether result and comparisons exist. The rain does then: it is written before them."""
        return self.target is not None and all(p.is_file() for p in (self.target, *self.compare))


def plan_jobs(
    inputs: Sequence[str],
    *,
    out: str | None = None,
    suffix: str = RESULT,
    recursive: bool = False,
    save_rain: bool = False,
    compare: Sequence[str] = (),
    watched: bool = False,
) -> list[Job]:
    """Decide for each picture where its result goes. No more than the head of each file is read.

    Folders and patterns give the pictures in them in natural order, without hidden files, earlier
    results, and what lies in the output folder. Links to pictures are followed; those to folders
    only where they are named, so that no loop is walked. A suffix that does not fit a content gives
    way to one that does; formats that are only read become PNG, HEIC becomes JPEG.

    Args:
        inputs: Files, folders, patterns (``"*.jpg"``, ``"photos/**/*.png"``), or ``-`` alone for
            standard input.
        out: A folder, where names (and the tree of a folder or pattern) are kept; a file, for a
            single picture; ``-`` for standard output. By default results lie beside the inputs,
            or go to standard output if the input comes from standard input.
        suffix: What results beside the inputs carry before their suffix.
        recursive: Whether folders are searched below their first level.
        save_rain: Whether the removed rain is written too.
        compare: Suffixes of the comparisons to write: ``.html``, ``.png``.
        watched: Whether this is one of many looks at inputs that fill up. Then there may be no
            picture yet, and jobs that clash are in the list: see `find_clashes`.

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
    try:
        found = [] if piped else _find(inputs, suffix, recursive, watched, out)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be searched: {error.strerror}") from error
    if piped and out is None:
        out = "-"
    single = piped or (len(found) == 1 and not watched)
    if out is not None and (folder := _folder(out, single)):
        if piped:
            raise UsageError(f"a picture from standard input has no name to keep; give a file, "
                             f"not the folder {folder}")  # fmt: skip
        targets: list[Path | None] = [folder / named(one.place, one.path) for one in found]
    elif out is None:
        targets = [_marked(named(one.path, one.path), suffix) for one in found]
    else:
        if not single:
            many = f"there are {len(found)}" if len(found) > 1 else "there may be many"
            raise UsageError(f"-o {out} is one file, but {many} pictures; name a folder")
        targets = [None if out == "-" else Path(out)]
    sources = [None] if piped else [one.path for one in found]
    jobs = []
    for source, target in zip(sources, targets, strict=True):
        # What goes with a result beside its source is named after the source.
        origin = named(source, source) if out is None and source else target
        rain = _beside(origin, RAIN) if save_rain else None
        pages = tuple(_beside(origin, COMPARE, suffix) for suffix in compare)
        jobs.append(Job(source, target, rain, pages))
    if not watched:
        for problem in find_clashes(jobs).values():
            raise UsageError(problem)
    return jobs


def find_clashes(jobs: Sequence[Job]) -> dict[Job, str]:
    """The jobs that must not be done, and why: they would write over an input or a result."""
    real = _real_paths()
    inputs = {real(job.source) for job in jobs if job.source}
    made: dict[str, Path | None] = {}
    clashes: dict[Job, str] = {}
    for job in jobs:
        for output in job.outputs:
            place = real(output)
            if place in inputs:
                clashes[job] = (
                    f"{job.source}: its result {output} would replace an input; "
                    "choose another folder or suffix"
                )
            elif place in made:
                clashes[job] = (
                    f"{made[place]} and {job.source} would both be written to {output}; "
                    "rename one, or derain them apart"
                )
            else:
                made[place] = job.source
    return clashes


def is_many(text: str) -> bool:
    """Whether an input is a folder or a pattern, in which there may be more one day."""
    return Path(text).is_dir() or has_magic(text)


def check_writable(jobs: Iterable[Job]) -> None:
    """Check that there can be files where the jobs will write theirs, before any work is done.

    Raises:
        PictureError: If in one of the folders, or where it would be made, there can be none.
    """
    for folder in {output.parent for job in jobs for output in job.outputs}:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        try:
            tempfile.TemporaryFile(dir=there).close()
        except OSError as error:
            raise PictureError(
                f"{folder}: nothing can be written there: {error.strerror}; name another with -o"
            ) from error


def _real_paths() -> Callable[[Path], str]:
    """What follows all links in a path; the folders of many files are looked at once."""
    real_folder = functools.cache(os.path.realpath)

    def real(path: Path) -> str:
        if path.is_symlink():
            return os.path.realpath(path)
        return os.path.join(real_folder(path.parent), path.name)  # noqa: PTH118

    return real


def _find(
    inputs: Sequence[str], suffix: str, recursive: bool, watched: bool, out: str | None
) -> list[Found]:
    found: dict[Path, Found] = {}
    missing = []
    for text in inputs:
        path = Path(text)
        if path.is_dir():
            root, pictures = path, in_folder(path, recursive)
        elif path.exists():
            if not path.is_file():
                raise UsageError(f"{text}: is neither a file nor a folder; give a pipe as -")
            found.setdefault(path.absolute(), Found(path, Path(path.name)))
            continue
        elif has_magic(text):
            root, pictures = in_pattern(path)
        else:
            missing.append(text)
            continue
        inner = _inner(root, out)
        pictures = [one for one in pictures if not _is_left_out(one, suffix, inner)]
        if not pictures and not watched:
            deeper = "" if recursive else " (folders inside folders are searched with --recursive)"
            raise UsageError(f"{text}: there is no picture to derain{deeper}")
        for one in pictures:
            found.setdefault(one.path.absolute(), one)
    if missing:
        raise UsageError(f"there is no file or folder {', '.join(missing)}")
    # The shell may have expanded a pattern to results of an earlier run as well.
    known = {(one.path.parent, one.path.stem) for one in found.values()}
    return [one for one in found.values() if not _origins(one.path, suffix) & known]


def _inner(root: Path, out: str | None) -> tuple[str, ...]:
    """The way from a folder to an output folder below it; nothing if it lies elsewhere."""
    real = Path(os.path.realpath(root))
    output = Path(os.path.realpath(out)) if out else real
    return output.relative_to(real).parts if real in output.parents else ()


def _is_left_out(one: Found, suffix: str, inner: tuple[str, ...]) -> bool:
    """Whether a search passes over a file: no picture, hidden, a result, or in the output."""
    kind = one.path.suffix.lower()
    wanted = kind in READ or (kind in SUFFIXES and is_clip(one.path))
    if not wanted or _origins(one.path, suffix):
        return True
    parts = one.place.parts
    if inner and parts[: len(inner)] == inner:
        return True
    return any(part.startswith(".") for part in parts)


def _origins(path: Path, suffix: str) -> set[tuple[Path, str]]:
    """Folder and stem of what a file may be the result of, going by its name; empty if of none."""
    marks = [mark for mark in (suffix, RESULT, RAIN, COMPARE, PREVIEW) if path.stem.endswith(mark)]
    return {(path.parent, path.stem.removesuffix(mark)) for mark in marks}


def _folder(out: str, single: bool) -> Path | None:
    """The folder that ``out`` names, or None if it is one file or standard output."""
    path = Path(out)
    if out.endswith(os.sep) or path.is_dir():
        return path
    if out == "-" or path.suffix.lower() in WRITTEN.keys() | SUFFIXES:
        return None
    if single and path.suffix:
        try:
            format_for(path)
        except PictureError as error:
            raise UsageError(f"{error}, or end a folder's name with {os.sep}") from None
    return path


def _marked(path: Path, mark: str) -> Path:
    return path.with_name(path.stem + mark + path.suffix)


def _beside(path: Path | None, mark: str, suffix: str | None = None) -> Path:
    if path is None:
        raise UsageError("the rain layer and the comparison need a file beside the result; "
                         "name one with -o")  # fmt: skip
    return _marked(path if suffix is None else path.with_suffix(suffix), mark)
