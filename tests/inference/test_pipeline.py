from __future__ import annotations

import gc
import itertools
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing

import pytest

from dpenet.inference.pipeline import (
    Room,
    Stopped,
    check_stop,
    in_order,
    in_worker,
    stoppable,
)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())  # of other tests too, some of them about to end
    yield
    assert set(threading.enumerate()) <= before


def test_results_come_in_the_order_of_the_items() -> None:
    finished = []

    def work(number: int) -> int:
        time.sleep(0.02 if number % 4 == 0 else 0)
        finished.append(number)
        return -number

    assert list(in_order(work, range(40), 4)) == [-number for number in range(40)]
    assert finished != list(range(40))


def test_items_are_worked_on_at_the_same_time() -> None:
    barrier = threading.Barrier(3)  # passed only by three threads at once
    assert list(in_order(lambda _: barrier.wait(5) >= 0, range(6), 3)) == [True] * 6


def test_nothing_in_nothing_out() -> None:
    assert list(in_order(str, [], 2)) == []


def test_an_exception_takes_the_place_of_its_result() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = in_order(work, itertools.count(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert list(results) == []


class Picture:
    """Something whose instances can be counted."""


@pytest.mark.parametrize(("ahead", "most_begun"), [(None, 6), (4, 4), (9, 9)])
def test_few_items_are_taken_and_few_results_kept_however_many_there_are(
    ahead: int | None, most_begun: int
) -> None:
    taken = 0
    kept: weakref.WeakSet[Picture] = weakref.WeakSet()
    most = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    def work(_: int) -> Picture:
        picture = Picture()
        kept.add(picture)
        return picture

    with closing(in_order(work, items(), 3, ahead)) as results:
        for awaited in range(1000):
            next(results)
            assert taken == awaited + most_begun
            most = max(most, len(kept))
    assert 1 < most <= most_begun
    gc.collect()
    assert len(kept) == 0


def test_closing_ends_those_begun_and_leaves_the_rest_alone() -> None:
    begun = []
    ended = []

    def work(number: int) -> int:
        begun.append(number)
        if number == 0:
            return number
        try:
            while True:  # an hour of computing
                check_stop()
                time.sleep(0.001)
        except Stopped:
            ended.append(number)
            raise

    with closing(in_order(work, range(100), 3)) as results:
        assert next(results) == 0
        while len(begun) < 4:
            time.sleep(0.001)
    assert begun == [0, 1, 2, 3]
    assert sorted(ended) == [1, 2, 3]


def test_an_interrupt_while_waiting_stops_the_workers() -> None:
    def work(_: int) -> None:
        while True:
            check_stop()
            time.sleep(0.001)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    former = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    start = time.perf_counter()
    try:
        with pytest.raises(KeyboardInterrupt), closing(in_order(work, range(9), 2)) as results:
            next(results)
    finally:
        signal.signal(signal.SIGALRM, former)
    assert time.perf_counter() - start < 5


def test_only_workers_are_told_to_stop() -> None:
    def work(_: int) -> bool:
        check_stop()
        return in_worker()

    check_stop()
    assert not in_worker()
    assert list(in_order(work, range(3), 2)) == [True] * 3
    check_stop()
    assert not in_worker()


def test_one_worker_is_the_caller_itself() -> None:
    caller = threading.get_ident()
    assert list(in_order(lambda _: threading.get_ident(), range(3), 1)) == [caller] * 3
    assert list(in_order(str, [], 0)) == []


def test_room_is_shared_up_to_the_limit_and_one_always_fits() -> None:
    room, most = Room(), 0

    def work(size: int) -> int:
        nonlocal most
        with room.take(size, 10):
            most = max(most, room.taken)
            time.sleep(0.001)
            assert room.taken <= max(10, size)
        return size

    sizes = [3, 4, 11, 2, 5, 5, 20, 1] * 5  # beside one of 0 bytes even the largest fits
    assert list(in_order(work, sizes, 6)) == sizes
    assert most == 20
    assert room.taken == 0


def test_who_waits_for_room_in_vain_is_stopped() -> None:
    room, stop = Room(), threading.Event()
    waits, ended = threading.Event(), threading.Event()

    def work() -> None:
        with stoppable(stop):
            waits.set()
            try:
                with room.take(6, 10):
                    raise AssertionError("there was no room")
            except Stopped:
                ended.set()

    thread = threading.Thread(target=work)
    with room.take(5, 10):
        thread.start()
        assert waits.wait(30)
        assert not ended.wait(0.3)
        stop.set()
        assert ended.wait(30)
        assert room.taken == 5
    thread.join(30)
    assert room.taken == 0


def test_a_thread_of_ones_own_is_stopped_as_a_worker_is() -> None:
    stop = threading.Event()
    with stoppable(stop):
        assert in_worker()
        check_stop()
        stop.set()
        with pytest.raises(Stopped):
            check_stop()
    assert not in_worker()
    check_stop()
