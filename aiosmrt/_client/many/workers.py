"""The workers that make many calls.

One rule bounds everything: a request counts from the moment it is read until its item
is handed out, and no more than the limit count at once. Memory is therefore that of
``concurrency`` requests and items however long the input is, and a consumer that
stops stops the reading.

A fixed set of tasks makes the calls; none is made for a record. They hold the
`Workers` that they share and not the `BatchItems` in the consumer's hands, so that
dropping that one can be noticed.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import Any, Generic, Literal, TypeAlias

import attrs

from aiosmrt._client.many.adaptive import AdaptiveConcurrency
from aiosmrt._client.many.items import BatchItem, OutputT
from aiosmrt._client.many.rate import RateLimit
from aiosmrt._values import is_integer
from aiosmrt.errors import AiosmrtError, ConfigurationError, ParameterValidationError

__all__ = ["Call", "ManyOptions", "Workers"]

Call: TypeAlias = Callable[[Any, Callable[[AiosmrtError], None]], Awaitable[OutputT]]
"""Makes one call of a body or an input; the function is told of every failed attempt."""


# What the source gives behind its last request.
_END: Any = object()


def _check_count(_: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value == "auto" and attribute.name == "concurrency":
        return
    if not is_integer(value) or value < 1:
        rule = "an integer of at least 1"
        rule += ", or 'auto'" if attribute.name == "concurrency" else ""
        raise ConfigurationError(f"{attribute.name} must be {rule}, not {value!r}")


def _check_on_error(_: Any, __: attrs.Attribute[Any], value: Any) -> None:
    if value not in ("return", "raise"):
        raise ConfigurationError(f"on_error must be 'return' or 'raise', not {value!r}")


@attrs.frozen(kw_only=True)
class ManyOptions:
    """How many calls are made, and what becomes of their ends.

    Attributes:
        concurrency: How many requests are under way or wait to be handed out, or
            ``auto``.
        max_concurrency: The most that ``auto`` goes to.
        rate: Requests begun a second, None for no limit.
        ordered: Whether items come in the input's order.
        on_error: ``return`` hands errors out as items; ``raise`` ends with the first.

    Raises:
        ConfigurationError: A value is not one of these.
    """

    concurrency: int | Literal["auto"] = attrs.field(default=64, validator=_check_count)
    max_concurrency: int = attrs.field(default=100, validator=_check_count)
    rate: float | None = None
    ordered: bool = False
    on_error: Literal["return", "raise"] = attrs.field(default="return", validator=_check_on_error)


class Workers(Generic[OutputT]):
    """The tasks, and what they share.

    Args:
        call: Makes one call.
        requests: What to call it with; a generator is closed at the end.
        options: How.
    """

    def __init__(
        self,
        call: Call[OutputT],
        requests: Iterable[Any] | AsyncIterable[Any],
        options: ManyOptions,
    ) -> None:
        self._call = call
        self._requests = requests
        self._ordered = options.ordered
        self._raises = options.on_error == "raise"
        self._adaptive: AdaptiveConcurrency | None = None
        self._fixed = 0
        if options.concurrency == "auto":
            self._adaptive = AdaptiveConcurrency(options.max_concurrency, now=time.monotonic())
            self._most = options.max_concurrency
        else:
            self._fixed = self._most = options.concurrency
        self._rate = None
        if options.rate is not None:
            self._rate = RateLimit(options.rate, now=time.monotonic())
        # The source, from the first item on. It is read by one task at a time, unless
        # nothing is to be waited for.
        self._source: Iterator[Any] | AsyncIterator[Any] | None = None
        self._next_at_once: Callable[[], Any] | None = None
        self._reading = asyncio.Lock()
        self._read = 0
        self._exhausted = False
        self._closed = False
        # Requests read, or about to be, whose items have not been handed out.
        self._ahead = 0
        self.in_flight = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._running = 0
        # Workers that wait until they may read on, and the consumer that waits for an item.
        self._idle: deque[asyncio.Future[None]] = deque()
        self._consumer: asyncio.Future[None] | None = None
        # Ended, to be handed out: in the order of their ends, or by index.
        self._ready: deque[BatchItem[OutputT]] = deque()
        self._early: dict[int, BatchItem[OutputT]] = {}
        self._next = 0
        # What is raised when nothing is left to be handed out.
        self._failure: BaseException | None = None

    def limit(self) -> int:
        """How many requests may be under way now."""
        return self._fixed if self._adaptive is None else self._adaptive.limit

    def state(self) -> str:
        """What a repr tells."""
        how = "closed" if self._closed else f"{self.in_flight} in flight"
        return f"{how}, {self._read} read"

    def are_unclosed(self) -> bool:
        """Whether tasks are left that nobody has ended."""
        return not self._closed and not all(task.done() for task in self._tasks)

    # What the consumer calls.

    def check(self) -> None:
        """Raises RuntimeError where no item can be waited for."""
        if self._consumer is not None:
            raise RuntimeError("another task already waits for the next item")
        if self._closed and self._failure is None:
            # To end quietly would make half the items look like all of them.
            raise RuntimeError("the items were closed before their end")

    async def next(self) -> BatchItem[OutputT]:
        """Waits for the next item; raises what ended the others, StopAsyncIteration at the end."""
        if self._loop is None:
            self._start(asyncio.get_running_loop())
        while True:
            if self._ready:
                item = self._ready.popleft()
                self._ahead -= 1
                self._wake()
                return item
            if not self._running:
                self._failure = self._failure or StopAsyncIteration()
                raise self._failure
            self._consumer = asyncio.get_running_loop().create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        if isinstance(self._requests, AsyncIterable):
            self._source = aiter(self._requests)
        else:
            self._source = iter(self._requests)
            if self._rate is None and self._adaptive is None:
                self._next_at_once = partial(next, self._source, _END)
        self._running = self._most
        self._tasks = [loop.create_task(self._work()) for _ in range(self._most)]
        for task in self._tasks:
            # Not in the coroutine: one that is cancelled before its first step has no end.
            task.add_done_callback(self._ended)

    def _ended(self, _: asyncio.Task[None]) -> None:
        self._running -= 1
        self._notify()

    async def aclose(self) -> None:
        """Cancels what is under way, and waits until it is gone."""
        self._closed = self._exhausted = True
        for task in self._tasks:
            task.cancel()
        tasks, self._tasks = self._tasks, []
        if tasks:
            await asyncio.wait(tasks)
        source, self._source = self._source, None
        # A generator would keep its files open until it is collected; what the caller
        # may still need, an iterator or a file, stays as it is.
        if inspect.isgenerator(source):
            source.close()
        elif inspect.isasyncgen(source):
            await source.aclose()

    def abandon(self) -> None:
        """Cancels the workers from wherever the garbage collector runs."""
        if self._loop is None or self._loop.is_closed():
            return
        for task in self._tasks:
            self._loop.call_soon_threadsafe(task.cancel)

    # What the workers do.

    async def _work(self) -> None:
        try:
            while (request := await self._take()) is not None:
                self._put(await self._answer(*request))
        except Exception as error:  # noqa: BLE001 - whatever it is, the consumer gets it
            self._fail(error)

    async def _take(self) -> tuple[int, Any] | None:
        """Waits for room, for the next request, and for its time; None at the end."""
        while self._ahead >= self.limit() and not self._exhausted:
            waiter = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter
        if self._exhausted:
            return None
        self._ahead += 1
        try:
            if self._next_at_once is not None:
                request = self._next_at_once()
            else:
                async with self._reading:
                    request = await self._next_in_turn()
        except Exception as error:  # noqa: BLE001 - the user's, for the consumer
            self._failure = self._failure or error
            request = _END
        if request is not _END:
            index, self._read = self._read, self._read + 1
            return index, request
        self._end_of_input()
        self._ahead -= 1
        return None

    async def _next_in_turn(self) -> Any:
        if self._exhausted:
            return _END
        if isinstance(self._source, AsyncIterator):
            request = await anext(self._source, _END)
        else:
            assert self._source is not None  # noqa: S101 - for the type checker
            request = next(self._source, _END)
        if request is not _END:
            # Read first: the end of the input is none to wait for.
            await self._pace()
        return request

    async def _pace(self) -> None:
        """Waits until the next request may begin; one worker at a time, so none waits in vain."""
        if self._adaptive is not None:
            while delay := self._adaptive.delay(time.monotonic()):  # noqa: ASYNC110 - it grows
                await asyncio.sleep(delay)
        if self._rate is not None and (delay := self._rate.reserve(time.monotonic())):
            await asyncio.sleep(delay)

    async def _answer(self, index: int, request: Any) -> BatchItem[OutputT]:
        key: Any = index
        output = error = None
        self.in_flight += 1
        started = time.perf_counter()
        try:
            if isinstance(request, tuple):
                key, request = _pair(request)  # pyright: ignore[reportUnknownArgumentType]
            output = await self._call(request, self._attempt_failed)
            attempts = output.metadata.attempts
        except AiosmrtError as raised:
            error = raised
            attempts = error.attempts
            if self._raises:
                raise
        finally:
            latency = time.perf_counter() - started
            self.in_flight -= 1
        if error is not None:
            _drop_tracebacks(error)
        if self._rate is not None and attempts > 1:
            self._rate.charge(attempts - 1)
        if self._adaptive is not None:
            if error is None:
                self._adaptive.succeeded(
                    latency if attempts == 1 else None,
                    in_flight=self.in_flight + 1,
                    now=time.monotonic(),
                )
            self._wake()
        return BatchItem(
            key=key, index=index, output=output, error=error, attempts=attempts, latency=latency
        )

    def _attempt_failed(self, error: AiosmrtError) -> None:
        if self._adaptive is not None:
            self._adaptive.failed(error, now=time.monotonic())

    def _put(self, item: BatchItem[OutputT]) -> None:
        if not self._ordered:
            self._ready.append(item)
        else:
            self._early[item.index] = item
            while self._next in self._early:
                self._ready.append(self._early.pop(self._next))
                self._next += 1
        if self._ready:
            self._notify()

    def _fail(self, error: BaseException) -> None:
        """Ends everything with an error: what is under way is of no use any more."""
        if self._failure is None:
            self._failure = error
        self._end_of_input()
        for task in self._tasks:
            task.cancel()

    def _end_of_input(self) -> None:
        self._exhausted = True
        for waiter in self._idle:
            if not waiter.done():
                waiter.set_result(None)
        self._idle.clear()

    def _wake(self) -> None:
        """Lets as many workers read on as there is room for."""
        for _ in range(min(self.limit() - self._ahead, len(self._idle))):
            waiter = self._idle.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _notify(self) -> None:
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)


def _pair(request: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(request) != 2:
        rule = "must be (key, body) or (key, input) where it has tuples"
        raise ParameterValidationError("requests", rule, length=len(request))
    return request


def _drop_tracebacks(error: BaseException) -> None:
    """Lets go of what the frames behind an error hold, bodies among it.

    An error that is kept as a value would otherwise keep them too, in cycles that wait
    for the garbage collector.
    """
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
