"""Bytes to lines, which end with CR, LF or CRLF.

The rules of this module:

- Lines are cut as bytes, by ``bytes.splitlines``, which knows these three ends and no
  other; ``str.splitlines`` would also cut at U+000B, U+000C, U+001C to U+001E, U+0085,
  U+2028 and U+2029, which JSON strings and prose may hold. In UTF-8 neither CR nor LF
  is ever part of another character.
- A CR ends its line at once, so that nobody waits for the next chunk; an LF that then
  begins that chunk belongs to it.
- An unfinished line waits in one bytearray: its time and memory grow with its length,
  not with the number of its parts.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import Literal, TypeVar

from aiosmrt._values import to_bytes
from aiosmrt.errors import EventStreamError, InvalidMessageError, MessageTooLargeError
from aiosmrt.framing._decoder import NEED_DATA, Decoder, NeedData
from aiosmrt.framing._text import (
    BOM,
    MAX_LENGTH,
    BytesLike,
    Utf8,
    decode_utf8,
    unfinished,
)

__all__ = ["LineDecoder", "LineSplitter"]

_LF, _CR = b"\n\r"
_Line = TypeVar("_Line", bytes, bytearray)


class LineSplitter:
    """Cuts bytes into lines. What the decoders of lines and of events are built on.

    Attributes:
        ended: Whether the payload has ended.
        fault: Set once a line is past its limit, or by ``fail``: nothing is cut after it.
    """

    __slots__ = ("_after_cr", "_at_start", "_max_line_length", "_rest", "ended", "fault")

    def __init__(self, max_line_length: int, *, skip_bom: bool) -> None:
        if max_line_length < 1:
            raise ValueError(f"The limit must be at least 1, not {max_line_length}")
        self._max_line_length = max_line_length
        self._rest = bytearray()
        self._after_cr = False
        self._at_start = skip_bom
        self.ended = False
        self.fault: EventStreamError | None = None

    def split(self, data: BytesLike) -> list[bytes]:
        """Takes the next bytes, and returns the lines that are whole now, without ends.

        Raises:
            TypeError: ``data`` is not bytes-like.
            RuntimeError: ``ended`` is set.
        """
        chunk = to_bytes(data)
        if self.ended:
            raise RuntimeError("receive_data() after receive_eof()")
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == _LF:
                chunk = chunk[1:]
        if not chunk or self.fault is not None:
            return []
        # No line is longer than all bytes at hand, so mostly none must be looked at.
        may_be_long = len(self._rest) + len(chunk) > self._max_line_length
        lines = chunk.splitlines()
        end = chunk[-1]
        rest = lines.pop() if end not in (_LF, _CR) else b""
        self._after_cr = end == _CR
        if rest or self._rest or self._at_start:
            self._join(lines, rest)
        if may_be_long:
            self._check(lines)
        return lines

    def _join(self, lines: list[bytes], rest: bytes) -> None:
        """Puts what was left before in front of the lines, and keeps what is left now."""
        if lines:
            if self._rest:
                self._rest += lines[0]
                lines[0] = bytes(self._rest)
                self._rest.clear()
            if self._at_start:
                lines[0] = self._without_bom(lines[0])
        self._rest += rest
        if self._at_start and len(self._rest) >= len(BOM):  # else it would count as the line's
            self._rest = self._without_bom(self._rest)

    def take_rest(self) -> bytes:
        """Returns the last line when nothing ends it; ``b""`` when there is none."""
        rest = bytes(self._rest)
        self._rest.clear()
        return self._without_bom(rest) if self._at_start else rest

    def fail(self, fault: EventStreamError) -> None:
        """Ends the stream: nothing behind a fault can be trusted, so nothing is kept."""
        # A copy, as every raise is of one: a single instance would grow a traceback
        # with each, and through it hold its decoder in a cycle.
        self.fault = copy(fault)
        self._rest.clear()

    def _without_bom(self, line: _Line) -> _Line:
        self._at_start = False
        return line.removeprefix(BOM)

    def _check(self, lines: list[bytes]) -> None:
        """Drops the first line that is past the limit, and what follows it."""
        limit = self._max_line_length
        for index, line in enumerate((*lines, self._rest)):
            if len(line) > limit:
                del lines[index:]
                self.fail(MessageTooLargeError("line", length=len(line), limit=limit))
                break


class LineDecoder(Decoder[str]):
    """Decodes a payload into lines of text, without their ends.

        decoder.receive_data(chunk)
        for line in decoder:
            ...
        decoder.receive_eof()
        for line in decoder:             # the last line, when nothing ended it
            ...

    A line ends with CR, LF or CRLF, and with nothing else. Iteration yields the lines
    that are whole now; after more data it can be done again, and leaving it early loses
    nothing. ``receive_data`` and ``receive_eof`` raise nothing for what the bytes say:
    iteration does, after every line before the fault, and again each time; data after a
    fault is dropped. A byte order mark is part of the first line, U+FEFF. Not for use
    by several threads at once.
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
        self._splitter = LineSplitter(max_line_length, skip_bom=False)
        self._lines: deque[str] = deque()
        self._number = 0  # of lines decoded so far

    def receive_data(self, data: BytesLike) -> None:
        """Takes the next bytes of the payload, of any length.

        Raises:
            TypeError: ``data`` is not bytes-like.
            RuntimeError: ``receive_eof`` was called before.
        """
        lines = self._splitter.split(data)
        waiting = len(self._lines)
        try:
            self._lines.extend(map(bytes.decode, lines))
        except UnicodeDecodeError:
            # The lines before the bad one are in the deque.
            good = len(self._lines) - waiting
            self._refuse(lines[good], self._number + good + 1)
        self._number += len(lines)

    def receive_eof(self) -> None:
        """Tells that the payload has ended; iterate once more after it."""
        self._splitter.ended = True
        rest = self._splitter.take_rest()
        utf8 = Utf8()
        text = utf8.decode(rest)
        if utf8.fault is not None:
            self._refuse(rest, self._number + 1)
        elif utf8.rest:
            self._splitter.fail(unfinished("a line", rest))
        elif text:
            self._lines.append(text)

    def step(self) -> str | Literal[NeedData.NEED_DATA]:
        """Returns the next line that is whole now, after ``receive_eof`` the last one too.

        Returns:
            NEED_DATA if none is whole yet.

        Raises:
            InvalidMessageError: A line is not UTF-8; the text says which, and where.
            MessageTooLargeError: A line is past the limit.
            StreamTruncatedError: The payload has ended inside a character. The error's
                ``leftover`` holds the bytes of that last line.
        """
        if self._lines:
            return self._lines.popleft()
        if self._splitter.fault is not None:
            raise copy(self._splitter.fault)
        return NEED_DATA

    def _refuse(self, line: bytes, number: int) -> None:
        try:
            decode_utf8(line, "line", number)
        except InvalidMessageError as error:
            self._splitter.fail(error)
