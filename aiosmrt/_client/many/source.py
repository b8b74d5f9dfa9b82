"""The requests of many calls, read one by one."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, Iterable
from typing import Any

__all__ = ["Source"]


class Source:
    """Reads requests from any iterable, and numbers them from 0.

    Args:
        requests: The requests; nothing is asked of them before ``open``.

    Attributes:
        is_async: Whether the next request may have to be waited for.
        read: How many requests have been read.
    """

    def __init__(self, requests: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._requests: Any = requests
        self._iterator: Any = None
        self.is_async = isinstance(requests, AsyncIterable)
        self.read = 0

    def open(self) -> None:
        """Begins to read."""
        self._iterator = aiter(self._requests) if self.is_async else iter(self._requests)

    async def next(self) -> tuple[int, Any] | None:
        """Reads the next request, and returns its index and itself; None at the end."""
        if not self.is_async:
            return self.next_at_once()
        try:
            request = await anext(self._iterator)
        except StopAsyncIteration:
            return None
        self.read += 1
        return self.read - 1, request

    def next_at_once(self) -> tuple[int, Any] | None:
        """Does the same for requests that are not async."""
        try:
            request = next(self._iterator)
        except StopIteration:
            return None
        self.read += 1
        return self.read - 1, request

    async def aclose(self) -> None:
        """Closes a generator; an iterator or a file stays open for its owner."""
        # A generator would keep its files open until it is collected.
        if inspect.isgenerator(self._iterator):
            self._iterator.close()
        elif inspect.isasyncgen(self._iterator):
            await self._iterator.aclose()
