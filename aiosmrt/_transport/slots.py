"""Who may use a connection, and in which order."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from aiosmrt.errors import PoolTimeoutError, TransportError

__all__ = ["Slots"]


class Slots:
    """``max_connections`` places, given in the order in which they were asked for."""

    def __init__(self, limit: int) -> None:
        self._limit = self._free = limit
        # Not a dict: finding its first entry passes over all that were removed before that.
        self._waiters: OrderedDict[asyncio.Future[None], None] = OrderedDict()

    def __repr__(self) -> str:
        return f"{self._limit - self._free} of {self._limit} connections in use"

    def take_nowait(self) -> bool:
        """Takes a place if one is free, and returns whether it did."""
        if self._free:
            self._free -= 1
            return True
        return False

    async def __aenter__(self) -> None:
        await self.take_one()

    async def __aexit__(self, *_: object) -> None:
        self.give()

    async def take_one(self) -> None:
        """Takes a place, waiting for it for however long it takes."""
        if not self.take_nowait():
            await self.take(None, "")

    async def take(self, deadline: float | None, host: str) -> None:
        """Takes a place, waiting for it until the deadline (by the loop's clock).

        `take_nowait` comes before it: while anybody waits, no place is free.

        Raises:
            PoolTimeoutError: The deadline passed first.
            TransportError: The session was closed.
        """
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        self._waiters[waiter] = None
        timer = None
        if deadline is not None:
            timer = loop.call_at(deadline, self._expire, waiter, host)
        try:
            await waiter
        except BaseException:
            waiting = self._waiters.pop(waiter, waiter) is None
            if not waiting and not waiter.cancelled() and waiter.exception() is None:
                # Handed over in the same moment as this task was cancelled.
                self.give()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def give(self) -> None:
        """Hands a place to who has waited longest, else keeps it free."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1

    def fail(self, host: str) -> None:
        """Ends every wait: the session is closed."""
        text = "The session was closed during the call: let its calls end first"
        waiters, self._waiters = self._waiters, OrderedDict()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(TransportError(text, host=host))

    def _expire(self, waiter: asyncio.Future[None], host: str) -> None:
        if not waiter.done():
            text = (
                f"All connections (max_connections={self._limit}) were in use until "
                "Timeouts.total ran out"
            )
            waiter.set_exception(PoolTimeoutError(text, host=host))
