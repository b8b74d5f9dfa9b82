"""How much of bodies is held at once: each is bounded, and all together are."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest
from support.local_clients import echo, send, send_signed, with_boto
from support.waiting import until

import aiosmrt
from aiosmrt.local import LocalEndpoint

PATH = "/endpoints/held/invocations"
STREAM = "/endpoints/held/invocations-response-stream"


class Held:
    """A model that answers when it is told to."""

    def __init__(self):
        self.under_way = 0
        self.go = asyncio.Event()

    async def __call__(self, request):
        self.under_way += 1
        try:
            yield b"first"
            await self.go.wait()
        finally:
            self.under_way -= 1


@pytest.fixture
def held():
    return Held()


@pytest.fixture
async def local(held):
    async with LocalEndpoint(max_bodies_length=100, max_body_length=60) as endpoint:
        endpoint.add_model("echo", echo)
        endpoint.add_model("held", held)
        yield endpoint


@pytest.mark.parametrize("path", [PATH, STREAM])
async def test_a_body_takes_room_until_its_answer_is_whole(local, held, path):
    calls = [asyncio.create_task(send_signed(local, path, bytes(40))) for _ in range(2)]
    await until(lambda: held.under_way == 2)
    status, headers, body = await send_signed(local, path, bytes(21))
    assert (status, headers["x-amzn-errortype"]) == (400, "ThrottlingException")
    assert body == b'{"message": "Rate exceeded"}'
    assert (await send_signed(local, "/endpoints/echo/invocations", bytes(20)))[0] == 200
    held.go.set()
    assert [status for status, _, _ in await asyncio.gather(*calls)] == [200, 200]
    assert (await send_signed(local, path, bytes(60)))[0] == 200


async def test_a_body_whose_caller_leaves_takes_no_room(local, held):
    calls = [asyncio.create_task(send_signed(local, PATH, bytes(50))) for _ in range(2)]
    await until(lambda: held.under_way == 2)
    for call in calls:
        call.cancel()
    await asyncio.wait(calls)
    await until(lambda: held.under_way == 0)
    held.go.set()
    assert (await send_signed(local, PATH, bytes(60)))[0] == 200


async def test_an_sdk_hears_of_a_throttle_and_comes_again(local, held):
    patient = aiosmrt.RetryPolicy(max_attempts=10)
    async with local.session(retries=patient) as session:
        async with session.invoke_endpoint_with_response_stream("held", bytes(60)) as stream:
            assert (await anext(stream)).bytes == b"first"

            def call(client):
                with pytest.raises(client.exceptions.ClientError) as caught:
                    client.invoke_endpoint(EndpointName="echo", Body=bytes(50))
                return caught.value.response["Error"]["Code"]

            assert await with_boto(local, call) == "ThrottlingException"
            count = len(local.received)
            again = asyncio.create_task(session.invoke_endpoint("echo", bytes(50)))
            await until(lambda: len(local.received) > count)
        output = await again
    assert output.metadata.attempts > 1


async def test_one_body_always_finds_room():
    async with LocalEndpoint(max_bodies_length=1) as local:
        local.add_model("echo", echo)
        assert (await send_signed(local, "/endpoints/echo/invocations", bytes(1000)))[0] == 200


@pytest.mark.parametrize("announced", [None, "10"])
async def test_a_body_of_unknown_length_takes_as_much_room_as_has_arrived(announced):
    begun, go = asyncio.Event(), asyncio.Event()

    async def chunks():
        yield b"abc"
        begun.set()
        await go.wait()

    headers = {"x-amz-decoded-content-length": announced} if announced else None
    async with LocalEndpoint(max_bodies_length=12, max_body_length=10, verify=False) as local:
        local.add_model("echo", echo)
        path = "/endpoints/echo/invocations"
        call = asyncio.create_task(send(local, path, chunks(), headers))
        await begun.wait()
        await until(lambda: local.received)
        assert (await send(local, path, bytes(9)))[0] == 200
        assert (await send(local, path, bytes(10)))[0] == 400
        go.set()
        assert (await call)[0] == 200


async def test_bodies_in_chunks_take_room_chunk_by_chunk(held):
    async def chunks(count):
        for _ in range(count):
            yield bytes(1)

    async with LocalEndpoint(max_bodies_length=100, max_body_length=60, verify=False) as local:
        local.add_model("held", held)
        calls = [asyncio.create_task(send(local, PATH, chunks(55)))]
        await until(lambda: held.under_way == 1)
        status, headers, _ = await send(local, PATH, chunks(46))
        assert (status, headers["x-amzn-errortype"]) == (400, "ThrottlingException")
        calls.append(asyncio.create_task(send(local, PATH, bytes(45))))
        await until(lambda: held.under_way == 2)
        held.go.set()
        assert [status for status, _, _ in await asyncio.gather(*calls)] == [200, 200]
        assert (await send(local, PATH, bytes(60)))[0] == 200


KINDS = [(f"POST {PATH}", "sagemaker", 400), ("PUT /b/a", "s3", 503)]


def half(head, length, body=b""):
    """A request that stops within its body."""
    fields = f"Host: localhost\r\nContent-Length: {length}\r\n\r\n"
    return f"{head} HTTP/1.1\r\n{fields}".encode() + body


@pytest.fixture
async def small():
    async with LocalEndpoint(
        max_bodies_length=10, max_body_length=10, max_store_length=10, verify=False
    ) as endpoint:
        endpoint.add_model("held", echo)
        yield endpoint


@pytest.mark.parametrize("head, service, full", KINDS)
@pytest.mark.parametrize("count", [1, 50])
async def test_what_is_announced_takes_no_room(small, head, service, full, count):
    writers = []
    for _ in range(count):
        _, writer = await asyncio.open_connection(small.host, small.port)
        writer.write(half(head, 10))
        writers.append(writer)
    await until(lambda: len(small.received) == count)
    method, path = head.split()
    assert (await send_signed(small, path, bytes(10), method=method, service=service))[0] == 200
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("head, service, full", KINDS)
async def test_what_has_arrived_takes_room_until_it_is_given_up(small, head, service, full):
    _, writer = await asyncio.open_connection(small.host, small.port)
    writer.write(half(head, 10, bytes(8)))
    method, path = head.split()
    asked = {"method": method, "service": service}

    async def status(wanted):
        for _ in range(500):
            answered, *_ = await send_signed(small, path, b"123", **asked)
            if answered == wanted:
                break
            await asyncio.sleep(0.01)
        return answered

    assert await status(full) == full
    writer.close()
    assert await status(200) == 200


@pytest.mark.parametrize("head, service, full", KINDS)
async def test_of_bodies_that_do_not_fit_together_the_others_go_on(small, head, service, full):
    """The one that finds no room gives back what it holds."""
    connections = [await asyncio.open_connection(small.host, small.port) for _ in range(2)]
    fields = "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _, writer in connections:
        writer.write(f"{head} HTTP/1.1\r\n{fields}4\r\nabcd\r\n".encode())
    await until(lambda: len(small.received) == 2)
    (first, first_writer), (second, second_writer) = connections
    first_writer.write(b"5\r\nabcde\r\n")
    assert b" %d " % full in await first.readline()
    second_writer.write(b"6\r\nabcdef\r\n0\r\n\r\n")
    assert b" 200 " in await second.readline()
    for writer in (first_writer, second_writer):
        writer.close()


@pytest.mark.parametrize("head", ["POST /endpoints/held/invocations", "PUT /b/a"])
async def test_a_body_in_tiny_pieces_takes_as_much_memory_as_has_arrived(held, head):
    async with LocalEndpoint(verify=False) as local:
        local.add_model("held", held)
        _, writer = await asyncio.open_connection(local.host, local.port)
        writer.write(half(head, 20_001))
        await until(lambda: local.received)
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(10_000):
                writer.write(b"ab")
                for _ in range(3):  # the server reads this piece before there is another
                    await asyncio.sleep(0)
            gc.collect()
            held_bytes, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        writer.close()
    assert held_bytes < 6 * 20_000


@pytest.mark.parametrize("head, service, full", KINDS)
@pytest.mark.parametrize("field", ["Content-Length: 11", "Content-Length: 6000000"])
async def test_a_body_that_is_announced_too_long_is_not_waited_for(
    small, head, service, full, field
):
    reader, writer = await asyncio.open_connection(small.host, small.port)
    writer.write(f"{head} HTTP/1.1\r\nHost: localhost\r\n{field}\r\n\r\n".encode())
    assert b" 400 " in await reader.readline()
    writer.close()
