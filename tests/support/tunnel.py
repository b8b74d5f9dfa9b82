"""A proxy that leads every tunnel to one server, whatever host the client asks for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Tunnel", "tunnel_to"]


class Tunnel:
    """The proxy.

    Attributes:
        url: Its URL.
        asked: The host and port of each tunnel that a client asked for.
        open: How many tunnels are open.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = ""
        self.asked: list[str] = []
        self.open = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.decode().split(" ")[1])
            there, back = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.open += 1
            try:
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
            finally:
                self.open -= 1
                back.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
    finally:
        writer.close()


@contextlib.asynccontextmanager
async def tunnel_to(url: str) -> AsyncIterator[Tunnel]:
    """Opens the proxy, and closes it when all tunnels have ended."""
    tunnel = Tunnel(int(url.rpartition(":")[2]))
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        await tunnel.accept(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    tunnel.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield tunnel
    finally:
        server.close()
        await asyncio.gather(*tasks, return_exceptions=True)
