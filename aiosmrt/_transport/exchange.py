"""One request and its response on a connection of the pool."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

import aiohttp
from multidict import CIMultiDict

from aiosmrt._transport._aiohttp import HttpProcessingError
from aiosmrt._transport.chunks import take_chunks, wait_for_chunks
from aiosmrt._transport.parsers import expect_response
from aiosmrt.errors import (
    AiosmrtError,
    ConnectionLostError,
    DeadlineExceededError,
    MessageTooLargeError,
    ReadTimeoutError,
    StreamTruncatedError,
    TransportError,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from aiosmrt._transport.links import Link

__all__ = ["Exchange", "StaleConnectionError"]

# Up to here one copy into a single write costs less than a second system call.
_JOINED_WRITE = 65_536
# A larger body goes in slices: TLS encrypts a slice at a time on the loop, and each slice
# that has left shows that the request is still on its way.
_SLICE = 262_144
# The service's closing of an idle connection crosses the request on its way: within a
# round trip. A connection that ends later had its request read, and perhaps acted upon.
_CROSSING_SECONDS = 1.0
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class StaleConnectionError(ConnectionLostError):
    """A kept-alive connection was dead before one byte of the response: free to replace."""


class ExchangeState(enum.Enum):
    """The life of an exchange, in its order. Any state can be followed by CLOSED."""

    CONNECTED = "connected"  # nothing was sent
    AWAITING_HEAD = "awaiting head"
    READING_BODY = "reading body"
    RELEASED = "released"  # the response was complete, and the connection went back
    CLOSED = "closed"  # the connection was dropped


# To look a member up in its class costs as much as a call of a function.
_CONNECTED, _AWAITING_HEAD, _READING_BODY, _RELEASED, _CLOSED = ExchangeState


class Exchange:
    """One connection of the pool, for one request and its response.

    Args:
        link: The connection.
        host: The service's host, for error texts.
        deadline: When the whole call ends, by the loop's clock; None for never.
        ended: Called once at the end, with the exchange, and with the connection if another
            request can use that.

    Attributes:
        reused: Whether the connection had carried a request before.
        status_code: The response's status, once ``send`` has returned.
        headers: The response's headers, case-insensitive.
        bytes_received: How many bytes of the body have been handed out.
    """

    __slots__ = (
        "_deadline",
        "_ended",
        "_host",
        "_limit",
        "_link",
        "_payload",
        "_protocol",
        "_reason",
        "_sent",
        "_state",
        "_upload",
        "_written_at",
        "bytes_received",
        "headers",
        "reused",
        "status_code",
    )

    def __init__(
        self,
        link: Link,
        *,
        host: str,
        deadline: float | None,
        ended: Callable[[Exchange, Link | None], None],
    ) -> None:
        self._state = _CONNECTED
        self._link = link
        self._host = host
        self._deadline = deadline
        self._ended = ended
        self._protocol = link.protocol
        self._payload: aiohttp.StreamReader | None = None
        self._limit: float | None = None
        self._sent = 0
        self._written_at = 0.0
        self._upload: asyncio.Task[None] | None = None
        # Why the connection was dropped: what every further read raises.
        self._reason: TransportError | None = None
        self.reused: bool = link.reused
        self.status_code: int = 0
        self.headers: Mapping[str, str] = _NO_HEADERS
        self.bytes_received: int = 0
        link.expired = self._expired

    async def send(
        self, head: bytes, body: bytes | bytearray | memoryview, *, read: float | None
    ) -> None:
        """Writes the request and reads the response's head.

        Args:
            head: The request line and all headers, with the empty line.
            body: The body.
            read: Seconds from the last byte written to the head; None for no limit.

        Raises:
            StaleConnectionError: A reused connection was dead before one byte came back.
            ConnectionLostError: The connection broke before the head was complete.
            ReadTimeoutError: No head came in ``read`` seconds.
            DeadlineExceededError: The call's deadline passed first.
            TransportError: What came is not HTTP.
        """
        if self._reason is not None:
            raise self._reason  # closed while credentials were waited for
        protocol, link = self._protocol, self._link
        transport = protocol.transport
        self._state = _AWAITING_HEAD
        self._sent = len(body)
        self._written_at = link.loop.time()
        try:
            # The connection may have ended since it was taken.
            if transport is None or transport.is_closing():
                raise aiohttp.ServerDisconnectedError
            expect_response(protocol)
            self._wait_at_most(read)
            if self._sent <= _JOINED_WRITE:
                transport.write(b"".join((head, body)))
            else:
                transport.write(head)
                self._upload = link.loop.create_task(self._write(transport, memoryview(body)))
            del head  # a log of the traceback's locals would show the session token
            message, payload = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, payload = await protocol.read()
            if self._reason is not None:  # closed in the turn in which the head came
                raise self._reason
        except BaseException as error:
            lost = self._lost(error)
            self.close()
            if lost is error:
                raise
            cause = _cause(error)
        else:
            link.due = None
            self._state = _READING_BODY
            self._payload = payload
            self.status_code = message.code
            self.headers = CIMultiDict(message.headers)
            return
        raise lost from cause

    async def _write(self, transport: asyncio.Transport, body: memoryview) -> None:
        """Writes a large body as fast as it leaves; a lost connection is the reader's to report."""
        protocol = self._protocol
        # What StreamWriter.drain() awaits; it wants a StreamWriter and its head for it.
        drain = protocol._drain_helper  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        try:
            for start in range(0, len(body), _SLICE):
                transport.write(body[start : start + _SLICE])
                await drain()
                self._written_at = self._link.loop.time()
                if self._link.due is not None:
                    # Whoever waits for the answer waits from the last byte written.
                    self._wait_at_most(self._limit)
        except (OSError, aiohttp.ClientError):
            pass

    async def receive(self, idle: float | None) -> bytes:
        """The next bytes of the body, as many as are there.

        Returns:
            Some bytes, ``b""`` at the body's end.

        Raises:
            AiosmrtError: As ``receive_chunks``.
        """
        return b"".join(await self.receive_chunks(idle))

    async def receive_chunks(self, idle: float | None) -> list[bytes]:
        """The next bytes of the body, as many as are there, in the pieces that they are in.

        Args:
            idle: Seconds to wait for them; None for no limit.

        Returns:
            Some pieces, none of them empty; none at the body's end.

        Raises:
            StreamTruncatedError: The body ended before its announced length, or its last chunk.
            ConnectionLostError: The connection was reset.
            ReadTimeoutError: Nothing came in ``idle`` seconds.
            DeadlineExceededError: The call's deadline passed first.
            TransportError: The body's framing is not HTTP.
        """
        payload = self._payload
        if payload is None:
            if self._reason is not None:
                raise self._reason
            return []
        if payload.at_eof():
            return []
        lost = cause = None
        chunks = take_chunks(payload, self._protocol)
        if not chunks:
            try:
                if not payload.is_eof():
                    self._wait_at_most(idle)
                chunks = await wait_for_chunks(payload, self._protocol)
            except BaseException as error:
                # What had arrived before it comes first.
                if isinstance(error, Exception):
                    chunks = take_chunks(payload, self._protocol)
                if not chunks:
                    lost = self._lost(error)
                    self.close()
                    if lost is error:
                        raise
                    cause = _cause(error)
        if lost is not None:
            raise lost from cause
        self._link.due = None
        self.bytes_received += sum(map(len, chunks))
        return chunks

    async def read(self, idle: float | None, limit: int | None) -> bytes:
        """The whole body; the exchange is released, or closed on an error.

        Args:
            idle: Seconds between two chunks; None for no limit.
            limit: The most bytes that are taken; None for any number.

        Raises:
            MessageTooLargeError: The body is longer than ``limit``.
            AiosmrtError: As ``receive``.
        """
        if limit is not None:
            announced = self.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) > limit:
                self.close()
                raise MessageTooLargeError("a body", length=int(announced), limit=limit)
        chunks: list[bytes] = []
        while received := await self.receive_chunks(idle):
            chunks += received
            if limit is not None and self.bytes_received > limit:
                self.close()
                raise MessageTooLargeError("a body", length=self.bytes_received, limit=limit)
        self.release()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def without_deadline(self) -> None:
        """From here on only ``idle`` limits the body: a stream may last."""
        self._deadline = None

    def release(self) -> None:
        """Gives the connection back to the pool, if the response is complete. Idempotent."""
        if self._state is _RELEASED or self._state is _CLOSED:
            return
        transport = self._protocol.transport
        uploading = self._upload is not None and not self._upload.done()
        if uploading or (transport is not None and transport.get_write_buffer_size()):
            # Answered before the request had left: the rest of it would follow later.
            self.close()
            return
        self._end(_RELEASED)
        self._ended(self, self._link)

    def close(self, reason: TransportError | None = None) -> None:
        """Drops the connection at once. Idempotent.

        Args:
            reason: What a task gets that waits for bytes, or asks for more.
        """
        if self._state is _RELEASED or self._state is _CLOSED:
            return
        protocol, payload = self._protocol, self._payload
        self._reason = reason or TransportError("The connection was closed", host=self._host)
        self._end(_CLOSED)
        transport = protocol.transport
        if transport is not None:
            # close() would first wait to write what is buffered, to a peer that may not read.
            transport.abort()
        self._link.close()
        # The protocol has forgotten its payload: nothing else would wake whoever waits for it.
        protocol.set_exception(self._reason)
        if payload is not None:
            payload.set_exception(self._reason)
        self._ended(self, None)

    def _end(self, state: ExchangeState) -> None:
        self._state = state
        self._payload = None
        self._link.due = self._link.expired = None
        if self._upload is not None:
            self._upload.cancel()

    def _wait_at_most(self, seconds: float | None) -> None:
        """Begins a wait for bytes; setting the link's ``due`` to None ends it."""
        self._limit = seconds
        link = self._link
        due = None if seconds is None else link.loop.time() + seconds
        if self._deadline is not None and (due is None or self._deadline < due):
            due = self._deadline
        link.wait_until(due)

    def _expired(self) -> None:
        """Nothing came in time."""
        payload = self._payload
        if payload is not None and (payload.is_eof() or payload.total_bytes > self.bytes_received):
            return  # the loop was busy: it has come, and whoever waits is about to take it
        error: TransportError
        if self._deadline is not None and self._link.loop.time() >= self._deadline:
            what = "head was waited for" if payload is None else "body was read"
            text = f"Timeouts.total ran out while the response's {what}"
            error = DeadlineExceededError(text, host=self._host)
        else:
            text = "No byte of the response's head came within Timeouts.read"
            if payload is not None:
                text = "No further byte of the response came within Timeouts.idle"
            error = ReadTimeoutError(f"{text}={self._limit} s", host=self._host)
        self._protocol.set_exception(error)
        if payload is not None:
            payload.set_exception(error)

    def _lost(self, error: BaseException) -> BaseException:
        """Translates an exception from the connection into an error of ours."""
        if isinstance(error, AiosmrtError) or not isinstance(error, Exception):
            return error
        if self._reason is not None:
            return self._reason  # closed meanwhile: that is why
        if self._state is _READING_BODY:
            return self._lost_in_body(error)
        if isinstance(error, (aiohttp.ServerDisconnectedError, OSError)):
            # A message beside the disconnection is a head of which some bytes had come.
            partial = isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(
                error.message, str
            )
            crossed = self._link.loop.time() - self._written_at < _CROSSING_SECONDS
            stale = self.reused and crossed and not partial
            cls = StaleConnectionError if stale else ConnectionLostError
            text = "The connection was closed before the response's head was complete"
            return cls(text, host=self._host, bytes_sent=self._sent)
        text = (
            f"What came back is not an HTTP response ({type(error).__name__}): check that endpoint "
            "URL and proxy lead to the service"
        )
        return TransportError(text, host=self._host)

    def _lost_in_body(self, error: Exception) -> AiosmrtError:
        # aiohttp reports both a reset and an early end on the payload; the reason of
        # the connection's end is with the protocol.
        if isinstance(self._protocol.exception(), OSError):
            return ConnectionLostError(
                "The connection was reset in the middle of the response",
                host=self._host,
                bytes_sent=self._sent,
                bytes_received=self.bytes_received,
                head_received=True,
            )
        if isinstance(error, HttpProcessingError):
            return TransportError("The body's framing is not HTTP", host=self._host)
        if isinstance(error, (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError)):
            return StreamTruncatedError(
                "The response ended before it was complete", bytes_received=self.bytes_received
            )
        return TransportError(
            f"The response could not be read ({type(error).__name__})", host=self._host
        )


def _cause(error: BaseException) -> BaseException | None:
    """What may stand behind an error of ours: aiohttp's own errors quote what was received."""
    return error if isinstance(error, OSError) else None
