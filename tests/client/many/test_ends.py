"""Whatever ends a task that makes the calls, the consumer gets all items or an error."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest
from support.raw_server import Connection, RawServer, answer
from support.sessions import open_session
from support.streams import END, HEAD, chunk, part
from support.waiting import our_tasks, until

import aiosmrt
from aiosmrt import CachingProvider, Credentials, CredentialsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COUNT = 24


class Foreign(BaseException):
    """As trio.Cancelled is: no Exception."""


class Provider:
    """Raises at its third request for credentials, or from there on at each."""

    def __init__(self, raised: str, *, always: bool) -> None:
        self._raised = raised
        self._always = always
        self._asked = 0
        self.expiry: datetime | None = None

    async def get_credentials(self) -> Credentials:
        self._asked = number = self._asked + 1
        await asyncio.sleep(0)
        if self._raised and (number == 3 or (self._always and number > 3)):
            if self._raised == "a cancelled task":
                task = asyncio.ensure_future(asyncio.sleep(60))
                task.cancel()
                await task
            errors = {
                "CancelledError": asyncio.CancelledError,
                "GeneratorExit": GeneratorExit,
                "BaseException": Foreign,
                "KeyboardInterrupt": KeyboardInterrupt,
                "SystemExit": SystemExit,
            }
            raise errors[self._raised]
        return Credentials("AKID", "secret", None, self.expiry)


def cached(provider: Provider) -> CachingProvider:
    """The provider, asked by a cache to whose clock minutes pass at every look."""
    now = 1e9

    def clock() -> float:
        nonlocal now
        now += 200.0
        provider.expiry = datetime.fromtimestamp(now + 1000, timezone.utc)
        return now

    return CachingProvider(provider, clock=clock)


async def handler(connection: Connection) -> None:
    while True:
        request = await connection.request()
        if "response-stream" in request.path:
            await connection.send(b"".join([HEAD, chunk(part(b"ok")), END]))
        else:
            await connection.send(answer())


async def later(bodies: list[bytes]) -> AsyncIterator[bytes]:
    for body in bodies:
        await asyncio.sleep(0)
        yield body


def begin(session: aiosmrt.Session, how: dict[str, Any]) -> Any:
    given = dict(how)
    many = session.stream_many if given.pop("stream", False) else session.invoke_many
    bodies = [b"%d" % number for number in range(COUNT)]
    return many("e", later(bodies) if given.pop("late", False) else bodies, **given)


HOW = [
    {"concurrency": 1},
    {"concurrency": 1, "ordered": True, "late": True},
    {"concurrency": 4},
    {"concurrency": 4, "ordered": True},
    {"concurrency": 4, "ordered": True, "late": True},
    {"concurrency": 64, "late": True},
    {"concurrency": "auto", "ordered": True},
    {"concurrency": 4, "stream": True},
    {"concurrency": 4, "stream": True, "ordered": True, "late": True},
]


@pytest.mark.parametrize("how", HOW, ids=repr)
@pytest.mark.parametrize("always", [False, True], ids=["once", "always"])
@pytest.mark.parametrize("caching", [False, True], ids=["direct", "caching"])
@pytest.mark.parametrize(
    "raised", ["CancelledError", "a cancelled task", "GeneratorExit", "BaseException"]
)
async def test_no_item_is_lost_to_what_a_provider_raises(
    raised: str, caching: bool, always: bool, how: dict[str, Any]
) -> None:
    provider: Any = Provider(raised, always=always)
    provider = cached(provider) if caching else provider
    async with RawServer(handler) as server:
        async with open_session(server.url, credentials=provider) as session:
            got: list[Any] = []
            try:
                async for item in begin(session, how):
                    got.append(item)  # noqa: PERF401 - they are kept when it raises
            except (GeneratorExit, Foreign) as error:
                assert type(error).__name__ in (raised, "Foreign")  # noqa: PT017 - no Exception
            else:
                assert caching or raised in ("CancelledError", "a cancelled task")
                assert sorted(item.key for item in got) == list(range(COUNT))
                errors = [item.error for item in got if item.error is not None]
                assert errors or caching  # which makes do with what it has, while that lasts
                assert all(isinstance(error, CredentialsError) for error in errors)
                assert all("was cancelled" in str(error) for error in errors)
            if how.get("ordered"):
                assert [item.key for item in got] == list(range(len(got)))
            if not always:
                assert (await session.invoke_endpoint("e", b"x")).body == b"ok"
        assert not our_tasks() - {asyncio.current_task()}


@pytest.mark.parametrize("how", HOW, ids=repr)
@pytest.mark.parametrize("caching", [False, True], ids=["direct", "caching"])
async def test_no_item_is_lost_when_the_loops_other_tasks_are_cancelled(
    caching: bool, how: dict[str, Any]
) -> None:
    """As a supervisor does, or the end of a test."""
    for seen in (0, 1, COUNT // 2, COUNT - 1):
        async with RawServer(handler) as server:
            provider: Any = Provider("", always=False)
            provider = cached(provider) if caching else provider
            async with open_session(server.url, credentials=provider) as session:
                before = asyncio.all_tasks()
                got = 0
                items = begin(session, how)
                with contextlib.suppress(RuntimeError):
                    while got < COUNT:
                        waiting = asyncio.ensure_future(anext(items))
                        await asyncio.sleep(0)
                        if got == seen:
                            for task in asyncio.all_tasks() - before - {waiting}:
                                if "_accept" not in repr(task):  # the server's
                                    task.cancel()
                        assert (await waiting).index < COUNT
                        got += 1
                    with pytest.raises(StopAsyncIteration):
                        await anext(items)
                    got = -1
                assert got < COUNT
                await items.aclose()
                assert (await session.invoke_endpoint("e", b"x")).body == b"ok"


@pytest.mark.parametrize("how", HOW, ids=repr)
@pytest.mark.parametrize("caching", [False, True], ids=["direct", "caching"])
@pytest.mark.parametrize("raised", ["KeyboardInterrupt", "SystemExit"])
def test_what_stops_the_loop_leaves_nobody_waiting(
    raised: str, caching: bool, how: dict[str, Any]
) -> None:
    """asyncio lets these two out of the loop, which may go on afterwards."""
    provider: Any = Provider(raised, always=False)
    provider = cached(provider) if caching else provider
    got: list[Any] = []

    async def main() -> None:
        async with RawServer(handler) as server:
            async with open_session(server.url, credentials=provider) as session:
                async for item in begin(session, how):
                    got.append(item)  # noqa: PERF401 - they are kept when it raises

    loop = asyncio.new_event_loop()
    task = loop.create_task(main())
    stopped = 0
    while not task.done():
        try:
            loop.run_until_complete(asyncio.wait([task]))
        except (KeyboardInterrupt, SystemExit):
            stopped += 1
    assert stopped >= 1
    ended = task.exception()
    assert type(ended).__name__ == raised or (ended is None and len(got) == COUNT)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


async def test_closing_the_items_again_finishes_a_close_that_was_cancelled() -> None:
    free = asyncio.Event()

    async def stubborn() -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            await free.wait()

    async with RawServer(handler) as server, open_session(server.url) as session:
        items = session.invoke_many("e", stubborn(), concurrency=2)
        assert (await anext(items)).error is None
        closing = asyncio.ensure_future(items.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        free.set()
        await items.aclose()
        await until(lambda: not our_tasks())
