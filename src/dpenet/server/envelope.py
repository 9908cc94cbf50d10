"""What surrounds every answer: a request id, headers that protect, a line in the log, a count."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpenet.server.failures import body_of
from dpenet.server.logs import LOGGER
from dpenet.server.metrics import Metrics

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Asked from within the container or the cluster, under any name.
_HEALTH = ("/healthz", "/readyz")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_PROTECTION = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        b"media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(), microphone=()"),
)


def request_id(scope: Scope) -> str:
    """The name of a request in the log and in its answer."""
    return str(scope["state"]["request_id"])


class Envelope:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        metrics: Counts the answers.
        hosts: Names in the Host header that are answered; empty for any.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, hosts: tuple[str, ...]) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if _ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = name
        status, sent = 0, 0

        async def send_dressed(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(raw=[*message["headers"], *_PROTECTION])
                answer.setdefault("Cache-Control", "no-store")
                answer["X-Request-Id"] = name
                message["headers"] = answer.raw
            else:
                sent += len(message.get("body", b""))
            await send(message)

        known = scope["path"] in _HEALTH or self._knows(headers.get("host", ""))
        app = self._app if known else _misdirected
        try:
            await app(scope, receive, send_dressed)
        except Exception:
            LOGGER.exception("a request failed", extra={"facts": {"request_id": name}})
            if status:
                raise
            message = "something went wrong here; the log of the service says what"
            answer = JSONResponse(body_of("internal_error", message, name), 500)
            await answer(scope, receive, send_dressed)
        finally:
            self._note(scope, name, status, sent, time.perf_counter() - start)

    def _knows(self, host: str) -> bool:
        if not self._hosts:
            return True
        return re.sub(r":\d+$", "", host).strip("[]").lower() in self._hosts

    def _note(self, scope: Scope, name: str, status: int, sent: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, method, status).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        facts: dict[str, Any] = {
            "request_id": name,
            "client": (scope.get("client") or ("",))[0],
            "method": method,
            "route": route,
            "status": status,
            "seconds": round(seconds, 4),
            "bytes_out": sent,
            **scope["state"].get("facts", {}),
        }
        LOGGER.info("answered", extra={"facts": facts})


async def _misdirected(scope: Scope, receive: Receive, send: Send) -> None:
    message = "this service is not known under that name; see the setting allowed_hosts"
    answer = JSONResponse(body_of("unknown_host", message, request_id(scope)), 421)
    await answer(scope, receive, send)
