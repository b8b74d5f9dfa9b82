"""The bodies of requests: how long each may be, all that are held at once, and how idle one."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiosmrt.local._idleness import BodyWatch
from aiosmrt.local._s3.store import join_aside

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiohttp import web

__all__ = ["RequestBodies"]

# Shorter pieces are gathered: as an object each they would take many times their length.
_PIECE_LENGTH = 4_096


class RequestBodies:
    """Reads bodies, of as many requests at once as there is room for.

    What counts is what has arrived: an announced length takes no room.

    Args:
        each: Bytes that a body may have.
        together: Bytes that all may have that are held; one always finds room.
        idle_seconds: How long a client may send nothing of a body that is not whole.
        too_long: Makes the error of a body that is over its limit.
        too_many: Makes the error of a body for which others leave no room: it can come
            later.
        idle: Makes the error of a body whose client has stopped.
    """

    def __init__(
        self,
        *,
        each: int,
        together: int,
        idle_seconds: float,
        too_long: Callable[[], Exception],
        too_many: Callable[[], Exception],
        idle: Callable[[], Exception],
    ) -> None:
        self._each = each
        self._together = max(each, together)
        self._idle_seconds = idle_seconds
        self._too_long = too_long
        self._too_many = too_many
        self._idle = idle
        self._held = 0

    @asynccontextmanager
    async def read(self, request: web.BaseRequest) -> AsyncGenerator[bytes]:
        """A request's body as it was on the wire, whose room is held as long as it is needed.

        Raises:
            Exception: What ``too_long``, ``too_many`` or ``idle`` makes. The rest of the body
                stays unread.
        """
        # What will not fit is refused before it is sent, though nothing is held for it yet.
        announced = request.content_length or 0
        self._check(announced, announced)
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunks = await self._collect(request)
        length = sum(map(len, chunks))
        try:
            body = await join_aside(chunks)
            chunks.clear()  # not to hold it twice
            yield body
        finally:
            self._held -= length

    async def _collect(self, request: web.BaseRequest) -> list[bytes]:
        """A body's pieces, whose room is taken as they arrive."""
        chunks: list[bytes] = []
        gathered = bytearray()
        length = 0
        watch = BodyWatch(request.content, self._idle_seconds)
        try:
            async for chunk in request.content.iter_any():
                watch.moved()
                self._check(len(chunk), length + len(chunk))
                self._held += len(chunk)
                length += len(chunk)
                if not gathered and len(chunk) >= _PIECE_LENGTH:
                    chunks.append(chunk)
                    continue
                gathered += chunk
                if len(gathered) >= _PIECE_LENGTH:
                    chunks.append(bytes(gathered))
                    gathered.clear()
            if gathered:
                chunks.append(bytes(gathered))
        except BaseException as error:
            self._held -= length
            if isinstance(error, asyncio.TimeoutError):
                raise self._idle() from None
            raise
        finally:
            watch.stop()
        return chunks

    def _check(self, more: int, length: int) -> None:
        """Refuses more bytes of a body that has, or will have, so many."""
        if length > self._each:
            raise self._too_long()
        if self._held + more > self._together:
            raise self._too_many()
