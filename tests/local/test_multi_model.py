"""A multi-model container: its models are loaded when they are called for."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web
from support.local_clients import send_signed
from support.waiting import until

from aiosmrt.local import LocalEndpoint

PATH = "/endpoints/c/invocations"


class MultiModelContainer:
    """Holds as many models as it has room for."""

    def __init__(self, room=10):
        self.room = room
        self.loaded = []
        self.asked = []
        self.refuse_with = None
        self.release = asyncio.Event()
        self.release.set()
        self.port = 0

    async def _handle(self, request):
        if request.path == "/ping":
            return web.Response()
        self.asked.append(f"{request.method} {request.path.split('/')[1]}")
        if request.method == "DELETE":
            self.loaded.remove(request.path.removeprefix("/models/"))
            return web.Response()
        if request.path == "/models":
            return await self._load(await request.json())
        name = request.path.removeprefix("/models/").removesuffix("/invoke")
        if name not in self.loaded:
            return web.Response(status=404, text="not loaded")
        return web.Response(text=request.headers["X-Amzn-SageMaker-Target-Model"])

    async def _load(self, asked):
        await self.release.wait()
        name = asked["model_name"]
        assert asked["url"] == f"/opt/ml/models/{name}/model"
        if self.refuse_with is not None:
            return web.Response(status=self.refuse_with, text="cannot")
        if len(self.loaded) >= self.room:
            return web.Response(status=507)
        self.loaded.append(name)
        return web.Response()

    async def start(self, port=0):
        self._runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self):
        await self._runner.cleanup()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
async def container():
    made = MultiModelContainer()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def local(container):
    async with LocalEndpoint() as endpoint:
        endpoint.add_container("c", container.url, multi_model=True)
        yield endpoint


async def ask(local, model=None):
    headers = {"X-Amzn-SageMaker-Target-Model": model} if model else {}
    status, answered, body = await send_signed(local, PATH, b"x", headers)
    return status, answered.get("x-amzn-errortype"), body.decode()


async def test_a_model_is_loaded_once(local, container):
    for model in ("a.tar.gz", "dir/b.tar.gz", "a.tar.gz"):
        assert await ask(local, model) == (200, None, model)
    assert container.asked.count("POST models") == 5  # two loads, three calls
    assert len(container.loaded) == 2


async def test_one_load_for_however_many_calls(local, container):
    answers = await asyncio.gather(*[ask(local, "a") for _ in range(10)])
    assert {status for status, _, _ in answers} == {200}
    assert len(container.loaded) == 1


async def test_a_call_names_its_model(local):
    status, code, body = await ask(local)
    assert (status, code) == (400, "ValidationError")
    assert "missing a target model header" in body


async def test_a_model_that_takes_long_is_not_ready(local, container, monkeypatch):
    monkeypatch.setattr("aiosmrt.local._multi_model._LOAD_SECONDS", 0.05)
    container.release.clear()
    assert (await ask(local, "a"))[:2] == (429, "ModelNotReadyException")
    container.release.set()
    await until(lambda: container.loaded)
    monkeypatch.undo()
    assert (await ask(local, "a"))[0] == 200
    assert len(container.loaded) == 1


async def test_the_model_used_longest_ago_makes_room(local, container):
    container.room = 2
    for model in ("a", "b", "a", "c"):
        assert (await ask(local, model))[0] == 200
    assert container.asked.count("DELETE models") == 1
    before = container.asked.count("DELETE models")
    assert (await ask(local, "a"))[0] == 200
    assert container.asked.count("DELETE models") == before  # it was b that went


@pytest.mark.parametrize("status_code", [404, 500, 507])
async def test_a_model_that_cannot_be_loaded(local, container, status_code):
    container.refuse_with = status_code
    status, code, body = await ask(local, "a")
    facts = json.loads(body)
    assert (status, code) == (424, "ModelError")
    assert (facts["OriginalStatusCode"], facts["OriginalMessage"]) == (status_code, "cannot")
    container.refuse_with = 409
    assert container.loaded == []


async def test_a_load_that_fails_when_nobody_waits_any_more(local, container, monkeypatch):
    monkeypatch.setattr("aiosmrt.local._multi_model._LOAD_SECONDS", 0.05)
    container.release.clear()
    container.refuse_with = 500
    assert (await ask(local, "a"))[0] == 429
    container.release.set()
    monkeypatch.undo()
    assert (await ask(local, "a"))[0] == 424


async def test_a_model_that_is_there_already(local, container):
    assert (await ask(local, "a"))[0] == 200
    async with LocalEndpoint() as another:
        another.add_container("c", container.url, multi_model=True)
        container.refuse_with = 409
        assert (await ask(another, "a"))[0] == 200


async def test_a_container_that_comes_back_holds_no_models(local, container):
    assert (await ask(local, "a"))[0] == 200
    await container.stop()
    assert (await ask(local, "a"))[:2] == (429, "ModelNotReadyException")
    container.loaded.clear()
    await container.start(container.port)
    assert (await ask(local, "a"))[0] == 200
    assert len(container.loaded) == 1


async def test_a_container_that_came_back_unseen_is_given_its_models_again(local, container):
    for model in ("a", "b"):
        assert (await ask(local, model))[0] == 200
    container.loaded.clear()
    assert (await ask(local, "a"))[:2] == (424, "ModelError")
    assert (await ask(local, "a"))[0] == 200
    assert len(container.loaded) == 1


async def test_a_load_under_way_does_not_hold_up_the_end(container, monkeypatch):
    monkeypatch.setattr("aiosmrt.local._multi_model._LOAD_SECONDS", 0.05)
    container.release.clear()
    async with LocalEndpoint() as local:
        local.add_container("c", container.url, multi_model=True)
        assert (await ask(local, "a"))[0] == 429
    container.release.set()
