"""Clients that stop: within a request's body, within its head, and before one."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest
from support.local_clients import echo, send_signed
from support.waiting import until

from aiosmrt import ConfigurationError
from aiosmrt.local import LocalEndpoint

PATH = "/endpoints/echo/invocations"
SOON = 0.1
TIMEOUTS = {
    f"POST {PATH}": (b"408", b"x-amzn-errortype: RequestTimeoutException"),
    "PUT /bucket/key": (b"400", b"<Code>RequestTimeout</Code>"),
    "POST /bucket?delete": (b"400", b"<Code>RequestTimeout</Code>"),
}


@pytest.fixture
async def local():
    async with LocalEndpoint(idle_timeout=SOON) as endpoint:
        endpoint.add_model("echo", echo)
        yield endpoint


async def open_to(local, data):
    reader, writer = await asyncio.open_connection(local.host, local.port)
    writer.write(data)
    return reader, writer


@pytest.mark.parametrize("head", TIMEOUTS)
@pytest.mark.parametrize(
    "rest",
    [
        b"Content-Length: 6000000\r\n\r\n",
        b"Content-Length: 6\r\n\r\n12345",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n2\r\na",
        b"Expect: 100-continue\r\nContent-Length: 6\r\n\r\n",
    ],
)
async def test_a_body_that_stops_is_answered_with_a_timeout_and_closed(local, head, rest):
    line = f"{head} HTTP/1.1\r\nHost: localhost\r\n".encode()
    reader, writer = await open_to(local, line + rest)
    answer = (await reader.read()).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.close()
    status, error = TIMEOUTS[head]
    assert answer.split(b" ")[1] == status
    assert error in answer
    assert b"Connection: close" in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"PO",
        b"POST /endpoints/echo/invocations HTTP/1.1\r\n",
        b"POST /endpoints/echo/invocations HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
        b"POST /endpoints/echo/invocations HTTP/1.1\r\nHost: localhost\r\nX: y\r\n",
        b"GET /b/k HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /b/k HTTP/1.1\r\nHost: localhost\r\n\r\nGET /b/k HT",
    ],
)
async def test_a_connection_without_a_whole_head_is_closed(local, sent):
    reader, writer = await open_to(local, sent)
    answer = await reader.read()
    writer.close()
    assert answer.count(b"HTTP/1.1 ") == sent.count(b"\r\n\r\n")


async def test_a_head_that_drips_is_closed(local):
    reader, writer = await open_to(local, b"GET /b/k HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
    with contextlib.suppress(ConnectionError):  # closed with a byte on its way, it is reset
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.001)
    writer.close()


async def test_a_body_that_drips_is_waited_for(local):
    """It lasts longer than a client may be silent: than one that begins later and is."""
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    reader, writer = await open_to(local, head)
    await until(lambda: local.received)
    for _ in range(2):
        silent, silent_writer = await open_to(local, head)
        ended = asyncio.create_task(silent.read())
        while not ended.done():
            writer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.001)
        assert b" 408 " in await ended
        silent_writer.close()
    writer.write(b"0\r\n\r\n")
    # Unsigned, which is looked at once the body is whole.
    assert b" 403 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("share", [0.55, 0.7, 0.8])
async def test_a_client_may_be_silent_for_nearly_the_timeout(local, share):
    loop = asyncio.get_running_loop()
    longest = math.inf
    while longest >= SOON:  # where this machine was busy, the client was silent for too long
        longest = 0.0
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n".encode()
        reader, writer = await open_to(local, head)
        for _ in range(6):
            began = loop.time()
            await asyncio.sleep(share * SOON)
            writer.write(b"x")
            longest = max(longest, loop.time() - began)
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = await reader.readline()
        writer.close()
    assert b" 403 " in answer  # unsigned, which is looked at once the body is whole


async def test_a_model_may_take_longer():
    """Idle is a client; one that waits for its answer is not."""
    others = asyncio.Event()

    async def slow(request):
        await others.wait()
        return b"done"

    async with LocalEndpoint(idle_timeout=SOON) as local:
        local.add_model("slow", slow)
        call = asyncio.create_task(send_signed(local, "/endpoints/slow/invocations", b"x"))
        await until(lambda: local.received)
        for _ in range(3):
            reader, writer = await open_to(local, b"")
            assert await reader.read() == b""
            writer.close()
        others.set()
        assert (await call)[::2] == (200, b"done")


async def test_an_answer_may_be_read_slowly():
    body = bytes(64 * 1024 * 1024)
    async with LocalEndpoint(idle_timeout=SOON, verify=False) as local:
        local.put_object("s3://b/k", body)
        reader, writer = await open_to(local, b"GET /b/k HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received = 0
        for _ in range(3):
            silent, silent_writer = await open_to(local, b"")
            assert await silent.read() == b""
            silent_writer.close()
            received += len(await reader.read(65_536))
        received += len(await reader.readexactly(len(body) - received))
        assert received == len(body)
        writer.close()


async def test_a_session_that_was_idle_goes_on(local):
    async with local.session() as session:
        for _ in range(2):
            assert (await session.invoke_endpoint("echo", b"x")).json()["body"] == "x"
            reader, writer = await open_to(local, b"")
            await reader.read()
            writer.close()


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_what_is_no_timeout(seconds):
    with pytest.raises(ConfigurationError, match="idle_timeout must be a finite number"):
        LocalEndpoint(idle_timeout=seconds)
