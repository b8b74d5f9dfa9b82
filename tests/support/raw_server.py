"""A server that speaks bytes, so that a test decides what comes back and when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Connection", "RawServer", "Request", "answer", "serve"]


@attrs.frozen
class Request:
    """A request as it came: the head's lines, and the body by its Content-Length."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]


class Connection:
    """One client's connection; ``number`` counts them from 0."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer

    async def request(self) -> Request:
        """Reads one request; IncompleteReadError where the client has gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode().split("\r\n")[:-2]
        headers = {}
        for field in fields:
            name, _, value = field.partition(": ")
            assert name.lower() not in headers, f"{name} is there twice"
            headers[name.lower()] = value
        body = await self.reader.readexactly(int(headers["content-length"]))
        return Request(line, headers, body)

    async def send(self, data: bytes) -> None:
        """Writes; ConnectionError where the client has gone (uvloop raises RuntimeError)."""
        if self.writer.is_closing():
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Waits until the client has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        """Ends the connection with RST, as a peer that fell over does."""
        raw = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Handler = Callable[[Connection], Awaitable[None]]


class RawServer:
    """Serves each connection by a coroutine and closes it when that returns.

    Attributes:
        connections: How many were opened.
        open: How many of them are open.
        requests: What the handler has put there.
    """

    def __init__(self, handler: Handler, *, ssl: object = None, limit: int = 1 << 24) -> None:
        self._handler = handler
        self._ssl = ssl
        self._limit = limit  # of what is read ahead
        self._tasks: set[asyncio.Task[None]] = set()
        self.connections = self.open = 0
        self.requests: list[Request] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=self._limit, ssl=self._ssl
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def close(self) -> None:
        """Takes no further connection."""
        self._server.close()

    @property
    def url(self) -> str:
        scheme = "https" if self._ssl else "http"
        return f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        # Of a connection that broke the collector may take this future before the protocol
        # that would have looked at it, and tell the loop that nobody did.
        # The public way to it waits until the connection is closed.
        protocol = writer.transport.get_protocol()
        broken = protocol._get_close_waiter(writer)  # noqa: SLF001 - asyncio's
        broken.add_done_callback(lambda future: future.cancelled() or future.exception())
        number, self.connections = self.connections, self.connections + 1
        self.open += 1
        try:
            # A client that goes away ends its connection, and no test by itself; and
            # Python 3.11's streams report a handler that was cancelled as a fault.
            with contextlib.suppress(
                asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError
            ):
                await self._handler(Connection(number, reader, writer))
        finally:
            self._tasks.discard(task)
            self.open -= 1
            writer.close()


def answer(
    body: bytes = b"ok", status: str = "200 OK", headers: dict[str, str] | None = None
) -> bytes:
    """A whole response of a known length."""
    fields = {"Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


@contextlib.asynccontextmanager
async def serve(*answers: bytes, ssl: object = None) -> AsyncIterator[RawServer]:
    """Answers the first requests by these, and all further ones by the last of them."""

    async def handler(connection: Connection) -> None:
        while True:
            request = await connection.request()
            given = answers[min(len(server.requests), len(answers) - 1)]
            server.requests.append(request)
            await connection.send(given)

    server = RawServer(handler, ssl=ssl)
    async with server:
        yield server
