"""What is wrong in a data set, found before it spoils a training or a table."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from dpenet.data.content import Fingerprint, find_same, fingerprint, fit
from dpenet.data.layouts import AUTO, NoPairsError, list_pairs, list_pictures
from dpenet.data.pairs import Half, Pair, Pairs, load_pair, read_rgb
from dpenet.errors import DataError

Kind = Literal[
    "orphan", "unreadable", "size", "misaligned", "unrelated", "duplicate", "overlap", "checksum"
]
# A repeated background is a property of several public sets (9 of the 100 of Rain100): worth
# knowing, no reason to stop. Everything else makes a training or a score wrong.
NOTES: frozenset[Kind] = frozenset({"duplicate"})
_WORKERS = 2
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Problem:
    """One thing found.

    Attributes:
        kind: What sort of thing.
        files: The files concerned.
        detail: One sentence.
    """

    kind: Kind
    files: tuple[str, ...]
    detail: str

    @property
    def is_error(self) -> bool:
        return self.kind not in NOTES


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes:
        root: The data set.
        layout: Its layout.
        reason: Why that layout.
        pairs: How many pairs it has.
        backgrounds: How many different targets they have, repeated ones counted once.
        problems: Everything found, errors and notes.
        verified: Files found unchanged against a list of checksums; None if none was given.
        listed: Files on that list.
        against: The other data set.
    """

    root: str
    layout: str
    reason: str
    pairs: int
    backgrounds: int
    problems: tuple[Problem, ...] = field(default=())
    verified: int | None = None
    listed: int | None = None
    against: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing but notes was found."""
        return not any(problem.is_error for problem in self.problems)

    def counts(self) -> dict[Kind, int]:
        """How many problems of each kind."""
        return dict(Counter(problem.kind for problem in self.problems))

    def to_json(self) -> dict[str, Any]:
        """All of it, ready for ``json.dumps``."""
        record = asdict(self) | {"ok": self.ok, "counts": self.counts()}
        for problem, found in zip(record["problems"], self.problems, strict=True):
            problem["error"] = found.is_error
        return record


def check_dataset(
    root: Path,
    layout: str = AUTO,
    *,
    against: Path | None = None,
    checksums: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Read every picture of a data set and report what is wrong.

    Args:
        root: The data set's folder.
        layout: Its layout; see :mod:`dpenet.data.layouts`.
        against: Another data set (a test set, say) or a folder of pictures: backgrounds that both
            hold are reported.
        checksums: A list of official files, one per line: SHA-256, size in bytes, relative path,
            separated by tabs.
        progress: Called with pairs done and pairs in all.

    Raises:
        DataError: If one of the folders or the list cannot be understood at all.
    """
    found = list_pairs(root, layout)
    problems = [_orphan(path) for path in found.orphans]
    prints: dict[Path, Fingerprint] = {}
    with ThreadPoolExecutor(_WORKERS) as pool:
        for done, (pair, seen, print_) in enumerate(pool.map(_examine, found.pairs), 1):
            problems += seen
            if print_:
                prints.setdefault(pair.clean, print_)
            if progress:
                progress(done, len(found.pairs))
        repeated = _same(prints)
        problems += [
            Problem("duplicate", (str(a), str(b)), f"two backgrounds are {how}")
            for a, b, how in repeated
        ]
        if against is not None:
            others = _backgrounds(against, pool)
            problems += [
                Problem("overlap", (str(a), str(b)), f"a background is in both: {how}")
                for a, b, how in _same(prints, others)
            ]
    verified = listed = None
    if checksums is not None:
        listed, verified, altered = _verify(root, checksums)
        problems += altered
    return Report(
        root=str(root),
        layout=found.layout,
        reason=found.reason,
        pairs=len(found.pairs),
        backgrounds=len({pair.clean for pair in found.pairs}) - len(repeated),
        problems=tuple(problems),
        verified=verified,
        listed=listed,
        against=None if against is None else str(against),
    )


def require_good_pairs(root: Path, layout: str = AUTO, *, sample: int = 64) -> Pairs:
    """The pairs of a data set, or an error if a training on them would go wrong.

    Every file's existence and size is checked from its header; whether rainy picture and target
    lie over each other, on ``sample`` pairs spread evenly (`check_dataset` looks at all).

    Raises:
        DataError: If the set is not understood, has orphans, or holds a wrong pair; names the
            first few and says how to see all.
    """
    found = list_pairs(root, layout)
    problems = [_orphan(path) for path in found.orphans]
    step = max(1, len(found.pairs) // sample)
    with ThreadPoolExecutor(_WORKERS) as pool:
        for seen in pool.map(_glance, found.pairs):
            problems += seen
        if not problems:
            for _, seen, _print in pool.map(_examine, found.pairs[::step]):
                problems += seen
    if problems:
        shown = "".join(f"\n  {p.detail}: {', '.join(p.files)}" for p in problems[:5])
        more = f"\n  and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise DataError(
            f"{root} ({found.layout}) has {len(problems)} wrong pairs or files:{shown}{more}\n"
            f"See all with: dpenet data check {root}"
        )
    return found


def _orphan(path: Path) -> Problem:
    detail = "a picture has no partner" if path.is_file() else "a listed picture is missing"
    return Problem("orphan", (str(path),), detail)


def _examine(pair: Pair) -> tuple[Pair, list[Problem], Fingerprint | None]:
    """Everything about one pair."""
    files = tuple(dict.fromkeys((str(pair.rainy), str(pair.clean))))
    problems = _glance(pair)
    if problems:
        return pair, problems, None
    try:
        rainy, clean = load_pair(pair)
    except DataError as error:
        return pair, [Problem("unreadable", files, str(error))], None
    over = fit(clean, rainy)
    if over.shifted:
        detail = f"the rainy picture lies {_shift(over.down, over.right)} of its target"
        problems.append(Problem("misaligned", files, detail))
    elif over.unrelated:
        detail = "the rainy picture and its target show different scenes"
        problems.append(Problem("unrelated", files, detail))
    return pair, problems, fingerprint(clean)


def _glance(pair: Pair) -> list[Problem]:
    """What the headers tell: files that are no pictures, and sizes that differ."""
    sizes = []
    for path, half in ((pair.rainy, pair.rainy_half), (pair.clean, pair.clean_half)):
        try:
            with Image.open(path) as picture:
                width, height = picture.size
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            return [Problem("unreadable", (str(path),), f"a picture cannot be read ({error})")]
        sizes.append((width // 2 if half else width, height))
    if sizes[0] == sizes[1]:
        return []
    (w, h), (v, g) = sizes
    detail = f"the rainy picture is {w}x{h} px, its target {v}x{g} px"
    return [Problem("size", (str(pair.rainy), str(pair.clean)), detail)]


def _shift(down: int, right: int) -> str:
    ways = [
        f"{abs(down)} px {'below' if down > 0 else 'above'}" if down else "",
        f"{abs(right)} px {'right' if right > 0 else 'left'}" if right else "",
    ]
    return " and ".join(way for way in ways if way)


def _backgrounds(root: Path, pool: ThreadPoolExecutor) -> dict[Path, Fingerprint]:
    """The targets of a data set, or all pictures of a folder that is none."""
    targets: dict[Path, Half | None]
    try:
        targets = {pair.clean: pair.clean_half for pair in list_pairs(root).pairs}
    except NoPairsError:
        targets = dict.fromkeys(list_pictures(root))
        if not targets:
            raise

    def read(path: Path) -> Fingerprint | None:
        try:
            return fingerprint(read_rgb(path, targets[path]))
        except DataError:
            return None  # that set's own check tells

    prints = zip(targets, pool.map(read, targets), strict=True)
    return {path: print_ for path, print_ in prints if print_}


def _same(
    first: dict[Path, Fingerprint], second: dict[Path, Fingerprint] | None = None
) -> list[tuple[Path, Path, str]]:
    left = list(first)
    right = left if second is None else list(second)
    same = find_same(list(first.values()), None if second is None else list(second.values()))
    return [(left[i], right[j], how) for i, j, how in same]


def _verify(root: Path, checksums: Path) -> tuple[int, int, list[Problem]]:
    """Compare files with an official list by content, so that renamed ones still count."""
    official = _read_checksums(checksums)
    known = set(official.values())
    by_name = {_bare(name): digest for name, digest in official.items()}
    verified: set[tuple[str, int]] = set()
    problems = []
    files = list_pictures(root)
    with ThreadPoolExecutor(_WORKERS) as pool:
        for file, digest in zip(files, pool.map(_digest, files), strict=True):
            if digest in known:
                verified.add(digest)
            elif _bare(file.relative_to(root).as_posix()) in by_name:
                detail = "a file differs from the official one of its name"
                problems.append(Problem("checksum", (str(file),), detail))
            else:
                detail = "a file is not on the official list"
                problems.append(Problem("checksum", (str(file),), detail))
    return len(official), len(verified), problems


def _bare(name: str) -> str:
    return name.lower().replace("_", " ")


def _digest(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size


def _read_checksums(path: Path) -> dict[str, tuple[str, int]]:
    try:
        rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
        found = {name: (digest.lower(), int(size)) for digest, size, name in rows}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} is not a list of checksums (SHA-256, size, path, tab-separated): {error}"
        ) from error
    if not found:
        raise DataError(f"{path} lists no files")
    return found
