"""The finished segments of a clip, kept until it is complete, and what they depend on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet.atomic import atomic_path
from dpenet.media.segments import Part
from dpenet.media.video import Clip, Segment

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer

_PLAN = "plan.json"


def plan(derainer: Derainer, clip: Clip, encoding: str) -> str:
    """All that the frames of the parts depend on, as text.

    Args:
        derainer: What derains. Its threads, tiles and memory change no frame.
        clip: The source.
        encoding: How it is read and written.
    """
    state = clip.path.stat()
    options = derainer.options
    return json.dumps(
        {
            "source": [str(clip.path.absolute()), state.st_size, state.st_mtime_ns],
            "segments": [segment.start for segment in clip.segments],
            "network": [derainer.weights.digest, derainer.precision, derainer.device],
            "result": [options.stage, options.strength],
            "encoding": encoding,
        }
    )


def part_path(folder: Path, segment: Segment) -> Path:
    """Where a part lies."""
    return folder / f"{segment.number:06}.part"


def finished(folder: Path, wanted: str, clip: Clip, *, resume: bool) -> dict[int, Part]:
    """The parts that an earlier run left, if they are of use; else an empty folder for new ones."""
    note = folder / _PLAN
    if resume and note.is_file() and note.read_text(encoding="utf-8") == wanted:
        return _parts(folder, clip)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with atomic_path(note) as temporary:
        temporary.write_text(wanted, encoding="utf-8")
    return {}


def drop_useless(folder: Path, clip: Clip, *, lasting: bool) -> int:
    """Remove what a failed run left, unless another can go on with it.

    Args:
        folder: With the parts.
        clip: The source.
        lasting: Whether the failure would come again.

    Returns:
        How many frames are kept.
    """
    parts = {} if lasting else _parts(folder, clip)
    if not parts:
        shutil.rmtree(folder, ignore_errors=True)
    return sum(len(part.stamps) for part in parts.values())


def _parts(folder: Path, clip: Clip) -> dict[int, Part]:
    found = {one.number: Part.load(part_path(folder, one)) for one in clip.segments}
    return {number: part for number, part in found.items() if part is not None}
