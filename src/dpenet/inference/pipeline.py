"""Many pictures: read ahead, computed and written on threads, reported in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


_STEP_SECONDS = 0.1


class Stopped(BaseException):
    """Ends a worker whose results nobody waits for any more."""


_stop: ContextVar[threading.Event | None] = ContextVar("stop", default=None)


def in_worker() -> bool:
    """Whether the calling thread is one of several that work at once."""
    return _stop.get() is not None


def check_stop() -> None:
    """End what a worker of `in_order` does if nobody waits for it; elsewhere do nothing.

    Raises:
        Stopped: If the worker is to stop.
    """
    stop = _stop.get()
    if stop is not None and stop.is_set():
        raise Stopped


@contextmanager
def stoppable(stop: threading.Event) -> Iterator[None]:
    """Make the calling thread one of several that somebody else keeps busy.

    Args:
        stop: Once it is set, the thread's work ends at its next `check_stop` with `Stopped`.
    """
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def wait_stoppably(changed: threading.Condition, is_so: Callable[[], bool]) -> None:
    """Wait for a condition, which is held, as long as somebody waits for the calling worker.

    Args:
        changed: Is notified when it may be so.
        is_so: What is waited for.

    Raises:
        Stopped: If the worker is to stop.
    """
    while not changed.wait_for(is_so, _STEP_SECONDS):
        check_stop()


def awaited(future: Future[Result]) -> Result:
    """The result of a future, or what it raised; Ctrl-C ends the wait."""
    # In steps: not every system interrupts a wait without end.
    while not wait((future,), _STEP_SECONDS).done:
        pass
    return future.result()


class Room:
    """Bytes that pictures in hand take together.

    Attributes:
        taken: How many they are.
    """

    def __init__(self) -> None:
        self.taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def take(self, size: int, limit: int) -> Iterator[None]:
        """Wait until ``size`` more bytes make no more than ``limit``, or nobody else has any.

        Raises:
            Stopped: If the worker is to stop meanwhile.
        """
        with self._changed:
            wait_stoppably(self._changed, lambda: not self.taken or self.taken + size <= limit)
            self.taken += size
        try:
            yield
        finally:
            with self._changed:
                self.taken -= size
                self._changed.notify_all()


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    workers: int,
    ahead: int | None = None,
) -> Generator[Result]:
    """Apply a function to items on threads, and yield the results in the order of the items.

    While one picture is computed, others are read or written. Only so many items are begun ahead of
    the result that is awaited, so that memory stays flat however many there are.

    To stop early, close the iterator (`contextlib.closing` does so whatever happens): items not
    begun are left alone, those begun end at their next `check_stop`, and then it returns.

    Args:
        function: What it raises is raised in the place of its result, and ends the iteration.
        items: Taken one by one by the thread that iterates.
        workers: Threads; with 1 or fewer, everything happens in the thread that iterates.
        ahead: Items begun at once, at most; by default twice as many as workers.

    Yields:
        ``function(item)`` for each item.
    """
    if workers <= 1:
        yield from map(function, items)
        return
    stop = threading.Event()
    pool = ThreadPoolExecutor(workers, "dpenet", initializer=_stop.set, initargs=(stop,))
    rest = iter(items)
    begun: deque[Future[Result]] = deque()
    try:
        while True:
            for item in islice(rest, (ahead or 2 * workers) - len(begun)):
                begun.append(pool.submit(function, item))
            if not begun:
                return
            yield awaited(begun.popleft())
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
