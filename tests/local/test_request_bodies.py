"""How much of bodies is held at once: each is bounded, and all together are."""

from __future__ import annotations

import asyncio

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


async def test_a_body_that_does_not_tell_its_length_takes_the_most_that_it_may():
    begun, go = asyncio.Event(), asyncio.Event()

    async def chunks():
        yield b"abc"
        begun.set()
        await go.wait()

    async with LocalEndpoint(max_bodies_length=12, max_body_length=10, verify=False) as local:
        local.add_model("echo", echo)
        call = asyncio.create_task(send(local, "/endpoints/echo/invocations", chunks()))
        await begun.wait()
        await until(lambda: local.received)
        assert (await send(local, "/endpoints/echo/invocations", bytes(3)))[0] == 400
        assert (await send(local, "/endpoints/echo/invocations", bytes(2)))[0] == 200
        go.set()
        assert (await call)[0] == 200


async def test_what_is_longer_than_announced_takes_the_room_that_it_needs(held):
    less = {"x-amz-decoded-content-length": "1"}

    async def chunks(count):
        for _ in range(count):
            yield bytes(1)

    async with LocalEndpoint(max_bodies_length=100, max_body_length=60, verify=False) as local:
        local.add_model("held", held)
        calls = [asyncio.create_task(send(local, PATH, chunks(55), less))]
        await until(lambda: held.under_way == 1)
        status, headers, _ = await send(local, PATH, chunks(46), less)
        assert (status, headers["x-amzn-errortype"]) == (400, "ThrottlingException")
        calls.append(asyncio.create_task(send(local, PATH, bytes(45))))
        await until(lambda: held.under_way == 2)
        held.go.set()
        assert [status for status, _, _ in await asyncio.gather(*calls)] == [200, 200]
        assert (await send(local, PATH, bytes(60)))[0] == 200


@pytest.mark.parametrize(
    "head, service, full",
    [
        (f"POST {PATH}", "sagemaker", 400),
        ("PUT /b/a", "s3", 503),
    ],
)
async def test_what_is_announced_takes_room_until_it_is_given_up(head, service, full):
    async with LocalEndpoint(
        max_bodies_length=10, max_body_length=10, max_store_length=10, verify=False
    ) as local:
        local.add_model("held", echo)
        _, writer = await asyncio.open_connection(local.host, local.port)
        writer.write(f"{head} HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\n1234".encode())
        await until(lambda: local.received)
        method, path = head.split()
        asked = {"method": method, "service": service}
        assert (await send_signed(local, path, b"123", **asked))[0] == full
        writer.close()
        for _ in range(500):
            status, *_ = await send_signed(local, path, b"123", **asked)
            if status != full:
                break
            await asyncio.sleep(0.01)
        assert status == 200
