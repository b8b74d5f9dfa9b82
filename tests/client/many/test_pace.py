"""How many calls are made at once and how fast, by a clock that passes only where we wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from support.raw_server import answer, serve
from support.sessions import open_session
from support.waiting import until

from aiosmrt import InvokeEndpointOutput, RetryPolicy, ServiceError, ThrottlingException
from aiosmrt._client.many import BatchItems, ManyOptions
from aiosmrt._client.many.pace import Clock, Pace
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import aiosmrt

THROTTLE = ThrottlingException(code="ThrottlingException", status_code=429)
FAILURE = answer(b"{}", "500 Oh", {"x-amzn-errortype": "InternalFailure"})


class ManualClock:
    """Passes only where something sleeps, and keeps for how long.

    Attributes:
        time: The time in seconds.
        slept: The sleeps.
        begun: Is called as a sleep begins.
    """

    def __init__(self) -> None:
        self.time = 0.0
        self.slept: list[float] = []
        self.begun: Callable[[], None] = lambda: None

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.time, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.begun()
        self.time += seconds
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def invoke_all(
    session: aiosmrt.Session, requests: Any, clock: ManualClock, **options: Any
) -> BatchItems[InvokeEndpointOutput]:
    """`Session.invoke_many` by another clock."""

    async def call(
        request: Any, failed: Callable[[aiosmrt.AiosmrtError], None]
    ) -> InvokeEndpointOutput:
        return await session.invoke_endpoint("e", request)

    given = ManyOptions(clock=clock.clock, max_concurrency=100, **options)
    return BatchItems(call, requests, given)


async def collect(items: Any) -> list[Any]:
    return [item async for item in items]


# With a rate.


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_calls_begin_evenly_spaced(clock, concurrency):
    async with serve(answer()) as server, open_session(server.url) as session:
        items = invoke_all(session, [b"x"] * 4, clock, rate=8.0, concurrency=concurrency)
        assert [item.error for item in await collect(items)] == [None] * 4
    assert clock.slept == [0.125] * 3


@pytest.mark.parametrize(
    "answers, attempts",
    [
        pytest.param([FAILURE, answer()], 2, id="one retry"),
        pytest.param([FAILURE, FAILURE, answer()], 3, id="two retries"),
        pytest.param([FAILURE, FAILURE, FAILURE, answer()], 3, id="retries in vain"),
    ],
)
async def test_each_retry_of_a_call_takes_one_place(clock, answers, attempts):
    async with serve(*answers) as server, open_session(server.url) as session:
        items = await collect(invoke_all(session, [b"x"] * 3, clock, rate=8.0, concurrency=1))
        assert len(server.requests) == attempts + 2
    assert [item.attempts for item in items] == [attempts, 1, 1]
    assert clock.slept == [attempts * 0.125, 0.125]


# With `auto`.


class Model:
    """Answers a request for each that is let through."""

    def __init__(self) -> None:
        self.begun = self.now = self.most = 0
        self._let = asyncio.Semaphore(0)

    def let_one_through(self) -> None:
        self._let.release()

    async def answer(self, request: ModelRequest) -> bytes:
        self.begun += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self._let.acquire()
        finally:
            self.now -= 1
        if request.body == b"bad":
            raise ModelFailure(400, "a bad record")
        return request.body


@pytest.fixture
async def model() -> Model:
    return Model()


@pytest.fixture
async def session(model: Model) -> AsyncIterator[aiosmrt.Session]:
    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("e", model.answer)
        yield session


async def test_auto_makes_one_call_more_for_each_that_succeeds_up_to_its_maximum(session, model):
    items = session.invoke_many("e", [b"x"] * 40, concurrency="auto", max_concurrency=7)
    consuming = asyncio.ensure_future(collect(items))
    for limit, begun in ((4, 4), (5, 6), (6, 8), (7, 10), (7, 11), (7, 12)):
        await until(lambda: model.begun == begun)  # noqa: B023 - it ends within this turn
        assert items.concurrency == items.in_flight == limit
        model.let_one_through()
    for _ in range(40):
        model.let_one_through()
    assert len(await consuming) == 40
    assert model.most == 7


async def test_a_limit_that_grows_lets_the_next_request_of_a_paused_consumer_be_read(
    session, model
):
    read = 0

    def requests() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x"

    async with session.invoke_many("e", requests(), concurrency="auto") as items:
        first = asyncio.ensure_future(anext(items))
        await until(lambda: model.now == 4)
        model.let_one_through()
        await first
        # The item handed out, and the limit of 5: nothing further is read for either.
        await until(lambda: model.now == 5)
        assert read == 6
        model.let_one_through()  # nobody asks for its item
        await until(lambda: read == 7)
        await until(lambda: model.now == 5)
        assert items.concurrency == 6


async def test_calls_that_fail_do_not_raise_the_limit_of_auto(session, model):
    items = session.invoke_many("e", [b"bad"] * 40, concurrency="auto")
    consuming = asyncio.ensure_future(collect(items))
    await until(lambda: model.now == 4)
    for _ in range(40):
        model.let_one_through()
    assert all(item.attempts == 1 and item.error is not None for item in await consuming)
    assert items.concurrency == model.most == 4


@pytest.mark.parametrize("streamed", [False, True], ids=["invoke", "stream"])
async def test_auto_hears_of_throttles_while_the_calls_are_made_again(streamed):
    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("e", Model().answer)
        local.inject(error="ThrottlingException")
        many = session.stream_many if streamed else session.invoke_many
        async with many("e", [b"x"] * 4, concurrency="auto") as items:
            first = asyncio.ensure_future(anext(items))
            await until(lambda: items.concurrency < 4 or first.done())
            assert items.in_flight == 4  # none of which has ended
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first


async def test_an_endpoint_that_is_out_is_asked_after_random_delays(clock):
    refused = answer(b"{}", "400 No", {"x-amzn-errortype": "ThrottlingException"})
    once = RetryPolicy(max_attempts=1)
    async with serve(refused) as server, open_session(server.url, retries=once) as session:

        async def call(
            request: Any, failed: Callable[[aiosmrt.AiosmrtError], None]
        ) -> InvokeEndpointOutput:
            try:
                return await session.invoke_endpoint("e", request)
            except ServiceError as error:
                failed(error)
                raise

        options = ManyOptions(concurrency="auto", max_concurrency=1, clock=clock.clock)
        items = await collect(BatchItems(call, [b"x"] * 8, options))
    assert all(isinstance(item.error, ThrottlingException) for item in items)
    # The third throttle shows congestion; then each doubles the longest delay.
    assert len(clock.slept) == 5
    assert all(0 < seconds <= 0.1 * 2**n for n, seconds in enumerate(clock.slept))


async def test_a_delay_that_grows_while_it_is_waited_for_is_waited_for_to_its_end(clock):
    pace = Pace("auto", 1, None, clock.clock)
    for _ in range(3):
        pace.attempt_failed(THROTTLE)

    def fail_once_more() -> None:
        clock.begun = lambda: None
        clock.time += 1.0
        pace.attempt_failed(THROTTLE)
        clock.time -= 1.0

    clock.begun = fail_once_more
    await pace.wait()
    assert len(clock.slept) == 2
    assert clock.time > 1.0


async def test_calls_with_retries_are_not_taken_for_slow_ones(clock):
    pace = Pace("auto", 100, None, clock.clock)
    for _ in range(40):
        clock.time += 0.1
        pace.call_ended(1, 0.1, in_flight=1)
    for _ in range(40):
        clock.time += 10.0
        pace.call_ended(2, 10.0, in_flight=1)
    assert pace.limit == 4
    for _ in range(40):
        clock.time += 10.0
        pace.call_ended(1, 10.0, in_flight=1)
    assert pace.limit < 4
