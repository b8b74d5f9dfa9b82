"""Spreads the work of many tasks over the turns of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Pace"]


class Pace:
    """Lets so many tasks go on in each turn of the event loop, in the order of their coming.

    Thousands of tasks that wake in one turn would each do their work in it, and whatever else
    the loop has to do would wait for all of them.

    Args:
        most: How many tasks go on in one turn.
    """

    def __init__(self, most: int) -> None:
        self._most = self._left = most
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._is_counting = False

    async def wait(self) -> None:
        """Waits for a turn with room for the caller; the present one is no wait at all."""
        if self._left and not self._waiters:
            self._left -= 1
            self._count()
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._count()
        await waiter

    def _count(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            asyncio.get_running_loop().call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_counting = False
        self._left = self._most
        while self._left and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():  # cancelled
                waiter.set_result(None)
                self._left -= 1
        if self._left < self._most:
            self._count()
