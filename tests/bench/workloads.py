"""What is measured, as data."""

from __future__ import annotations

import attrs

__all__ = ["WORKLOADS", "Workload"]

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
