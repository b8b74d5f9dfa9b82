"""Three readers of HTTP/1.1 responses behind one function each: ours, aiohttp's and h11."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import h11
from aiohttp import _http_parser
from aiohttp.http_exceptions import HttpProcessingError

from aiosmrt._transport._http1 import IncompleteResponseError, ResponseReader

if TYPE_CHECKING:
    from collections.abc import Iterable


class Outcome(NamedTuple):
    """What our reader makes of bytes, and of the connection's end after them."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_complete: bool
    keeps: bool  # the connection, before its end
    fault: str | None  # as its type and its text
    begun: bool


def bytewise(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def outcome(chunks: Iterable[bytes], *, reuse: bool = False) -> Outcome:
    """Reads chunks, and takes what has come after each.

    Args:
        chunks: The bytes.
        reuse: Each chunk comes in the same memory, which is overwritten once it was read.
    """
    reader = ResponseReader()
    reader.expect_response()
    body = bytearray()
    memory = bytearray()
    for chunk in chunks:
        if not chunk:
            continue
        if reuse:
            memory[:] = chunk  # BufferError: a view of what was there is kept
            with memoryview(memory) as view:
                reader.receive_data(view)
            memory[:] = b"\xff" * len(chunk)
        else:
            reader.receive_data(chunk)
        buffered = reader.buffered
        pieces = reader.take()
        assert all(type(piece) is bytes and piece for piece in pieces)
        assert buffered == sum(map(len, pieces))
        assert (reader.buffered, reader.take()) == (0, [])
        body += b"".join(pieces)
    keeps = not reader.should_close
    was_complete, had_fault = reader.is_complete, reader.fault
    assert was_complete or keeps or had_fault or reader.status_code
    reader.receive_eof()
    assert reader.should_close
    assert reader.is_complete >= was_complete
    assert reader.is_complete or reader.fault
    if had_fault:
        assert reader.fault is had_fault
    fault = reader.fault
    assert fault is None or fault.__traceback__ is fault.__context__ is None
    return Outcome(
        reader.status_code,
        list(reader.headers.items()),
        bytes(body),
        reader.is_complete,
        keeps,
        None if fault is None else f"{type(fault).__name__}: {fault}",
        reader.has_begun,
    )


class Reading(NamedTuple):
    """A response that a reader has accepted, whole."""

    end: int  # how many bytes belong to it
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    keeps: bool


class Refusal(NamedTuple):
    """Why a reader does not accept a response; None: the bytes end before it does."""

    reason: str | None


def read_by_us(data: bytes) -> Reading | Refusal:
    reader = ResponseReader()
    reader.expect_response()
    body = bytearray()
    keeps, end = True, len(data)
    for at, byte in enumerate(bytewise(data)):
        reader.receive_data(byte)
        body += b"".join(reader.take())
        if reader.is_complete or reader.fault:
            keeps, end = not reader.should_close, at + 1
            break
        if reader.status_code:
            keeps = not reader.should_close
    else:
        reader.receive_eof()
    if not reader.is_complete:
        cut = isinstance(reader.fault, IncompleteResponseError)
        return Refusal(None if cut else str(reader.fault))
    headers = list(reader.headers.items())
    return Reading(end, reader.status_code, headers, bytes(body), keeps)


class _Loop:
    def get_debug(self) -> bool:
        return False


class _Protocol:
    """What a StreamReader asks of its protocol."""

    _reading_paused = False

    def pause_reading(self) -> None:
        raise AssertionError("nothing is as long as the limit")

    def resume_reading(self, *_: object, **__: object) -> None:
        pass


def read_by_llhttp(data: bytes, *, strict: bool) -> Reading | Refusal:
    """Reads byte by byte, so that the last one of the response is seen.

    Args:
        data: The bytes.
        strict: As aiohttp has it in Python's development mode; otherwise as it has it for
            users.
    """
    was = _http_parser.DEBUG
    _http_parser.DEBUG = strict
    try:
        parser = _http_parser.HttpResponseParser(
            _Protocol(), _Loop(), 2**30, read_until_eof=True, auto_decompress=False
        )
    finally:
        _http_parser.DEBUG = was
    found: tuple[Any, Any] | None = None
    end = len(data)
    try:
        for at, byte in enumerate(bytewise(data)):
            messages, is_upgrade, _ = parser.feed_data(byte)
            for message in messages:
                if message[0].code == 101:
                    return Refusal("switched")
                if not 100 <= message[0].code < 200:
                    found = message
            if is_upgrade:
                return Refusal("switched")
            if found is not None and found[1].is_eof():
                end = at + 1
                break
        else:
            parser.feed_eof()
    except HttpProcessingError as error:
        message = f"{type(error).__name__}: {error}"
        return Refusal(None if "Not enough data" in message else message)
    if found is None or not found[1].is_eof():
        return Refusal(None)
    head, payload = found
    body = b"".join(getattr(payload, "_buffer", []))
    return Reading(end, head.code, list(head.headers.items()), body, not head.should_close)


def read_by_h11(data: bytes) -> Reading | Refusal:
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=2**20)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = bytearray()
    eof = False
    try:
        if data:
            connection.receive_data(data)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if eof:
                    return Refusal(None)
                connection.receive_data(b"")
                eof = True
            elif isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            elif not isinstance(event, h11.InformationalResponse):
                return Refusal(None)  # the connection has ended, or is paused
    except h11.RemoteProtocolError as error:
        cut = "closed connection" in str(error)
        return Refusal(None if cut else str(error))
    assert head is not None
    left, _ = connection.trailing_data
    headers = [
        (name.decode(), value.decode("utf-8", "surrogateescape"))
        for name, value in head.headers.raw_items()
    ]
    # With `until the end` h11 knows that the connection cannot go on without saying so.
    keeps = connection.their_state is h11.DONE and not eof
    return Reading(len(data) - len(left), head.status_code, headers, bytes(body), keeps)
