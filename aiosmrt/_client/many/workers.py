"""The tasks that make many calls, and what they share.

One rule bounds everything: a request counts from the moment it is read until its item
is handed out, and no more than the limit count at once. Memory is therefore that of
``concurrency`` requests and items however long the input is, and a consumer that
stops stops the reading.

A fixed set of tasks makes the calls; none is made for a record. They hold the
`Workers` that they share and not the `BatchItems` in the consumer's hands, so that
dropping the latter can be noticed.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import time
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Any, Generic, Literal, TypeAlias

import attrs

from aiosmrt._client.many.items import BatchItem, OutputT
from aiosmrt._client.many.pace import Clock, Pace
from aiosmrt._client.many.source import Source
from aiosmrt._values import is_integer
from aiosmrt.errors import AiosmrtError, ConfigurationError, ParameterValidationError

__all__ = ["Call", "ManyOptions", "Workers"]

Call: TypeAlias = Callable[[Any, Callable[[AiosmrtError], None]], Awaitable[OutputT]]
"""Makes one call of a body or an input; the function gets the error of every failed attempt."""


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
        clock: The clock that ``auto`` and ``rate`` go by.

    Raises:
        ConfigurationError: A value is not one of these.
    """

    concurrency: int | Literal["auto"] = attrs.field(validator=_check_count)
    max_concurrency: int = attrs.field(validator=_check_count)
    rate: float | None = None
    ordered: bool = False
    on_error: Literal["return", "raise"] = attrs.field(default="return", validator=_check_on_error)
    clock: Clock = attrs.field(factory=Clock)


class _State(enum.Enum):
    """The states of `Workers`.

    NEW, RUNNING, DRAINING and ENDED follow one another. An error leads from RUNNING or
    DRAINING to FAILED, and from there to ENDED. Any state but ENDED can become CLOSED.
    """

    NEW = "new"
    """Nothing has been read."""
    RUNNING = "running"
    """Requests are read, and calls made."""
    DRAINING = "draining"
    """The requests have ended; the calls under way go on."""
    FAILED = "failed"
    """An error has cancelled the calls; the items that are ready come before it."""
    ENDED = "ended"
    """The consumer has all items, and the error if there was one."""
    CLOSED = "closed"
    """The consumer gave up before the end."""


class Workers(Generic[OutputT]):
    """The tasks that make the calls, and what they share.

    Args:
        call: Makes one call.
        requests: What to call it with; a generator is closed at the end.
        options: How.

    Attributes:
        pace: How many calls are made at once.
        in_flight: How many calls are under way.
    """

    def __init__(
        self,
        call: Call[OutputT],
        requests: Iterable[Any] | AsyncIterable[Any],
        options: ManyOptions,
    ) -> None:
        self._call = call
        self._source = Source(requests)
        self.pace = Pace(options.concurrency, options.max_concurrency, options.rate, options.clock)
        self._ordered = options.ordered
        self._raises = options.on_error == "raise"
        # Whether a worker waits for the next request, or for its time.
        self._is_reading = False
        self._state = _State.NEW
        # Raised when no item is left.
        self._error: BaseException | None = None
        self._tasks: list[asyncio.Task[None]] = []
        # Requests read, or about to be, whose items have not been handed out.
        self._ahead = 0
        self.in_flight = 0
        # Workers that wait for room or for their turn, and the consumer that waits for an item.
        self._idle: deque[asyncio.Future[None]] = deque()
        self._consumer: asyncio.Future[None] | None = None
        # Items to hand out, and with `ordered` those that wait for the one of index `_next`.
        self._ready: deque[BatchItem[OutputT]] = deque()
        # The function that gets the items in place of the queue.
        self._receive: Callable[[BatchItem[OutputT]], None] | None = None
        # The function that begins what an item needs before that.
        self._prepare: Callable[[BatchItem[OutputT]], Awaitable[None] | None] | None = None
        self._early: dict[int, BatchItem[OutputT]] = {}
        self._next = 0

    def __str__(self) -> str:
        return f"{self._state.value}, {self.in_flight} in flight, {self._source.read} read"

    # What the consumer calls.

    def check_alone(self) -> None:
        """Raises RuntimeError if a task waits for an item already."""
        if self._consumer is not None:
            raise RuntimeError("another task already waits for the next item")

    def has_item(self) -> bool:
        """Whether an item can be taken without a wait."""
        return bool(self._ready)

    def take_item(self) -> BatchItem[OutputT]:
        """Returns the next item, and lets a worker read on in its place."""
        self._ahead -= 1
        self._wake(1)
        return self._ready.popleft()

    async def wait_for_item(self) -> None:
        """Waits for an item; raises what ended the others, StopAsyncIteration at the end."""
        while not self._ready:
            if self._state is _State.NEW:
                self._start()
                continue  # eager tasks may have given items already
            if self._state is not _State.RUNNING:
                self._raise_end()
            self._consumer = asyncio.get_running_loop().create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None

    async def give_all(
        self,
        receive: Callable[[BatchItem[OutputT]], None],
        prepare: Callable[[BatchItem[OutputT]], Awaitable[None] | None] | None,
    ) -> None:
        """Calls functions with each item, then closes; raises what ended them, or they raised."""
        self._receive, self._prepare = receive, prepare
        try:
            with contextlib.suppress(StopAsyncIteration):
                await self.wait_for_item()
        finally:
            await self.aclose()
            # They may hold the items, which hold the workers.
            self._receive = self._prepare = None

    def are_unclosed(self) -> bool:
        """Whether tasks are left that nobody has ended."""
        return not all(task.done() for task in self._tasks)

    async def aclose(self) -> None:
        """Cancels what is under way, and waits until it is gone."""
        self._close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
            # After the wait, which may be cancelled and begun again. A cancelled task keeps its
            # error, and with it the frames that hold the request.
            self._tasks.clear()
        await self._source.aclose()

    def abandon(self) -> None:
        """Cancels the workers from wherever the garbage collector runs."""
        self._close()
        for task in self._tasks:
            if not task.get_loop().is_closed():
                task.get_loop().call_soon_threadsafe(task.cancel)

    # The transitions from state to state.

    def _start(self) -> None:
        self._state = _State.RUNNING
        self._source.open()
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self.pace.most)]
        for task in self._tasks:
            # Not in the coroutine: one that is cancelled before its first step has no end.
            task.add_done_callback(self._worker_ended)

    def _drain(self, error: Exception | None) -> None:
        """Ends the reading, and lets idle workers end; the error is what the requests raised."""
        if self._state is _State.RUNNING:
            self._state = _State.DRAINING
            self._error = error
            for waiter in self._idle:
                if not waiter.done():
                    waiter.set_result(None)
        self._notify()

    def _fail(self, error: BaseException) -> None:
        """Ends all calls: nobody needs their outputs any more."""
        if self._state in (_State.RUNNING, _State.DRAINING):
            self._state = _State.FAILED
            if self._error is None:
                self._error = error
            for task in self._tasks:
                task.cancel()
            self._notify()

    def _raise_end(self) -> None:
        """Raises what the consumer gets when no item can come any more."""
        if self._state is _State.CLOSED:
            # To end quietly would make half the items look like all of them.
            raise RuntimeError("the items were closed before their end")
        if self._state is _State.FAILED or (self._state is _State.DRAINING and not self._ahead):
            self._state = _State.ENDED
        if self._state is _State.ENDED:
            raise StopAsyncIteration if self._error is None else self._error

    def _close(self) -> None:
        """Gives up what the consumer has not been given."""
        if self._state is not _State.ENDED:
            self._state = _State.CLOSED
            self._ready.clear()
            self._notify()

    # What the workers do.

    async def _work(self) -> None:
        try:
            while (taken := await self._take()) is not None:
                item = await self._answer(*taken)
                preparing = None if self._prepare is None else self._prepare(item)
                if preparing is not None:
                    await preparing
                self._put(item)
                if self._receive is not None:
                    # The receiver has all items of this turn of the loop before more is read.
                    await asyncio.sleep(0)
        except Exception as error:  # noqa: BLE001 - whatever it is, the consumer gets it
            self._fail(error)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        """Hands the consumer what has ended a worker and is no Exception."""
        if task.cancelled():  # where we cancelled it, the state is past failing
            text = "a task that makes the calls was cancelled from outside, or by what it awaited"
            self._fail(RuntimeError(text))
        elif (error := task.exception()) is not None:
            self._fail(error)

    async def _take(self) -> tuple[int, Any] | None:
        """Waits for room, for the next request, and for its time; returns None at the end."""
        while self._state is _State.RUNNING and (
            self._is_reading or self._ahead >= self.pace.limit
        ):
            waiter = asyncio.get_running_loop().create_future()
            self._idle.append(waiter)
            await waiter
        if self._state is not _State.RUNNING:
            return None
        self._ahead += 1
        taken = failure = None
        try:
            if self.pace.is_steady:
                taken = self._source.take()
            if taken is None:
                taken = await self._read()
        except Exception as error:  # noqa: BLE001 - the user's, for the consumer
            failure = error
        if taken is None:
            self._ahead -= 1
            self._drain(failure)
        return taken

    async def _read(self) -> tuple[int, Any] | None:
        """Waits for the next request, and for its time, while other workers wait for their turn."""
        self._is_reading = True
        try:
            taken = await self._source.next()
            if taken is not None:  # the end is not to be waited for
                await self.pace.wait()
        finally:
            self._is_reading = False
            # Requests that are read ahead may suffice for all workers. Of other requests one
            # worker reads the next; a second one that is woken would only wait again.
            several = self._source.is_ahead and self.pace.is_steady
            self._wake(len(self._idle) if several else 1)
        return taken

    async def _answer(self, index: int, request: Any) -> BatchItem[OutputT]:
        key: Any = index
        output = error = None
        self.in_flight += 1
        started = time.perf_counter()
        try:
            if isinstance(request, tuple):
                key, request = _pair(request)  # pyright: ignore[reportUnknownArgumentType]
            output = await self._call(request, self.pace.attempt_failed)
            attempts = output.metadata.attempts
        except AiosmrtError as raised:
            if self._raises:
                raise
            error = raised
            attempts = error.attempts
        finally:
            latency = time.perf_counter() - started
            self.in_flight -= 1
        if error is not None:
            _drop_tracebacks(error)
        if not self.pace.is_steady:
            seconds = latency if error is None else None
            self.pace.call_ended(attempts, seconds, in_flight=self.in_flight + 1)
            self._wake(1)  # whoever reads lets the next one read
        return BatchItem(
            key=key, index=index, output=output, error=error, attempts=attempts, latency=latency
        )

    def _put(self, item: BatchItem[OutputT]) -> None:
        if not self._ordered:
            self._hand_out(item)
        else:
            self._early[item.index] = item
            while self._next in self._early:
                self._hand_out(self._early.pop(self._next))
                self._next += 1

    def _hand_out(self, item: BatchItem[OutputT]) -> None:
        if self._receive is None:
            self._ready.append(item)
            self._notify()
            return
        self._receive(item)
        self._ahead -= 1
        if self._idle:
            self._wake(1)
        if not self._ahead and self._state is _State.DRAINING:
            self._notify()

    def _wake(self, most: int) -> None:
        """Lets as many workers read on as there is room for, and no more than ``most``."""
        if self._is_reading:
            return
        for _ in range(min(most, self.pace.limit - self._ahead, len(self._idle))):
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
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:  # a user's own may be its own cause
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
