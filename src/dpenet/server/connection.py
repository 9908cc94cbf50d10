"""Connections that cannot be held open for nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from dpenet.server.envelope import PROTECTION, new_id, note
from dpenet.server.failures import body_of, code_of
from dpenet.server.metrics import Metrics
from dpenet.server.settings import Settings

_PIECE = 1 << 14


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 with what it has no setting for.

    Closes what sends the head of a request too slowly, and what does not take its answer; bounds
    the number of connections; answers what is no HTTP as every other error.
    """

    _header_seconds: float
    _send_seconds: float
    _most: int
    _metrics: Metrics

    @classmethod
    def limited(cls, settings: Settings, metrics: Metrics) -> type[Connection]:
        """This class with the limits of the settings, and what counts the refusals."""
        limits = {
            "_header_seconds": settings.header_seconds,
            "_send_seconds": settings.send_seconds,
            "_most": settings.connections,
            "_metrics": metrics,
        }
        return type(cls.__name__, (cls,), limits)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._refuse(503, "too many connections; try again", [(b"retry-after", b"1")])
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._stall):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # h11 bounds only a head that is not yet complete: it must not get all of it at once.
        for first in range(0, len(data), _PIECE):
            if self.transport.is_closing():
                return
            super().data_received(data[first : first + _PIECE])
        if self.cycle is None or self.cycle.response_complete:
            self._await_head()
        elif self._head is not None:
            self._head.cancel()
            self._head = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall = self.loop.call_later(self._send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        # Called while the error is handled, which knows better: 431 for a head that is too long.
        error = sys.exception()
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else 400
        status = status if status < 500 else 400
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(status, f"this is no request that can be understood: {error}", [])
        else:
            self.transport.close()

    def _await_head(self) -> None:
        if self._head is None:
            self._head = self.loop.call_later(self._header_seconds, self.transport.abort)

    def _refuse(self, status: int, message: str, headers: list[tuple[bytes, bytes]]) -> None:
        name, code = new_id(), code_of(status)
        body = json.dumps(body_of(code, message, name)).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-request-id", name.encode()),
            (b"connection", b"close"),
            *PROTECTION,
            *headers,
        ]
        answer = h11.Response(
            status_code=status, headers=headers, reason=STATUS_PHRASES.get(status, b"")
        )
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        facts = {"route": "", "method": "other", "status": status, "error": code}
        client = self.client[0] if self.client else ""
        note(self._metrics, 0, {"request_id": name, "client": client, **facts})
