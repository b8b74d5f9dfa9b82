"""Files that only one run may write."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["lock", "open_locked"]

# What a lock that another has is refused with; anything else is a file system's fault.
_IS_LOCKED = (errno.EAGAIN, errno.EACCES)


def open_locked(path: Path, mode: int, output: Path) -> int:
    """Opens a file to read and write, and creates it where there is none.

    The lock is that of the file, whatever other names it has, and is the open file's: the
    system gives it back however the process ends.

    Args:
        path: The file.
        mode: The permissions of a new one, less the umask.
        output: What an error says that another run is writing.

    Raises:
        ConfigurationError: Another run has it.
        OSError: It cannot be opened or locked.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), mode)
        try:
            _lock(descriptor, output)
            # The run that had it before may have removed it, or put another in its place.
            if _is_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, output: Path) -> None:
    try:
        lock(descriptor)
    except OSError as error:
        if error.errno in _IS_LOCKED:
            raise ConfigurationError(
                f"another run is writing {output}: wait for its end, or give another output"
            ) from None
        told = f"its file system does not let it be locked ({error.strerror or error})"
        raise OSError(error.errno, told) from error


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def lock(descriptor: int) -> None:
        """Locks an open file, or raises OSError."""
        # Such a lock keeps others from reading too, so it lies behind whatever a file holds.
        os.lseek(descriptor, 1 << 60, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)

else:
    import fcntl

    def lock(descriptor: int) -> None:
        """Locks an open file, or raises OSError."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
