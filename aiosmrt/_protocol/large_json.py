"""JSON of an object that is too large for one turn of the event loop, in pieces.

`json.dumps` runs in C from beginning to end and never lets go of the interpreter: in a
thread of its own it would keep the loop's thread waiting all the same. So a large object
is cut into pieces of a millisecond or two, each of which `json.dumps` makes, and whoever
asks for them can do something else in between. Joined they are the text that `json.dumps`
would have made of the whole.
"""

# What is in a container of anybody's is not known.
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["dump_json", "is_large", "json_pieces"]

# A piece's weight: a number or a short text counts 1 and takes 0.1 to 1 µs; 256 characters
# count 1 too. The walk that finds out that an object is small takes a tenth of its dump.
_PIECE = 2_048
_CHARACTERS = 256
# Below it what is left is dumped in one: `json.dumps` is bound to fail before long.
_DEPTH = 100

dump_json = partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
"""The JSON text as it is sent: compact, no NaN (which JSON does not have)."""


def json_pieces(value: Any, most: int = _PIECE) -> Iterator[bytes]:
    """Encodes an object, which must stay as it is meanwhile, piece by piece.

    Args:
        value: The object.
        most: The weight of a piece.

    Yields:
        The next piece of its text in UTF-8.
    """
    for piece in _pieces(value, set(), most):
        yield piece.encode()


def is_large(value: Any) -> bool:
    """Whether an object's JSON is more than one piece's work."""
    return _weigh(value, _PIECE) > _PIECE


def _weigh(value: Any, most: int) -> int:
    """The weight of an object; of one that weighs more than ``most``, some number above it."""
    weight = 1
    left = [value]
    while left and weight <= most:
        value = left.pop()
        if isinstance(value, (float, int)) or value is None:
            continue
        if isinstance(value, str):
            weight += len(value) // _CHARACTERS
        elif isinstance(value, (list, tuple)):
            items: list[Any] | tuple[Any, ...] = value
            weight += len(items)
            if weight <= most:
                left.extend(items)
        elif isinstance(value, dict):
            entries: dict[Any, Any] = value
            weight += 2 * len(entries)
            if weight <= most:
                left.extend(entries)
                left.extend(entries.values())
    return weight


def _pieces(value: Any, within: set[int], most: int) -> Iterator[str]:
    """The pieces of a value that stands within containers of these ids."""
    identity = id(value)
    if identity in within:
        raise ValueError("Circular reference detected")
    if len(within) >= _DEPTH or not isinstance(value, (str, list, tuple, dict)):
        yield dump_json(value)
    elif isinstance(value, str):
        step = most * _CHARACTERS
        yield '"'
        for start in range(0, len(value), step):
            yield dump_json(value[start : start + step])[1:-1]
        yield '"'
    else:
        within.add(identity)
        if isinstance(value, dict):
            entries: dict[Any, Any] = value
            yield "{"
            yield from _pieces_of_dict(entries, within, most)
            yield "}"
        else:
            items: list[Any] | tuple[Any, ...] = value
            yield "["
            yield from _pieces_of_list(items, within, most)
            yield "]"
        within.discard(identity)


def _pieces_of_list(
    value: list[Any] | tuple[Any, ...], within: set[int], most: int
) -> Iterator[str]:
    comma = ""
    light: list[Any] = []
    total = 0
    for item in value:
        weight = _weigh(item, most)
        if light and total + weight > most:
            yield comma + dump_json(light)[1:-1]
            comma, light, total = ",", [], 0
        if weight > most:
            yield comma
            yield from _pieces(item, within, most)
            comma = ","
        else:
            light.append(item)
            total += weight
    if light:
        yield comma + dump_json(light)[1:-1]


def _pieces_of_dict(value: dict[Any, Any], within: set[int], most: int) -> Iterator[str]:
    comma = ""
    light: dict[Any, Any] = {}
    total = 0
    for key, item in value.items():
        weight = _weigh(key, most) + _weigh(item, most)
        if light and total + weight > most:
            yield comma + dump_json(light)[1:-1]
            comma, light, total = ",", {}, 0
        if weight > most:
            # The key as json.dumps writes keys, which need not be texts.
            yield comma + dump_json({key: 0})[1:-2]
            yield from _pieces(item, within, most)
            comma = ","
        else:
            light[key] = item
            total += weight
    if light:
        yield comma + dump_json(light)[1:-1]
