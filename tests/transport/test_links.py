"""Connections between two exchanges, and the one timer of each."""

from __future__ import annotations

import asyncio
import gc

import aiohttp
import pytest
from support.raw_server import answer, serve
from support.transports import begin, open_transport
from support.waiting import until

from aiosmrt._transport import Transport, links
from aiosmrt.errors import DeadlineExceededError, ReadTimeoutError


async def test_the_connection_used_last_is_used_next() -> None:
    async with serve(answer()) as server, open_transport(server.url) as transport:
        first, second = await begin(transport), await begin(transport)
        await second.read(5.0, None)
        protocol = first._protocol
        await first.read(5.0, None)
        third = await begin(transport)
        assert third.reused
        assert third._protocol is protocol
        await third.read(5.0, None)
        assert server.connections == 2


async def test_what_is_idle_for_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "KEEPALIVE_SECONDS", 0.05)
    async with serve(answer()) as server, open_transport(server.url) as transport:
        exchanges = [await begin(transport) for _ in range(3)]
        for exchange in exchanges:
            await exchange.read(5.0, None)
        kept = list(transport._idle)
        assert len(kept) == 3
        await until(lambda: not list(transport._idle))
        assert not any(link.protocol.is_connected() for link in kept)
        assert not transport._connector._acquired
        assert transport._idle._timer is None


async def test_what_has_been_idle_for_too_long_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serve(answer()) as server, open_transport(server.url) as transport:
        await (await begin(transport)).read(5.0, None)
        # As when the loop was kept busy past the timer.
        monkeypatch.setattr(links, "KEEPALIVE_SECONDS", 0.0)
        exchange = await begin(transport)
        assert not exchange.reused
        await exchange.read(5.0, None)


async def test_an_idle_connection_is_not_used_past_the_deadline() -> None:
    async with serve(answer()) as server, open_transport(server.url) as transport:
        await (await begin(transport)).read(5.0, None)
        past = asyncio.get_running_loop().time()
        with pytest.raises(DeadlineExceededError):
            await transport.acquire(deadline=past, connect=5.0)
        assert len(server.requests) == 1
        assert len(list(transport._idle)) == 1


async def test_a_timer_serves_all_exchanges_of_its_connection() -> None:
    async with serve(answer(), answer(), b"") as server, open_transport(server.url) as transport:
        await (await begin(transport)).read(70.0, None)
        (link,) = transport._idle
        timer = link._timer
        await (await begin(transport)).read(70.0, None)
        assert link._timer is timer
        assert not timer.cancelled()
        # An earlier end than the timer's is kept all the same.
        with pytest.raises(ReadTimeoutError):
            await begin(transport, read=0.05)
        assert link._timer is None


async def test_a_timer_that_nobody_waits_for_ends_by_itself() -> None:
    async with serve(answer()) as server, open_transport(server.url) as transport:
        await (await begin(transport, read=0.5)).read(0.5, None)
        (link,) = transport._idle
        await until(lambda: link._timer is None)
        assert link.is_clean


async def test_who_forgets_to_close_is_told_and_the_connections_are_closed() -> None:
    async with serve(answer()) as server:
        transport = Transport(server.url, max_connections=1)
        await (await begin(transport)).read(70.0, None)
        (link,) = transport._idle
        with pytest.warns(ResourceWarning, match="Session was not closed"):  # noqa: PT031
            del transport
            gc.collect()
        await until(lambda: not link.protocol.is_connected())
        assert link._timer is None


async def test_a_connector_of_the_users_gets_each_connection_back() -> None:
    async with aiohttp.TCPConnector(limit=1) as connector, serve(answer()) as server:
        async with open_transport(server.url, connector=connector) as transport:
            for reused in (False, True):
                exchange = await begin(transport)
                assert exchange.reused is reused
                timer = exchange._link._timer
                await exchange.read(5.0, None)
                assert timer.cancelled()
                assert not list(transport._idle)
                assert not connector._acquired


def test_a_session_is_closed_after_its_loop() -> None:
    async def use() -> Transport:
        async with serve(answer()) as server:
            transport = Transport(server.url, max_connections=1)
            await (await begin(transport)).read(5.0, None)
            (link,) = transport._idle
            link.protocol.transport.abort()
            return transport

    transport = asyncio.run(use())
    asyncio.run(transport.aclose())
    assert not list(transport._idle)
