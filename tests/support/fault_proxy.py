"""A TCP proxy that breaks the network between a client and a server, as asyncpg's does.

It knows nothing of HTTP: it delays, cuts, resets, halves and stalls bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Literal

from support.raw_server import Connection, RawServer

if TYPE_CHECKING:
    import random

__all__ = ["FaultProxy"]

Fault = Literal["delay", "cut", "reset", "halve", "stall"]
FAULTS: tuple[Fault, ...] = ("delay", "cut", "reset", "halve", "stall")


class FaultProxy(RawServer):
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
        super().__init__(self._forward, limit=1 << 16)
        self._target = port
        self._rand = rand
        self._faults = faults
        self.share = share
        self.counts = dict.fromkeys(faults, 0)

    async def _forward(self, client: Connection) -> None:
        back, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        there = asyncio.ensure_future(self._copy(client.reader, upstream))
        try:
            await self._copy_with_faults(back, client)
        finally:
            there.cancel()
            await asyncio.wait([there])
            upstream.close()

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                sink.write(data)
                await sink.drain()
            sink.close()

    async def _copy_with_faults(self, source: asyncio.StreamReader, client: Connection) -> None:
        sink = client.writer
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
                client.reset()
                return
            else:
                await source.read()  # swallows all that follows, and says nothing
                return
