"""What goes wrong with a request, with which requests, and how often."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import attrs

from aiosmrt._protocol.operations import OPERATIONS
from aiosmrt._values import is_finite
from aiosmrt.errors import ConfigurationError
from aiosmrt.local._s3.requests import S3_OPERATIONS

if TYPE_CHECKING:
    import random

__all__ = ["Fault", "Injection"]

_OPERATIONS = {*OPERATIONS, *S3_OPERATIONS}

# The service's statuses of the codes that need none to be given.
_STATUSES = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "InternalDependencyException": 530,
    "InternalFailure": 500,
    "ModelError": 424,
    "ModelNotReadyException": 429,
    "ServiceUnavailable": 503,
    "ThrottlingException": 400,
    "ValidationError": 400,
    # S3's
    "AccessDenied": 403,
    "InternalError": 500,
    "NoSuchKey": 404,
    "SlowDown": 503,
}
# What has a form in the header x-amzn-errortype.
_is_code = re.compile(r"[!-~]{1,128}").fullmatch


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with one request.

    Attributes:
        latency: Seconds before anything is done with it.
        error: The code of the error that is answered in the model's place; None for none.
        status_code: The error's HTTP status; None is the service's own of that code. Without
            a code the answer has nothing else, as one of a proxy in between.
        stale_close: Whether the connection is closed behind the answer, which did not
            say so.
        cut_at: How many bytes of the body are sent before the connection is closed.
        corrupt_frame: Which message of an event stream is damaged, from 0.
        drip: Bytes a second that the body is sent with at most.

    Raises:
        ConfigurationError: A number is out of its range, or the error's status is not known.
    """

    __module__ = "aiosmrt.local"

    latency: float = 0.0
    error: str | None = None
    status_code: int | None = None
    stale_close: bool = False
    cut_at: int | None = None
    corrupt_frame: int | None = None
    drip: float | None = None

    def __attrs_post_init__(self) -> None:
        for name in ("latency", "cut_at", "corrupt_frame", "drip"):
            value = getattr(self, name)
            if value is not None and not (is_finite(value) and value >= 0):
                raise ConfigurationError(f"a fault's {name} must be 0 or more, and finite")
        if self.status_code is not None and not 400 <= self.status_code <= 599:
            raise ConfigurationError("a fault's status_code must be from 400 to 599")
        if self.error is not None and not _is_code(self.error):
            raise ConfigurationError("a fault's error must be 1 to 128 visible ASCII characters")
        if self.error is not None and self.error_status is None:
            raise ConfigurationError(f"a fault's error {self.error} needs a status_code")
        if self.drip == 0:
            raise ConfigurationError("a fault's drip must be above 0")

    @property
    def error_status(self) -> int | None:
        """The HTTP status of its error, None where it has none."""
        return self.status_code or _STATUSES.get(self.error or "")

    @property
    def bends_the_body(self) -> bool:
        """Whether the body is not simply written."""
        return self.cut_at is not None or self.drip is not None

    def joined_with(self, other: Fault) -> Fault:
        """Both at once; of two that say different things, this one's."""
        return Fault(
            latency=self.latency + other.latency,
            error=self.error if self.error_status else other.error,
            status_code=self.status_code if self.error_status else other.status_code,
            stale_close=self.stale_close or other.stale_close,
            cut_at=other.cut_at if self.cut_at is None else self.cut_at,
            corrupt_frame=other.corrupt_frame if self.corrupt_frame is None else self.corrupt_frame,
            drip=other.drip if self.drip is None else self.drip,
        )


class Injection:
    """A fault that was ordered, until it is removed.

    Attributes:
        fault: What goes wrong.
        count: How many requests it has struck.

    Raises:
        ConfigurationError: A number is out of its range.
    """

    __module__ = "aiosmrt.local"

    def __init__(
        self,
        fault: Fault,
        *,
        endpoint_name: str | None = None,
        operation: str | None = None,
        probability: float = 1.0,
        times: int | None = None,
        above_rate: float | None = None,
    ) -> None:
        if operation is not None and operation not in _OPERATIONS:
            raise ConfigurationError(
                f"there is no operation {operation!r}: {', '.join(sorted(_OPERATIONS))}"
            )
        if not 0 <= probability <= 1:
            raise ConfigurationError("a fault's probability must be from 0 to 1")
        if times is not None and times < 0:
            raise ConfigurationError("a fault's times must be 0 or more")
        if above_rate is not None and not above_rate > 0:
            raise ConfigurationError("a fault's above_rate must be above 0")
        self.fault = fault
        self.count: int = 0
        self._endpoint_name = endpoint_name
        self._operation = operation
        self._probability = probability
        self._times = times
        self._above_rate = above_rate
        self._tokens = max(above_rate or 0.0, 1.0)
        self._filled_at = time.monotonic()
        self._is_removed = False

    def remove(self) -> None:
        """Ends it. Requests that it has struck already are not helped."""
        self._is_removed = True

    @property
    def is_spent(self) -> bool:
        """Whether it strikes no more."""
        return self._is_removed or (self._times is not None and self.count >= self._times)

    def strikes(self, operation: str, endpoint_name: str | None, chance: random.Random) -> bool:
        """Whether it strikes a request, which then counts.

        Args:
            operation: The request's operation.
            endpoint_name: The endpoint that it calls.
            chance: What decides by probability.
        """
        if self.is_spent or self._operation not in (None, operation):
            return False
        if self._endpoint_name not in (None, endpoint_name):
            return False
        if self._above_rate is not None and self._is_within_rate(self._above_rate):
            return False
        if chance.random() >= self._probability:
            return False
        self.count += 1
        return True

    def _is_within_rate(self, rate: float) -> bool:
        """Takes a token of a bucket that fills at the rate, and holds a second's worth."""
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._filled_at) * rate, max(rate, 1.0))
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
