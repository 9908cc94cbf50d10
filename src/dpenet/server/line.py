"""Whose turn it is: bounded places, and a fair line of those who wait."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

from dpenet.server.failures import busy

_LONGEST_RETRY = 60
_FORGETTING = 0.1


class Place:
    """What one request holds in memory.

    Attributes:
        client: Who sent it.
    """

    def __init__(self, line: Line, client: str) -> None:
        self.client = client
        self._line = line
        self._bytes = 0

    def hold(self, size: int) -> None:
        """Say that ``size`` bytes are now held for this request, instead of those before.

        Raises:
            RefusedError: If all requests together would hold too much.
        """
        line = self._line
        if size > self._bytes and line.held + size - self._bytes > line.most_held:
            raise busy(503, "busy", "too much is being worked on; try again", line.retry_after)
        line.held += size - self._bytes
        self._bytes = size


class Line:
    """Requests in hand, and the line of those that wait to be computed.

    Whoever is next is chosen client by client in turn, so that one with many pictures does not
    keep the others waiting. To be used from the event loop only.

    Args:
        slots: How many are computed at once.
        places: Requests in hand at once, from the first byte of the body to the last of the answer.
        places_each: The same, for one client.
        most_held: Bytes that uploads and results may take together.

    Attributes:
        working: How many are being computed.
        held: Bytes that uploads and results take.
    """

    def __init__(
        self, slots: int, places: int = 0, places_each: int = 0, most_held: int = 0
    ) -> None:
        self.slots = slots
        self.most_held = most_held
        self.working = 0
        self.held = 0
        self._places, self._places_each = places, places_each
        self._taken: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._mean_seconds = 1.0

    @property
    def taken(self) -> int:
        """Places that are taken."""
        return self._taken.total()

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return sum(map(len, self._waiting.values()))

    @property
    def retry_after(self) -> int:
        """Seconds after which there is likely to be a place."""
        seconds = (self.waiting + 1) * self._mean_seconds / self.slots
        return min(_LONGEST_RETRY, math.ceil(seconds))

    @contextmanager
    def place(self, client: str) -> Iterator[Place]:
        """Take a place, at once or not at all.

        Raises:
            RefusedError: If there is none left, or none for this client.
        """
        if self.taken >= self._places:
            raise busy(503, "busy", "all places are taken; try again", self.retry_after)
        if self._taken[client] >= self._places_each:
            raise busy(
                429,
                "too_many_requests",
                f"{self._places_each} of your requests are being worked on; send the next after",
                self.retry_after,
            )
        self._taken[client] += 1
        place = Place(self, client)
        try:
            yield place
        finally:
            place.hold(0)
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]

    async def turn(self, client: str) -> None:
        """Wait until it is this client's turn; `done` must follow."""
        if self.working < self.slots:
            self.working += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.cancelled():
                self._leave(client, waiter)
            else:  # it was its turn just now
                self._next()
            raise

    def done(self, seconds: float) -> None:
        """End a turn that took so long."""
        self._mean_seconds += _FORGETTING * (seconds - self._mean_seconds)
        self._next()

    def _leave(self, client: str, waiter: asyncio.Future[None]) -> None:
        own = self._waiting.get(client, deque())
        if waiter in own:
            own.remove(waiter)
            if not own:
                del self._waiting[client]

    def _next(self) -> None:
        while self._waiting:
            client, own = self._waiting.popitem(last=False)
            waiter = own.popleft()
            if own:
                self._waiting[client] = own  # behind all others
            if not waiter.done():
                waiter.set_result(None)
                return
        self.working -= 1
