"""Counts work, so that no test need measure time."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
