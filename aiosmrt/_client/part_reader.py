"""The parts of one response: read from its connection, decoded, and counted to their end."""

from __future__ import annotations

import asyncio
import enum
import warnings
import zlib
from typing import TYPE_CHECKING

from aiosmrt._client.stream_stats import StreamClock
from aiosmrt._protocol.deserialize import carries_part
from aiosmrt._protocol.models import PayloadPart
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM
from aiosmrt._protocol.serialize import add_call
from aiosmrt.errors import (
    AiosmrtError,
    EventStreamError,
    InvalidMessageError,
    StreamTruncatedError,
    TransportError,
)
from aiosmrt.eventstream import EventStreamDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmrt._client.stream_stats import StreamStats
    from aiosmrt._protocol.models import ResponseMetadata
    from aiosmrt._transport import Exchange
    from aiosmrt.eventstream import HeaderValue
    from aiosmrt.instrumentation._watch import CallWatch

__all__ = ["PartReader", "StreamState", "crc32"]

crc32: Callable[[bytes, int], int] = zlib.crc32
try:
    from zlib_ng import zlib_ng
except ImportError:
    pass
else:  # the extra `speedups`: an eighth to a quarter of zlib's time for large parts; typed in part
    crc32 = zlib_ng.crc32  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

# The type of the response itself; the parts have a type of their own.
_CONTENT_TYPE = "application/vnd.amazon.eventstream"

# Pieces that have come together, often of one message each, are joined up to this length: one
# copy costs less than reading them one by one.
_JOINED_LENGTH = 65_536


class StreamState(enum.Enum):
    """The life of a stream: OPEN and READING by turns, then one of the ends."""

    OPEN = "open"  # nobody waits for bytes
    READING = "reading"  # a task waits for bytes
    ENDED = "ended"  # the answer was complete, and the connection went back
    FAILED = "failed"  # an error was raised
    CLOSED = "closed"  # by aclose, or by an error of the reader's own


# To look a member up in its class costs as much as a call of a function.
_OPEN, _READING, _ENDED, _FAILED, _CLOSED = StreamState


class PartReader:
    """Reads the parts of one response.

    Args:
        exchange: The connection, with the body unread.
        metadata: The facts of the response's head.
        endpoint_name: The endpoint, for texts.
        idle: Seconds to wait for bytes; None for no limit.
        started: When the call began, by ``time.perf_counter``.
        require_terminal: Called with the last part; whether a complete answer ends with it.
        watch: Follows the call; None where there is no instrumentation.

    Attributes:
        ready: Parts that wait to be handed out, the last one first.
        is_decoded: Whether the payload is decoded further: then it is complete only when that
            has found it so, and whoever decodes it calls ``report_end``.
    """

    def __init__(
        self,
        exchange: Exchange,
        metadata: ResponseMetadata,
        endpoint_name: str,
        *,
        idle: float | None,
        started: float,
        require_terminal: Callable[[PayloadPart], bool] | None,
        watch: CallWatch | None = None,
    ) -> None:
        self._exchange = exchange
        self._metadata = metadata
        self._endpoint_name = endpoint_name
        self._idle = idle
        self._require_terminal = require_terminal
        self._watch = watch
        self._clock = StreamClock(started)
        self._loop = asyncio.get_running_loop()
        self._decoder = EventStreamDecoder(crc32=crc32)
        # A deque would be in order, but takes 600 bytes when it is empty.
        self.ready: list[PayloadPart] = []
        self.is_decoded = False
        self._part_headers: dict[str, HeaderValue] | None = None
        self._decoded = 0
        self._last: bytes | None = None
        # What every further read raises, once the stream has failed or was closed.
        self._reason: AiosmrtError | None = None
        self._state = _OPEN

    def __repr__(self) -> str:
        state = "closed" if self._is_over else "open"
        return f"<ResponseStream of {self._endpoint_name}, {state}, {self.parts} parts read>"

    @property
    def parts(self) -> int:
        """How many parts were handed out."""
        return self._decoded - len(self.ready)

    @property
    def _is_over(self) -> bool:
        return self._state is not _OPEN and self._state is not _READING

    def stats(self) -> StreamStats:
        """Returns what was measured so far."""
        return self._clock.stats(parts=self.parts, bytes_received=self._decoder.bytes_received)

    async def receive(self) -> list[bytes]:
        """Waits until some parts are whole.

        Returns:
            Their payloads, of one part or more.

        Raises:
            StopAsyncIteration: The answer has ended.
            RuntimeError: Another task waits already; that one goes on.
            AiosmrtError: What broke the stream off.
        """
        if self._state is not _OPEN:
            raise self._refusal()
        try:
            while (run := self._next_run()) is None:
                self._state = _READING
                try:
                    chunks = await self._exchange.receive_chunks(self._idle)
                finally:
                    if self._state is _READING:
                        self._state = _OPEN
                if not chunks:
                    self._end()
                    raise StopAsyncIteration
                self._clock.arrived(self._decoded)
                if len(chunks) > 1 and sum(map(len, chunks)) <= _JOINED_LENGTH:
                    chunks = [b"".join(chunks)]
                for chunk in chunks:
                    self._decoder.receive_data(chunk)
        except BaseException as error:
            if self._state is _OPEN:
                self.break_off(error)
            elif isinstance(error, TransportError):  # closed by another task
                raise self._refusal() from None
            raise
        return run

    async def receive_payload(self) -> bytes | None:
        """Returns the bytes of all parts that have arrived, in one piece; None at the end.

        Where parts come faster than they are read, this costs a fraction of taking them one
        by one.

        Raises:
            RuntimeError: Another task waits already; that one goes on.
            AiosmrtError: What broke the stream off.
        """
        try:
            payloads = await self.receive()
        except StopAsyncIteration:
            return None
        try:
            while (run := self._next_run()) is not None:
                payloads += run
        except AiosmrtError as error:
            # What came before the fault is handed out first; the next read raises it.
            self._add_facts(error)
            self._close(_FAILED, error)
        return b"".join(payloads)

    def _refusal(self) -> BaseException:
        """Returns what a read raises that cannot wait for bytes."""
        if self._state is _READING:
            return RuntimeError("This stream is already being read by another task")
        if self._reason is None:
            return StopAsyncIteration()
        self.report_end(self._reason)
        return self._reason.with_traceback(None)  # else each raise would add to it

    def _next_run(self) -> list[bytes] | None:
        """Returns the payloads of some parts that are whole now; None where there are none."""
        while (run := self._decoder.next_run()) is not None:
            headers, payloads = run
            if headers is not self._part_headers:
                if not carries_part(headers, payloads[0], self._metadata):
                    continue
                self._part_headers = headers
            self._decoded += len(payloads)
            self._last = payloads[-1]
            if self._watch is not None:
                self._watch.decoded_part()
            return payloads
        return None

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
        del self._exchange  # a stream that is kept would keep the transport, too
        if not self.is_decoded:
            self.report_end()

    def _other_type(self) -> str | None:
        """Returns the response's own Content-Type, None for an event stream's or without one."""
        told = self._metadata.headers.get("Content-Type", "").partition(";")[0].strip()
        return told if told and told.lower() != _CONTENT_TYPE else None

    def report_end(self, error: BaseException | None = None) -> None:
        """Reports to the instrumentation how the stream ended, unless that was done before."""
        if self._watch is not None:
            self._watch.end(error, is_complete=self._state is _ENDED, parts=self.parts)

    def break_off(self, error: BaseException) -> None:
        """Ends the stream with an error, to which the facts of the stream are added."""
        if isinstance(error, AiosmrtError):
            self._add_facts(error)
            self.report_end(error)
            self._close(_FAILED, error)
        else:
            self.report_end(error)
            self.close()

    def _add_facts(self, error: AiosmrtError) -> None:
        add_call(
            error,
            INVOKE_ENDPOINT_WITH_RESPONSE_STREAM.name,
            self._endpoint_name,
            attempts=self._metadata.attempts,
            request_id=self._metadata.request_id,
        )
        if isinstance(error, EventStreamError) and not self._decoded:
            error.content_type = self._other_type()
        if isinstance(error, StreamTruncatedError):
            error.bytes_received = self._decoder.bytes_received
            error.parts_received = self.parts
            error.bytes_left = error.bytes_left or self._decoder.bytes_left

    def close(self) -> None:
        """Closes the connection, unless the stream is over. Idempotent."""
        self.report_end()
        if not self._is_over:
            # To end quietly would make a half-read answer look whole.
            reason = TransportError("The stream was closed before its end: read it first")
            self._add_facts(reason)
            self._close(_CLOSED, reason)

    def _close(self, state: StreamState, reason: AiosmrtError) -> None:
        if self._is_over:
            return
        self._state = state
        self._reason = reason
        self._decoded = self.parts
        self.ready.clear()
        self._exchange.close()
        del self._exchange

    def __del__(self) -> None:
        if not hasattr(self, "_state"):
            return
        if self._watch is not None:
            self._watch.abandon(is_complete=self._state is _ENDED, parts=self.parts)
        if self._is_over:
            return
        if not self._loop.is_closed():
            # The garbage collector may run in any thread; and a warning may be an error.
            self._loop.call_soon_threadsafe(self._exchange.close)
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
