"""Cancellation at a suspension of one's choice."""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator

MOST_SUSPENSIONS = 200


@types.coroutine
def cancel_at(coroutine: Coroutine[Any, Any, Any], number: int) -> Generator[Any, Any, bool]:
    """Runs the coroutine as its task would, and cancels it at its n-th suspension.

    Returns:
        Whether it got that far.
    """
    task = asyncio.current_task()
    assert task is not None
    steps = coroutine.__await__()
    error: BaseException | None = None
    for suspension in range(MOST_SUSPENSIONS):
        try:
            future = steps.throw(error) if error is not None else steps.send(None)
        except StopIteration:
            return suspension > number
        error = None
        if suspension == number:
            task.cancel()
        try:
            yield future
        except BaseException as caught:  # noqa: BLE001 - the coroutine gets it
            error = caught
    raise AssertionError("it did not end")
