"""Bytes to JSON values that follow each other: with white space between them or none.

How it stays linear. Most values lie whole in one chunk: there ``raw_decode`` finds value
and end at once. One that does not is never parsed again until it has ended, and whether
it has is found out chunk by chunk, looking at each chunk once: for arrays and objects by
the depth of brackets outside of strings, counted with the C functions of ``str``.

A number or word (``true``, ``null``) ends where white space, a bracket, a quote, a comma
or a colon follows, or the payload ends; so ``1 2`` is two values, and ``12``, ``1true``
and ``true1`` are one each, the latter two malformed, wherever a chunk ends. JSON Lines
and pretty-printed values are such payloads too.
"""

from __future__ import annotations

import json
import re
from collections import deque
from copy import copy
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from aiosmrt.errors import EventStreamError, InvalidMessageError, MessageTooLargeError
from aiosmrt.framing._decoder import NEED_DATA, PAUSED, PausingDecoder
from aiosmrt.framing._json_lines import why_not_json
from aiosmrt.framing._json_pieces import LONG, decode_in_pieces
from aiosmrt.framing._text import MAX_LENGTH, BytesLike, Utf8, unfinished

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["JSONValuesDecoder"]

_decode_whole = json.JSONDecoder().decode
_raw_decode = json.JSONDecoder().raw_decode
_NOT_SPACE = re.compile(r"[^ \t\n\r]")
_WORD_END = re.compile(r'[ \t\n\r{}\[\]",:]')
_BRACKET = re.compile(r"[{}\[\]]")
_STEP = {"{": 1, "[": 1, "}": -1, "]": -1}

_OPENING = '{["'
# What numbers, true, false, null, NaN and Infinity begin with.
_WORD_START = "-0123456789tfnNI"


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


class _Unfinished:
    """A value whose end has not come yet: its text, and the search for its end.

    Attributes:
        length: The bytes that its text has in UTF-8.
        is_enclosed: Whether brackets or quotes say where it ends.
    """

    __slots__ = (
        "_backslash",
        "_depth",
        "_in_string",
        "_kind",
        "_quotes",
        "_text",
        "is_enclosed",
        "length",
    )

    def __init__(self, first: str) -> None:
        self._kind = first
        self.is_enclosed = first in _OPENING
        self._text = StringIO()
        self._backslash = ""
        self._in_string = False
        self._quotes = 0
        self._depth = 0
        self.length = 0

    @property
    def text(self) -> str:
        return self._text.getvalue()

    def add(self, text: str) -> bool:
        """Takes the next chunk, the first from the value's first character on.

        Returns:
            Whether the value ends in it. Of a malformed one: no later than that.
        """
        self._text.write(text)
        self.length += _utf8_length(text)
        if not self.is_enclosed:
            return _WORD_END.search(text) is not None
        # Without escaped backslashes, then without escaped quotes, each quote that is
        # left begins or ends a string. A last backslash waits for what it escapes.
        text = (self._backslash + text).replace("\\\\", "").replace('\\"', "")
        self._backslash = "\\" if text.endswith("\\") else ""
        pieces = text.split('"')
        outside = pieces[1::2] if self._in_string else pieces[::2]
        self._quotes += len(pieces) - 1
        self._in_string = self._quotes % 2 == 1
        if self._kind == '"':
            return self._quotes > 1
        steps = [_STEP[bracket] for bracket in _BRACKET.findall("".join(outside))]
        # The depths in between are not kept: an object each, of brackets by the million.
        lowest = self._depth + min(accumulate(steps), default=1)
        self._depth += sum(steps)
        return lowest < 1


class JSONValuesDecoder(PausingDecoder[Any]):
    """Decodes a payload of JSON values that follow each other.

        decoder.receive_data(chunk)
        for value in decoder:
            ...
        decoder.receive_eof()
        for value in decoder:            # a last number, which only the end can end
            ...

    Iteration yields the values that are whole now; after more data it can be done
    again, and leaving it early loses nothing. ``receive_data`` and ``receive_eof``
    raise nothing for what the bytes say: iteration does, after every value before the
    fault, and again each time; data after a fault is dropped. Not for use by several
    threads at once.

    A malformed array or object is told when its brackets are closed, or when the
    payload ends. NaN and Infinity are read, as Python's ``json`` does.
    """

    __slots__ = (
        "_at_start",
        "_ended",
        "_max_value_length",
        "_number",
        "_position",
        "_text",
        "_texts",
        "_unfinished",
        "_utf8",
    )

    def __init__(self, max_value_length: int = MAX_LENGTH) -> None:
        """Makes a decoder for one payload.

        Args:
            max_value_length: The most bytes that one value may have; 64 MiB by default.
                It bounds what the decoder buffers.

        Raises:
            ValueError: The limit is below 1.
        """
        if max_value_length < 1:
            raise ValueError(f"The limit must be at least 1, not {max_value_length}")
        super().__init__()
        self._max_value_length = max_value_length
        self._utf8 = Utf8()
        self._texts: deque[str] = deque()  # not looked at yet
        self._text = ""  # the one being looked at, from _position on
        self._position = 0
        self._unfinished: _Unfinished | None = None
        self._number = 0  # of values so far
        self._at_start = True
        self._ended = False

    def receive_data(self, data: BytesLike) -> None:
        """Takes the next bytes of the payload, of any length.

        Raises:
            TypeError: ``data`` is not bytes-like.
            RuntimeError: ``receive_eof`` was called before.
        """
        if self._ended:
            raise RuntimeError("receive_data() after receive_eof()")
        text = self._utf8.decode(data)
        if text and self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        if text:
            self._texts.append(text)

    def receive_eof(self) -> None:
        """Tells that the payload has ended; iterate once more after it."""
        self._ended = True

    def step(self) -> Any:
        """Returns the next value that is whole now, after ``receive_eof`` the last one too.

        Returns:
            NEED_DATA if none is whole yet.

        Raises:
            InvalidMessageError: A value is not JSON, or the payload not UTF-8; the text
                says which value, or which byte.
            MessageTooLargeError: A value is past the limit.
            StreamTruncatedError: The payload has ended inside a value. The error's
                ``leftover`` holds the bytes of that value.
        """
        try:
            value = self._next() if self.work is None else self.go_on(self.work)
        except EventStreamError as error:
            self._fail(error)
        else:
            if value is PAUSED:
                return PAUSED
            if value is not NEED_DATA:
                self._number += 1
                return value
        if self._utf8.fault is not None:
            raise copy(self._utf8.fault)
        return NEED_DATA

    def _next(self) -> Any:
        """Returns the next value, or NEED_DATA."""
        while True:
            waiting = self._unfinished
            if waiting is not None:
                if not self._texts:
                    return self._end()
                if not waiting.add(self._texts.popleft()):
                    self._refuse_long(waiting.length)
                    continue
                self._unfinished = None
                if waiting.is_enclosed and waiting.length > LONG:
                    return self.go_on(self._decode_long(waiting))
                self._text, self._position = waiting.text, 0
            start = _NOT_SPACE.search(self._text, self._position)
            if start is not None:
                decoded = self._decode(start.start())
                if decoded is not NEED_DATA:
                    return decoded
            elif self._texts:
                self._text, self._position = self._texts.popleft(), 0
            else:
                self._text, self._position = "", 0
                return self._end()

    def _decode(self, start: int) -> Any:
        """Decodes the value that begins at ``start``; it waits when it is unfinished."""
        text = self._text
        stop = None
        if text[start] not in _OPENING:
            word_end = _WORD_END.search(text, start)
            if word_end is None and text[start] in _WORD_START:
                self._wait(start)
                return NEED_DATA
            stop = len(text) if word_end is None else word_end.start()
        try:
            value, end = _raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            reason = why_not_json(error, start)
        else:
            if stop is None or end == stop:
                if 4 * (end - start) > self._max_value_length:  # it may be too long
                    self._refuse_long(_utf8_length(text[start:end]))
                self._position = end
                return value
            reason = "a number or word goes on behind its end"
        if stop is None and self._wait(start):
            return NEED_DATA
        raise self._malformed(reason)

    def _decode_long(self, waiting: _Unfinished) -> Generator[None, None, Any]:
        """Decodes a value that has ended in the last chunk, step by step."""
        yield
        text = waiting.text
        try:
            yield
            value, end = yield from decode_in_pieces(text)
        except (ValueError, RecursionError) as error:
            reason = why_not_json(error)
        else:
            self._refuse_long(waiting.length - _utf8_length(text[end:]))
            self._text, self._position = text[end:], 0
            return value
        raise self._malformed(reason)

    def _malformed(self, reason: str) -> InvalidMessageError:
        return InvalidMessageError(f"JSON value {self._number + 1} is malformed: {reason}")

    def _wait(self, start: int) -> bool:
        """Keeps the value that begins at ``start`` for more data; False if it has ended."""
        text = self._text[start:]
        value = _Unfinished(text[0])
        if value.add(text):
            return False
        self._refuse_long(value.length)
        self._unfinished = value
        self._text, self._position = "", 0
        return True

    def _end(self) -> Any:
        """With no data left: nothing, or what only the payload's end can tell."""
        rest = self._utf8.rest
        if not self._ended or self._utf8.fault is not None:
            return NEED_DATA
        waiting, self._unfinished = self._unfinished, None
        text = "" if waiting is None else waiting.text
        # A container or string whose end has not come is no value.
        if waiting is not None and not waiting.is_enclosed and not rest:
            try:
                return _decode_whole(text)
            except (ValueError, RecursionError):
                pass  # told below, where the error's context cannot hold the payload
        if text or rest:
            raise unfinished("a JSON value", text.encode() + rest)
        return NEED_DATA

    def _refuse_long(self, length: int) -> None:
        if length > self._max_value_length:
            raise MessageTooLargeError("JSON value", length=length, limit=self._max_value_length)

    def _fail(self, fault: EventStreamError) -> None:
        self._utf8.fault = copy(fault)
        self._texts.clear()
        self._text, self._position = "", 0
        self._unfinished = None
