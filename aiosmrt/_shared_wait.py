"""A future that many tasks wait for, none of which can cancel it."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

__all__ = ["SharedWait"]

_T = TypeVar("_T")


class SharedWait(Generic[_T]):
    """Lets tasks wait for a future, at a cost that does not grow with their number.

    Each wait has a future of its own: to take a callback back, a future looks through all of
    its callbacks, so that cancelling many waits for one future takes the square of their number.

    Args:
        future: What to wait for.

    Attributes:
        future: As given.
    """

    def __init__(self, future: asyncio.Future[_T]) -> None:
        self.future = future
        self._waiters: dict[asyncio.Future[None], None] = {}
        future.add_done_callback(self._end)

    async def wait(self) -> None:
        """Waits until the future is done, in whichever way; cancelling the wait leaves it."""
        if self.future.done():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = None
        try:
            await waiter
        finally:
            self._waiters.pop(waiter, None)

    def _end(self, _: object) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
