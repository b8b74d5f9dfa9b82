"""Waiting for what a test has set going."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


async def until(condition: Callable[[], T], seconds: float = 60.0) -> T:
    """Lets the loop run until a function returns something true, and returns that.

    The test fails if this never happens.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not (found := condition()):
        assert loop.time() < end, "it did not come to pass"
        await asyncio.sleep(0.001)
    return found
