"""A file that appears whole or not at all. Blocks; belongs in a thread."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Replacement"]


class Replacement:
    """A file beside the one wanted, which takes that one's place when the block ends.

        with Replacement(path) as file:
            file.write(...)

    When the block raises, nothing is left and the old file stays. The new one has the old
    one's permissions, from before the first byte; where the path is a symbolic link, it is
    what that leads to.

    Args:
        path: The file wanted.
        suffix: What the new file's name adds to that while it is written; what a crash has
            left there is removed. None chooses one that nothing else has.

    Raises:
        OSError: On entering or leaving: it cannot be written, or what is there is not a
            regular file.
    """

    def __init__(self, path: str | os.PathLike[str], suffix: str | None = None) -> None:
        self._path = Path(os.fsdecode(path))
        self._suffix = suffix
        self._part = self._path
        self._file: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        try:
            return self.open()
        except BaseException:
            self.discard()
            raise

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc is None:
                self.finish()
        finally:
            self.discard()

    def open(self) -> IO[bytes]:
        """Creates the new file, to be written and read."""
        self._path = Path(os.path.realpath(self._path))
        mode = None
        with contextlib.suppress(FileNotFoundError):
            mode = self._path.stat().st_mode
        if mode is not None and not stat.S_ISREG(mode):
            # A device or a pipe: root would put a file in the place of /dev/null.
            code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
            raise OSError(code, "not a regular file, so none can take its place", str(self._path))
        # In the same directory: only within a file system is the replacement atomic.
        suffix = self._suffix or f".{secrets.token_hex(4)}.part"
        self._part = self._path.with_name(self._path.name + suffix)
        if self._suffix is not None:
            self._part.unlink(missing_ok=True)
        # Whoever opens a file while it is readable can read what is written there later.
        opener = partial(os.open, mode=0o666 if mode is None else 0o600)
        self._file = open(self._part, "x+b", opener=opener)  # noqa: SIM115
        if mode is not None:
            self._part.chmod(stat.S_IMODE(mode))
        return self._file

    def finish(self) -> None:
        """Puts the new file onto the disk, and in the place of the old one."""
        assert self._file is not None  # noqa: S101 - for the type checker: it was opened
        self._file.flush()
        os.fsync(self._file.fileno())  # or a crash could leave the name without the bytes
        self._file.close()
        self._part.replace(self._path)
        self._file = None

    def discard(self) -> None:
        """Removes the new file, unless it has taken its place."""
        if self._file is not None:
            # On a full disk closing fails too, for it writes what is buffered.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None
            self._part.unlink(missing_ok=True)
