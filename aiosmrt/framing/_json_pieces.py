"""JSON values that are too long for one turn of an event loop, parsed piece by piece.

Python's ``json`` parses in C from beginning to end and never lets go of the interpreter: in
a thread of its own it would keep the loop's thread waiting all the same. So a long value is
cut into pieces of about a millisecond, and ``json`` parses each:

- A run of elements up to a comma, put into brackets. When ``json`` reads such a piece up to
  the added bracket, the comma was the container's own and stood in no string. When it stops
  before, the container has ended. When it fails, commas further in front are tried.
- Else the elements one by one, those that end within the piece.
- An array or object that does not: its elements in turn.
- A string that does not: piece by piece, cut beside its escapes.

Values and errors are those that ``json`` has for the whole. Pieces become shorter where
cutting fails and longer where it succeeds, so that the work grows with the length, however
deep the containers stand in each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from typing import Any, NoReturn, TypeAlias

__all__ = ["LONG", "LONGEST", "SHORTEST", "Parsing", "decode_in_pieces"]

# Up to so many characters a value is parsed in one.
LONG = 131_072

# Stops after each piece; returns the value, and where it ends.
Parsing: TypeAlias = Generator[None, None, tuple[Any, int]]

LONGEST = 65_536
SHORTEST = 256
# At so many containers within each other, and at each multiple, `json` is asked whether it
# would go as deep.
_DEPTH = 256
# So many commas of a piece are tried: the last may stand in a string, or in a container that
# stands in another.
_CUTS = 3

# Returns the value that begins at a place of a text, and where it ends.
RawDecode: TypeAlias = Callable[[str, int], tuple[Any, int]]

_raw_decode: RawDecode = json.JSONDecoder().raw_decode
_space = re.compile(rf"[ \t\n\r]{{1,{LONGEST}}}").match
_CLOSING = {"[": "]", "{": "}"}

# What was taken last, as the shortest JSON that leaves `json` at the same place: what `json`
# says of the text after it is what it would say of the whole.
_ARRAY, _ITEM, _NEXT_ITEM = "[", "[null", "[null,"
_OBJECT, _KEY, _COLON, _ENTRY, _NEXT_ENTRY = "{", '{""', '{"":', '{"":null', '{"":null,'
_BEFORE_RUN = frozenset({_ARRAY, _NEXT_ITEM, _OBJECT, _NEXT_ENTRY})
_BEFORE_VALUE = frozenset({_ARRAY, _NEXT_ITEM, _COLON})
_BEFORE_COMMA = frozenset({_ITEM, _ENTRY})
_BEFORE_MARK = frozenset({_ITEM, _ENTRY, _KEY})
_BEFORE_END = frozenset({_ARRAY, _ITEM, _OBJECT, _ENTRY})
_WORD_STARTS = frozenset("-0123456789tfnNI")


def decode_in_pieces(text: str, start: int = 0, raw_decode: RawDecode = _raw_decode) -> Parsing:
    """Decodes the value that begins at ``start``, as ``JSONDecoder.raw_decode`` does.

    Args:
        text: The text that has the value.
        start: Where the value begins.
        raw_decode: That of a decoder which may refuse constants or make other numbers.

    Raises:
        ValueError: As ``raw_decode``: a JSONDecodeError, or that of a number too long for int.
        RecursionError: As ``raw_decode``, but for somewhat deeper containers.
    """
    first = text[start : start + 1]
    if first == '"':
        return (yield from _string(text, start))
    if first not in _CLOSING:
        return raw_decode(text, start)
    walk = _Walk(text, start, raw_decode)
    while walk.open:
        if walk.looked_at >= LONGEST:
            walk.looked_at = 0
            yield
        if not walk.take_run():
            walk.take_elements()
        if walk.long_string is not None:
            value, end = yield from _string(text, walk.long_string)
            walk.put(value, end)
    return walk.value, walk.at


def _string(text: str, start: int) -> Parsing:
    """Decodes the string whose quote is at ``start``."""
    pieces: list[str] = []
    at = start + 1
    while True:
        piece = text[at : at + LONGEST]
        is_last = at + len(piece) == len(text)
        if not is_last:
            piece = _without_cut_escape(piece) + '"'
        try:
            value, end = _raw_decode('"' + piece, 0)
        except json.JSONDecodeError as error:
            place = at + error.pos - 1 if error.pos else start
            message = error.msg
        else:
            if is_last or end <= len(piece):
                pieces.append(value)
                return "".join(pieces), at + end - 1
            at += len(piece) - 1
            if "\ud800" <= value[-1] <= "\udbff":
                # Half of a surrogate pair, from an escape of six characters: the other half
                # may follow.
                value = value[:-1]
                at -= 6
            pieces.append(value)
            yield
            continue
        raise json.JSONDecodeError(message, text, place)


def _without_cut_escape(piece: str) -> str:
    """The piece less the escape that its end has cut."""
    if _ends_in_backslash(piece):
        return piece[:-1]
    at = piece.rfind("\\u", len(piece) - 5)
    return piece[:at] if at >= 0 and _ends_in_backslash(piece[: at + 1]) else piece


def _ends_in_backslash(text: str) -> bool:
    """Whether the last character is a backslash that begins an escape."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


class _Walk:
    """A walk through a container and those in it.

    Attributes:
        value: The outermost container.
        open: The containers that have begun and not ended, the innermost last.
        at: Where the last thing that was taken has ended.
        long_string: Where a string begins that does not end within its piece, and is to be
            put next; None where there is none.
        looked_at: How many characters were looked at, some more than once.
    """

    __slots__ = (
        "_after",
        "_key",
        "_raw_decode",
        "_text",
        "_width",
        "at",
        "long_string",
        "looked_at",
        "open",
        "value",
    )

    def __init__(self, text: str, start: int, raw_decode: RawDecode) -> None:
        self._text = text
        self._raw_decode = raw_decode
        self._width = LONGEST
        self._after = text[start]
        self._key = ""  # of the next value
        self.value: list[Any] | dict[str, Any] = [] if self._after == _ARRAY else {}
        self.open: list[list[Any] | dict[str, Any]] = [self.value]
        self.at = start + 1
        self.long_string: int | None = None
        self.looked_at = 0

    def take_run(self) -> bool:
        """Takes the elements up to one of the last commas of the next piece.

        Returns:
            Whether any were taken; False where no comma that was tried is the container's own.
        """
        if self._after not in _BEFORE_RUN:
            return False
        bracket = self._after[0]
        cut = self._text.rfind(",", self.at, self.at + self._width)
        for _ in range(_CUTS):
            if cut <= self.at:
                return False
            run = bracket + self._text[self.at : cut] + _CLOSING[bracket]
            self.looked_at += len(run)
            try:
                value, end = self._raw_decode(run, 0)
            except json.JSONDecodeError as error:
                cut = self._earlier_cut(cut, error)
                continue
            except (ValueError, RecursionError):
                return False
            if not value:
                return False
            container = self.open[-1]
            if isinstance(container, list):
                container += value
            else:
                container.update(value)
            if end < len(run):  # the container has ended before the cut
                self._close(self.at + end - 2)
            else:
                self._after = _NEXT_ITEM if bracket == _ARRAY else _NEXT_ENTRY
                self.at = cut + 1
            self._width = min(2 * self._width, LONGEST)
            return True
        return False

    def _earlier_cut(self, cut: int, error: json.JSONDecodeError) -> int:
        """Finds the last comma before the string, or else behind a container, that was cut."""
        if error.msg.startswith("Unterminated string"):
            return self._text.rfind(",", self.at, self.at + error.pos - 1)
        ends = [self._text.rfind(end, self.at, cut) for end in ("],", "},")]
        return max(ends) + 1

    def take_elements(self) -> None:
        """Takes what lies whole in the next piece, up to where a container begins or ends."""
        text, start = self._text, self.at
        piece = ""
        while self.at < start + self._width:
            after = self._after
            space = _space(text, self.at)
            place = self.at if space is None else space.end()
            if place - self.at >= LONGEST:  # there may be more of it
                self.looked_at += place - self.at
                self.at = place
                return
            first = text[place : place + 1]
            if first == _CLOSING[after[0]] and after in _BEFORE_END:
                self._close(place)
                return
            if (first == "," and after in _BEFORE_COMMA) or (first == ":" and after == _KEY):
                self._after = after + first
                self.at = place + 1
            elif (first == '"' and after not in _BEFORE_MARK) or (
                first in _CLOSING and after in _BEFORE_VALUE
            ):
                if not piece:
                    piece = text[start : start + self._width]
                    self.looked_at += len(piece)
                try:
                    value, end = self._raw_decode(piece, place - start)
                except (ValueError, RecursionError):
                    if self.at == start:
                        self._width = max(self._width // 4, SHORTEST)
                        self._begin(first, place)
                    return  # else it is the first of the next piece
                self.put(value, start + end)
            elif first in _WORD_STARTS and after in _BEFORE_VALUE:
                self.put(*self._raw_decode(text, place))
            else:
                self._refuse(place)
        self._width = min(2 * self._width, LONGEST)

    def put(self, value: Any, end: int) -> None:
        """Puts the next key or value, which ends at ``end``, into the innermost container."""
        self.at = end
        self.long_string = None
        container = self.open[-1]
        if isinstance(container, list):
            container.append(value)
            self._after = _ITEM
        elif self._after == _COLON:
            container[self._key] = value
            self._after = _ENTRY
        else:
            self._key = value
            self._after = _KEY

    def _begin(self, first: str, place: int) -> None:
        """Begins what does not end within its piece, a string or a container."""
        if first == '"':
            self.long_string = place
            return
        container: list[Any] | dict[str, Any] = [] if first == _ARRAY else {}
        self.put(container, place + 1)
        self._after = first
        self.open.append(container)
        if not len(self.open) % _DEPTH:
            _raw_decode("[" * len(self.open) + "]" * len(self.open), 0)

    def _close(self, place: int) -> None:
        """Ends the innermost container."""
        self.at = place + 1
        self.open.pop()
        if self.open:
            self._after = _ITEM if isinstance(self.open[-1], list) else _ENTRY

    def _refuse(self, place: int) -> NoReturn:
        """Raises what ``json`` does of the character at ``place``, or of the end there."""
        try:
            _raw_decode(self._after + self._text[self.at : place + 1], 0)
        except json.JSONDecodeError as error:
            position = self.at + error.pos - len(self._after)
            raise json.JSONDecodeError(error.msg, self._text, position) from None
        raise AssertionError("json takes what the walk does not")
