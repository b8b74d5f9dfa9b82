"""Bytes to JSON values, however they are framed.

A container may frame its values as server-sent events, one on each line, or one after
the other; not every one labels them rightly. So the first byte decides where it can:

- ``{`` or ``[`` begins JSON. On lines of their own when the content type says so, else
  one after the other, which reads whole lines just as well.
- What else can begin a line of server-sent events (``data``, ``event``, ``id``,
  ``retry``, or a comment's colon) cannot begin a JSON value.
- Else the content type decides, and without one of these it is JSON, if it can be.

What is neither is refused with its content type: an error page, say, or a line of text.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

from aiosmrt._values import to_bytes
from aiosmrt.errors import EventStreamError, InvalidMessageError
from aiosmrt.framing._decoder import NEED_DATA, Decoder, PausingDecoder
from aiosmrt.framing._json_lines import JSONLinesDecoder, parse_in_pieces, parse_json
from aiosmrt.framing._json_pieces import LONG
from aiosmrt.framing._json_values import JSONValuesDecoder
from aiosmrt.framing._sse import SSEDecoder
from aiosmrt.framing._text import BOM, MAX_LENGTH, BytesLike

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["JSONStreamDecoder"]

# LMI sends application/jsonlines; the others are what NDJSON and JSON Lines are called.
_JSON_LINES_TYPES = frozenset(
    {
        "application/jsonl",
        "application/jsonlines",
        "application/ndjson",
        "application/x-jsonlines",
        "application/x-ndjson",
    }
)
_SSE_STARTS = b":deir"
_JSON_STARTS = b'{["-0123456789tfnNI'
_SPACE = b" \t\r\n"

# Of a content type an error tells this much: it names what was sent, and comes from outside.
_MAX_TYPE_LENGTH = 80


class _EventValues(PausingDecoder[Any]):
    """Decodes the JSON values that are the data of server-sent events."""

    __slots__ = ("_events", "_fault", "_number")

    def __init__(self, max_length: int) -> None:
        super().__init__()
        self._events = SSEDecoder(max_length, done_marker="[DONE]")
        self._number = 0
        self._fault: EventStreamError | None = None

    def receive_data(self, data: BytesLike) -> None:
        if self._fault is None:
            self._events.receive_data(data)

    def receive_eof(self) -> None:
        self._events.receive_eof()

    def step(self) -> Any:
        if self._fault is not None:
            raise copy(self._fault)
        if self.work is not None:
            return self.go_on(self.work)
        while (data := self._events.next_data()) is not None:
            self._number += 1
            if not data.strip(" \t\n"):
                continue  # some servers keep the connection alive with empty data
            if len(data) > LONG:
                return self.go_on(self._parse_long(data))
            try:
                return parse_json(data, "event", self._number)
            except InvalidMessageError as error:
                self._fault = copy(error)
                raise
        return NEED_DATA

    def _parse_long(self, data: str) -> Generator[None, None, Any]:
        try:
            yield
            return (yield from parse_in_pieces(data, "event", self._number))
        except InvalidMessageError as error:
            self._fault = copy(error)
            raise


class JSONStreamDecoder(Decoder[Any]):
    """Decodes a payload of JSON values into them, whichever way they are framed.

        decoder = JSONStreamDecoder(content_type)
        decoder.receive_data(chunk)
        for value in decoder:
            ...
        decoder.receive_eof()
        for value in decoder:            # what only the end could tell
            ...

    Framed as server-sent events (those without data and OpenAI's ``[DONE]`` are left
    out), as JSON Lines, or as values that follow each other. Iteration yields the
    values that are whole now; after more data it can be done again, and leaving it
    early loses nothing. ``receive_data`` and ``receive_eof`` raise nothing for what the
    bytes say: iteration does, after every value before the fault, and again each time;
    data after a fault is dropped. Not for use by several threads at once.
    """

    __slots__ = (
        "_at_start",
        "_content_type",
        "_decoder",
        "_ended",
        "_fault",
        "_head",
        "_max_length",
    )

    def __init__(self, content_type: str | None = None, max_length: int = MAX_LENGTH) -> None:
        """Makes a decoder for one payload.

        Args:
            content_type: The response's content type, parameters and all; it decides
                what the first byte leaves open.
            max_length: The most bytes that one line, event or value may have; 64 MiB by
                default. It bounds what the decoder buffers.

        Raises:
            ValueError: The limit is below 1.
        """
        if max_length < 1:
            raise ValueError(f"The limit must be at least 1, not {max_length}")
        self._content_type = (content_type or "").partition(";")[0].strip().lower()
        self._max_length = max_length
        self._head = b""  # the first bytes of what may be a byte order mark
        self._at_start = True
        self._ended = False
        self._fault: EventStreamError | None = None
        self._decoder: _EventValues | JSONLinesDecoder | JSONValuesDecoder | None = None

    def receive_data(self, data: BytesLike) -> None:
        """Takes the next bytes of the payload, of any length.

        Raises:
            TypeError: ``data`` is not bytes-like.
            RuntimeError: ``receive_eof`` was called before.
        """
        if self._ended:
            raise RuntimeError("receive_data() after receive_eof()")
        if self._fault is not None:
            to_bytes(data)  # dropped
        elif self._decoder is None:
            head = self._head + to_bytes(data)
            if self._at_start and len(head) < len(BOM) and BOM.startswith(head):
                self._head = head
            else:
                self._begin(head)
        else:
            self._decoder.receive_data(data)

    def receive_eof(self) -> None:
        """Tells that the payload has ended; iterate once more after it."""
        if self._decoder is None and self._head and not self._ended:
            # The payload has ended inside a byte order mark: this one tells it.
            self._decoder = JSONValuesDecoder(self._max_length)
            self._decoder.receive_data(self._head)
        self._ended = True
        if self._decoder is not None:
            self._decoder.receive_eof()

    def step(self) -> Any:
        """Returns the next value that is whole now, after ``receive_eof`` the last one too.

        Returns:
            NEED_DATA if none is whole yet.

        Raises:
            InvalidMessageError: A value is not JSON, or the payload not UTF-8, and the
                text says where; or it is neither JSON nor server-sent events.
            MessageTooLargeError: A line, event or value is past the limit.
            StreamTruncatedError: The payload has ended too early. The error's
                ``leftover`` holds the bytes that were not handed out.
        """
        if self._fault is not None:
            raise copy(self._fault)
        return NEED_DATA if self._decoder is None else self._decoder.step()

    def _begin(self, head: bytes) -> None:
        """Picks the decoder by the first byte that is not white space, if there is one."""
        if self._at_start:
            head = head.removeprefix(BOM)
            self._at_start = False
        self._head = b""
        head = head.lstrip(_SPACE)
        if not head:
            return
        is_json = head[0] in b"{["
        if not is_json and (head[0] in _SSE_STARTS or self._content_type == "text/event-stream"):
            self._decoder = _EventValues(self._max_length)
        elif head[0] not in _JSON_STARTS:
            name = self._content_type[:_MAX_TYPE_LENGTH]
            seen = f"is {name!r}" if name else "was not told"
            self._fault = InvalidMessageError(
                f"The payload is neither JSON nor server-sent events; its content type {seen}"
            )
            return
        elif self._content_type in _JSON_LINES_TYPES:
            self._decoder = JSONLinesDecoder(self._max_length)
        else:
            self._decoder = JSONValuesDecoder(self._max_length)
        self._decoder.receive_data(head)
