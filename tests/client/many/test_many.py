"""invoke_many and stream_many against the local endpoint: order, bounds, errors, ends."""

from __future__ import annotations

import asyncio
import gc
import random
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cancelling import MOST_SUSPENSIONS, cancel_at
from support.transports import in_use
from support.waiting import turns, until

import aiosmrt
from aiosmrt import InvokeEndpointInput, InvokeEndpointWithResponseStreamInput, RetryPolicy
from aiosmrt._client.many import RateLimit
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Model:
    """Echoes; fails where the body says so; tells how many it answered at once."""

    def __init__(self) -> None:
        self.now = self.most = self.answered = 0
        self.open = asyncio.Event()
        self.open.set()

    async def echo(self, request: ModelRequest) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await self.open.wait()
            await asyncio.sleep(0.001)
            if request.body == b"hold":
                await asyncio.Event().wait()
            if request.body.startswith(b"bad"):
                raise ModelFailure(400, "a bad record")
            self.answered += 1
            return request.body + (request.content_type or "").encode()
        finally:
            self.now -= 1

    async def parts(self, request: ModelRequest) -> AsyncIterator[bytes]:
        for position in range(3):
            yield b"%d%b" % (position, request.body)
            if request.body == b"bad":
                raise ModelFailure(500, "broke off")


@pytest.fixture
async def model() -> Model:
    return Model()


@pytest.fixture
async def session(model: Model) -> AsyncIterator[aiosmrt.Session]:
    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("echo", model.echo)
        local.add_model("other", model.echo)
        local.add_model("stream", model.parts)
        yield session
        assert in_use(session) == 0


async def collect(items: Any) -> list[Any]:
    return [item async for item in items]


async def test_every_request_has_its_item(session):
    bodies = [b"%d" % number for number in range(200)]
    began = time.perf_counter()
    items = await collect(session.invoke_many("echo", bodies, concurrency=8))
    elapsed = time.perf_counter() - began
    assert {item.key: item.output.body for item in items} == dict(enumerate(bodies))
    assert all(item.error is None and item.attempts == 1 for item in items)
    assert all(0 < item.latency < elapsed for item in items)
    assert sorted(item.index for item in items) == list(range(200))


async def test_the_items_come_in_the_requests_order_when_asked(session, model):
    rand = random.Random(5)

    async def slow(request: ModelRequest) -> bytes:
        await asyncio.sleep(rand.random() * 0.01)
        return request.body

    model.echo = slow
    bodies = [str(number) for number in range(100)]
    items = await collect(session.invoke_many("echo", bodies, concurrency=16, ordered=True))
    assert [item.output.text() for item in items] == bodies
    assert [item.index for item in items] == list(range(100))


async def test_keys_inputs_and_keywords(session):
    requests = [
        b"bare",
        ("a key", "text"),
        InvokeEndpointInput(endpoint_name="other", body=b"own", content_type="text/own"),
        (7, InvokeEndpointInput(endpoint_name="other", body=b"own")),
        (None, memoryview(b"view")),
    ]
    items = await collect(
        session.invoke_many("echo", requests, ordered=True, content_type="text/mine")
    )
    assert [(item.key, item.output.text()) for item in items] == [
        (0, "baretext/mine"),
        ("a key", "texttext/mine"),
        (2, "owntext/own"),
        (7, "own"),
        (None, "viewtext/mine"),
    ]


@pytest.mark.parametrize("ordered", [False, True])
async def test_an_error_is_an_item_among_others(session, ordered):
    bodies = [b"bad" if number % 3 == 0 else b"good" for number in range(30)]
    items = await collect(session.invoke_many("echo", bodies, concurrency=4, ordered=ordered))
    assert len(items) == 30
    for item in items:
        if item.index % 3:
            assert item.error is None
        else:
            assert item.output is None
            assert isinstance(item.error, aiosmrt.ModelError)
            assert item.attempts == item.error.attempts == 1
            assert item.error.__traceback__ is None


@pytest.mark.parametrize("wrong", [3, None, ("k", b"b", 1), ("k", object())])
async def test_what_is_no_request_is_the_error_of_its_item(session, wrong):
    items = await collect(session.invoke_many("echo", [b"good", wrong, b"good"], ordered=True))
    assert [type(item.error) for item in items] == [
        type(None),
        aiosmrt.ParameterValidationError,
        type(None),
    ]
    assert items[1].attempts == 0


@pytest.mark.parametrize("ordered", [False, True])
async def test_the_first_error_is_raised_and_the_rest_cancelled(session, model, ordered):
    read = 0

    def requests() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"bad" if read == 50 else b"good"

    items = session.invoke_many(
        "echo", requests(), concurrency=8, ordered=ordered, on_error="raise"
    )
    given = 0
    with pytest.raises(aiosmrt.ModelError):
        async for item in items:
            assert item.error is None
            given += 1
    assert 30 < given < 60
    with pytest.raises(aiosmrt.ModelError):
        await anext(items)
    await until(lambda: model.now == 0)


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_an_error_at_the_first_step_is_raised_too(session, concurrency):
    # Before the other tasks have begun at all.
    items = session.invoke_many("echo", [3, b"x"], concurrency=concurrency, on_error="raise")
    with pytest.raises(aiosmrt.ParameterValidationError):
        await asyncio.wait_for(anext(items), 50)


async def test_nothing_is_read_before_the_first_item_is_asked_for(session):
    items = session.invoke_many("echo", iter([b"x"]))
    await asyncio.sleep(0)
    assert items.in_flight == 0
    assert "0 read" in repr(items)
    assert len(await collect(items)) == 1


@pytest.mark.parametrize("concurrency", [1, 5, 64])
@pytest.mark.parametrize("ordered", [False, True])
async def test_the_input_is_read_no_further_ahead_than_it_may(session, model, concurrency, ordered):
    read = given = 0

    def requests() -> Iterator[bytes]:
        nonlocal read
        for _ in range(300):
            read += 1
            yield b"x"

    items = session.invoke_many("echo", requests(), concurrency=concurrency, ordered=ordered)
    async for _ in items:
        given += 1
        assert read - given <= concurrency
    assert read == given == 300
    assert model.most <= concurrency


async def test_a_consumer_that_stops_stops_the_reading(session, model):
    read = 0

    async def requests() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x"

    async with session.invoke_many("echo", requests(), concurrency=10) as items:
        await anext(items)
        await until(lambda: model.answered == 11)
        for _ in range(100):
            await asyncio.sleep(0)
        assert read == 11
        assert items.in_flight == 0
        # And goes on where it was.
        for _ in range(20):
            await anext(items)


async def test_as_many_are_in_flight_as_asked_for(session, model):
    model.open.clear()
    async with session.invoke_many("echo", [b"x"] * 100, concurrency=12) as items:
        first = asyncio.ensure_future(anext(items))
        await until(lambda: model.now == 12)
        assert items.in_flight == items.concurrency == 12
        model.open.set()
        await first
        await collect(items)
    assert model.most == 12


async def test_leaving_early_cancels_what_is_under_way(session, model):
    closed = []

    async def requests() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            while True:
                yield b"hold"
        finally:
            closed.append(True)

    async with session.invoke_many("echo", requests(), concurrency=8) as items:
        async for _ in items:
            await until(lambda: model.now == 8)
            break
    assert closed == [True]
    await until(lambda: model.now == 0)
    with pytest.raises(RuntimeError, match="closed before their end"):
        await anext(items)
    await items.aclose()


async def test_a_generator_is_closed_and_an_iterator_left_open(session):
    closed = []

    def requests() -> Iterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            closed.append(True)

    async with session.invoke_many("echo", requests(), concurrency=2) as items:
        await anext(items)
    assert closed == [True]
    theirs = iter([b"1", b"2", b"3", b"4"])
    async with session.invoke_many("echo", theirs, concurrency=2) as items:
        await anext(items)
    assert next(theirs)


async def test_dropped_without_an_end_it_warns_and_stops(session, model):
    items = session.invoke_many("echo", [b"x", *[b"hold"] * 100], concurrency=4)
    await anext(items)
    await until(lambda: model.now == 4)
    with pytest.warns(ResourceWarning, match="unclosed <BatchItems"):  # noqa: PT031 - both drop it
        del items
        gc.collect()
    await until(lambda: model.now == 0)


async def test_dropped_without_an_end_it_reads_no_further(session):
    read: list[bytes] = []

    def requests() -> Iterator[bytes]:
        for body in [b"x"] * 100:
            read.append(body)
            yield body

    items = session.invoke_many("echo", requests(), concurrency=1)
    await anext(items)
    with pytest.warns(ResourceWarning, match="unclosed <BatchItems"):  # noqa: PT031 - both drop it
        del items
        gc.collect()
    await turns()
    assert len(read) == 1


async def test_an_error_that_is_raised_cancels_the_others_before_it_is_asked_for(session, model):
    go_on = asyncio.Event()

    async def requests() -> AsyncIterator[bytes]:
        yield b"x"
        await go_on.wait()
        yield b"hold"
        yield b"bad"

    async with session.invoke_many(
        "echo", requests(), concurrency=4, on_error="raise", retries=RetryPolicy(max_attempts=1)
    ) as items:
        await anext(items)
        go_on.set()
        await until(lambda: "failed" in repr(items))
        await until(lambda: items.in_flight == model.now == 0)
        with pytest.raises(aiosmrt.ModelError):
            await anext(items)


async def test_once_closed_nothing_is_kept_of_the_calls_that_were_cancelled(session, model):
    class Key:
        pass

    keys: weakref.WeakSet[Key] = weakref.WeakSet()

    def requests() -> Iterator[tuple[Key, bytes]]:
        for body in [b"x", *[b"hold"] * 100]:
            key = Key()
            keys.add(key)
            yield key, body

    gc.collect()
    gc.disable()
    try:
        items = session.invoke_many("echo", requests(), concurrency=4)
        await anext(items)
        await until(lambda: model.now == 4)
        await items.aclose()
        assert not keys
    finally:
        gc.enable()


async def test_never_begun_it_is_dropped_in_silence(session):
    items = session.invoke_many("echo", [b"x"])
    del items
    gc.collect()


async def test_what_the_input_raises_comes_after_the_items_before_it(session):
    def requests() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x"
        raise OSError("the disk is gone")

    given = 0
    with pytest.raises(OSError, match="the disk is gone"):
        async for _ in session.invoke_many("echo", requests(), concurrency=8):
            given += 1
    assert given == 20


async def test_what_the_retry_policy_raises_is_not_lost(session):
    def predicate(error: aiosmrt.ModelError) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await collect(
            session.invoke_many("echo", [b"bad"], retries=RetryPolicy(retry_model_error=predicate))
        )


async def test_a_call_that_times_out_is_an_item(session):
    bodies = [b"hold", b"good"]
    timeouts = aiosmrt.Timeouts(read=0.2)
    items = await collect(session.invoke_many("echo", bodies, ordered=True, timeouts=timeouts))
    assert isinstance(items[0].error, aiosmrt.ReadTimeoutError)
    assert items[0].error.__cause__ is None
    assert items[1].error is None


async def test_an_error_that_is_its_own_cause_is_an_item():
    class Provider:
        async def get_credentials(self) -> aiosmrt.Credentials:
            error = aiosmrt.CredentialsError("none")
            raise error from error

    async with LocalEndpoint() as local:
        options = {"region": "us-east-1", "endpoint_url": local.url, "credentials": Provider()}
        async with aiosmrt.Session(**options) as session:
            (item,) = await collect(session.invoke_many("echo", [b"x"]))
    assert isinstance(item.error, aiosmrt.CredentialsError)


@pytest.mark.parametrize("explicit", [True, False], ids=["cause", "context"])
async def test_the_error_of_an_item_holds_no_frames_however_it_came_about(explicit):
    class Provider:
        async def get_credentials(self) -> aiosmrt.Credentials:
            try:
                raise LookupError("no file")
            except LookupError as error:
                if explicit:
                    raise aiosmrt.CredentialsError("none") from error
                raise aiosmrt.CredentialsError("none")  # noqa: B904 - as many write it

    async with LocalEndpoint() as local:
        options = {"region": "us-east-1", "endpoint_url": local.url, "credentials": Provider()}
        async with aiosmrt.Session(**options) as session:
            (item,) = await collect(session.invoke_many("echo", [b"x"]))
    links: list[BaseException] = []
    link: BaseException | None = item.error
    while link is not None:
        links.append(link)
        link = link.__cause__ or link.__context__
    assert isinstance(links[-1], LookupError)
    assert [link.__traceback__ for link in links] == [None] * len(links)


async def test_two_tasks_cannot_wait_for_one_item(session, model):
    model.open.clear()
    async with session.invoke_many("echo", [b"x"] * 3) as items:
        first = asyncio.ensure_future(anext(items))
        await until(lambda: model.now)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(items)
        model.open.set()
        assert (await first).error is None  # the one that waited was not disturbed
        assert len(await collect(items)) == 2


async def test_closed_while_a_task_waits_it_does_not_end_quietly(session, model):
    items = session.invoke_many("echo", [b"hold"] * 3)
    waiting = asyncio.ensure_future(anext(items))
    await until(lambda: model.now == 3)
    await items.aclose()
    with pytest.raises(RuntimeError, match="closed before their end"):
        await waiting
    await until(lambda: model.now == 0)


async def test_once_closed_it_gives_no_item_that_was_ready(session, model):
    items = session.invoke_many("echo", [b"x"] * 4, concurrency=4)
    await anext(items)
    await until(lambda: not items.in_flight)
    await items.aclose()
    with pytest.raises(RuntimeError, match="closed before their end"):
        await anext(items)


async def test_what_the_input_raised_comes_before_the_error_of_a_call(session, model):
    model.open.clear()

    def requests() -> Iterator[bytes]:
        yield b"bad"
        raise OSError("the disk is gone")

    items = session.invoke_many("echo", requests(), on_error="raise")
    waiting = asyncio.ensure_future(anext(items))
    await until(lambda: model.now)
    model.open.set()
    with pytest.raises(OSError, match="the disk is gone"):
        await waiting


async def test_a_task_cancelled_by_another_hand_is_no_quiet_end(session, model):
    others = asyncio.all_tasks()
    items = session.invoke_many("echo", [b"hold"] * 9, concurrency=3)
    waiting = asyncio.ensure_future(anext(items))
    await until(lambda: model.now == 3)
    workers = [task for task in asyncio.all_tasks() - others if "Workers" in repr(task)]
    assert len(workers) == 3
    workers[1].cancel()
    with pytest.raises(RuntimeError, match="cancelled from outside"):
        await waiting
    await until(lambda: model.now == 0)


async def test_an_input_that_is_cancelled_is_no_quiet_end(session):
    async def requests() -> AsyncIterator[bytes]:
        yield b"x"
        raise asyncio.CancelledError

    with pytest.raises(RuntimeError, match="cancelled from outside"):
        await collect(session.invoke_many("echo", requests(), concurrency=2))


async def test_the_end_is_told_again(session):
    items = session.invoke_many("echo", [b"x"])
    assert len(await collect(items)) == 1
    await items.aclose()
    assert await collect(items) == []
    assert "ended" in repr(items)


@pytest.mark.parametrize(
    "requests, options, error",
    [
        (b"one body", {}, aiosmrt.ParameterValidationError),
        ("one body", {}, aiosmrt.ParameterValidationError),
        (7, {}, aiosmrt.ParameterValidationError),
        ([], {"content_type": "\n"}, aiosmrt.ParameterValidationError),
        ([], {"acept": "text/csv"}, TypeError),
        ([], {"concurrency": 0}, aiosmrt.ConfigurationError),
        ([], {"concurrency": True}, aiosmrt.ConfigurationError),
        ([], {"concurrency": "many"}, aiosmrt.ConfigurationError),
        ([], {"max_concurrency": 0}, aiosmrt.ConfigurationError),
        ([], {"max_concurrency": "auto"}, aiosmrt.ConfigurationError),
        ([], {"on_error": "ignore"}, aiosmrt.ConfigurationError),
        ([], {"rate": 0}, aiosmrt.ConfigurationError),
        ([], {"rate": float("nan")}, aiosmrt.ConfigurationError),
        ([], {"rate": True}, aiosmrt.ConfigurationError),
    ],
)
async def test_what_is_wrong_for_all_is_told_at_once(session, requests, options, error):
    with pytest.raises(error, match=next(iter(options), "requests")):
        session.invoke_many("echo", requests, **options)


async def test_a_stream_has_not_all_parameters_of_a_call(session):
    with pytest.raises(TypeError, match="no parameter 'target_model'"):
        session.stream_many("echo", [], target_model="m")


async def test_an_empty_input_has_no_items(session):
    assert await collect(session.invoke_many("echo", [])) == []


async def test_auto_starts_low_and_keeps_to_its_maximum(session, model):
    items = session.invoke_many("echo", [b"x"] * 400, concurrency="auto", max_concurrency=16)
    assert items.concurrency == 4
    assert all(item.error is None for item in await collect(items))
    assert 4 <= model.most <= 16


async def test_a_rate_is_kept(session, model):
    loop = asyncio.get_running_loop()
    started = loop.time()
    given = len(await collect(session.invoke_many("echo", [b"x"] * 60, rate=200.0)))
    # At least, never at most: a slow machine may take longer.
    assert loop.time() - started >= 59 / 200 - 0.1
    assert given == 60


@given(rate=st.floats(0.1, 10_000), pauses=st.lists(st.floats(0, 1), max_size=40))
def test_a_rate_limit_lets_no_more_through_than_it_says(rate, pauses):
    now = 0.0
    limit = RateLimit(rate, now=now)
    begun: list[float] = []
    for pause in pauses:
        now += pause
        begun.append(now + limit.reserve(now))
    assert begun == sorted(begun)
    for last, at in enumerate(begun):
        for first in range(last):
            assert last - first <= rate * (at - begun[first] + 0.1) * (1 + 1e-9)


def test_a_retry_takes_a_place_as_a_call_does():
    charged, called = RateLimit(8, now=0.0), RateLimit(8, now=0.0)
    charged.reserve(0.0)
    charged.charge(3)
    for _ in range(4):
        called.reserve(0.0)
    assert charged.reserve(0.0) == called.reserve(0.0) == 0.5


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_low_rate_does_not_hold_up_the_end(session, is_async):
    async def requests() -> AsyncIterator[bytes]:
        yield b"x"

    items = session.invoke_many("echo", requests() if is_async else [b"x"], rate=0.01)
    # The next place is 100 s away, and there is nothing for it.
    assert len(await asyncio.wait_for(collect(items), 50)) == 1


async def test_streams_are_collected(session):
    requests = [
        b"a",
        ("own", InvokeEndpointWithResponseStreamInput(endpoint_name="stream", body=b"b")),
        b"bad",
    ]
    items = await collect(session.stream_many("stream", requests, ordered=True))
    assert [part.bytes for part in items[0].output.parts] == [b"0a", b"1a", b"2a"]
    assert items[0].output.body == b"0a1a2a"
    assert items[0].output.text() == "0a1a2a"
    assert items[0].output.metadata.status_code == 200
    assert items[1].key == "own"
    with pytest.raises(ValueError, match="Extra data"):
        items[1].output.json()
    assert items[2].output is None
    assert isinstance(items[2].error, aiosmrt.AiosmrtError)
    assert items[2].attempts == 1


async def test_a_stream_without_its_terminal_part_is_an_error(session):
    (item,) = await collect(
        session.stream_many("stream", [b"a"], require_terminal=lambda part: part.bytes == b"[DONE]")
    )
    assert isinstance(item.error, aiosmrt.StreamTruncatedError)


async def invoke_some(session: aiosmrt.Session, **options: Any) -> None:
    async def requests() -> AsyncIterator[bytes]:
        for _ in range(4):
            await asyncio.sleep(0)
            yield b"x"

    async with session.invoke_many("echo", requests(), **options) as items:
        async for _ in items:
            await asyncio.sleep(0)


@pytest.mark.parametrize("options", [{}, {"ordered": True}, {"concurrency": "auto"}], ids=repr)
async def test_cancelled_at_every_await(session, options):
    reached = 0
    for number in range(MOST_SUSPENSIONS):
        coroutine = invoke_some(session, **{"concurrency": 2, **options})

        async def run(steps: Any) -> bool:
            return await steps

        task = asyncio.ensure_future(run(cancel_at(coroutine, number)))
        await asyncio.wait([task])
        await until(lambda: not in_use(session))
        if not task.cancelled() and not task.result():
            break
        reached += 1
    assert reached >= 4, "hardly anything was interrupted"
    (item,) = await collect(session.invoke_many("echo", [b"x"]))
    assert item.error is None
