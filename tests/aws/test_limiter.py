"""The session's two token buckets: against botocore's own, and by their invariants."""

from __future__ import annotations

import bisect

import pytest
from botocore.exceptions import CapacityNotAvailableError
from botocore.retries import adaptive, bucket, quota, throttling
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aiosmrt._aws.limiter import AdaptiveLimiter, RetryQuota

START = 1_000.25


class QuotaMachine(RuleBasedStateMachine):
    """Invariant: the same answers and the same level as botocore's, from 0 to 500."""

    def __init__(self):
        super().__init__()
        self.ours = RetryQuota()
        self.theirs = quota.RetryQuota()

    @rule(cost=st.one_of(st.sampled_from([0, 5, 14]), st.integers(0, 600)))
    def acquire(self, cost):
        assert self.ours.acquire(cost) is self.theirs.acquire(cost)

    @rule(amount=st.one_of(st.sampled_from([1, 5, 14]), st.integers(0, 600)))
    def release(self, amount):
        self.ours.release(amount)
        self.theirs.release(amount)

    @invariant()
    def same_level_within_bounds(self):
        assert 0 <= self.ours.available <= RetryQuota.CAPACITY
        assert self.ours.available == self.theirs.available_capacity


TestQuota = QuotaMachine.TestCase


class Clock:
    def __init__(self, now=START):
        self.now = now

    def current_time(self):
        return self.now


class BotocoreLimiter:
    """botocore's three classes behind the names of ours."""

    class Detector:
        def is_throttling_error(self, throttled):
            return throttled

    class Bucket(bucket.TokenBucket):
        """Tells of the wait that its blocking form would begin with.

        Rounded up as ours is: botocore may ask for a wait that does not move the clock,
        which a real clock gets over by itself.
        """

        wait = 0.0

        def acquire(self, amount=1):
            try:
                super().acquire(amount, block=False)
            except CapacityNotAvailableError:
                self.wait = max((amount - self.available_capacity) / self.max_rate, 1e-6)

    def __init__(self, clock):
        self._bucket = self.Bucket(max_rate=1, clock=clock)
        self._limiter = adaptive.ClientRateLimiter(
            rate_adjustor=throttling.CubicCalculator(
                starting_max_rate=0, start_time=clock.current_time()
            ),
            rate_clocker=adaptive.RateClocker(clock),
            token_bucket=self._bucket,
            throttling_detector=self.Detector(),
            clock=clock,
        )

    @property
    def rate(self):
        return self._bucket.max_rate

    def acquire(self):
        """0.0, or the wait that botocore would begin with."""
        self._bucket.wait = 0.0
        self._limiter.on_sending_request(request=None)
        return self._bucket.wait

    def update(self, *, throttled):
        self._limiter.on_receiving_response(throttled=throttled)


@st.composite
def histories(draw):
    """Steps of time, each with a request to send or the end of one."""
    step = st.one_of(st.just(0.0), st.floats(0.0, 0.2), st.floats(0.0, 30.0))
    event = st.sampled_from(["acquire", "success", "success", "throttle"])
    return draw(st.lists(st.tuples(step, event), min_size=1, max_size=150))


@given(history=histories())
def test_rate_and_waits_are_botocores_for_any_history(history):
    clock = Clock()
    ours, theirs = AdaptiveLimiter(clock.now), BotocoreLimiter(clock)
    for step, event in history:
        clock.now += step
        if event == "acquire":
            assert ours.acquire(clock.now) == theirs.acquire()
        else:
            ours.update(throttled=event == "throttle", now=clock.now)
            theirs.update(throttled=event == "throttle")
            assert ours.rate == theirs.rate


def serve_at_capacity(clock, acquire, update, *, capacity, seconds):
    """One caller after another against a service that takes ``capacity`` a second.

    Returns the times of all requests, and of those that were throttled.
    """
    sent, throttled = [], []
    tokens, refilled, end = float(capacity), clock.now, clock.now + seconds
    while clock.now < end:
        while delay := acquire(clock.now):
            clock.now += delay
        tokens = min(capacity, tokens + (clock.now - refilled) * capacity)
        refilled = clock.now
        refused = tokens < 1
        tokens -= 0 if refused else 1
        sent.append(clock.now)
        if refused:
            throttled.append(clock.now)
        clock.now += 0.005  # the service's own time: 200 requests/s without a limit
        update(throttled=refused)
    return sent, throttled


def run_ours(**service):
    clock = Clock()
    limiter = AdaptiveLimiter(clock.now)
    return serve_at_capacity(
        clock,
        limiter.acquire,
        lambda throttled: limiter.update(throttled=throttled, now=clock.now),
        **service,
    )


def test_calls_go_at_the_times_of_botocores():
    clock = Clock()
    theirs = BotocoreLimiter(clock)
    sent, throttled = serve_at_capacity(
        clock, lambda _: theirs.acquire(), theirs.update, capacity=20, seconds=60
    )
    ours_sent, ours_throttled = run_ours(capacity=20, seconds=60)
    assert ours_sent == sent
    assert ours_throttled == throttled


def test_it_settles_near_the_services_capacity():
    sent, throttled = run_ours(capacity=20, seconds=120)
    settled = START + 30
    requests = len(sent) - bisect.bisect(sent, settled)
    refused = len(throttled) - bisect.bisect(throttled, settled)
    goodput = (requests - refused) / 90
    assert goodput > 0.75 * 20
    # Unlimited, the same caller has nine of ten requests refused.
    assert refused / requests < 0.2


@given(steps=st.lists(st.floats(0.0, 5.0), max_size=50))
def test_nothing_waits_before_the_first_throttle(steps):
    now = START
    limiter = AdaptiveLimiter(now)
    for step in steps:
        now += step
        assert limiter.acquire(now) == 0.0
        limiter.update(throttled=False, now=now)
    assert not limiter.enabled


def test_a_throttle_leaves_seven_tenths_of_the_measured_rate():
    limiter = AdaptiveLimiter(START)
    for i in range(10):
        limiter.update(throttled=False, now=START + i * 0.1)
    limiter.update(throttled=True, now=1_001.5)
    # Ends counted when a later half second begins: at 1000.55 four, at 1001.05 five, and
    # the throttle is the second after those. Each weighs 0.8 against what was before.
    measured = 0.8 * 4 / 0.5
    measured = 0.8 * 5 / 0.5 + 0.2 * measured
    measured = 0.8 * 2 / 0.5 + 0.2 * measured
    assert limiter.enabled
    assert limiter.rate == pytest.approx(0.7 * measured)


@given(history=histories())
def test_rate_stays_between_its_bounds(history):
    now = START
    limiter = AdaptiveLimiter(now)
    ended = 0
    for step, event in history:
        now += step
        if event == "acquire":
            limiter.acquire(now)
            continue
        limiter.update(throttled=event == "throttle", now=now)
        ended += 1
        # No half second can have measured more than all that ever ended in one.
        assert 0.5 <= limiter.rate <= max(0.5, 2 * ended / 0.5)


def settle(rate_of_calls, seconds=3):
    """A limiter that was throttled after ``seconds`` at a rate, and the time."""
    now = START
    limiter = AdaptiveLimiter(now)
    for _ in range(int(rate_of_calls * seconds)):
        now += 1 / rate_of_calls
        limiter.update(throttled=False, now=now)
    limiter.update(throttled=True, now=now)
    return limiter, now


@given(
    rate_of_calls=st.floats(1, 200),
    gaps=st.lists(st.floats(0.0, 0.5), min_size=2, max_size=200),
)
def test_no_window_lets_more_go_than_rate_and_bucket_allow(rate_of_calls, gaps):
    limiter, now = settle(rate_of_calls)
    gone = []
    for gap in gaps:
        now += gap
        while limiter.acquire(now) == 0.0:
            gone.append(now)
    burst = max(limiter.rate, 1.0)
    for i, first in enumerate(gone):
        for j in range(i, len(gone)):
            assert j - i + 1 <= limiter.rate * (gone[j] - first) + burst + 1e-6


@given(rate_of_calls=st.floats(0.1, 1_000), start=st.sampled_from([0.0, 1e3, 1e6, 1.8e9]))
def test_the_wait_told_is_enough(rate_of_calls, start):
    now = start
    limiter = AdaptiveLimiter(now)
    for _ in range(int(rate_of_calls * 2) + 1):
        now += 1 / rate_of_calls
        limiter.update(throttled=False, now=now)
    limiter.update(throttled=True, now=now)
    for _ in range(20):
        while not (delay := limiter.acquire(now)):
            pass
        assert 0 < delay <= 1 / limiter.rate + 1e-6
        assert now + delay > now
        now += delay
        assert limiter.acquire(now) <= 1e-6
