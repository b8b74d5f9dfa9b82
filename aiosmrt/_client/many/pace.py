"""How many calls are made at once and how fast, as given or as found out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

import attrs

from aiosmrt._client.many.adaptive import AdaptiveConcurrency
from aiosmrt._client.many.rate import RateLimit

if TYPE_CHECKING:
    from aiosmrt.errors import AiosmrtError

__all__ = ["Clock", "Pace"]


@attrs.frozen
class Clock:
    """The clock that calls are paced by.

    Attributes:
        now: Returns the time in seconds; it does not run backwards.
        sleep: Waits for so many seconds to pass.
    """

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Pace:
    """Bounds the calls at once, and delays the next one where there is a reason to.

    Args:
        concurrency: How many calls at once, or ``auto``.
        max_concurrency: The most that ``auto`` goes to.
        rate: Calls begun a second, None for no limit.
        clock: The time.

    Attributes:
        most: The highest that ``limit`` can be.
        is_steady: Whether the limit never changes and no call is ever delayed.

    Raises:
        ConfigurationError: The rate is not a finite number above 0.
    """

    def __init__(
        self,
        concurrency: int | Literal["auto"],
        max_concurrency: int,
        rate: float | None,
        clock: Clock,
    ) -> None:
        self._clock = clock
        now = clock.now()
        self._adaptive: AdaptiveConcurrency | None = None
        if concurrency == "auto":
            self.most = max_concurrency
            self._adaptive = AdaptiveConcurrency(max_concurrency, now=now)
        else:
            self.most = concurrency
        self._rate = None if rate is None else RateLimit(rate, now=now)
        self.is_steady = self._adaptive is None and self._rate is None

    @property
    def limit(self) -> int:
        """How many calls may be under way now."""
        return self.most if self._adaptive is None else self._adaptive.limit

    async def wait(self) -> None:
        """Waits until the next call may begin; for one task at a time, so none waits in vain."""
        if self._adaptive is not None:
            while delay := self._adaptive.delay(self._clock.now()):  # it grows meanwhile
                await self._clock.sleep(delay)
        if self._rate is not None and (delay := self._rate.reserve(self._clock.now())):
            await self._clock.sleep(delay)

    def attempt_failed(self, error: AiosmrtError) -> None:
        """Learns from an attempt that failed, whether or not another follows."""
        if self._adaptive is not None:
            self._adaptive.failed(error, now=self._clock.now())

    def call_ended(self, attempts: int, latency: float | None, *, in_flight: int) -> None:
        """Learns from a call that took so many attempts and seconds, None if it failed."""
        if self._rate is not None and attempts > 1:
            self._rate.charge(attempts - 1)
        if self._adaptive is not None and latency is not None:
            self._adaptive.succeeded(
                latency if attempts == 1 else None, in_flight=in_flight, now=self._clock.now()
            )
