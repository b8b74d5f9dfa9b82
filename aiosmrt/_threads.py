"""A session's own threads: for hashing, certificates and files, which would block its loop.

The event loop's default executor is the program's. When the program fills it with its own
work, a call that needs a thread waits behind that work, whatever the call's deadline.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Generic, TypeVar

from aiosmrt._shared_wait import SharedWait

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Late", "Threads"]

_T = TypeVar("_T")

_MOST = 4
# To copy more than this takes a millisecond or two; `bytes.join` then lets other threads run.
_JOINED_AT_ONCE = 4 * 1024 * 1024


class Threads:
    """At most four threads, each started when there is work for it.

    They serve any event loop. They end with `close`, or when nothing refers to this object.
    """

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._process = 0
        self._is_closed = False

    def run(self, call: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        """Begins a call in a thread.

        After `close` it works too, since an answer outlives its session and can be saved to
        a file; the thread then ends with the call.

        Args:
            call: The function; it may block.
            arguments: Its arguments.

        Returns:
            A future of the running loop, with the call's result or exception. Cancelling it
            takes a call back that has not begun; another one goes on, and its end is lost.
        """
        # After a fork the child has the executor, but none of its threads.
        if self._executor is None or self._process != os.getpid():
            # Not at the module's head: most sessions need no thread of their own.
            from concurrent.futures import ThreadPoolExecutor

            self._process = os.getpid()
            self._executor = ThreadPoolExecutor(_MOST, thread_name_prefix="aiosmrt")
        future = asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)
        if self._is_closed:
            self.close()
        return future

    async def join(
        self,
        pieces: list[bytes],
        wait: Callable[[Awaitable[bytes]], Awaitable[bytes]] | None = None,
    ) -> bytes:
        """Joins the pieces of a body, in a thread if they are long.

        Args:
            pieces: The pieces.
            wait: Awaits the thread, which may be busy, no longer than the caller may wait.
        """
        if sum(map(len, pieces)) <= _JOINED_AT_ONCE:
            return b"".join(pieces)
        joining = self.run(b"".join, pieces)
        return await (joining if wait is None else wait(joining))

    def close(self) -> None:
        """Lets the threads end after the work that was given to them. Idempotent."""
        self._is_closed = True
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


class Late(Generic[_T]):
    """A value that a thread makes when it is first needed, once for all who wait for it.

    Args:
        threads: Where it is made.
        make: Makes it; it may block.

    Attributes:
        value: The value; None until ``make`` has returned it.
    """

    def __init__(self, threads: Threads, make: Callable[[], _T]) -> None:
        self.value: _T | None = None
        self._threads = threads
        self._make = make
        self._making: SharedWait[_T] | None = None

    def begin(self) -> SharedWait[_T]:
        """Begins to make the value, unless that is under way in this event loop.

        Returns:
            What all who need the value wait for, by `get`.
        """
        loop = asyncio.get_running_loop()
        if self._making is None or self._making.future.get_loop() is not loop:
            self._making = SharedWait(self._threads.run(self._set))
            self._making.future.add_done_callback(_retrieve)
        return self._making

    async def get(self, making: SharedWait[_T] | None = None) -> _T:
        """Waits for the value; cancelling that does not end the making, which others need.

        Args:
            making: What `begin` has returned: a call is not to begin again what has failed
                since then. None begins now.

        Returns:
            The value.

        Raises:
            Exception: ``make`` failed; whoever comes next tries it again.
        """
        making = making or self.begin()
        await making.wait()
        if making.future.exception() is not None and self._making is making:
            self._making = None
        return making.future.result()

    def _set(self) -> _T:
        value = self.value = self._make()
        return value


def _retrieve(making: asyncio.Future[_T]) -> None:
    """Takes note of a failure that nobody has waited for."""
    if not making.cancelled():
        making.exception()
