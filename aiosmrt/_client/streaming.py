"""The streamed answer: an async iterator of PayloadPart over one connection."""

from __future__ import annotations

import asyncio
import enum
import sys
import warnings
import zlib
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from aiosmrt import framing
from aiosmrt._client.decoded_stream import BytesDecoder, DecodedStream
from aiosmrt._client.stream_stats import StreamClock, StreamStats
from aiosmrt._protocol.call_facts import add_call
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


class StreamState(enum.Enum):
    """The life of a stream: OPEN and READING by turns, then one of the ends."""

    OPEN = "open"  # nobody waits for bytes
    READING = "reading"  # a task waits for bytes
    ENDED = "ended"  # the answer was complete, and the connection went back
    FAILED = "failed"  # an error was raised
    CLOSED = "closed"  # by aclose, or by an error of the reader's own


# To look a member up in its class costs as much as a call of a function.
_OPEN, _READING, _ENDED, _FAILED, _CLOSED = StreamState


class ResponseStream:
    """The answer of InvokeEndpointWithResponseStream, part by part.

        async with session.invoke_endpoint_with_response_stream("llm", body) as stream:
            async for part in stream:
                ...

    A stream holds a connection until the answer ends, ``aclose`` is called, an error is
    raised, or the task that reads it is cancelled. It can be iterated once. A stream
    that nobody reads holds less than 1 MiB and one unfinished message: the
    connection is not read further.

    Attributes:
        content_type: The parts' MIME type, None where the service sent none.
        invoked_production_variant: The variant that answers.
        custom_attributes: What the container set.
        metadata: Request id, status, headers, attempts.
    """

    __module__ = "aiosmrt"

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
        self._state = _OPEN
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._idle = idle
        self._endpoint_name = endpoint_name
        self._decoder = EventStreamDecoder(crc32=_crc32)
        self._clock = StreamClock(started)
        # Parts that wait to be handed out, the last one first, and what is decoded after them.
        # A deque would be in order, but takes 600 bytes when it is empty.
        self._ready: list[PayloadPart] = []
        self._runs: Iterator[list[bytes]] = iter(())
        self._part_headers: dict[str, HeaderValue] | None = None
        self._decoded = 0
        self._last: bytes | None = None
        self._require_terminal = require_terminal
        self._max_length = max_length
        self._watch = watch
        self._read_by: str | None = None
        # What every further read raises, once the stream has failed or was closed.
        self._reason: AiosmrtError | None = None
        self.content_type: str | None = head.content_type
        self.invoked_production_variant: str | None = head.invoked_production_variant
        self.custom_attributes: str | None = head.custom_attributes
        self.metadata: ResponseMetadata = head.metadata

    @property
    def _parts(self) -> int:
        """How many parts were handed out."""
        return self._decoded - len(self._ready)

    @property
    def _is_over(self) -> bool:
        return self._state is not _OPEN and self._state is not _READING

    def __repr__(self) -> str:
        state = "closed" if self._is_over else "open"
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
        ready = self._ready
        if not ready:
            await self._receive()
        return ready.pop()

    async def receive_payload(self) -> bytes | None:
        """Returns the bytes of all parts that have arrived, in one piece; None at the end.

        ``iter_text`` and its like read by this: where parts come faster than they are
        read, it costs a fraction of taking them one by one.

        Raises:
            AiosmrtError: As iterating.
        """
        payloads: list[bytes] = []
        try:
            while not payloads:
                for run in self._runs:
                    payloads += run
                if not payloads:
                    await self._fill()
        except StopAsyncIteration:
            return None
        except BaseException as error:
            if self._state is _OPEN:
                self.fail(error)
            if not payloads or not isinstance(error, AiosmrtError):
                raise
            # What came before the fault is handed out first; the next read raises it.
        return b"".join(payloads)

    async def _receive(self) -> None:
        """Waits until a part is ready.

        Raises:
            StopAsyncIteration: The answer has ended.
            RuntimeError: Another task waits already; that one goes on.
            AiosmrtError: What broke the stream off.
        """
        try:
            while True:
                for run in self._runs:
                    self._ready += map(PayloadPart, reversed(run))
                    return
                await self._fill()
        except BaseException as error:
            if self._state is _OPEN:
                self.fail(error)
            raise

    async def _fill(self) -> None:
        """Waits for the next bytes and hands them to the decoder."""
        if self._state is not _OPEN:
            raise self._refusal()
        self._state = _READING
        try:
            chunks = await self._exchange.receive_chunks(self._idle)
        finally:
            if self._state is _READING:
                self._state = _OPEN
        if self._state is not _OPEN:  # closed meanwhile
            raise self._refusal()
        if not chunks:
            self._end()
            raise StopAsyncIteration
        self._clock.arrived(self._decoded)
        for chunk in chunks:
            self._decoder.receive_data(chunk)
        self._runs = self._decode()
        if self._watch is not None:
            self._runs = self._watch.parts(self._runs)

    def _refusal(self) -> BaseException:
        """Returns what a read raises that cannot wait for bytes."""
        if self._state is _READING:
            return RuntimeError("This stream is already being read by another task")
        if self._reason is None:
            return StopAsyncIteration()
        return self._reason.with_traceback(None)  # else each raise would add to it

    def _decode(self) -> Iterator[list[bytes]]:
        """Yields the payloads of the parts that are whole now."""
        for headers, payloads in self._decoder.runs():
            if headers is not self._part_headers:
                if not carries_part(headers, payloads[0], self.metadata):
                    continue
                self._part_headers = headers
            self._decoded += len(payloads)
            self._last = payloads[-1]
            yield payloads

    def _end(self) -> None:
        """Ends the stream where its body ends, if the answer is complete."""
        self._decoder.receive_eof()
        if not self._decoder.bytes_received and self._other_type() is not None:
            raise InvalidMessageError("The response is empty")
        required = self._require_terminal
        if required is not None and (self._last is None or not required(PayloadPart(self._last))):
            raise StreamTruncatedError(
                "The response ended after a part that require_terminal does not take for the last",
                bytes_received=self._decoder.bytes_received,
            )
        self._state = _ENDED
        self._exchange.release()
        if self._watch is not None and self._read_by in {None, "read"}:
            self.tell_end(None)  # else what decodes the payload may still find it wanting

    def _other_type(self) -> str | None:
        """Returns the response's own Content-Type, None for an event stream's or without one."""
        told = self.metadata.headers.get("Content-Type", "").partition(";")[0].strip()
        return told if told and told.lower() != _CONTENT_TYPE else None

    def tell_end(self, error: BaseException | None) -> None:
        """Reports to the instrumentation how the stream ended, unless that was done before."""
        if self._watch is not None:
            is_complete = self._state is _ENDED
            self._watch.end(error, is_complete=is_complete, parts=self._parts)

    def fail(self, error: BaseException) -> None:
        """Breaks the stream off with an error, to which the facts of the stream are added."""
        if isinstance(error, AiosmrtError):
            self._describe(error)
        if isinstance(error, EventStreamError) and not self._decoded:
            error.content_type = self._other_type()
        if isinstance(error, StreamTruncatedError):
            error.bytes_received = self._decoder.bytes_received
            error.parts_received = self._parts
            error.bytes_left = error.bytes_left or self._decoder.bytes_left
        self.tell_end(error)
        if isinstance(error, AiosmrtError):
            self._close(_FAILED, error)
        else:
            self._close(_CLOSED)

    def _describe(self, error: AiosmrtError) -> None:
        add_call(
            error,
            INVOKE_ENDPOINT_WITH_RESPONSE_STREAM.name,
            self._endpoint_name,
            attempts=self.metadata.attempts,
            request_id=self.metadata.request_id,
        )

    def _close(self, state: StreamState, reason: AiosmrtError | None = None) -> None:
        """Ends the stream before its end; nothing happens to one that is over."""
        self.tell_end(None)
        if self._is_over:
            return
        if reason is None:
            # Ending quietly here would make a half-read answer look whole.
            reason = TransportError("The stream was closed before its end: read it first")
            self._describe(reason)
        self._state = state
        self._reason = reason
        self._decoded = self._parts
        self._ready.clear()
        self._runs = iter(())
        self._exchange.close()

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
        self._close(_CLOSED)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is None:
            return
        if self._watch is not None:
            self._watch.abandon(is_complete=state is _ENDED, parts=self._parts)
        if self._is_over:
            return
        if not self._loop.is_closed():
            # The garbage collector may run in any thread; and a warning may be an error.
            self._loop.call_soon_threadsafe(self._exchange.close)
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)


class ResponseStreamCall(Coroutine[Any, Any, ResponseStream]):
    """A streaming call under way: ``await`` it, or enter it with ``async with``.

    It is a coroutine in all its ways, so ``asyncio.create_task`` and task groups take it.
    """

    __module__ = "aiosmrt"

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

    async def __aexit__(self, *_: object) -> None:
        if self._stream is not None:
            await self._stream.aclose()
