"""A file that appears whole or not at all, written by a thread."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["AtomicFile"]


class AtomicFile:
    """Writes to a file beside the one wanted, which takes that one's place at the end.

        async with AtomicFile(path) as file:
            await file.write(...)

    When the block raises, or is cancelled, nothing is left and the old file stays. The new
    one has the old one's permissions; where the path is a symbolic link, it is what that
    leads to.

    Raises:
        OSError: On entering, writing or leaving: it cannot be written, or what is there is
            not a regular file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(os.fsdecode(path))
        self._part = self._path
        self._file: IO[bytes] | None = None

    async def __aenter__(self) -> Self:
        try:
            await _in_thread(self._open)
        except BaseException:
            self._discard()
            raise
        return self

    async def write(self, data: bytes) -> None:
        """Appends bytes."""
        assert self._file is not None  # noqa: S101 - for the type checker: it was entered
        await _in_thread(self._file.write, data)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                await _in_thread(self._finish)
        finally:
            self._discard()

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
        if self._file is not None:
            # On a full disk closing fails too, for it writes what is buffered.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            self._part.unlink(missing_ok=True)


async def _in_thread(call: Callable[..., Any], *args: Any) -> None:
    """Runs a call in a thread, and stays until it is through, whatever happens meanwhile."""
    work = asyncio.get_running_loop().run_in_executor(None, call, *args)
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()  # retrieved, or the loop would report it
        raise
