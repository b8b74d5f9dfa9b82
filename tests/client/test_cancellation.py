"""Cancelled at every await, a call leaves nothing behind, and the session serves the next.

Each case runs once for every suspension of its task: the n-th run is cancelled at the
n-th. That a case runs to its end without having been reached ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from support.cancelling import MOST_SUSPENSIONS, cancel_at
from support.raw_server import Connection, RawServer, answer
from support.sessions import KEYS, open_session
from support.streams import END, HEAD, chunk, part
from support.transports import at_rest, in_use
from support.waiting import until

import aiosmrt
from aiosmrt import Credentials, RetryPolicy, Timeouts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Slow:
    """Credentials that take two turns of the loop, at every attempt."""

    async def get_credentials(self) -> Credentials:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return KEYS


async def invoke(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint("e", b"x")


async def invoke_twice(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint("e", b"x")
    await session.invoke_endpoint("e", b"x")


async def invoke_large(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint("e", bytes(1 << 20))


async def invoke_async(session: aiosmrt.Session) -> None:
    await session.invoke_endpoint_async("e", body=b"x")


async def invoke_behind_another(session: aiosmrt.Session) -> None:
    other = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
    await asyncio.sleep(0)
    try:
        await session.invoke_endpoint("e", b"x")
    finally:
        await asyncio.wait([other])


async def stream(session: aiosmrt.Session) -> None:
    async with session.invoke_endpoint_with_response_stream("stream", b"x") as parts:
        assert [p.bytes async for p in parts] == [b"one", b"two", b"three"]


async def stream_and_leave(session: aiosmrt.Session) -> None:
    async with session.invoke_endpoint_with_response_stream("stream", b"x") as parts:
        async for _ in parts:
            break


async def stream_a_large_part(session: aiosmrt.Session) -> None:
    async with session.invoke_endpoint_with_response_stream("large", b"x") as parts:
        assert [len(line) async for line in parts.iter_lines()] == [999] * 100


CASES: dict[str, tuple[Callable[[aiosmrt.Session], Awaitable[None]], dict[str, Any]]] = {
    "invoke": (invoke, {}),
    "invoke-on-a-kept-connection": (invoke_twice, {}),
    "invoke-by-a-server-that-closes": (invoke_twice, {"closing": True}),
    "invoke-a-large-body": (invoke_large, {}),
    "invoke-async": (invoke_async, {}),
    "invoke-with-slow-credentials": (invoke, {"credentials": Slow()}),
    "invoke-with-a-total": (invoke, {"timeouts": Timeouts(total=30)}),
    "invoke-after-a-failure": (invoke, {"failures": 1}),
    "wait-for-a-slot": (invoke_behind_another, {"max_connections": 1}),
    "stream": (stream, {}),
    "stream-and-leave": (stream_and_leave, {}),
    "stream-a-part-of-several-turns": (stream_a_large_part, {}),
}


@contextlib.asynccontextmanager
async def serving(*, failures: int, closing: bool) -> AsyncIterator[RawServer]:
    """Answers slowly, in pieces, so that there is much to be interrupted."""
    left = failures

    async def handler(connection: Connection) -> None:
        nonlocal left
        while True:
            request = await connection.request()
            if left:
                left -= 1
                await connection.send(answer(b"{}", "500 Error"))
                continue
            if "/large/" in request.path:
                pieces = [HEAD, chunk(part((b"x" * 999 + b"\n") * 100)), END]
            elif "response-stream" in request.path:
                pieces = [HEAD, *(chunk(part(p)) for p in (b"one", b"two", b"three")), END]
            else:
                whole = answer(b"abc")
                pieces = [whole[:20], whole[20:-1], whole[-1:]]
            for piece in pieces:
                await connection.send(piece)
                await asyncio.sleep(0.001)
            if closing:
                return

    async with RawServer(handler) as server:
        yield server


@pytest.mark.parametrize("case", CASES)
async def test_cancelled_at_every_await(case: str) -> None:
    play, options = CASES[case]
    given = {"failures": 0, "closing": False, **options}
    faults = {name: given.pop(name) for name in ("failures", "closing")}
    reached = 0
    for number in range(MOST_SUSPENSIONS):
        async with serving(**faults) as server:
            session = open_session(server.url, **{"retries": RetryPolicy(max_attempts=3), **given})
            async with session:
                task = asyncio.ensure_future(_run(cancel_at(play(session), number)))
                await asyncio.wait([task])
                # The call in front of a cancelled one may still be under way.
                await until(partial(_is_free, session))
                await at_rest(session, server)
                if not task.cancelled() and not task.result():
                    break
                reached += 1
                # The very same session serves the next one.
                await session.invoke_endpoint("e", b"x")
    assert reached >= 3, "hardly anything was interrupted"


def _is_free(session: aiosmrt.Session) -> bool:
    return in_use(session) == 0


async def _run(stepping: Awaitable[bool]) -> bool:
    return await stepping
