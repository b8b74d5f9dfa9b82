"""A file that appears whole or not at all, written by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
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
        self._path = Path(os.fsdecode(path))
        self._part = self._path
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
            await self._do(self._finish)
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
        self._path = Path(os.path.realpath(self._path))
        mode = None
        with contextlib.suppress(FileNotFoundError):
            mode = self._path.stat().st_mode
        if mode is not None and not stat.S_ISREG(mode):
            # A device or a pipe: root would put a file in the place of /dev/null.
            code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(code, "not a regular file, so none can take its place", str(self._path))
        # In the same directory: only within a file system is the replacement atomic.
        self._part = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.part")
        self._file = self._part.open("xb")
        if mode is not None:
            self._part.chmod(stat.S_IMODE(mode))

    def _finish(self) -> None:
        assert self._file is not None  # noqa: S101 - for the type checker: it was entered
        self._file.flush()
        os.fsync(self._file.fileno())  # or a crash could leave the name without the bytes
        self._file.close()
        self._part.replace(self._path)
        self._file = None

    def _discard(self) -> None:
        self._is_over = True
        if self._file is not None:
            # On a full disk closing fails too, for it writes what is buffered.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            self._part.unlink(missing_ok=True)
