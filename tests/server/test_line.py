from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from dpenet.server.failures import RefusedError
from dpenet.server.line import Line


def line(slots: int = 1, places: int = 4, each: int = 2, held: int = 100) -> Line:
    return Line(slots, places, each, held)


def refusal(take: Callable[[], object]) -> RefusedError:
    with pytest.raises(RefusedError) as refused:
        take()
    assert int(refused.value.headers["Retry-After"]) >= 1
    return refused.value


async def waiting(turn: Awaitable[None]) -> asyncio.Future[None]:
    """Start to wait for a turn."""
    task = asyncio.ensure_future(turn)
    await asyncio.sleep(0)
    return task


def test_clients_take_turns_however_many_each_has_waiting() -> None:
    async def order() -> list[str]:
        one, served = line(), []

        async def work(client: str) -> None:
            await one.turn(client)
            served.append(client)
            await asyncio.sleep(0)
            one.done(0.1)

        await one.turn("first")
        tasks = [await waiting(work(client)) for client in "aaaabbc"]
        assert one.waiting == 7
        one.done(0.1)
        await asyncio.gather(*tasks)
        assert (one.waiting, one.working) == (0, 0)
        return served

    assert asyncio.run(order()) == list("abcabaa")


def test_no_more_work_at_once_than_there_are_slots() -> None:
    async def most() -> int:
        one, peak = line(slots=3), 0

        async def work(number: int) -> None:
            nonlocal peak
            await one.turn(str(number % 4))
            peak = max(peak, one.working)
            await asyncio.sleep(0.001)
            one.done(0.001)

        await asyncio.gather(*(work(number) for number in range(50)))
        assert one.working == 0
        return peak

    assert asyncio.run(most()) == 3


@pytest.mark.parametrize("when", ["before its turn", "at its turn"])
def test_who_leaves_the_line_takes_nobodys_turn(when: str) -> None:
    async def run() -> None:
        one = line()
        await one.turn("a")
        leaving = await waiting(one.turn("b"))
        staying = await waiting(one.turn("c"))
        if when == "before its turn":
            leaving.cancel()
            await asyncio.sleep(0)
            assert one.waiting == 1
            one.done(0.1)
        else:
            one.done(0.1)
            leaving.cancel()
        await asyncio.wait_for(staying, 1)
        assert one.working == 1
        one.done(0.1)
        assert (one.waiting, one.working) == (0, 0)

    asyncio.run(run())


def test_places_are_bounded_for_all_and_for_each() -> None:
    one = line(places=3, each=2)
    with one.place("a"), one.place("a"):
        assert refusal(lambda: one.place("a").__enter__()).status == 429
        with one.place("b"):
            assert one.taken == 3
            assert refusal(lambda: one.place("c").__enter__()).status == 503
        with one.place("c"):
            pass
    assert one.taken == 0


def test_bytes_are_bounded_for_all_together() -> None:
    one = line(held=100)
    with one.place("a") as first, one.place("b") as second:
        first.hold(60)
        second.hold(40)
        assert refusal(lambda: second.hold(41)).status == 503
        first.hold(10)
        second.hold(90)
        assert one.held == 100
    assert one.held == 0


def test_advice_when_to_try_again_grows_with_the_line() -> None:
    async def run() -> tuple[int, int]:
        one = line(places=100, each=100)
        for _ in range(50):
            one.done(3.0)
            one.working += 1
        early = one.retry_after
        tasks = [await waiting(one.turn("a")) for _ in range(5)]
        late = one.retry_after
        for task in tasks:
            task.cancel()
        return early, late

    early, late = asyncio.run(run())
    assert early == 3
    assert 15 <= late <= 18
