"""What every test stands on: a clean environment, the event loop, leak checks, moto."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import logging
import os
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import pytest_asyncio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from types import ModuleType

    from support.fake_s3 import FakeS3

    from aiosmrt.local import LocalEndpoint

# The quick suite decides whether a newcomer's `nox` passes, so it is the same every
# time; new examples are the business of `nox -s fuzz`. No deadlines, and no complaint
# about slow generation: both measure the machine.
hypothesis.settings.register_profile(
    "quick",
    max_examples=50,
    derandomize=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "fuzz",
    max_examples=200,
    deadline=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("quick")


def pytest_configure() -> None:
    """Takes away whatever the developer's account, profile and proxy would lend a test."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = os.devnull
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    logging.getLogger("werkzeug").setLevel(logging.WARNING)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what an event loop can change: the quick tests of modules with async functions."""
    for item in items:
        if _is_async(item.module) and not any(map(item.get_closest_marker, _NOT_QUICK)):
            item.add_marker("on_a_loop")


_NOT_QUICK = ("slow", "browser", "ray")


@functools.cache
def _is_async(module: ModuleType) -> bool:
    return any(map(inspect.iscoroutinefunction, vars(module).values()))


def pytest_report_header() -> str:
    import aiosmrt

    return f"aiosmrt from {aiosmrt.__file__}, event loop {os.environ.get(_LOOP, 'asyncio')}"


_LOOP = "AIOSMRT_TEST_LOOP"

if os.environ.get(_LOOP) == "uvloop":

    def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
        import uvloop

        return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a task, an unretrieved exception or an unclosed transport."""
    if pytest_asyncio.is_async_test(request.node):
        request.getfixturevalue("_nothing_left_in_the_loop")
    yield
    gc.collect()  # a ResourceWarning from a __del__ is this test's, not a later one's
    gc.freeze()  # what a test leaves alive stays; looking through it again took 60 ms a test


@pytest.fixture
async def _nothing_left_in_the_loop() -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))
    yield
    # A cancelled task, a transport told to close, the other end of a connection that was
    # reset: each is gone some turns later, on a busy machine some more.
    end = loop.time() + 10
    left = asyncio.all_tasks() - {asyncio.current_task()}
    while left and loop.time() < end:
        await asyncio.sleep(0.005)
        left = asyncio.all_tasks() - {asyncio.current_task()}
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()  # the loop hears of an exception nobody retrieved when its task is collected
    assert not left, "tasks left running"
    assert not reported, "reported to the event loop"


@pytest.fixture
async def local() -> AsyncIterator[LocalEndpoint]:
    """A local endpoint without models, of the test's own loop."""
    from aiosmrt.local import LocalEndpoint

    async with LocalEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def s3() -> AsyncIterator[FakeS3]:
    """An S3 that does what the test tells it to."""
    from support.fake_s3 import FakeS3

    async with FakeS3() as server:
        yield server


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The address of moto's server: SageMaker Runtime and S3 as others understand them."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from moto.server import ThreadedMotoServer

    with pytest.MonkeyPatch.context() as patch:
        # http.server adds a Server of its own to moto's: in development mode aiohttp, which
        # aiobotocore asks by, refuses an answer with two.
        patch.setattr(MotoRequestHandler, "send_response", MotoRequestHandler.send_response_only)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()
