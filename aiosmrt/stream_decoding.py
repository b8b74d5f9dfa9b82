"""A stream's parts as text, lines, events, values or tokens: decoders of `framing`, awaited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from aiosmrt.errors import AiosmrtError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiosmrt.streaming import ResponseStream

__all__ = ["BytesDecoder", "DecodedStream", "Decoder"]

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)


class Decoder(Protocol[_T_co]):
    """What the decoders of `framing` have in common."""

    def receive_data(self, data: bytes, /) -> None:
        """Takes the next bytes."""

    def receive_eof(self) -> None:
        """Tells that there are no more."""

    def __iter__(self) -> Iterator[_T_co]:
        """Yields what is whole now."""
        ...


class BytesDecoder:
    """The decoder that changes nothing."""

    def __init__(self) -> None:
        self._data = b""

    def receive_data(self, data: bytes, /) -> None:
        """Takes the next bytes; those before were taken out."""
        self._data = data

    def receive_eof(self) -> None:
        """Nothing is kept back, so nothing is left."""

    def __iter__(self) -> Iterator[bytes]:
        """Yields what was received, unless it is empty."""
        data, self._data = self._data, b""
        if data:
            yield data


class DecodedStream(Generic[_T]):
    """Iterates over a stream's payload in units of its own: text, lines, events, values.

    It holds nothing: the connection is its stream's, which ``async with`` closes.
    """

    def __init__(self, stream: ResponseStream, decoder: Decoder[_T]) -> None:
        self._stream = stream
        self._decoder = decoder
        self._items = iter(decoder)
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
        try:
            while True:
                for item in self._items:
                    return item
                if self._at_end:
                    self._stream.tell_end(None)
                    raise StopAsyncIteration
                payload = await self._stream.receive_payload()
                if payload is None:
                    self._at_end = True
                    self._decoder.receive_eof()
                else:
                    self._decoder.receive_data(payload)
                self._items = iter(self._decoder)
        except AiosmrtError as error:
            # Asked again, it raises again: at the stream's end that would else pass for the end.
            self._items = iter(self._decoder)
            self._stream.fail(error)
            raise
