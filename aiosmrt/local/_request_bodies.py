"""The bodies of requests: how long each may be, and all that are held at once."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiosmrt.local._s3.store import join_aside

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from aiohttp import web

__all__ = ["RequestBodies"]


class RequestBodies:
    """Reads bodies, of as many requests at once as there is room for.

    Args:
        each: Bytes that a body may have.
        together: Bytes that all may have that are held; one always finds room.
        too_long: Makes the error of a body that is over its limit.
        too_many: Makes the error of a body for which others leave no room: it can come
            later.
    """

    def __init__(
        self,
        *,
        each: int,
        together: int,
        too_long: Callable[[], Exception],
        too_many: Callable[[], Exception],
    ) -> None:
        self._each = each
        self._together = max(each, together)
        self._too_long = too_long
        self._too_many = too_many
        self._held = 0

    @asynccontextmanager
    async def read(self, request: web.BaseRequest) -> AsyncGenerator[bytes]:
        """A request's body as it was on the wire, whose room is held as long as it is needed.

        Raises:
            Exception: What ``too_long`` or ``too_many`` makes. The rest of the body stays unread.
        """
        room = _announced_length(request, self._each)
        self._take(room, room)
        try:
            if request.headers.get("Expect", "").lower() == "100-continue" and request.transport:
                request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            chunks: list[bytes] = []
            length = 0
            async for chunk in request.content.iter_any():
                chunks.append(chunk)
                length += len(chunk)
                if length > room:  # more than was announced
                    self._take(length - room, length)
                    room = length
            body = await join_aside(chunks)
            chunks.clear()  # not to hold it twice
            yield body
        finally:
            self._held -= room

    def _take(self, more: int, length: int) -> None:
        """Takes more room for a body that is, or will be, so long."""
        if length > self._each:
            raise self._too_long()
        if self._held + more > self._together:
            raise self._too_many()
        self._held += more


def _announced_length(request: web.BaseRequest, limit: int) -> int:
    """How many bytes a body has, or says it has; where it does not say, as many as it may."""
    if request.content_length is not None:
        return request.content_length
    if not request.body_exists:
        return 0
    # What an SDK sends in chunks it announces so.
    announced = request.headers.get("x-amz-decoded-content-length", "")
    return int(announced) if announced.isdecimal() and len(announced) < 20 else limit
