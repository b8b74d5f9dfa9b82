"""The streamed answer: an async iterator of PayloadPart over one connection."""

from __future__ import annotations

import asyncio
import sys
import warnings
import zlib
from collections.abc import Coroutine
from operator import length_hint
from typing import TYPE_CHECKING, Any

from aiosmrt import framing
from aiosmrt._client.decoded_stream import BytesDecoder, DecodedStream
from aiosmrt._client.stream_stats import StreamClock, StreamStats
from aiosmrt._protocol.deserialize import carries_part
from aiosmrt._protocol.models import PayloadPart
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM
from aiosmrt.errors import (
    AiosmrtError,
    EventStreamError,
    InvalidMessageError,
    MessageTooLargeError,
    StreamTruncatedError,
    TransportError,
)
from aiosmrt.eventstream import EventStreamDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from aiosmrt._protocol.models import ResponseMetadata, ResponseStreamHead
    from aiosmrt._transport import Exchange
    from aiosmrt.eventstream import HeaderValue
    from aiosmrt.instrumentation._watch import CallWatch

__all__ = ["ResponseStream", "ResponseStreamCall"]

_crc32: Callable[[bytes, int], int] = zlib.crc32
try:
    from zlib_ng import zlib_ng
except ImportError:
    pass
else:  # a tenth of zlib's time, and typed in part: the extra `speedups`
    _crc32 = zlib_ng.crc32  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

# Of the response itself: what its parts hold, `content_type` tells.
_CONTENT_TYPE = "application/vnd.amazon.eventstream"

# Half the cost of PayloadPart(payload), whose __init__ of Python does the same by the same.
_new_part = PayloadPart.__new__
_set_bytes = vars(PayloadPart)["bytes"].__set__


class ResponseStream:
    """The answer of InvokeEndpointWithResponseStream, part by part.

        async with session.invoke_endpoint_with_response_stream("llm", body) as stream:
            async for part in stream:
                ...

    It holds a connection until the answer ends, ``aclose`` is called, an error is
    raised, or the task that reads it is cancelled. It can be iterated once. A stream
    that nobody reads holds less than 1 MiB and one unfinished message: the
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
        started: float,
        max_length: int | None = None,
        require_terminal: Callable[[PayloadPart], bool] | None = None,
        watch: CallWatch | None = None,
    ) -> None:
        self._exchange: Exchange | None = exchange
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._endpoint_name = endpoint_name
        self._decoder = EventStreamDecoder(crc32=_crc32)
        self._clock = StreamClock(started)
        # What has been decoded and waits to be handed out, and what is decoded after it.
        self._ready: Iterator[bytes] = iter(())
        self._runs: Iterator[list[bytes]] = iter(())
        self._part_headers: dict[str, HeaderValue] | None = None
        self._decoded = 0
        self._last: bytes | None = None
        self._require_terminal = require_terminal
        self._max_length = max_length
        self._watch = watch
        self._reading = False
        self._read_by: str | None = None
        # What every further read ends with: StopAsyncIteration, or the error raised.
        self._ended: BaseException | None = None
        self.content_type = head.content_type
        self.invoked_production_variant = head.invoked_production_variant
        self.custom_attributes = head.custom_attributes
        self.metadata: ResponseMetadata = head.metadata

    @property
    def _parts(self) -> int:
        """How many parts were handed out."""
        return self._decoded - length_hint(self._ready)

    def __repr__(self) -> str:
        state = "open" if self._exchange is not None else "closed"
        return f"<ResponseStream of {self._endpoint_name}, {state}, {self._parts} parts read>"

    @property
    def stats(self) -> StreamStats:
        """What was measured so far: times to head and first part, gaps, bytes, parts."""
        return self._clock.stats(parts=self._parts, bytes_received=self._decoder.bytes_received)

    def __aiter__(self) -> ResponseStream:
        if self._read_by is not None:
            raise RuntimeError(f"This stream is read by {self._read_by}() already")
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
                for payload in self._ready:
                    part = _new_part(PayloadPart)
                    _set_bytes(part, payload)
                    return part
                for run in self._runs:
                    self._ready = iter(run)
                    break
                else:
                    await self._fill()
        except BaseException as error:
            if self._ended is None:
                self.fail(error)
            raise

    async def receive_payload(self) -> bytes | None:
        """The bytes of all parts that have arrived, in one piece; None at the end.

        What ``iter_text`` and its like read by: where parts come faster than they are
        read, this costs a fraction of taking them one by one.

        Raises:
            AiosmrtError: As iterating.
        """
        payloads: list[bytes] = []
        try:
            while True:
                payloads += self._ready
                for run in self._runs:
                    payloads += run
                if payloads:
                    return b"".join(payloads)
                await self._fill()
        except StopAsyncIteration:
            return None
        except BaseException as error:
            if payloads:
                # What came before the fault is handed out before it.
                self._runs = _raise_later(error)
                return b"".join(payloads)
            if self._ended is None:
                self.fail(error)
            raise

    def _decode(self) -> Iterator[list[bytes]]:
        """The payloads of the parts that are whole now."""
        for headers, payloads in self._decoder.runs():
            if headers is not self._part_headers:
                if not carries_part(headers, payloads[0], self.metadata):
                    continue
                self._part_headers = headers
            self._decoded += len(payloads)
            self._last = payloads[-1]
            yield payloads

    async def _fill(self) -> None:
        """Waits for the next bytes and hands them to the decoder."""
        if self._ended is not None:
            raise self._ended.with_traceback(None)  # else each raise would add to it
        if self._reading:
            raise RuntimeError("This stream is already being read by another task")
        assert self._exchange is not None  # noqa: S101 - for the type checker: see _ended
        self._reading = True
        try:
            chunks = await self._exchange.receive_chunks(self._idle)
        finally:
            self._reading = False
        if self._ended is not None:
            raise self._ended
        if not chunks:
            self._end()
            raise StopAsyncIteration
        self._clock.arrived(self._decoded)
        for chunk in chunks:
            self._decoder.receive_data(chunk)
        self._runs = self._decode()
        if self._watch is not None:
            self._runs = self._watch.parts(self._runs)

    def _end(self) -> None:
        """The connection has said that this is all: is it?"""
        self._decoder.receive_eof()
        if not self._decoder.bytes_received and self._other_type() is not None:
            raise InvalidMessageError("The response is empty")
        required = self._require_terminal
        if required is not None and (self._last is None or not required(PayloadPart(self._last))):
            raise StreamTruncatedError(
                "The response ended behind a part that require_terminal does not take for the last",
                bytes_received=self._decoder.bytes_received,
            )
        self._ended = StopAsyncIteration()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.release()
        if self._watch is not None and self._read_by in {None, "read"}:
            self.tell_end(None)  # else what decodes the payload may still find it wanting

    def _other_type(self) -> str | None:
        """The response's own Content-Type, None where it is an event stream's, or not told."""
        told = self.metadata.headers.get("Content-Type", "").partition(";")[0].strip()
        return told if told and told.lower() != _CONTENT_TYPE else None

    def tell_end(self, error: BaseException | None) -> None:
        """Tells the instrumentation, if there is any and it was not told, how it ended."""
        if self._watch is not None:
            is_complete = isinstance(self._ended, StopAsyncIteration)
            self._watch.end(error, is_complete=is_complete, parts=self._parts)

    def fail(self, error: BaseException) -> None:
        """Closes the connection, and tells an error of ours where and after what it came."""
        if isinstance(error, RuntimeError) and self._reading:
            return  # the other task goes on
        if isinstance(error, AiosmrtError):
            self._describe(error)
        if isinstance(error, EventStreamError) and not self._decoded:
            error.content_type = self._other_type()
        if isinstance(error, StreamTruncatedError):
            error.bytes_received = self._decoder.bytes_received
            error.parts_received = self._parts
            error.bytes_left = error.bytes_left or self._decoder.bytes_left
        self.tell_end(error)
        self._close(error if isinstance(error, AiosmrtError) else None)

    def _describe(self, error: AiosmrtError) -> None:
        error.operation = INVOKE_ENDPOINT_WITH_RESPONSE_STREAM.name
        error.endpoint_name = self._endpoint_name
        error.attempts = self.metadata.attempts
        error.request_id = self.metadata.request_id

    def _close(self, reason: AiosmrtError | None) -> None:
        self.tell_end(None)
        if self._ended is None:
            # Ending quietly here would make a half-read answer look whole.
            if reason is None:
                reason = TransportError("The stream was closed before its end: read it first")
                self._describe(reason)
            self._ended = reason
            self._decoded = self._parts
            self._ready = iter(())
            self._runs = iter(())
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    def _claim(self, reader: str) -> None:
        if self._read_by is not None:
            raise RuntimeError(
                f"This stream is read by {self._read_by}() already; it can be read once, in one way"
            )
        if self._parts:
            raise RuntimeError(
                f"{reader}() cannot read a stream of which parts were taken already; "
                "it can be read once, in one way"
            )
        self._read_by = reader

    def iter_bytes(self) -> DecodedStream[bytes]:
        """Iterates over the payload as it arrives, in chunks that say nothing.

        Returns:
            An async iterator of bytes, never empty ones.

        Raises:
            RuntimeError: The stream is read already, or parts of it were taken; as with
                every ``iter_`` method.
        """
        self._claim("iter_bytes")
        return DecodedStream(self, BytesDecoder(), turn_length=sys.maxsize)  # nothing to decode

    def iter_text(self) -> DecodedStream[str]:
        """Iterates over the payload as text: UTF-8, no character split.

        Returns:
            An async iterator of str, never empty ones.
        """
        self._claim("iter_text")
        return DecodedStream(self, framing.TextDecoder())

    def iter_lines(self) -> DecodedStream[str]:
        """Iterates over the payload's lines, which end at CR, LF or CRLF.

        Returns:
            An async iterator of str without their line ends; the last line needs none.
        """
        self._claim("iter_lines")
        return DecodedStream(self, framing.LineDecoder())

    def iter_sse(self, *, done_marker: str | None = None) -> DecodedStream[framing.ServerSentEvent]:
        """Iterates over the payload's server-sent events (WHATWG HTML, 9.2).

        Args:
            done_marker: Data that is no event but the end's announcement, ``"[DONE]"``
                for OpenAI's format; it is left out. None hands out every event.

        Returns:
            An async iterator of ServerSentEvent(event, data, id, retry).
        """
        self._claim("iter_sse")
        return DecodedStream(self, framing.SSEDecoder(done_marker=done_marker))

    def iter_json(self) -> DecodedStream[Any]:
        """Iterates over the payload's JSON values: in events, one a line, or one after the other.

        Which of these, the content type tells, else the first bytes. ``[DONE]`` is left out.

        Returns:
            An async iterator of parsed values.
        """
        self._claim("iter_json")
        return DecodedStream(self, framing.JSONStreamDecoder(self.content_type))

    def iter_tokens(self) -> DecodedStream[framing.Token]:
        """Iterates over the text that a language model generates.

        Knows the formats that SageMaker's model servers stream: OpenAI's chat and
        completion chunks (vLLM, SGLang, LMI), TGI's tokens and LMI's JSON lines.

        Returns:
            An async iterator of Token: ``text``, and at the end ``finish_reason`` and ``usage``.

        Raises:
            InvalidMessageError: While iterating: the format is none of these.
            ModelError: While iterating: the model server sent an error object.
        """
        self._claim("iter_tokens")
        decoder = framing.TokenDecoder(self.content_type)
        return DecodedStream(self, decoder if self._watch is None else self._watch.tokens(decoder))

    async def read(self) -> bytes:
        """Reads the payload to its end.

        Returns:
            All parts' bytes, joined.

        Raises:
            MessageTooLargeError: It is longer than the session's ``max_body_length``.
            AiosmrtError: As iterating; what had arrived is lost.
            RuntimeError: The stream is read already, or parts of it were taken.
        """
        self._claim("read")
        payloads: list[bytes] = []
        length = 0
        while (payload := await self.receive_payload()) is not None:
            payloads.append(payload)
            length += len(payload)
            if self._max_length is not None and length > self._max_length:
                error = MessageTooLargeError("a body", length=length, limit=self._max_length)
                self.fail(error)
                raise error
        return b"".join(payloads)

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
        watch = getattr(self, "_watch", None)
        if watch is not None:
            is_complete = isinstance(self._ended, StopAsyncIteration)
            watch.abandon(is_complete=is_complete, parts=self._parts)
        exchange = getattr(self, "_exchange", None)
        if exchange is None:
            return
        if not self._loop.is_closed():
            # The garbage collector may run in any thread; and a warning may be an error.
            self._loop.call_soon_threadsafe(exchange.close)
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)


def _raise_later(error: BaseException) -> Iterator[list[bytes]]:
    yield from ()
    raise error


class ResponseStreamCall(Coroutine[Any, Any, ResponseStream]):
    """A streaming call under way: ``await`` it, or enter it with ``async with``.

    It is a coroutine in all its ways, so ``asyncio.create_task`` and task groups take it.
    """

    def __init__(self, opening: Coroutine[Any, Any, ResponseStream]) -> None:
        self._opening = opening
        self._stream: ResponseStream | None = None

    def __await__(self) -> Generator[Any, None, ResponseStream]:
        return self._opening.__await__()

    def send(self, value: Any) -> Any:
        """Goes on with the call; for event loops."""
        return self._opening.send(value)

    def throw(self, *error: Any) -> Any:
        """Raises inside the call; for event loops."""
        return self._opening.throw(*error)

    def close(self) -> None:
        """Gives the call up before it was awaited."""
        self._opening.close()

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
