"""What surrounds every answer: a request id, headers that protect, a line in the log, a count."""

from __future__ import annotations

import re
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dpenet.server.failures import body_of, code_of
from dpenet.server.logs import LOGGER
from dpenet.server.metrics import Metrics

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Asked from within the container or the cluster, under any name.
_HEALTH = ("/healthz", "/readyz")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PROTECTION = (
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
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), geolocation=(), microphone=()"),
)


def request_id(scope: Scope) -> str:
    """The name of a request in the log and in its answer."""
    return str(scope["state"]["request_id"])


def new_id() -> str:
    """A name for a request that brings none."""
    return uuid.uuid4().hex


def note(metrics: Metrics, seconds: float, facts: dict[str, Any]) -> None:
    """Count an answer and write it to the log.

    Args:
        metrics: Count it.
        seconds: From the head of the request to the end of the answer.
        facts: For the log: ``route``, ``method``, ``status``, of an error ``error``, and others.
    """
    metrics.requests.labels(facts["route"], facts["method"], facts["status"]).inc()
    metrics.seconds.labels(facts["route"]).observe(seconds)
    if "error" in facts:
        metrics.errors.labels(facts["error"]).inc()
    LOGGER.info("answered", extra={"facts": {**facts, "seconds": round(seconds, 4)}})


class Envelope:
    """ASGI middleware around the whole application.

    Args:
        app: The application.
        metrics: Counts the answers.
        hosts: Names in the Host header that are answered; empty for any.
        origins: Other sites whose pages may send something.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, hosts: tuple[str, ...], origins: tuple[str, ...]
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._hosts = hosts
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if _ID.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = name
        status, sent = 0, 0

        async def send_dressed(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                answer = MutableHeaders(raw=[*message["headers"], *PROTECTION])
                answer.setdefault("Cache-Control", "no-store")
                answer["X-Request-Id"] = name
                message["headers"] = answer.raw
            else:
                sent += len(message.get("body", b""))
            await send(message)

        try:
            await self._chosen(scope, headers)(scope, receive, send_dressed)
        except Exception:
            LOGGER.exception("a request failed", extra={"facts": {"request_id": name}})
            if status:
                scope["state"]["facts"] = {"error": "internal_error"}
                raise
            await _failed(scope, receive, send_dressed)
        finally:
            self._note(scope, name, status, sent, time.perf_counter() - start)

    def _chosen(self, scope: Scope, headers: Headers) -> ASGIApp:
        """What answers a request: the application, or a refusal."""
        if scope["path"] not in _HEALTH and not self._knows(headers.get("host", "")):
            return _misdirected
        # A page of another site can send a form, if not read the answer: it would be computed.
        if scope["method"] == "POST" and headers.get("sec-fetch-site") == "cross-site":
            allowed = {headers.get("origin", ""), "*"}
            return self._app if allowed & {*self._origins} else _foreign
        return self._app

    def _knows(self, host: str) -> bool:
        if not self._hosts:
            return True
        return re.sub(r":\d+$", "", host).strip("[]").lower() in self._hosts

    def _note(self, scope: Scope, name: str, status: int, sent: int, seconds: float) -> None:
        facts: dict[str, Any] = {
            "request_id": name,
            "client": (scope.get("client") or ("",))[0],
            "method": scope["method"] if scope["method"] in _METHODS else "other",
            "route": getattr(scope.get("route"), "path", ""),
            "status": status,
            "bytes_out": sent,
            **scope["state"].get("facts", {}),
        }
        if status >= 400 and "error" not in facts:
            facts["error"] = code_of(status)
        note(self._metrics, seconds, facts)


def _refusal(status: int, code: str, message: str) -> ASGIApp:
    """An application that answers everything with an error."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["facts"] = {"error": code}
        answer = JSONResponse(body_of(code, message, request_id(scope)), status)
        await answer(scope, receive, send)

    return refuse


_misdirected = _refusal(
    421, "unknown_host", "this service is not known under that name; see the setting allowed_hosts"
)
_foreign = _refusal(
    403,
    "foreign_site",
    "pages of other sites may not send pictures here unless the setting cors_origins names them",
)
_failed = _refusal(
    500, "internal_error", "something went wrong here; the log of the service says what"
)
