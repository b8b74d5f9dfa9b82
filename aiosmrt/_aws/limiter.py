"""What holds a session back: its retry quota, and in adaptive mode its send rate.

Both are token buckets of the AWS SDKs, without I/O: neither reads a clock, sleeps or
locks; the caller passes the time, and waits.

- `RetryQuota` is botocore's `retries/quota.py`.
- `AdaptiveLimiter` is botocore's `retries/adaptive.py`, `throttling.py` and `bucket.py`
  together: throttles lower the rate, CUBIC (RFC 8312, over time instead of windows)
  raises it again, and a bucket holds the calls to it.

Properties, each with its test in `tests/aws/test_limiter.py`:

- The quota is never below 0 and never above 500, and counts as botocore's does.
- Nothing waits before the first throttle.
- For the same inputs the limiter has the same rate, and lets calls go at the same
  times, as botocore's.
- A throttle lowers the rate to 0.7 of what was measured; the rate is never less than
  0.5 requests/s, nor more than twice the measured rate (or 0.5).
- At one rate no more than rate * t + max(rate, 1) calls go in any time t.
- Who waits as long as it was told needs no second wait of more than a microsecond,
  unless the rate fell meanwhile.
"""

from __future__ import annotations

import math
from typing import ClassVar

__all__ = ["AdaptiveLimiter", "RetryQuota"]

# The values of the AWS SDKs, as in botocore 1.43.
_SCALE = 0.4  # CUBIC's constant, in requests/s per cubed second
_BETA = 0.7  # what a throttle leaves of the rate
_SMOOTHING = 0.8  # weight of the newest measurement
_BUCKETS_PER_SECOND = 2  # the rate is measured over half seconds
_MAX_GROWTH = 2.0  # the rate allowed, as a multiple of the rate measured
_MIN_RATE = 0.5  # requests/s

# A clock near 1e9 seconds cannot tell smaller steps apart, and a wait that does
# not move the clock would be asked for again for ever.
_SHORTEST_WAIT = 1e-6


class RetryQuota:
    """The token bucket that all calls of a session take their retries from.

    While the service answers, retries are paid back and never run out; when nothing
    but errors come, they soon stop, and the service is left to recover. Not for use
    from several threads.
    """

    CAPACITY: ClassVar[int] = 500

    __slots__ = ("_available",)

    def __init__(self) -> None:
        self._available = self.CAPACITY

    @property
    def available(self) -> int:
        """The tokens left, 0 to ``CAPACITY``."""
        return self._available

    def acquire(self, cost: int) -> bool:
        """Takes ``cost`` tokens; False, and takes none, when fewer are left."""
        if cost > self._available:
            return False
        self._available -= cost
        return True

    def release(self, amount: int) -> None:
        """Gives ``amount`` tokens back, as many as the bucket holds."""
        if self._available < self.CAPACITY:  # it is full nearly always
            self._available = min(self._available + amount, self.CAPACITY)


class AdaptiveLimiter:
    """How fast a session may send in adaptive mode; one for each session.

    Not for use from several threads. Times are seconds on any clock that does not
    run backwards, always the same one.

    ``acquire`` hands no places in a queue: let one caller at a time ask and wait
    (behind a fair lock), so that calls leave in the order they came in, one wait each.
    """

    __slots__ = (
        "_capacity",
        "_count",
        "_enabled",
        "_last_bucket",
        "_last_refill",
        "_last_throttle",
        "_measured_rate",
        "_rate",
        "_recovery",
        "_w_max",
    )

    def __init__(self, now: float) -> None:
        self._enabled = False
        # The rate measured.
        self._measured_rate = 0.0
        self._last_bucket = float(math.floor(now))
        self._count = 0
        # CUBIC: the rate at the last throttle, and the seconds to get back to it.
        self._w_max = 0.0
        self._recovery = 0.0
        self._last_throttle = now
        # The token bucket: a token a call.
        self._rate = 1.0
        self._capacity = 0.0
        self._last_refill = now

    @property
    def enabled(self) -> bool:
        """Whether a throttle has been seen, and ``acquire`` may ask to wait."""
        return self._enabled

    @property
    def rate(self) -> float:
        """The rate allowed in requests per second; it holds once ``enabled``."""
        return self._rate

    def acquire(self, now: float) -> float:
        """Takes leave to send one request, or tells how long to wait before asking again.

        Returns:
            0.0 when the request may go now, and has been counted; else the seconds
            until it may at the present rate, and nothing has been counted.
        """
        if not self._enabled:
            return 0.0
        self._refill(now)
        if self._capacity >= 1.0:
            self._capacity -= 1.0
            return 0.0
        return max((1.0 - self._capacity) / self._rate, _SHORTEST_WAIT)

    def update(self, *, throttled: bool, now: float) -> None:
        """Learns from the end of one attempt, whatever its end."""
        measured = self._measure(now)
        if throttled:
            rate = min(measured, self._rate) if self._enabled else measured
            self._enabled = True
            self._w_max = rate
            self._recovery = (rate * (1 - _BETA) / _SCALE) ** (1 / 3)
            self._last_throttle = now
            rate *= _BETA
        else:
            since = now - self._last_throttle
            rate = _SCALE * (since - self._recovery) ** 3 + self._w_max
        # What is asked for cannot grow far past what is used: an idle session
        # would otherwise come back with a burst.
        self._set_rate(min(rate, _MAX_GROWTH * measured), now)

    def _measure(self, now: float) -> float:
        """Counts one attempt; the smoothed rate of attempts that ended, up to the last bucket."""
        self._count += 1
        bucket = math.floor(now * _BUCKETS_PER_SECOND) / _BUCKETS_PER_SECOND
        if bucket > self._last_bucket:
            rate = self._count / (bucket - self._last_bucket)
            self._measured_rate = rate * _SMOOTHING + self._measured_rate * (1 - _SMOOTHING)
            self._count = 0
            self._last_bucket = bucket
        return self._measured_rate

    def _set_rate(self, rate: float, now: float) -> None:
        # Time past was at the old rate.
        self._refill(now)
        self._rate = max(rate, _MIN_RATE)

    def _refill(self, now: float) -> None:
        filled = self._capacity + (now - self._last_refill) * self._rate
        # It holds a second's worth, and always a whole call.
        self._capacity = min(filled, max(self._rate, 1.0))
        self._last_refill = now
