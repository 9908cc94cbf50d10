"""Y4M whose last frame is cut short, about which FFmpeg says nothing."""

from __future__ import annotations

import re

import av

from dpenet.media.colour import sample_bits

HEAD_BYTES = 4096
"""More than the head of a file and that of its first frame are long."""

_HEADS = re.compile(rb"(YUV4MPEG2[^\n]*\n)(FRAME[^\n]*\n)")


def is_cut_short(head: bytes, size: int, frames: int, first: av.VideoFrame) -> bool:
    """Whether there is more than whole frames.

    Args:
        head: How the file or pipe begins. What is no Y4M is not cut short.
        size: Bytes of all of it.
        frames: How many whole ones there were.
        first: Any of them.
    """
    samples = sum(plane.width * plane.height for plane in first.planes)
    length = samples * (2 if sample_bits(first.format.name) > 8 else 1)
    found = _HEADS.match(head)
    return found is not None and size > len(found[1]) + frames * (len(found[2]) + length)
