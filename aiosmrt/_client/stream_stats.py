"""The measures of a stream: how long until its head, its first part, and between arrivals."""

import time
from collections.abc import Callable

import attrs

__all__ = ["StreamClock", "StreamStats"]


@attrs.frozen(kw_only=True)
class StreamStats:
    """What was measured of a stream so far. Times are in seconds.

    Attributes:
        time_to_head: From the call to the response's head, retries included.
        time_to_first_part: From the call to the first part's arrival; None before it.
        mean_gap: Between two arrivals that brought parts, on average; None before the second.
        longest_gap: The longest of these gaps; None before the second.
        parts: How many parts were handed out.
        bytes_received: How many bytes of the event stream have arrived, framing included.
    """

    __module__ = "aiosmrt"

    time_to_head: float
    time_to_first_part: float | None
    mean_gap: float | None
    longest_gap: float | None
    parts: int
    bytes_received: int


class StreamClock:
    """Notes when bytes arrive; parts that arrive together have no gap between them.

    Args:
        started: When the call began, by ``now``.
        now: Reads the time in seconds.
    """

    __slots__ = (
        "_arrival",
        "_first",
        "_gaps",
        "_head",
        "_last",
        "_longest",
        "_now",
        "_parts",
        "_started",
    )

    def __init__(self, started: float, now: Callable[[], float] = time.perf_counter) -> None:
        self._started = started
        self._now = now
        self._head = now()
        self._arrival = self._last = self._head
        self._first: float | None = None
        self._longest = 0.0
        self._gaps = 0
        self._parts = 0

    def arrived(self, parts: int) -> None:
        """Notes that bytes have arrived."""
        if parts != self._parts:
            self._settle(parts)
        self._arrival = self._now()

    def _settle(self, parts: int) -> None:
        """Whether the last arrival brought parts is known once it was decoded: now."""
        arrival, last = self._arrival, self._last
        self._parts = parts
        self._last = arrival
        if self._first is None:
            self._first = arrival
        elif arrival != last:  # asked between two parts, it knew of the arrival
            self._gaps += 1
            if arrival - last > self._longest:  # noqa: PLR1730 - max() takes three times as long
                self._longest = arrival - last

    def stats(self, *, parts: int, bytes_received: int) -> StreamStats:
        """The measures so far."""
        if parts != self._parts:
            self._settle(parts)
        first, gaps = self._first, self._gaps
        return StreamStats(
            time_to_head=self._head - self._started,
            time_to_first_part=None if first is None else first - self._started,
            mean_gap=(self._last - first) / gaps if first is not None and gaps else None,
            longest_gap=self._longest if gaps else None,
            parts=parts,
            bytes_received=bytes_received,
        )
