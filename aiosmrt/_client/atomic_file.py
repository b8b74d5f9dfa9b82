"""A file that appears whole or not at all, written by a thread."""

from __future__ import annotations

import asyncio
import threading
from typing import IO, TYPE_CHECKING

from aiosmrt._client.replacement import Replacement

if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from aiosmrt._threads import Threads

__all__ = ["AtomicFile"]


class AtomicFile:
    """Writes to a file beside the one wanted, which takes that one's place at the end.

        async with AtomicFile(path, threads) as file:
            await file.write(...)

    When the block raises, or is cancelled, nothing is left and the old file stays. The new
    one has the old one's permissions; where the path is a symbolic link, it is what that
    leads to.

    Args:
        path: Where the file will be.
        threads: Where it is written.

    Raises:
        OSError: On entering, writing or leaving: it cannot be written, or what is there is
            not a regular file.
    """

    def __init__(self, path: str | os.PathLike[str], threads: Threads) -> None:
        self._replacement = Replacement(path)
        self._file: IO[bytes] | None = None
        self._threads = threads
        # One step at a time: one that was left behind may still have the file in its hands.
        self._lock = threading.Lock()
        self._is_over = False

    async def __aenter__(self) -> Self:
        try:
            await self._do(self._open)
        except BaseException:
            await self._end()
            raise
        return self

    async def write(self, data: bytes) -> None:
        """Appends bytes."""
        await self._do(self._write, data)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            await self._end()
            return
        try:
            await self._do(self._replacement.finish)
        except BaseException:
            await self._end()
            raise

    async def _do(self, step: Callable[..., object], *arguments: object) -> None:
        """Makes a step in a thread; once it has begun there it goes on when this is cancelled."""
        await self._threads.run(self._alone, step, *arguments)

    def _alone(self, step: Callable[..., object], *arguments: object) -> None:
        with self._lock:
            if not self._is_over:
                step(*arguments)

    async def _end(self) -> None:
        """Removes what is not finished, after the steps that have begun."""
        # Not cancelled with this wait: there is nothing behind it that would do it again.
        await asyncio.shield(self._threads.run(self._alone, self._discard))

    def _write(self, data: bytes) -> None:
        assert self._file is not None  # noqa: S101 - for the type checker: it was entered
        self._file.write(data)

    def _open(self) -> None:
        self._file = self._replacement.open()

    def _discard(self) -> None:
        self._is_over = True
        self._replacement.discard()
