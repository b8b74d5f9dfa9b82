"""Tasks go on some at a time, in their order, and the first of them at once."""

from __future__ import annotations

import asyncio

from support.waiting import turns
from support.work import counted_calls

from aiosmrt._s3.pace import Pace


async def begun_by_turn(pace: Pace, number: int, *, cancelled: int = 0) -> list[list[int]]:
    """Starts tasks in one turn of the loop; returns which of them went on in each."""
    turns: list[list[int]] = []

    async def begin(each: int) -> None:
        await pace.wait()
        turns[-1].append(each)

    tasks = [asyncio.create_task(begin(each)) for each in range(number)]
    while not all(task.done() for task in tasks):
        turns.append([])
        await asyncio.sleep(0)
        for task in tasks[number - cancelled :]:
            task.cancel()
    return turns


async def test_so_many_go_on_in_a_turn_and_in_order():
    turns = await begun_by_turn(Pace(3), 10)
    assert [each for turn in turns for each in turn] == list(range(10))
    assert max(map(len, turns)) == 3
    assert len(turns) <= 6


async def test_whoever_comes_alone_goes_on_at_once():
    pace = Pace(3)
    for _ in range(3):
        assert await begun_by_turn(pace, 3) == [[0, 1, 2]]
        await asyncio.sleep(0)


async def test_the_cancelled_hold_nobody_up():
    turns = await begun_by_turn(Pace(3), 100, cancelled=90)
    assert [each for turn in turns for each in turn] == list(range(10))
    assert len(turns) <= 6


async def test_a_pace_that_nobody_waits_at_leaves_the_loop_alone():
    async def work() -> int:
        await turns()
        with counted_calls() as calls:
            await turns()
        return calls.count

    pace = Pace(3)
    before = await work()
    await begun_by_turn(pace, 10)
    assert await work() == before
