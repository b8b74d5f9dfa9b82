"""What is tried again, after how long and at what cost: by table, and against botocore."""

from __future__ import annotations

import math
import random
import statistics

import attrs
import botocore.awsrequest
import botocore.exceptions
import botocore.session
import pytest
from botocore.retries import quota, standard
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt import errors
from aiosmrt._aws.limiter import AdaptiveLimiter, RetryQuota
from aiosmrt._aws.retries import RETRY_AFTER_HEADER, CallRetries, RetryDecision, RetryPolicy
from aiosmrt.errors import (
    AiosmrtError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    InternalFailure,
    ModelError,
    ModelNotReadyException,
    ReadTimeoutError,
    StreamTruncatedError,
    ThrottlingException,
    UnknownServiceError,
)

NOW = 5_000.0

# Delays when the random number is 1, of the first retries.
TRANSIENT = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0)
THROTTLING = (1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0)
MODEL_NOT_READY = (0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0)
COSTS = {TRANSIENT: 14, THROTTLING: 5, MODEL_NOT_READY: 0}


def begin(policy=None, *, bucket=None, rand=lambda: 1.0, limiter=None, **settings):
    """A call under way; its quota too where the test gave none to share."""
    return CallRetries(
        policy or RetryPolicy(**settings),
        bucket if bucket is not None else RetryQuota(),
        limiter or AdaptiveLimiter(NOW),
        rand=rand,
    )


def service(status, code=None, message=""):
    """The error that a response of this status and code becomes."""
    cls = errors.ERROR_CLASSES.get(code, UnknownServiceError)
    return cls(message, code=code or str(status), status_code=status)


FINAL_ERRORS = [
    AiosmrtError("anything"),
    ConfigurationError("no region"),
    errors.CredentialsError("none"),
    errors.ParameterValidationError("endpoint_name", "is too long"),
    errors.TransportError("of no known kind"),
    ReadTimeoutError("read"),
    errors.PoolTimeoutError("pool"),
    errors.DeadlineExceededError("total"),
    ConnectionLostError("cut", head_received=True),
    errors.EventStreamError("stream"),
    errors.InvalidMessageError("stream"),
    errors.ChecksumMismatchError("prelude", expected=1, computed=2),
    errors.MessageTooLargeError("message", length=2, limit=1),
    StreamTruncatedError(),
    errors.AsyncInferenceError("failed"),
    errors.ServiceError("", status_code=400),
    service(400, "ValidationError"),
    service(400, "ValidationException"),
    service(424, "ModelError"),
    service(500, "ModelError"),
    service(403, "AccessDeniedException"),
    service(403, "ExpiredTokenException"),
    service(400, "ExpiredToken"),
    service(403, "SignatureDoesNotMatch"),
    service(400, "RequestTimeTooSkewed"),
    # In a stream, whose head has been handed out.
    service(200, "ModelStreamError"),
    service(200, "InternalStreamFailure"),
    service(200, "ThrottlingException"),
    service(200, "ModelNotReadyException"),
    service(200, "InternalFailure"),
    *(service(status) for status in (301, 307, 400, 403, 404, 405, 413, 424, 501, 505, 529)),
]

RETRIED_ERRORS = [
    *((service(status), TRANSIENT) for status in (500, 502, 503, 504, 530)),
    (service(500, "InternalFailure"), TRANSIENT),
    (service(500, "InternalError"), TRANSIENT),
    (service(503, "ServiceUnavailable"), TRANSIENT),
    (service(530, "InternalDependencyException"), TRANSIENT),
    (service(500, "ValidationError"), TRANSIENT),
    (service(400, "RequestTimeout"), TRANSIENT),
    (service(408, "RequestTimeoutException"), TRANSIENT),
    (ConnectError("refused"), TRANSIENT),
    (ConnectTimeoutError("slow"), TRANSIENT),
    (ConnectionLostError("reset", bytes_sent=9), TRANSIENT),
    *((service(400, code), THROTTLING) for code in sorted(errors.THROTTLING_CODES)),
    (service(429, "ThrottlingException"), THROTTLING),
    (service(503, "SlowDown"), THROTTLING),
    (service(503, "PriorRequestNotComplete"), THROTTLING),
    (service(429), THROTTLING),
    (service(429, "SomethingNew"), THROTTLING),
    (service(429, "ModelNotReadyException"), MODEL_NOT_READY),
    (service(503, "ModelNotReadyException"), MODEL_NOT_READY),
]


def name(value):
    if isinstance(value, errors.ServiceError):
        return f"{type(value).__name__}-{value.code}-{value.status_code}"
    if isinstance(value, AiosmrtError):
        return f"{type(value).__name__}-{getattr(value, 'head_received', '')}"
    return f"{value[0]:g}s"


@pytest.mark.parametrize("error", FINAL_ERRORS, ids=name)
@pytest.mark.parametrize("mode", ["standard", "adaptive"])
def test_final_errors_are_not_tried_again(error, mode):
    bucket = RetryQuota()
    decision = begin(bucket=bucket, mode=mode).decide(error, now=NOW)
    assert decision.delay is None
    assert bucket.available == 500


@pytest.mark.parametrize("error, delays", RETRIED_ERRORS, ids=name)
def test_retried_errors_have_their_delays_and_cost(error, delays):
    bucket = RetryQuota()
    call = begin(bucket=bucket, max_attempts=len(delays) + 1)
    now = NOW
    for retry, delay in enumerate(delays, 1):
        decision = call.decide(error, now=now)
        assert decision == RetryDecision(delay=pytest.approx(delay))
        assert bucket.available == 500 - retry * COSTS[delays]
        now += decision.delay


def test_the_tables_name_every_class_of_error():
    named = {type(error) for error in FINAL_ERRORS}
    named.update(type(error) for error, _ in RETRIED_ERRORS)
    exported = {getattr(errors, name) for name in errors.__all__}
    assert exported - named == set()


@pytest.mark.parametrize("error, delays", RETRIED_ERRORS, ids=name)
def test_one_attempt_switches_everything_off(error, delays):
    bucket = RetryQuota()
    call = begin(
        bucket=bucket,
        max_attempts=1,
        retry_on_read_timeout=True,
        retry_model_error=lambda _: True,
    )
    decision = call.decide(error, now=NOW)
    assert decision.delay is None
    assert "max_attempts=1" in decision.reason
    assert bucket.available == 500


@pytest.mark.parametrize("error", [ReadTimeoutError("slow"), service(424, "ModelError")], ids=name)
def test_one_attempt_switches_off_what_was_asked_for_too(error):
    call = begin(max_attempts=1, retry_on_read_timeout=True, retry_model_error=lambda _: True)
    assert call.decide(error, now=NOW).delay is None


# ----------------------------------------------------------------------- what can be asked for


def test_a_read_timeout_is_tried_again_when_asked_for():
    call = begin(retry_on_read_timeout=True)
    assert call.decide(ReadTimeoutError("slow"), now=NOW).delay == pytest.approx(0.05)
    assert call.decide(ReadTimeoutError("slow"), now=NOW).delay == pytest.approx(0.1)
    assert "max_attempts=3" in call.decide(ReadTimeoutError("slow"), now=NOW).reason


@pytest.mark.parametrize("original, delay", [(503, 0.05), (500, None), (None, None)])
def test_a_model_error_is_tried_again_by_the_predicate(original, delay):
    bucket = RetryQuota()
    call = begin(bucket=bucket, retry_model_error=lambda error: error.original_status_code == 503)
    error = ModelError(status_code=424, original_status_code=original)
    assert call.decide(error, now=NOW).delay == (delay and pytest.approx(delay))
    assert bucket.available == (486 if delay else 500)


def test_the_predicate_sees_no_other_errors():
    seen = []
    for error in [*FINAL_ERRORS, *(error for error, _ in RETRIED_ERRORS)]:
        begin(retry_model_error=seen.append).decide(error, now=NOW)
    assert {type(error) for error in seen} == {ModelError}


def test_what_the_predicate_raises_reaches_the_caller():
    call = begin(retry_model_error=lambda error: error.no_such_attribute)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        call.decide(ModelError(status_code=424), now=NOW)


# ----------------------------------------------------------------------- delays


def test_first_delay_after_a_transient_error_is_at_most_50_ms():
    source = random.Random(1)
    delays = [
        begin(rand=source.random).decide(InternalFailure(status_code=500), now=NOW).delay
        for _ in range(1_000)
    ]
    assert 0 <= min(delays) < max(delays) <= 0.05


@pytest.mark.parametrize("error, delays", [RETRIED_ERRORS[0], (service(429), THROTTLING)], ids=name)
def test_jitter_is_full_and_even(error, delays):
    source = random.Random(2)
    samples = [[] for _ in range(6)]
    for _ in range(2_000):
        call = begin(rand=source.random, max_attempts=7)
        for sample in samples:
            sample.append(call.decide(error, now=NOW).delay)
    for sample, longest in zip(samples, delays, strict=False):
        assert 0 <= min(sample) < 0.02 * longest
        assert 0.98 * longest < max(sample) <= longest
        # The mean and deviation of an even spread, to five times their error.
        assert statistics.mean(sample) == pytest.approx(longest / 2, rel=5 * 0.577 / 2_000**0.5)
        assert statistics.stdev(sample) == pytest.approx(longest / 12**0.5, rel=0.05)


def test_kinds_share_the_count_of_retries():
    call = begin(max_attempts=5)
    assert call.decide(service(500), now=NOW).delay == pytest.approx(0.05)
    assert call.decide(service(429), now=NOW).delay == pytest.approx(2.0)
    assert call.decide(ConnectError(), now=NOW).delay == pytest.approx(0.2)
    assert call.decide(service(429), now=NOW).delay == pytest.approx(8.0)
    assert call.decide(service(429), now=NOW).delay is None


def test_thousands_of_attempts_do_not_overflow():
    bucket = RetryQuota()
    call = begin(bucket=bucket, max_attempts=5_000, rand=lambda: 0.5)
    for _ in range(4_999):
        bucket.release(500)
        assert call.decide(service(500), now=NOW).delay <= 10.0
    assert "max_attempts=5000" in call.decide(service(500), now=NOW).reason


@pytest.mark.parametrize(
    "header, delay",
    [
        (None, 0.5),
        ("0", 0.5),
        ("499", 0.5),
        ("501", 0.501),
        (" 1500 ", 1.5),
        ("5500", 5.5),
        ("5501", 5.5),
        ("9" * 5_000, 5.5),
        ("", 0.5),
        ("-3000", 0.5),
        ("+3000", 0.5),
        ("3000.5", 0.5),
        ("3e3", 0.5),
        ("3_000", 0.5),
        ("nan", 0.5),
        ("inf", 0.5),
        ("three", 0.5),
        ("٣٠٠٠", 0.5),
        ("Wed, 21 Oct 2026 07:28:00 GMT", 0.5),
    ],
)
def test_retry_after_lengthens_within_its_bounds(header, delay):
    call = begin(rand=lambda: 0.5)
    decision = call.decide(ThrottlingException(status_code=400), now=NOW, retry_after=header)
    assert decision.delay == pytest.approx(delay)


def test_retry_after_counts_for_every_kind():
    for error, delays in RETRIED_ERRORS:
        decision = begin().decide(error, now=NOW, retry_after="3000")
        assert decision.delay == pytest.approx(max(3.0, delays[0]))


# ----------------------------------------------------------------------- where it stops


def test_attempts_used_up_names_the_setting():
    call = begin(max_attempts=2)
    assert call.decide(service(500), now=NOW).reason is None
    error = service(500, "InternalFailure")
    error.retry_stopped = call.decide(error, now=NOW).reason
    assert "Not tried again: RetryPolicy(max_attempts=2) is used up." in str(error)


@pytest.mark.parametrize(
    "remaining, told", [(0.05, "0.05"), (0.01, "0.01"), (0.0, "0"), (-1.0, "0")]
)
def test_a_delay_past_the_total_time_is_not_begun(remaining, told):
    bucket = RetryQuota()
    decision = begin(bucket=bucket).decide(service(500), now=NOW, remaining=remaining)
    assert decision.delay is None
    assert decision.reason == (
        f"the next attempt would start in 0.05 seconds, but only {told} are left of Timeouts.total"
    )
    assert bucket.available == 500


def test_after_a_crossing_the_next_attempt_waits_and_pays_for_nothing():
    """But it is one of those that are allowed."""
    bucket = RetryQuota()
    call = begin(bucket=bucket, max_attempts=2)
    error = ConnectionLostError("reset")
    decision = call.decide(error, now=NOW, remaining=0.01, has_crossed=True)
    assert decision == RetryDecision(delay=0.0)
    assert bucket.available == 500
    assert call.decide(error, now=NOW, has_crossed=True).delay is None


@given(
    kinds=st.lists(st.sampled_from([500, 429, 0]), min_size=1, max_size=30),
    total=st.floats(0, 60),
    rand=st.floats(0, 1),
    header=st.sampled_from([None, "700", "90000"]),
)
def test_no_attempt_is_put_off_past_the_total_time(kinds, total, rand, header):
    call = begin(max_attempts=100, rand=lambda: rand)
    now, end = NOW, NOW + total
    for kind in kinds:
        error = service(kind) if kind else ModelNotReadyException(status_code=429)
        decision = call.decide(error, now=now, retry_after=header, remaining=end - now)
        if decision.delay is None:
            assert "Timeouts.total" in decision.reason
            return
        now += decision.delay
        assert now <= end


def test_a_lost_answer_says_why_it_is_final():
    error = ConnectionLostError("cut", head_received=True)
    assert "already run" in begin().decide(error, now=NOW).reason
    assert begin().decide(StreamTruncatedError(bytes_received=10), now=NOW).reason is None


# ----------------------------------------------------------------------- the quota


def test_always_500_stops_after_35_retries():
    bucket = RetryQuota()
    retries = 0
    for _ in range(100):
        call = begin(bucket=bucket)
        while (decision := call.decide(service(500), now=NOW)).delay is not None:
            retries += 1
    assert retries == 35
    assert bucket.available == 500 - 35 * 14
    assert decision.reason == (
        "too many calls fail, and the retry quota of this session is empty "
        "(10 tokens left of 500, a retry costs 14)"
    )
    # The last tokens still pay for two throttles.
    call = begin(bucket=bucket, max_attempts=9)
    assert [call.decide(service(429), now=NOW).delay for _ in range(3)] == [1.0, 2.0, None]


def test_always_throttled_stops_after_100_retries():
    bucket = RetryQuota()
    call = begin(bucket=bucket, max_attempts=1_000)
    delays = [call.decide(service(429), now=NOW).delay for _ in range(101)]
    assert None not in delays[:100]
    assert delays[100] is None
    assert bucket.available == 0


@pytest.mark.parametrize(
    "before_success, given_back",
    [
        ([], 1),
        ([500], 14),
        ([429], 5),
        ([429, 500], 14),
        ([500, 429], 5),
        ([500, "model"], 14),
        (["model"], 1),
    ],
)
def test_success_gives_back_the_last_cost(before_success, given_back):
    bucket = RetryQuota()
    bucket.acquire(200)
    call = begin(bucket=bucket, max_attempts=9)
    for kind in before_success:
        error = ModelNotReadyException(status_code=429) if kind == "model" else service(kind)
        assert call.decide(error, now=NOW).delay is not None
    before = bucket.available
    call.succeeded(now=NOW)
    assert bucket.available == before + given_back


def test_calls_with_policies_of_their_own_share_the_quota():
    bucket = RetryQuota()
    for policy in (RetryPolicy(max_attempts=9), RetryPolicy(mode="adaptive"), RetryPolicy()):
        begin(policy, bucket=bucket).decide(service(500), now=NOW)
    assert bucket.available == 500 - 3 * 14


# ----------------------------------------------------------------------- a model that is not ready

NOT_READY = ModelNotReadyException(status_code=429)


@pytest.mark.parametrize("rand", [0.0, 0.5, 1.0])
def test_ten_not_ready_then_success_is_within_28_seconds(rand):
    bucket = RetryQuota()
    call = begin(bucket=bucket, rand=lambda: rand)
    waited = 0.0
    for _ in range(10):
        waited += call.decide(NOT_READY, now=NOW + waited).delay
    call.succeeded(now=NOW + waited)
    assert waited <= 28.0
    assert bucket.available == 500


def test_waiting_for_a_model_leaves_the_other_attempts():
    call = begin(max_attempts=3)
    sequence = [NOT_READY, service(500), NOT_READY, NOT_READY, service(500), NOT_READY]
    delays = [call.decide(error, now=NOW).delay for error in sequence]
    assert delays == pytest.approx([0.25, 0.05, 0.5, 1.0, 0.1, 2.0])
    assert call.decide(service(500), now=NOW).reason == (
        "RetryPolicy(max_attempts=3) is used up, waits for the model not counted"
    )


@given(
    timeout=st.floats(0.0, 300.0),
    start=st.floats(0.0, 2e9),
    seed=st.integers(0, 2**32),
    header=st.sampled_from([None, "2500", "60000"]),
)
def test_a_model_gets_all_of_its_time_and_no_more(timeout, start, seed, header):
    call = begin(model_not_ready_timeout=timeout, rand=random.Random(seed).random)
    now, asked = start, 0
    while (decision := call.decide(NOT_READY, now=now, retry_after=header)).delay is not None:
        now += decision.delay
        asked += 1
        assert now <= start + timeout
        # Every 2 s on average: a fleet that waits does not hammer.
        assert asked <= 20 + timeout
    # The last attempt is at the end of the time itself.
    assert now == start + timeout
    assert f"model_not_ready_timeout={timeout:g}" in decision.reason


def test_the_models_time_begins_with_its_first_error():
    call = begin(model_not_ready_timeout=2.0)
    assert call.decide(service(500), now=NOW).delay is not None
    assert call.decide(NOT_READY, now=NOW + 100).delay == 0.25
    assert call.decide(NOT_READY, now=NOW + 101).delay == 0.5
    assert call.decide(NOT_READY, now=NOW + 101.75).delay == pytest.approx(0.25)
    assert call.decide(NOT_READY, now=NOW + 102).delay is None


def test_zero_does_not_wait_for_a_model():
    decision = begin(model_not_ready_timeout=0).decide(NOT_READY, now=NOW)
    assert decision.delay is None
    assert "model_not_ready_timeout=0" in decision.reason


def test_a_fleet_waiting_for_a_model_leaves_the_quota_to_others():
    bucket = RetryQuota()
    for _ in range(1_000):
        assert begin(bucket=bucket).decide(NOT_READY, now=NOW).delay is not None
    assert begin(bucket=bucket).decide(service(500), now=NOW).delay is not None


# ----------------------------------------------------------------------- adaptive mode


def test_only_adaptive_calls_have_and_teach_the_limiter():
    limiter = AdaptiveLimiter(NOW)
    call = begin(limiter=limiter)
    assert call.limiter is None
    call.decide(service(429), now=NOW + 1)
    assert not limiter.enabled
    call = begin(limiter=limiter, mode="adaptive")
    assert call.limiter is limiter
    call.decide(service(429), now=NOW + 1)
    assert limiter.enabled


@pytest.mark.parametrize("error", [service(500), NOT_READY, ConnectError(), service(400)], ids=name)
def test_what_is_no_throttle_does_not_slow_the_session(error):
    limiter = AdaptiveLimiter(NOW)
    begin(limiter=limiter, mode="adaptive").decide(error, now=NOW + 1)
    assert not limiter.enabled


def test_every_end_of_an_attempt_is_counted_once():
    """The limiter of a call is in the state of one that was told the same by hand."""
    ours, by_hand = AdaptiveLimiter(NOW), AdaptiveLimiter(NOW)
    ends = [service(429), service(500), service(429), None, NOT_READY, None, service(429)]
    call = begin(limiter=ours, mode="adaptive", max_attempts=20)
    for i, end in enumerate(ends, 1):
        now = NOW + i * 0.3
        if end is None:
            call.succeeded(now=now)
        else:
            call.decide(end, now=now)
        by_hand.update(throttled=end is not None and end.is_throttling, now=now)
        assert ours.rate == by_hand.rate


def test_a_throttle_without_a_retry_slows_the_session_too():
    limiter = AdaptiveLimiter(NOW)
    begin(limiter=limiter, mode="adaptive", max_attempts=1).decide(service(429), now=NOW + 1)
    assert limiter.enabled


# ----------------------------------------------------------------------- against botocore


class BotocoreCalls:
    """botocore's standard mode of 2026, one session's worth, behind our verbs."""

    class Detector:
        def is_throttling_error_from_context(self, context):
            return standard.ThrottlingErrorDetector(
                standard.RetryEventAdapter()
            ).is_throttling_error_from_context(context)

    operation = (
        botocore.session.Session()
        .get_service_model("sagemaker-runtime")
        .operation_model("InvokeEndpoint")
    )

    def __init__(self, max_attempts, rand):
        self.quota = quota.RetryQuota()
        detector = self.Detector()
        self._checker = standard.RetryQuotaChecker(self.quota, detector)
        self._handler = standard.RetryHandler(
            retry_policy=standard.RetryPolicy(
                standard.StandardRetryConditions(max_attempts),
                standard.ExponentialBackoff(random=rand, throttling_detector=detector),
            ),
            retry_event_adapter=standard.RetryEventAdapter(),
            retry_quota=self._checker,
        )
        self.begin()

    def begin(self):
        self._context, self._attempts = {}, 0

    def decide(self, failure):
        self._attempts += 1
        response = None
        if not isinstance(failure, Exception):
            status, code, retry_after = failure
            headers = {RETRY_AFTER_HEADER: retry_after} if retry_after is not None else {}
            http = botocore.awsrequest.AWSResponse("http://localhost", status, headers, None)
            response = (http, {"Error": {"Code": code}})
            failure = None
        return self._handler.needs_retry(
            response=response,
            caught_exception=failure,
            attempts=self._attempts,
            operation=self.operation,
            request_dict={"context": self._context},
        )

    def succeeded(self):
        http = botocore.awsrequest.AWSResponse("http://localhost", 200, {}, None)
        self._checker.release_retry_quota(self._context, http)


CONNECTION_FAILURES = [
    (
        ConnectError("refused"),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://localhost"),
    ),
    (
        ConnectTimeoutError("slow"),
        botocore.exceptions.ConnectTimeoutError(endpoint_url="http://localhost"),
    ),
    (
        ConnectionLostError("reset"),
        botocore.exceptions.ConnectionClosedError(endpoint_url="http://localhost"),
    ),
    (
        ReadTimeoutError("slow"),  # with retry_on_read_timeout, which botocore always has
        botocore.exceptions.ReadTimeoutError(endpoint_url="http://localhost"),
    ),
]
# Where SERVICE asks for more than the standard, botocore has no answer to compare with:
# ModelNotReadyException, 530, and a 429 that is not modelled.
CODES = [
    *sorted(errors.THROTTLING_CODES),
    "RequestTimeout",
    "RequestTimeoutException",
    "InternalFailure",
    "ServiceUnavailable",
    "ValidationError",
    "AccessDeniedException",
    "ExpiredTokenException",
    "SomethingNew",
]
RESPONSES = st.tuples(
    st.sampled_from([400, 403, 404, 408, 424, 500, 501, 502, 503, 504]),
    st.sampled_from(CODES),
    st.sampled_from([None, "0", "30", "1500", "4000", "900000", "-1", "soon"]),
)
FAILURES = st.one_of(RESPONSES, RESPONSES, st.sampled_from(CONNECTION_FAILURES))


@given(
    calls=st.lists(st.tuples(st.lists(FAILURES, max_size=6), st.booleans()), max_size=40),
    max_attempts=st.integers(1, 5),
    rand=st.floats(0, 1),
)
def test_delays_and_quota_are_botocores_for_any_sequence_of_calls(calls, max_attempts, rand):
    with pytest.MonkeyPatch.context() as patch:
        # What AWS_NEW_RETRIES_2026=true sets when botocore is imported.
        patch.setattr(standard, "NEW_RETRIES_ENABLED", True)
        theirs = BotocoreCalls(max_attempts, lambda: rand)
        bucket = RetryQuota()
        policy = RetryPolicy(max_attempts=max_attempts, retry_on_read_timeout=True)
        for failures, ends_well in calls:
            theirs.begin()
            call = begin(policy, bucket=bucket, rand=lambda: rand)
            for failure in failures:
                if len(failure) == 2:
                    error, exception = failure
                    delay = theirs.decide(exception)
                    decision = call.decide(error, now=NOW)
                else:
                    status, code, header = failure
                    delay = theirs.decide(failure)
                    decision = call.decide(service(status, code), now=NOW, retry_after=header)
                assert decision.delay == (delay if delay is None else pytest.approx(delay))
                assert bucket.available == theirs.quota.available_capacity
                if delay is None:
                    break
            else:
                if ends_well:
                    theirs.succeeded()
                    call.succeeded(now=NOW)
                    assert bucket.available == theirs.quota.available_capacity


# ----------------------------------------------------------------------- settings


def test_the_default_policy():
    assert attrs.asdict(RetryPolicy()) == {
        "max_attempts": 3,
        "mode": "standard",
        "retry_on_read_timeout": False,
        "retry_model_error": None,
        "model_not_ready_timeout": 120.0,
    }


@pytest.mark.parametrize(
    "setting, value, rule",
    [
        ("max_attempts", 0, "a whole number of at least 1, not 0"),
        ("max_attempts", -1, "at least 1"),
        ("max_attempts", 3.0, "whole number"),
        ("max_attempts", "3", "whole number"),
        ("max_attempts", True, "whole number"),
        ("max_attempts", None, "whole number"),
        ("mode", "legacy", "'standard' or 'adaptive'"),
        ("mode", None, "'standard' or 'adaptive'"),
        ("retry_on_read_timeout", 1, "True or False"),
        ("retry_on_read_timeout", None, "True or False"),
        ("retry_model_error", 503, "a function of a ModelError, or None"),
        ("model_not_ready_timeout", -0.1, "finite number of seconds, 0 or more"),
        ("model_not_ready_timeout", math.inf, "finite"),
        ("model_not_ready_timeout", math.nan, "finite"),
        ("model_not_ready_timeout", None, "finite"),
        ("model_not_ready_timeout", "60", "finite"),
        ("model_not_ready_timeout", True, "finite"),
    ],
)
def test_a_setting_outside_its_rule_is_refused(setting, value, rule):
    with pytest.raises(ConfigurationError) as caught:
        RetryPolicy(**{setting: value})
    assert f"RetryPolicy.{setting} must be " in str(caught.value)
    assert rule in str(caught.value)


def test_a_policy_cannot_be_changed():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        RetryPolicy().max_attempts = 5


@pytest.mark.parametrize(
    "max_attempts, mode, policy",
    [
        (None, None, RetryPolicy()),
        ("1", None, RetryPolicy(max_attempts=1)),
        (" 12 ", "standard", RetryPolicy(max_attempts=12)),
        (None, "adaptive", RetryPolicy(mode="adaptive")),
        ("5", " Adaptive", RetryPolicy(max_attempts=5, mode="adaptive")),
        ("999999999", None, RetryPolicy(max_attempts=999_999_999)),
    ],
)
def test_policy_from_the_environment(max_attempts, mode, policy):
    assert RetryPolicy.from_values(max_attempts, mode) == policy


@pytest.mark.parametrize(
    "text",
    ["", "0", "00", "-1", "+3", "3.0", "1e3", "1_0", "three", "٣", "1234567890", "9" * 5_000],
)
def test_malformed_attempts_name_variable_and_rule(text):
    with pytest.raises(ConfigurationError, match="AWS_MAX_ATTEMPTS must be a whole number"):
        RetryPolicy.from_values(text)


@pytest.mark.parametrize("text", ["", "fast", "standard,adaptive"])
def test_malformed_mode_names_variable_and_rule(text):
    with pytest.raises(
        ConfigurationError, match="AWS_RETRY_MODE must be standard, adaptive or legacy, not"
    ):
        RetryPolicy.from_values(None, text)


def test_the_caller_may_name_other_sources():
    sources = {"max_attempts_source": "max_attempts in /c:7", "mode_source": "retry_mode in /c:8"}
    with pytest.raises(ConfigurationError, match="max_attempts in /c:7 must be"):
        RetryPolicy.from_values("x", None, **sources)
    with pytest.raises(ConfigurationError, match="retry_mode in /c:8 must be"):
        RetryPolicy.from_values(None, "x", **sources)


@pytest.mark.parametrize("text", ["legacy", "LEGACY"])
def test_legacy_is_taken_as_standard_with_a_warning(text):
    expected = "AWS_RETRY_MODE is legacy, which is taken as standard"
    with pytest.warns(UserWarning, match=expected) as caught:
        policy = RetryPolicy.from_values("4", text)
    assert caught[0].filename == __file__  # the place that asked for it
    assert policy == RetryPolicy(max_attempts=4)
