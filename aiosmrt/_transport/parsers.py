"""What a connection makes of the bytes that arrive: a response, or a fault.

Both of these stand in the place of aiohttp's parser, which the protocol of a connection
feeds, or before it.
"""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from aiosmrt._transport._aiohttp import HttpProcessingError

if TYPE_CHECKING:
    from aiohttp import StreamReader

__all__ = ["expect_nothing", "expect_response"]


class _Silence:
    """The parser of an idle connection: whatever comes is no answer, and ends it.

    A parser that has read a response would take what begins like a head for the beginning
    of the next answer's, and tell nobody.
    """

    def feed_data(self, _: bytes) -> NoReturn:
        """Refuses the bytes; the protocol closes the connection for it."""
        raise HttpProcessingError(message="Bytes came that nobody asked for")

    def feed_eof(self) -> None:
        """Nothing was begun, so nothing is incomplete."""


_silence = _Silence()


class _Response:
    """aiohttp's parser of one response, whose faults reach who reads the body.

    What aiohttp's raises is told to who waits for a head. Who waits for the body would
    wait for ever (aiohttp 3.12 to 3.14, the parser in C); and where the fault came in the
    bytes that held the head too, the head and what stood before the fault would be lost.
    """

    __slots__ = ("_has_begun", "_parser", "_payload", "_protocol")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._parser = protocol._parser
        self._payload: StreamReader | None = None
        self._has_begun = False  # a head that came in several pieces

    def __getattr__(self, name: str) -> Any:
        """The rest is the parser's own."""
        return getattr(self._parser, name)

    def feed_data(self, data: bytes) -> Any:
        """The messages whose heads are whole now, and two more facts of aiohttp's own.

        Raises:
            HttpProcessingError: The bytes are no HTTP.
        """
        try:
            fed = self._parser.feed_data(data)
        except Exception as fault:
            if self._payload is None:
                return self._feed_again(data, fault)
            self._fail(self._payload, fault)
            raise
        messages = fed[0]
        if messages:
            message, payload = messages[-1]
            if message.code >= 200:
                self._payload = payload
        else:
            self._has_begun = True
        return fed

    def _feed_again(self, data: bytes, fault: Exception) -> Any:
        """The message whose head stands before the fault, with its body up to there."""
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or self._has_begun:
            raise fault
        protocol = self._protocol
        _begin(protocol)
        parser, protocol._parser = protocol._parser, self
        fed = parser.feed_data(data[:end])
        if not fed[0] or fed[0][-1][0].code < 200:
            raise fault
        payload = fed[0][-1][1]
        self._parser, self._payload = parser, payload
        try:
            parser.feed_data(data[end:])
        except Exception as again:  # noqa: BLE001 - the same one
            self._fail(payload, again)
            protocol.force_close()
            if protocol.transport is not None:
                protocol.transport.close()
        return fed

    def _fail(self, payload: StreamReader, fault: Exception) -> None:
        payload.set_exception(fault)
        self._parser = _silence  # else the connection's end would be told in the fault's place


def _begin(protocol: Any) -> None:
    protocol.set_response_params(read_until_eof=True, auto_decompress=False)


def expect_response(protocol: Any) -> None:
    """What comes next on a connection is a response."""
    _begin(protocol)
    protocol._parser = _Response(protocol)


def expect_nothing(protocol: Any) -> None:
    """Nothing is to come next on a connection."""
    protocol._parser = _silence
