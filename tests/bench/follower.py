"""Follows many paced streams at once in a worker's process: their CPU time, and their latency."""

from __future__ import annotations

import array
import asyncio
import gc
import resource
import time
from pathlib import Path
from statistics import median
from typing import Any

__all__ = ["follow", "resident"]

# How often the loop is asked whether it has time.
_TICK = 0.005
# Streams that are opened at a time.
_FLIGHT = 64


def resident() -> int:
    """This process's memory now, of which Linux alone tells; elsewhere its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


def _at(hundredths: int, figures: array.array[float]) -> float:
    return sorted(figures)[len(figures) * hundredths // 100]


async def _tick(lags: array.array[float]) -> None:
    while True:
        asked = time.monotonic()
        await asyncio.sleep(_TICK)
        lags.append(time.monotonic() - asked - _TICK)


class Follower:
    """Opens streams, has the server start them, and reads them all to their ends."""

    def __init__(self, client: Any, reader: str, rate: float) -> None:
        self.client = client
        self.read = getattr(client, reader)
        self.rate = rate

    async def open(self, streams: int) -> list[Any]:
        turn = asyncio.Semaphore(_FLIGHT)

        async def one() -> Any:
            async with turn:
                return await self.client.begin("paced", b"x")

        return await asyncio.gather(*(one() for _ in range(streams)))

    async def read_all(self, streams: list[Any], events: int) -> dict[str, float]:
        latencies, lags = array.array("d"), array.array("d")
        note, clock = latencies.append, time.monotonic

        def arrived(stamp: bytes | str) -> None:
            note(clock() - float(stamp))

        await self.client.invoke(f"go-{self.rate:g}-{events}", b"x")
        cpu = time.process_time()
        ticker = asyncio.ensure_future(_tick(lags))
        await asyncio.gather(*(self.read(stream, arrived) for stream in streams))
        cpu = time.process_time() - cpu
        ticker.cancel()
        if len(latencies) != len(streams) * events:
            raise AssertionError(f"{len(latencies)} events of {len(streams) * events}")
        return {
            "cpu": cpu / len(latencies),
            "latency_p50": median(latencies),
            "latency_p99": _at(99, latencies),
            "lag_p99": _at(99, lags),
        }


async def follow(
    client: Any, *, reader: str, streams: int, rate: float, events: int
) -> dict[str, float]:
    """Follows streams of so many events each.

    Returns:
        CPU seconds an event; the seconds from the server's write of an event to the user's
        code, and those that the loop ran late; the bytes that an open stream added.
    """
    follower = Follower(client, reader, rate)
    # Imports and the like fall to a stream that is not measured.
    await follower.read_all(await follower.open(1), 2)
    gc.collect()
    before = resident()
    opened = await follower.open(streams)
    gc.collect()
    grown = resident() - before
    return {"memory": grown / streams, **await follower.read_all(opened, events)}
