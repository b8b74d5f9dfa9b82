"""The requests of many calls, read one by one."""

from __future__ import annotations

import inspect
from abc import abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any

__all__ = ["ReadAhead", "Source"]


class ReadAhead(AsyncIterable[Any]):
    """Requests that are read several at a time, so that the next one is mostly at hand.

    Taking a request that is at hand needs neither a wait nor a turn among the workers.
    One task at a time waits.
    """

    @abstractmethod
    def take(self) -> Any | None:
        """Returns the next request, or None where it must be waited for."""

    @abstractmethod
    async def wait(self) -> bool:
        """Waits until there are requests to take; returns False at the end."""

    async def __aiter__(self) -> AsyncIterator[Any]:
        while await self.wait():
            while (request := self.take()) is not None:
                yield request


class Source:
    """Reads requests from any iterable, and numbers them from 0.

    Args:
        requests: The requests; nothing is asked of them before ``open``.

    Attributes:
        is_ahead: Whether one wait can bring several requests.
        read: How many requests have been read.
    """

    def __init__(self, requests: Iterable[Any] | AsyncIterable[Any]) -> None:
        self._requests: Any = requests
        self._iterator: Any = None
        self._is_async = isinstance(requests, AsyncIterable)
        self._has_ended = False
        self.is_ahead = isinstance(requests, ReadAhead)
        self.read = 0

    def open(self) -> None:
        """Begins to read."""
        if not self.is_ahead:
            self._iterator = aiter(self._requests) if self._is_async else iter(self._requests)

    def take(self) -> tuple[int, Any] | None:
        """Returns the next request with its index; None where it is not at hand."""
        if self.is_ahead:
            if (request := self._requests.take()) is None:
                return None
        elif self._is_async or self._has_ended:
            return None
        else:
            try:
                request = next(self._iterator)
            except StopIteration:
                self._has_ended = True
                return None
        self.read += 1
        return self.read - 1, request

    async def next(self) -> tuple[int, Any] | None:
        """Waits for the next request, and returns it with its index; None at the end."""
        if self.is_ahead:
            while (taken := self.take()) is None and await self._requests.wait():
                pass
            return taken
        if not self._is_async:
            return self.take()
        try:
            request = await anext(self._iterator)
        except StopAsyncIteration:
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
