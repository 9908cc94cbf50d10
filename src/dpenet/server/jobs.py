"""How a picture or clip is worked on: on a thread, in its turn, stopped if nobody waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from dpenet.inference.pipeline import Stopped, stoppable
from dpenet.server.failures import busy
from dpenet.server.line import Line
from dpenet.server.metrics import Stages

Result = TypeVar("Result")


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
