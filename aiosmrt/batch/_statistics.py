"""What a run counts: in memory that does not grow with it, however long it takes."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import TYPE_CHECKING

import attrs

from aiosmrt._values import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiosmrt.errors import AiosmrtError

__all__ = ["BatchSummary", "Histogram", "Interval", "Progress", "Statistics"]

# Steps of 5 % from 0.1 ms on: a quantile is known to within 2.5 %, and the latencies of
# a whole run take some 200 numbers.
_SMALLEST = 1e-4
_STEP = math.log(1.05)
# Of the timeline: what fits the width of a picture.
_MOST_INTERVALS = 600
# What "now" is in the figures on the way.
_RECENT_SECONDS = 10.0
_RECENT_LATENCIES = 1_000
_MESSAGE_LENGTH = 300


class Histogram:
    """Seconds, counted in steps of 5 percent."""

    def __init__(self) -> None:
        self.steps: Counter[int] = Counter()
        self.count = 0
        self.largest = 0.0

    def add(self, seconds: float) -> None:
        """Counts one."""
        self.steps[int(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _STEP)] += 1
        self.count += 1
        self.largest = max(self.largest, seconds)

    def merge(self, other: Histogram) -> None:
        """Counts all that another has counted."""
        self.steps.update(other.steps)
        self.count += other.count
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float) -> float | None:
        """The seconds that a share, 0 to 1, of those counted do not exceed; None without any."""
        left = share * self.count
        for step, count in self:
            left -= count
            if left <= 0:
                return min(step, self.largest)
        return None

    def __iter__(self) -> Iterator[tuple[float, int]]:
        """The middle of each step in seconds, and how many it has, the smallest first."""
        for step in sorted(self.steps):
            yield _SMALLEST * math.exp((step + 0.5) * _STEP), self.steps[step]


@attrs.define
class Interval:
    """What ended within a stretch of time.

    Attributes:
        succeeded: Records answered.
        failed: Records that ended in an error.
        concurrency: The most requests that were allowed at once.
        latencies: The seconds of the requests.
    """

    succeeded: int = 0
    failed: int = 0
    concurrency: int = 0
    latencies: Histogram = attrs.field(factory=Histogram)

    def merge(self, other: Interval) -> None:
        """Takes in the stretch that follows."""
        self.succeeded += other.succeeded
        self.failed += other.failed
        self.concurrency = max(self.concurrency, other.concurrency)
        self.latencies.merge(other.latencies)


@attrs.frozen(kw_only=True)
class Progress:
    """How far a run is.

    Attributes:
        total: How many records the input has.
        done: How many have their line in the output, those of earlier runs included.
        failed: How many of these lines tell an error.
        rate: Records a second over the last ten seconds.
        concurrency: How many requests may be under way.
        in_flight: How many are.
        p50: The median latency of the last requests in seconds, None before the first.
        p99: Their 99th percentile.
        elapsed: Seconds since the run began.
        remaining: Seconds that the rest takes at this rate, None where nobody knows.
        is_stopping: Whether a signal came, and what is under way is waited for.
    """

    total: int
    done: int
    failed: int
    rate: float
    concurrency: int
    in_flight: int
    p50: float | None
    p99: float | None
    elapsed: float
    remaining: float | None
    is_stopping: bool


@attrs.frozen(kw_only=True)
class BatchSummary:
    """How a run ended.

    Attributes:
        total: How many records the input has.
        skipped: How many were done in earlier runs.
        succeeded: How many were answered in this one.
        failed: How many lines of the output tell an error, those of earlier runs included.
        requests: How many requests were made, retries included.
        elapsed: Seconds.
        p50: The median latency of a request in seconds, None without any.
        p99: The 99th percentile.
        largest: The longest.
        errors: How often each error (its type's name) came in this run.
        messages: What the first of each said, up to 300 characters.
        is_complete: Whether every record has its line; False after a signal.
        signal: The first signal that came (``signal.SIGTERM``), None without one.
    """

    total: int
    skipped: int
    succeeded: int
    failed: int
    requests: int
    elapsed: float
    p50: float | None
    p99: float | None
    largest: float
    errors: dict[str, int]
    messages: dict[str, str]
    is_complete: bool
    signal: int | None = None

    def __str__(self) -> str:
        done = self.succeeded + sum(self.errors.values())
        parts = [
            f"{done} of {self.total} records in {self.elapsed:.1f} s",
            f"{done / self.elapsed if self.elapsed else 0:.1f} records/s",
            f"{self.requests} requests",
        ]
        if self.p50 is not None and self.p99 is not None:
            parts.append(f"latency p50 {self.p50:.3g} s, p99 {self.p99:.3g} s")
        if self.skipped:
            parts.append(f"{self.skipped} were done before")
        text = "; ".join(parts)
        if self.failed:
            kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.errors.items()))
            text += f"\n{self.failed} failed" + (f": {kinds}" if kinds else "")
            text += "".join(f"\n  {name}: {said}" for name, said in sorted(self.messages.items()))
        if not self.is_complete:
            text += "\nstopped before the end: run it again with resume (--resume)"
        return text


class Statistics:
    """Counts as records end, by the seconds of a clock that does not run backwards."""

    def __init__(self, total: int, skipped: int, failed: int, *, now: float) -> None:
        self._total = total
        self._skipped = skipped
        self._failed_before = failed
        self._began = now
        self._succeeded = 0
        self._requests = 0
        self._errors: Counter[str] = Counter()
        self._messages: dict[str, str] = {}
        self._recent: deque[float] = deque(maxlen=_RECENT_LATENCIES)
        # (time, records done) of the last ten seconds, for the rate.
        self._marks: deque[tuple[float, int]] = deque([(now, 0)])
        #: Seconds of one interval, and the intervals from the beginning on.
        self.width = 1.0
        self.intervals: list[Interval] = []

    def add(
        self,
        errors: Sequence[AiosmrtError | None],
        *,
        attempts: int,
        latency: float | None,
        concurrency: int,
        now: float,
    ) -> None:
        """Counts a request with the errors of its records; without a latency, nothing was sent."""
        interval = self._interval(now)
        interval.concurrency = max(interval.concurrency, concurrency)
        self._requests += attempts
        if latency is not None:
            interval.latencies.add(latency)
            self._recent.append(latency)
        for error in errors:
            if error is None:
                self._succeeded += 1
                interval.succeeded += 1
            else:
                name = type(error).__name__
                if name not in self._errors:
                    self._messages[name] = printable(error.message or str(error), _MESSAGE_LENGTH)
                self._errors[name] += 1
                interval.failed += 1

    def latencies(self) -> Histogram:
        """Returns the seconds of all requests."""
        latencies = Histogram()
        for interval in self.intervals:
            latencies.merge(interval.latencies)
        return latencies

    def _interval(self, now: float) -> Interval:
        number = int((now - self._began) / self.width)
        while number >= _MOST_INTERVALS:
            for even, odd in zip(self.intervals[::2], self.intervals[1::2], strict=False):
                even.merge(odd)
            del self.intervals[1::2]
            self.width *= 2
            number = int((now - self._began) / self.width)
        while number >= len(self.intervals):
            self.intervals.append(Interval())
        return self.intervals[number]

    def progress(
        self, *, concurrency: int, in_flight: int, is_stopping: bool, now: float
    ) -> Progress:
        """Tells how far the run is, at the present time."""
        here = self._succeeded + sum(self._errors.values())
        self._marks.append((now, here))
        while now - self._marks[1][0] > _RECENT_SECONDS:  # the last one is of now
            self._marks.popleft()
        began, before = self._marks[0]
        rate = (here - before) / (now - began) if now > began else 0.0
        left = self._total - self._skipped - here
        latencies = sorted(self._recent)
        return Progress(
            total=self._total,
            done=self._skipped + here,
            failed=self._failed_before + sum(self._errors.values()),
            rate=rate,
            concurrency=concurrency,
            in_flight=in_flight,
            p50=latencies[len(latencies) // 2] if latencies else None,
            p99=latencies[len(latencies) * 99 // 100] if latencies else None,
            elapsed=now - self._began,
            remaining=left / rate if rate else None,
            is_stopping=is_stopping,
        )

    def summary(self, *, now: float, signal: int | None = None) -> BatchSummary:
        """Tells how the run ended."""
        failed = sum(self._errors.values())
        latencies = self.latencies()
        return BatchSummary(
            total=self._total,
            skipped=self._skipped,
            succeeded=self._succeeded,
            failed=self._failed_before + failed,
            requests=self._requests,
            elapsed=now - self._began,
            p50=latencies.quantile(0.5),
            p99=latencies.quantile(0.99),
            largest=latencies.largest,
            errors=dict(self._errors),
            messages=dict(self._messages),
            is_complete=self._skipped + self._succeeded + failed == self._total,
            signal=signal,
        )
