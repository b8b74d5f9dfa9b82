"""JSON as text: checked, cut into parts and encoded, without changing what others wrote.

A number that goes through a float comes out as another: 1.10 as 1.1, 1e400 as infinity.
So the parts of a value are handed on as the text in which they came. They are cut out of
text of any depth: `json` reads a thousand levels, or ten thousand, by the version of Python.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "UncheckedText",
    "decode_json",
    "encode_json",
    "json_elements",
    "json_members",
    "on_one_line",
]

_SPACE = " \t\n\r"
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
        raise ValueError(text[end : end + 1])
    return value


def json_members(text: str) -> dict[str, str]:
    """Cuts an object into the texts of its values, by name; of two of one name the last stays.

    Raises:
        ValueError: It is not a JSON object.
    """
    return dict(_parts(text, "{}"))


def json_elements(text: str) -> list[str]:
    """Cuts an array into the texts of its elements.

    Raises:
        ValueError: It is not a JSON array.
    """
    return [element for _, element in _parts(text, "[]")]


def _parts(text: str, brackets: str) -> Iterator[tuple[str, str]]:
    """Yields the name, which is empty in an array, and the text of each part."""
    at = _after_mark(text, 0, brackets[0])
    if not text.startswith(brackets[1], at):
        while True:
            name = ""
            if brackets == "{}":
                name, at = _raw_decode(text, at)
                at = _after_mark(text, at, ":")
            try:
                _, end = _raw_decode(text, at)
                part = text[at:end]
            except RecursionError:
                end = _after_brackets(text, at)
                part = UncheckedText(text[at:end])
            yield name, part
            at = _after_space(text, end)
            if text.startswith(brackets[1], at):
                break
            at = _after_mark(text, at, ",")
    if _after_mark(text, at, brackets[1]) != len(text):
        raise ValueError("there is more after the end")


def _after_mark(text: str, at: int, mark: str) -> int:
    """Returns where the next token begins after the one that is to come."""
    at = _after_space(text, at)
    if not text.startswith(mark, at):
        raise ValueError(f"there is no {mark} at character {at}")
    return _after_space(text, at + 1)


def _after_brackets(text: str, at: int) -> int:
    """Returns where the array or object that begins here ends, by counting brackets."""
    depth = 0
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
