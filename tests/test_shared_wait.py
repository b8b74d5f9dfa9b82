"""Many waits for one future: how each ends, and what they cost together."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import TYPE_CHECKING

import pytest
from support.memory import futures
from support.waiting import turns

from aiosmrt import CachingProvider, Credentials
from aiosmrt._shared_wait import SharedWait
from aiosmrt._threads import Late, Threads

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@pytest.mark.parametrize("end", ["result", "exception", "cancelled"])
async def test_every_wait_ends_with_the_future_in_the_order_of_asking(end: str) -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    shared = SharedWait(future)
    ended: list[int] = []

    async def wait(number: int) -> None:
        await shared.wait()
        ended.append(number)

    tasks = [asyncio.create_task(wait(number)) for number in range(5)]
    await turns()
    tasks[1].cancel()
    await turns()
    assert not future.done()
    if end == "result":
        future.set_result(1)
    elif end == "exception":
        future.set_exception(ValueError())
        future.exception()
    else:
        future.cancel()
    tasks[3].cancel()  # in the turn in which its wait ends
    await asyncio.wait(tasks)
    assert ended == [0, 2, 4]
    await shared.wait()


async def test_waits_that_were_cancelled_leave_nothing_behind() -> None:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    shared = SharedWait(future)

    async def cancel_one() -> None:
        waiting = asyncio.ensure_future(shared.wait())
        await turns()
        waiting.cancel()
        await asyncio.wait([waiting])
        await turns()

    before = futures()
    await cancel_one()
    assert futures() <= before
    assert not future.done()


class Stuck:
    """Credentials that never come."""

    async def get_credentials(self) -> Credentials:
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("what", ["credentials", "late"])
async def test_cancelling_waits_takes_time_in_proportion_to_their_number(what: str) -> None:
    """The work of 8,000 is compared with that of 2,000; with the square it is 16 times that."""
    may_end = threading.Event()
    threads = Threads()
    provider = CachingProvider(Stuck())
    late = Late(threads, may_end.wait)
    wait: Callable[[], Awaitable[object]]
    wait = provider.get_credentials if what == "credentials" else late.get

    async def cost(waiting: int) -> float:
        tasks = [asyncio.ensure_future(wait()) for _ in range(waiting)]
        await turns()
        started = time.thread_time()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        return time.thread_time() - started

    gc.disable()
    try:
        few = min([await cost(2_000) for _ in range(3)])
        many = min([await cost(8_000) for _ in range(3)])
    finally:
        gc.enable()
        may_end.set()
        await late.get()
        threads.close()
        await provider.aclose()
    assert many < 8 * few
