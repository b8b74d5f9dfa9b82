"""The event loop's clock, which a test can set forward instead of waiting."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest


class LoopClock:
    """Sets the running loop's clock forward: the timers that were made since then fire.

    Args:
        monkeypatch: Takes the clock back at the test's end.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._loop = asyncio.get_running_loop()
        self._real_time = self._loop.time
        self._real_call_at = self._loop.call_at
        self._real_call_later = self._loop.call_later
        self._is_making = False
        self._ahead = 0.0
        self._timers: dict[asyncio.TimerHandle, tuple[float, Callable[[], None]]] = {}
        monkeypatch.setattr(self._loop, "time", self._time)
        monkeypatch.setattr(self._loop, "call_at", self._call_at)
        monkeypatch.setattr(self._loop, "call_later", self._call_later)

    def advance(self, seconds: float, *, busy: bool = False) -> None:
        """Sets the clock forward, and fires the timers whose time has come.

        Args:
            seconds: How far.
            busy: As if the loop had been busy for so long: it takes what has arrived, and fires
                the timers after that.
        """
        self._ahead += seconds
        if busy:
            self._loop.call_soon(self._loop.call_soon, self._fire)
        else:
            self._fire()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Stops the clock at a whole second, so that `advance` can reach an exact instant.

        uvloop counts milliseconds: there a timer can fire in the very instant it was made for.
        Nothing may wait for real time meanwhile.
        """
        now, real_time = float(math.ceil(self._time())), self._real_time
        self._real_time, self._ahead = lambda: now, 0.0
        try:
            yield
        finally:
            self._ahead += now - real_time()
            self._real_time = real_time

    def _fire(self) -> None:
        now = self._time()
        for timer, (when, fire) in list(self._timers.items()):
            if when <= now and not timer.cancelled():
                timer.cancel()
                fire()

    @property
    def pending(self) -> int:
        """How many of the timers have neither fired nor been cancelled."""
        return sum(not timer.cancelled() for timer in self._timers)

    def _time(self) -> float:
        return self._real_time() + self._ahead

    def _call_at(
        self, when: float, callback: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> asyncio.TimerHandle:
        def fire() -> None:
            self._timers.pop(timer, None)
            callback(*arguments)

        self._is_making = True
        try:
            timer = self._real_call_at(when, fire, **keywords)
        finally:
            self._is_making = False
        self._timers[timer] = when, fire
        return timer

    def _call_later(
        self, delay: float, callback: Callable[..., Any], *arguments: Any, **keywords: Any
    ) -> asyncio.TimerHandle:
        if self._is_making:  # uvloop's call_at calls this
            return self._real_call_later(delay, callback, *arguments, **keywords)
        return self._call_at(self._time() + delay, callback, *arguments, **keywords)
