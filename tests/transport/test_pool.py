"""The pool: how many connections it holds, which it hands out, and when it gives them up."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import LoopClock
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import open_once
from support.transports import begin, idle, in_use, open_transport
from support.waiting import until

from aiosmrt import Timeouts
from aiosmrt._transport import links
from aiosmrt.errors import PoolTimeoutError


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> LoopClock:
    """The clock of the test's event loop."""
    return LoopClock(monkeypatch)


async def test_as_many_calls_as_max_connections_are_under_way_at_once() -> None:
    """A connector of aiohttp's has a limit of its own, of 100."""
    go_on = asyncio.Event()

    async def handler(connection: Connection) -> None:
        while True:
            server.requests.append(await connection.request())
            await go_on.wait()
            await connection.send(answer())

    async with RawServer(handler) as server:
        async with open_once(server.url, max_connections=101) as session:
            calls = [asyncio.ensure_future(session.invoke_endpoint("e", b"x")) for _ in range(102)]
            await until(lambda: len(server.requests) == 101, 20)
            assert in_use(session) == 101
            go_on.set()
            await asyncio.gather(*calls)
            assert server.connections == 101


async def test_connections_idle_at_different_times_are_each_closed_in_time(
    clock: LoopClock,
) -> None:
    half = links.KEEPALIVE_SECONDS / 2
    async with serve(answer()) as server, open_transport(server) as transport:
        first, second = [await begin(transport) for _ in range(2)]
        await first.read(5.0, None)
        clock.advance(half)
        await second.read(5.0, None)
        assert idle(transport) == 2
        for left in (1, 0):
            clock.advance(half)
            assert idle(transport) == left
            await until(lambda left=left: server.open == left)


async def test_the_error_of_a_full_pool_has_the_limit_that_ran_out(clock: LoopClock) -> None:
    async with RawServer(Connection.gone) as server:
        async with open_once(server.url, max_connections=1) as session:
            first = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
            await until(lambda: server.open)
            limits = Timeouts(total=300)
            second = asyncio.ensure_future(session.invoke_endpoint("e", b"x", timeouts=limits))
            await asyncio.sleep(0)
            clock.advance(300)
            with pytest.raises(PoolTimeoutError, match=r"Timeouts\.total 300 s") as caught:
                await second
            assert caught.value.total == 300
            first.cancel()
