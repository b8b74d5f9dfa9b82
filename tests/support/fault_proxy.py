"""A TCP proxy that breaks the network between a client and a server, as asyncpg's does.

It knows nothing of HTTP: it delays, cuts, resets, halves and stalls bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import random
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["FaultProxy"]

Fault = Literal["delay", "cut", "reset", "halve", "stall"]
FAULTS: tuple[Fault, ...] = ("delay", "cut", "reset", "halve", "stall")


class FaultProxy:
    """Forwards to a port of this machine; a share of the chunks that come back meet a fault.

    Args:
        port: The server's.
        rand: Decides which chunks, and which fault.
        share: How many of them, from 0 to 1.
        faults: The kinds to choose from.

    Attributes:
        counts: How often each fault was made.
    """

    def __init__(
        self,
        port: int,
        rand: random.Random,
        *,
        share: float,
        faults: tuple[Fault, ...] = FAULTS,
    ) -> None:
        self._target = port
        self._rand = rand
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()
        self.share = share
        self.counts = dict.fromkeys(faults, 0)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream = None
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                back, upstream = await asyncio.open_connection("127.0.0.1", self._target)
                there = asyncio.ensure_future(self._copy(reader, upstream))
                try:
                    await self._copy_with_faults(back, writer)
                finally:
                    there.cancel()
                    await asyncio.wait([there])
        finally:
            self._tasks.discard(task)
            writer.close()
            if upstream is not None:
                upstream.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
            sink.close()

    async def _copy_with_faults(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        while data := await source.read(65_536):
            if self._rand.random() >= self.share:
                sink.write(data)
                await sink.drain()
                continue
            fault = self._rand.choice(self._faults)
            self.counts[fault] += 1
            if fault == "delay":
                await asyncio.sleep(self._rand.random() * 0.1)
                sink.write(data)
            elif fault == "cut":
                return
            elif fault == "halve":
                sink.write(data[: self._rand.randrange(len(data))])
                return
            elif fault == "reset":
                sink.write(data[: self._rand.randrange(len(data))])
                raw = sink.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sink.transport.abort()
                return
            else:
                await source.read()  # swallows all that follows, and says nothing
                return
