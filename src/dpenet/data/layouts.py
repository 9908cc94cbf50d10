"""How the public deraining data sets name their files, and pairing by those names.

A layout is data: the patterns that a rainy and a rain-free file follow, relative to the folder
that is given. Files pair when their ``key`` groups are equal, never by their order. Only the two
side-by-side sets have names that say nothing; there, the pictures themselves are looked at.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from dpenet.data.content import fit
from dpenet.data.pairs import PICTURE_SUFFIXES, Half, Pair, Pairs, read_rgb
from dpenet.errors import DataError, UsageError

_RAINY = r"(?i:inputs?|in|rain|rainy|(?:rain|rainy)[ _-]?(?:images?|streaks?)|lq|degraded)"
_CLEAN = r"(?i:targets?|clean|clear|no[ _-]?rain|gt|ground[ _-]?truth|hq|labels?)"
_FILE = r"\.(?i:png|jpe?g|bmp|tiff?|webp)"


class NoPairsError(DataError):
    """Pictures without targets, or none at all."""


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    Attributes:
        name: What ``--layout`` takes.
        title: The set, with its paper's short name.
        looks: An example, for people.
        rainy: Patterns of rainy files, matched against the whole relative path with forward
            slashes; each has a group ``key``.
        clean: Likewise for targets.
        many: Whether several rainy pictures may share one target.
        rainy_half: Where the two halves of one file are a pair: the rainy one.
        listed: Whether the pairs stand in a text file, one per line.
    """

    name: str
    title: str
    looks: str
    rainy: tuple[str, ...] = ()
    clean: tuple[str, ...] = ()
    many: bool = False
    rainy_half: Half | None = None
    listed: bool = False


# In the order in which `auto` prefers them when two give the same pairs.
LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "folders",
            "two folders with equal names (also Rain100H/L as Rain13K ships them)",
            "input/NAME.png with target/NAME.png; or rain, rainy, in, lq with norain, clean, gt, "
            "ground truth, hq, label",
            rainy=(rf"{_RAINY}/(?P<key>.+){_FILE}",),
            clean=(rf"{_CLEAN}/(?P<key>.+){_FILE}",),
        ),
        Layout(
            "rain100",
            "Rain100H, Rain100L, Rain200H/L, RainTrainH/L (JORDER)",
            "rain-001.png with norain-001.png; rain/norain-001x2.png with norain/norain-001.png",
            rainy=(
                rf"(?:{_RAINY}/(?i:x2/)?)?rain-?0*(?P<key>\d+)(?:x2)?{_FILE}",
                rf"{_RAINY}/(?i:x2/)?norain-?0*(?P<key>\d+)x2{_FILE}",
                rf"{_RAINY}/0*(?P<key>\d+){_FILE}",
            ),
            clean=(
                rf"(?:{_CLEAN}/)?norain-?0*(?P<key>\d+)(?:x2)?{_FILE}",
                rf"{_CLEAN}/0*(?P<key>\d+){_FILE}",
            ),
        ),
        Layout(
            "rain1400",
            "Rain1400, also called Rain14000 and DDN-Data (DDN)",
            "rainy image/N_K.jpg, K = 1..14, with ground truth/N.jpg",
            rainy=(rf"{_RAINY}/0*(?P<key>\d+)_\d+{_FILE}",),
            clean=(rf"{_CLEAN}/0*(?P<key>\d+){_FILE}",),
            many=True,
        ),
        Layout(
            "heavyrain",
            "Heavy rain, also called Outdoor-Rain (Li et al.)",
            "in/im_NNNN_sSS_aAA.png with gt/im_NNNN.png, or all in one folder",
            rainy=(rf"(?:{_RAINY}/)?im_0*(?P<key>\d+)_s\d+_a\d+{_FILE}",),
            clean=(rf"(?:{_CLEAN}/)?im_0*(?P<key>\d+){_FILE}",),
            many=True,
        ),
        Layout(
            "spa",
            "SPA-Data (SPANet)",
            "a text file with lines like '/real_world/A.png /real_world_gt/B.png'",
            listed=True,
        ),
        Layout(
            "rain1200",
            "Rain1200, also called DID-Data (DID-MDN)",
            "Rain_Heavy/.../N.jpg, Rain_Medium, Rain_Light, or one folder; rainy half on the left",
            rainy=(
                rf"[^/]*(?i:heavy|medium|light)[^/]*/(?P<key>.+){_FILE}",
                rf"(?P<key>[^/]+){_FILE}",
            ),
            rainy_half="left",
        ),
        Layout(
            "rain800",
            "Rain800 (ID-CGAN)",
            "one folder of N.jpg; rainy half on the right",
            rainy=(rf"(?P<key>[^/]+){_FILE}",),
            rainy_half="right",
        ),
    )
}
AUTO = "auto"
# Rainy file, clean file, and which half of each.
_Match = tuple[Path, Path, Half | None, Half | None]


def list_pairs(root: Path, layout: str = AUTO) -> Pairs:
    """Pair the pictures of a data set by their names.

    Args:
        root: Its folder; for SPA-Data also the list file.
        layout: A key of :data:`LAYOUTS`, or ``auto``.

    Raises:
        UsageError: If there is no such layout.
        NoPairsError: If the files fit no layout; says what was found and how layouts look.
        DataError: If the folder is missing, the files fit several layouts, or two of them claim
            the same partner.
    """
    if layout != AUTO and layout not in LAYOUTS:
        raise UsageError(f"there is no layout {layout!r}; choose from auto, {', '.join(LAYOUTS)}")
    if not root.exists():
        raise DataError(f"{root} does not exist")
    if root.is_file():
        if layout not in (AUTO, "spa"):
            raise DataError(f"{root} is a file; the layout {layout} needs a folder")
        return _from_list(root.parent, [root])
    if layout == AUTO:
        return detect_layout(root)
    found = _find(LAYOUTS[layout], root, _by_relative_path(root))
    if not found.pairs:
        raise NoPairsError(_unfit(root, f"no pairs of the layout {layout}"))
    return found


def detect_layout(root: Path) -> Pairs:
    """The layout under which the most pictures of a folder find a partner; see `list_pairs`."""
    files = _by_relative_path(root)
    by_name = [layout for layout in LAYOUTS.values() if not layout.rainy_half]
    candidates, refusals = [], []
    for layout in by_name:
        try:
            found = _find(layout, root, files)
        except DataError as error:
            refusals.append(error)
            continue
        if found.pairs:
            candidates.append(found)
    if not candidates:
        if refusals:
            raise refusals[0]
        return _detect_halves(root, files)
    best = max(candidates, key=lambda found: len(found.pairs))
    for other in candidates:
        if len(other.pairs) == len(best.pairs) and _partners(other) != _partners(best):
            raise DataError(
                f"{root} could be {best.layout} or {other.layout}, with different pairs: "
                "say which with --layout"
            )
    return best


def list_pictures(root: Path) -> list[Path]:
    """All picture files below a folder, hidden ones left out, in natural order."""
    files = (
        path
        for path in root.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )
    return sorted(files, key=natural_key)


def natural_key(path: Path | str) -> list[tuple[int, int | str]]:
    """Sorts ``10.png`` after ``9.png``."""
    parts = re.split(r"(\d+)", path.as_posix() if isinstance(path, Path) else path)
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _find(layout: Layout, root: Path, files: dict[str, Path]) -> Pairs:
    if layout.listed:
        return _from_list(root, sorted(root.glob("*.txt")))
    if layout.rainy_half:
        other: Half = "left" if layout.rainy_half == "right" else "right"
        halves = [file for _, file in _match(layout.rainy, files)]
        return _collect(
            layout, root, files, [(file, file, layout.rainy_half, other) for file in halves]
        )
    targets: dict[str, Path] = {}
    for key, file in _match(layout.clean, files):
        if key in targets:
            raise DataError(f"two targets with one name: {targets[key]} and {file}")
        targets[key] = file
    rainy: dict[str, list[Path]] = defaultdict(list)
    for key, file in _match(layout.rainy, files):
        if key in targets:
            rainy[key].append(file)
    for key, several in rainy.items():
        if len(several) > 1 and not layout.many:
            raise DataError(
                f"two rainy pictures for the target {targets[key]}: {several[0]} and {several[1]}"
            )
    matches: list[_Match] = [
        (file, targets[key], None, None) for key, group in rainy.items() for file in group
    ]
    return _collect(layout, root, files, matches)


def _match(patterns: tuple[str, ...], files: dict[str, Path]) -> Iterator[tuple[str, Path]]:
    for relative, file in files.items():
        match = next((m for p in patterns if (m := re.fullmatch(p, relative))), None)
        if match:
            yield match["key"], file


def _by_relative_path(root: Path) -> dict[str, Path]:
    return {file.relative_to(root).as_posix(): file for file in list_pictures(root)}


def _from_list(base: Path, lists: list[Path]) -> Pairs:
    """Pairs from the lines of a text file; paths are relative to its folder or the one above."""
    layout = LAYOUTS["spa"]
    named: dict[Path, list[tuple[str, str]]] = {}
    for file in lists:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            if len(lists) == 1:
                raise DataError(f"{file} cannot be read as a list of pairs: {error}") from error
            continue
        rows = [line.split() for line in lines if line.strip()]
        if rows and all(_is_pair_row(row) for row in rows):
            named[file] = [(row[0], row[1]) for row in rows]
    if len(named) > 1:
        names = ", ".join(str(file) for file in named)
        raise DataError(f"{base} holds several lists of pairs ({names}): give one of them")
    pairs: list[_Match] = []
    missing: list[Path] = []
    for rainy, clean in next(iter(named.values()), []):
        paths = [_resolve(base, name) for name in (rainy, clean)]
        absent = [path for path in paths if not path.is_file()]
        missing += absent
        if not absent:
            pairs.append((paths[0], paths[1], None, None))
    return _collect(layout, base, {}, pairs, missing)


def _is_pair_row(row: list[str]) -> bool:
    return len(row) == 2 and all(Path(name).suffix.lower() in PICTURE_SUFFIXES for name in row)


def _resolve(base: Path, name: str) -> Path:
    relative = name.lstrip("/").removeprefix("./")
    path = base / relative
    above = base.parent / relative
    return above if not path.is_file() and above.is_file() else path


def _collect(
    layout: Layout,
    root: Path,
    files: dict[str, Path],
    matches: list[_Match],
    missing: Iterable[Path] = (),
) -> Pairs:
    stems = Counter(rainy.stem for rainy, *_ in matches)

    def name(rainy: Path) -> str:
        if stems[rainy.stem] == 1:
            return rainy.stem
        inside = rainy.relative_to(root) if rainy.is_relative_to(root) else rainy
        return inside.with_suffix("").as_posix()

    pairs = [Pair(name(found[0]), *found) for found in matches]
    pairs.sort(key=lambda pair: natural_key(pair.name))
    used = {path for rainy, clean, *_ in matches for path in (rainy, clean)}
    beside = {path.parent for path in used}
    orphans = [file for file in files.values() if file not in used and file.parent in beside]
    return Pairs(
        root,
        layout.name,
        f"{layout.title}{_for_example(root, pairs)}",
        tuple(pairs),
        (*orphans, *missing),
    )


def _for_example(root: Path, pairs: list[Pair]) -> str:
    if not pairs or not pairs[0].clean.is_relative_to(root):
        return ""
    rainy, clean = (path.relative_to(root).as_posix() for path in (pairs[0].rainy, pairs[0].clean))
    return f", such as {rainy} with {clean}"


def _partners(found: Pairs) -> set[tuple[Path, Path]]:
    return {(pair.rainy, pair.clean) for pair in found.pairs}


def _detect_halves(root: Path, files: dict[str, Path]) -> Pairs:
    """Tell Rain800 from Rain1200 by looking at up to eight pictures.

    Rain adds light and fine structure, so the half with more of both is taken for the rainy one.
    """
    densities = _find(LAYOUTS["rain1200"], root, files).pairs
    sample = [pair.rainy for pair in densities][:: max(1, len(densities) // 8)][:8]
    looked = [half for file in sample if (half := _rainy_half(file)) != "unreadable"]
    if not looked or None in looked:
        raise NoPairsError(_unfit(root, "no known layout"))
    half, count = Counter(looked).most_common(1)[0]
    in_folders = any("/" in relative for relative in files)
    if count < 0.75 * len(looked) or (in_folders and half == "right"):
        raise DataError(
            f"{root} holds pictures of two halves that show one scene, but where the rain is "
            "does not fit what is known: say --layout rain800 (right) or rain1200 (left)"
        )
    layout = LAYOUTS["rain1200" if half == "left" else "rain800"]
    found = _find(layout, root, files)
    return Pairs(
        root,
        layout.name,
        f"{layout.title}: pictures of two halves that show one scene; in {count} of "
        f"{len(looked)} looked at, the rain is on the {half}",
        found.pairs,
        found.orphans,
    )


def _rainy_half(file: Path) -> Half | Literal["unreadable"] | None:
    """The half with the rain, or None if the halves do not show one scene."""
    try:
        left, right = (read_rgb(file, half) for half in ("left", "right"))
    except DataError:
        return "unreadable"  # one of many; a check of the set will tell
    if min(left.shape[:2]) < 16 or not fit(left, right).here > 0.1:
        return None
    light = [
        float(np.abs(np.diff(half.astype(np.int16), axis=1)).mean() + half.mean())
        for half in (left, right)
    ]
    return "left" if light[0] > light[1] else "right"


def _unfit(root: Path, wrong: str) -> str:
    files = list_pictures(root)
    if not files:
        return f"{root} holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})"
    folders = Counter(file.parent.relative_to(root).as_posix() for file in files)
    held = ", ".join(f"{count} in {name}/" for name, count in list(folders.items())[:6])
    looks = "\n".join(f"  {layout.name}: {layout.looks}" for layout in LAYOUTS.values())
    return (
        f"{root} has {wrong}. Found {len(files)} pictures ({held}), "
        f"such as {files[0].relative_to(root).as_posix()}. "
        f"A data set's own folder is needed, not one above it. Layouts:\n{looks}"
    )
