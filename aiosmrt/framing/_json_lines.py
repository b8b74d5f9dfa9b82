"""Bytes to JSON values, one on each line (JSON Lines, NDJSON).

A line that holds spaces and tabs only is skipped: LMI, for one, sends some between its
values. What Python's ``json`` reads beyond the standard, NaN and Infinity, is read
here too, because Python servers send it.
"""

from __future__ import annotations

import json
from collections import deque
from copy import copy
from typing import TYPE_CHECKING, Any

from aiosmrt.errors import InvalidMessageError
from aiosmrt.framing._decoder import NEED_DATA, PausingDecoder
from aiosmrt.framing._json_pieces import LONG, decode_in_pieces
from aiosmrt.framing._lines import LineSplitter
from aiosmrt.framing._text import MAX_LENGTH, BytesLike, decode_utf8, unfinished

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["JSONLinesDecoder", "parse_in_pieces", "parse_json", "why_not_json"]

_decode = json.JSONDecoder().decode
_raw_decode = json.JSONDecoder().raw_decode
_SPACE = " \t\n\r"


def why_not_json(error: ValueError | RecursionError, start: int = 0) -> str:
    """Says why ``json`` refused a value that begins at ``start``, without quoting it."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.rstrip(': ')} at its character {error.pos - start}"
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return "a number has too many digits"


def parse_json(text: str, kind: str, number: int) -> Any:
    """Parses the JSON text of one ``line`` or ``event``, whose number counts from 1.

    Raises:
        InvalidMessageError: It is not JSON; the error says where, and quotes nothing.
    """
    # To look for white space around a small value takes ``decode`` as long as the value does.
    stripped = text.strip(_SPACE)
    try:
        value, end = _raw_decode(stripped)
        return value if end == len(stripped) else _decode(stripped)  # which says what is wrong
    except (ValueError, RecursionError) as error:
        reason = why_not_json(error, len(text.lstrip(_SPACE)) - len(text))
    # Outside the handler: a JSONDecodeError holds the payload, and would be this
    # error's context.
    raise _malformed(kind, number, reason)


def parse_in_pieces(text: str, kind: str, number: int) -> Generator[None, None, Any]:
    """Parses as ``parse_json`` does, and stops after each step of the work."""
    stripped = text.strip(_SPACE)
    try:
        value, end = yield from decode_in_pieces(stripped)
        if end < len(stripped):
            end = len(stripped) - len(stripped[end:].lstrip(_SPACE))
            raise json.JSONDecodeError("Extra data", stripped, end)
        return value
    except (ValueError, RecursionError) as error:
        reason = why_not_json(error, len(text.lstrip(_SPACE)) - len(text))
    # Outside the handler, as in `parse_json`.
    raise _malformed(kind, number, reason)


def _malformed(kind: str, number: int, reason: str) -> InvalidMessageError:
    return InvalidMessageError(f"The JSON of {kind} {number} is malformed: {reason}")


class JSONLinesDecoder(PausingDecoder[Any]):
    """Decodes a payload of one JSON value on each line.

        decoder.receive_data(chunk)
        for value in decoder:
            ...
        decoder.receive_eof()
        for value in decoder:            # of the last line, when nothing ended it
            ...

    Lines end with CR, LF or CRLF. Iteration yields the values that are whole now; after
    more data it can be done again, and leaving it early loses nothing. ``receive_data``
    and ``receive_eof`` raise nothing for what the bytes say: iteration does, after
    every value before the fault, and again each time; data after a fault is dropped.
    Not for use by several threads at once.
    """

    __slots__ = ("_lines", "_number", "_splitter")

    def __init__(self, max_line_length: int = MAX_LENGTH) -> None:
        """Makes a decoder for one payload.

        Args:
            max_line_length: The most bytes that one line may have, its end not counted;
                64 MiB by default. It bounds what the decoder buffers.

        Raises:
            ValueError: The limit is below 1.
        """
        super().__init__()
        self._splitter = LineSplitter(max_line_length, skip_bom=True)
        self._lines: deque[bytes] | None = None  # an empty one has 700 bytes
        self._number = 0  # of lines parsed so far

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

    def step(self) -> Any:
        """Returns the next value that is whole now, after ``receive_eof`` the last one too.

        Returns:
            NEED_DATA if none is whole yet.

        Raises:
            InvalidMessageError: A line is not JSON, or not UTF-8; the text says which.
            MessageTooLargeError: A line is past the limit.
            StreamTruncatedError: The payload has ended in a line that is not JSON. The
                error's ``leftover`` holds the bytes of that line.
        """
        if self.work is not None:
            return self.go_on(self.work)
        splitter = self._splitter
        while self._lines:
            line = self._lines.popleft()
            self._number += 1
            if line.strip(b" \t"):
                if len(line) > LONG:
                    return self.go_on(self._parse_long(line, is_cut=False))
                try:
                    return self._parse(line)
                except InvalidMessageError as error:
                    self._lines = None
                    splitter.fail(error)
        self._lines = None
        if (
            splitter.ended
            and splitter.fault is None
            and (rest := splitter.take_rest()).strip(b" \t")
        ):
            self._number += 1
            if len(rest) > LONG:
                return self.go_on(self._parse_long(rest, is_cut=True))
            try:
                return self._parse(rest)
            except InvalidMessageError:
                splitter.fail(unfinished("a line", rest))
        if splitter.fault is not None:
            raise copy(splitter.fault)
        return NEED_DATA

    def _parse(self, line: bytes) -> Any:
        return parse_json(decode_utf8(line, "line", self._number), "line", self._number)

    def _parse_long(self, line: bytes, *, is_cut: bool) -> Generator[None, None, Any]:
        """Parses a line step by step; nothing ended the line where ``is_cut``."""
        number = self._number
        try:
            yield
            text = decode_utf8(line, "line", number)
            if not is_cut:
                line = b""  # nobody asks for it again: while paused, the text is held once
            yield
            return (yield from parse_in_pieces(text, "line", number))
        except InvalidMessageError as error:
            fault = unfinished("a line", line) if is_cut else error
        self._lines = None
        self._splitter.fail(fault)
        raise copy(fault)
