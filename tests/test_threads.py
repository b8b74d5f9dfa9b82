"""A session's own threads: whom they serve, and when they end."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading

import pytest
from support.waiting import our_threads, turns, until

from aiosmrt._threads import Threads


@pytest.fixture
def before() -> set[threading.Thread]:
    """The threads of other tests' sessions."""
    gc.collect()
    return our_threads()


async def test_a_result_and_an_error_come_back_to_the_loop(before: set[threading.Thread]) -> None:
    threads = Threads()
    assert await threads.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await threads.run(divmod, 7, 0)
    threads.close()
    await until(lambda: our_threads() <= before)


async def test_a_default_executor_that_is_full_is_not_waited_for() -> None:
    free = threading.Event()
    loop = asyncio.get_running_loop()
    others = [loop.run_in_executor(None, free.wait, 60) for _ in range(100)]
    threads = Threads()
    assert await threads.run(int, "7") == 7
    free.set()
    await asyncio.gather(*others)
    threads.close()


async def test_what_was_given_before_the_close_is_done(before: set[threading.Thread]) -> None:
    """Begun or not: somebody may await it."""
    free, threads = threading.Event(), Threads()
    work = [threads.run(free.wait, 60) for _ in range(10)]
    threads.close()
    threads.close()
    free.set()
    assert all(await asyncio.gather(*work))
    await until(lambda: our_threads() <= before)


async def test_work_after_the_close_leaves_no_thread(before: set[threading.Thread]) -> None:
    threads = Threads()
    threads.close()
    for _ in range(3):
        assert await threads.run(int, "7") == 7
        await until(lambda: our_threads() <= before)


async def test_threads_that_nobody_closed_end_with_their_owner(
    before: set[threading.Thread],
) -> None:
    threads = Threads()
    await threads.run(int, "7")
    assert our_threads() > before
    del threads
    gc.collect()
    await until(lambda: our_threads() <= before)


async def test_work_that_is_cancelled_before_it_begins_is_never_done(
    before: set[threading.Thread],
) -> None:
    free, threads, done = threading.Event(), Threads(), []
    blocking = [threads.run(free.wait, 60) for _ in range(4)]
    waiting = threads.run(done.append, 1)
    waiting.cancel()
    await turns()
    free.set()
    await asyncio.gather(*blocking)
    await threads.run(done.append, 2)
    assert done == [2]
    threads.close()


def test_they_serve_one_loop_after_another() -> None:
    threads = Threads()

    async def run() -> int:
        return await threads.run(int, "7")

    assert [asyncio.run(run()) for _ in range(3)] == [7, 7, 7]
    threads.close()


def test_a_loop_may_end_before_the_work() -> None:
    """The work's end finds no loop to report to, and is lost without a word."""
    free, threads = threading.Event(), Threads()

    async def begin() -> None:
        threads.run(free.wait, 60)

    asyncio.run(begin())
    free.set()

    async def go_on() -> int:
        return await threads.run(int, "7")

    assert asyncio.run(go_on()) == 7
    threads.close()


FORK = """
import asyncio, os, aiosmrt._threads
threads = aiosmrt._threads.Threads()
async def run():
    return await asyncio.wait_for(threads.run(int, "7"), 30)
assert asyncio.run(run()) == 7
child = os.fork()
assert asyncio.run(run()) == 7
if child:
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes fork on POSIX systems only")
def test_they_work_in_a_child_that_was_forked() -> None:
    """The child has none of its parent's threads."""
    environment = os.environ | {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=50, env=environment)
