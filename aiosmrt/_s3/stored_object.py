"""An object as S3 sends it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from aiosmrt._protocol.http_dates import parse_http_date
from aiosmrt.errors import (
    AiosmrtError,
    ConnectionLostError,
    StreamTruncatedError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from aiosmrt._s3.channel import Patience
    from aiosmrt._s3.locations import S3Location
    from aiosmrt._threads import Threads
    from aiosmrt._transport import Exchange

__all__ = ["EPOCH", "StoredObject"]

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_CHUNK_LENGTH = 1_048_576


class StoredObject:
    """An object that S3 has begun to send; it is to be read, or closed.

    Args:
        location: Where the object lies.
        exchange: The exchange, at the beginning of the body.
        idle: Seconds between two pieces; None for no limit.
        patience: Bounds how often the rest is asked for without a mebibyte of progress.
        threads: The session's.
        go_on: Asks for the rest of this version from a byte on, and returns None where another
            one lies there; None where what breaks off is lost.
        closed: Called once, when nothing more is read.

    Attributes:
        location: As given.
        size: The object's length in bytes.
        etag: Its version's tag, None where S3 named none.
        content_type: Its MIME type, None where S3 named none.
        last_modified: When it was written, in UTC; None where S3 did not say.
    """

    def __init__(
        self,
        location: S3Location,
        exchange: Exchange,
        *,
        idle: float | None,
        patience: Patience,
        threads: Threads,
        go_on: Callable[[int], Awaitable[Exchange | None]] | None,
        closed: Callable[[], None],
    ) -> None:
        headers = exchange.headers
        self._exchange = exchange
        self._idle = idle
        self._patience = patience
        self._threads = threads
        self._go_on = go_on
        self._closed = closed
        self._is_closed = False
        self._received = self._counted = 0
        self.location = location
        self.size: int = int(headers["Content-Length"])
        self.etag: str | None = headers.get("ETag")
        self.content_type: str | None = headers.get("Content-Type")
        self.last_modified: datetime | None = _read_date(headers.get("Last-Modified"))

    async def read(self) -> bytes:
        """Reads the whole object. Once, in the place of `chunks`.

        Raises:
            TransportError: It did not arrive whole.
        """
        self._check_unread()
        pieces: list[bytes] = []
        try:
            while more := await self._receive():
                pieces += more
        finally:
            self.close()
        return await self._threads.join(pieces)

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """Reads the object in pieces of a mebibyte or a little more. Once.

        Yields:
            The next piece.

        Raises:
            TransportError: The rest did not arrive.
            CredentialsError: The credentials ran out, and there are no new ones.
        """
        self._check_unread()
        waiting: list[bytes] = []
        try:
            while more := await self._receive():
                waiting += more
                if sum(map(len, waiting)) >= _CHUNK_LENGTH:
                    chunk = b"".join(waiting)
                    waiting.clear()
                    yield chunk
            if waiting:
                yield b"".join(waiting)
        finally:
            self.close()

    def close(self) -> None:
        """Gives up what has not been read. Idempotent."""
        if not self._is_closed:
            self._is_closed = True
            self._exchange.release()  # which drops a connection before the body's end
            self._closed()

    def _check_unread(self) -> None:
        if self._is_closed:
            raise TransportError(f"{self.location} was read or closed before")

    async def _receive(self) -> list[bytes]:
        """The next pieces of the body, over as many connections as it takes; none at its end."""
        while True:
            try:
                pieces = await self._exchange.receive_chunks(self._idle)
            except (TransportError, StreamTruncatedError) as error:
                if self._received - self._counted >= _CHUNK_LENGTH:
                    self._patience.renew()
                    self._counted = self._received
                self._exchange = await self._resume(self._lost(error))
            else:
                self._received += sum(map(len, pieces))
                return pieces

    async def _resume(self, error: AiosmrtError) -> Exchange:
        """Asks for the rest of the same version.

        Raises:
            AiosmrtError: There is no further attempt, or another version lies there now.
        """
        if self._go_on is None:
            raise error
        while True:
            await self._patience.wait(error)
            try:
                exchange = await self._go_on(self._received)
            except AiosmrtError as failure:
                error = failure
            else:
                break
        if exchange is None:
            overwritten = TransportError(f"{self.location} was overwritten while it was read")
            overwritten.operation = "GetObject"
            raise overwritten
        return exchange

    def _lost(self, error: TransportError | StreamTruncatedError) -> TransportError:
        if isinstance(error, StreamTruncatedError) or type(error) is ConnectionLostError:
            lost: TransportError = ConnectionLostError(
                f"The answer for {self.location} broke off",
                host=error.host if isinstance(error, TransportError) else None,
                bytes_received=self._received,
                head_received=True,
            )
        else:
            lost = error
            if lost.operation is None:
                lost.message = f"{self.location}: {lost.message}"
        lost.operation = "GetObject"
        return lost


def _read_date(text: str | None) -> datetime | None:
    seconds = parse_http_date(text or "")
    return None if seconds is None else EPOCH + timedelta(seconds=seconds)
