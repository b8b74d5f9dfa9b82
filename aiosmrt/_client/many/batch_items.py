"""The iterator over many calls, in the consumer's hands."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from aiosmrt._client.many.items import BatchItem, OutputT
from aiosmrt._client.many.workers import Workers
from aiosmrt._protocol.inputs import (
    InvokeEndpointInput,
    InvokeEndpointWithResponseStreamInput,
)
from aiosmrt._protocol.models import Body
from aiosmrt.errors import ParameterValidationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from typing_extensions import Self

    from aiosmrt._client.many.workers import Call, ManyOptions

__all__ = ["BatchItems", "InvokeRequest", "StreamRequest", "give_all"]

InvokeRequest: TypeAlias = Body | InvokeEndpointInput | tuple[Any, Body | InvokeEndpointInput]
"""What ``invoke_many`` reads: a body, an input, or ``(key, either)``."""

StreamRequest: TypeAlias = (
    Body
    | InvokeEndpointWithResponseStreamInput
    | tuple[Any, Body | InvokeEndpointWithResponseStreamInput]
)
"""What ``stream_many`` reads: a body, an input, or ``(key, either)``."""


class BatchItems(Generic[OutputT]):
    """The items of many calls, as they come; made by ``invoke_many`` and ``stream_many``.

        async with session.invoke_many("my-endpoint", bodies) as items:
            async for item in items: ...

    Nothing is read or sent before the first item is asked for. If you may leave the loop
    before its end, use ``async with`` or call ``aclose``: that cancels the calls under way,
    as cancelling the task that waits for an item does. One task at a time may wait.

    Args:
        call: Makes one call.
        requests: What to call it with; a generator is closed at the end.
        options: How.

    Raises:
        ParameterValidationError: ``requests`` is not an iterable of requests.
    """

    __module__ = "aiosmrt"

    def __init__(
        self,
        call: Call[OutputT],
        requests: Iterable[Any] | AsyncIterable[Any],
        options: ManyOptions,
    ) -> None:
        # One body is iterable too, into numbers or letters.
        if isinstance(requests, (bytes, bytearray, memoryview, str)) or not isinstance(
            requests, (Iterable, AsyncIterable)
        ):
            rule = f"must be an iterable of bodies, not {type(requests).__name__}"
            raise ParameterValidationError("requests", rule)
        self._workers = Workers(call, requests, options)

    def __repr__(self) -> str:
        return f"<BatchItems, {self._workers}>"

    @property
    def concurrency(self) -> int:
        """How many requests may be under way now; it changes with ``auto`` only."""
        return self._workers.pace.limit

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._workers.in_flight

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchItem[OutputT]:
        """The next item.

        Raises:
            AiosmrtError: The first error, with ``on_error="raise"``.
            Exception: What ``requests``, or a function of the retry policy, raised;
                after all items of what was read before it.
            RuntimeError: ``aclose`` was called before the end, another task waits, or a
                task that makes the calls was cancelled from outside.
            BaseException: What else has ended such a task.
        """
        workers = self._workers
        workers.check_alone()
        if not workers.has_item():
            try:
                await workers.wait_for_item()
            except BaseException:
                await workers.aclose()
                raise
        return workers.take_item()

    async def aclose(self) -> None:
        """Cancels what is under way, and waits until it is gone. Idempotent."""
        await self._workers.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        workers: Workers[OutputT] | None = getattr(self, "_workers", None)
        if workers is None or not workers.are_unclosed():
            return
        warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)
        workers.abandon()


async def give_all(
    items: BatchItems[OutputT],
    receive: Callable[[BatchItem[OutputT]], None],
    prepare: Callable[[BatchItem[OutputT]], Awaitable[None] | None] | None = None,
) -> None:
    """Calls a function with each item as it comes, in place of an ``async for``.

    No task has to be woken for an item, and a request whose item the function has been given
    no longer counts as read ahead. What the function raises cancels the calls under way, and
    is raised.

    Args:
        items: The items.
        receive: Gets each item.
        prepare: Is called with each item before that; what it returns is waited for, while
            other calls go on. For work that takes more than one turn of the loop.
    """
    workers = items._workers  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - same module
    await workers.give_all(receive, prepare)
