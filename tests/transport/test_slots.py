"""The places of a pool: in the order of asking, at a cost that does not grow with the line."""

from __future__ import annotations

import asyncio
import gc
import time

from aiosmrt._transport.slots import Slots


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
