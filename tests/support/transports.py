"""A transport by itself: one that must be clean at its end, and requests over it."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from support.waiting import until

from aiosmrt._transport import Exchange, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.raw_server import RawServer

    from aiosmrt import Session

BODY = b"y" * 10


def in_use(pool: Session | Transport) -> int:
    """How many connections are in use."""
    return _usage(pool)[0]


def idle(pool: Session | Transport) -> int:
    """How many connections wait for the next call."""
    return _usage(pool)[1]


def _usage(pool: Session | Transport) -> tuple[int, int]:
    found = re.search(r"(-?\d+) of \d+ connections in use, (\d+) idle", repr(pool))
    assert found, pool
    return int(found[1]), int(found[2])


async def at_rest(pool: Session | Transport, server: RawServer) -> None:
    """Fails if a call has kept its place, or if the server sees more connections than are idle."""
    assert in_use(pool) == 0, "a place was not given back"
    await until(lambda: server.open <= idle(pool))


@contextlib.asynccontextmanager
async def open_transport(
    server: RawServer | str, max_connections: int = 4, **options: object
) -> AsyncIterator[Transport]:
    """A transport to a server, or to an address where there is none."""
    url = server if isinstance(server, str) else server.url
    transport = Transport(url, max_connections=max_connections, **options)
    try:
        yield transport
        if isinstance(server, str) or "connector" in options:  # which keeps what is idle
            assert in_use(transport) == 0, "a place was not given back"
        else:
            await at_rest(transport, server)
    finally:
        await transport.aclose()


async def begin(
    transport: Transport, *, body: bytes = BODY, read: float | None = 20.0, **how: object
) -> Exchange:
    exchange = await transport.acquire(**{"deadline": None, "connect": 5.0, **how})
    head = f"POST / HTTP/1.1\r\nHost: {transport.host}\r\nContent-Length: {len(body)}\r\n\r\n"
    await exchange.send(head.encode(), body, read=read)
    return exchange
