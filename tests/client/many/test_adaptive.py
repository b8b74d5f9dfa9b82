"""The adaptive limit by itself; `tests/sim` has many of them, and endpoints."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt import (
    ConnectError,
    InternalFailure,
    ModelError,
    ModelNotReadyException,
    ReadTimeoutError,
    ThrottlingException,
    ValidationError,
)
from aiosmrt._client.many import AdaptiveConcurrency

THROTTLE = ThrottlingException(code="ThrottlingException", status_code=429)
FAILURE = InternalFailure(code="InternalFailure", status_code=500)


def make(maximum=100, rand=lambda: 1.0):
    return AdaptiveConcurrency(maximum, now=0.0, rand=rand)


def throttle(adaptive, now):
    """As often as it takes to say something."""
    for _ in range(3):
        adaptive.failed(THROTTLE, now=now)


def succeed(adaptive, now, times=1, latency=0.1, in_flight=None):
    for _ in range(times):
        adaptive.succeeded(latency, in_flight=in_flight or adaptive.limit, now=now)


def test_it_doubles_each_round_trip_until_it_is_told_otherwise():
    adaptive = make()
    limits = []
    for trip in range(5):
        limits.append(adaptive.limit)
        succeed(adaptive, 0.1 * (trip + 1), times=adaptive.limit)
    assert limits == [4, 8, 16, 32, 64]


def test_a_throttle_cuts_it_once_for_all_that_was_sent_before():
    adaptive = make()
    succeed(adaptive, 1.0, times=60)
    assert adaptive.limit == 64
    for _ in range(10):
        adaptive.failed(THROTTLE, now=2.0)
    assert adaptive.limit == int(64 * 0.85)
    adaptive.failed(THROTTLE, now=2.2)
    assert adaptive.limit == int(64 * 0.85 * 0.85)


def test_behind_a_cut_it_comes_back_and_stays_a_while():
    adaptive = make()
    succeed(adaptive, 1.0, times=60)
    throttle(adaptive, 2.0)
    limits = {}
    for tenth in range(21, 200):
        succeed(adaptive, tenth / 10)
        limits[tenth / 10] = adaptive.limit
    # The third root of 64 * 0.15 / 0.4 is 2.9 seconds.
    assert limits[4.9] in (63, 64)
    assert limits[6.0] < 68
    assert limits[19.9] == 100


@pytest.mark.parametrize(
    "error",
    [
        ModelError(code="ModelError", status_code=424),
        ModelNotReadyException(code="ModelNotReadyException", status_code=429),
        ValidationError(code="ValidationError", status_code=400),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_says_nothing_of_load_changes_nothing(error):
    adaptive = make()
    succeed(adaptive, 1.0, times=60)
    for second in range(2, 60):
        adaptive.failed(error, now=float(second))
    assert adaptive.limit == 64
    assert adaptive.delay(60.0) == 0.0


@pytest.mark.parametrize(
    "error",
    [THROTTLE, FAILURE, ConnectError(), ReadTimeoutError()],
    ids=lambda error: type(error).__name__,
)
def test_failures_count_when_they_are_more_than_a_few_in_a_hundred(error):
    adaptive = make(1_000)
    succeed(adaptive, 1.0, times=60)
    for second in range(2, 52):
        succeed(adaptive, float(second), times=99, in_flight=1)
        adaptive.failed(error, now=second + 0.5)
    assert adaptive.limit == 64
    for tenth in range(520, 540):
        adaptive.failed(error, now=tenth / 10)
    assert adaptive.limit < 10


def test_who_does_not_use_what_it_has_gets_no_more():
    adaptive = make()
    succeed(adaptive, 1.0, times=60)
    throttle(adaptive, 2.0)
    before = adaptive.limit
    for second in range(3, 60):
        succeed(adaptive, float(second), in_flight=2)
    assert adaptive.limit == before


def test_latency_that_doubles_with_the_calls_cuts_them():
    adaptive = make()
    now = 0.0
    for _ in range(2_000):
        # Ten are worked on at once, for 0.1 s each; the others queue.
        now += 0.01
        succeed(adaptive, now, latency=0.1 * max(1.0, adaptive.limit / 10))
    assert 10 <= adaptive.limit <= 32


def test_latency_that_a_cut_does_not_bring_down_is_the_services_own():
    adaptive = make(64)
    now = 0.0
    for _ in range(1_000):
        now += 0.01
        succeed(adaptive, now, latency=0.1)
    assert adaptive.limit == 64
    for _ in range(3_000):
        now += 0.01
        succeed(adaptive, now, latency=0.5)
    assert adaptive.limit == 64


def test_an_outage_is_met_with_a_few_probes():
    adaptive = make()
    now, probes = 0.0, 0
    while now < 300.0:
        now += adaptive.delay(now) or 0.11
        adaptive.failed(THROTTLE, now=now)
        probes += 1
    assert adaptive.limit == 1
    assert probes < 45
    assert 0 < adaptive.delay(now) <= 20.0
    succeed(adaptive, now)
    assert adaptive.delay(now) == 0.0
    # The minutes of the outage are none in which more was borne.
    succeed(adaptive, now + 0.2, times=3)
    assert adaptive.limit <= 3


@given(
    maximum=st.integers(1, 200),
    ends=st.lists(
        st.tuples(st.sampled_from([None, THROTTLE, FAILURE]), st.floats(0, 5), st.floats(1e-4, 50)),
        max_size=200,
    ),
)
def test_the_limit_stays_between_one_and_the_maximum(maximum, ends):
    adaptive = AdaptiveConcurrency(maximum, now=0.0, rand=random.Random(1).random)
    now = 0.0
    for error, pause, latency in ends:
        now += pause
        if error is None:
            adaptive.succeeded(latency, in_flight=adaptive.limit, now=now)
        else:
            adaptive.failed(error, now=now)
        assert 1 <= adaptive.limit <= maximum
        assert 0 <= adaptive.delay(now) <= 20.0
