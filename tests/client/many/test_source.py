"""Requests that are read ahead: who waits for them, who takes them, and in which order."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from support.waiting import until

from aiosmrt._client.many import BatchItems, ManyOptions, ReadAhead, give_all
from aiosmrt._client.many.source import Source
from aiosmrt.local import LocalEndpoint, ModelRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import aiosmrt


class Blocks(ReadAhead):
    """Gives blocks of requests, each after a wait; raises what stands in a block's place."""

    def __init__(self, *blocks: list[Any] | Exception) -> None:
        self._blocks = deque(blocks)
        self._at_hand: deque[Any] = deque()
        self.waiting = 0
        self.waits = 0

    def take(self) -> Any | None:
        return self._at_hand.popleft() if self._at_hand else None

    async def wait(self) -> bool:
        self.waiting += 1
        assert self.waiting == 1  # one task at a time
        try:
            await asyncio.sleep(0)
        finally:
            self.waiting -= 1
        self.waits += 1
        if not self._blocks:
            return False
        block = self._blocks.popleft()
        if isinstance(block, Exception):
            raise block
        self._at_hand.extend(block)
        return True


async def read(source: Source) -> list[Any]:
    source.open()
    taken: list[Any] = []
    while (request := source.take() or await source.next()) is not None:
        taken.append(request)
    await source.aclose()
    assert source.read == len(taken)
    return taken


def workers() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if "Workers" in repr(task)]


async def later(*requests: Any) -> AsyncIterator[Any]:
    for request in requests:
        yield request


@pytest.mark.parametrize(
    "requests",
    [["a", None, "b"], iter(["a", None, "b"]), later("a", None, "b")],
    ids=["list", "iterator", "async generator"],
)
async def test_requests_are_numbered_whatever_they_are(requests):
    assert await read(Source(requests)) == [(0, "a"), (1, None), (2, "b")]


async def test_blocks_are_read_through_empty_ones_to_their_end():
    blocks = [["a", "b"], [], ["c"], []]
    assert await read(Source(Blocks(*blocks))) == [(0, "a"), (1, "b"), (2, "c")]
    assert [request async for request in Blocks(*blocks)] == ["a", "b", "c"]


async def test_what_is_at_hand_is_taken_without_a_wait():
    blocks = Blocks(["a", "b", "c"], ["d"])
    source = Source(blocks)
    assert source.take() is None
    assert await source.next() == (0, "a")
    assert [source.take(), source.take()] == [(1, "b"), (2, "c")]
    assert blocks.waits == 1
    assert source.take() is None
    assert await source.next() == (3, "d")


async def test_an_iterator_that_has_ended_is_not_asked_again():
    class Once:
        ended = False

        def __iter__(self) -> Once:
            return self

        def __next__(self) -> str:
            assert not self.ended
            self.ended = True
            raise StopIteration

    assert await read(Source(Once())) == []


# And through the workers.


class Model:
    def __init__(self) -> None:
        self.now = self.most = 0
        self.open = asyncio.Event()
        self.pass_first = asyncio.Event()

    async def echo(self, request: ModelRequest) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await (self.pass_first if request.body == b"first" else self.open).wait()
            return request.body
        finally:
            self.now -= 1


@pytest.fixture
async def model() -> Model:
    return Model()


@pytest.fixture
async def session(model: Model) -> AsyncIterator[aiosmrt.Session]:
    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("echo", model.echo)
        yield session


@pytest.mark.parametrize("how", [{}, {"concurrency": "auto"}, {"rate": 1e6}], ids=str)
@pytest.mark.parametrize("ordered", [False, True])
async def test_each_request_of_the_blocks_is_made_once(session, model, how, ordered):
    model.open.set()
    bodies = [b"%d" % number for number in range(100)]
    blocks = Blocks(bodies[:30], [], bodies[30:31], bodies[31:])
    async with session.invoke_many(
        "echo", blocks, ordered=ordered, **{"concurrency": 8, **how}
    ) as items:
        answers = [item.output.body async for item in items]
    assert sorted(answers) == sorted(bodies)
    if ordered:
        assert answers == bodies
    assert model.most <= 8 or how == {"concurrency": "auto"}


@pytest.mark.parametrize(
    "requests",
    [lambda: Blocks([], [b"x"] * 20), lambda: later(*[b"x"] * 20)],
    ids=["blocks", "async generator"],
)
async def test_all_workers_read_on_after_one_has_waited(session, model, requests):
    async with session.invoke_many("echo", requests(), concurrency=12) as items:
        first = asyncio.ensure_future(anext(items))
        await until(lambda: model.now == 12)
        model.open.set()
        await first
        assert len([item async for item in items]) == 19


async def test_what_the_wait_raises_comes_after_the_items_before_it(session, model):
    model.open.set()
    blocks = Blocks([b"x"] * 20, OSError("the disk is gone"))
    given = 0
    with pytest.raises(OSError, match="the disk is gone"):
        async for _ in session.invoke_many("echo", blocks, concurrency=8):
            given += 1
    assert given == 20


class Once:
    """Three requests; counts how often it was asked for one after its end."""

    def __init__(self) -> None:
        self.left = 3
        self.asked_again = -1

    def __aiter__(self) -> Once:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(0)
        if not self.left:
            self.asked_again += 1
            raise StopAsyncIteration
        self.left -= 1
        return b"x"


@pytest.mark.parametrize("how", [{}, {"concurrency": "auto"}, {"rate": 1e6}], ids=str)
async def test_requests_that_have_ended_are_not_asked_again(session, model, how):
    once = Once()
    async with session.invoke_many("echo", once, **{"concurrency": 8, **how}) as items:
        first = asyncio.ensure_future(anext(items))
        await until(lambda: model.now == 3 and once.asked_again >= 0)
        model.open.set()
        await first
        assert len([item async for item in items]) == 2
    assert once.asked_again == 0


async def test_left_while_a_worker_waits_nothing_is_left_behind(session, model):
    class Never(Blocks):
        async def wait(self) -> bool:
            self.waits += 1
            await asyncio.Event().wait()
            return False

    never = Never()
    async with session.invoke_many("echo", never, concurrency=8) as items:
        waiting = asyncio.ensure_future(anext(items))
        await until(lambda: never.waits)
        assert len(workers()) == 8
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert never.waits == 1
    assert not workers()


# Items given to a function, in place of an iteration.


@pytest.mark.parametrize("how", [{}, {"concurrency": "auto"}, {"rate": 1e6}], ids=str)
@pytest.mark.parametrize("ordered", [False, True])
async def test_a_function_is_given_every_item(session, model, how, ordered):
    model.open.set()
    bodies = [b"%d" % number for number in range(100)]
    given: list[bytes] = []
    async with session.invoke_many(
        "echo", Blocks(bodies[:70], bodies[70:]), ordered=ordered, **{"concurrency": 8, **how}
    ) as items:
        await give_all(items, lambda item: given.append(item.output.body))
        assert items.in_flight == 0
    assert sorted(given) == sorted(bodies)
    if ordered:
        assert given == bodies
    assert model.most <= 8 or how == {"concurrency": "auto"}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("concurrency", [1, 8])
async def test_a_function_holds_the_reading_to_the_concurrency(
    session, model, ordered, concurrency
):
    model.open.set()
    read = given = most = 0

    def requests() -> Iterator[bytes]:
        nonlocal read, most
        for _ in range(100):
            read += 1
            most = max(most, read - given)
            yield b"x"

    def receive(_: Any) -> None:
        nonlocal given
        given += 1

    await give_all(
        session.invoke_many("echo", requests(), concurrency=concurrency, ordered=ordered), receive
    )
    assert given == 100
    assert most == concurrency


async def test_while_an_item_is_prepared_nothing_is_read_in_its_place(session, model):
    model.open.set()
    read = most = 0
    given: list[int] = []
    prepared = asyncio.Event()

    def requests() -> Iterator[bytes]:
        nonlocal read, most
        for _ in range(40):
            read += 1
            most = max(most, read - len(given))
            yield b"x"

    giving = asyncio.ensure_future(
        give_all(
            session.invoke_many("echo", requests(), concurrency=4),
            lambda item: given.append(item.index),
            lambda item: None if item.index else prepared.wait(),
        )
    )
    await until(lambda: len(given) == 39)
    assert read == 40
    prepared.set()
    await giving
    assert (len(given), given[-1]) == (40, 0)
    assert most == 4


async def test_a_limit_that_grows_while_all_items_are_prepared_lets_more_be_read(session, model):
    read = 0

    def requests() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b"x"

    items = session.invoke_many("echo", requests(), concurrency="auto")
    giving = asyncio.ensure_future(
        give_all(items, lambda _: None, lambda _: asyncio.Event().wait())
    )
    await until(lambda: model.now == 4)
    assert read == 4
    model.open.set()
    await until(lambda: read > 4)
    giving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving


@pytest.mark.parametrize("ordered", [False, True])
async def test_a_function_has_the_items_of_one_turn_before_more_is_read(session, model, ordered):
    model.open.set()
    output = await session.invoke_endpoint("echo", b"x")
    answered = asyncio.Event()
    happened: list[str] = []

    async def call(request: Any, failed: Any) -> aiosmrt.InvokeEndpointOutput:
        await answered.wait()
        return output

    def requests() -> Iterator[bytes]:
        for _ in range(16):
            happened.append("read")
            yield b"x"

    options = ManyOptions(concurrency=8, max_concurrency=8, ordered=ordered)
    items = BatchItems(call, requests(), options)
    giving = asyncio.ensure_future(give_all(items, lambda _: happened.append("given")))
    await until(lambda: items.in_flight == 8)
    answered.set()
    await giving
    assert happened[:17] == ["read"] * 8 + ["given"] * 8 + ["read"]


@pytest.mark.parametrize("how", ["given", "iterated"])
async def test_all_workers_read_on_after_one_that_held_up_the_order(session, model, how):
    async def iterate(items: Any, receive: Any) -> None:
        async for item in items:
            receive(item)

    model.open.set()
    read = 0

    def requests() -> Iterator[bytes]:
        nonlocal read
        for number in range(40):
            read += 1
            yield b"x" if number else b"first"

    given: list[Any] = []
    items = session.invoke_many("echo", requests(), concurrency=8, ordered=True)
    giving = asyncio.ensure_future(
        {"given": give_all, "iterated": iterate}[how](items, given.append)
    )
    await until(lambda: read == 8 and items.in_flight == 1)
    model.open.clear()
    model.pass_first.set()
    await until(lambda: model.now == 8)
    assert (len(given), items.in_flight) == (8, 8)
    model.open.set()
    await giving
    assert [item.index for item in given] == list(range(40))


async def test_no_items_are_given_to_nobody(session):
    given: list[Any] = []
    await give_all(session.invoke_many("echo", []), given.append)
    assert given == []


async def test_a_function_that_holds_the_items_does_not_keep_them(session, model):
    model.open.set()
    items = session.invoke_many("echo", [b"x"] * 20, concurrency=8)

    def receive(_: Any, items: Any = items) -> None:
        assert items.in_flight <= 8

    gc.collect()
    gc.disable()
    try:
        await give_all(items, receive)
        left = weakref.ref(items)
        del items, receive
        assert left() is None
    finally:
        gc.enable()


async def test_what_the_function_raises_cancels_the_others(session, model):
    def receive(item: Any) -> None:
        assert item.output.body == b"first"  # the others are held
        raise ZeroDivisionError

    items = session.invoke_many("echo", [b"x"] * 7 + [b"first"] + [b"x"] * 50, concurrency=8)
    giving = asyncio.ensure_future(give_all(items, receive))
    await until(lambda: model.now == 8)
    assert len(workers()) == 8
    model.pass_first.set()
    with pytest.raises(ZeroDivisionError):
        await giving
    await until(lambda: model.now == 0)
    assert not workers()


async def test_what_the_requests_raise_is_raised_after_the_items_before_it(session, model):
    model.open.set()
    given: list[Any] = []
    blocks = Blocks([b"x"] * 20, OSError("the disk is gone"))
    with pytest.raises(OSError, match="the disk is gone"):
        await give_all(session.invoke_many("echo", blocks, concurrency=8), given.append)
    assert len(given) == 20


async def test_cancelled_while_items_are_given_nothing_is_left_behind(session, model):
    items = session.invoke_many("echo", [b"x"] * 50, concurrency=8)
    giving = asyncio.ensure_future(give_all(items, lambda _: None))
    await until(lambda: model.now == 8)
    assert len(workers()) == 8
    giving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await giving
    await until(lambda: model.now == 0)
    assert not workers()
