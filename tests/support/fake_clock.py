"""A clock whose time passes when a test says so, or as soon as somebody waits for it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING, Any

from support.waiting import turns, until

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeTimer:
    """As the handle of an event loop's timer."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.is_over = False

    def cancel(self) -> None:
        self.is_over = True


class FakeClock:
    """The part of an event loop that waits by time.

    Attributes:
        flies: Whether time goes on to the next timer as soon as there is one. Else it stands
            still until `until` is called.
    """

    def __init__(self, *, flies: bool = False) -> None:
        self.flies = flies
        self._now = 0.0
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, FakeTimer]] = []

    def time(self) -> float:
        return self._now

    def call_at(
        self, when: float, callback: Callable[..., object], *arguments: Any
    ) -> asyncio.TimerHandle:
        timer = FakeTimer(lambda: callback(*arguments))
        heapq.heappush(self._timers, (when, next(self._numbers), timer))
        if self.flies:
            asyncio.get_running_loop().call_soon(self._go_on)
        return timer  # type: ignore[return-value]

    @property
    def timers(self) -> int:
        """How many have neither fired nor been cancelled."""
        return sum(not timer.is_over for _, _, timer in self._timers)

    async def until(self, condition: Callable[[], object], *, timers: int = 1) -> None:
        """Lets time pass until a function returns something true.

        Args:
            condition: The function.
            timers: Time goes on when so many are set, those of all that wait: what one of
                them has begun is over before the next begins.
        """
        while True:
            await turns()  # a timer may still be that of a task which something else has woken
            await until(lambda: condition() or self.timers >= timers)
            if condition():
                return
            self._go_on()

    def jump(self, seconds: float) -> None:
        """Lets so much time pass at once, as for a loop that something has held up."""
        self._go_to(self._now + seconds)

    def _go_on(self) -> None:
        """Goes on to the time of the next timer."""
        pending = [when for when, _, timer in self._timers if not timer.is_over]
        if pending:
            self._go_to(min(pending))

    def _go_to(self, now: float) -> None:
        self._now = max(self._now, now)
        while self._timers and self._timers[0][0] <= self._now:
            _, _, timer = heapq.heappop(self._timers)
            if not timer.is_over:
                timer.cancel()
                timer.call()
