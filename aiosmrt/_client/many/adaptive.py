"""How many calls at once, found out from what comes back: policy alone, without I/O.

The number of calls in flight is a congestion window, as Netflix's concurrency-limits has
it, and is steered as TCP's CUBIC steers one (RFC 9438; multiplicative decrease with one
growth for all is what makes strangers share fairly: Chiu and Jain, 1989):

- It doubles each round trip until the first sign of congestion.
- A sign cuts it to 0.85, at most ten times a second.
- It then grows by ``0.4 t^3`` around where it was cut, ``t`` in seconds: fast back to
  near that place, slowly past it, and fast again if nothing happens there.

The signs are, in the order of their weight:

- Throttles, when of the attempts three in some thirty are; connections that fail and
  answers 500 to 504 and 530, when three in sixteen are. It is the share that tells, as in
  DCTCP (RFC 8257): a full service throttles whatever is too much, again and again, and
  one of which an answer in a hundred fails for reasons of its own is not full. To cut at
  each of those would take 16 calls in flight down to a few, and the more the faster.
- Latency at twice what it was: by Little's law throughput no longer rises with the calls
  in flight then, and what more of them do is wait. That three cuts to 0.7 do not bring
  it down shows that it is the service's own (longer answers, other clients); then they
  are undone, and latency is measured against the new value. It is a geometric mean, of as
  many calls as it takes to know it to within a tenth: the answers of a language model
  differ so much in length that means of twenty double by chance alone, again and again.

At one call in flight there is nothing left to cut; calls then begin after a random,
doubling delay, as one call's retries do, so that an outage is met with a few probes.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from aiosmrt.errors import (
    AiosmrtError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    ReadTimeoutError,
    ServiceError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AdaptiveConcurrency"]

# CUBIC's constant, calls per cubed second (RFC 9438, 5.1).
_SCALE = 0.4
# What a cut leaves; CUBIC's 0.7 is for packets, whose loss tells of a queue that has
# overflowed already. Refused calls queue nowhere: simulated, one client used 0.86 of an
# endpoint with this and 0.80 with that, and thousands shared as fairly.
_BETA = 0.85
# Refusals that come this soon after a cut are answers to what was sent before it.
_RECOVERY_SECONDS = 0.1
_INITIAL = 4
# A mean is of this many samples at least, and of so many that its standard error is no more
# than this share: twenty of a model whose calls all take as long, 250 where latencies are
# distributed exponentially. Simulated, these left 9 of 100 calls in flight of a service that
# was idle when a mean was of twenty.
_WINDOW = 20
_STANDARD_ERROR = 0.08
# At twice the latency of an idle service as many calls wait as are worked on.
_LATENCY_RISE = 2.0
# Cuts for latency are deeper, and three of them leave a third: where calls queue, that
# brings latency down by as much, which no chance does.
_LATENCY_BETA = 0.7
_LATENCY_CUTS = 3
# Of throttles: the weight of the newest attempt, and the share that counts as congestion,
# which three in thirty-two reach and one in a hundred seldom does. Simulated, clients
# share the less fairly the higher it is.
_THROTTLED_WEIGHT = 1 / 32
_THROTTLED_SHARE = 0.07
# The same of other failures.
_FAILING_WEIGHT = 1 / 16
_FAILING_SHARE = 0.15
# The delay at one call in flight doubles from here; the AWS SDKs' limit.
_PAUSE_BASE = 0.1
_PAUSE_LONGEST = 20.0


class AdaptiveConcurrency:
    """How many calls may be in flight. Tell it the end of every attempt and call.

    Not for use from several threads. Times are seconds on any clock that does not
    run backwards.

    Args:
        maximum: The most it goes to, at least 1.
        now: The time.
        rand: Gives numbers from 0 to 1 (`random.random`).
    """

    __slots__ = (
        "_base",
        "_count",
        "_cut_from",
        "_cut_latency",
        "_cuts",
        "_epoch",
        "_failing",
        "_growing_freely",
        "_latency",
        "_maximum",
        "_pause",
        "_peak",
        "_rand",
        "_recovered_at",
        "_resume_at",
        "_settled_at",
        "_squares",
        "_sum",
        "_throttled",
        "_updated",
        "_window",
    )

    def __init__(
        self, maximum: int, *, now: float, rand: Callable[[], float] = random.random
    ) -> None:
        self._maximum = maximum
        self._rand = rand
        self._window = float(min(_INITIAL, maximum))
        # Until the first sign of congestion.
        self._growing_freely = True
        # CUBIC's W_max, and when the growth towards it began.
        self._peak = 0.0
        self._epoch = self._updated = now
        # Until then refusals and answers, and until then the seconds that answers took, are
        # those of calls that began before the last cut.
        self._recovered_at = now
        self._settled_at = now
        # Of the calls without a retry: what an idle service takes, what it takes now,
        # and what the next mean is made of: sums of logarithms and of their squares.
        self._base: float | None = None
        self._latency = 0.0
        self._sum = self._squares = 0.0
        self._count = 0
        # Cuts made for latency, until their effect is known: how many, and what the
        # window and the latency were before the first.
        self._cuts = 0
        self._cut_from: float
        self._cut_latency: float
        self._throttled = 0.0
        self._failing = 0.0
        # The longest that the delay at one call in flight can be now.
        self._pause = 0.0
        self._resume_at = now

    @property
    def limit(self) -> int:
        """How many calls may be in flight now, 1 to ``maximum``."""
        return int(self._window)

    def delay(self, now: float) -> float:
        """How long the next call has to wait in any case, in seconds; mostly 0.0."""
        return max(self._resume_at - now, 0.0)

    def failed(self, error: AiosmrtError, *, now: float) -> None:
        """Learns from an attempt that failed, whether or not another follows."""
        if not _is_congestion(error):
            return
        if isinstance(error, ServiceError) and error.is_throttling:
            self._throttled += (1.0 - self._throttled) * _THROTTLED_WEIGHT
            if self._throttled < _THROTTLED_SHARE:
                return
        else:
            self._failing += (1.0 - self._failing) * _FAILING_WEIGHT
            if self._failing < _FAILING_SHARE:
                return
        if now < self._recovered_at:
            return
        if self._window == 1.0:
            self._pause = min(self._pause * 2.0 or _PAUSE_BASE, _PAUSE_LONGEST)
            self._resume_at = now + self._rand() * self._pause
        self._cuts = 0
        self._cut(now)

    def succeeded(self, latency: float | None, *, in_flight: int, now: float) -> None:
        """Learns from a call that succeeded.

        Args:
            latency: The call's seconds; None where retries are in them.
            in_flight: How many calls were under way, this one included.
            now: The time.
        """
        self._throttled -= self._throttled * _THROTTLED_WEIGHT
        self._failing -= self._failing * _FAILING_WEIGHT
        if self._pause:
            # The time of an outage is none in which more was borne.
            self._epoch = self._updated = now
        self._pause = 0.0
        self._resume_at = now
        if latency is not None and now >= self._settled_at:
            self._measure(latency, now)
        if in_flight < self.limit:
            # Whoever does not use what it has must not be given more (RFC 9438, 5.8).
            self._epoch += now - self._updated
        else:
            if latency is not None:
                # Nor for the time before this call in which no other ended: a pause.
                self._epoch += max(now - latency - self._updated, 0.0)
            self._grow(now)
        self._updated = now

    def _grow(self, now: float) -> None:
        if self._growing_freely:
            self._window = min(self._window + 1.0, self._maximum)
        elif self._cuts:
            # Until these cuts are judged nothing else may change.
            self._epoch = now
        elif now >= self._recovered_at:
            self._window = max(self._window, self._target(now - self._epoch))

    def _target(self, since: float) -> float:
        # The seconds from the cut back to the peak.
        back = (self._peak * (1.0 - _BETA) / _SCALE) ** (1 / 3)
        target: float = self._peak + _SCALE * (since - back) ** 3
        # Never further than half as much again, as one success is little to go by.
        return min(target, self._window * 1.5 + 1.0, self._maximum)

    def _cut(self, now: float, beta: float = _BETA) -> None:
        # A peak lower than the last: others need room, so the way back ends earlier
        # (RFC 9438, 4.7, fast convergence).
        lower = self._window < self._peak
        self._peak = self._window * (1.0 + _BETA) / 2.0 if lower else self._window
        self._window = max(self._window * beta, 1.0)
        self._growing_freely = False
        self._epoch = self._updated = now
        self._recovered_at = now + min(self._latency, _RECOVERY_SECONDS)
        self._settled_at = now + 2.0 * self._latency
        self._sum = self._squares = 0.0
        self._count = 0

    def _measure(self, latency: float, now: float) -> None:
        self._latency = self._latency * 0.9 + latency * 0.1 if self._latency else latency
        logarithm = math.log(max(latency, 1e-9))
        self._sum += logarithm
        self._squares += logarithm * logarithm
        self._count += 1
        if self._count < _WINDOW:
            return
        average = self._sum / self._count
        if self._base is None:  # the first may be rough: what is concluded from it is judged
            self._base = math.exp(average)
        elif self._squares - self._sum * average > (_STANDARD_ERROR * self._count) ** 2:
            return
        self._sum = self._squares = 0.0
        self._count = 0
        self._judge(math.exp(average), self._base, now)

    def _judge(self, mean: float, base: float, now: float) -> None:
        if mean < base:
            self._base = (base + mean) / 2
        if self._cuts == _LATENCY_CUTS and not self._fell(mean):
            self._base = mean
            self._window = max(self._window, self._cut_from)
            self._cuts = 0
        elif mean <= base * _LATENCY_RISE or self._window == 1.0:
            self._cuts = 0
        elif self._growing_freely:
            # Latency is a round trip behind, that of half the calls; and the first answers
            # were those of the shortest calls. A cut to half of that half shows which it is.
            self._window = self._cut_from = self._window / 2.0
            self._cut_latency = mean
            self._cuts = _LATENCY_CUTS
            self._cut(now, 0.5)
            self._settled_at = now + 4.0 * self._latency
        else:
            if self._cuts in (0, _LATENCY_CUTS):
                self._cut_from, self._cut_latency = self._window, mean
                self._cuts = 0
            self._cuts += 1
            self._cut(now, _LATENCY_BETA)

    def _fell(self, mean: float) -> bool:
        """Whether latency came down nearer to as much as the calls did than to not at all."""
        return mean < self._cut_latency * math.sqrt(self._window / self._cut_from)


def _is_congestion(error: AiosmrtError) -> bool:
    if isinstance(error, ServiceError):
        return error.is_throttling or error.status_code >= 500
    return isinstance(
        error, (ConnectError, ConnectTimeoutError, ConnectionLostError, ReadTimeoutError)
    )
