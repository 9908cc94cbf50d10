"""What is done with a clip: as with a picture, by way of a folder in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dpenet.errors import DpenetError
from dpenet.inference.pipeline import check_stop
from dpenet.server.catalogue import Key, Models
from dpenet.server.describe import code_for
from dpenet.server.failures import RefusedError
from dpenet.server.jobs import Derained, too_many_pixels
from dpenet.server.kinds import CLIPS
from dpenet.server.metrics import Stages
from dpenet.server.settings import Settings

HELD = 4
"""Of its size, what a clip takes meanwhile: what came, its file, the finished parts, the result."""

# Others of FFmpeg's, such as playlists, open what other addresses and files they name.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
# A frame as it was and without rain.
_COPIES, _CHANNELS = 2, 3


def derain_clip(
    content: bytes,
    suffix: str,
    models: Models,
    key: Key,
    strength: float,
    temporal: bool,
    settings: Settings,
    stages: Stages,
) -> Derained:
    """Derain the content of a clip; on a thread.

    Args:
        content: The file.
        suffix: Of its kind, from `dpenet.server.kinds.clip_suffix`.
        models: To compute with.
        key: Which of them.
        strength: As `Options` has it.
        temporal: Whether the frames before and after help.
        settings: Limits, and the folder.
        stages: Measured here: decode (its survey), network (everything else).

    Raises:
        RefusedError: If the clip is too large or too long, or cannot be read or written.
    """
    from dpenet.inference import clips as inference
    from dpenet.inference.temporal import TemporalFilter
    from dpenet.media.video import survey

    with (
        models.lease(key) as derainer,
        TemporaryDirectory(prefix="dpenet-", dir=settings.clip_folder) as name,
        _without(name),
    ):
        source, target = Path(name, f"rainy{suffix}"), Path(name, f"clean{suffix}")
        source.write_bytes(content)
        with stages.time("decode"):
            _check_head(source, settings.max_frame_pixels)
            clip = survey(source)
        pixels = clip.frames * _checked(clip.width, clip.height, settings.max_frame_pixels)
        if pixels > settings.max_clip_pixels:
            raise too_many_pixels(f"{clip.frames} frames of it", pixels, settings.max_clip_pixels)
        frames = 2 * (derainer.threads + 1)  # begun ahead of the one that is encoded
        size = frames * _COPIES * _CHANNELS * clip.width * clip.height
        with (
            models.room.take(size, derainer.working_memory // 4),
            stages.time("network"),
        ):
            check_stop()
            inference.derain_clip(
                derainer if strength == 1 else derainer.at_strength(strength),
                clip,
                target,
                inference.ClipOptions(deinterlace=clip.interlaced),
                temporal=TemporalFilter if temporal else None,
                advance=lambda frames: check_stop(),
            )
        return Derained(target.read_bytes(), CLIPS[suffix], derainer.precision, pixels)


def _check_head(source: Path, most: int) -> None:
    """Refuse what is of another kind than it looks, or too large, before anything is decoded."""
    import av

    av.logging.set_level(None)
    try:
        with av.open(source, container_options={"format_whitelist": _DEMUXERS}) as container:
            for stream in container.streams.video:
                if (context := stream.codec_context) is not None:
                    _checked(context.width, context.height, most)
    except (av.FFmpegError, OSError) as error:
        raise RefusedError(
            422, "unreadable_clip", f"the clip is damaged or cut short: {error.strerror or error}"
        ) from error


def _checked(width: int, height: int, most: int) -> int:
    if width * height > most:
        raise too_many_pixels(f"a frame of {width} x {height}", width * height, most)
    return width * height


@contextmanager
def _without(folder: str) -> Iterator[None]:
    """Keep the name of the folder out of errors."""
    try:
        yield
    except RefusedError:
        raise
    except DpenetError as error:
        code = code_for(error).replace("picture", "clip")
        message = re.sub(rf"{re.escape(folder)}/\w+(\.\w+)?", "the clip", str(error))
        raise RefusedError(422, code, message) from error
