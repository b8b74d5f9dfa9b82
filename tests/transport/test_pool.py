"""The pool: how many connections it holds, which it hands out, and when it gives them up."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from support.certificates import AUTHORITY, serving, trusting
from support.clock import LoopClock
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import open_once
from support.transports import begin, idle, in_use, open_transport
from support.waiting import our_threads, turns, until

from aiosmrt import Timeouts
from aiosmrt._threads import Threads
from aiosmrt._transport import Exchange, Transport
from aiosmrt.errors import (
    ConnectError,
    ConnectTimeoutError,
    DeadlineExceededError,
    PoolTimeoutError,
    TransportError,
)

if TYPE_CHECKING:
    from pathlib import Path


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
            await until(lambda: len(server.requests) == 101, 30)
            assert in_use(session) == 101
            go_on.set()
            await asyncio.gather(*calls)
            assert server.connections == 101


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


# ── what can be taken without waiting ────────────────────────────────────────────────────────


async def keep_one(transport: Transport) -> None:
    """Leaves an idle connection."""
    await (await begin(transport)).read(50.0, None)
    assert idle(transport) == 1


@pytest.mark.parametrize("left", [None, 1.0, 0.0, -1.0])
async def test_an_idle_connection_is_taken_until_the_deadline_and_not_at_it(
    left: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(answer()) as server, open_transport(server) as transport:
        assert transport.take(None) is None
        await keep_one(transport)
        loop = asyncio.get_running_loop()
        now = loop.time()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "time", lambda: now)
            if left is None or left > 0:
                exchange = transport.take(None if left is None else now + left)
                assert exchange is not None
                assert exchange.reused
                assert in_use(transport) == 1
                assert transport.take(None) is None
                exchange.close()
            else:
                assert transport.take(now + left) is None
                with pytest.raises(DeadlineExceededError, match="before a connection was made"):
                    await transport.acquire(deadline=now + left, connect=None)
                assert idle(transport) == 1


@pytest.mark.parametrize("why", ["it is dead", "none is free", "it is closed"])
async def test_nothing_is_taken_at_once_where_a_call_has_to_wait(why: str) -> None:
    go_on = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        await go_on.wait()

    async with RawServer(handler) as server, open_transport(server, 2) as transport:
        first, second = await begin(transport), await begin(transport)
        await first.read(50.0, None)
        if why == "it is dead":
            go_on.set()
            await until(lambda: not server.open)
            await turns()
        elif why == "none is free":
            third = transport.take(None)
            assert third is not None
            waiting = asyncio.ensure_future(begin(transport))
            await turns()
            await second.read(50.0, None)  # its place goes to the one that waits
            assert idle(transport) == 1
            assert transport.take(None) is None
            waiting.cancel()
            await turns()
            third.close()
            taken = transport.take(None)
            assert taken is not None
            taken.close()
        else:
            transport.close()
            assert idle(transport) == 1
        assert transport.take(None) is None
        second.close()
        go_on.set()


def test_a_connection_of_another_loop_is_not_taken() -> None:
    async def use() -> Transport:
        async with serve(answer()) as server:
            transport = Transport(server.url, max_connections=1)
            await keep_one(transport)
        return transport

    async def use_again(transport: Transport) -> None:
        assert transport.take(None) is None
        with pytest.raises(TransportError, match="belongs to another event loop"):
            await transport.acquire(deadline=None, connect=None)
        await transport.aclose()

    transport = asyncio.run(use())
    asyncio.run(use_again(transport))


# ── connecting ───────────────────────────────────────────────────────────────────────────────

LIMITS = {
    (50.0, None): (ConnectTimeoutError, "No connection was made within Timeouts.connect=50.0 s"),
    (50.0, 55.0): (ConnectTimeoutError, "No connection was made within Timeouts.connect=50.0 s"),
    (55.0, 50.0): (DeadlineExceededError, "Timeouts.total ran out while connecting"),
    (None, 50.0): (DeadlineExceededError, "Timeouts.total ran out while connecting"),
}


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("connect, total", LIMITS)
async def test_connecting_ends_with_the_limit_that_comes_first(
    connect: float | None, total: float | None, own: bool, clock: LoopClock
) -> None:
    """What is connected to never says a word of TLS. asyncio gives it a minute."""
    error, text = LIMITS[connect, total]
    async with RawServer(Connection.gone) as server, aiohttp.TCPConnector() as connector:
        url = server.url.replace("http:", "https:")
        async with open_transport(url, connector=None if own else connector) as transport:
            deadline = None if total is None else asyncio.get_running_loop().time() + total
            connecting = asyncio.ensure_future(
                transport.acquire(deadline=deadline, connect=connect)
            )
            await until(lambda: server.open)
            clock.advance(40)
            await turns()
            assert not connecting.done()
            clock.advance(11)  # aiohttp rounds its limit up to a second
            with pytest.raises(error) as caught:
                await connecting
            assert caught.value.message == text
        await until(lambda: not server.open)


async def test_the_wait_for_a_users_connector_ends_before_connecting(clock: LoopClock) -> None:
    """A deadline that passes after it is no longer the connector's matter."""
    loop = asyncio.get_running_loop()
    async with (
        RawServer(Connection.gone) as silent,
        serve(answer(b"abc")[:-1]) as server,
        aiohttp.TCPConnector(limit=1) as connector,
        open_transport(server, connector=connector) as first,
        open_transport(silent.url.replace("http:", "https:"), connector=connector) as second,
    ):
        exchange = await begin(first)
        waiting = asyncio.ensure_future(second.acquire(deadline=loop.time() + 50, connect=None))
        await turns()
        assert not silent.open
        exchange.close()
        await until(lambda: silent.open)
        clock.advance(50)
        with pytest.raises(DeadlineExceededError, match="ran out while connecting"):
            await waiting


async def test_an_idle_connection_of_a_users_connector_costs_no_task() -> None:
    """A task for each call would make the call cost a fifth more."""
    made: list[object] = []
    loop = asyncio.get_running_loop()

    def make(of: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coro)
        return asyncio.Task(coro, loop=of, **options)

    async with (
        aiohttp.TCPConnector(limit=2) as connector,
        serve(answer()) as server,
        open_transport(server, connector=connector) as transport,
    ):
        await (await begin(transport)).read(5.0, None)
        loop.set_task_factory(make)
        try:
            for _ in range(3):
                exchange = await begin(transport)
                assert exchange.reused
                await exchange.read(5.0, None)
        finally:
            loop.set_task_factory(None)
        assert made == []
        # None is idle, then none is free: asking for one has left nothing in the connector.
        first, second = [await begin(transport) for _ in range(2)]
        waiting = asyncio.ensure_future(begin(transport))
        await turns()
        assert not waiting.done()
        await first.read(5.0, None)
        await (await waiting).read(5.0, None)
        await second.read(5.0, None)
        assert server.connections == 2


async def test_a_fresh_connection_is_not_one_that_a_users_connector_kept() -> None:
    async with (
        serve(answer()) as server,
        aiohttp.TCPConnector() as connector,
        open_transport(server, connector=connector) as transport,
    ):
        for exchange in [await begin(transport) for _ in range(2)]:
            await exchange.read(50.0, None)
        exchange = await begin(transport, fresh=True)
        assert not exchange.reused
        await exchange.read(50.0, None)
        assert server.connections == 3
        await until(lambda: server.open == 1)  # those that were passed over are closed


@pytest.mark.parametrize("end", ["cancelled", "closed"])
async def test_ended_at_any_turn_connecting_leaves_no_connection_behind(end: str) -> None:
    """A connector of the user's, with its limit of one, serves the next all the same."""
    async with serve(answer()) as server, aiohttp.TCPConnector(limit=1) as connector:
        for turn in range(100):
            transport = Transport(server.url, max_connections=1, connector=connector)
            fresh = asyncio.ensure_future(transport.acquire(deadline=None, connect=5.0, fresh=True))
            for _ in range(turn):
                await asyncio.sleep(0)
            was_done = fresh.done()
            if end == "cancelled":
                fresh.cancel()
            else:
                transport.close()
            (outcome,) = await asyncio.gather(fresh, return_exceptions=True)
            if isinstance(outcome, Exchange):
                outcome.close()
            elif end == "closed":
                assert outcome.message.startswith("The session ")
            await transport.aclose()
            assert in_use(transport) == 0
            async with open_transport(server, connector=connector) as other:
                exchange = await asyncio.wait_for(begin(other), 10)
                await exchange.read(50.0, None)
            if was_done:
                return
    pytest.fail("it never connected")


async def test_a_host_whose_name_cannot_be_one_is_a_connect_error() -> None:
    """Python raises a UnicodeError, which is a ValueError."""
    host = f"{'a' * 64}.example"
    async with open_transport(f"http://{host}") as transport:
        with pytest.raises(ConnectError, match=f"Cannot connect to {host}: ") as caught:
            await transport.acquire(deadline=None, connect=5.0)
        assert caught.value.host == host


# ── closing ──────────────────────────────────────────────────────────────────────────────────


async def test_what_is_under_way_is_known(clock: LoopClock) -> None:
    async with serve(answer()) as server, open_transport(server) as transport:
        assert not transport.has_exchanges
        first, second = await begin(transport), await begin(transport)
        await first.read(50.0, None)
        assert transport.has_exchanges
        second.close()
        assert not transport.has_exchanges


@pytest.mark.parametrize("given", [True, False])
async def test_closing_ends_the_threads_that_are_its_own(given: bool, tmp_path: Path) -> None:
    before = our_threads()
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    threads = Threads() if given else None
    async with serve(answer(), ssl=serving("localhost")) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        transport = Transport(url, max_connections=1, tls=str(tmp_path / "ca.pem"), threads=threads)
        await keep_one(transport)
        assert len(our_threads() - before) == 2  # certificates, and names
        await transport.aclose()
        await until(lambda: len(our_threads() - before) == given)
        if threads is not None:
            assert await threads.run(int, "7") == 7
            threads.close()
        await until(lambda: our_threads() <= before)
        assert "0 idle" in repr(transport)


async def test_closing_again_waits_until_all_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = []
    told = ResponseHandler.connection_lost

    def connection_lost(protocol: ResponseHandler, error: BaseException | None) -> None:
        lost.append(protocol)
        told(protocol, error)

    monkeypatch.setattr(ResponseHandler, "connection_lost", connection_lost)
    async with serve(answer(), ssl=serving()) as server:
        transport = Transport(server.url, max_connections=1, tls=trusting())
        await keep_one(transport)
        transport.close()
        transport.close()
        assert not lost
        await transport.aclose()
        assert len(lost) == 1
        await transport.aclose()


async def test_closing_waits_for_what_it_has_cancelled() -> None:
    ended = asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await turns()
            ended.set()

    transport = Transport("http://127.0.0.1:1", max_connections=1)
    waiting = asyncio.ensure_future(transport.lifetime.wait_for(slow_to_end(), None))
    await turns()
    await transport.aclose()
    assert ended.is_set()
    with pytest.raises(TransportError, match="The session is closed"):
        await waiting


async def test_a_closing_that_other_code_cancels_is_no_cancellation_of_who_waits() -> None:
    async with serve(answer()) as server:
        transport = Transport(server.url, max_connections=1)
        await keep_one(transport)
        before = asyncio.all_tasks()
        transport.close()
        (closing,) = asyncio.all_tasks() - before
        closing.cancel()
        await transport.aclose()
        assert idle(transport) == 0
        await until(lambda: not server.open)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of what is lost
def test_a_closing_that_its_loop_never_finished_is_not_waited_for() -> None:
    async def leave() -> Transport:
        async with serve(answer()) as server:
            transport = Transport(server.url, max_connections=1)
            await keep_one(transport)
        transport.close()
        return transport

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it tells of the task that never ended
    transport = loop.run_until_complete(leave())
    loop.close()

    async def close(transport: Transport) -> None:
        await asyncio.wait_for(transport.aclose(), 10)

    asyncio.run(close(transport))
    del transport
    gc.collect()


async def test_a_closed_session_opens_nothing() -> None:
    transport = Transport("http://127.0.0.1:1", max_connections=1)
    await transport.aclose()
    gc.collect()
    before = sum(isinstance(each, aiohttp.TCPConnector) for each in gc.get_objects())
    with pytest.raises(TransportError, match="The session is closed"):
        await transport.acquire(deadline=None, connect=None)
    assert before == sum(isinstance(each, aiohttp.TCPConnector) for each in gc.get_objects())
