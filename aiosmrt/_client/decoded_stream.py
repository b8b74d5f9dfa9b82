"""A stream's parts as text, lines, events, values or tokens: decoders of `framing`, awaited."""

from __future__ import annotations

import asyncio
from typing import Generic, Literal, Protocol, TypeVar

from aiosmrt.errors import AiosmrtError
from aiosmrt.framing._decoder import NEED_DATA, PAUSED, Decoder, NeedData

__all__ = ["TURN_LENGTH", "BytesDecoder", "DecodedStream", "PayloadSource"]

# Up to ten milliseconds of the shortest lines or values. A part may hold a million: the rest
# waits while the loop's other tasks have their turn.
TURN_LENGTH = 16_384
_NOTHING = memoryview(b"")

_T = TypeVar("_T")


class PayloadSource(Protocol):
    """Where the bytes come from that are decoded."""

    async def receive_payload(self) -> bytes | None:
        """Returns the bytes that have arrived; None at the end."""
        ...

    def break_off(self, error: BaseException) -> None:
        """Ends the stream with an error."""

    def report_end(self) -> None:
        """Notes that the payload was decoded to its end."""


class BytesDecoder(Decoder[bytes]):
    """The decoder that changes nothing."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def receive_data(self, data: bytes, /) -> None:
        """Takes the next bytes; those before were taken out."""
        self._data = data

    def receive_eof(self) -> None:
        """Nothing is kept back, so nothing is left."""

    def step(self) -> bytes | Literal[NeedData.NEED_DATA]:
        """Returns what was received, unless it is empty."""
        data, self._data = self._data, b""
        return data or NEED_DATA


class DecodedStream(Generic[_T]):
    """Iterates over a stream's payload in units of its own: text, lines, events, values.

    It holds nothing: the connection is its stream's, which ``async with`` closes.

    Args:
        source: Gives the payload.
        decoder: Makes units of it.
        turn_length: The most bytes that are decoded in one turn of the loop.
    """

    __module__ = "aiosmrt"

    def __init__(
        self, source: PayloadSource, decoder: Decoder[_T], *, turn_length: int = TURN_LENGTH
    ) -> None:
        self._source = source
        self._decoder = decoder
        self._turn_length = turn_length
        self._left = _NOTHING  # of what has come, for later turns
        self._at_end = False

    def __aiter__(self) -> DecodedStream[_T]:
        return self

    async def __anext__(self) -> _T:
        """The next unit.

        Raises:
            AiosmrtError: As iterating over the stream; and InvalidMessageError where the
                payload is malformed, StreamTruncatedError (its ``leftover`` holds the
                bytes) where it ends inside a unit.
        """
        decoder = self._decoder
        try:
            while (unit := decoder.step()) is NEED_DATA or unit is PAUSED:
                if unit is PAUSED:
                    await self._give_turn()
                elif self._at_end:
                    self._source.report_end()
                    raise StopAsyncIteration
                elif self._left:
                    await self._give_turn()
                    decoder.receive_data(self._cut())
                elif (payload := await self._source.receive_payload()) is None:
                    self._at_end = True
                    decoder.receive_eof()
                elif len(payload) <= self._turn_length:
                    decoder.receive_data(payload)
                else:
                    self._left = memoryview(payload)
                    decoder.receive_data(self._cut())
        except AiosmrtError as error:
            self._source.break_off(error)
            raise
        return unit

    async def _give_turn(self) -> None:
        """Lets the loop's other tasks have their turn, in the middle of a payload."""
        try:
            await asyncio.sleep(0)
        except BaseException as error:  # a wait for bytes that is cancelled closes it too
            self._source.break_off(error)
            raise

    def _cut(self) -> bytes:
        data = bytes(self._left[: self._turn_length])
        self._left = self._left[self._turn_length :] or _NOTHING
        return data
