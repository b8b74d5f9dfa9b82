"""Thousands of independent clients on one endpoint, in virtual time.

The clients are the library's own policies, unchanged: `AdaptiveConcurrency` steers how
many calls are in flight, `CallRetries` with a `RetryQuota` a client decides what is tried
again and when. Only the wire is made up: an endpoint works on ``capacity`` requests at
once, each for a random time around ``service`` seconds or of any length, and throttles the
rest, or lets them queue; while it is out, it refuses every connection. A heap of events
stands for the clock, so that minutes of thousands of clients take seconds, and every run
of a seed is the same.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from typing import TYPE_CHECKING

import attrs

from aiosmrt import ConnectError, RetryPolicy, ThrottlingException
from aiosmrt._aws.limiter import AdaptiveLimiter, RetryQuota
from aiosmrt._aws.retries import CallRetries
from aiosmrt._client.many import AdaptiveConcurrency

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmrt import AiosmrtError

__all__ = ["Result", "jain", "simulate"]

# One way through the network. Without it a client would send its next request in the
# moment in which its last has made room, and nobody else would ever get in.
_ONE_WAY = 0.005


@attrs.define
class Result:
    """What a run has counted, by the second.

    Attributes:
        capacity: Requests a second that the endpoint can answer.
        answered: Requests answered in each second.
        attempts: Requests that arrived in each second.
        allowed: The limits of all clients together, at the end of each second.
        by_client: For each client, how many answers it had behind the first minute.
        failed: Calls that ended in an error in each second.
    """

    capacity: float
    answered: list[int]
    attempts: list[int]
    allowed: list[int]
    failed: list[int]
    by_client: list[int]

    def goodput(self, begin: int, end: int) -> float:
        """The share of the capacity that was used between two seconds."""
        return sum(self.answered[begin:end]) / (end - begin) / self.capacity


def jain(shares: list[int]) -> float:
    """Jain's index: 1 where all have the same, 1/n where one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))


class Clock:
    """Events in the order of their times."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = itertools.count()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._number), event))

    def run_until(self, end: float) -> None:
        while self._events and self._events[0][0] <= end:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = end


class Endpoint:
    """Works on so many at once, and throttles the rest; or is out."""

    def __init__(
        self,
        clock: Clock,
        rand: random.Random,
        *,
        capacity: int,
        service: float,
        seconds: int,
        queues: bool,
        throttled: float,
        spread: float,
    ) -> None:
        self._clock = clock
        self._rand = rand
        self.service = service
        self._spread = spread
        self._busy = 0
        self._queues = queues
        self._throttled = throttled
        self._queue: deque[Callable[[AiosmrtError | None], None]] = deque()
        self.capacity = capacity
        self.is_out = False
        self.answered = [0] * (seconds + 1)
        self.attempts = [0] * (seconds + 1)

    def send(self, done: Callable[[AiosmrtError | None], None]) -> None:
        self._clock.after(_ONE_WAY, lambda: self._arrive(done))

    def _arrive(self, done: Callable[[AiosmrtError | None], None]) -> None:
        self.attempts[int(self._clock.now)] += 1
        if self.is_out:
            self._clock.after(_ONE_WAY, lambda: done(ConnectError("out")))
            return
        is_throttled = self._throttled > 0.0 and self._rand.random() < self._throttled
        if self._busy < self.capacity and not is_throttled:
            self._work(done)
        elif self._queues and not is_throttled:
            self._queue.append(done)
        else:
            error = ThrottlingException(code="ThrottlingException", status_code=429)
            self._clock.after(_ONE_WAY, lambda: done(error))

    def _work(self, done: Callable[[AiosmrtError | None], None]) -> None:
        self._busy += 1
        if self._spread:
            share = self._rand.lognormvariate(-(self._spread**2) / 2, self._spread)
        else:  # a sum of two: never none, seldom twice as long
            share = 0.5 + self._rand.random() / 2 + self._rand.random() / 2
        self._clock.after(self.service * share, lambda: self._answer(done))

    def _answer(self, done: Callable[[AiosmrtError | None], None]) -> None:
        self._busy -= 1
        if self._queue and self._busy < self.capacity:
            self._work(self._queue.popleft())
        if self.is_out:  # what was under way is lost
            self._clock.after(_ONE_WAY, lambda: done(ConnectError("out")))
            return
        self.answered[int(self._clock.now)] += 1
        self._clock.after(_ONE_WAY, lambda: done(None))


class Client:
    """One process with an endless input: what `BatchItems` does, without its tasks."""

    def __init__(
        self, clock: Clock, endpoint: Endpoint, rand: random.Random, failed: list[int], most: int
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._rand = rand
        self._failed = failed
        self._policy = RetryPolicy()
        self._quota = RetryQuota()
        self._limiter = AdaptiveLimiter(clock.now)  # plays no part in the standard mode
        self._in_flight = 0
        self._is_waiting = False
        self.adaptive = AdaptiveConcurrency(most, now=clock.now, rand=rand.random)
        self.succeeded = 0

    def begin(self) -> None:
        while not self._is_waiting and self._in_flight < self.adaptive.limit:
            if delay := self.adaptive.delay(self._clock.now):
                self._is_waiting = True
                self._clock.after(delay, self._resume)
                return
            self._in_flight += 1
            retries = CallRetries(self._policy, self._quota, self._limiter, rand=self._rand.random)
            self._attempt(retries, self._clock.now, 1)

    def _resume(self) -> None:
        self._is_waiting = False
        self.begin()

    def _attempt(self, retries: CallRetries, began: float, number: int) -> None:
        def done(error: AiosmrtError | None) -> None:
            now = self._clock.now
            if error is None:
                retries.succeeded(now=now)
                latency = now - began if number == 1 else None
                self.adaptive.succeeded(latency, in_flight=self._in_flight, now=now)
                self.succeeded += 1
                self._end()
                return
            self.adaptive.failed(error, now=now)
            delay = retries.decide(error, now=now).delay
            if delay is None:
                self._failed[int(now)] += 1
                self._end()
            else:
                self._clock.after(delay, lambda: self._attempt(retries, began, number + 1))

        self._endpoint.send(done)

    def _end(self) -> None:
        self._in_flight -= 1
        self.begin()


def simulate(
    *,
    clients: int,
    capacity: int,
    service: float,
    seconds: int,
    outage: tuple[int, int] | None = None,
    halved_at: int | None = None,
    slower_at: int | None = None,
    queues: bool = False,
    throttled: float = 0.0,
    spread: float = 0.0,
    most: int = 100,
    seed: int = 0,
) -> Result:
    """Lets clients work on an endpoint.

    Args:
        clients: How many; they begin within the first ten seconds.
        capacity: How many requests the endpoint works on at once.
        service: The mean seconds of one.
        seconds: How long.
        outage: Its first and last second.
        halved_at: When the capacity is halved.
        slower_at: When each request begins to take three times as long.
        queues: Whether requests wait for a place in place of being throttled.
        throttled: The share of requests that are throttled whatever is under way.
        spread: How much requests differ in length: the standard deviation of the logarithm
            of their seconds. At 1.0 one in ten takes 2.2 times the mean or longer, one in two
            0.6 of it or less.
        most: The most that a client has in flight.
        seed: Of all that is random.
    """
    rand = random.Random(seed)
    clock = Clock()
    endpoint = Endpoint(
        clock,
        rand,
        capacity=capacity,
        service=service,
        seconds=seconds,
        queues=queues,
        throttled=throttled,
        spread=spread,
    )
    failed = [0] * (seconds + 1)
    everyone: list[Client] = []

    def join() -> None:
        client = Client(clock, endpoint, rand, failed, most)
        everyone.append(client)
        client.begin()

    for _ in range(clients):
        clock.after(rand.random() * min(10.0, seconds / 6), join)
    before: list[int] = []
    allowed: list[int] = []
    for second in range(seconds):
        if outage is not None:
            endpoint.is_out = outage[0] <= second < outage[1]
        if second == halved_at:
            endpoint.capacity //= 2
        if second == slower_at:
            endpoint.service *= 3
        if second == min(60, seconds // 2):
            before = [client.succeeded for client in everyone]
        clock.run_until(second + 1 - 1e-9)
        allowed.append(sum(client.adaptive.limit for client in everyone))
    return Result(
        capacity=capacity / service,
        answered=endpoint.answered[:seconds],
        attempts=endpoint.attempts[:seconds],
        allowed=allowed,
        failed=failed[:seconds],
        by_client=[
            client.succeeded - start for client, start in zip(everyone, before, strict=True)
        ],
    )
