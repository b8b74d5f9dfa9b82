"""A body in parts for an upload, of memory or of a file, that can be broken off."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Self

__all__ = ["UploadParts", "read_regular"]

# S3 takes 10,000 parts at most, of 5 MiB at least ("Multipart upload limits", S3 User Guide).
_PART_LENGTH = 8_388_608
_MAX_PARTS = 9_000
# How long a cancelled upload may take to abort.
_ABORT_SECONDS = 10.0


class _BrokenOffError(Exception):
    """The upload is not wanted any more."""


class UploadParts:
    """Hands a body out part by part: an async iterator of buffers, entered with ``async with``.

    Whoever uploads them asks for the next one when there is room for it. An iterator that
    raises is what makes obstore abort an upload; were its task cancelled instead, the parts
    that have arrived would stay in S3, unseen and paid for.

    Args:
        body: Bytes, or the path of a file.
        before_each: Awaited before each part is handed out.

    Attributes:
        total_length: How many bytes there are.
        part_length: How many each part has, but for the last.
        error: What handing out a part raised, None if nothing.
    """

    def __init__(
        self,
        body: bytes | bytearray | memoryview | os.PathLike[str],
        before_each: Callable[[], Awaitable[object]],
    ) -> None:
        self._body = body
        self._before_each = before_each
        self._file: IO[bytes] | None = None
        self._at = 0
        self._is_broken_off = False
        self.total_length = 0
        self.part_length = _PART_LENGTH
        self.error: Exception | None = None

    async def __aenter__(self) -> Self:
        if isinstance(self._body, os.PathLike):
            self._file = await asyncio.to_thread(_open_regular, self._body)
            self.total_length = os.fstat(self._file.fileno()).st_size
        else:
            self.total_length = len(self._body)
        self.part_length = max(_PART_LENGTH, -(-self.total_length // _MAX_PARTS))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes | memoryview:
        """The next part.

        Raises:
            StopAsyncIteration: There is no further one.
            Exception: As ``error``.
        """
        try:
            if self._is_broken_off:
                raise _BrokenOffError
            await self._before_each()
            part = await self._read()
            self._check_length(self._at + len(part), is_end=len(part) < self.part_length)
        except Exception as error:
            self.error = error
            raise
        if not part:
            raise StopAsyncIteration
        self._at += len(part)
        return part

    async def _read(self) -> bytes | memoryview:
        if self._file is None:
            assert not isinstance(self._body, os.PathLike)  # noqa: S101 - for the type checker
            return memoryview(self._body)[self._at : self._at + self.part_length]
        return await asyncio.to_thread(self._file.read, self.part_length)

    def _check_length(self, at: int, *, is_end: bool) -> None:
        """Notices a file that grows or shrinks meanwhile: what came of it would be half of one."""
        if at > self.total_length or (is_end and at < self.total_length):
            text = f"it had {self.total_length} bytes, and was changed while it was uploaded"
            raise OSError(errno.EIO, text, str(self._body))

    async def rewind(self) -> None:
        """Begins at the first part again."""
        self._at = 0
        if self._file is not None:
            await asyncio.to_thread(self._file.seek, 0)

    async def finish(self, upload: asyncio.Future[Any]) -> None:
        """Waits for the upload of these parts; a cancellation breaks it off first.

        Args:
            upload: What obstore's ``put_async`` returned.

        Raises:
            Exception: As ``upload``.
        """
        try:
            await asyncio.shield(upload)
        except asyncio.CancelledError:
            self._is_broken_off = True
            await asyncio.wait([upload], timeout=_ABORT_SECONDS)
            if not upload.cancel():
                upload.exception()  # retrieved, or the loop would report it
            raise


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
