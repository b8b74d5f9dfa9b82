"""Chunks as aiohttp's reader holds them: all of them, in order, and few copies."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from aiohttp import StreamReader
from aiohttp.client_proto import ResponseHandler
from support.raw_server import Connection, RawServer, answer, serve
from support.transports import begin, open_transport
from support.waiting import until

from aiosmrt._transport.chunks import take_chunks, wait_for_chunks
from aiosmrt.errors import StreamTruncatedError


def reader() -> tuple[StreamReader, ResponseHandler]:
    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    protocol.set_response_params()
    return StreamReader(protocol, 2**16, loop=loop), protocol


async def test_large_chunks_come_as_they_lie_and_small_ones_as_one() -> None:
    payload, protocol = reader()
    assert take_chunks(payload, protocol) == []
    large = [bytes([number]) * 10_000 for number in range(3)]
    for chunk in large:
        payload.feed_data(chunk)
    taken = take_chunks(payload, protocol)
    assert all(one is other for one, other in zip(taken, large, strict=True))
    for number in range(300):
        payload.feed_data(b"%d," % number)
    assert take_chunks(payload, protocol) == [b"".join(b"%d," % n for n in range(300))]
    assert take_chunks(payload, protocol) == []
    # What the reader counts is right, for those of its methods that go by it.
    payload.feed_data(b"rest")
    payload.feed_eof()
    assert await payload.read() == b"rest"


async def test_chunks_that_were_taken_leave_no_marks() -> None:
    payload, protocol = reader()
    for _ in range(50):
        payload.begin_http_chunk_receiving()
        payload.feed_data(b"abc")
        payload.end_http_chunk_receiving()
        take_chunks(payload, protocol)
    assert not payload._http_chunk_splits


class UnknownReader:
    """A reader that keeps what it has elsewhere; only the methods of aiohttp's are there."""

    def __init__(self, payload: StreamReader) -> None:
        self._inner = payload

    def __getattr__(self, name: str) -> Any:
        if name in {"_buffer", "_size", "_wait"}:
            raise AttributeError(name)
        return getattr(self._inner, name)


@pytest.mark.parametrize("cls", [lambda payload: payload, UnknownReader], ids=["known", "unknown"])
async def test_a_reader_is_read_to_its_end(cls: Any) -> None:
    rng = random.Random(7)
    body = rng.randbytes(3_000_000)

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        start = 0
        while start < len(body):
            stop = start + rng.choice([1, 7, 100, 5_000, 70_000])
            await connection.send(b"%x\r\n%b\r\n" % (len(body[start:stop]), body[start:stop]))
            start = stop
        await connection.send(b"0\r\n\r\n")

    async with RawServer(handler) as server, open_transport(server) as transport:
        exchange = await begin(transport)
        assert isinstance(exchange._payload, StreamReader)
        # Nobody reads until the reader is full.
        await until(lambda: exchange._protocol._reading_paused)
        exchange._payload = cls(exchange._payload)
        received = bytearray()
        while chunks := await exchange.receive_chunks(5.0):
            assert all(chunks)
            received += b"".join(chunks)
        assert received == body
        assert exchange.bytes_received == len(body)
        exchange.release()


@pytest.mark.parametrize("cls", [lambda payload: payload, UnknownReader], ids=["known", "unknown"])
async def test_a_reader_gives_what_came_before_the_fault(cls: Any) -> None:
    async with serve(answer(b"abc", headers={"Content-Length": "9"})) as server:
        async with open_transport(server) as transport:
            exchange = await begin(transport)
            exchange._payload = cls(exchange._payload)
            await until(lambda: exchange._payload.total_bytes == 3)
            exchange._protocol.transport.close()
            await until(lambda: exchange._payload.exception() is not None)
            assert await exchange.receive_chunks(5.0) == [b"abc"]
            with pytest.raises(StreamTruncatedError):
                await exchange.receive_chunks(5.0)


async def test_waiting_ends_with_what_is_set_on_the_reader() -> None:
    payload, protocol = reader()
    payload.set_exception(LookupError())
    with pytest.raises(LookupError):
        await wait_for_chunks(payload, protocol)
