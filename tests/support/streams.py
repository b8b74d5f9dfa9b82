"""Streamed responses as bytes, and a server that sends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from support.raw_server import Connection, RawServer
from support.sessions import open_session
from support.transports import at_rest

from aiosmrt.eventstream import encode_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import aiosmrt

HEAD = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
    b"x-amzn-RequestId: the-request-id\r\n"
    b"X-Amzn-SageMaker-Content-Type: text/plain\r\n"
    b"x-Amzn-Invoked-Production-Variant: blue\r\n\r\n"
)
END = b"0\r\n\r\n"


def part(payload: bytes) -> bytes:
    return encode_message({":message-type": "event", ":event-type": "PayloadPart"}, payload)


def exception(name: str, fields: dict[str, Any]) -> bytes:
    headers = {":message-type": "exception", ":exception-type": name}
    return encode_message(headers, json.dumps(fields).encode())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@contextlib.asynccontextmanager
async def streaming(
    *data: bytes, end: bytes = END, **options: Any
) -> AsyncIterator[tuple[RawServer, aiosmrt.Session]]:
    """A server that sends these bytes, each as a chunk, then the end, and goes on."""

    async def handler(connection: Connection) -> None:
        while True:
            server.requests.append(await connection.request())
            await connection.send(HEAD + b"".join(map(chunk, data)) + end)
            if end != END:
                return

    server = RawServer(handler)
    async with server, open_session(server.url, **options) as session:
        yield server, session
        await at_rest(session, server)


@contextlib.asynccontextmanager
async def fed(**options: Any) -> AsyncIterator[tuple[Callable[[bytes], None], aiosmrt.Session]]:
    """A server that sends what the test feeds it, one write after the other; ``b""`` closes."""
    writes: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(connection: Connection) -> None:
        await connection.request()
        while data := await writes.get():
            await connection.send(data)

    async with RawServer(handler) as server, open_session(server.url, **options) as session:
        yield writes.put_nowait, session
