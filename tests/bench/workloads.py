"""What is measured, as data."""

from __future__ import annotations

import attrs

__all__ = ["FLOWS", "READERS", "WORKLOADS", "Flow", "Workload"]

_SMALL = 1_000
_LARGE = 5_000_000


@attrs.frozen(kw_only=True)
class Workload:
    """One kind of work.

    Attributes:
        name: For the table.
        operation: The client's method: ``invoke`` or ``stream``.
        endpoint: What the server answers; see `server`.
        count: Calls in a round.
        flight: How many of them at a time.
        body: The request body's length in bytes.
        unit: What the CPU time is divided by, and how many of it a call has.
        also: Whether TLS and uvloop are measured too when not everything is.
    """

    name: str
    operation: str
    endpoint: str
    count: int
    flight: int = 1
    body: int = _SMALL
    unit: tuple[str, int] = ("call", 1)
    also: bool = False


WORKLOADS = [
    Workload(name="1 KB, 1 in flight", operation="invoke", endpoint="bytes-1000", count=200),
    Workload(
        name="1 KB, 64 in flight",
        operation="invoke",
        endpoint="bytes-1000",
        count=512,
        flight=64,
        also=True,
    ),
    Workload(
        name="1 KB, 512 in flight",
        operation="invoke",
        endpoint="bytes-1000",
        count=1024,
        flight=512,
    ),
    Workload(
        name="5 MB sent", operation="invoke", endpoint="bytes-1000", count=4, flight=2, body=_LARGE
    ),
    Workload(
        name="5 MB received", operation="invoke", endpoint=f"bytes-{_LARGE}", count=4, flight=2
    ),
    Workload(
        name="stream of tokens, 64 to a chunk",
        operation="stream",
        endpoint="tokens-5000",
        count=2,
        unit=("event", 5000),
        also=True,
    ),
    Workload(
        name="stream of tokens, a chunk each",
        operation="stream",
        endpoint="flushes-5000",
        count=2,
        unit=("event", 5000),
    ),
    Workload(
        name="stream of 64 KiB parts",
        operation="stream",
        endpoint="parts-200",
        count=2,
        unit=("part", 200),
    ),
    Workload(
        name="short streams, 64 in flight",
        operation="stream",
        endpoint="flushes-16",
        count=256,
        flight=64,
        unit=("stream", 1),
    ),
]


@attrs.frozen
class Flow:
    """Paced streams that one process reads at once.

    Attributes:
        loop: The client's event loop.
        streams: How many.
        rate: Events a second of each, every one in a TCP segment of its own.
        seconds: How long they go on.
        plain: Whether clients hand out payloads alone when not everything is measured.
    """

    loop: str
    streams: int
    rate: int
    seconds: float = 3
    plain: bool = False

    def scaled(self, scale: float) -> Flow:
        """The same with fewer streams, for a shorter time."""
        if scale >= 1:
            return self
        streams = max(round(self.streams * scale), 1)
        return attrs.evolve(self, streams=streams, seconds=max(self.seconds * scale, 0.1))

    @property
    def events(self) -> int:
        """Of each stream."""
        return max(round(self.rate * self.seconds), 1)


FLOWS = [
    Flow("asyncio", 200, 50),
    Flow("uvloop", 200, 50),
    Flow("asyncio", 1000, 30, plain=True),
]
# Who reads paced streams, by the name in the table: the client, and its method.
READERS = {
    "aiosmrt": ("aiosmrt", "follow"),
    "aiosmrt tokens": ("aiosmrt", "follow_tokens"),
    "aiosmrt sse": ("aiosmrt", "follow_sse"),
    "before": ("before", "follow"),
    "before tokens": ("before", "follow_tokens"),
    "aiohttp": ("aiohttp", "follow"),
    "aiobotocore": ("aiobotocore", "follow"),
    "aiobotocore tokens": ("aiobotocore", "follow_tokens"),
}
