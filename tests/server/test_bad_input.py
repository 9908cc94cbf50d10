"""Whatever is sent: no answer but one of the 4xx kind, memory within its bound, and life goes on.

One service in a process of its own gets all of it.
"""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator

import pytest
from tests.server.bad_cases import GOOD, cases, get, post, survivable, unending, whole
from tests.server.services import Live, MakeLive

CASES = cases()
# Who still sends when the service closes may find the answer gone with the connection.
SILENT = {name for name, sent in CASES if len(sent) > 1 << 16}
BOUND = 400_000_000
"""Bytes that the service may take at its peak."""


@pytest.fixture(scope="module")
def live(make_live: MakeLive) -> Iterator[Live]:
    limits = {"max_bytes": "2MB", "max_pixels": 1_000_000, "max_clip_bytes": "2MB"}
    with make_live(**limits, memory=BOUND) as service:
        yield service


@pytest.fixture(scope="module")
def impatient(make_live: MakeLive) -> Iterator[Live]:
    with make_live(header_seconds=1, upload_seconds=1) as service:
        yield service


def statuses(received: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"^HTTP/1\.1 (\d{3})", received, re.MULTILINE)]


def test_there_are_enough_and_each_is_another() -> None:
    assert len(CASES) >= 200
    assert len({name for name, _ in CASES}) == len(CASES) == len({sent for _, sent in CASES})


@pytest.mark.parametrize(("name", "sent"), CASES, ids=[name for name, _ in CASES])
def test_is_refused(live: Live, name: str, sent: bytes) -> None:
    received = live.raw(sent)
    assert received or name in SILENT
    for status in statuses(received):
        assert 400 <= status < 500, received[:500]
    if received:
        body = received.partition(b"\r\n\r\n")[2].decode()
        # Some are two requests.
        error = json.JSONDecoder().raw_decode(body)[0]["error"]
        assert error["code"] and error["message"]
        assert not re.search(r"/dev/shm|/work|/usr|site-packages|Traceback", error["message"])


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in survivable()])
def test_does_no_harm(live: Live, sent: bytes) -> None:
    (status,) = statuses(live.raw(sent))
    assert status in (200, 415, 422)


@pytest.mark.parametrize("kind", whole())
def test_a_damaged_byte_is_no_failure(live: Live, kind: str) -> None:
    content = whole()[kind]
    for at in range(0, len(content), max(1, len(content) // 12)):
        damaged = content[:at] + bytes([content[at] ^ 0xFF]) + content[at + 1 :]
        (status,) = statuses(live.raw(post(damaged)))
        assert status in (200, 415, 422)


def silence_after(live: Live, sent: bytes) -> float:
    """Seconds until the service ends a connection that says no more."""
    start = time.monotonic()
    received = live.raw(sent, timeout=60)
    assert set(statuses(received)) <= {408}
    return time.monotonic() - start


@pytest.mark.parametrize(
    "sent",
    [
        *(b"", b"GET /healthz HTTP/1.1\r\nHost: loc"),
        *(post(GOOD)[:-10], post(GOOD)[:200], unending()),
    ],
    ids=["nothing", "half a head", "most of a body", "little of a body", "a chunk without end"],
)
def test_who_says_no_more_is_not_waited_for(impatient: Live, sent: bytes) -> None:
    assert 0.9 < silence_after(impatient, sent) < 15


def test_a_body_that_trickles_is_not_waited_for(impatient: Live) -> None:
    start = time.monotonic()
    with socket.create_connection(("127.0.0.1", impatient.port), 20) as connection:
        connection.sendall(post(GOOD)[:300])
        connection.settimeout(0.1)
        received = b""
        while not received and time.monotonic() - start < 60:
            connection.sendall(b"x")
            try:
                received = connection.recv(1000)
            except TimeoutError:
                continue
    assert statuses(received) == [408]
    assert time.monotonic() - start < 15


def test_afterwards_it_works_within_its_memory(live: Live) -> None:
    """Must be the last."""
    assert statuses(live.raw(post(GOOD))) == [200]
    assert statuses(live.raw(get("/healthz"))) == [200]
    assert live.process.poll() is None
    assert "Traceback" not in live.log.read_text()
    assert live.peak_memory < BOUND
