"""A session's own threads: for hashing, certificates and files, which would block its loop.

The event loop's default executor is the program's. When the program fills it with its own
work, a call that needs a thread waits behind that work, whatever the call's deadline.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

__all__ = ["Threads"]

_T = TypeVar("_T")

_MOST = 4


class Threads:
    """At most four threads, each started when there is work for it."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None

    def run(self, call: Callable[..., _T], *arguments: object) -> asyncio.Future[_T]:
        """Begins a call in a thread.

        Args:
            call: The function; it may block.
            arguments: Its arguments.

        Returns:
            A future of the running loop, with the call's result or exception.
        """
        if self._executor is None:
            # Not at the module's head: most sessions need no thread of their own.
            from concurrent.futures import ThreadPoolExecutor

            self._executor = ThreadPoolExecutor(_MOST, thread_name_prefix="aiosmrt")
        return asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    def close(self) -> None:
        """Lets the threads end after the work that they have begun. Idempotent."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)
