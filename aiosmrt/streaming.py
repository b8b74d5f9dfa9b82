"""The streamed answer: an async iterator of PayloadPart over one connection."""

from __future__ import annotations

import asyncio
import warnings
from typing import TYPE_CHECKING, Any

from aiosmrt.deserialize import parse_message
from aiosmrt.errors import AiosmrtError, EventStreamError, StreamTruncatedError, TransportError
from aiosmrt.eventstream import EventStreamDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType

    from typing_extensions import Self

    from aiosmrt.models import PayloadPart, ResponseMetadata, ResponseStreamHead
    from aiosmrt.transport import Exchange

__all__ = ["ResponseStream", "ResponseStreamCall"]


class ResponseStream:
    """The answer of InvokeEndpointWithResponseStream, part by part.

        async with session.invoke_endpoint_with_response_stream("llm", body) as stream:
            async for part in stream:
                ...

    It holds a connection until the answer ends, ``aclose`` is called, an error is
    raised, or the task that reads it is cancelled. It can be iterated once. A stream
    that nobody reads holds at most some 128 KiB and one unfinished message: the
    connection is not read further.

    Attributes:
        content_type: The parts' MIME type, None where the service sent none.
        invoked_production_variant: The variant that answers.
        custom_attributes: What the container set.
        metadata: Request id, status, headers, attempts.
    """

    def __init__(
        self,
        exchange: Exchange,
        head: ResponseStreamHead,
        *,
        idle: float | None,
        endpoint_name: str,
        require_terminal: Callable[[PayloadPart], bool] | None = None,
    ) -> None:
        self._exchange: Exchange | None = exchange
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._endpoint_name = endpoint_name
        self._decoder = EventStreamDecoder()
        self._messages = iter(self._decoder)
        self._parts = 0
        self._last: PayloadPart | None = None
        self._require_terminal = require_terminal
        self._reading = False
        # What every further read ends with: StopAsyncIteration, or the error raised.
        self._ended: BaseException | None = None
        self.content_type = head.content_type
        self.invoked_production_variant = head.invoked_production_variant
        self.custom_attributes = head.custom_attributes
        self.metadata: ResponseMetadata = head.metadata

    def __repr__(self) -> str:
        state = "open" if self._exchange is not None else "closed"
        return f"<ResponseStream of {self._endpoint_name}, {state}, {self._parts} parts read>"

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> PayloadPart:
        """The next part.

        Raises:
            ModelStreamError: The container broke off or took too long.
            InternalStreamFailure: The service failed.
            UnknownServiceError: An exception that is not modelled.
            StreamTruncatedError: The answer ended before it was complete.
            EventStreamError: The bytes do not make sense.
            ReadTimeoutError: Nothing came within ``Timeouts.idle`` seconds.
            ConnectionLostError: The connection was reset.
        """
        try:
            while True:
                for message in self._messages:
                    part = parse_message(message, self.metadata)
                    if part is not None:
                        self._parts += 1
                        self._last = part
                        return part
                await self._fill()
        except BaseException as error:
            if self._ended is None:
                self._fail(error)
            raise

    async def _fill(self) -> None:
        """Waits for the next bytes and hands them to the decoder."""
        if self._ended is not None:
            raise self._ended
        if self._reading:
            raise RuntimeError("This stream is already being read by another task")
        assert self._exchange is not None  # noqa: S101 - for the type checker: see _ended
        self._reading = True
        try:
            data = await self._exchange.receive(self._idle)
        finally:
            self._reading = False
        if self._ended is not None:
            raise self._ended
        if data:
            self._decoder.receive_data(data)
            self._messages = iter(self._decoder)
            return
        self._decoder.receive_eof()
        if self._require_terminal is not None and (
            self._last is None or not self._require_terminal(self._last)
        ):
            raise StreamTruncatedError(
                "The response ended behind a part that require_terminal does not take for the last",
                bytes_received=self._decoder.bytes_received,
            )
        self._ended = StopAsyncIteration()
        exchange, self._exchange = self._exchange, None
        exchange.release()
        raise self._ended

    def _fail(self, error: BaseException) -> None:
        """Closes the connection; an error is told where and after what it came."""
        if isinstance(error, RuntimeError) and self._reading:
            return
        if isinstance(error, AiosmrtError):
            error.operation = "InvokeEndpointWithResponseStream"
            error.endpoint_name = self._endpoint_name
            error.attempts = self.metadata.attempts
        if isinstance(error, EventStreamError):
            error.request_id = self.metadata.request_id
        if isinstance(error, StreamTruncatedError):
            error.parts_received = self._parts
            error.bytes_left = self._decoder.bytes_left
        self._close(error if isinstance(error, AiosmrtError) else None)

    def _close(self, reason: AiosmrtError | None) -> None:
        if self._ended is None:
            # Ending quietly here would make a half-read answer look whole.
            self._ended = reason or TransportError("The stream was closed before its end")
            self._messages = iter(())
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    async def aclose(self) -> None:
        """Closes the connection, unless the answer has ended and it went back already.

        Idempotent. A read after it raises TransportError, but for an answer that had ended.
        """
        self._close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        exchange = getattr(self, "_exchange", None)
        if exchange is None:
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        if not self._loop.is_closed():
            # The garbage collector may run in any thread.
            self._loop.call_soon_threadsafe(exchange.close)


class ResponseStreamCall:
    """A streaming call under way: ``await`` it, or enter it with ``async with``."""

    def __init__(self, opening: Coroutine[Any, Any, ResponseStream]) -> None:
        self._opening = opening
        self._stream: ResponseStream | None = None

    def __await__(self) -> Generator[Any, None, ResponseStream]:
        return self._opening.__await__()

    async def __aenter__(self) -> ResponseStream:
        self._stream = await self._opening
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._stream is not None:
            await self._stream.aclose()
