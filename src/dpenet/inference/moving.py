"""Frames on their way through the network, the same for files and pipes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from dpenet.inference.pipeline import in_order
from dpenet.media.colour import sample_bits
from dpenet.media.video import Clip, Segment

if TYPE_CHECKING:
    from dpenet.inference.derainer import Derainer

Pixels = NDArray[Any]

PER_THREAD = 3
"""Frames in hand for each thread that computes."""
_PER_THREAD_IN_BURSTS = 6
"""The same where an encoder takes frames in bursts: with half of these the network waited for it a
tenth of the time, with twice as many it waits no less."""
# The part of the memory that frames may take; the network needs the rest.
_SHARE = 4
# Copies of a frame on its way: as it was decoded, in RGB, and without rain.
_COPIES = 3


class TemporalFilter(Protocol):
    """Steadies the frames of a segment. Made anew for each."""

    def push(self, rainy: Pixels, clean: Pixels) -> list[Pixels]:
        """Take a frame as it was and without rain; return the results that are ready, in order."""

    def flush(self) -> list[Pixels]:
        """The results that are still missing."""


@dataclass
class Frame:
    """A frame on its way."""

    segment: Segment
    frame: av.VideoFrame
    rainy: Pixels
    clean: Pixels


@dataclass(frozen=True)
class Hand:
    """What is begun ahead of the frame that is awaited.

    Attributes:
        frames: How many; 1 if none is begun ahead.
        workers: Threads that they are on.
        size: Bytes that all of them take.
    """

    frames: int
    workers: int
    size: int

    @classmethod
    def of(
        cls, derainer: Derainer, height: int, width: int, depth: int, per_thread: int = PER_THREAD
    ) -> Hand:
        """As much as there is memory for.

        Args:
            derainer: What will derain, and how much memory there is for it.
            height: Of the frames.
            width: Of them.
            depth: Bits of a sample.
            per_thread: Frames for each thread that computes.
        """
        size = _COPIES * 3 * height * width * (2 if depth > 8 else 1)
        affordable = derainer.working_memory // _SHARE // size
        frames = min(per_thread * derainer.threads, affordable)
        # Two more than compute: they have the next frames ready.
        workers = min(derainer.threads + 2, frames // 2)
        if workers <= 1:
            frames = workers = 1
        return cls(frames, workers, frames * size)

    @classmethod
    def of_clip(cls, derainer: Derainer, clip: Clip) -> Hand:
        """As much as there is memory for, where a clip is encoded of what is derained."""
        depth = sample_bits(clip.pixel_format)
        return cls.of(derainer, clip.height, clip.width, depth, _PER_THREAD_IN_BURSTS)


def derained(derainer: Derainer, work: Iterable[Frame], hand: Hand) -> Generator[Frame]:
    """Derain frames on threads, while the thread that iterates decodes and encodes.

    It begins when what else is in hand, of other clips or pictures, leaves room for these frames.

    Args:
        derainer: What derains.
        work: The frames.
        hand: How many are begun ahead.
    """

    def derain(one: Frame) -> Frame:
        # Upright, as it will be seen: rain falls from above in what the network has learnt.
        count = turns(one.frame)
        clean = derainer.derain_pixels(np.rot90(one.rainy, count))
        one.clean = np.ascontiguousarray(np.rot90(clean, -count))
        return one

    with derainer.room.take(hand.size, derainer.working_memory // _SHARE):
        yield from in_order(derain, work, hand.workers, hand.frames)


def turns(frame: av.VideoFrame) -> int:
    """Quarter turns counterclockwise after which a frame is seen."""
    return round(frame.rotation / 90)


def steadied(frames: Iterator[Frame], filter_: TemporalFilter | None) -> Iterator[Frame]:
    """Hand the frames of a segment through a filter, which may hold some of them back."""
    if filter_ is None:
        yield from frames
        return
    waiting: list[Frame] = []

    def ready(results: list[Pixels]) -> Iterator[Frame]:
        for clean in results:
            one = waiting.pop(0)
            one.clean = clean
            yield one

    for one in frames:
        waiting.append(one)
        yield from ready(filter_.push(one.rainy, one.clean))
    yield from ready(filter_.flush())
