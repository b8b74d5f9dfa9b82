"""A body in parts for an upload, of memory or of a file."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from typing_extensions import Self

    from aiosmrt._threads import Threads

__all__ = ["UploadParts", "read_regular"]

# S3 takes 10,000 parts at most, of 5 MiB at least ("Multipart upload limits", S3 User Guide).
_PART_LENGTH = 8_388_608
_MAX_PARTS = 9_000


class UploadParts:
    """Hands a body out part by part, entered with ``async with``.

    Args:
        body: Bytes, or the path of a file.
        threads: Where a file is read.

    Attributes:
        total_length: How many bytes there are.
        part_length: How many each part has, except the last.
    """

    def __init__(
        self, body: bytes | bytearray | memoryview | os.PathLike[str], threads: Threads
    ) -> None:
        self._body = body
        self._threads = threads
        self._file: IO[bytes] | None = None
        self._version = (0, 0)
        self._at = 0
        self.total_length = 0
        self.part_length = _PART_LENGTH

    async def __aenter__(self) -> Self:
        if isinstance(self._body, os.PathLike):
            file = await self._threads.run(_open_regular, self._body)
            self._file = file
            self._version = _version(file)
            self.total_length, _ = self._version
        else:
            self.total_length = len(self._body)
        self.part_length = max(_PART_LENGTH, -(-self.total_length // _MAX_PARTS))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    async def read(self) -> bytes | memoryview:
        """Reads the next part.

        Returns:
            The part; an empty one at the end.

        Raises:
            OSError: The file cannot be read, or has changed since it was opened.
        """
        if self._file is None:
            assert not isinstance(self._body, os.PathLike)  # noqa: S101 - for the type checker
            part: bytes | memoryview = memoryview(self._body)[
                self._at : self._at + self.part_length
            ]
        else:
            part, version = await self._threads.run(_read, self._file, self.part_length)
            if version != self._version:
                # What came of it would be half of one and half of another.
                self._raise_changed()
        self._check_length(self._at + len(part), is_end=len(part) < self.part_length)
        self._at += len(part)
        return part

    def _check_length(self, at: int, *, is_end: bool) -> None:
        """Notices a file that has not as many bytes as it says, as those of the kernel's own."""
        if at > self.total_length or (is_end and at < self.total_length):
            self._raise_changed()

    def _raise_changed(self) -> NoReturn:
        text = f"it had {self.total_length} bytes, and was changed while it was uploaded"
        raise OSError(errno.EIO, text, str(self._body))


def _read(file: IO[bytes], length: int) -> tuple[bytes, tuple[int, int]]:
    """Reads so many bytes, and then the version that they are of."""
    part = file.read(length)
    return part, _version(file)


def _version(file: IO[bytes]) -> tuple[int, int]:
    """A file's length, and when it was last written to."""
    found = os.fstat(file.fileno())
    return found.st_size, found.st_mtime_ns


def read_regular(path: os.PathLike[str], limit: int) -> bytes:
    """Reads a file, up to so many bytes.

    Raises:
        OSError: It cannot be read, or is not a regular one.
    """
    with _open_regular(path) as file:
        return file.read(limit)


def _open_regular(path: os.PathLike[str]) -> IO[bytes]:
    mode = Path(path).stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        # A pipe or a device has no length to go by.
        raise OSError(errno.EINVAL, "not a regular file: read it, and give its bytes", str(path))
    return Path(path).open("rb")
