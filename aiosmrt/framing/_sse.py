"""Bytes to server-sent events.

The rules are those of the WHATWG HTML standard, section 9.2.6, "Interpreting an event
stream" (https://html.spec.whatwg.org/multipage/server-sent-events.html):

- A byte order mark at the start is skipped. Lines end with CR, LF or CRLF; an empty one
  ends an event. A line that begins with a colon is a comment.
- A field is a name, and after the first colon its value, less one space in front.
  ``data`` adds a line, ``event`` names the event, ``id`` sets the last event ID unless
  it holds NUL, ``retry`` of ASCII digits only sets the reconnection time; others are
  ignored.
- An event without a ``data`` field is not handed out; its ``id`` and ``retry`` hold for
  the next one.

Where a browser has nobody to tell, this decoder raises: it does not replace bytes that
are not UTF-8, nor drop in silence an event that the payload's end has cut off, nor make an
answer of nothing out of lines that are no event's: an error page, or JSON Lines.
"""

from collections import deque
from copy import copy
from typing import Literal

import attrs

from aiosmrt._values import hide
from aiosmrt.errors import EventStreamError, InvalidMessageError, MessageTooLargeError
from aiosmrt.framing._decoder import NEED_DATA, Decoder, NeedData
from aiosmrt.framing._lines import LineSplitter
from aiosmrt.framing._text import MAX_LENGTH, BytesLike, decode_utf8, unfinished

__all__ = ["SSEDecoder", "ServerSentEvent"]

# More digits make no time that anyone waits, and past 4,300 int() refuses.
_MAX_RETRY_DIGITS = 18

_FIELDS = (b"data", b"event", b"id", b"retry")

# So many lines of an event are kept as they are. Then they are read and packed into one piece:
# an object of its own takes many times what a short line has, and to read all lines of a long
# event at its end would hold an event loop up.
_MANY = 1024


@attrs.frozen
class ServerSentEvent:
    """An event of a stream of server-sent events.

    Attributes:
        event: The event's name, ``message`` when it gave none.
        data: Its data, the lines joined with LF. It is the model's output, so the repr
            shows only its length.
        id: The last event ID: of this event or, when it gave none, of the last one that
            did; empty when none did.
        retry: The reconnection time in milliseconds when one was set since the event
            before, else None.
    """

    event: str = "message"
    data: str = attrs.field(default="", repr=hide)
    id: str = ""
    retry: int | None = None


class _Begun:
    """What was read of an unfinished event of many lines.

    Attributes:
        lines: The lines, packed into pieces, each line with LF.
        texts: The data in these lines, in pieces that LF would join.
        length: The bytes of the data, with such a LF after each piece.
    """

    __slots__ = ("length", "lines", "texts")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.texts: list[str] = []
        self.length = 0


class SSEDecoder(Decoder[ServerSentEvent]):
    """Decodes a payload into server-sent events.

        decoder.receive_data(chunk)
        for event in decoder:
            ...
        decoder.receive_eof()
        for event in decoder:            # raises when an event was cut off
            ...

    Iteration yields the events that are whole now; after more data it can be done
    again, and leaving it early loses nothing. ``receive_data`` and ``receive_eof``
    raise nothing for what the bytes say: iteration does, after every event before the
    fault, and again each time; data after a fault is dropped. Not for use by several
    threads at once.
    """

    __slots__ = (
        "_begun",
        "_block",
        "_done_marker",
        "_id",
        "_ignored",
        "_length",
        "_lines",
        "_max_event_length",
        "_name",
        "_number",
        "_retry",
        "_splitter",
    )

    def __init__(
        self, max_event_length: int = MAX_LENGTH, *, done_marker: str | None = None
    ) -> None:
        """Makes a decoder for one payload.

        Args:
            max_event_length: The most bytes that the lines of one event may have, their
                ends and comments not counted; 64 MiB by default. It bounds what the
                decoder buffers.
            done_marker: Data that is no event: ``[DONE]``, with which OpenAI's and
                compatible servers end a stream. It is left out, and needs no empty
                line behind it. None hands out every event.

        Raises:
            ValueError: The limit is below 1.
        """
        self._splitter = LineSplitter(max_event_length, skip_bom=True)
        self._lines: deque[bytes] | None = None  # an empty one has 700 bytes
        self._max_event_length = max_event_length
        self._done_marker = done_marker
        # The unfinished event: its first lines where there are many, the other lines, and the
        # bytes of both without LF.
        self._begun: _Begun | None = None
        self._block: list[bytes] = []
        self._length = 0
        self._number: int = 0  # of events so far
        self._name = ""  # of the last event, or of the one begun
        self._id = ""
        self._retry: int | None = None
        self._ignored = False  # whether a line was no event's

    def receive_data(self, data: BytesLike) -> None:
        """Takes the next bytes of the payload, of any length.

        Raises:
            TypeError: ``data`` is not bytes-like.
            RuntimeError: ``receive_eof`` was called before.
        """
        lines = self._splitter.split(data)
        if self._lines:
            self._lines.extend(lines)
        elif lines:
            self._lines = deque(lines)

    def receive_eof(self) -> None:
        """Tells that the payload has ended; iterate once more after it."""
        self._splitter.ended = True

    def step(self) -> ServerSentEvent | Literal[NeedData.NEED_DATA]:
        """Returns the next event; NEED_DATA if none is whole yet.

        Raises:
            InvalidMessageError: An event is not UTF-8, and the text says which; or the
                payload has ended, and there was no event, but lines that are no event's.
            MessageTooLargeError: A line or an event is past the limit.
            StreamTruncatedError: The payload has ended before the empty line that ends
                an event. The error's ``leftover`` holds that event's lines, comments
                left out.
        """
        data = self.next_data()
        if data is None:
            return NEED_DATA
        event = ServerSentEvent(self._name, data, self._id, self._retry)
        self._retry = None
        return event

    def next_data(self) -> str | None:
        """Returns the data of the next event alone; None if none is whole yet.

        Raises:
            EventStreamError: As ``step``.
        """
        lines = self._lines
        data: str | None
        while lines:
            line = lines.popleft()
            try:
                if line[:5] == b"data:" and not self._block and lines and not lines[0]:
                    # An event of one line, as a model's nearly all are.
                    lines.popleft()
                    self._name = "message"
                    value = line[6:] if line[5:6] == b" " else line[5:]
                    data = decode_utf8(value, "event", self._number + 1)
                elif line:
                    self._take(line)
                    continue
                else:
                    data = self._finish() if self._block else None
            except InvalidMessageError as error:
                self._fail(error)
                break
            if data is None:
                continue
            self._number += 1
            if data != self._done_marker:
                return data
            self._retry = None
        self._lines = None
        splitter = self._splitter
        if splitter.ended and splitter.fault is None:
            self._end()
        if splitter.fault is not None:
            raise copy(splitter.fault)
        return None

    def _take(self, line: bytes) -> None:
        """Adds a line that is not empty to the unfinished event."""
        if line.startswith(b":"):
            return
        if len(self._block) == _MANY:
            self._begin()
        self._block.append(line)
        self._length += len(line)
        limit = self._max_event_length
        if self._length > limit:
            self._fail(MessageTooLargeError("event", length=self._length, limit=limit))

    def _begin(self) -> None:
        """Reads the lines of an unfinished event that are not read yet, and packs them."""
        begun = self._begun
        if begun is None:
            begun = self._begun = _Begun()
            self._name = "message"
        lines, self._block = self._block, []
        begun.lines.append(b"\n".join(lines) + b"\n")
        data = self._read(lines)
        if data:
            joined = b"\n".join(data)
            begun.texts.append(decode_utf8(joined, "event", self._number + 1, begun.length))
            begun.length += len(joined) + 1

    def _finish(self) -> str | None:
        """Returns the data of the event that the lines taken make, None of those that make none."""
        begun = self._begun
        if begun is None:
            self._name = "message"
            lines, self._block = self._block, []
            self._length = 0
            data = self._read(lines)
            return decode_utf8(b"\n".join(data), "event", self._number + 1) if data else None
        self._begin()
        self._begun = None
        self._length = 0
        begun.lines.clear()
        return "\n".join(begun.texts) if begun.texts else None

    def _read(self, lines: list[bytes]) -> list[bytes]:
        """Reads fields, and returns the values of those that are data."""
        number = self._number + 1
        data: list[bytes] = []
        for line in lines:
            field, _, value = line.partition(b":")
            if value.startswith(b" "):
                value = value[1:]
            if field == b"data":
                data.append(value)
            elif field == b"event":
                self._name = decode_utf8(value, "event", number) or "message"
            elif field == b"id":
                if b"\0" not in value:
                    self._id = decode_utf8(value, "event", number)
            elif field == b"retry":
                if value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
                    self._retry = int(value)
            else:
                self._ignored = True
        return data

    def _end(self) -> None:
        """Refuses what the payload has ended in, but for a done marker."""
        rest = self._splitter.take_rest()
        if rest:
            try:
                self._take(rest)
            except InvalidMessageError as error:
                self._fail(error)
            if self._splitter.fault is not None:
                return
        if not self._block:
            self._refuse_no_event()
            return
        packed = [] if self._begun is None else self._begun.lines
        leftover = b"".join((*packed, b"\n".join(self._block), b"" if rest else b"\n"))
        try:
            data = self._finish()
        except InvalidMessageError:
            pass
        else:
            if data is not None and data == self._done_marker:
                self._ignored = False  # asked again, the payload has ended well still
                return
            if data is None and not (rest and any(name.startswith(rest) for name in _FIELDS)):
                self._refuse_no_event()  # an answer in one line of JSON, say, is whole
        if self._splitter.fault is None:
            self._fail(unfinished("an event", leftover))

    def _refuse_no_event(self) -> None:
        if self._ignored and not self._number:
            self._fail(InvalidMessageError("The payload has lines, but no server-sent event"))

    def _fail(self, fault: EventStreamError) -> None:
        self._splitter.fail(fault)
        if self._lines:
            self._lines.clear()  # whoever goes through them shall see that there are no more
        self._begun, self._block = None, []
