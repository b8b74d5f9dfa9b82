"""Connections between two exchanges, and the one timer of each."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import tracemalloc
from typing import Any

import aiohttp
import pytest
from support.clock import LoopClock
from support.raw_server import Connection, RawServer, answer, serve
from support.transports import begin, idle, open_transport
from support.waiting import turns, until

from aiosmrt._transport import Transport, links
from aiosmrt.errors import DeadlineExceededError, ReadTimeoutError


class Timers:
    """The timers that are made on a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._made: dict[asyncio.TimerHandle, float] = {}
        self._call_at = loop.call_at

    def call_at(self, when: float, *arguments: Any, **keywords: Any) -> asyncio.TimerHandle:
        timer = self._call_at(when, *arguments, **keywords)
        self._made[timer] = when
        return timer

    def pending(self) -> set[asyncio.TimerHandle]:
        now = self._loop.time()
        return {timer for timer, when in self._made.items() if when > now and not timer.cancelled()}


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> LoopClock:
    return LoopClock(monkeypatch)


@pytest.fixture
async def timers(monkeypatch: pytest.MonkeyPatch) -> Timers:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    monkeypatch.setattr(loop, "call_at", timers.call_at)
    return timers


async def test_the_connection_used_last_is_used_next() -> None:
    async def handler(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answer(b"%d" % connection.number))

    async with RawServer(handler) as server, open_transport(server) as transport:
        first, second = await begin(transport), await begin(transport)
        assert await second.read(5.0, None) == b"1"
        assert await first.read(5.0, None) == b"0"
        third = await begin(transport)
        assert third.reused
        assert await third.read(5.0, None) == b"0"
        assert server.connections == 2


async def test_what_is_idle_for_too_long_is_closed(
    monkeypatch: pytest.MonkeyPatch, timers: Timers
) -> None:
    monkeypatch.setattr(links, "KEEPALIVE_SECONDS", 0.05)
    async with serve(answer()) as server, open_transport(server) as transport:
        exchanges = [await begin(transport) for _ in range(3)]
        for exchange in exchanges:
            await exchange.read(5.0, None)
        assert idle(transport) == 3
        await until(lambda: not idle(transport))
        await until(lambda: not server.open)
        assert not timers.pending()


async def test_connections_idle_at_different_times_are_each_closed_in_time(
    clock: LoopClock,
) -> None:
    half = links.KEEPALIVE_SECONDS / 2
    async with serve(answer()) as server, open_transport(server) as transport:
        with clock.stopped():
            first, second = [await begin(transport) for _ in range(2)]
            await first.read(50.0, None)
            clock.advance(half)
            await second.read(50.0, None)
            for left in (2, 1, 0):
                assert idle(transport) == left
                clock.advance(half)
        await until(lambda: not server.open)
        assert not clock.pending


async def test_after_a_fresh_connection_idle_ones_are_closed_in_time_as_before(
    clock: LoopClock,
) -> None:
    async with serve(answer()) as server, open_transport(server) as transport:
        for fresh in (False, True):
            await (await begin(transport, fresh=fresh)).read(50.0, None)
        assert idle(transport) == 1
        clock.advance(links.KEEPALIVE_SECONDS)
        assert idle(transport) == 0


@pytest.mark.parametrize("seconds, is_used", [(14, True), (15, False)])
async def test_a_connection_is_given_up_before_the_service_closes_it(
    clock: LoopClock, seconds: int, is_used: bool
) -> None:
    """The service does after about 20 s. The timer may come later, where the loop was busy."""
    async with serve(answer()) as server, open_transport(server) as transport:
        with clock.stopped():
            await (await begin(transport)).read(50.0, None)
            clock.advance(seconds, busy=True)
            exchange = await begin(transport)
            assert exchange.reused is is_used
            await exchange.read(50.0, None)


async def test_a_transport_that_is_closed_leaves_no_timer(timers: Timers) -> None:
    async with serve(answer()) as server:
        async with open_transport(server) as transport:
            used, _ = [await begin(transport, read=70.0) for _ in range(2)]
            await used.read(70.0, None)
            assert timers.pending()
            await transport.aclose()
            await until(lambda: not timers.pending(), 5.0)


async def test_a_connection_that_its_server_ends_goes_back_to_nobody() -> None:
    """The server has said so, and closes only later."""
    ending = answer(headers={"Connection": "close"})
    async with aiohttp.TCPConnector() as connector, serve(ending) as server:
        async with open_transport(server, connector=connector) as transport:
            for number in (1, 2):
                exchange = await begin(transport)
                assert not exchange.reused
                await exchange.read(5.0, None)
                assert server.connections == number


async def test_an_idle_connection_is_not_used_past_the_deadline() -> None:
    async with serve(answer()) as server, open_transport(server) as transport:
        await (await begin(transport)).read(5.0, None)
        past = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceededError):
            await transport.acquire(deadline=past, connect=5.0)
        assert len(server.requests) == 1
        assert idle(transport) == 1


async def test_a_timer_serves_all_exchanges_of_its_connection(timers: Timers) -> None:
    async with serve(answer(), answer(), b"") as server, open_transport(server) as transport:
        await (await begin(transport)).read(70.0, None)
        pending = timers.pending()
        assert len(pending) == 2  # the connection's own, and that of all that are idle
        await (await begin(transport)).read(70.0, None)
        assert timers.pending() == pending
        # An earlier end than the timer's is kept all the same.
        with pytest.raises(ReadTimeoutError):
            await begin(transport, read=0.05)
        assert len(timers.pending()) == 1


async def test_a_timer_that_nobody_waits_for_ends_by_itself(timers: Timers) -> None:
    async with serve(answer()) as server, open_transport(server) as transport:
        await (await begin(transport, read=0.5)).read(0.5, None)
        await until(lambda: len(timers.pending()) == 1)
        exchange = await begin(transport)
        assert exchange.reused
        await exchange.read(5.0, None)


async def test_who_forgets_to_close_is_told_and_the_connections_are_closed(timers: Timers) -> None:
    async with serve(answer()) as server:
        transport = Transport(server.url, max_connections=1)
        await (await begin(transport)).read(70.0, None)
        with pytest.warns(ResourceWarning, match="Session was not closed"):  # noqa: PT031
            del transport
            gc.collect()
        await until(lambda: not server.open)
        assert len(timers.pending()) == 1  # that of the idle ones, which holds none of them


async def test_a_connector_of_the_users_gets_each_connection_back(timers: Timers) -> None:
    async with aiohttp.TCPConnector(limit=1) as connector, serve(answer()) as server:
        async with open_transport(server, connector=connector) as transport:
            for reused in (False, True):
                before = timers.pending()
                exchange = await begin(transport)
                assert exchange.reused is reused
                (timer,) = timers.pending() - before
                await exchange.read(5.0, None)
                assert timer.cancelled()
                assert idle(transport) == 0
            async with aiohttp.ClientSession(connector=connector, connector_owner=False) as client:
                async with client.post(server.url, data=b"x") as response:
                    assert await response.read() == b"ok"
        assert server.connections == 1


def test_a_session_is_closed_after_its_loop() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())

    async def use() -> Transport:
        async with RawServer(handler) as server:
            transport = Transport(server.url, max_connections=1)
            await (await begin(transport)).read(5.0, None)
            await until(lambda: not server.open)
            await turns()
            return transport

    transport = asyncio.run(use())
    assert idle(transport) == 1
    asyncio.run(transport.aclose())
    assert idle(transport) == 0


async def test_a_connector_of_the_users_shares_its_connections_with_aiohttp() -> None:
    """aiohttp's own handler is back in its place when the connector has the connection."""
    connector = aiohttp.TCPConnector()
    async with (
        serve(answer(b"whole")) as server,
        aiohttp.ClientSession(connector=connector) as others,
        open_transport(server, connector=connector) as transport,
    ):
        for _ in range(3):
            exchange = await begin(transport)
            assert await exchange.read(5.0, None) == b"whole"
            async with others.post(server.url, data=b"theirs") as response:
                assert await response.read() == b"whole"
        assert server.connections == 1


async def test_connections_that_wait_hold_no_memory_to_read_into() -> None:
    async with serve(answer()) as server, open_transport(server, 100) as transport:
        await (await begin(transport)).read(5.0, None)
        tracemalloc.start()
        try:
            exchanges = [await begin(transport) for _ in range(100)]
            await asyncio.gather(*[exchange.read(5.0, None) for exchange in exchanges])
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert idle(transport) == 100
        # The server's ends, which live in this process too, have 64 KiB at most each.
        assert held < 100 * 128 * 1024


def test_two_loops_never_read_into_the_same_memory() -> None:
    """A read drops the interpreter's lock, so that the other thread's may come in between."""
    failures: list[BaseException] = []

    async def fetch(fill: bytes) -> None:
        body = fill * 3_000_000
        async with serve(answer(body)) as server, open_transport(server) as transport:
            for _ in range(10):
                exchange = await begin(transport)
                assert await exchange.read(30.0, None) == body

    def run(fill: bytes) -> None:
        try:
            asyncio.run(fetch(fill))
        except BaseException as error:  # noqa: BLE001 - for the test to raise
            failures.append(error)

    threads = [threading.Thread(target=run, args=(fill,)) for fill in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures


async def test_a_body_that_nobody_takes_is_not_read_further() -> None:
    sent = 0

    async def handler(connection: Connection) -> None:
        nonlocal sent
        await connection.request()
        raw = connection.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while True:
            await connection.send(bytes(65_536))
            sent += 65_536

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await begin(transport)
        before = -1
        while before != sent:  # until the server can send no more
            before = sent
            for _ in range(20):
                await turns()
        received = len(await exchange.receive(5.0))
        assert received < 1 << 20
        assert sent < 100_000_000
        while received < 5_000_000:
            received += len(await exchange.receive(5.0))
        exchange.close()


async def test_bytes_that_nobody_asked_for_close_an_idle_connection_at_once() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        await go_on.wait()
        await connection.send(b"unasked")
        await connection.gone()

    go_on = asyncio.Event()
    async with RawServer(handler) as server, open_transport(server) as transport:
        await (await begin(transport)).read(5.0, None)
        go_on.set()
        await until(lambda: not server.open, links.KEEPALIVE_SECONDS / 2)


async def test_bytes_that_came_for_a_connector_of_the_users_are_nobodys_answer() -> None:
    """They came while aiohttp's handler stood in its place."""
    was_sent = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer(b"%d" % connection.number))
        if not connection.number:
            await go_on.wait()
            await connection.send(answer(b"unasked"))
            was_sent.set()
        await connection.gone()

    go_on = asyncio.Event()
    async with aiohttp.TCPConnector() as connector, RawServer(handler) as server:
        async with open_transport(server, connector=connector) as transport:
            assert await (await begin(transport)).read(5.0, None) == b"0"
            go_on.set()
            await was_sent.wait()
            await turns()
            assert await (await begin(transport)).read(5.0, None) == b"1"
