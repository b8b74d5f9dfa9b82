"""The adaptive limit against the local endpoint, as fast as this machine is. Slow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import aiosmrt
    from aiosmrt.local import ModelRequest

pytestmark = pytest.mark.slow


class Places:
    """A model with so many places; who finds none waits for one."""

    def __init__(self, places: int, seconds: float) -> None:
        self.places = places
        self.seconds = seconds
        self.busy = self.answered = 0
        self.freed = asyncio.Condition()

    async def answer(self, request: ModelRequest) -> bytes:
        async with self.freed:
            await self.freed.wait_for(lambda: self.busy < self.places)
            self.busy += 1
        try:
            await asyncio.sleep(self.seconds)
            self.answered += 1
            return b""
        finally:
            self.busy -= 1
            async with self.freed:
                self.freed.notify()


async def rate_of(session: aiosmrt.Session, concurrency: int | str, count: int) -> float:
    """Answers a second over the second half."""
    loop = asyncio.get_running_loop()
    half = loop.time()
    async with session.invoke_many("places", [b"x"] * count, concurrency=concurrency) as items:
        number = 0
        async for item in items:
            assert item.error is None
            number += 1
            if number == count // 2:
                half = loop.time()
    return count / 2 / (loop.time() - half)


async def test_it_comes_near_the_best_fixed_setting(local):
    async with local.session() as session:
        places = Places(8, 0.1)
        local.add_model("places", places.answer)
        best = max([await rate_of(session, fixed, 800) for fixed in (4, 8, 12, 16, 32)])
        assert await rate_of(session, "auto", 800) > 0.85 * best


async def test_it_gives_way_when_the_capacity_halves(local):
    loop = asyncio.get_running_loop()
    async with local.session() as session:
        places = Places(16, 0.1)
        local.add_model("places", places.answer)
        async with session.invoke_many(
            "places", iter(lambda: b"x", b""), concurrency="auto"
        ) as items:
            end = loop.time() + 8
            async for _ in items:
                if loop.time() > end:
                    break
            before = items.concurrency
            assert before >= 14
            places.places = 8
            end = loop.time() + 8
            # It swings about its new mean: where it stands at the end is chance.
            lowest = before
            async for _ in items:
                lowest = min(lowest, items.concurrency)
                if loop.time() > end:
                    break
            assert lowest < before * 0.75
