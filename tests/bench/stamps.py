"""Paced streams: when they begin, and their event, with its server's clock as its text."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EVENT", "find_stamps", "starts"]

EVENT = (
    b'data:{"index":1,"token":{"id":1234,"text":"%015.6f","logprob":-0.25,"special":false},'
    b'"generated_text":null,"details":null}\n\n'
)
_BEFORE = b'"text":"'
_LENGTH = 15


def find_stamps(data: bytes, note: Callable[[bytes], None]) -> None:
    """Hands on the clock of each event in ``data``, be it one or several."""
    at = data.find(_BEFORE)
    while at >= 0:
        at += len(_BEFORE)
        note(data[at : at + _LENGTH])
        at = data.find(_BEFORE, at + _LENGTH)


def starts(streams: int, rate: float) -> list[float]:
    """When each stream begins: seconds at random in one period, the same for every client."""
    chance = random.Random(1)
    return sorted(chance.random() / rate for _ in range(streams))
