"""Nothing that a call awaits outlasts the call's limits, its cancellation or its session."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from support.certificates import AUTHORITY, serving
from support.raw_server import answer, serve
from support.sessions import KEYS, open_once, open_session
from support.streams import END, HEAD, chunk, part
from support.transports import at_rest, in_use
from support.waiting import turns, until

import aiosmrt
from aiosmrt import CachingProvider, Credentials, CredentialsError, Timeouts
from aiosmrt._aws import signer as _imported_before_the_calls  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

LARGE = bytes(1 << 20)


@pytest.fixture
async def full_executor() -> AsyncIterator[None]:
    """The program's own work, for which the loop's default executor has no end of threads."""
    free = threading.Event()
    loop = asyncio.get_running_loop()
    work = [loop.run_in_executor(None, free.wait, 60) for _ in range(200)]
    yield
    free.set()
    await asyncio.gather(*work)


@pytest.mark.parametrize("what", ["a large body", "certificates", "a host's name"])
@pytest.mark.usefixtures("full_executor")
async def test_a_default_executor_that_is_full_delays_no_call(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call of a session, which imports the signer besides."""
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    tls = serving() if what == "certificates" else None
    async with serve(answer(), ssl=tls) as server:
        url = server.url
        if what == "a host's name":
            url = url.replace("127.0.0.1", "localhost")
        body = LARGE if what == "a large body" else b"x"
        async with open_session(url) as session:
            assert (await session.invoke_endpoint("e", body)).body == b"ok"


@pytest.fixture
def looking_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Is set when a name is looked up; the name server does not answer before the test's end."""
    begun, over = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> None:
        begun.set()
        over.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield begun
    over.set()


@pytest.mark.parametrize(
    "end, own",
    # Timeouts.connect does not count how long a connector of the user's looks a name up.
    [("connect", True), *itertools.product(("total", "cancel", "close"), (True, False))],
)
async def test_a_name_server_that_does_not_answer_holds_nobody_up(
    looking_up: threading.Event, end: str, own: bool
) -> None:
    # uvloop looks names up in threads of libuv, which no test can hold up.
    if not own and "uvloop" in type(asyncio.get_running_loop()).__module__:
        own = True
    connector = None if own else aiohttp.TCPConnector()
    session = open_once("https://name.example", connector=connector)
    calls = [asyncio.ensure_future(limited(session, end)) for _ in range(3)]
    await until(looking_up.is_set)
    await check_end(session, calls, end)
    if connector is not None:
        await connector.close()


async def limited(session: aiosmrt.Session, end: str, *, seconds: float = 0.2) -> None:
    limits = {"total": Timeouts(total=seconds), "connect": Timeouts(connect=seconds)}
    await session.invoke_endpoint("e", b"x", timeouts=limits.get(end, Timeouts()))


async def check_end(session: aiosmrt.Session, calls: list[asyncio.Future[None]], end: str) -> None:
    """Ends calls that wait for what never comes, and looks at how they ended."""
    if end == "cancel":
        for call in calls:
            call.cancel()
    elif end == "close":
        await session.aclose()
    ended, late = await asyncio.wait(calls, timeout=30)
    assert not late
    expected = {
        "total": aiosmrt.DeadlineExceededError,
        "connect": aiosmrt.ConnectTimeoutError,
        "close": aiosmrt.TransportError,
    }
    for call in ended:
        if end == "cancel":
            assert call.cancelled()
        else:
            assert not call.cancelled()
            assert type(call.exception()) is expected[end]
    if end != "close":
        assert in_use(session) == 0
        await session.aclose()


class Swallowing:
    """A provider that goes on until the test is over, whoever cancels it."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.asked = self.ended = 0

    async def get_credentials(self) -> Credentials:
        self.asked += 1
        while not self.over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.over.wait()
        self.ended += 1
        return KEYS


class Threaded:
    """A provider that asks in a thread, as one of boto3's does."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked = self.ended = 0

    async def get_credentials(self) -> Credentials:
        self.asked += 1
        try:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._ask))
        finally:
            self.ended += 1
        return KEYS

    def _ask(self) -> None:
        self.over.wait(60)


@pytest.mark.parametrize("end", ["total", "cancel", "close"])
@pytest.mark.parametrize("caching", [False, True], ids=["direct", "caching"])
@pytest.mark.parametrize("kind", [Swallowing, Threaded])
async def test_a_provider_that_does_not_end_holds_nobody_up(
    kind: Any, caching: bool, end: str
) -> None:
    provider = kind()
    given = CachingProvider(provider) if caching else provider
    async with serve(answer()) as server:
        session = open_once(server.url, credentials=given)
        calls = [asyncio.ensure_future(limited(session, end)) for _ in range(3)]
        try:
            wanted = 1 if caching else 3
            # On a slow machine a call's time may end before.
            await until(lambda: provider.asked == wanted or all(map(asyncio.Future.done, calls)))
            await check_end(session, calls, end)
            await until(lambda: not server.open)
            assert not server.requests
        finally:
            provider.over.set()
        await until(lambda: provider.ended == provider.asked)
        await turns()


@pytest.mark.parametrize("when", ["credentials", "renewal"])
async def test_a_provider_that_is_cancelled_is_an_error_of_credentials(when: str) -> None:
    """A task group would take the call for one that was cancelled, and end without an error."""

    class Cancelled:
        async def get_credentials(self) -> Credentials:
            if when == "renewal":
                return KEYS
            return await self.renew()

        async def renew(self) -> Credentials:
            helper = asyncio.ensure_future(asyncio.sleep(60))
            helper.cancel()
            await helper
            return KEYS

    refusal = answer(b"{}", "403 Forbidden", {"x-amzn-ErrorType": "ExpiredTokenException"})
    async with serve(refusal) as server:
        async with open_session(server.url, credentials=Cancelled()) as session:
            call = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
            await asyncio.wait([call])
            assert not call.cancelled()
            error = call.exception()
            if when == "renewal":
                assert isinstance(error, aiosmrt.ExpiredTokenException)
                assert "could not be renewed" in str(error)
            else:
                assert isinstance(error, CredentialsError)
                assert "was cancelled" in str(error)
                assert error.attempts == 0
            await at_rest(session, server)


async def test_the_hash_of_a_body_is_a_part_of_the_call(full_threads: Callable[..., Any]) -> None:
    """Hashing takes a thread of the session's, of which all are taken here."""
    async with serve(answer()) as server:
        session = open_once(server.url)
        await session.invoke_endpoint("e", b"x")
        await full_threads(session)
        await session.invoke_endpoint("e", bytes(262_143))  # the loop hashes it
        with pytest.raises(aiosmrt.DeadlineExceededError, match="hashed") as caught:
            await session.invoke_endpoint("e", bytes(262_144), timeouts=Timeouts(total=0.1))
        assert caught.value.total == 0.1
        assert caught.value.attempts == 0
        assert caught.value.endpoint_name == "e"
        waiting = asyncio.ensure_future(session.invoke_endpoint("e", LARGE))
        await turns()
        await session.aclose()
        with pytest.raises(aiosmrt.TransportError, match="The session is closed"):
            await waiting


@pytest.fixture
async def full_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    """Takes all threads of a session: by inputs whose file's state nobody reports."""
    over, asked = threading.Event(), []
    found = __import__("os").stat

    def stat(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, type(tmp_path)) and path.name == "held":
            asked.append(path)
            over.wait(60)
        return found(path, *arguments, **options)

    monkeypatch.setattr("os.stat", stat)
    (tmp_path / "held").write_bytes(b"x")
    calls: list[asyncio.Future[Any]] = []

    async def take(session: aiosmrt.Session) -> None:
        for _ in range(4):
            call: Awaitable[Any] = session.invoke_endpoint_async(
                "e", body=tmp_path / "held", input="auto"
            )
            calls.append(asyncio.ensure_future(call))
        await until(lambda: len(asked) == 4)

    yield take
    over.set()
    await asyncio.gather(*calls, return_exceptions=True)


@pytest.mark.parametrize("what, end", [("body", "total"), ("body", "close"), ("stream", "close")])
async def test_a_long_answer_waits_for_no_thread_beyond_its_end(
    full_threads: Callable[[aiosmrt.Session], Awaitable[None]], what: str, end: str
) -> None:
    """A thread joins it. Timeouts.total does not limit the reading of a stream."""
    wire = answer(bytes(6 << 20))
    if what == "stream":
        wire = HEAD + b"".join(chunk(part(bytes(1 << 20))) for _ in range(6)) + END
    async with serve(wire) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", b"x")  # imports the signer, in a thread
        await full_threads(session)

        async def call() -> None:
            if what == "body":
                await limited(session, end, seconds=1.0)
                return
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                await stream.read()

        calling = asyncio.ensure_future(call())
        if end == "close":
            await until(lambda: len(server.requests) == 2 and in_use(session) == 0)
        await check_end(session, [calling], end)
