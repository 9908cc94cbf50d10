"""What is done with a picture: on a thread of its own, in its turn, stopped if nobody waits."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from dpenet.errors import PictureError
from dpenet.inference.memory import COPIES
from dpenet.inference.pipeline import Stopped, check_stop, stoppable
from dpenet.media.formats import sniff
from dpenet.media.images import encode_picture, read_picture, read_size
from dpenet.server.catalogue import Key, Models
from dpenet.server.failures import RefusedError, busy
from dpenet.server.line import Line
from dpenet.server.metrics import Stages

Result = TypeVar("Result")
_CHANNELS = 3


@dataclass(frozen=True)
class Derained:
    """A finished picture or clip.

    Attributes:
        content: The file.
        media_type: Of it.
        precision: That it was computed in.
        pixels: How many.
    """

    content: bytes
    media_type: str
    precision: str
    pixels: int


class Workshop:
    """Threads that compute, each when its client's turn has come.

    Args:
        line: Says whose turn it is.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._pool = ThreadPoolExecutor(line.slots, "dpenet-server")

    async def run(self, client: str, stages: Stages, function: Callable[[], Result]) -> Result:
        """Wait for the client's turn, then call a function on a thread.

        If this coroutine is cancelled, the function ends at its next `check_stop`; its turn lasts
        until it has.
        """
        loop = asyncio.get_running_loop()
        with stages.time("queue"):
            await self._line.turn(client)
        start = time.perf_counter()
        stop = threading.Event()

        def done(_: Future[Result]) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._line.done, time.perf_counter() - start)

        def work() -> Result:
            with stoppable(stop):
                try:
                    return function()
                except Stopped:
                    raise asyncio.CancelledError from None

        future = self._pool.submit(work)
        future.add_done_callback(done)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            stop.set()
            raise

    def close(self) -> None:
        """Wait until all threads have ended."""
        self._pool.shutdown()


@asynccontextmanager
async def while_wanted(request: Request, seconds: float, line: Line) -> AsyncIterator[None]:
    """Cancel what is done inside when the client leaves, or it takes too long.

    Args:
        request: Its body has been read.
        seconds: How long it may take.
        line: Says when to try again.

    Raises:
        ClientDisconnect: If the client left.
        RefusedError: If it took too long.
    """
    task = asyncio.current_task()
    assert task is not None
    left = False

    async def watch() -> None:
        nonlocal left
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left = True
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise busy(
            503,
            "took_too_long",
            f"it was not done within {seconds:g} seconds; try again, or send a smaller one",
            line.retry_after,
        ) from None
    except asyncio.CancelledError:
        if left:
            task.uncancel()
            raise ClientDisconnect from None
        raise
    finally:
        watcher.cancel()


def picture_kind(content: bytes) -> str:
    """The format of a picture that came, by its first bytes.

    Raises:
        RefusedError: If it is none of those known.
    """
    kind = sniff(content)
    if kind is None:
        raise RefusedError(
            415,
            "unknown_kind",
            "this is no picture of a kind that is known, such as PNG, JPEG, TIFF or HEIC",
        )
    return kind


def check_pixels(content: bytes, most: int) -> int:
    """How many pixels a picture has, from its header.

    Raises:
        RefusedError: If it has more than ``most``.
        PictureError: If it cannot be read.
    """
    height, width = read_size(content)
    if height * width > most:
        raise too_many_pixels(f"{width} x {height}", height * width, most)
    return height * width


def too_many_pixels(what: str, pixels: int, most: int) -> RefusedError:
    """The error for what is larger than it may be."""
    message = f"{what}: {pixels} pixels are more than the {most} that are taken"
    return RefusedError(422, "too_many_pixels", message)


def derain_picture(
    content: bytes,
    models: Models,
    key: Key,
    strength: float,
    answer: tuple[str, str],
    most_pixels: int,
    stages: Stages,
) -> Derained:
    """Derain the content of a picture file; on a thread.

    Args:
        content: The file.
        models: To compute with.
        key: Which of them.
        strength: As `Options` has it.
        answer: Format and media type of the result.
        most_pixels: That are taken.
        stages: Measured here: decode, network, encode.

    Raises:
        RefusedError: If the picture is too large.
        PictureError: If it cannot be read, or not be written in this format.
        UsageError: If the memory allowed is too little.
        ModelError: If the model is damaged.
    """
    pixels = check_pixels(content, most_pixels)
    with models.lease(key) as derainer:
        if strength < 1:
            derainer = derainer.at_strength(strength)
        size = COPIES * _CHANNELS * pixels
        limit = derainer.working_memory // 4
        with models.room.take(size, limit):
            check_stop()
            with stages.time("decode"):
                rainy = read_picture(content)
            if math.prod(rainy.pixels.shape[:2]) != pixels:
                raise PictureError("the picture: its header names another size than it has")
            with stages.time("network"):
                clean = derainer.derain_picture(rainy)
            with stages.time("encode"):
                encoded = encode_picture(clean, answer[0])
        return Derained(encoded, answer[1], derainer.precision, pixels)
