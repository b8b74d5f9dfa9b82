"""The places of a pool: in the order of asking, at a cost that does not grow with the line."""

from __future__ import annotations

import asyncio
import gc
import time

import pytest
from support.clock import LoopClock

from aiosmrt._transport.slots import Slots
from aiosmrt.errors import PoolTimeoutError, TransportError


async def line(length: int) -> tuple[Slots, list[asyncio.Task[None]], list[int]]:
    """A place that is taken, and tasks that wait for it; each notes that it has got it."""
    slots = Slots(1)
    assert slots.take_nowait()
    served: list[int] = []

    async def wait(number: int) -> None:
        await slots.take(None, "host")
        served.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(length)]
    await asyncio.sleep(0)
    return slots, tasks, served


async def test_places_are_given_in_the_order_of_asking() -> None:
    slots, tasks, served = await line(50)
    for number in (0, 7, 8, 49):
        tasks[number].cancel()
    await asyncio.sleep(0)
    for _ in range(46):
        slots.give()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert served == [number for number in range(50) if number not in (0, 7, 8, 49)]
    assert repr(slots) == "1 of 1 connections in use"


async def test_a_place_is_held_for_a_block() -> None:
    slots = Slots(1)
    async with slots:
        assert repr(slots) == "1 of 1 connections in use"
        waiting = asyncio.create_task(slots.take_one())
        await asyncio.sleep(0)
        assert not waiting.done()
    await waiting
    slots.give()
    assert repr(slots) == "0 of 1 connections in use"


async def test_giving_costs_the_same_however_many_wait() -> None:
    """The work of 40,000 is compared with that of 10,000; with the square it is 16 times that."""

    async def cost(waiting: int) -> float:
        slots, tasks, served = await line(waiting)
        started = time.thread_time()
        for _ in range(waiting):
            slots.give()
        spent = time.thread_time() - started
        await asyncio.gather(*tasks)
        assert len(served) == waiting
        return spent

    gc.disable()
    try:
        few = min([await cost(10_000) for _ in range(3)])
        many = min([await cost(40_000) for _ in range(3)])
    finally:
        gc.enable()
    assert many < 8 * few


def expire(clock: LoopClock, _: asyncio.Task[None], __: Slots) -> None:
    clock.advance(1_000)


def cancel(_: LoopClock, waiting: asyncio.Task[None], __: Slots) -> None:
    waiting.cancel()


def close(_: LoopClock, __: asyncio.Task[None], slots: Slots) -> None:
    slots.fail("host")


ENDS = {
    expire: PoolTimeoutError(
        "All connections (max_connections=1) were in use until Timeouts.total ran out"
    ),
    cancel: asyncio.CancelledError(),
    close: TransportError("The session was closed during the call: let its calls end first"),
}


@pytest.mark.parametrize("given", ["before", "after", "a turn after", "never"])
@pytest.mark.parametrize("end", ENDS)
async def test_a_wait_that_ends_otherwise_loses_no_place(end, given, monkeypatch) -> None:
    """Also not one that is given in the turn in which the wait ends, before or after that."""
    clock = LoopClock(monkeypatch)
    slots = Slots(1)
    assert slots.take_nowait()
    waiting = asyncio.create_task(slots.take(asyncio.get_running_loop().time() + 1_000, "host"))
    await asyncio.sleep(0)
    assert clock.pending == 1
    if given == "before":
        slots.give()
    end(clock, waiting, slots)
    if given == "a turn after":
        await asyncio.sleep(0)
    if given.endswith("after"):
        slots.give()
    if given == "before" and end is not cancel:
        await waiting  # the place came first
        slots.give()
    else:
        expected = ENDS[end]
        with pytest.raises(type(expected)) as caught:
            await waiting
        if end is not cancel:
            assert caught.value.message == expected.message
            assert caught.value.host == "host"
    assert clock.pending == 0
    assert repr(slots) == f"{given == 'never':d} of 1 connections in use"


async def test_the_end_of_one_wait_leaves_the_others_in_line(monkeypatch) -> None:
    clock = LoopClock(monkeypatch)
    now = asyncio.get_running_loop().time()
    slots = Slots(1)
    assert slots.take_nowait()
    deadlines = [now + 1_000, None, now + 2_000]
    first, second, third = [asyncio.create_task(slots.take(due, "host")) for due in deadlines]
    await asyncio.sleep(0)
    clock.advance(1_000)
    with pytest.raises(PoolTimeoutError):
        await first
    clock.advance(1_000)
    slots.give()
    await second
    with pytest.raises(PoolTimeoutError):
        await third
    assert repr(slots) == "1 of 1 connections in use"


async def test_a_wait_that_was_given_up_unfinished_is_no_longer_in_line() -> None:
    """As when the loop of the task that waits is closed, and the task is collected."""
    slots = Slots(1)
    assert slots.take_nowait()
    steps = slots.take(None, "host")
    steps.send(None)
    steps.close()
    slots.give()
    assert repr(slots) == "0 of 1 connections in use"
