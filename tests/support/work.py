"""Counts work, so that no test need measure time."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Calls:
    count = 0


@contextmanager
def counted_calls() -> Iterator[Calls]:
    """Counts the calls that this thread makes, of functions written in C too."""
    calls = Calls()

    def note(_frame: object, event: str, _argument: Any) -> None:
        if event in ("call", "c_call"):
            calls.count += 1

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


@contextmanager
def counted_steps() -> Iterator[Callable[[], int]]:
    """Gives what returns how often this thread has called and returned since."""
    steps = 0

    def note(*_: object) -> None:
        nonlocal steps
        steps += 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield lambda: steps
    finally:
        sys.setprofile(before)


_RAW_DECODE = json.JSONDecoder.raw_decode.__code__


@contextmanager
def parsed_lengths() -> Iterator[list[int]]:
    """Lists how many characters each call of a JSON decoder's ``raw_decode`` has parsed.

    A call that failed is counted as if it had read to the text's end.
    """
    lengths: list[int] = []

    def note(frame: FrameType, event: str, returned: Any) -> None:
        if frame.f_code is _RAW_DECODE:
            start = frame.f_locals["idx"]
            if event == "call":
                lengths.append(len(frame.f_locals["s"]) - start)
            elif event == "return" and returned is not None:
                lengths[-1] = returned[1] - start

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield lengths
    finally:
        sys.setprofile(before)
