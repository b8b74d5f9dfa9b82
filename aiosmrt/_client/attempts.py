"""The loop that every call goes through: credentials, signature, exchange, and again.

What a call has in common with others (transport, heads, retry quota) lives in
``Caller``, one for a session; what is its own (body hash, invocation id, attempt
number) in ``_Call``. An attempt ends in an output or in an AiosmrtError; the policy
in `aiosmrt._aws.retries` says what follows an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

from aiosmrt._aws.credentials import CachingProvider
from aiosmrt._aws.limiter import AdaptiveLimiter, RetryQuota
from aiosmrt._aws.retries import RETRY_AFTER_HEADER, CallRetries
from aiosmrt._protocol.deserialize import parse_error, request_id
from aiosmrt._protocol.models import ResponseMetadata
from aiosmrt._transport import Exchange, StaleConnectionError
from aiosmrt.errors import (
    AiosmrtError,
    ConnectError,
    ConnectTimeoutError,
    DeadlineExceededError,
    EventStreamError,
    ExpiredTokenException,
    PoolTimeoutError,
    ServiceError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from aiosmrt._aws.credentials import Credentials, SessionProvider
    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._protocol.models import Timeouts
    from aiosmrt._protocol.request_head import HeadWriter
    from aiosmrt._protocol.serialize import SerializedRequest
    from aiosmrt._transport import Transport
    from aiosmrt.instrumentation._watch import CallWatch

__all__ = ["Caller", "Finish"]

_T = TypeVar("_T")
Finish = Callable[[Exchange, ResponseMetadata], Awaitable[_T]]
"""Makes the output of a successful response; it owns the exchange from then on."""

_logger = logging.getLogger("aiosmrt")

# SHA-256 of this much takes some 0.2 to 0.6 ms: longer and the loop would notice.
_HASH_OFF_LOOP = 262_144
# An error's body is a short JSON object; a proxy's page may be anything.
_ERROR_BODY_LENGTH = 65_536
# The service refuses dates that are 5 minutes off; a smaller gap is not the cause.
_SKEW_SECONDS = 240.0
_SKEW_CODES = frozenset(
    {"RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch"}
)


class _Call:
    """What one call keeps over its attempts."""

    __slots__ = (
        "attempt",
        "body_hash",
        "credentials",
        "date",
        "deadline",
        "invocation_id",
        "mended",
        "offset",
        "policy",
        "request",
        "retry_after",
        "timeouts",
        "watch",
        "written",
    )

    def __init__(
        self,
        request: SerializedRequest,
        body_hash: str,
        timeouts: Timeouts,
        policy: RetryPolicy,
        deadline: float | None,
    ) -> None:
        self.request = request
        self.body_hash = body_hash
        self.timeouts = timeouts
        self.policy = policy
        self.deadline = deadline
        self.watch: CallWatch | None = None
        self.invocation_id = _random_uuid()
        self.attempt = 0
        # Of the last attempt: whether it got as far as a request, what that was signed
        # with, and what the answer's head said.
        self.written = False
        self.credentials: Credentials | None = None
        self.offset = 0.0
        self.retry_after: str | None = None
        self.date: str | None = None
        # Which single repairs (clock, credentials) were made already.
        self.mended: tuple[str, ...] = ()


class Caller:
    """Makes calls; one for a session.

    Args:
        transport: The connections.
        heads: Writes and signs the head of each attempt.
        provider: Gives the credentials of each attempt.
    """

    def __init__(self, transport: Transport, heads: HeadWriter, provider: SessionProvider) -> None:
        self._transport = transport
        self._heads = heads
        self._provider = provider
        self._keeps_credentials = isinstance(provider, CachingProvider)
        self._quota = RetryQuota()
        self._limiter = AdaptiveLimiter(time.monotonic())
        self._pace_lock = asyncio.Lock()

    async def call(
        self,
        request: SerializedRequest,
        finish: Finish[_T],
        *,
        timeouts: Timeouts,
        policy: RetryPolicy,
        failed: Callable[[AiosmrtError], None] | None = None,
        watch: CallWatch | None = None,
    ) -> _T:
        """Makes one call, with as many attempts as its policy grants.

        Args:
            request: What to send.
            finish: Makes the output; its errors count as the attempt's.
            timeouts: The call's time limits.
            policy: The call's retry policy.
            failed: Told of each failed attempt, at once: who steers by what the service
                bears cannot wait until the retries are used up.
            watch: Told of each attempt, where instrumentation follows the call.

        Returns:
            What ``finish`` returned.

        Raises:
            AiosmrtError: The last attempt's, with operation, endpoint and attempts.
        """
        loop = asyncio.get_running_loop()
        deadline = None if timeouts.total is None else loop.time() + timeouts.total
        body = request.body
        if len(body) < _HASH_OFF_LOOP:
            body_hash = hashlib.sha256(body).hexdigest()
        else:
            body_hash = await loop.run_in_executor(None, _hash, body)
        call = _Call(request, body_hash, timeouts, policy, deadline)
        call.watch = watch
        retries = CallRetries(policy, self._quota, self._limiter)
        while True:
            call.attempt += 1
            call.written = False
            try:
                if retries.limiter is not None:
                    await self._pace(retries.limiter, call)
                if watch is not None:
                    watch.attempt(call.attempt)
                output = await self._attempt(call, finish)
            except AiosmrtError as error:
                _describe(error, call)
                if watch is not None:
                    watch.failed(error)
                if failed is not None:
                    failed(error)
                delay = await self._next_delay(error, call, retries)
                if watch is not None:
                    watch.retry(delay)
                await self._transport.sleep(delay)
            else:
                retries.succeeded(now=time.monotonic())
                return output

    async def _next_delay(self, error: AiosmrtError, call: _Call, retries: CallRetries) -> float:
        """The seconds to sleep until the next attempt; raises the error where there is none."""
        if call.policy.max_attempts > 1 and await self._mend(error, call):
            return 0.0
        remaining = _remaining(call)
        decision = retries.decide(
            error, now=time.monotonic(), retry_after=call.retry_after, remaining=remaining
        )
        if decision.delay is None:
            error.retry_stopped = error.retry_stopped or decision.reason
            raise error
        _logger.debug(
            "%s %s: attempt %d failed (%s), the next in %.3f s",
            error.operation,
            error.endpoint_name,
            call.attempt,
            type(error).__name__,
            decision.delay,
        )
        return decision.delay

    async def _mend(self, error: AiosmrtError, call: _Call) -> bool:
        """Removes the cause of an error, where that can be done once: clock, credentials."""
        if not isinstance(error, ServiceError):
            return False
        if error.code in _SKEW_CODES and "clock" not in call.mended:
            call.mended += ("clock",)
            return self._learn_clock(call)
        if isinstance(error, ExpiredTokenException) and "credentials" not in call.mended:
            call.mended += ("credentials",)
            return await self._renew_credentials(error, call)
        return False

    async def _renew_credentials(self, error: AiosmrtError, call: _Call) -> bool:
        stale = call.credentials
        if stale is None:
            return False
        try:
            return await self._within(call, self._provider.refresh(stale)) != stale
        except AiosmrtError as failure:
            _logger.warning("the credentials have expired, and renewing them failed: %s", failure)
            error.retry_stopped = "the credentials could not be renewed"
            return False

    def _learn_clock(self, call: _Call) -> bool:
        """Takes the service's clock for ours, if they differ enough to be the cause."""
        if call.date is None:
            return False
        try:
            theirs = parsedate_to_datetime(call.date).timestamp()
        except (TypeError, ValueError, OverflowError):
            return False
        offset = theirs - time.time()
        # Beside what this request was signed with: another call may have learnt it meanwhile.
        if abs(offset - call.offset) < _SKEW_SECONDS:
            return False
        if abs(offset - self._heads.signer.offset_seconds) >= _SKEW_SECONDS:
            _logger.warning("this machine's clock is %.0f s off the service's; corrected", -offset)
            self._heads.signer.offset_seconds = offset
        return True

    async def _pace(self, limiter: AdaptiveLimiter, call: _Call) -> None:
        """Waits for the adaptive mode's leave to send, in the order of asking."""
        if not limiter.enabled:
            return
        try:
            await self._transport.wait_for(self._take_token(limiter), _remaining(call))
        except asyncio.TimeoutError:
            text = "Adaptive retries held the request back until Timeouts.total ran out"
            raise DeadlineExceededError(text, host=self._transport.host) from None

    async def _take_token(self, limiter: AdaptiveLimiter) -> None:
        async with self._pace_lock:
            delay = limiter.acquire(time.monotonic())
            while delay:
                await asyncio.sleep(delay)
                delay = limiter.acquire(time.monotonic())

    async def _within(self, call: _Call, waiting: Coroutine[Any, Any, Credentials]) -> Credentials:
        """Awaits credentials, no longer than the call may last."""
        try:
            return await self._transport.wait_for(waiting, _remaining(call))
        except asyncio.TimeoutError:
            text = "Timeouts.total ran out while the credentials provider was waited for"
            raise DeadlineExceededError(text, host=self._transport.host) from None

    async def _attempt(self, call: _Call, finish: Finish[_T]) -> _T:
        started = time.perf_counter()
        call.retry_after = call.date = None
        exchange = None
        try:
            try:
                exchange = await self._exchange(call, fresh=False)
            except StaleConnectionError:
                # The service closes idle connections without a word, and the request
                # met the closing on its way: this is no further attempt.
                exchange = await self._exchange(call, fresh=True)
            if call.watch is not None:
                call.watch.responded(exchange)
            headers = exchange.headers
            metadata = ResponseMetadata(
                request_id=request_id(headers),
                status_code=exchange.status_code,
                headers=headers,
                attempts=call.attempt,
            )
            if not 200 <= exchange.status_code < 300:
                call.retry_after = headers.get(RETRY_AFTER_HEADER)
                call.date = headers.get("Date")
                body = await _error_body(exchange, call.timeouts.idle)
                raise parse_error(exchange.status_code, headers, body, attempts=call.attempt)
            output = await finish(exchange, metadata)
        except BaseException as error:
            if exchange is not None:
                exchange.close()
                if isinstance(error, AiosmrtError):
                    error.request_id = request_id(exchange.headers)
            self._log(call, exchange, started, type(error).__name__)
            raise
        self._log(call, exchange, started, "ok")
        return output

    def _log(self, call: _Call, exchange: Exchange | None, started: float, how: str) -> None:
        if _logger.isEnabledFor(logging.DEBUG):
            head = call.request.head
            _logger.debug(
                "%s %s: attempt %d, status %s, request id %s, %.1f ms, %s",
                head.operation.name,
                head.endpoint_name,
                call.attempt,
                exchange.status_code if exchange else None,
                request_id(exchange.headers) if exchange else None,
                (time.perf_counter() - started) * 1000,
                how,
            )

    async def _exchange(self, call: _Call, *, fresh: bool) -> Exchange:
        """A connection on which the request was sent and the response's head has come."""
        timeouts = call.timeouts
        if self._keeps_credentials and self._provider.current() is None:
            # Before a connection is taken, which would grow old while they are fetched.
            await self._within(call, self._provider.get_credentials())
        exchange = await self._transport.acquire(
            deadline=call.deadline,
            connect=timeouts.connect,
            fresh=fresh,
            waited=None if call.watch is None else call.watch.waited,
        )
        try:
            credentials = self._provider.current()
            if credentials is None:
                credentials = await self._within(call, self._provider.get_credentials())
            call.credentials = credentials
            call.offset = self._heads.signer.offset_seconds
            # The date of the signature is that of the writing: nothing waits in between.
            call.written = True
            await exchange.send(
                self._head(call, credentials), call.request.body, read=timeouts.read
            )
        except BaseException:
            exchange.close()
            raise
        return exchange

    def _head(self, call: _Call, credentials: Credentials) -> bytes:
        """The request's head, signed now."""
        request = call.request
        # A cold model is asked for longer than the attempts go.
        most = max(call.attempt, call.policy.max_attempts)
        return self._heads.write(
            request.head,
            invocation_id=call.invocation_id,
            request=f"attempt={call.attempt}; max={most}",
            body_hash=call.body_hash,
            body_length=len(request.body),
            credentials=credentials,
            more="" if call.watch is None else call.watch.header_lines(),
        )


def _random_uuid() -> str:
    """A UUID of version 4, at a third of the cost of `uuid.uuid4`, which goes by an int."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


def _hash(body: bytes | bytearray | memoryview) -> str:
    return hashlib.sha256(body).hexdigest()


def _remaining(call: _Call) -> float | None:
    if call.deadline is None:
        return None
    return max(call.deadline - asyncio.get_running_loop().time(), 0.0)


def _describe(error: AiosmrtError, call: _Call) -> None:
    """Adds what only the call knows."""
    head = call.request.head
    error.operation = head.operation.name
    error.endpoint_name = head.endpoint_name
    tried = call.written or isinstance(error, (ConnectError, ConnectTimeoutError))
    error.attempts = call.attempt if tried else call.attempt - 1
    if isinstance(error, (DeadlineExceededError, PoolTimeoutError)):
        error.total = call.timeouts.total


async def _error_body(exchange: Exchange, idle: float | None) -> bytes:
    """As much of an error's body as can be had: the status is known, and counts for more."""
    body = b""
    try:
        while len(body) < _ERROR_BODY_LENGTH and (chunk := await exchange.receive(idle)):
            body += chunk
    except (TransportError, EventStreamError):
        pass
    exchange.release()
    return body
