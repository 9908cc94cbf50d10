"""Answers that are sent piece by piece, as fast as the client takes them."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_PIECE = 1 << 17


class Chunked(Response):
    """A response of bytes that leaves memory as the client reads it.

    A response sent in one piece would lie in the connection's buffer, unseen by any bound, for as
    long as the client likes.

    Args:
        content: The body.
        seconds: Within which the client must have taken it.
        **response: As for Starlette's Response.
    """

    def __init__(self, content: bytes, seconds: float, **response: Any) -> None:
        super().__init__(content, **response)
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        body = memoryview(self.body)
        try:
            async with asyncio.timeout(self._seconds):
                for first in range(0, len(body), _PIECE):
                    piece = body[first : first + _PIECE]
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            return  # the server closes the connection, since the answer is not complete
