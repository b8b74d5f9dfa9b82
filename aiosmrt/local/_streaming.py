"""A streaming response on the wire: a head, then one event-stream message a part."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from aiosmrt.eventstream import encode_message
from aiosmrt.local._faulty_responses import BodyWriter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aiosmrt.local._faults import Fault

__all__ = ["EventStreamResponse"]

# A longer part is cut: a message may have 24 MiB with its headers.
_MAX_PART_LENGTH = 16 * 1_048_576
# A model that never waits would keep the event loop to itself: after so many parts the
# others, and the news that the client has left, get their turn.
_PARTS_A_TURN = 16

_PAYLOAD_PART = {
    ":event-type": "PayloadPart",
    ":content-type": "application/octet-stream",
    ":message-type": "event",
}


class EventStreamResponse:
    """Writes each part at once, and waits when the client does not read.

    Attributes:
        response: What the server's handler returns.
    """

    def __init__(
        self, request: web.BaseRequest, headers: Mapping[str, str], fault: Fault | None
    ) -> None:
        self._request = request
        self.response = web.StreamResponse(headers=headers)
        self.response.content_type = "application/vnd.amazon.eventstream"
        self._written = 0
        self._corrupt_frame = None if fault is None else fault.corrupt_frame
        self._write: Callable[[bytes], Awaitable[None]] = self.response.write
        if fault is not None and fault.bends_the_body:
            self._write = BodyWriter(fault, self.response, request.transport).write

    async def begin(self) -> None:
        """Writes the head."""
        await self.response.prepare(self._request)

    async def write(self, part: bytes) -> None:
        """Writes one PayloadPart; one longer than 16 MiB becomes several.

        Raises:
            ConnectionResetError: The client has gone.
        """
        for start in range(0, len(part) or 1, _MAX_PART_LENGTH):
            piece = part[start : start + _MAX_PART_LENGTH]
            await self._write_message(encode_message(_PAYLOAD_PART, piece))
        if self._written % _PARTS_A_TURN == 0:
            await asyncio.sleep(0)

    async def fail(self, exception_type: str, body: Mapping[str, str]) -> None:
        """Writes an exception of a shape (``ModelStreamError``), which ends the stream.

        Raises:
            ConnectionResetError: The client has gone.
        """
        headers = {
            ":exception-type": exception_type,
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        await self._write_message(encode_message(headers, json.dumps(body).encode()))

    async def _write_message(self, message: bytes) -> None:
        if self._written == self._corrupt_frame:
            # The last byte before the checksum: of the payload, or of the headers.
            message = message[:-5] + bytes([message[-5] ^ 1]) + message[-4:]
        self._written += 1
        await self._write(message)

    async def end(self) -> None:
        """Ends the body.

        Raises:
            ConnectionResetError: The client has gone.
        """
        await self.response.write_eof()
