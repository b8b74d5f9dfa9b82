"""The life of a session: whatever waits in it ends with it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiosmrt.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Clock", "Lifetime"]

_T = TypeVar("_T")

# Code that is cancelled mostly ends within a few turns of the loop; some never does.
_SETTLING_SECONDS = 1.0


class Clock(Protocol):
    """The part of an event loop that waits by time."""

    def time(self) -> float: ...

    def call_at(
        self, when: float, callback: Callable[..., object], *arguments: Any
    ) -> asyncio.TimerHandle: ...


class Lifetime:
    """Waits that end early when the session is closed.

    Each wait has a future of its own, so that a wait costs the same however many others
    there are.

    Args:
        host: The service's host, for error texts.
        get_clock: Gives the clock that times the waits.

    Attributes:
        is_closed: Whether ``close`` was called.
    """

    def __init__(
        self, host: str, get_clock: Callable[[], Clock] = asyncio.get_running_loop
    ) -> None:
        self._host = host
        self._get_clock = get_clock
        self._waiters: set[asyncio.Future[None]] = set()
        # What was cancelled and has not ended yet.
        self._left: set[asyncio.Future[Any]] = set()
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

    async def settle(self) -> None:
        """Waits a second at most for what `wait_for` has cancelled."""
        await asyncio.sleep(0)  # `close` has woken the waits; they cancel in their next turn
        if self._left:
            await asyncio.wait(self._left, timeout=_SETTLING_SECONDS)

    async def wait_for(
        self,
        waiting: Awaitable[_T],
        seconds: float | None,
        *,
        unwanted: Callable[[_T], object] | None = None,
    ) -> _T:
        """Awaits one step of a call: credentials, a connection, S3, a place in line, a thread.

        The wait ends in time whatever the awaited code does. Code that goes on after its
        cancellation is left behind, and its end is not waited for.

        Args:
            waiting: What to await; it is cancelled if the wait ends before it.
            seconds: The longest wait; None for no limit.
            unwanted: Called with a result that came too late to be returned.

        Returns:
            The result.

        Raises:
            asyncio.CancelledError: The caller was cancelled.
            asyncio.TimeoutError: The step took longer.
            TransportError: The session was closed; or other code has cancelled the step, though
                not the caller.
        """
        # A task also where a coroutine would do: only its end can be told from the caller's.
        work = asyncio.ensure_future(waiting)
        is_taken = False
        try:
            await self._wait(seconds, work)
            if not work.done():
                self.check_open()
                raise asyncio.TimeoutError
            if work.cancelled():
                text = "A step of the call was cancelled, though the call was not"
                raise TransportError(text, host=self._host)
            is_taken = True
            return work.result()
        finally:
            if not is_taken:
                self._leave(work, unwanted)

    def _leave(self, work: asyncio.Future[_T], unwanted: Callable[[_T], object] | None) -> None:
        """Cancels what nobody waits for any more, and holds on to it until it has ended."""

        def ended(_: object) -> None:
            self._left.discard(work)
            # An error is retrieved, or the loop would report it.
            if not work.cancelled() and work.exception() is None and unwanted is not None:
                unwanted(work.result())

        work.cancel()
        if work.done():
            ended(work)
        else:
            self._left.add(work)
            work.add_done_callback(ended)

    async def _wait(self, seconds: float | None, task: asyncio.Future[Any] | None = None) -> None:
        """Waits for a task, the session's end, or the time to pass."""
        if self.is_closed:
            return
        waiter = asyncio.get_running_loop().create_future()

        def wake(_: object) -> None:
            _wake(waiter)

        timer = None
        if seconds is not None:
            clock = self._get_clock()
            timer = clock.call_at(clock.time() + seconds, _wake, waiter)
        if task is not None:
            task.add_done_callback(wake)
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            if timer is not None:
                timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
