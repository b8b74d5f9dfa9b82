"""JSON as text: checked, cut into parts and encoded, without changing what others wrote.

A number that goes through a float comes out as another: 1.10 as 1.1, 1e400 as infinity.
So the parts of a value are handed on as the text in which they came. They are cut out of
text of any depth: `json` reads a thousand levels, or ten thousand, by the version of Python.
"""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

from aiosmrt.framing._json_pieces import LONG, decode_in_pieces

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = [
    "UncheckedText",
    "check_json",
    "decode_json",
    "encode_json",
    "json_elements_in_turns",
    "json_members",
    "json_members_in_turns",
    "on_one_line",
]

_SPACE = " \t\n\r"
# In a long text a value is looked for within so many characters, before it counts as long too.
_PIECES = (4_096, 65_536)
_SPACES = re.compile(f"[{_SPACE}]*")
_BRACKETS_AND_QUOTES = re.compile(r'["\[\]{}]')


class UncheckedText(str):
    """The text of a value that is nested too deeply for `json`: only its brackets are known."""

    __slots__ = ()


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python takes and JSON does not have."""
    raise ValueError(name)


# Made once: json.loads makes its own anew for such an option.
_raw_decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode


def decode_json(text: str) -> Any:
    """Parses a text that JSON's standard allows.

    Raises:
        ValueError: It is not such a text.
        RecursionError: It is nested too deeply.
    """
    # What the decoder's own `decode` does, whose two regular expressions take longer than
    # a short text.
    text = text.strip(_SPACE)
    value, end = _raw_decode(text)
    if end != len(text):
        raise ValueError("there is more after the end")
    return value


def _raw_check(text: str, at: int) -> tuple[Any, int]:
    """Does what ``raw_decode`` does, but keeps nothing of what is in an array or an object."""
    value, end = _raw_decode(text, at)
    if value and isinstance(value, list):
        value = [None]
    elif value and isinstance(value, dict):
        value = {"": None}
    return value, end


def check_json(text: str) -> Generator[None]:
    """Parses a text as `decode_json` does, and stops after each piece of a long one.

    Raises:
        ValueError: It is not such a text.
        RecursionError: It is nested too deeply.
    """
    if len(text) <= LONG:
        decode_json(text)
        return
    _, end = yield from decode_in_pieces(text, _after_space(text, 0), _raw_check)
    if _after_space(text, end) != len(text):
        raise ValueError("there is more after the end")


def json_members(text: str) -> dict[str, str]:
    """Cuts an object into the texts of its values, by name; of two of one name the last stays.

    Raises:
        ValueError: It is not a JSON object.
    """
    return dict(filter(None, _parts(text, "{}")))


def json_members_in_turns(text: str) -> Generator[None, None, dict[str, str]]:
    """Does what `json_members` does, and stops after each piece of a long text."""
    members: dict[str, str] = {}
    for part in _parts(text, "{}"):
        if part is None:
            yield
        else:
            members[part[0]] = part[1]
    return members


def json_elements_in_turns(text: str) -> Generator[None, None, list[str]]:
    """Cuts an array into the texts of its elements, and stops after each piece of a long text.

    Raises:
        ValueError: It is not a JSON array.
    """
    elements: list[str] = []
    for part in _parts(text, "[]"):
        if part is None:
            yield
        else:
            elements.append(part[1])
    return elements


def _parts(text: str, brackets: str) -> Iterator[tuple[str, str] | None]:
    """Yields the name, which is empty in an array, and the text of each part; None at a stop."""
    at = stopped_at = _after_mark(text, 0, brackets[0])
    if not text.startswith(brackets[1], at):
        while True:
            name = ""
            if brackets == "{}":
                name, at = _raw_decode(text, at)
                at = _after_mark(text, at, ":")
            try:
                end = yield from _after_value(text, at)
                part = text[at:end]
            except RecursionError:
                end = yield from _after_brackets(text, at)
                part = UncheckedText(text[at:end])
            yield name, part
            at = _after_space(text, end)
            if text.startswith(brackets[1], at):
                break
            if at - stopped_at > _PIECES[-1]:
                stopped_at = at
                yield None
            at = _after_mark(text, at, ",")
    if _after_mark(text, at, brackets[1]) != len(text):
        raise ValueError("there is more after the end")


def _after_mark(text: str, at: int, mark: str) -> int:
    """Returns where the next token begins after the one that is to come."""
    at = _after_space(text, at)
    if not text.startswith(mark, at):
        raise ValueError(f"there is no {mark} at character {at}")
    return _after_space(text, at + 1)


def _after_value(text: str, at: int) -> Generator[None, None, int]:
    """Returns where the value that begins here ends."""
    if len(text) - at > LONG:
        for length in _PIECES:
            with contextlib.suppress(ValueError, RecursionError):
                _, end = _raw_decode(text[at : at + length], 0)
                if end < length:  # else a number may go on
                    return at + end
        _, end = yield from decode_in_pieces(text, at, _raw_check)
    else:
        _, end = _raw_decode(text, at)
    return end


def _after_brackets(text: str, at: int) -> Generator[None, None, int]:
    """Returns where the array or object that begins here ends, by counting brackets."""
    depth = 0
    stopped_at = at
    while mark := _BRACKETS_AND_QUOTES.search(text, at):
        at = mark.end()
        if mark[0] == '"':
            _, at = _raw_decode(text, mark.start())
        elif mark[0] in "[{":
            depth += 1
        elif depth == 1:
            return at
        else:
            depth -= 1
        if at - stopped_at > _PIECES[0]:
            stopped_at = at
            yield
    raise ValueError("a bracket is not closed")


def _after_space(text: str, at: int) -> int:
    found = _SPACES.match(text, at)
    return at if found is None else found.end()


def on_one_line(text: bytes) -> bytes:
    """Makes of a JSON text a part of a line: its line ends, which no string holds, are spaces."""
    return text.strip().replace(b"\n", b" ").replace(b"\r", b" ")


# Made once: json.dumps makes its own anew for such options.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


def encode_json(value: Any) -> bytes:
    """Encodes a text, a number other than a float, a constant, or a dict or list of these."""
    try:
        if type(value) is int:  # most keys, for which the encoder would make a new one of its own
            return b"%d" % value
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 has no form for
        return json.dumps(value).encode()
