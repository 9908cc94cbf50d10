"""A real service under load, left by its clients, and told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from benchmarks.load import drive
from tests.server.bad_cases import post
from tests.server.services import Live, MakeLive, encoded

LARGE = 1600


def pictures(side: int = 64) -> list[bytes]:
    rng = np.random.default_rng(0)
    return [encoded(rng.integers(0, 256, (side, side, 3), np.uint8)) for _ in range(8)]


def answered(live: Live) -> Counter[int]:
    """How many uploads the log says were answered, by status."""
    lines = map(json.loads, live.log.read_text().splitlines())
    return Counter(
        line["status"]
        for line in lines
        if line["event"] == "answered" and line["route"] == "/v1/derain"
    )


def until(is_so: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def metric(live: Live, name: str) -> float:
    text = live.request("GET", "/metrics")[2].decode()
    return float(text.partition(f"\n{name} ")[2].split("\n", 1)[0])


@pytest.mark.slow
def test_many_clients_are_all_served_in_flat_memory(make_live: MakeLive) -> None:
    with make_live(seconds=20) as live:
        asyncio.run(drive(live.port, pictures(), 64, 3))
        before = live.memory
        answers = asyncio.run(drive(live.port, pictures(), 64, 15))
        grown = live.memory - before
        assert {answer.status for answer in answers} == {200}
        assert max(answer.seconds for answer in answers) < 20
        assert grown < 30_000_000
        assert metric(live, "dpenet_places_taken") == metric(live, "dpenet_held_bytes") == 0


@pytest.mark.slow
def test_more_than_there_are_places_for_are_told_to_come_back(make_live: MakeLive) -> None:
    with make_live(places=8) as live:
        answers = asyncio.run(drive(live.port, pictures(), 32, 4))
    counts = Counter(answer.status for answer in answers)
    assert set(counts) == {200, 503}
    assert counts[200] > 0


async def until_it_ends(port: int, files: list[bytes], number: int) -> tuple[int, int]:
    """Send pictures until the service is gone: how many answers came whole, and how many did not.

    A connection that ends without any answer was not taken, or had no request in it.
    """
    whole = broken = 0
    request = post(files[number % len(files)]).replace(b"Connection: close\r\n", b"")
    while True:
        begun = b""
        try:
            source = (f"127.0.2.{number + 1}", 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=source)
        except OSError:
            return whole, broken
        try:
            while True:
                writer.write(request)
                begun = await reader.read(1)
                if not begun:
                    break
                head = begun + await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
                await reader.readexactly(int(length))
                assert head.split()[1] == b"200"
                whole += 1
                begun = b""
        except (OSError, asyncio.IncompleteReadError):
            broken += bool(begun)
        finally:
            writer.close()


@pytest.mark.slow
def test_told_to_stop_under_load_it_finishes_all_that_it_took(make_live: MakeLive) -> None:
    files = pictures(128)

    async def run(live: Live) -> list[tuple[int, int]]:
        clients = [asyncio.create_task(until_it_ends(live.port, files, n)) for n in range(48)]
        await asyncio.sleep(3)
        assert metric(live, "dpenet_waiting") > 10  # else there is nothing to lose
        live.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(asyncio.gather(*clients), 60)

    with make_live() as live:
        counts = asyncio.run(run(live))
        assert live.process.wait(30) == -signal.SIGTERM
    assert sum(broken for _, broken in counts) == 0
    assert answered(live) == {200: sum(whole for whole, _ in counts)}
    assert "Traceback" not in live.log.read_text()


@pytest.fixture(scope="module")
def large() -> bytes:
    y, x = np.mgrid[0:LARGE, 0:LARGE]
    return encoded(((x + y) % 256).astype(np.uint8))


@pytest.mark.slow
def test_what_nobody_waits_for_is_stopped(make_live: MakeLive, large: bytes) -> None:
    # Nobody takes its place; computed to its end it would take many times as long as is waited for.
    slow = "?model=universal&precision=fp32"
    huge = encoded(np.zeros((4 * LARGE, 4 * LARGE), np.uint8))
    with make_live(seconds=3600, memory="1GB") as live:
        with socket.create_connection(("127.0.0.1", live.port)) as connection:
            connection.sendall(post(huge, slow))
            until(lambda: metric(live, "dpenet_working") == 1)
        until(lambda: metric(live, "dpenet_working") == 0, seconds=30)
        until(lambda: answered(live)[499] == 1)
        # The network that was interrupted still computes the same.
        small = pictures()[0]
        first = live.request("POST", "/v1/derain", small)
        assert first[0] == 200 and first[2] == live.request("POST", "/v1/derain", small)[2]


@pytest.mark.slow
def test_who_does_not_take_the_answer_is_left(make_live: MakeLive, large: bytes) -> None:
    with make_live(send_seconds=1) as live, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", live.port))
        wide = np.zeros((LARGE, LARGE, 3), np.uint8)
        connection.sendall(post(encoded(wide), "?format=bmp&stage=1"))
        until(lambda: bool(answered(live)))
        assert metric(live, "dpenet_places_taken") == metric(live, "dpenet_held_bytes") == 0
        connection.settimeout(10)
        with contextlib.suppress(ConnectionError):
            while connection.recv(1 << 16):
                pass  # what the system held; then it ends
