"""The first call: the signer is imported in a thread, beside the connection's making."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import open_once, open_session
from support.transports import at_rest
from support.waiting import our_threads, turns, until

import aiosmrt
from aiosmrt import Timeouts
from aiosmrt._aws.signer import SigV4Signer
from aiosmrt._protocol import request_head
from aiosmrt._protocol.request_head import HeadWriter
from aiosmrt._threads import Late, Threads

if TYPE_CHECKING:
    from collections.abc import Iterator


class Import:
    """An import that lasts until it is told to end; it counts how often it began."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Event()
        self.failure: Exception | None = None

    def __call__(self, *args: Any, **options: Any) -> HeadWriter:
        self.begun += 1
        self.may_end.wait(30)
        if self.failure is not None:
            raise self.failure
        return HeadWriter(*args, **options)


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """What sessions do in place of the import."""
    late = Import()
    monkeypatch.setattr(request_head, "HeadWriter", late)
    yield late
    late.may_end.set()


MODULES = """
import asyncio, sys, threading, aiosmrt

def loaded():
    return not {"requests", "aws_requests_auth", "aiosmrt._aws.signer"}.isdisjoint(sys.modules)

async def main():
    keys = aiosmrt.Credentials("id", "secret")
    url = "http://127.0.0.1:1"
    policy = aiosmrt.RetryPolicy(max_attempts=1)
    session = aiosmrt.Session(
        region="us-east-1", endpoint_url=url, credentials=keys, retries=policy
    )
    async with session:
        print(loaded())
        try:
            await session.invoke_endpoint("e", b"x")
        except aiosmrt.ConnectError:
            pass

asyncio.run(main())
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join()
print(loaded())
"""


def test_a_session_without_a_call_does_not_bring_requests() -> None:
    """The first call does: and the import has ended when the session's thread has."""
    command = [sys.executable, "-W", "error", "-c", MODULES]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True"]
    assert "Traceback" not in done.stderr  # asyncio notes slow turns there in debug mode


async def test_the_connection_is_made_while_the_signer_is_imported(imported: Import) -> None:
    connected = asyncio.Event()

    async def handler(connection: Connection) -> None:
        connected.set()
        server.requests.append(await connection.request())
        await connection.send(answer())

    async with RawServer(handler) as server, open_session(server.url) as session:
        call = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
        await connected.wait()
        assert not server.requests
        imported.may_end.set()
        assert (await call).body == b"ok"
        await at_rest(session, server)


async def test_calls_share_one_import(imported: Import) -> None:
    async with serve(answer()) as server, open_session(server.url) as session:
        calls = [asyncio.ensure_future(session.invoke_endpoint("e", b"x")) for _ in range(5)]
        await until(lambda: server.connections == 5)
        calls[0].cancel()
        imported.may_end.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(outcomes[0], asyncio.CancelledError)
        assert [output.body for output in outcomes[1:]] == [b"ok"] * 4
        await session.invoke_endpoint("e", b"x")
        assert imported.begun == 1
        await at_rest(session, server)


async def test_a_failed_import_is_the_error_of_each_call(imported: Import) -> None:
    imported.failure = ImportError("no module of that name")
    async with serve(answer()) as server, open_session(server.url) as session:
        calls = [asyncio.ensure_future(session.invoke_endpoint("e", b"x")) for _ in range(2)]
        await until(lambda: server.connections == 2)
        imported.may_end.set()
        for outcome in await asyncio.gather(*calls, return_exceptions=True):
            assert outcome is imported.failure
        assert not server.requests
        imported.failure = None
        assert (await session.invoke_endpoint("e", b"x")).body == b"ok"
        assert imported.begun == 2
        await at_rest(session, server)


async def test_the_calls_end_bounds_the_wait_for_the_import(imported: Import) -> None:
    async with serve(answer()) as server, open_once(server.url) as session:
        with pytest.raises(aiosmrt.DeadlineExceededError, match="signer's import"):
            await session.invoke_endpoint("e", b"x", timeouts=Timeouts(total=0.1))
        await at_rest(session, server)


async def test_a_session_that_is_closed_does_not_wait_for_the_import(imported: Import) -> None:
    async with serve(answer()) as server:
        session = open_session(server.url)
        call = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
        await until(lambda: server.connections == 1)
        await session.aclose()
        with pytest.raises(aiosmrt.TransportError, match="The session"):
            await call


def test_an_import_that_another_loop_began_is_not_waited_for() -> None:
    late = Import()
    signer = SigV4Signer(None, None, "h", "r", "sagemaker")
    heads = Late(Threads(), lambda: late(signer, host="h"))

    async def begin() -> None:
        heads.begin()

    async def get() -> HeadWriter:
        late.may_end.set()
        return await heads.get()

    asyncio.run(begin())
    assert isinstance(asyncio.run(get()), HeadWriter)
    assert late.begun == 2


async def test_a_failed_import_that_no_call_has_waited_for_is_not_logged(imported: Import) -> None:
    """The calls have failed already, for want of a connection."""
    logged: list[dict[str, Any]] = []
    before = our_threads()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    imported.failure = ImportError("no module of that name")
    imported.may_end.set()
    async with open_once("http://127.0.0.1:1") as session:
        with pytest.raises(aiosmrt.ConnectError):
            await session.invoke_endpoint("e", b"x")
        await until(lambda: imported.begun)
    await until(lambda: our_threads() <= before)
    await turns()
    imported.failure = None  # its traceback holds what is to be collected
    del session
    gc.collect()
    await turns()
    assert not logged
