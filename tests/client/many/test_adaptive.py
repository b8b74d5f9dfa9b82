"""The adaptive limit by itself; `tests/sim` has many of them, and endpoints."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt import (
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
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
        ValidationError(code="ValidationError", status_code=499),
    ],
    ids=lambda error: f"{type(error).__name__} {error.status_code}",
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
    [
        THROTTLE,
        FAILURE,
        ConnectError(),
        ConnectTimeoutError(),
        ConnectionLostError(),
        ReadTimeoutError(),
    ],
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


@pytest.mark.parametrize("latency", [None, 0.1], ids=["retried", "at once"])
def test_the_delays_of_an_outage_are_none_in_which_more_was_borne(latency):
    adaptive = make()
    for second in range(60):
        throttle(adaptive, float(second))
    assert adaptive.limit == 1
    succeed(adaptive, 80.0, latency=latency)
    for number in range(1, 6):
        succeed(adaptive, 80.0 + number * 0.1)
    assert adaptive.limit <= 2


@pytest.mark.parametrize(
    "error, every", [(THROTTLE, 18), (FAILURE, 8)], ids=["throttles", "failures"]
)
def test_a_share_of_the_attempts_is_congestion(error, every):
    rarely, often = make(), make()
    for attempt in range(1, 1_000):
        for adaptive, turn in ((rarely, every + 1), (often, every)):
            if attempt % turn:
                succeed(adaptive, 1.0, in_flight=1)
            else:
                adaptive.failed(error, now=1.0)
        assert rarely.limit == 4
        # The share is a mean, which comes near to its last value with the seventh.
        assert often.limit == (4 if attempt < 7 * every else 3)


@pytest.mark.parametrize("error", [THROTTLE, FAILURE], ids=["throttle", "failure"])
def test_the_third_at_once_is_congestion(error):
    adaptive = make()
    limits = []
    for _ in range(3):
        adaptive.failed(error, now=1.0)
        limits.append(adaptive.limit)
    assert limits == [4, 4, 3]


@pytest.mark.parametrize(
    "latency, together, later", [(0.05, 2.04, 2.06), (0.1, 2.09, 2.11), (3.0, 2.09, 2.11)]
)
def test_refusals_of_what_was_under_way_at_a_cut_are_no_sign_of_their_own(latency, together, later):
    adaptive = make()
    succeed(adaptive, 1.0, times=60, latency=latency)
    throttle(adaptive, 2.0)
    adaptive.failed(THROTTLE, now=together)
    assert adaptive.limit == 54
    adaptive.failed(THROTTLE, now=later)
    assert adaptive.limit == 46


def grow(adaptive, begin, end):
    """Uses the whole limit, every hundredth of a second."""
    for hundredth in range(round(begin * 100) + 1, round(end * 100) + 1):
        succeed(adaptive, hundredth / 100)
    return adaptive.limit


def test_answers_to_what_was_under_way_at_a_cut_do_not_raise_the_limit():
    adaptive = make(10_000)
    succeed(adaptive, 1.0, times=996)
    throttle(adaptive, 2.0)
    succeed(adaptive, 2.09)
    assert adaptive.limit == 850
    succeed(adaptive, 2.1)
    assert adaptive.limit == 856


def test_it_grows_back_in_the_form_of_a_cube():
    adaptive = make(1_000)
    succeed(adaptive, 1.0, times=60)
    throttle(adaptive, 2.0)
    # 64 + 0.4 (t - 2.884)^3, t in seconds since the cut.
    assert [grow(adaptive, t, t + 1) for t in range(2, 8)] == [61, 63, 64, 64, 67, 76]


def test_a_cut_before_it_was_back_makes_its_peak_lower_and_one_after_that_does_not():
    early = make(1_000)
    succeed(early, 1.0, times=60)
    throttle(early, 2.0)
    early.failed(THROTTLE, now=2.2)
    # 50.3 + 0.4 (t - 2.662)^3: its peak is 0.925 of the 54.4 that it was cut from.
    assert [early.limit, grow(early, 2.2, 5.2), grow(early, 5.2, 7.9)] == [46, 50, 61]
    late = make(1_000)
    succeed(late, 1.0, times=60)
    throttle(late, 2.0)
    assert grow(late, 2.0, 8.0) == 76
    throttle(late, 8.0)
    # 76.1 + 0.4 (t - 3.056)^3: its peak is where it was cut.
    assert [late.limit, grow(late, 8.0, 11.0), grow(late, 11.0, 14.0)] == [64, 76, 86]


def test_one_success_raises_it_by_half_at_most():
    adaptive = make()
    succeed(adaptive, 1.0, times=60)
    throttle(adaptive, 2.0)
    succeed(adaptive, 62.0, latency=60.0)
    assert adaptive.limit == 82  # 54.4 * 1.5 + 1
    succeed(adaptive, 122.0, latency=60.0)
    assert adaptive.limit == 100
    small = make()
    throttle(small, 2.0)
    succeed(small, 62.0, latency=60.0)
    assert small.limit == 6  # 3.4 * 1.5 + 1


@pytest.mark.parametrize("in_flight", [None, 2], ids=["no calls", "few calls"])
def test_a_limit_that_was_not_used_for_a_minute_does_not_jump(in_flight):
    adaptive = make(1_000)
    succeed(adaptive, 1.0, times=60)
    throttle(adaptive, 2.0)
    limit = grow(adaptive, 2.0, 3.0)
    for second in range(4, 64) if in_flight else ():
        succeed(adaptive, float(second), in_flight=in_flight)
    # And then it grows on as if the minute had not been.
    succeed(adaptive, 64.0)
    assert limit == adaptive.limit == 61
    assert grow(adaptive, 64.0, 69.0) == 77


def test_a_minute_without_calls_before_a_cut_is_not_made_up_for_behind_it():
    adaptive = make(1_000)
    succeed(adaptive, 1.0, times=60)
    throttle(adaptive, 62.0)
    succeed(adaptive, 62.01, in_flight=2)
    assert grow(adaptive, 62.01, 68.0) in (75, 76)


def idle_service(maximum=1_000):
    """Of which it knows that a call takes 0.1 s, at a limit of 24 that still doubles."""
    adaptive = make(maximum)
    succeed(adaptive, 1.0, times=20)
    assert adaptive.limit == 24
    return adaptive


@pytest.mark.parametrize("latency, limit", [(0.199, 24), (0.201, 6)])
def test_latency_at_twice_what_it_was_is_congestion(latency, limit):
    adaptive = idle_service()
    limits = []
    for _ in range(20):
        succeed(adaptive, 2.0, latency=latency, in_flight=1)
        limits.append(adaptive.limit)
    # A quarter, as half the calls began before the limit last doubled.
    assert limits == [24] * 19 + [limit]


@pytest.mark.parametrize("latency, limit", [(0.149, 6), (0.211, 4), (0.213, 12)])
def test_the_first_cut_for_latency_is_judged_by_what_it_does(latency, limit):
    adaptive = idle_service()
    succeed(adaptive, 2.0, times=20, latency=0.3, in_flight=1)
    # Answers within four round trips are those of calls that began before.
    succeed(adaptive, 2.1, times=200, latency=0.01)
    assert adaptive.limit == 6
    # 0.212 is between what the cut could do and nothing; 0.2 is twice the idle service's.
    succeed(adaptive, 10.0, times=20, latency=latency, in_flight=1)
    assert adaptive.limit == limit


def test_seconds_of_calls_that_were_under_way_at_a_cut_are_not_measured():
    throttled = idle_service()
    succeed(throttled, 1.0, times=10, in_flight=1)  # which count no more after the cut
    throttle(throttled, 2.0)
    succeed(throttled, 2.19, times=20, latency=0.3, in_flight=1)  # two round trips end at 2.2
    succeed(throttled, 2.21, times=19, latency=0.3, in_flight=1)
    assert throttled.limit == 20
    succeed(throttled, 2.21, latency=0.3, in_flight=1)
    assert throttled.limit == 14
    slowed = idle_service()
    succeed(slowed, 2.0, times=20, latency=0.3, in_flight=1)
    succeed(slowed, 3.1, times=20, latency=0.3, in_flight=1)  # four round trips end at 3.103
    assert slowed.limit == 6
    succeed(slowed, 3.11, times=20, latency=0.3, in_flight=1)
    assert slowed.limit == 12


@pytest.mark.parametrize("latency, limit", [(0.149, 6), (0.213, 12)])
def test_once_a_cut_for_latency_is_judged_it_grows_on(latency, limit):
    adaptive = idle_service()
    succeed(adaptive, 2.0, times=20, latency=0.3, in_flight=1)
    succeed(adaptive, 10.0, times=20, latency=latency, in_flight=1)
    assert adaptive.limit == limit
    for number in range(1, 16):
        succeed(adaptive, 10.0 + number * 0.3, latency=0.3)
    assert adaptive.limit > limit + 3


def test_at_one_call_in_flight_latency_holds_up_nothing():
    adaptive = idle_service()
    for number in range(60):
        throttle(adaptive, 2.0 + number)
    assert adaptive.limit == 1
    succeed(adaptive, 100.0, times=20, latency=0.3)
    for number in range(1, 16):
        succeed(adaptive, 100.0 + number * 0.3, latency=0.3)
    assert adaptive.limit > 3


def test_calls_that_seem_to_take_no_time_are_calls():
    adaptive = make()
    succeed(adaptive, 1.0, times=40, latency=0.0)
    assert adaptive.limit == 44
    assert math.isfinite(adaptive.delay(2.0))


def test_three_cuts_for_latency_that_do_nothing_are_undone():
    adaptive = idle_service()
    throttle(adaptive, 2.0)
    limits = []
    for round_trip in range(3, 8):
        # All that it has is used, and yet it does not grow while cuts are judged.
        succeed(adaptive, float(round_trip), times=20, latency=0.21)
        limits.append(adaptive.limit)
    assert limits == [14, 10, 7, 21, 21]
    # From now on latency is measured against its new value.
    succeed(adaptive, 8.0, times=20, latency=0.41, in_flight=1)
    assert adaptive.limit == 21
    succeed(adaptive, 9.0, times=20, latency=0.43, in_flight=1)
    assert adaptive.limit == 14


def test_cuts_for_latency_that_bring_it_down_go_on():
    adaptive = idle_service()
    throttle(adaptive, 2.0)
    latency, limits = 2.0, []
    for round_trip in range(3, 11):
        succeed(adaptive, round_trip * 10.0, times=20, latency=latency, in_flight=1)
        limits.append(adaptive.limit)
        latency *= 0.7
    assert limits == [14, 9, 6, 4, 3, 2, 1, 1]


def test_three_further_cuts_for_latency_are_judged_as_the_first_three():
    adaptive = idle_service()
    throttle(adaptive, 2.0)
    limits = []
    for round_trip, latency in enumerate([2.0, 1.4, 0.98, *[0.686] * 4], start=3):
        succeed(adaptive, round_trip * 10.0, times=20, latency=latency, in_flight=1)
        limits.append(adaptive.limit)
    assert limits == [14, 9, 6, 4, 3, 2, 6]


def test_a_throttle_is_no_cut_for_latency_that_could_be_undone():
    adaptive = idle_service()
    throttle(adaptive, 2.0)
    succeed(adaptive, 3.0, times=20, latency=0.21, in_flight=1)
    succeed(adaptive, 4.0, times=20, latency=0.21, in_flight=1)
    throttle(adaptive, 5.0)
    assert adaptive.limit == 8
    succeed(adaptive, 6.0, times=20, latency=0.21, in_flight=1)
    succeed(adaptive, 7.0, times=20, latency=0.21, in_flight=1)
    assert adaptive.limit == 4


def test_latencies_that_differ_are_judged_when_their_mean_is_known():
    adaptive = idle_service()
    for number in range(1, 300):
        succeed(adaptive, 2.0, latency=1.0 if number % 2 else 0.1, in_flight=1)
        # The standard deviation of their logarithms is 1.15; 208 of them are 0.08 of it.
        assert adaptive.limit == (24 if number < 208 else 6), number


def test_the_measure_of_latency_follows_what_is_less():
    adaptive = idle_service()
    succeed(adaptive, 2.0, times=20, latency=0.06, in_flight=1)
    # 0.08, in the middle between the two: 0.159 is not yet twice as much.
    succeed(adaptive, 2.0, times=20, latency=0.159, in_flight=1)
    assert adaptive.limit == 24
    succeed(adaptive, 2.0, times=20, latency=0.161, in_flight=1)
    assert adaptive.limit == 6


def test_at_one_call_in_flight_the_delay_doubles_up_to_twenty_seconds():
    adaptive = make(1)
    throttle(adaptive, 0.0)
    delays = []
    for _ in range(1_200):
        delays.append(round(adaptive.delay(0.0), 6))
        adaptive.failed(THROTTLE, now=0.0)
    assert delays[:10] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0]
    assert adaptive.delay(5.0) == 15.0
    assert adaptive.delay(25.0) == 0.0
    succeed(adaptive, 1.0)
    assert adaptive.delay(1.0) == 0.0
    throttle(adaptive, 2.0)
    assert adaptive.delay(2.0) == pytest.approx(0.1)


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
