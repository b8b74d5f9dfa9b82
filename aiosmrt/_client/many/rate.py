"""A limit of requests a second, without I/O: the caller passes the time, and waits."""

from __future__ import annotations

from aiosmrt._values import is_finite
from aiosmrt.errors import ConfigurationError

__all__ = ["RateLimit"]

# An event loop wakes up late, by a millisecond or by fifty: without catching up,
# every late wake-up would be lost for good, and the rate never reached.
_CATCH_UP_SECONDS = 0.1


class RateLimit:
    """Spaces calls evenly: at most ``rate * (t + 0.1) + 1`` begin in any ``t`` seconds.

    The generic cell rate algorithm (ITU-T I.371, annex A) with a tolerance of 0.1 s.

    Args:
        rate: Requests a second, above 0.
        now: The time in seconds, on a clock that does not run backwards.

    Raises:
        ConfigurationError: The rate is not a finite number above 0.
    """

    __slots__ = ("_interval", "_next")

    def __init__(self, rate: float, *, now: float) -> None:
        if not is_finite(rate) or rate <= 0:
            raise ConfigurationError(f"rate must be a finite number above 0, not {rate!r}")
        self._interval = 1.0 / rate
        self._next = now

    def reserve(self, now: float) -> float:
        """Takes the next place in line.

        Returns:
            Seconds until the call may begin.
        """
        at = max(self._next, now - _CATCH_UP_SECONDS)
        self._next = at + self._interval
        return max(at - now, 0.0)

    def charge(self, requests: int) -> None:
        """Counts requests that were made without a place: a call's retries."""
        self._next += requests * self._interval
