"""A session whose closing is cancelled is closed all the same."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from support.cancelling import MOST_SUSPENSIONS, cancel_at
from support.certificates import serving, trusting
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import KEYS, open_once, open_session
from support.streams import HEAD, chunk, part
from support.waiting import our_tasks, our_threads, turns, until

import aiosmrt
from aiosmrt import CachingProvider, Credentials
from aiosmrt._threads import Late
from aiosmrt.local import LocalEndpoint, ModelRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def handler(connection: Connection) -> None:
    while True:
        request = await connection.request()
        if "held" in request.path:
            await connection.gone()
            return
        if "response-stream" in request.path:
            await connection.send(HEAD + chunk(part(b"first")))
        else:
            await connection.send(answer())


class SlowToEnd:
    """Waits for ever, and takes two more turns of the loop to end when it is cancelled."""

    async def get_credentials(self) -> Credentials:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return KEYS


class Refreshing(SlowToEnd):
    """Gives credentials once, which a cache renews in the background; that waits for ever."""

    asked = 0

    async def get_credentials(self) -> Credentials:
        self.asked += 1
        if self.asked > 1:
            return await super().get_credentials()
        expiry = datetime.now(timezone.utc) + timedelta(minutes=12)
        return Credentials("AKID", "secret", None, expiry)


async def idle(session: aiosmrt.Session) -> None:
    await asyncio.gather(*(session.invoke_endpoint("e", b"x") for _ in range(5)))


async def held(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint("held", b"x")


async def both(session: aiosmrt.Session) -> None:
    await idle(session)
    await asyncio.gather(*(held(session) for _ in range(3)))


async def large(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint("held", bytes(8 << 20))


async def stream(session: aiosmrt.Session) -> None:
    async with session.invoke_endpoint_with_response_stream("e", b"x") as parts:
        async for _ in parts:
            pass


async def behind_another(session: aiosmrt.Session) -> None:
    other = asyncio.ensure_future(held(session))
    await asyncio.sleep(0)
    try:
        await held(session)
    finally:
        await asyncio.gather(other, return_exceptions=True)


async def many(session: aiosmrt.Session) -> None:
    async with session.invoke_many("held", [b"x"] * 5, concurrency=3, on_error="raise") as items:
        async for _ in items:
            pass


CASES: dict[str, tuple[Callable[[aiosmrt.Session], Awaitable[None]], dict[str, Any]]] = {
    "idle": (idle, {}),
    "idle-tls": (idle, {"tls": True}),
    "a-call": (held, {}),
    "a-call-and-idle-ones": (both, {}),
    "a-call-and-idle-ones-tls": (both, {"tls": True}),
    "a-call-that-waits-for-a-place": (both, {"max_connections": 1}),
    "a-large-body": (large, {}),
    "a-stream": (stream, {}),
    "many-calls": (many, {}),
    "credentials": (idle, {"credentials": SlowToEnd()}),
    "cached-credentials": (idle, {"credentials": CachingProvider(SlowToEnd())}),
    "credentials-in-the-background": (both, {"credentials": Refreshing, "tls": True}),
}


@pytest.mark.parametrize("how", ["aclose", "async with"])
@pytest.mark.parametrize("case", CASES)
async def test_cancelled_at_every_await_it_is_closed(case: str, how: str) -> None:
    play, options = CASES[case]
    reached = 0
    for number in range(MOST_SUSPENSIONS):
        given = dict(options)
        tls = given.pop("tls", False)
        threads = our_threads()
        async with RawServer(handler, ssl=serving() if tls else None) as server:
            if tls:
                given["ssl"] = trusting()
            if given.get("credentials") is Refreshing:
                given["credentials"] = CachingProvider(Refreshing())
            session = open_once(server.url, **given)
            call = asyncio.ensure_future(play(session))
            await _under_way(call)
            closing = session.aclose() if how == "aclose" else session.__aexit__(None, None, None)
            task = asyncio.ensure_future(_run(cancel_at(closing, number)))
            await asyncio.wait([task])
            assert "closed" in repr(session)
            (outcome,) = await asyncio.gather(call, return_exceptions=True)
            assert outcome is None or isinstance(outcome, aiosmrt.TransportError)
            with pytest.raises(aiosmrt.TransportError, match="closed"):
                await session.invoke_endpoint("e", b"x")
            await until(lambda: not server.open)
            await until(lambda: not our_tasks())
            await until(lambda before=threads: our_threads() <= before)
            await session.aclose()
            if not task.cancelled() and not task.result():
                break
            reached += 1
    assert reached >= 1, "the closing was never interrupted"


async def test_a_call_whose_signer_comes_as_the_session_is_closed_fetches_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody would end that fetch: the provider has been closed."""
    wait = Late[Any].get

    async def close_then(heads: Late[Any], making: Any = None) -> Any:
        made = await wait(heads, making)
        closings.append(asyncio.ensure_future(session.aclose()))
        return made

    closings: list[asyncio.Future[None]] = []
    provider = Refreshing()
    async with RawServer(handler) as server:
        session = open_once(server.url, credentials=CachingProvider(provider))
        monkeypatch.setattr(Late, "get", close_then)
        with pytest.raises(aiosmrt.TransportError, match="The session is closed: keep"):
            await session.invoke_endpoint("e", b"x")
        await asyncio.gather(*closings)
        assert len(closings) == provider.asked == 1
        assert not our_tasks()


async def test_cancelled_while_results_are_awaited_it_is_closed() -> None:
    async def slow(_: ModelRequest) -> bytes:
        await asyncio.Event().wait()
        return b""

    for number in range(MOST_SUSPENSIONS):
        async with LocalEndpoint() as local:
            local.add_model("slow", slow)
            session = local.session()
            invocation = await session.invoke_endpoint_async("slow", body=b"x")
            result = asyncio.ensure_future(invocation.result())
            await _under_way(result)
            task = asyncio.ensure_future(_run(cancel_at(session.aclose(), number)))
            await asyncio.wait([task])
            assert "closed" in repr(session)
            with pytest.raises(aiosmrt.TransportError, match="closed"):
                await result
            with pytest.raises(aiosmrt.TransportError, match="closed"):
                await session.invoke_endpoint("slow", b"x")
            await session.aclose()
            if not task.cancelled() and not task.result():
                assert number >= 1, "the closing was never interrupted"
                return


DURING = "The session was closed during the call: let its calls end first"
AFTER = "The session is closed: keep it open for as long as calls are made"
WAITS = {
    "a-connection": (held, None, AFTER),
    "a-place": (behind_another, b"", DURING),
    "a-head": (held, b"", DURING),
    "the-rest-of-a-head": (held, answer()[:20], DURING),
    "a-body": (held, answer()[:-1], DURING),
    "a-part": (stream, HEAD + chunk(part(b"first")), DURING),
    "the-rest-of-an-upload": (large, b"", DURING),
}


@pytest.mark.parametrize("play, sent, text", WAITS.values(), ids=WAITS)
async def test_a_call_that_the_closing_ends_says_so(
    play: Any, sent: bytes | None, text: str
) -> None:
    """In each wait of a call; and no further attempt is made."""
    arrived = asyncio.Event()

    async def wait(connection: Connection) -> None:
        if sent is not None:
            await connection.reader.readuntil(b"\r\n\r\n")
            await connection.send(sent)
        arrived.set()
        await connection.gone()

    async with RawServer(wait, limit=1 << 16) as server:
        url = server.url.replace("http:", "https:") if sent is None else server.url
        session = open_session(url, max_connections=1)
        call = asyncio.ensure_future(play(session))
        await arrived.wait()
        await turns()
        await session.aclose()
        with pytest.raises(aiosmrt.TransportError) as caught:
            await call
        assert caught.value.message == text
        assert type(caught.value) is aiosmrt.TransportError
        assert caught.value.host == url.partition("//")[2]
        assert server.connections == 1


async def _under_way(call: asyncio.Future[None]) -> None:
    """Lets a call come to where it waits, or to its end."""
    await asyncio.wait([call], timeout=0.1)


async def _run(stepping: Awaitable[bool]) -> bool:
    return await stepping


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # which the stream's connection gives
def test_a_session_with_a_stream_of_a_loop_that_is_closed_can_be_closed() -> None:
    """Nothing of the session is left but the stream's connection, which went with its loop."""

    def serve_one() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(HEAD + chunk(part(b"first")))
            while connection.recv(65_536):
                pass

    async def leave_open() -> tuple[aiosmrt.Session, aiosmrt.ResponseStream]:
        session = open_once(f"http://127.0.0.1:{listening.getsockname()[1]}")
        return session, await session.invoke_endpoint_with_response_stream("e", b"x")

    async def close(session: aiosmrt.Session) -> None:
        await session.aclose()
        await session.aclose()
        await until(lambda: our_threads() <= others)

    others = our_threads()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve_one)
        server.start()
        session, stream = asyncio.run(leave_open())
        asyncio.run(close(session))
        assert "closed" in repr(session)
        del stream, session
        gc.collect()
        server.join(60)


async def test_closing_reports_that_the_connector_could_not_be_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed = []

    async def close(connector: aiohttp.TCPConnector) -> None:
        closed.append(connector)
        raise RuntimeError("not from this thread")

    async with serve(answer()) as server:
        session = open_once(server.url)
        await session.invoke_endpoint("e", b"x")
        with monkeypatch.context() as patch:
            patch.setattr(aiohttp.TCPConnector, "close", close)
            with pytest.raises(RuntimeError, match="not from this thread"):
                await session.aclose()
        await closed[0].close()
