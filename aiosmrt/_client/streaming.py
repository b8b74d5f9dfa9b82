"""The streamed answer: an async iterator of PayloadPart over one connection."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from aiosmrt import framing
from aiosmrt._client.decoded_stream import TURN_LENGTH, BytesDecoder, DecodedStream
from aiosmrt._client.part_reader import PartReader
from aiosmrt._protocol.deserialize import parse_stream_head
from aiosmrt._protocol.models import PayloadPart
from aiosmrt.errors import MessageTooLargeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from typing_extensions import Self

    from aiosmrt._client.stream_stats import StreamStats
    from aiosmrt._protocol.models import ResponseMetadata
    from aiosmrt._transport import Exchange
    from aiosmrt.framing._decoder import Decoder
    from aiosmrt.instrumentation._watch import CallWatch

__all__ = ["ResponseStream", "ResponseStreamCall"]

_T = TypeVar("_T")


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
        metadata: ResponseMetadata,
        endpoint_name: str,
        *,
        idle: float | None,
        started: float,
        max_length: int | None,
        join: Callable[[list[bytes]], Awaitable[bytes]],
        require_terminal: Callable[[PayloadPart], bool] | None,
        watch: CallWatch | None = None,
    ) -> None:
        self._reader = PartReader(
            exchange,
            metadata,
            endpoint_name,
            idle=idle,
            started=started,
            require_terminal=require_terminal,
            watch=watch,
        )
        self._ready = self._reader.ready
        self._max_length = max_length
        self._join = join
        self._watch = watch
        self._read_by: str | None = None
        head = parse_stream_head(metadata)
        self.content_type: str | None = head["content_type"]
        self.invoked_production_variant: str | None = head["invoked_production_variant"]
        self.custom_attributes: str | None = head["custom_attributes"]
        self.metadata: ResponseMetadata = metadata

    def __repr__(self) -> str:
        return repr(self._reader)

    @property
    def stats(self) -> StreamStats:
        """What was measured so far: times to head and first part, gaps, bytes, parts."""
        return self._reader.stats()

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
        if ready:
            return ready.pop()
        payloads = await self._reader.receive()
        if len(payloads) > 1:
            ready += map(PayloadPart, payloads[:0:-1])
        return PayloadPart(payloads[0])

    def _claim(self, reader: str) -> None:
        if self._read_by is not None:
            raise RuntimeError(
                f"This stream is read by {self._read_by}() already; it can be read once, in one way"
            )
        if self._reader.parts:
            raise RuntimeError(
                f"{reader}() cannot read a stream of which parts were taken already; "
                "it can be read once, in one way"
            )
        self._read_by = reader

    def _decode(
        self, reader: str, decoder: Decoder[_T], *, turn_length: int = TURN_LENGTH
    ) -> DecodedStream[_T]:
        self._claim(reader)
        self._reader.is_decoded = True
        return DecodedStream(self._reader, decoder, turn_length=turn_length)

    def iter_bytes(self) -> DecodedStream[bytes]:
        """Iterates over the payload as it arrives, in chunks that say nothing.

        Returns:
            An async iterator of bytes, never empty ones.

        Raises:
            RuntimeError: The stream is read already, or parts of it were taken; as with
                every ``iter_`` method.
        """
        # There is nothing to decode, so that no piece is too long for one turn of the loop.
        return self._decode("iter_bytes", BytesDecoder(), turn_length=sys.maxsize)

    def iter_text(self) -> DecodedStream[str]:
        """Iterates over the payload as text: UTF-8, no character split.

        Returns:
            An async iterator of str, never empty ones.
        """
        return self._decode("iter_text", framing.TextDecoder())

    def iter_lines(self) -> DecodedStream[str]:
        """Iterates over the payload's lines, which end at CR, LF or CRLF.

        Returns:
            An async iterator of str without their line ends; the last line needs none.
        """
        return self._decode("iter_lines", framing.LineDecoder())

    def iter_sse(self, *, done_marker: str | None = None) -> DecodedStream[framing.ServerSentEvent]:
        """Iterates over the payload's server-sent events (WHATWG HTML, 9.2).

        Args:
            done_marker: Data that is no event but the end's announcement, ``"[DONE]"``
                for OpenAI's format; it is left out. None hands out every event.

        Returns:
            An async iterator of ServerSentEvent(event, data, id, retry).
        """
        return self._decode("iter_sse", framing.SSEDecoder(done_marker=done_marker))

    def iter_json(self) -> DecodedStream[Any]:
        """Iterates over the payload's JSON values: in events, one a line, or one after the other.

        Which of these, the content type tells, else the first bytes. ``[DONE]`` is left out.

        Returns:
            An async iterator of parsed values.
        """
        return self._decode("iter_json", framing.JSONStreamDecoder(self.content_type))

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
        decoder: Decoder[framing.Token] = framing.TokenDecoder(self.content_type)
        if self._watch is not None:
            decoder = self._watch.tokens(decoder)
        return self._decode("iter_tokens", decoder)

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
        while (payload := await self._reader.receive_payload()) is not None:
            payloads.append(payload)
            length += len(payload)
            if self._max_length is not None and length > self._max_length:
                error = MessageTooLargeError("a body", length=length, limit=self._max_length)
                self._reader.break_off(error)
                raise error
        return await self._join(payloads)

    async def aclose(self) -> None:
        """Closes the connection, unless the answer has ended and it went back already.

        Idempotent. A read after it raises TransportError, except when the answer had ended.
        """
        self._reader.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


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
