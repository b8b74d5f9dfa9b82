"""Model containers behind the local endpoint: SageMaker's hosting contract."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from aiohttp import web
from support.local_cases import assert_passed
from support.local_clients import send_signed
from support.local_container import add_containers, running
from support.local_sdks import SDKS
from support.local_stream import STREAM, Stream, decoded
from support.waiting import until

from aiosmrt import ConfigurationError
from aiosmrt.local import LocalEndpoint

PATH = "/endpoints/c/invocations"


@pytest.fixture(scope="module")
def fastapi():
    with running() as url:
        yield url


@pytest.mark.parametrize("run, untold", SDKS)
async def test_every_sdk_passes_the_table_before_containers(fastapi, run, untold):
    async with LocalEndpoint() as local:
        add_containers(local, fastapi)
        results = await run(local)
        assert_passed(results, untold=untold)


class FakeContainer:
    """A container whose every step is the test's."""

    def __init__(self, invocations, *, ping=None, ping_status=200):
        self.ping_status = ping_status
        self.pings = 0
        self.seen = []
        self._invocations = invocations
        self._ping = ping
        self.port = 0

    async def _handle(self, request):
        if request.path == "/ping":
            self.pings += 1
            if self._ping:
                await self._ping()
            return web.Response(status=self.ping_status)
        assert (request.method, request.path) == ("POST", "/invocations")
        self.seen.append((request.headers, await request.read()))
        return await self._invocations(request)

    async def start(self, port=0):
        server = web.Server(self._handle, handler_cancellation=True, keepalive_timeout=75)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self):
        await self._runner.cleanup()

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.stop()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


async def fine(request):
    return web.Response(body=b"fine", content_type="text/fine")


async def test_a_container_gets_what_the_service_passes_on():
    async with FakeContainer(fine) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        sent = {
            "Content-Type": "text/csv",
            "Accept": "a/b",
            "X-Amzn-SageMaker-Custom-Attributes": "c",
            "Cookie": "c",
            "X-Amzn-Trace-Id": "t",
        }
        status, headers, body = await send_signed(local, PATH, b"1,2", sent)
    assert (status, headers["Content-Type"], body) == (200, "text/fine", b"fine")
    ((headers, body),) = container.seen
    assert body == b"1,2"
    assert dict(headers) == {
        "Host": f"127.0.0.1:{container.port}",
        "Content-Length": "3",
        "Content-Type": "text/csv",
        "Accept": "a/b",
        "X-Amzn-SageMaker-Custom-Attributes": "c",
    }


async def not_ready(local):
    status, headers, body = await send_signed(local, PATH, b"x")
    assert (status, headers["x-amzn-errortype"]) == (429, "ModelNotReadyException")
    assert "not ready" in json.loads(body)["Message"]


async def test_no_traffic_before_ping(caplog):
    container = FakeContainer(fine, ping_status=503)
    async with container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        await not_ready(local)
        await not_ready(local)
        assert not container.seen
        host = f"127.0.0.1:{container.port}"
        text = f"the container at {host} is not ready: it answered GET /ping with 503"
        assert [record.getMessage() for record in caplog.records] == [text]
        container.ping_status = 200
        for _ in range(3):
            assert (await send_signed(local, PATH, b"x"))[0] == 200
        assert container.pings == 3


async def test_a_container_that_is_not_there(caplog):
    async with LocalEndpoint() as local:
        local.add_container("c", "http://127.0.0.1:1")
        await not_ready(local)
    (record,) = caplog.records
    text = "the container at 127.0.0.1:1 is not ready: Cannot connect to 127.0.0.1:1"
    assert record.getMessage().rpartition(":")[0] == text  # and nothing of regions or proxies


async def test_one_ping_for_however_many_calls():
    release = asyncio.Event()
    container = FakeContainer(fine, ping=release.wait)
    async with container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        calls = asyncio.gather(*[send_signed(local, PATH, b"x") for _ in range(20)])
        await until(lambda: container.pings and len(local.received) == 20)
        release.set()
        assert [status for status, _, _ in await calls] == [200] * 20
        assert container.pings == 1


async def test_a_ping_that_is_not_answered(monkeypatch):
    monkeypatch.setattr("aiosmrt.local._container._PING_SECONDS", 0.05)
    container = FakeContainer(fine, ping=asyncio.Event().wait)
    async with container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        await not_ready(local)


async def test_a_container_that_is_not_there_yet_and_comes_back():
    container = FakeContainer(fine)
    await container.start()
    await container.stop()
    async with LocalEndpoint() as local:
        local.add_container("c", container.url)
        await not_ready(local)
        await container.start(container.port)
        assert (await send_signed(local, PATH, b"x"))[0] == 200
        await container.stop()
        await not_ready(local)
        await container.start(container.port)
        assert (await send_signed(local, PATH, b"x"))[0] == 200
        await container.stop()


@pytest.mark.parametrize("status_code", [400, 404, 500, 503, 301])
async def test_an_error_of_the_container_is_the_models(status_code):
    async def refuse(request):
        return web.Response(status=status_code, text="sorry ☹")

    async with FakeContainer(refuse) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        for path in (PATH, STREAM.format("c")):
            status, headers, body = await send_signed(local, path, b"x")
            facts = json.loads(body)
            assert (status, headers["x-amzn-errortype"]) == (424, "ModelError")
            assert facts["OriginalStatusCode"] == status_code
            assert facts["OriginalMessage"] == "sorry ☹"
            assert facts["LogStreamArn"]


async def test_an_answer_whose_headers_the_service_does_not_take():
    async def answer(request):
        return web.Response(headers={"X-Amzn-SageMaker-Custom-Attributes": "a" * 1025})

    async with FakeContainer(answer) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        for path in (PATH, STREAM.format("c")):
            status, _, body = await send_signed(local, path, b"x")
            assert status == 424
            text = "the answer's custom_attributes must be 1 to 1024 visible ASCII characters"
            assert json.loads(body)["OriginalMessage"] == text


async def test_a_container_that_dies_before_it_answers(caplog):
    async def die(request):
        request.transport.abort()
        return web.Response()

    async with FakeContainer(die) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        status, _, body = await send_signed(local, PATH, b"x")
    facts = json.loads(body)
    assert (status, facts["OriginalStatusCode"]) == (424, 0)
    assert facts["OriginalMessage"].startswith("Amazon SageMaker could not get a response")
    (record,) = caplog.records
    said = f"the container at 127.0.0.1:{container.port} gave no answer: "
    assert record.getMessage().startswith(said)


async def test_a_container_that_takes_too_long():
    async def wait(request):
        await asyncio.Event().wait()

    async with FakeContainer(wait) as container, LocalEndpoint(model_timeout=0.2) as local:
        local.add_container("c", container.url)
        status, _, body = await send_signed(local, PATH, b"x")
    assert (status, json.loads(body)["OriginalStatusCode"]) == (424, 0)
    assert "timed out" in json.loads(body)["OriginalMessage"]


def streaming(parts):
    async def invocations(request):
        response = web.StreamResponse(
            headers={"X-Amzn-SageMaker-Custom-Attributes": "c", "Content-Type": "text/event-stream"}
        )
        await response.prepare(request)
        async for part in parts(request, response):
            await response.write(part)
        return response

    return invocations


async def test_a_chunk_is_a_part_before_the_next_is_made():
    go_on = asyncio.Event()

    async def parts(request, response):
        yield b"first"
        await go_on.wait()
        yield b"second"

    async with FakeContainer(streaming(parts)) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        stream = await Stream.open(local, "c")
        assert await stream.part() == b"first"
        assert "x-amzn-sagemaker-content-type: text/event-stream" in stream.head.decode().lower()
        assert "x-amzn-sagemaker-custom-attributes: c" in stream.head.decode().lower()
        go_on.set()
        assert await stream.part() == b"second"
        await stream.aclose()


async def test_chunks_that_come_together_are_parts_of_their_own():
    async def serve(reader, writer):
        asked = await reader.readuntil(b"\r\n\r\n")
        if asked.startswith(b"GET"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        else:
            chunks = b"".join([b"1400\r\n%s\r\n" % (letter * 0x1400) for letter in (b"a", b"b")])
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, LocalEndpoint() as local:
        local.add_container("c", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        _, _, body = await send_signed(local, STREAM.format("c"), b"x")
    parts = [message.payload for message in decoded(body)]
    assert b"".join(parts) == b"a" * 0x1400 + b"b" * 0x1400
    assert all(len(set(part)) == 1 for part in parts)


async def test_the_head_comes_before_the_first_chunk():
    release = asyncio.Event()

    async def parts(request, response):
        await release.wait()
        yield b"part"

    async with FakeContainer(streaming(parts)) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        stream = await asyncio.wait_for(Stream.open(local, "c"), 5)
        release.set()
        assert await stream.part() == b"part"
        await stream.aclose()


async def test_the_container_hears_that_the_client_has_left():
    gone = asyncio.Event()

    async def parts(request, response):
        try:
            while True:
                yield b"part"
                await asyncio.sleep(0.001)
        finally:
            gone.set()

    async with FakeContainer(streaming(parts)) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        stream = await Stream.open(local, "c")
        await stream.part()
        await stream.aclose()
        await asyncio.wait_for(gone.wait(), 5)


async def test_a_container_that_dies_in_a_stream():
    async def parts(request, response):
        yield b"part"
        request.transport.abort()
        yield b"lost"

    async with FakeContainer(streaming(parts)) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        _, _, body = await send_signed(local, STREAM.format("c"), b"x")
        *before, message = decoded(body)
        assert b"".join(part.payload for part in before) in (b"", b"part")
        assert message.headers[":exception-type"] == "ModelStreamError"
        assert json.loads(message.payload)["ErrorCode"] == "StreamBroken"
        status, _, body = await send_signed(local, PATH, b"x")
        assert status == 424


async def test_a_container_that_streams_for_too_long():
    async def parts(request, response):
        yield b"part"
        await asyncio.Event().wait()

    container = FakeContainer(streaming(parts))
    async with container, LocalEndpoint(stream_timeout=0.5) as local:
        local.add_container("c", container.url)
        _, _, body = await send_signed(local, STREAM.format("c"), b"x")
    part, message = decoded(body)
    assert part.payload == b"part"
    assert json.loads(message.payload)["ErrorCode"] == "ModelInvocationTimeExceeded"


async def test_a_client_that_does_not_read_holds_the_container_back():
    made = 0

    async def parts(request, response):
        nonlocal made
        while True:
            made += 1
            yield bytes(65_536)

    async with FakeContainer(streaming(parts)) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        stream = await Stream.open(local, "c")
        before = -1
        while before != made or not made:  # until nothing moves
            before = made
            await asyncio.sleep(0.1)
        assert made < 800
        await stream.aclose()


async def test_a_kept_connection_that_the_container_has_closed():
    connections = []

    async def invocations(request):
        connections.append(request.transport)
        return web.Response(body=b"fine")

    async with FakeContainer(invocations) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        for _ in range(5):
            assert (await send_signed(local, PATH, b"x"))[0] == 200
            connections[-1].abort()


async def test_a_kept_connection_that_dies_under_the_next_request():
    connections = 0

    async def serve(reader, writer):
        nonlocal connections
        connections += 1
        answered = 0
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            if answered == 2:  # one call, and no more
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine")
            if head.startswith(b"POST"):
                answered += 2
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, LocalEndpoint() as local:
        local.add_container("c", f"http://127.0.0.1:{port}")
        for _ in range(3):
            assert (await send_signed(local, PATH, b"x"))[2] == b"fine"
    assert connections >= 3


async def test_a_ping_under_way_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr("aiosmrt.local._container._PING_SECONDS", 60)  # it must not end by itself
    begun = asyncio.Event()

    async def ping():
        begun.set()
        await asyncio.Event().wait()

    local = LocalEndpoint()
    async with FakeContainer(fine, ping=ping) as container:
        local.add_container("c", container.url)
        await local.start()
        call = asyncio.create_task(send_signed(local, PATH, b"x"))
        await begun.wait()
        await asyncio.wait_for(local.aclose(), 5)
        await asyncio.gather(call, return_exceptions=True)


async def test_an_answer_without_end(monkeypatch):
    monkeypatch.setattr("aiosmrt.local._invocations._MAX_ANSWER_LENGTH", 100_000)

    async def parts(request, response):
        while True:
            yield bytes(65_536)

    async with FakeContainer(streaming(parts)) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        status, _, body = await send_signed(local, PATH, b"x")
    assert status == 424
    assert json.loads(body)["OriginalMessage"] == "the response is longer than 100000 bytes"


async def test_a_container_answers_async_inferences():
    async with FakeContainer(fine) as container, LocalEndpoint() as local:
        local.add_container("c", container.url)
        _, headers, _ = await send_signed(local, "/endpoints/c/async-invocations", b"x")
        output = headers["X-Amzn-SageMaker-OutputLocation"]

        def look(uri):
            try:
                return local.get_object(uri)
            except KeyError:
                return None

        assert await until(partial(look, output)) == b"fine"


@pytest.mark.parametrize(
    "url",
    [
        *("", "127.0.0.1:8080", "ftp://a", "http://", "/a", "http://[::1", "http://a:x"),
        *("http://a:65536", "http://a?b", "http://a b", "http://a\n", "http://me:secret@a"),
    ],
)
def test_what_is_no_containers_url(url):
    with pytest.raises(ConfigurationError, match=r"^The container's URL '[^@]*' (has|does not) "):
        LocalEndpoint().add_container("c", url)
