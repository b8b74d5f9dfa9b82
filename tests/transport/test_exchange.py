"""One exchange over the pool: what comes back, what goes wrong, and what is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from support.certificates import serving, trusting
from support.clock import LoopClock
from support.raw_server import Connection, RawServer, answer, serve
from support.transports import BODY, begin, idle, in_use, open_transport
from support.waiting import turns, until

from aiosmrt._transport import Exchange, StaleConnectionError, Transport
from aiosmrt._transport._aiohttp import USED_NAMES
from aiosmrt.errors import (
    AiosmrtError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    DeadlineExceededError,
    MessageTooLargeError,
    PoolTimeoutError,
    ReadTimeoutError,
    StreamTruncatedError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> LoopClock:
    return LoopClock(monkeypatch)


async def fetch(transport: Transport, limit: int | None = None, **how: object) -> bytes:
    exchange = await begin(transport, **how)
    return await exchange.read(20.0, limit)


def with_little_to_send(
    length: int = 4_096, made: list[socket.socket] | None = None
) -> Callable[[tuple[Any, ...]], socket.socket]:
    """Makes sockets whose system takes few bytes that the peer has not read, and notes them."""

    def make(address: tuple[Any, ...]) -> socket.socket:
        new = socket.socket(*address[:3])
        new.setblocking(False)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, length)
        if made is not None:
            made.append(new)
        return new

    return make


@contextlib.contextmanager
def listening() -> Iterator[tuple[socket.socket, str]]:
    """A socket of a server that does what the test does, in the turn in which it does that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener, f"http://127.0.0.1:{listener.getsockname()[1]}"


CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"
COMPLETE = {
    "content-length": (answer(b"abcdefg"), b"abcdefg"),
    "chunked": (CHUNKED, b"abcdefg"),
    "empty": (answer(b""), b""),
    "no-content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "continue-first": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"abc"), b"abc"),
    "processing-twice": (b"HTTP/1.1 102 Processing\r\n\r\n" * 2 + answer(b"abc"), b"abc"),
}


@pytest.mark.parametrize("response, body", COMPLETE.values(), ids=COMPLETE)
async def test_a_whole_response_leaves_its_connection_to_the_next(
    response: bytes, body: bytes
) -> None:
    async with serve(response) as server, open_transport(server) as transport:
        for _ in range(3):
            assert await fetch(transport) == body
        assert server.connections == 1
        assert server.requests[0].body == BODY


@pytest.mark.parametrize("how", ["closed", "reset"])
@pytest.mark.parametrize("response", [answer(b"abcdefg"), CHUNKED], ids=["length", "chunked"])
async def test_a_response_cut_at_any_byte_is_an_error(response: bytes, how: str) -> None:
    cut = 0

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(response[:cut])
        if how == "reset":
            connection.reset()

    async with RawServer(handler) as server, open_transport(server) as transport:
        for cut in range(len(response)):
            has_head = cut >= response.index(b"\r\n\r\n") + 4
            is_truncated = has_head and how == "closed"
            with pytest.raises((ConnectionLostError, StreamTruncatedError)) as caught:
                await fetch(transport)
            lost = caught.value
            assert isinstance(lost, StreamTruncatedError if is_truncated else ConnectionLostError)
            if isinstance(lost, ConnectionLostError):
                assert lost.head_received is has_head
                assert lost.bytes_sent == len(BODY)
                assert isinstance(lost.__cause__, ConnectionError) is (how == "reset")
        cut = len(response)
        if how == "closed":
            assert await fetch(transport) == b"abcdefg"


async def test_a_body_that_ends_with_the_connection_is_whole() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\nabc")

    async with RawServer(handler) as server, open_transport(server) as transport:
        assert await fetch(transport) == b"abc"
        assert await fetch(transport) == b"abc"
        assert server.connections == 2


OPEN_ENDED = {
    "http/1.1": b"HTTP/1.1 200 OK\r\n\r\n",
    "http/1.0": b"HTTP/1.0 200 OK\r\n\r\n",
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
}


@pytest.mark.parametrize("head", OPEN_ENDED.values(), ids=OPEN_ENDED)
@pytest.mark.parametrize("length", [0, 3, 100_000, 3_000_000])
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("is_cut", [False, True], ids=["close_notify", "cut"])
async def test_over_tls_a_body_without_a_length_ends_with_close_notify(
    head: bytes, length: int, version: str, is_cut: bool
) -> None:
    """Else anybody on the way could have ended it."""

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(head + bytes(length))
        transport = connection.writer.transport
        await until(lambda: not transport.get_write_buffer_size())
        if is_cut:
            transport.abort()
        else:
            connection.writer.close()
            await connection.gone()

    context = serving()
    context.maximum_version = ssl.TLSVersion[version]
    async with (
        RawServer(handler, ssl=context) as server,
        open_transport(server, tls=trusting()) as transport,
    ):
        if not is_cut:
            assert await fetch(transport) == bytes(length)
            return
        exchange = await begin(transport)
        with pytest.raises(StreamTruncatedError) as caught:
            await exchange.read(20.0, None)
        assert caught.value.bytes_received == length
        exchange.close()


async def test_bytes_before_a_fault_are_handed_out_before_the_error() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc")

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await begin(transport)
        # The end is there before anyone reads: this is when aiohttp loses the bytes.
        await until(lambda: not server.open)
        await turns()
        assert await exchange.receive(5.0) == b"abc"
        with pytest.raises(StreamTruncatedError) as caught:
            await exchange.receive(5.0)
        assert caught.value.bytes_received == 3


NOT_HTTP = {
    "garbage": b"\x16\x03\x01 hello\r\n\r\n",
    "a-status-that-is-none": b"HTTP/1.1 abc OK\r\n\r\n",
    "a-header-without-colon": b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
    "an-endless-header": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
    "a-switched-protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "two-lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
}


@pytest.mark.parametrize("response", NOT_HTTP.values(), ids=NOT_HTTP)
async def test_what_is_not_http_is_a_transport_error(response: bytes) -> None:
    async with serve(response) as server, open_transport(server) as transport:
        with pytest.raises(TransportError, match="not an HTTP response"):
            await fetch(transport, read=None)  # at once, and not when a time limit ends the wait


@pytest.mark.parametrize(
    "writes",
    [
        [CHUNKED_HEAD + b"3\r\nabc\r\nzz\r\nabc\r\n"],
        [CHUNKED_HEAD, b"3\r\nabc\r\nzz\r\nabc\r\n"],
        [CHUNKED_HEAD + b"3\r\nabc\r\n", b"zz\r\nabc\r\n"],
        [CHUNKED_HEAD + b"3\r\na", b"bcXXzz\r\nabc\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", CHUNKED_HEAD + b"3\r\nabc\r\nzz\r\nabc\r\n"],
    ],
    ids=["in-one", "behind-the-head", "behind-a-chunk", "behind-half-a-chunk", "behind-a-100"],
)
async def test_a_malformed_chunk_is_an_error_at_once_behind_what_came_before(
    writes: list[bytes],
) -> None:
    """Nobody closes, and no limit ends the wait."""

    async def handler(connection: Connection) -> None:
        await connection.request()
        for data in writes:
            await connection.send(data)
            await asyncio.sleep(0.01)
        await connection.gone()

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await begin(transport, read=None)
        received = await exchange.receive(None)
        if received != b"abc":
            received += await exchange.receive(None)
        assert received == b"abc"
        with pytest.raises(TransportError, match="framing is not HTTP"):
            await exchange.receive(None)
        assert idle(transport) == 0


@pytest.mark.parametrize("cut", range(1, len(CHUNKED_HEAD), 7))
async def test_a_head_in_pieces_with_a_fault_behind_it_is_an_error(cut: int) -> None:
    whole = CHUNKED_HEAD + b"zz\r\nabc\r\n"

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(whole[:cut])
        await asyncio.sleep(0.01)
        await connection.send(whole[cut:])
        await connection.gone()

    async with RawServer(handler) as server, open_transport(server) as transport:
        with pytest.raises(TransportError, match=r"not (an )?HTTP"):
            await fetch(transport)


async def test_a_whole_answer_with_garbage_behind_it_is_one_and_its_connection_no_more() -> None:
    async with serve(answer(b"1") + b"garbage\r\n\r\n", answer(b"2")) as server:
        async with open_transport(server) as transport:
            assert await fetch(transport) == b"1"
            assert idle(transport) == 0
            assert await fetch(transport) == b"2"


async def test_a_redirect_is_an_answer_like_any_other() -> None:
    response = answer(b"", "307 Temporary Redirect", {"Location": "http://127.0.0.1:1/"})
    async with serve(response) as server, open_transport(server) as transport:
        exchange = await begin(transport)
        assert exchange.status_code == 307
        exchange.release()


async def test_cookies_and_compression_pass_untouched() -> None:
    headers = {"Set-Cookie": "a=b", "Content-Encoding": "gzip"}
    async with (
        serve(answer(b"not gzip", headers=headers)) as server,
        open_transport(server) as transport,
    ):
        assert await fetch(transport) == b"not gzip"
        assert await fetch(transport) == b"not gzip"
        assert set(server.requests[1].headers) == {"host", "content-length"}


async def test_a_kept_connection_that_died_is_told_from_a_lost_one() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        with contextlib.suppress(asyncio.IncompleteReadError):
            await connection.request()

    async with RawServer(handler) as server, open_transport(server) as transport:
        assert await fetch(transport) == b"ok"
        exchange = await transport.acquire(deadline=None, connect=5.0)
        with pytest.raises(ConnectionLostError) as caught:
            await exchange.send(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"", read=5.0)
        assert not isinstance(caught.value, StaleConnectionError)  # the request was written
        assert exchange.has_crossed
        assert await fetch(transport, fresh=True) == b"ok"


@contextlib.asynccontextmanager
async def kept(transport: Transport, listener: socket.socket) -> AsyncIterator[socket.socket]:
    """A connection that has carried a request, and its far end, which is closed at the end.

    The client's loop sees nothing of the closing before the test lets it run.
    """
    loop = asyncio.get_running_loop()
    fetching = asyncio.ensure_future(fetch(transport))
    peer, _ = await loop.sock_accept(listener)
    with peer:
        assert await loop.sock_recv(peer, 65_536)
        await loop.sock_sendall(peer, answer())
        assert await fetching == b"ok"
        yield peer


@pytest.mark.parametrize("length", [0, 60_000, 3_000_000])
async def test_a_request_that_nobody_read_is_stale_however_late_that_is_known(
    clock: LoopClock, length: int
) -> None:
    with listening() as (listener, url):
        async with open_transport(url) as transport:
            async with kept(transport, listener):
                pass  # closes it
            asyncio.get_running_loop().call_soon(clock.advance, 10)  # once it is written
            with pytest.raises(StaleConnectionError, match="before the request arrived"):
                await begin(transport, body=bytes(length), read=None)


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_request_that_nobody_read_is_lost_where_an_answer_has_begun(begun: bytes) -> None:
    """The peer's system says that the request was not read, and yet a peer has answered."""
    with listening() as (listener, url):
        async with open_transport(url) as transport:
            async with kept(transport, listener) as peer:
                peer.send(begun)
            exchange = await transport.acquire(deadline=None, connect=5.0)
            assert exchange.reused
            with pytest.raises(ConnectionLostError) as caught:
                await exchange.send(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"", read=5.0)
            assert not isinstance(caught.value, StaleConnectionError)
            assert not exchange.has_crossed


async def test_a_fresh_connection_passes_over_the_idle_ones() -> None:
    async with serve(answer()) as server, open_transport(server) as transport:
        exchanges = [await begin(transport) for _ in range(3)]
        for exchange in exchanges:
            await exchange.read(5.0, None)
        exchange = await begin(transport, fresh=True)
        assert not exchange.reused
        await exchange.read(5.0, None)
        assert server.connections == 4
        assert idle(transport) == 1


async def test_no_head_in_time_is_a_read_timeout() -> None:
    async with RawServer(Connection.gone) as server, open_transport(server) as transport:
        with pytest.raises(
            ReadTimeoutError, match=r"head came within Timeouts\.read=0\.05"
        ) as caught:
            await fetch(transport, read=0.05)
        assert isinstance(caught.value, TimeoutError)


async def test_no_further_byte_in_time_is_a_read_timeout() -> None:
    async with serve(answer(b"abc")[:-1]) as server, open_transport(server) as transport:
        exchange = await begin(transport)
        assert await exchange.receive(5.0) == b"ab"
        with pytest.raises(ReadTimeoutError, match=r"response came within Timeouts\.idle=0\.05"):
            await exchange.receive(0.05)


async def test_what_came_while_the_loop_was_busy_came_in_time(clock: LoopClock) -> None:
    """The head, a part of the body, and its end."""
    go_on = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        for data in (CHUNKED_HEAD, b"3\r\nabc\r\n", b"0\r\n\r\n"):
            await go_on.wait()
            go_on.clear()
            await connection.send(data)
            clock.advance(20, busy=True)

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await transport.acquire(deadline=None, connect=5.0)
        go_on.set()
        await exchange.send(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"", read=10.0)
        for part in (b"abc", b""):
            go_on.set()
            assert await exchange.receive(10.0) == part
        exchange.release()


async def test_the_limits_count_only_while_someone_waits(clock: LoopClock) -> None:
    """That of the head ends with it, and that of the body's bytes with each of them."""
    go_on = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        for data in (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n", b"abc", b"def"):
            await connection.send(data)
            await go_on.wait()
            go_on.clear()

    async def pause() -> None:
        """Lets more time pass than each of the limits."""
        clock.advance(60)
        await turns()

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await begin(transport, read=10.0)
        await pause()
        for part in (b"abc", b"def"):
            reading = asyncio.ensure_future(exchange.receive(10.0))
            await turns()
            assert not reading.done()
            go_on.set()
            assert await reading == part
            await pause()
        exchange.release()


@pytest.mark.parametrize("wait", [20.0, None])
@pytest.mark.parametrize("begun, what", [(b"", "head was waited for"), (answer()[:-1], "body was")])
async def test_the_deadline_ends_head_and_body(begun: bytes, what: str, wait: float | None) -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        await connection.request()
        await connection.send(begun)
        await connection.gone()

    async with RawServer(handler) as server, open_transport(server) as transport:
        assert await fetch(transport) == b"ok"  # so that no connection has to be made
        deadline = asyncio.get_running_loop().time() + (0.5 if begun else 0.05)
        with pytest.raises(DeadlineExceededError, match=what):
            await (await begin(transport, read=wait, deadline=deadline)).read(wait, None)


async def test_at_its_very_instant_the_deadline_has_passed(clock: LoopClock) -> None:
    arrived = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        arrived.set()
        await connection.gone()

    async with RawServer(handler) as server, open_transport(server) as transport:
        with clock.stopped():
            deadline = asyncio.get_running_loop().time() + 50
            waiting = asyncio.ensure_future(begin(transport, read=None, deadline=deadline))
            await arrived.wait()
            clock.advance(50)
            with pytest.raises(DeadlineExceededError, match="head was waited for"):
                await waiting


async def test_a_shorter_limit_ends_a_wait_before_the_deadline() -> None:
    deadline = asyncio.get_running_loop().time() + 60
    async with serve(b"", answer(b"abc")[:-1]) as server, open_transport(server) as transport:
        with pytest.raises(ReadTimeoutError):
            await fetch(transport, read=0.05, deadline=deadline)
        exchange = await begin(transport, deadline=deadline)
        with pytest.raises(ReadTimeoutError):
            await exchange.read(0.05, None)


async def test_a_stream_outlasts_the_deadline_of_its_head(clock: LoopClock) -> None:
    async with serve(answer(b"abc")[:-1]) as server, open_transport(server) as transport:
        exchange = await begin(transport, deadline=asyncio.get_running_loop().time() + 10)
        exchange.without_deadline()
        assert await exchange.receive(5.0) == b"ab"
        clock.advance(20)
        with pytest.raises(ReadTimeoutError):
            await exchange.receive(0.05)


async def test_a_body_over_its_limit_is_refused() -> None:
    async with serve(answer(b"abcd")) as server, open_transport(server) as transport:
        assert await fetch(transport, limit=4) == b"abcd"
        with pytest.raises(MessageTooLargeError):
            await fetch(transport, limit=3)
    async with serve(CHUNKED) as server, open_transport(server) as transport:
        assert await fetch(transport, limit=7) == b"abcdefg"
        with pytest.raises(MessageTooLargeError):
            await fetch(transport, limit=6)


async def test_a_body_as_long_as_its_limit_is_read_to_its_end() -> None:
    """Its last chunk comes after its last byte."""
    go_on = asyncio.Event()

    async def handler(connection: Connection) -> None:
        while True:
            await connection.request()
            for data in (CHUNKED_HEAD, b"3\r\nabc\r\n", b"0\r\n\r\n"):
                await connection.send(data)
                await go_on.wait()
                go_on.clear()

    async with RawServer(handler) as server, open_transport(server) as transport:
        for limit in (3, None):
            reading = asyncio.ensure_future(fetch(transport, limit=limit))
            for _ in range(3):
                await turns()
                assert not reading.done() or _ == 2
                go_on.set()
            assert await reading == b"abc"
            assert idle(transport) == 1


async def test_a_body_that_nobody_took_is_no_part_of_the_next() -> None:
    async with serve(answer(b"refused"), answer(b"next")) as server:
        async with open_transport(server) as transport:
            exchange = await begin(transport)
            for _ in range(2):
                exchange.release()
            exchange.close()
            assert await fetch(transport) == b"next"
            assert server.connections == 1


async def test_an_exchange_that_was_closed_gives_no_body_though_all_has_come() -> None:
    async with serve(answer()) as server, open_transport(server) as transport:
        exchange = await begin(transport)
        for _ in range(2):
            exchange.close()
        exchange.release()
        with pytest.raises(TransportError, match=r"^The connection was closed \(host"):
            await exchange.read(5.0, None)


async def test_slots_are_given_in_order_and_waiting_has_its_own_timeout() -> None:
    loop = asyncio.get_running_loop()
    async with serve(answer()) as server, open_transport(server, 1) as transport:
        first = await begin(transport)
        order = []

        async def later(name: str) -> None:
            await fetch(transport)
            order.append(name)

        waiting = [asyncio.ensure_future(later(name)) for name in "abc"]
        await asyncio.sleep(0)
        with pytest.raises(PoolTimeoutError):
            await fetch(transport, deadline=loop.time() + 0.05)
        await first.read(5.0, None)
        await asyncio.gather(*waiting)
        assert order == ["a", "b", "c"]


async def test_a_cancelled_wait_for_a_slot_loses_no_slot() -> None:
    async with serve(answer()) as server, open_transport(server, 1) as transport:
        first = await begin(transport)
        waiting = asyncio.ensure_future(fetch(transport))
        await asyncio.sleep(0)
        await first.read(5.0, None)  # hands the slot over ...
        waiting.cancel()  # ... to a task that ends in the same turn
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await fetch(transport) == b"ok"


async def test_a_refused_connection_names_host_and_reason() -> None:
    async with RawServer(Connection.gone) as server:
        url = server.url
    async with open_transport(url) as transport:
        with pytest.raises(ConnectError, match=r"127\.0\.0\.1") as caught:
            await fetch(transport)
        assert "refused" in str(caught.value).lower()


async def test_a_host_that_never_answers_is_a_connect_timeout() -> None:
    # A listener whose backlog is full: the kernel drops further SYNs.
    with socket.socket() as listener, contextlib.ExitStack() as others:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(address)
        async with open_transport(f"http://127.0.0.1:{address[1]}") as transport:
            with pytest.raises(ConnectTimeoutError):
                await fetch(transport, connect=0.1)
            deadline = asyncio.get_running_loop().time() + 0.1
            with pytest.raises(DeadlineExceededError):
                await fetch(transport, deadline=deadline)


async def test_tls_is_verified_unless_the_authority_is_trusted() -> None:
    async with serve(answer(), ssl=serving()) as server:
        async with open_transport(server, tls=trusting()) as transport:
            assert await fetch(transport) == b"ok"
            assert await fetch(transport) == b"ok"
        async with open_transport(server) as transport:
            with pytest.raises(ConnectError, match="certificate"):
                await fetch(transport)


async def test_a_connector_of_the_users_is_shared_and_stays_open() -> None:
    async with serve(answer()) as server, aiohttp.TCPConnector(limit=1) as connector:
        for _ in range(2):
            async with open_transport(server, connector=connector) as transport:
                assert await fetch(transport) == b"ok"
            assert not connector.closed
        assert server.connections == 1


async def test_waiting_for_a_users_connector_is_a_pool_timeout() -> None:
    loop = asyncio.get_running_loop()
    async with (
        serve(answer(b"abc")[:-1], answer()) as server,
        aiohttp.TCPConnector(limit=1) as connector,
        open_transport(server, connector=connector) as first,
        open_transport(server, connector=connector) as second,
    ):
        exchange = await begin(first)
        with pytest.raises(PoolTimeoutError):
            await second.acquire(deadline=loop.time() + 0.05, connect=5.0)
        # Queued for longer than `connect` is no failure to connect.
        waiting = asyncio.ensure_future(fetch(second, connect=0.5))
        loop.call_later(0.7, exchange.close)
        assert await waiting == b"ok"


async def test_an_unknown_host_is_a_connect_error() -> None:
    async with open_transport("http://does-not-exist.invalid") as transport:
        with pytest.raises(ConnectError, match=r"does-not-exist\.invalid"):
            await fetch(transport)


async def test_closing_ends_what_waits_and_what_reads() -> None:
    async with RawServer(Connection.gone) as server:
        transport = Transport(server.url, max_connections=1)
        reading = asyncio.ensure_future(fetch(transport))
        await until(lambda: server.connections)
        waiting = asyncio.ensure_future(fetch(transport))
        await asyncio.sleep(0)
        await transport.aclose()
        for task in (reading, waiting):
            with pytest.raises(TransportError, match="The session was closed during the call"):
                await task
        with pytest.raises(TransportError, match="The session is closed"):
            await fetch(transport)
        await transport.aclose()


async def test_an_answer_before_the_request_has_left_ends_its_connection() -> None:
    async def handler(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(answer(b"no", "413 Content Too Large"))
        await connection.gone()

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await begin(transport, body=bytes(32 << 20))
        assert exchange.status_code == 413
        with contextlib.suppress(AiosmrtError):
            await exchange.read(5.0, None)
        await asyncio.sleep(0)
        assert idle(transport) == 0


async def test_an_answer_before_the_system_has_the_whole_request_ends_its_connection() -> None:
    """The transport has the rest, and would send it before the next request."""
    loop = asyncio.get_running_loop()
    with listening() as (listener, url):
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        async with (
            aiohttp.TCPConnector(socket_factory=with_little_to_send()) as connector,
            open_transport(url, connector=connector) as transport,
        ):
            fetching = asyncio.ensure_future(fetch(transport, body=bytes(60_000)))
            peer, _ = await loop.sock_accept(listener)
            with peer:
                assert await loop.sock_recv(peer, 1)  # and no more
                await loop.sock_sendall(peer, answer(b"no", "413 Content Too Large"))
                assert await fetching == b"no"
                exchange = await transport.acquire(deadline=None, connect=5.0)
                assert not exchange.reused
                exchange.close()


async def test_an_answer_to_half_an_upload_ends_its_connection_though_all_so_far_has_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The next request would be taken for the rest of the body, of which nothing is written."""
    loop = asyncio.get_running_loop()
    with listening() as (listener, url):
        async with open_transport(url) as transport:
            fetching = asyncio.ensure_future(fetch(transport, body=bytes(32 << 20)))
            peer, _ = await loop.sock_accept(listener)
            with peer:
                waits = await loop.sock_recv(peer, 1)
                while len(waits) < len(waits := peer.recv(32 << 20, socket.MSG_PEEK)):
                    await turns()
                # No more comes, since the system's memory is full. Now there is room again.
                with contextlib.suppress(BlockingIOError):
                    while peer.recv(1 << 20):
                        pass
                peer.send(answer(b"no", "413 Content Too Large"))
                assert await fetching == b"no"
                assert idle(transport) == 0
                await turns()
                assert not caplog.records  # as of writing to a connection that was dropped


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_cancelled_upload_drops_its_connection_though_its_peer_reads_nothing(
    tls: bool,
) -> None:
    async def handler(connection: Connection) -> None:
        await is_over.wait()
        await connection.gone()

    is_over = asyncio.Event()
    sockets: list[socket.socket] = []
    async with (
        RawServer(handler, ssl=serving() if tls else None, limit=1_000) as server,
        aiohttp.TCPConnector(socket_factory=with_little_to_send(made=sockets)) as connector,
        open_transport(server, tls=trusting() if tls else True, connector=connector) as transport,
    ):
        uploading = asyncio.ensure_future(begin(transport, body=bytes(30_000_000)))
        await until(lambda: in_use(transport))
        await turns()
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        await until(lambda: sockets[0].fileno() < 0, 5.0)
        is_over.set()
        # Python 3.10 ends no TLS whose reading rests: the server reads to the end.
        await until(lambda: not server.open)


@pytest.mark.parametrize(
    "extra",
    [
        answer(b"nobody asked"),
        answer(b"nobody asked")[:-1],
        b"HTTP/1.1 500 Failed\r\nX-Half: ",  # the next answer would be its header's value
        b"H",
        b"\r\n",
        b"nobody asked",
    ],
)
async def test_bytes_that_came_while_idle_are_nobodys_answer(extra: bytes) -> None:
    async def handler(connection: Connection) -> None:
        while True:
            server.requests.append(await connection.request())
            await connection.send(answer(b"%d" % len(server.requests)))
            if len(server.requests) == 1:
                await until(lambda: idle(transport))
                await connection.send(extra)

    async with RawServer(handler) as server, open_transport(server) as transport:
        assert await fetch(transport) == b"1"
        await until(lambda: not server.open)
        assert await fetch(transport) == b"2"
        assert await fetch(transport) == b"3"
        assert server.connections == 2


@pytest.mark.parametrize("extra", [b"HTTP/1.1 500 Failed\r\nX-Half: ", b"H", b"\r\n"])
async def test_what_came_behind_an_answer_is_no_part_of_the_next(extra: bytes) -> None:
    async with serve(answer(b"1") + extra, answer(b"2")) as server:
        async with open_transport(server) as transport:
            assert await fetch(transport) == b"1"
            exchange = await begin(transport)
            assert exchange.status_code == 200
            assert await exchange.read(5.0, None) == b"2"


async def test_a_kept_connection_that_died_since_it_was_taken_is_replaced_for_free() -> None:
    acquired = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        await acquired.wait()

    async with RawServer(handler) as server, open_transport(server) as transport:
        assert await fetch(transport) == b"ok"
        exchange = await transport.acquire(deadline=None, connect=5.0)
        assert exchange.reused
        # As when credentials are waited for, and the service closes meanwhile.
        acquired.set()
        await until(lambda: not server.open)
        await turns()
        with pytest.raises(StaleConnectionError):
            await exchange.send(b"POST / HTTP/1.1\r\n\r\n", b"", read=5.0)


@pytest.mark.parametrize("own", [True, False])
async def test_nothing_begins_behind_the_closing(own: bool) -> None:
    async with serve(answer()) as server, aiohttp.TCPConnector() as connector:
        given = None if own else connector

        async def acquire(transport: Transport) -> asyncio.Task[Exchange]:
            task = asyncio.ensure_future(transport.acquire(deadline=None, connect=5.0))
            await asyncio.sleep(0)
            return task

        # While it connects; and when a slot came free in the same moment.
        connecting = Transport(server.url, max_connections=1, connector=given)
        first = await acquire(connecting)
        await connecting.aclose()
        waiting = Transport(server.url, max_connections=1, connector=given)
        exchange = await waiting.acquire(deadline=None, connect=5.0)
        second = await acquire(waiting)
        exchange.close()
        await waiting.aclose()
        for transport, task in ((connecting, first), (waiting, second)):
            with pytest.raises(TransportError, match="The session"):
                await task
            assert in_use(transport) == 0
        await until(lambda: not server.open)


@pytest.mark.parametrize("own", [True, False])
async def test_closing_wakes_who_reads_a_body(own: bool) -> None:
    async with serve(answer(b"abc")[:-1]) as server, aiohttp.TCPConnector() as connector:
        transport = Transport(server.url, max_connections=1, connector=None if own else connector)
        exchange = await begin(transport)
        assert await exchange.receive(5.0) == b"ab"
        reading = asyncio.ensure_future(exchange.receive(None))
        await asyncio.sleep(0)
        await transport.aclose()
        for receiving in (reading, exchange.receive(None)):
            with pytest.raises(TransportError, match="The session was closed during the call"):
                await receiving
        assert in_use(transport) == 0
        await until(lambda: not server.open)


@pytest.mark.parametrize("tls", [False, True])
async def test_a_slow_upload_does_not_count_as_a_slow_answer(clock: LoopClock, tls: bool) -> None:
    """More than the read timeout passes while the body leaves in small sips."""
    body = bytes(24 << 20)

    async def handler(connection: Connection) -> None:
        raw = connection.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        await connection.reader.readuntil(b"\r\n\r\n")
        left = len(body)
        while left:
            received = len(await connection.reader.read(65_536))
            left -= received
            clock.advance(received / 4e6)  # in all, longer than `read`
        await connection.send(answer())

    async with (
        RawServer(handler, ssl=serving() if tls else None, limit=65_536) as server,
        # Else megabytes are in the system's buffers when the last byte is written.
        aiohttp.TCPConnector(socket_factory=with_little_to_send(65_536)) as connector,
    ):
        trusted = trusting() if tls else None
        async with open_transport(server, tls=trusted, connector=connector) as transport:
            exchange = await transport.acquire(deadline=None, connect=5.0)
            head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
            await exchange.send(head.encode(), body, read=1.0)
            assert await exchange.read(20.0, None) == b"ok"


async def test_a_connection_that_dies_late_has_not_crossed_the_request(clock: LoopClock) -> None:
    """Its request was read, and the model may be running."""

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        await connection.request()
        clock.advance(1.0)

    async with RawServer(handler) as server, open_transport(server) as transport:
        assert await fetch(transport) == b"ok"
        exchange = await transport.acquire(deadline=None, connect=5.0)
        with clock.stopped(), pytest.raises(ConnectionLostError):
            await exchange.send(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n", b"", read=5.0)
        assert not exchange.has_crossed


async def test_a_slow_upload_can_still_cross_the_closing(clock: LoopClock) -> None:
    """What counts is the time since the last byte that has left."""
    body = bytes(24 << 20)

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.reader.readexactly(1 << 20)
        clock.advance(10)
        await connection.reader.readexactly(16 << 20)
        connection.reset()

    async with RawServer(handler, limit=65_536) as server, open_transport(server) as transport:
        assert await fetch(transport) == b"ok"
        exchange = await transport.acquire(deadline=None, connect=5.0)
        head = f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        with pytest.raises(ConnectionLostError):
            await exchange.send(head, body, read=None)
        assert exchange.has_crossed


async def test_what_was_received_is_not_behind_an_error() -> None:
    """aiohttp's errors quote it."""
    import traceback

    secret = b"HTTP/1.1 200 OK\r\nX-Secret hunter2\r\n\r\n"
    chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhunter2\r\n"
    for response in (secret, chunk):
        async with serve(response) as server, open_transport(server) as transport:
            with pytest.raises((TransportError, StreamTruncatedError)) as caught:
                await fetch(transport)
            assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("connector", [object(), "tcp"], ids=["object", "str"])
def test_a_connector_of_another_kind_is_refused(connector: object) -> None:
    with pytest.raises(ConfigurationError, match="TCPConnector"):
        Transport("http://127.0.0.1:1", max_connections=1, connector=connector)


@pytest.mark.parametrize("owner", sorted({name.partition(".")[0] for name in USED_NAMES}))
async def test_an_aiohttp_that_lacks_a_name_is_refused_before_anything_is_sent(
    owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(USED_NAMES, f"{owner}.gone", "")
    async with serve(answer(b"")) as server, open_transport(server.url) as transport:
        for _ in range(2):
            with pytest.raises(ConfigurationError) as caught:
                await fetch(transport)
            assert f"aiohttp {aiohttp.__version__} lacks" in str(caught.value)
            assert f"{owner}.gone" in str(caught.value)
        assert server.connections == 0


def test_an_aiohttp_that_lacks_a_class_is_refused_too() -> None:
    script = "import aiohttp.tracing, aiosmrt; del aiohttp.tracing.Trace; aiosmrt.Session"
    run = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    last = run.stderr.decode().splitlines()[-1]
    assert last.startswith(f"aiosmrt.ConfigurationError: aiohttp {aiohttp.__version__} lacks")
    assert "'Trace'" in last


def test_every_name_of_aiohttps_has_its_test() -> None:
    root = next(folder for folder in Path(__file__).parents if folder.name == "tests")
    sources = [path.read_text(encoding="utf-8") for path in root.rglob("*.py")]
    tests = re.findall(r"^(?:async )?def (test_\w+)", "\n".join(sources), re.MULTILINE)
    assert set(USED_NAMES.values()) <= set(tests)


async def test_a_body_cut_by_a_close_is_never_taken_for_a_whole_one() -> None:
    """Also where some of it has come, and its reader is about to wake."""
    go_on = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        await go_on.wait()
        await connection.send(b"abc")
        await connection.gone()

    async with RawServer(handler) as server, open_transport(server) as transport:
        for turn in range(12):
            go_on.clear()
            exchange = await begin(transport)
            reading = asyncio.create_task(exchange.read(20.0, None))
            await asyncio.sleep(0)
            go_on.set()
            for _ in range(turn):
                await asyncio.sleep(0)
            exchange.close()
            with pytest.raises(TransportError, match=r"^The connection was closed \(host"):
                await reading


async def test_a_body_in_chunks_of_every_size_is_read_whole() -> None:
    """Nobody takes the first of them until the connection is not read further."""
    rng = random.Random(7)
    body = rng.randbytes(3_000_000)
    was_full = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(CHUNKED_HEAD)
        raw = connection.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        start = 0
        while start < len(body):
            stop = start + rng.choice([1, 7, 100, 5_000, 70_000])
            chunk = b"%x\r\n%b\r\n" % (len(body[start:stop]), body[start:stop])
            connection.writer.write(chunk)
            if connection.writer.transport.get_write_buffer_size() > 200_000:
                was_full.set()
                await connection.writer.drain()
            start = stop
        await connection.send(b"0\r\n\r\n")

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await begin(transport)
        await was_full.wait()
        received = bytearray()
        while chunks := await exchange.receive_chunks(5.0):
            assert all(chunks)
            received += b"".join(chunks)
        assert received == body
        assert exchange.bytes_received == len(body)
        exchange.release()
        assert idle(transport) == 1


async def test_what_came_before_the_request_is_not_its_answer() -> None:
    """Neither what came while connecting nor what came after it."""
    for pause in (0, 3):

        async def handler(connection: Connection) -> None:
            for _ in range(pause):  # noqa: B023 - the loop waits for its end
                await asyncio.sleep(0)
            await connection.send(answer(b"unasked"))
            await connection.request()
            await connection.gone()

        async with RawServer(handler) as server, open_transport(server) as transport:
            exchange = await transport.acquire(deadline=None, connect=5.0)
            await turns()
            head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
            with pytest.raises(TransportError, match="before the request was sent"):
                await exchange.send(head, b"", read=None)


async def test_the_connector_learns_that_a_connection_was_lost() -> None:
    """Closing the connector waits for the end of each of its connections."""
    async with serve(answer()) as server, open_transport(server) as transport:
        for exchange in [await begin(transport) for _ in range(3)]:
            await exchange.read(5.0, None)
        await asyncio.wait_for(transport.aclose(), 10)
        await until(lambda: not server.open)


@pytest.mark.parametrize("limit", ["read", "idle", "total"])
async def test_a_timeout_is_not_its_own_cause(limit: str) -> None:
    """Whoever walks along the causes would never come to an end."""
    response = b"" if limit == "read" else answer(b"abc")[:-1]
    deadline = asyncio.get_running_loop().time() + 0.2 if limit == "total" else None
    async with serve(response) as server, open_transport(server) as transport:
        with pytest.raises(TransportError) as caught:
            exchange = await begin(transport, read=0.05, deadline=deadline)
            while True:
                await exchange.receive(0.05 if limit == "idle" else 20.0)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 3_000_000,
        answer(b"x" * 3_000_000, headers={"Connection": "close"}),
        answer(b"x" * 3_000_000),
        answer(b"x") + b"more",
    ],
    ids=["until-eof", "close", "length", "more"],
)
async def test_a_connection_that_ends_before_its_answer_is_taken_gives_it_whole(
    response: bytes,
    tls: bool,
) -> None:
    body = response.partition(b"\r\n\r\n")[2].removesuffix(b"more")

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(response)

    server = RawServer(handler, ssl=serving() if tls else None)
    async with server, open_transport(server, tls=trusting() if tls else True) as transport:
        exchange = await begin(transport)
        received = b""
        while True:
            await asyncio.sleep(0.01)
            chunk = await exchange.receive(5.0)
            if not chunk:
                break
            received += chunk
        exchange.release()
        assert received == body


async def test_an_upload_that_was_given_up_lets_go_of_its_body() -> None:
    async def refuse(connection: Connection) -> None:
        await connection.reader.read(1_000)
        await connection.send(answer(b"too large", "413 Payload Too Large"))
        await connection.gone()

    async def reset(connection: Connection) -> None:
        await connection.reader.read(1_000)
        connection.reset()

    for handler in (refuse, reset):
        async with RawServer(handler, limit=1_000) as server, open_transport(server) as transport:
            body = bytearray(20_000_000)
            gc.collect()
            gc.disable()
            try:
                with contextlib.suppress(ConnectionLostError):
                    assert await fetch(transport, body=body) == b"too large"
                await turns()
                body.clear()  # a BufferError while anything holds a view of it
            finally:
                gc.enable()


async def test_an_answer_whose_sender_reads_no_further_is_read_to_its_end() -> None:
    """The transport would first write what it has, and only then report the end."""

    async def handler(connection: Connection) -> None:
        await connection.reader.read(1_000)
        await connection.send(b"HTTP/1.1 413 Payload Too Large\r\n\r\ntoo large")
        connection.writer.write_eof()
        await is_read.wait()

    is_read = asyncio.Event()
    async with RawServer(handler, limit=1_000) as server, open_transport(server) as transport:
        assert await fetch(transport, body=bytes(30_000_000)) == b"too large"
        is_read.set()


async def test_a_request_that_was_not_sent_leaves_no_trace_in_its_error() -> None:
    go_away = asyncio.Event()

    async def handler(_: Connection) -> None:
        await go_away.wait()

    async with RawServer(handler) as server, open_transport(server) as transport:
        for ending in ("closed", "lost"):
            exchange = await transport.acquire(deadline=None, connect=5.0)
            if ending == "closed":
                exchange.close()
            go_away.set()
            await until(lambda: not server.open)
            await turns()
            with pytest.raises(TransportError) as caught:
                await exchange.send(b"Authorization: hunter2", b"", read=5.0)
            traceback = caught.value.__traceback__
            frames = []
            while traceback is not None:
                frames.append(traceback.tb_frame)
                traceback = traceback.tb_next
            ours = [frame.f_locals for frame in frames if frame.f_code.co_name == "send"]
            assert ours
            assert not any("hunter2" in repr(found) for found in ours)


async def test_closing_at_any_turn_gives_every_place_back_once() -> None:
    """Also in the turn in which the head has come, before its reader goes on."""

    async def handler(connection: Connection) -> None:
        while True:
            await connection.request()
            await connection.send(answer(b"whole"))

    async with RawServer(handler) as server:
        for turn in range(10_000):
            transport = Transport(server.url, max_connections=2)
            fetching = asyncio.ensure_future(fetch(transport))
            for _ in range(turn):
                await asyncio.sleep(0)
            was_done = fetching.done()
            await transport.aclose()
            (outcome,) = await asyncio.gather(fetching, return_exceptions=True)
            assert in_use(transport) == 0
            assert outcome == b"whole" or (
                isinstance(outcome, TransportError) and "session" in outcome.message
            )
            if was_done:
                return
    pytest.fail("the call never ended")
