from __future__ import annotations

import asyncio
import json
import resource
import runpy

import aiohttp
import pytest
from support.cli_process import SECONDS
from support.web_services import (
    EXAMPLES,
    Model,
    aiohttp_service,
    chunk,
    web_service,
    web_service_alone,
)

from aiosmrt.local import ModelFailure


@pytest.fixture
async def model(local):
    model = Model()
    local.add_model("chat", model)
    local.add_model("llm", model)
    return model


CHAT = {"messages": [{"role": "user", "content": "hi"}]}


def ask(client):
    return client.post("/chat", json=CHAT)


async def next_event(response):
    """The next server-sent event of the chat: a line of data, and an empty line."""
    line = await response.content.readline()
    assert line.startswith(b"data: ")
    assert await response.content.readline() == b"\n"
    return json.loads(line.removeprefix(b"data: "))


async def test_the_page_and_a_model_of_its_own_by_the_one_command_that_needs_no_account():
    async with web_service_alone() as client:
        async with client.get("/") as response:
            assert response.status == 200
            assert response.content_type == "text/html"
            assert "<title>Chat</title>" in await response.text()
        async with ask(client) as response:
            assert (await next_event(response))["token"]


async def test_tokens_arrive_before_the_next_one_is_made(local, model):
    async with web_service(local) as client:
        model.tokens.put_nowait("one")
        async with ask(client) as response:
            assert response.content_type == "text/event-stream"
            assert await next_event(response) == {"token": "one"}
            model.tokens.put_nowait("two\n")
            assert await next_event(response) == {"token": "two\n"}
            model.tokens.put_nowait(None)
            assert await next_event(response) == {"end": True}
            assert await response.content.read() == b""
    (request,) = (each for each in local.received if each.endpoint_name == "chat")
    assert request.operation == "InvokeEndpointWithResponseStream"


@pytest.mark.parametrize("tokens", [[], ["one"]], ids=["before the first token", "after it"])
async def test_when_the_browser_leaves_the_model_stops_at_once(local, model, tokens):
    async with web_service(local) as client:
        for token in tokens:
            model.tokens.put_nowait(token)
        async with ask(client) as response:
            await asyncio.wait_for(model.started.wait(), SECONDS)
            for token in tokens:
                assert await next_event(response) == {"token": token}
            response.close()
            # The second that the service promises.
            await asyncio.wait_for(model.cancelled.wait(), 1)


async def test_an_error_before_the_stream_is_told(local, model):
    async with web_service(local) as client:
        model.tokens.put_nowait(ModelFailure(507, "out of memory"))
        async with ask(client) as response:
            told = await next_event(response)
            assert await response.content.read() == b""
    assert told["error"] == "ModelError"
    assert told["request_id"]
    assert "out of memory" not in json.dumps(told)


async def test_an_error_in_the_stream_is_told_after_the_tokens(local, model):
    async with web_service(local) as client:
        model.tokens.put_nowait("one")
        model.tokens.put_nowait(ModelFailure(507, "out of memory"))
        async with ask(client) as response:
            assert await next_event(response) == {"token": "one"}
            told = await next_event(response)
            assert await response.content.read() == b""
    assert told["error"] == "ModelStreamError"


async def test_an_endpoint_that_is_not_there_is_told(local):
    async with web_service(local, CHAT_ENDPOINT="missing") as client, ask(client) as response:
        assert (await next_event(response))["error"] == "ValidationError"


NO_CHATS = {
    b"": 400,
    b"[]": 400,
    b"{}": 400,
    b'{"messages": [1]}': 400,
    b"[" * 60_000: 400,
    b'{"messages": "' + b"x" * 100_000 + b'"}': 413,
}


async def test_what_is_no_chat_is_refused(local, model):
    async with web_service(local) as client:
        for body, status in NO_CHATS.items():
            async with client.post("/chat", data=body) as response:
                assert response.status == status, body[:20]
                assert (await response.text()).startswith("This ")
    assert not local.received


async def test_on_a_server_of_newer_asgi_the_model_stops_at_once_too(local, model):
    """There Starlette leaves it to the next event to find out that nobody reads."""
    app = runpy.run_path(str(EXAMPLES / "web_service" / "app.py"))["app"]
    left = asyncio.Event()
    requests = [{"type": "http.request", "body": json.dumps(CHAT).encode()}]

    async def receive():
        if requests:
            return requests.pop()
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        pass

    async with local.session() as session:
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": "POST",
            "path": "/chat",
            "headers": [],
            "query_string": b"",
            "state": {"session": session, "endpoint_name": "chat"},
        }
        answering = asyncio.create_task(app(scope, receive, send))
        await asyncio.wait_for(model.started.wait(), SECONDS)
        left.set()
        await asyncio.wait_for(model.cancelled.wait(), 1)
        await answering


async def test_the_aiohttp_service_streams_and_stops(local, model):
    async with aiohttp_service(local) as client:
        model.tokens.put_nowait("one")
        async with client.post("/", json={}) as response:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert await response.content.readline() == chunk("one").rstrip(b"\n") + b"\n"
            response.close()
            await asyncio.wait_for(model.cancelled.wait(), 1)
    assert local.received[-1].headers["content-type"] == "application/json"


async def test_an_error_in_the_aiohttp_services_stream_is_no_end(local, model):
    async with aiohttp_service(local, errors=True) as client:
        model.tokens.put_nowait(ModelFailure(507, "out of memory"))
        async with client.post("/", json={}) as response:
            assert response.status == 500
        model.tokens.put_nowait("one")
        async with client.post("/", json={}) as response:
            assert await response.content.readline() == chunk("one").rstrip(b"\n") + b"\n"
            model.tokens.put_nowait(ModelFailure(507, "out of memory"))
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()


@pytest.fixture
def many_files():
    """As many open files as the system lets us have: the service inherits it."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
async def test_a_thousand_streams_at_once_lose_no_part(local):
    clients, tokens = 1000, 20
    open_streams = 0
    everyone = asyncio.Event()

    async def count(request):
        nonlocal open_streams
        open_streams += 1
        if open_streams == clients:
            everyone.set()
        name = json.loads(request.body)["messages"][0]["content"]
        yield chunk(f"{name}:")
        await everyone.wait()  # none ends before all have begun: they are simultaneous
        for number in range(tokens):
            yield chunk(f"{number},")
        yield b"data: [DONE]\n\n"

    local.add_model("chat", count)
    expected = "".join(f"{number}," for number in range(tokens))

    async def read(client, name):
        body = {"messages": [{"role": "user", "content": name}]}
        async with client.post("/chat", json=body) as response:
            text = ""
            while not (event := await next_event(response)).get("end"):
                text += event["token"]
            return text

    async with web_service(local) as client:
        answers = await asyncio.gather(*(read(client, f"c{n}") for n in range(clients)))
    assert answers == [f"c{n}:{expected}" for n in range(clients)]
