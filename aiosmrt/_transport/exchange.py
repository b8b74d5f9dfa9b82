"""One request and its response on a connection of the pool."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from aiosmrt._transport._http1 import IncompleteResponseError
from aiosmrt._transport.tcp import acknowledgement
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
    from collections.abc import Awaitable, Callable, Mapping

    from aiosmrt._transport.links import Link
    from aiosmrt._transport.tcp import Acknowledgement

__all__ = ["Exchange", "StaleConnectionError"]

# Up to here one copy into a single write costs less than a second system call.
_JOINED_WRITE = 65_536
# A larger body goes in slices: TLS encrypts a slice at a time on the loop, and each slice
# that has left shows that the request is still on its way.
_SLICE = 262_144
# When the service closes an idle connection, its closing may cross a request on the way: within
# a round trip. A connection that ends later has had its request read.
_CROSSING_SECONDS = 1.0
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class StaleConnectionError(ConnectionLostError):
    """A kept-alive connection ended, and nobody has read the request."""


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
        has_crossed: Whether the connection, a reused one, ended so soon after the request and
            without a byte of a response that the request has probably not been read.
        status_code: The response's status, once ``send`` has returned.
        headers: The response's headers, case-insensitive.
        bytes_received: How many bytes of the body have been handed out.
    """

    __slots__ = (
        "_before",
        "_deadline",
        "_ended",
        "_host",
        "_limit",
        "_link",
        "_reader",
        "_reason",
        "_sent",
        "_state",
        "_unread_length",
        "_upload",
        "_written_at",
        "bytes_received",
        "has_crossed",
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
        self._reader = link.reader
        self._limit: float | None = None
        self._sent = 0
        self._written_at = 0.0
        # What tells whether the peer has read some of the request: its length if it was
        # written at once, else what the peer had acknowledged before it.
        self._unread_length = 0
        self._before: Acknowledgement | None = None
        self._upload: asyncio.Task[None] | None = None
        # Why the connection was dropped: what every further read raises.
        self._reason: TransportError | None = None
        self.reused: bool = link.reused
        self.has_crossed: bool = False
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
            StaleConnectionError: A reused connection ended, and the request was not read.
            ConnectionLostError: The connection broke before the head was complete.
            ReadTimeoutError: No head came in ``read`` seconds.
            DeadlineExceededError: The call's deadline passed first.
            TransportError: What came is not HTTP.
        """
        link, reader = self._link, self._reader
        transport = link.transport
        try:
            self._check_open()  # it may have been closed while credentials were waited for
            self._state = _AWAITING_HEAD
            # The connection may have ended since it was taken.
            if transport is None or not link.is_clean:
                raise self._ended_unused()
            self._sent = len(body)
            self._written_at = link.loop.time()
            reader.expect_response()
            self._wait_at_most(read)
            if self._sent <= _JOINED_WRITE:
                self._unread_length = len(head) + self._sent
                transport.write(b"".join((head, body)))
            else:
                if self.reused:
                    self._before = acknowledgement(transport)
                transport.write(head)
                self._upload = link.loop.create_task(self._write(transport, memoryview(body)))
            head = b""
            while not reader.status_code:
                await self._news()
                self._check_open()
        except BaseException:
            head = b""  # a log of the traceback's locals would show the session token
            self.close()
            raise
        link.due = None
        self._state = _READING_BODY
        self.status_code = reader.status_code
        self.headers = reader.headers

    async def _write(self, transport: asyncio.Transport, body: memoryview) -> None:
        """Writes a large body as fast as it leaves; a lost connection is the reader's to report."""
        link = self._link
        try:
            for start in range(0, len(body), _SLICE):
                transport.write(body[start : start + _SLICE])
                await link.drain()
                self._written_at = link.loop.time()
                if link.due is not None:
                    # Whoever waits for the answer waits from the last byte written.
                    self._wait_at_most(self._limit)
        except OSError:
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
        self._check_open()
        if self._state is not _READING_BODY:
            return []
        chunks = self._take()
        if chunks or self._reader.is_complete:
            return chunks
        try:
            self._wait_at_most(idle)
            while not chunks and not self._reader.is_complete:
                await self._news()
                self._check_open()
                chunks = self._take()
        except BaseException:
            self.close()
            raise
        self._link.due = None
        return chunks

    def _check_open(self) -> None:
        if self._reason is not None:
            raise self._reason.with_traceback(None)  # else each raise would add to it

    def _take(self) -> list[bytes]:
        self.bytes_received += self._reader.buffered
        return self._link.take()

    async def read(
        self,
        idle: float | None,
        limit: int | None,
        join: Callable[[list[bytes], float | None], Awaitable[bytes]] | None = None,
    ) -> bytes:
        """The whole body; the exchange is released, or closed on an error.

        Args:
            idle: Seconds between two chunks; None for no limit.
            limit: The most bytes that are taken; None for any number.
            join: Joins the body's chunks until the deadline; None joins them on the loop.

        Raises:
            MessageTooLargeError: The body is longer than ``limit``.
            AiosmrtError: As ``receive``.
        """
        if limit is not None:
            announced = self.headers.get("Content-Length", "")
            if announced.isdecimal() and int(announced) > limit:
                self.close()
                raise MessageTooLargeError("a body", length=int(announced), limit=limit)
        self._check_open()
        chunks = self._take()
        while not self._reader.is_complete and (limit is None or self.bytes_received <= limit):
            chunks += await self.receive_chunks(idle)
        if limit is not None and self.bytes_received > limit:
            self.close()
            raise MessageTooLargeError("a body", length=self.bytes_received, limit=limit)
        self.release()
        if join is None or len(chunks) == 1:
            return b"".join(chunks)  # one chunk is not copied
        return await join(chunks, self._deadline)

    def without_deadline(self) -> None:
        """From here on only ``idle`` limits the body: a stream may last."""
        self._deadline = None

    def release(self) -> None:
        """Gives the connection back to the pool, if the response is complete. Idempotent."""
        if self._state is _RELEASED or self._state is _CLOSED:
            return
        link = self._link
        uploading = self._upload is not None and not self._upload.done()
        if uploading or not self._reader.is_complete:
            self.close()
            return
        if not link.is_written:
            # Answered before the request had left: the rest of it would follow later.
            self.close()
            return
        if self._reader.buffered:
            link.take()
        self._end(_RELEASED)
        self._ended(self, link)

    def close(self, reason: TransportError | None = None) -> None:
        """Drops the connection at once. Idempotent.

        Args:
            reason: What a task gets that waits for bytes, or asks for more.
        """
        if self._state is _RELEASED or self._state is _CLOSED:
            return
        link = self._link
        self._reason = reason or TransportError("The connection was closed", host=self._host)
        self._end(_CLOSED)
        if link.transport is not None:
            # close() would first wait to write what is buffered, to a peer that may not read.
            link.transport.abort()
        link.close()
        self._ended(self, None)

    def _end(self, state: ExchangeState) -> None:
        self._state = state
        self._link.due = self._link.expired = None
        if self._upload is not None:
            self._upload.cancel()
            self._upload = None

    def _wait_at_most(self, seconds: float | None) -> None:
        """Begins a wait for bytes; setting the link's ``due`` to None ends it."""
        self._limit = seconds
        link = self._link
        due = None if seconds is None else link.loop.time() + seconds
        if self._deadline is not None and (due is None or self._deadline < due):
            due = self._deadline
        link.wait_until(due)

    def _news(self) -> asyncio.Future[None]:
        """Returns what to await until the reader has something new, or the exchange is closed.

        Raises:
            AiosmrtError: Nothing more can come.
        """
        link = self._link
        if link.failure is not None or self._reader.fault is not None:
            raise self._lost() from _cause(link.failure)
        waiter = link.waiter = link.loop.create_future()
        return waiter

    def _expired(self) -> None:
        """Nothing came in time."""
        reader, is_body = self._reader, self._state is _READING_BODY
        if reader.is_complete or reader.buffered or (reader.status_code and not is_body):
            return  # the loop was busy: it has come, and whoever waits is about to take it
        error: TransportError
        if self._deadline is not None and self._link.loop.time() >= self._deadline:
            what = "body was read" if is_body else "head was waited for"
            text = f"Timeouts.total ran out while the response's {what}"
            error = DeadlineExceededError(text, host=self._host)
        else:
            text = "No byte of the response's head came within Timeouts.read"
            if is_body:
                text = "No further byte of the response came within Timeouts.idle"
            error = ReadTimeoutError(f"{text}={self._limit} s", host=self._host)
        self._link.fail(error)

    def _is_unread(self) -> bool:
        """Returns whether the peer has closed without one byte of the request."""
        final, before = self._link.final, self._before
        if final is None:
            return False
        if before is not None:
            # With none missing, all that left was read by a way that the total does not count.
            return final.total == before.total and final.missing > 0
        # Over TLS more was written, by less than what the smallest packet acknowledges.
        return 0 < self._unread_length <= final.missing

    def _ended_unused(self) -> TransportError:
        """Returns the error for a connection that cannot carry the request."""
        cls = StaleConnectionError if self.reused else ConnectionLostError
        return cls("The connection was closed before the request was sent", host=self._host)

    def _lost(self) -> AiosmrtError:
        """Returns the error for what has ended the response."""
        failure, fault = self._link.failure, self._reader.fault
        if isinstance(failure, AiosmrtError):
            return failure
        is_cut = fault is None or isinstance(fault, IncompleteResponseError)
        if self._state is _READING_BODY:
            if not is_cut:
                return TransportError("The body's framing is not HTTP", host=self._host)
            if failure is None:
                return StreamTruncatedError(
                    "The response ended before it was complete", bytes_received=self.bytes_received
                )
            return ConnectionLostError(
                "The connection was reset in the middle of the response",
                host=self._host,
                bytes_sent=self._sent,
                bytes_received=self.bytes_received,
                head_received=True,
            )
        if is_cut:
            if self.reused and not self._reader.has_begun:
                waited = self._link.loop.time() - self._written_at
                self.has_crossed = waited < _CROSSING_SECONDS
                if self._is_unread():
                    text = "The connection was closed before the request arrived"
                    return StaleConnectionError(text, host=self._host, bytes_sent=self._sent)
            text = "The connection was closed before the response's head was complete"
            return ConnectionLostError(text, host=self._host, bytes_sent=self._sent)
        text = (
            f"What came back is not an HTTP response ({fault}): check that endpoint URL and proxy "
            "lead to the service"
        )
        return TransportError(text, host=self._host)


def _cause(error: BaseException | None) -> BaseException | None:
    """Returns the system's error behind one of ours. Our timeouts are OSErrors, too."""
    return error if isinstance(error, OSError) and not isinstance(error, AiosmrtError) else None
