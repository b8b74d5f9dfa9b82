"""When a failed attempt is made again, and after how long: policy alone, without I/O.

The AWS SDKs' standard mode in its 2026 revision (SDKs and Tools Reference Guide,
"Retry behavior"; botocore's `retries/standard.py` under ``AWS_NEW_RETRIES_2026=true``),
and what SageMaker needs beyond it. A session keeps one `RetryQuota` and one
`AdaptiveLimiter`; each call keeps one `CallRetries`, tells it of every failed
attempt and sleeps as long as it says.

=======================================  ==============  =====  =======================
error                                    delay           cost   limit
=======================================  ==============  =====  =======================
HTTP 500, 502, 503, 504, 530             0.05 s * 2**i   14     ``max_attempts``
RequestTimeout, RequestTimeoutException  0.05 s * 2**i   14     ``max_attempts``
ConnectError, ConnectTimeoutError        0.05 s * 2**i   14     ``max_attempts``
ConnectionLostError, no byte of a body   0.05 s * 2**i   14     ``max_attempts``
ReadTimeoutError, only when asked for    0.05 s * 2**i   14     ``max_attempts``
ModelError, by the user's predicate      0.05 s * 2**i   14     ``max_attempts``
a throttling code, an unmodelled 429     1 s * 2**i      5      ``max_attempts``
ModelNotReadyException                   0.25 s * 2**i   none   ``model_not_ready_timeout``
=======================================  ==============  =====  =======================

Anything else is final. A delay is at most 20 s (for a model that is not ready 4 s),
times a random number from 0 to 1, and the service may raise it by up to 5 s with
``x-amz-retry-after``.

Choices that the standard leaves open:

- A code in both of its lists, PriorRequestNotComplete, is a throttle, as in botocore:
  the longer delay, the lower cost. So is any throttling code on a 5xx.
- A connection lost once bytes of the answer's body have come is final, and so is a
  truncated body: the model has run, and running it again costs. botocore hands the body
  of this service out unread and so does not retry it either.
- Waiting for a model takes nothing from the quota: the service is not in trouble, and
  calls that wait for one cold endpoint must not cost the session's others their
  retries. Time and a growing, random delay bound it instead.

Properties, each with its test in `tests/aws/test_retries.py`:

- The first delay after a transient error is at most 50 ms.
- Always-500 makes about 35 retries in a session, then none, and the error says so.
- With ``max_attempts=1`` nothing is ever tried again.
- Ten ModelNotReadyExceptions take at most 28 s of waiting by the default policy.
- No attempt is put off past the call's total time.
"""

import math
import random
import warnings
from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from aiosmrt._aws.limiter import AdaptiveLimiter, RetryQuota
from aiosmrt._values import is_finite, is_integer
from aiosmrt.errors import (
    AiosmrtError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    ModelError,
    ModelNotReadyException,
    ReadTimeoutError,
    ServiceError,
)

__all__ = ["RETRY_AFTER_HEADER", "CallRetries", "RetryDecision", "RetryPolicy"]

#: The response header, in milliseconds, by which the service asks for a longer delay.
RETRY_AFTER_HEADER: Final = "x-amz-retry-after"

_RETRY_AFTER_MAX_ADDED = 5.0
_REFUND_WITHOUT_RETRY = 1
_MODEL_HAS_RUN = "part of the answer had arrived, so the model has already run"

_TRANSIENT_STATUSES = frozenset({500, 502, 503, 504, 530})
_TRANSIENT_CODES = frozenset({"RequestTimeout", "RequestTimeoutException"})


@attrs.frozen(eq=False)
class _Rule:
    """How one kind of error is tried again: seconds, seconds, tokens."""

    base: float
    longest: float
    cost: int


_TRANSIENT = _Rule(base=0.05, longest=20.0, cost=14)
_THROTTLING = _Rule(base=1.0, longest=20.0, cost=5)
# Small models load in under a second, serverless containers start within seconds to a
# minute: ask soon, and then about every 2 s, which a waiting fleet can afford too.
_MODEL_NOT_READY = _Rule(base=0.25, longest=4.0, cost=0)


def _must_be(
    rule: str, holds: Callable[[Any], bool]
) -> Callable[[object, "attrs.Attribute[Any]", Any], None]:
    """An attrs validator that raises what the rest of the package raises."""

    def check(_policy: object, field: "attrs.Attribute[Any]", value: Any) -> None:
        if not holds(value):
            raise ConfigurationError(f"RetryPolicy.{field.name} must be {rule}, not {value!r}")

    return check


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """What is tried again, and how often. For a session, or for one call of it.

    Attributes:
        max_attempts: Requests for one call, the first included; at least 1. 1 switches
            every retry off: ``model_not_ready_timeout`` and the single retries after
            clock skew and expired credentials too.
        mode: ``standard``, or ``adaptive``, which also lowers the session's send rate
            at each throttle, and raises it again while none comes.
        retry_on_read_timeout: Whether a ReadTimeoutError is tried again. Off, because
            the model may still be running, and would then run twice.
        retry_model_error: Called with a ModelError; whether it is tried again. None
            tries none again. An example:
            ``lambda error: error.original_status_code == 503``. What it raises reaches
            the caller in place of the error.
        model_not_ready_timeout: Seconds from a call's first ModelNotReadyException for
            which it asks again (a last time as they end), beside ``max_attempts``;
            0 does not wait. A cold serverless container takes seconds to over a minute,
            a multi-model endpoint as long as it needs to fetch the model. The call's
            ``Timeouts.total`` still holds.

    Raises:
        ConfigurationError: A value is outside these rules.
    """

    __module__ = "aiosmrt"

    max_attempts: int = attrs.field(
        default=3,
        validator=_must_be("a whole number of at least 1", lambda v: is_integer(v) and v >= 1),
    )
    mode: Literal["standard", "adaptive"] = attrs.field(
        default="standard",
        validator=_must_be("'standard' or 'adaptive'", lambda v: v in ("standard", "adaptive")),
    )
    retry_on_read_timeout: bool = attrs.field(
        default=False, validator=_must_be("True or False", lambda v: type(v) is bool)
    )
    retry_model_error: Callable[[ModelError], bool] | None = attrs.field(
        default=None,
        validator=_must_be(
            "a function of a ModelError, or None", lambda v: v is None or callable(v)
        ),
    )
    model_not_ready_timeout: float = attrs.field(
        default=120.0,
        validator=_must_be(
            "a finite number of seconds, 0 or more", lambda v: is_finite(v) and v >= 0
        ),
    )

    @classmethod
    def from_values(
        cls,
        max_attempts: str | None = None,
        mode: str | None = None,
        *,
        max_attempts_source: str = "AWS_MAX_ATTEMPTS",
        mode_source: str = "AWS_RETRY_MODE",
    ) -> "RetryPolicy":
        """Makes a policy of what an environment or a profile says.

        Args:
            max_attempts: The text of ``AWS_MAX_ATTEMPTS`` or of the profile's
                ``max_attempts``; None where there is none.
            mode: The text of ``AWS_RETRY_MODE`` or of the profile's ``retry_mode``:
                ``standard``, ``adaptive`` or ``legacy``, in any case; None where there
                is none. ``legacy`` is taken as ``standard``, with a UserWarning.
            max_attempts_source: Where the first was found, for error texts.
            mode_source: Where the second was found, for error texts.

        Returns:
            The policy; the default in what is None.

        Raises:
            ConfigurationError: A text is malformed; it names the source and the rule.
        """
        settings: dict[str, Any] = {}
        if max_attempts is not None:
            digits = max_attempts.strip()
            # Nine digits are more than anyone means, and no trouble for int().
            if not (digits.isascii() and digits.isdigit() and len(digits) < 10 and int(digits)):
                raise ConfigurationError(
                    f"{max_attempts_source} must be a whole number of at least 1, "
                    f"not {max_attempts!r}"
                )
            settings["max_attempts"] = int(digits)
        if mode is not None:
            settings["mode"] = _parse_mode(mode, mode_source)
        return cls(**settings)


def _parse_mode(text: str, source: str) -> str:
    mode = text.strip().lower()
    if mode not in ("standard", "adaptive", "legacy"):
        raise ConfigurationError(f"{source} must be standard, adaptive or legacy, not {text!r}")
    if mode == "legacy":
        mode = "standard"
        warnings.warn(f"{source} is legacy, which is taken as standard", stacklevel=3)
    return mode


@attrs.frozen(kw_only=True)
class RetryDecision:
    """What to do after a failed attempt.

    Attributes:
        delay: Seconds to sleep before the next attempt; None makes none.
        reason: With no delay: why the call ends here, for `AiosmrtError.retry_stopped`;
            None where the error itself makes it plain.
    """

    delay: float | None = None
    reason: str | None = None


class CallRetries:
    """The retries of one call: what it has used, and what comes next.

    Args:
        policy: The call's policy, else the session's.
        quota: The session's quota.
        limiter: The session's limiter; it plays no part unless the mode is adaptive.
        rand: Gives numbers from 0 to 1 (`random.random`).
    """

    __slots__ = (
        "_failures",
        "_last_cost",
        "_not_ready_count",
        "_not_ready_deadline",
        "_policy",
        "_quota",
        "_rand",
        "limiter",
    )

    #: What to ask before each attempt; None unless the mode is adaptive.
    limiter: AdaptiveLimiter | None

    def __init__(
        self,
        policy: RetryPolicy,
        quota: RetryQuota,
        limiter: AdaptiveLimiter,
        *,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self._policy = policy
        self._quota = quota
        self.limiter = limiter if policy.mode == "adaptive" else None
        self._rand = rand
        self._failures = 0
        self._last_cost = 0
        self._not_ready_count = 0
        self._not_ready_deadline: float | None = None

    def succeeded(self, *, now: float) -> None:
        """Tells that an attempt succeeded; call it once, at the call's end.

        Args:
            now: The time in seconds, on the clock that `decide` gets.
        """
        if self.limiter is not None:
            self.limiter.update(throttled=False, now=now)
        self._quota.release(self._last_cost or _REFUND_WITHOUT_RETRY)

    def decide(
        self,
        error: AiosmrtError,
        *,
        now: float,
        retry_after: str | None = None,
        remaining: float | None = None,
        has_crossed: bool = False,
    ) -> RetryDecision:
        """Decides after an attempt failed, and pays for the next one.

        Call it for an attempt whose output nobody has seen: not for the errors of a
        stream, nor again for the same attempt.

        Args:
            error: How the attempt ended.
            now: The time in seconds, on a clock that does not run backwards.
            retry_after: The response's ``x-amz-retry-after`` header (milliseconds), as it
                came; None without one. A malformed one is ignored.
            remaining: Seconds left of the call's total time, None without a limit.
            has_crossed: Whether the closing of an idle connection crossed the request on its
                way: nothing is overloaded, and the next attempt waits for nothing.

        Returns:
            The delay before the next attempt, or why there is none.
        """
        rule = _find_rule(self._policy, error)
        if self.limiter is not None:
            self.limiter.update(throttled=rule is _THROTTLING, now=now)
        if rule is None:
            return RetryDecision(
                reason=_MODEL_HAS_RUN if isinstance(error, ConnectionLostError) else None
            )
        if self._policy.max_attempts == 1:
            return RetryDecision(reason="RetryPolicy(max_attempts=1) switches retries off")
        if rule is _MODEL_NOT_READY:
            decision = self._wait_for_model(now, retry_after)
        else:
            decision = self._back_off(rule, retry_after)
        if decision.delay is None:
            return decision
        if has_crossed:
            return RetryDecision(delay=0.0)
        if remaining is not None and decision.delay >= remaining:
            return RetryDecision(
                reason=f"the next attempt would start in {decision.delay:.3g} seconds, "
                f"but only {max(remaining, 0.0):.3g} are left of Timeouts.total"
            )
        # Last, so that only an attempt that is made is paid for.
        if not self._quota.acquire(rule.cost):
            return RetryDecision(
                reason="too many calls fail, and the retry quota of this session is empty "
                f"({self._quota.available} tokens left of {RetryQuota.CAPACITY}, "
                f"a retry costs {rule.cost})"
            )
        self._last_cost = rule.cost or self._last_cost
        return decision

    def _back_off(self, rule: _Rule, retry_after: str | None) -> RetryDecision:
        self._failures += 1
        if self._failures >= self._policy.max_attempts:
            waits = ", waits for the model not counted" if self._not_ready_count else ""
            return RetryDecision(
                reason=f"RetryPolicy(max_attempts={self._policy.max_attempts}) is used up{waits}"
            )
        return RetryDecision(delay=self._delay(rule, self._failures - 1, retry_after))

    def _wait_for_model(self, now: float, retry_after: str | None) -> RetryDecision:
        timeout = self._policy.model_not_ready_timeout
        if self._not_ready_deadline is None:
            self._not_ready_deadline = now + timeout
        left = self._not_ready_deadline - now
        if left <= 0:
            return RetryDecision(
                reason=f"RetryPolicy(model_not_ready_timeout={timeout:g}) seconds have passed"
            )
        delay = self._delay(_MODEL_NOT_READY, self._not_ready_count, retry_after)
        self._not_ready_count += 1
        return RetryDecision(delay=min(delay, left))

    def _delay(self, rule: _Rule, retry: int, retry_after: str | None) -> float:
        # At 2**16 every base is past its limit; many more would overflow the float.
        delay = self._rand() * min(math.ldexp(rule.base, min(retry, 16)), rule.longest)
        asked = _parse_retry_after(retry_after)
        if asked is None:
            return delay
        return max(delay, min(asked, delay + _RETRY_AFTER_MAX_ADDED))


def _find_rule(policy: RetryPolicy, error: AiosmrtError) -> _Rule | None:
    """The rule by which the error may be tried again, None where it is final."""
    if isinstance(error, ServiceError):
        return _find_service_rule(policy, error)
    if isinstance(error, ConnectionLostError):
        transient = not error.head_received
    elif isinstance(error, ReadTimeoutError):
        transient = policy.retry_on_read_timeout
    else:
        transient = isinstance(error, (ConnectError, ConnectTimeoutError))
    return _TRANSIENT if transient else None


def _find_service_rule(policy: RetryPolicy, error: ServiceError) -> _Rule | None:
    if error.status_code == 200:  # inside a stream, which is in the caller's hands
        return None
    # What the service's own classes mean is known, whatever status a stand-in gives them.
    if isinstance(error, ModelNotReadyException):
        return _MODEL_NOT_READY
    if isinstance(error, ModelError):
        predicate = policy.retry_model_error
        return _TRANSIENT if predicate is not None and predicate(error) else None
    if error.is_throttling:
        return _THROTTLING
    if error.status_code in _TRANSIENT_STATUSES or error.code in _TRANSIENT_CODES:
        return _TRANSIENT
    return None


def _parse_retry_after(text: str | None) -> float | None:
    """The header's milliseconds as seconds; None for anything but a whole number."""
    if text is None:
        return None
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        return None
    # float() makes an absurdly long number infinite, where int() would raise.
    return float(digits) / 1000.0
