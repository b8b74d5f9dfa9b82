"""The waits of a session: they end with it, lose no cancellation, and do not share a future."""

from __future__ import annotations

import asyncio
import contextlib
import gc

import pytest
from support.clock import LoopClock
from support.memory import futures
from support.waiting import turns

from aiosmrt._transport import Lifetime
from aiosmrt.errors import TransportError


async def test_closing_ends_waits_and_sleeps() -> None:
    lifetime = Lifetime("host")
    sleeping = asyncio.ensure_future(lifetime.sleep(60))
    waiting = asyncio.ensure_future(lifetime.wait_for(asyncio.Event().wait(), None))
    await asyncio.sleep(0)
    lifetime.close()
    for task in (sleeping, waiting):
        with pytest.raises(TransportError, match="The session is closed"):
            await asyncio.wait_for(task, 10)


async def test_after_closing_waits_and_sleeps_end_at_once() -> None:
    lifetime = Lifetime("host")
    lifetime.close()
    for late in (lifetime.sleep(60), lifetime.wait_for(asyncio.Event().wait(), None)):
        with pytest.raises(TransportError, match="The session is closed"):
            await asyncio.wait_for(late, 10)


@pytest.mark.parametrize("seconds", [None, 60])
@pytest.mark.parametrize("is_done", [False, True])
async def test_a_result_is_returned_and_nobody_else_gets_it(
    is_done: bool, seconds: float | None
) -> None:
    unwanted: list[int] = []
    work = asyncio.ensure_future(asyncio.sleep(0, 7))
    if is_done:
        await work
    wait = Lifetime("host").wait_for(work, seconds, unwanted=unwanted.append)
    assert await wait == 7
    assert unwanted == []


async def test_waits_that_have_ended_leave_nothing_behind() -> None:
    """A session may make millions of them."""

    async def wait(end: str) -> None:
        seconds = 0 if end == "timeout" else 60
        work = asyncio.ensure_future(asyncio.sleep(0 if end == "result" else 60))
        waiting = asyncio.ensure_future(lifetime.wait_for(work, seconds))
        await turns()
        if end == "cancel":
            waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() or waiting.exception() or end == "result"
        await turns()

    lifetime = Lifetime("host")
    before = futures()
    for end in ("result", "timeout", "cancel"):
        await wait(end)
    assert futures() <= before


async def test_a_cancellation_beside_the_result_is_not_swallowed() -> None:
    """As `asyncio.wait_for` does up to Python 3.11."""
    lifetime = Lifetime("host")
    done = asyncio.get_running_loop().create_future()

    async def result() -> int:
        return await done

    waiting = asyncio.ensure_future(lifetime.wait_for(result(), 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    done.set_result(1)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_takes_too_long_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    lifetime = Lifetime("host")
    with pytest.raises(asyncio.TimeoutError):
        await lifetime.wait_for(slow(), 0.01)
    await lifetime.settle()
    assert cancelled.is_set()


async def test_cancelling_a_wait_cancels_what_is_awaited() -> None:
    ended = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()

    lifetime = Lifetime("host")
    waiting = asyncio.ensure_future(lifetime.wait_for(slow_to_end(), None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await lifetime.settle()
    assert ended.is_set()


async def test_settling_waits_for_what_the_closing_cancels_and_for_nothing_else() -> None:
    ended = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns()
            ended.set()

    lifetime = Lifetime("host")
    waiting = asyncio.ensure_future(lifetime.wait_for(slow_to_end(), None))
    await turns()
    lifetime.close()
    await lifetime.settle()
    assert ended.is_set()
    with pytest.raises(TransportError, match="The session is closed"):
        await waiting
    settling = asyncio.ensure_future(lifetime.settle())
    await turns()
    assert settling.done()


async def test_settling_takes_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stubborn() -> None:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()

    free = asyncio.Event()
    clock = LoopClock(monkeypatch)
    lifetime = Lifetime("host")
    waiting = asyncio.ensure_future(lifetime.wait_for(stubborn(), None))
    await turns()
    waiting.cancel()
    settling = asyncio.ensure_future(lifetime.settle())
    await turns()
    was_done = settling.done()
    clock.advance(1)
    await turns()
    is_done = settling.done()
    free.set()
    await asyncio.wait([waiting, settling])
    assert (was_done, is_done) == (False, True)


@pytest.mark.parametrize("end", ["timeout", "cancel", "close"])
@pytest.mark.parametrize("outcome", ["result", "error"])
async def test_what_swallows_its_cancellation_is_left_behind(end: str, outcome: str) -> None:
    free, unwanted = asyncio.Event(), []

    async def stubborn() -> int:
        while not free.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await free.wait()
        if outcome == "error":
            raise ValueError
        return 7

    lifetime = Lifetime("host")
    seconds = 0.01 if end == "timeout" else None
    wait = lifetime.wait_for(stubborn(), seconds, unwanted=unwanted.append)
    waiting = asyncio.ensure_future(wait)
    await turns()
    if end == "cancel":
        waiting.cancel()
    elif end == "close":
        lifetime.close()
    expected = {
        "timeout": asyncio.TimeoutError,
        "cancel": asyncio.CancelledError,
        "close": TransportError,
    }
    with pytest.raises(expected[end]):
        await waiting
    gc.collect()  # the task that is left is still referred to
    free.set()
    await lifetime.settle()
    assert unwanted == ([7] if outcome == "result" else [])


async def test_a_result_that_comes_with_the_cancellation_is_given_back() -> None:
    unwanted: list[int] = []
    done = asyncio.get_running_loop().create_future()
    wait = Lifetime("host").wait_for(done, None, unwanted=unwanted.append)
    waiting = asyncio.ensure_future(wait)
    await asyncio.sleep(0)
    done.set_result(7)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert unwanted == [7]


@pytest.mark.parametrize("how", ["by itself", "by other code"])
async def test_a_step_that_was_cancelled_is_an_error_and_no_cancellation(how: str) -> None:
    """The caller was not cancelled: a task group would take the call for one that was."""

    async def step() -> None:
        if how == "by itself":
            raise asyncio.CancelledError
        await asyncio.Event().wait()

    task = asyncio.ensure_future(step())
    waiting = asyncio.ensure_future(Lifetime("host").wait_for(task, None))
    await asyncio.sleep(0)
    if how == "by other code":
        task.cancel()
    with pytest.raises(TransportError, match="was cancelled, though the call was not"):
        await waiting


class CountedFuture(asyncio.Future):
    """Counts its callbacks: removing one looks at all the others."""

    callbacks = 0

    def add_done_callback(self, callback, *, context=None) -> None:
        self.callbacks += 1
        super().add_done_callback(callback, context=context)


def test_a_wait_costs_the_same_however_many_others_wait() -> None:
    """No future gathers the callbacks of all that wait: cancelling 10,000 took 3.3 s."""
    loop = asyncio.new_event_loop()
    made: list[CountedFuture] = []

    def create_future() -> CountedFuture:
        made.append(CountedFuture(loop=loop))
        return made[-1]

    async def main() -> None:
        lifetime = Lifetime("host")
        waits = [lifetime.sleep(60) for _ in range(100)]
        waits += [lifetime.wait_for(asyncio.Event().wait(), 60) for _ in range(100)]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(made) >= 200
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    loop.create_future = create_future
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    # The last one is that of `asyncio.wait` above, in which the tasks' ends meet.
    assert max(future.callbacks for future in made) <= 2
