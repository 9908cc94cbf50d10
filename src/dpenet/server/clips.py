"""What is done with a clip: as with a picture, by way of a folder in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dpenet.errors import DpenetError
from dpenet.inference.pipeline import check_stop
from dpenet.server.catalogue import Key, Models
from dpenet.server.describe import code_for
from dpenet.server.failures import RefusedError, too_many_pixels
from dpenet.server.folders import clip_folder
from dpenet.server.jobs import Derained
from dpenet.server.kinds import CLIPS
from dpenet.server.metrics import Stages
from dpenet.server.settings import Settings

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.stream import VideoStream

# A result may be larger than the clip, which may have been compressed more.
_GROWTH, _LEAST_WRITTEN = 2, 2_000_000
# Others of FFmpeg's, such as playlists, open what other addresses and files they name.
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"


class _OutgrownError(Exception):
    """Ends work on a clip. It is no `DpenetError`: nothing of the clip is worth keeping."""


def held(size: int) -> int:
    """Bytes that a clip takes meanwhile: what came, its file, the finished parts, the result."""
    return 2 * size + 2 * most_written(size)


def most_written(size: int) -> int:
    """Bytes that the result of a clip of this size may have."""
    return max(_GROWTH * size, _LEAST_WRITTEN)


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
        clip_folder(settings.clip_folder) as folder,
        _without(str(folder)),
    ):
        source, target = folder / f"rainy{suffix}", folder / f"clean{suffix}"
        source.write_bytes(content)
        with stages.time("decode"):
            _check_frames(source, settings.max_frame_pixels)
            clip = survey(source)
        pixels = clip.frames * _checked(clip.width, clip.height, settings.max_frame_pixels)
        if pixels > settings.max_clip_pixels:
            raise too_many_pixels(f"{clip.frames} frames of it", pixels, settings.max_clip_pixels)

        def advance(_: int) -> None:
            check_stop()
            _check_written(folder, source)

        with stages.time("network"):
            inference.derain_clip(
                derainer if strength == 1 else derainer.at_strength(strength),
                clip,
                target,
                inference.ClipOptions(deinterlace=clip.interlaced),
                temporal=TemporalFilter if temporal else None,
                advance=advance,
            )
            _check_written(folder, source)
        return Derained(target.read_bytes(), CLIPS[suffix], derainer.precision, pixels)


def _check_frames(source: Path, most: int) -> None:
    """Refuse what is of another kind than it looks, or has a frame that is too large anywhere.

    All are decoded for that, under FFmpeg's own limit: what the head says of their size need not
    be true, and each key frame may bring another.
    """
    import av

    from dpenet.media.video import picture_stream

    av.logging.set_level(None)
    try:
        with av.open(source, container_options={"format_whitelist": _DEMUXERS}) as container:
            for stream in container.streams.video:
                if (context := stream.codec_context) is not None:
                    _checked(context.width, context.height, most)
            stream = picture_stream(container)
            stream.codec_context.options = {"max_pixels": str(most)}
            # With more threads, each would keep for itself which size it refused.
            stream.codec_context.thread_count = 1
            for packet in container.demux(stream):
                check_stop()
                _check_packet(packet, stream.codec_context, most)
    except (av.FFmpegError, OSError) as error:
        raise RefusedError(
            422, "unreadable_clip", f"the clip is damaged or cut short: {error.strerror or error}"
        ) from error


def _check_packet(packet: Packet[VideoStream], context: VideoCodecContext, most: int) -> None:
    import av

    try:
        packet.decode()
    except (MemoryError, OverflowError) as error:  # how some decoders tell of the limit
        raise _varying(most) from error
    except av.FFmpegError:
        # Others forget the size, or have the refused one. Damage alone is no reason to refuse.
        if not 0 < context.width * context.height <= most:
            raise _varying(most) from None


def _varying(most: int) -> RefusedError:
    message = f"the size of its frames changes, and some have more than the {most} pixels allowed"
    return RefusedError(422, "too_many_pixels", message)


def _check_written(folder: Path, source: Path) -> None:
    """Refuse a clip whose parts, or whose result, take more than was reckoned with."""
    size = source.stat().st_size
    files = (path for path in folder.rglob("*") if path.is_file() and path != source)
    written = sum(path.stat().st_size for path in files)
    if written > most_written(size):
        raise _OutgrownError(
            f"without rain it would have more than {most_written(size)} bytes; send a shorter part "
            "of it, or compress it less"
        )


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
    except _OutgrownError as error:
        raise RefusedError(422, "result_too_large", str(error)) from error
    except DpenetError as error:
        code = code_for(error).replace("picture", "clip")
        message = re.sub(rf"{re.escape(folder)}/\w+(\.\w+)?", "the clip", str(error))
        raise RefusedError(422, code, message) from error
