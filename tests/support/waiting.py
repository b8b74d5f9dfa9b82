"""Waiting for what a test has set going."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import aiosmrt

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = str(Path(aiosmrt.__file__).parent)

T = TypeVar("T")


def our_tasks() -> set[asyncio.Task[Any]]:
    """The tasks that run functions of the package."""
    running = {task: getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()}
    return {task for task, code in running.items() if code and PACKAGE in code.co_filename}


def our_threads() -> set[threading.Thread]:
    """The sessions' own threads that have not ended."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("aiosmrt_")}


async def turns() -> None:
    """Lets the loop see what has come for its sockets, such as the other end's closing."""
    for _ in range(10):
        await asyncio.sleep(0)


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
