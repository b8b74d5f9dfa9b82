"""The life of a session: whatever waits in it ends with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from aiosmrt.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Lifetime"]

_T = TypeVar("_T")


class Lifetime:
    """Waits that end early when the session is closed.

    Each wait has a future of its own, so that a wait costs the same however many others
    there are.

    Attributes:
        is_closed: Whether ``close`` was called.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._waiters: set[asyncio.Future[None]] = set()
        self.is_closed = False

    def check_open(self) -> None:
        """Raises TransportError if the session is closed."""
        if self.is_closed:
            text = "The session is closed: keep it open for as long as calls are made"
            raise TransportError(text, host=self._host)

    def close(self) -> None:
        """Ends every wait. Idempotent."""
        self.is_closed = True
        for waiter in self._waiters:
            _wake(waiter)

    async def sleep(self, seconds: float) -> None:
        """Sleeps between two attempts.

        Raises:
            TransportError: The session was closed.
        """
        await self._wait(seconds)
        self.check_open()

    async def wait_for(self, waiting: Coroutine[Any, Any, _T], seconds: float | None) -> _T:
        """Awaits the part of a call that is not an exchange: credentials, S3, a place in line.

        `asyncio.wait_for` loses a cancellation that comes together with the result, up to
        Python 3.11, and knows nothing of a session's end.

        Args:
            waiting: The coroutine; it is cancelled if the wait ends before it.
            seconds: The longest wait; None for no limit.

        Returns:
            What the coroutine returned.

        Raises:
            asyncio.TimeoutError: The coroutine took longer.
            TransportError: The session was closed.
        """
        task = asyncio.ensure_future(waiting)
        try:
            await self._wait(seconds, task)
            if task.done():
                return task.result()
            self.check_open()
            raise asyncio.TimeoutError
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
            elif not task.cancelled():
                task.exception()  # retrieved, should this task have been cancelled

    async def _wait(self, seconds: float | None, task: asyncio.Future[Any] | None = None) -> None:
        """Waits for a task, the session's end, or the time to pass."""
        if self.is_closed:
            return
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()

        def wake(_: object) -> None:
            _wake(waiter)

        timer = None if seconds is None else loop.call_later(seconds, _wake, waiter)
        if task is not None:
            task.add_done_callback(wake)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if task is not None:
                task.remove_done_callback(wake)
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
