from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator

import pytest
from tests.server.bad_cases import get
from tests.server.services import Live, MakeLive

MOST = 4


@pytest.fixture(scope="module")
def live(make_live: MakeLive) -> Iterator[Live]:
    with make_live(connections=MOST) as service:
        yield service


def test_connections_are_bounded(live: Live) -> None:
    with contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(("127.0.0.1", live.port)))
            for _ in range(MOST)
        ]
        for one in held:  # so that all of them are surely open
            one.sendall(get("/healthz").replace(b"Connection: close\r\n", b""))
            assert one.recv(12) == b"HTTP/1.1 200"
        head, _, body = live.raw(b"").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in head.lower()
        assert json.loads(body)["error"]["code"] == "service_unavailable"
    assert live.raw(get("/healthz")).startswith(b"HTTP/1.1 200")


def test_requests_may_follow_one_another_without_waiting(live: Live) -> None:
    one = get("/healthz").replace(b"Connection: close\r\n", b"")
    received = live.raw(one * 3 + get("/v1/models"))
    assert received.count(b"HTTP/1.1 200") == 4


def test_a_long_head_is_answered_as_such(live: Live) -> None:
    received = live.raw(get("/healthz", "GET", "X-Long: " + "x" * 200_000))
    assert received.startswith(b"HTTP/1.1 431")
    assert live.raw(get("/healthz", "GET", "X-Long: " + "x" * 8000)).startswith(b"HTTP/1.1 200")


def client_of(live: Live) -> str:
    """Who the log says asked last, if the request said that it came for another."""
    live.raw(get("/v1/models", "GET", "X-Forwarded-For: 203.0.113.9"))
    last = [line for line in live.log.read_text().splitlines() if '"answered"' in line][-1]
    return str(json.loads(last)["client"])


def test_only_a_trusted_proxy_says_who_asks(live: Live, make_live: MakeLive) -> None:
    assert client_of(live) == "127.0.0.1"
    with make_live(trusted_proxies='["127.0.0.1"]') as behind:
        assert client_of(behind) == "203.0.113.9"
