"""A transport by itself: one that must be clean at its end, and requests over it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from support.raw_server import in_use

from aiosmrt._transport import Exchange, Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

BODY = b"y" * 10


@contextlib.asynccontextmanager
async def open_transport(
    url: str, max_connections: int = 4, **options: object
) -> AsyncIterator[Transport]:
    transport = Transport(url, max_connections=max_connections, **options)
    try:
        yield transport
    finally:
        assert transport._slots._free == max_connections, "a slot was not given back"
        assert not in_use(transport), "a connection was not given back"
        await transport.aclose()


async def begin(
    transport: Transport, *, body: bytes = BODY, read: float | None = 20.0, **how: object
) -> Exchange:
    exchange = await transport.acquire(**{"deadline": None, "connect": 5.0, **how})
    head = f"POST / HTTP/1.1\r\nHost: {transport.host}\r\nContent-Length: {len(body)}\r\n\r\n"
    await exchange.send(head.encode(), body, read=read)
    return exchange
