"""One call from its request to its output, over as many attempts as its policy grants.

Each attempt takes a connection, signs, and ends in an output or in an AiosmrtError; the
policy in `aiosmrt._aws.retries` says what follows an error.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from aiosmrt._aws.credentials import CachingProvider, in_own_task
from aiosmrt._aws.limiter import AdaptiveLimiter, RetryQuota
from aiosmrt._aws.retries import RETRY_AFTER_HEADER, CallRetries
from aiosmrt._protocol.deserialize import parse_error, request_id
from aiosmrt._protocol.http_dates import parse_http_date
from aiosmrt._protocol.models import ResponseMetadata
from aiosmrt._protocol.serialize import add_call
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
    from aiosmrt._aws.credentials import Credentials, SessionProvider
    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._protocol.models import Timeouts
    from aiosmrt._protocol.request_head import HeadWriter
    from aiosmrt._protocol.serialize import SerializedRequest
    from aiosmrt._threads import Late, Threads
    from aiosmrt._transport import Lifetime, Transport
    from aiosmrt.instrumentation._watch import CallWatch

__all__ = ["Call", "Channel", "Finish"]

_T = TypeVar("_T")
_V = TypeVar("_V")
Finish = Callable[[Exchange, ResponseMetadata], Awaitable[_T]]
"""Makes the output of a successful response, and owns the exchange from then on."""

_logger = logging.getLogger("aiosmrt")

# SHA-256 of this much takes 0.2 to 0.6 ms: hashing more would hold the loop up.
_HASH_OFF_LOOP = 262_144
# An error's body is a short JSON object; a proxy's page may be anything.
_ERROR_BODY_LENGTH = 65_536
_SKEW_CODES = frozenset(
    {"RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch"}
)


def _random_uuid() -> str:
    """Returns a UUID of version 4, at a third of the cost of `uuid.uuid4`."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"


@attrs.define(eq=False)
class Channel:
    """What the calls of a session share on their way to one host.

    Attributes:
        transport: The connections.
        heads: Where the writer comes from that writes and signs the head of each attempt.
        provider: Gives the credentials of each attempt.
        lifetime: Ends waits with the session.
        threads: For work that would hold the loop up.
        quota: The tokens that retries take.
        limiter: The send rate in adaptive mode.
    """

    transport: Transport
    heads: Late[HeadWriter]
    provider: SessionProvider
    lifetime: Lifetime
    threads: Threads
    quota: RetryQuota = attrs.field(factory=RetryQuota, init=False)
    limiter: AdaptiveLimiter = attrs.field(
        factory=lambda: AdaptiveLimiter(time.monotonic()), init=False
    )
    _pace_lock: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    async def join(self, pieces: list[bytes], deadline: float | None) -> bytes:
        """Joins the pieces of an answer; the session's end ends the wait for a thread.

        Args:
            pieces: The pieces.
            deadline: When the call ends, by the loop's clock; None for never.

        Raises:
            DeadlineExceededError: The deadline passed.
            TransportError: The session was closed.
        """
        return await self.threads.join(pieces, partial(self._until, deadline))

    async def _until(self, deadline: float | None, joining: Awaitable[bytes]) -> bytes:
        seconds = None if deadline is None else deadline - asyncio.get_running_loop().time()
        try:
            return await self.lifetime.wait_for(joining, seconds)
        except asyncio.TimeoutError:
            text = "The answer's body was being joined until Timeouts.total ran out"
            raise DeadlineExceededError(text, host=self.transport.host) from None

    async def pace(self) -> None:
        """Waits until the adaptive mode lets the next request go, in the order of asking."""
        async with self._pace_lock:
            while delay := self.limiter.acquire(time.monotonic()):  # noqa: ASYNC110 - it grows
                await asyncio.sleep(delay)


class Call(Generic[_T]):
    """One call.

    Args:
        channel: The way to the service.
        request: What to send.
        finish: Makes the output; its errors count as the attempt's.
        timeouts: The call's time limits.
        policy: The call's retry policy.
        failed: Called with the error of each failed attempt, at once: whoever steers by
            what the service bears cannot wait until the retries are used up.
        watch: Follows the attempts; None where there is no instrumentation.
    """

    __slots__ = (
        "_body_hash",
        "_channel",
        "_credentials",
        "_deadline",
        "_failed",
        "_finish",
        "_has_crossed",
        "_invocation_id",
        "_metadata",
        "_number",
        "_offset",
        "_policy",
        "_repairs",
        "_request",
        "_timeouts",
        "_watch",
    )

    def __init__(
        self,
        channel: Channel,
        request: SerializedRequest,
        finish: Finish[_T],
        timeouts: Timeouts,
        policy: RetryPolicy,
        *,
        failed: Callable[[AiosmrtError], None] | None = None,
        watch: CallWatch | None = None,
    ) -> None:
        self._channel = channel
        self._request = request
        self._finish = finish
        self._timeouts = timeouts
        self._policy = policy
        self._failed = failed
        self._watch = watch
        self._invocation_id = _random_uuid()
        self._body_hash = ""
        self._deadline: float | None = None
        # The repairs that were made already, each of which is made once.
        self._repairs: tuple[str, ...] = ()
        # The attempt under way: its number, the credentials and the clock's offset that its
        # request was signed with, and the facts of its response's head.
        self._number = 0
        self._credentials: Credentials | None = None
        self._metadata: ResponseMetadata | None = None
        # Whether the attempt before crossed the closing of its connection: others that are
        # idle may have been closed with that.
        self._has_crossed = False

    async def run(self) -> _T:
        """Makes the call: an attempt, and further ones for as long as the policy grants them.

        Raises:
            AiosmrtError: The last attempt's, with operation, endpoint and attempts.
        """
        body, total = self._request.body, self._timeouts.total
        if total is not None:
            self._deadline = asyncio.get_running_loop().time() + total
        if len(body) < _HASH_OFF_LOOP:
            self._body_hash = hashlib.sha256(body).hexdigest()
        retries = CallRetries(self._policy, self._channel.quota, self._channel.limiter)
        while True:
            try:
                output = await self._attempt(retries.limiter)
            except AiosmrtError as error:
                await self._prepare_next(error, retries)
            else:
                retries.succeeded(now=time.monotonic())
                return output

    async def _prepare_next(self, error: AiosmrtError, retries: CallRetries) -> None:
        """Reports a failed attempt, and waits until the next one may begin.

        Raises:
            AiosmrtError: The same error, where there is no further attempt.
        """
        self.describe(error)
        if self._watch is not None:
            self._watch.failed(error)
        if self._failed is not None and not self._has_crossed:  # which shows no congestion
            self._failed(error)
        delay = await self._next_delay(error, retries)
        if self._watch is not None:
            self._watch.retry(delay)
        if delay:
            await self._channel.lifetime.sleep(delay)

    @property
    def remaining(self) -> float | None:
        """The seconds left of ``Timeouts.total``, None without that limit; none left below 0."""
        if self._deadline is None:
            return None
        return self._deadline - asyncio.get_running_loop().time()

    def describe(self, error: AiosmrtError) -> None:
        """Adds the facts of the call to an error."""
        head = self._request.head
        # Credentials are taken as a request is about to be written.
        was_tried = self._credentials is not None or isinstance(
            error, (ConnectError, ConnectTimeoutError)
        )
        add_call(
            error,
            head.operation.name,
            head.endpoint_name,
            attempts=self._number if was_tried else self._number - 1,
            request_id=None if self._metadata is None else self._metadata.request_id,
        )
        if isinstance(error, (DeadlineExceededError, PoolTimeoutError)):
            error.total = self._timeouts.total

    async def _attempt(self, limiter: AdaptiveLimiter | None) -> _T:
        """Makes one attempt: on a connection and with credentials that are there, if they are."""
        self._number += 1
        self._credentials = self._metadata = None
        started = time.perf_counter()
        channel = self._channel
        watch = self._watch
        if not self._body_hash or (limiter is not None and limiter.enabled):
            await self._prepare(limiter)
        if watch is not None:
            watch.attempt(self._number)
        exchange = None
        try:
            heads = channel.heads.value
            # A closed session does not ask for credentials: that may begin a fetch.
            credentials = None if channel.lifetime.is_closed else channel.provider.current()
            fresh, self._has_crossed = self._has_crossed, False
            if heads is not None and credentials is not None and not fresh:
                exchange = channel.transport.take(self._deadline)
            if exchange is None or heads is None or credentials is None:
                exchange, heads, credentials = await self._connect(fresh=fresh)
            body, read = self._request.body, self._timeouts.read
            try:
                # The date of the signature is that of the writing: nothing waits in between.
                await exchange.send(self._head(heads, credentials), body, read=read)
            except StaleConnectionError:
                # Nobody has read the request: this is not a further attempt.
                exchange = None  # what comes next is no crossing
                exchange, heads, credentials = await self._connect(fresh=True)
                await exchange.send(self._head(heads, credentials), body, read=read)
            if watch is not None:
                watch.responded(exchange)
            headers = exchange.headers
            self._metadata = metadata = ResponseMetadata(
                request_id=request_id(headers),
                status_code=exchange.status_code,
                headers=headers,
                attempts=self._number,
            )
            if exchange.status_code >= 300:
                told = await _error_body(exchange, self._timeouts.idle)
                raise parse_error(exchange.status_code, headers, told, attempts=self._number)
            output = await self._finish(exchange, metadata)
        except BaseException as error:
            if exchange is not None:
                self._has_crossed = exchange.has_crossed
                exchange.close()
            if _logger.isEnabledFor(logging.DEBUG):
                self._log(started, type(error).__name__)
            raise
        if _logger.isEnabledFor(logging.DEBUG):
            self._log(started, "ok")
        return output

    async def _prepare(self, limiter: AdaptiveLimiter | None) -> None:
        """Waits for what comes before an attempt: a large body's hash, and the adaptive rate."""
        channel = self._channel
        if not self._body_hash:
            hashing = channel.threads.run(_hash, self._request.body)
            self._body_hash = await self._within(hashing, "The body was being hashed")
        if limiter is not None and limiter.enabled:
            await self._within(channel.pace(), "Adaptive retries held the request back")

    async def _connect(self, *, fresh: bool) -> tuple[Exchange, HeadWriter, Credentials]:
        """Waits for a connection, and for what signs the request on it."""
        channel = self._channel
        channel.lifetime.check_open()
        provider = channel.provider
        heads: HeadWriter | None = channel.heads.value
        making = channel.heads.begin() if heads is None else None
        if isinstance(provider, CachingProvider) and provider.current() is None:
            # A connection that is taken first would age while credentials are fetched.
            await self._fetch_credentials()
        exchange = await channel.transport.acquire(
            deadline=self._deadline,
            connect=self._timeouts.connect,
            fresh=fresh,
            waited=None if self._watch is None else self._watch.waited,
        )
        try:
            if heads is None:
                heads = await self._within(
                    channel.heads.get(making), "The signer's import was waited for"
                )
                channel.lifetime.check_open()  # before another fetch begins
            credentials = provider.current()
            if credentials is None:
                credentials = await self._fetch_credentials()
        except BaseException:
            exchange.close()
            raise
        return exchange, heads, credentials

    def _head(self, heads: HeadWriter, credentials: Credentials) -> bytes:
        """Writes the request's head, signed now."""
        request = self._request
        self._credentials = credentials
        self._offset = heads.signer.offset_seconds
        # A cold model is asked for longer than the attempts go.
        most = max(self._number, self._policy.max_attempts)
        return heads.write(
            request.head,
            invocation_id=self._invocation_id,
            request=f"attempt={self._number}; max={most}",
            body_hash=self._body_hash,
            body_length=len(request.body),
            credentials=credentials,
            more="" if self._watch is None else self._watch.header_lines(),
        )

    async def _fetch_credentials(self) -> Credentials:
        fetching = in_own_task(self._channel.provider.get_credentials)
        return await self._within(fetching, "The credentials provider was waited for")

    async def _within(self, waiting: Awaitable[_V], what: str) -> _V:
        """Awaits one step of an attempt, no longer than the call may last."""
        try:
            return await self._channel.lifetime.wait_for(waiting, self.remaining)
        except AiosmrtError:
            raise  # a ReadTimeoutError of the provider's is a TimeoutError too
        except asyncio.TimeoutError:
            text = f"{what} until Timeouts.total ran out"
            raise DeadlineExceededError(text, host=self._channel.transport.host) from None

    async def _next_delay(self, error: AiosmrtError, retries: CallRetries) -> float:
        """Returns the seconds until the next attempt; raises the error where there is none."""
        if self._policy.max_attempts > 1 and await self._repair(error):
            return 0.0
        decision = retries.decide(
            error,
            now=time.monotonic(),
            retry_after=self._header(RETRY_AFTER_HEADER),
            remaining=self.remaining,
            has_crossed=self._has_crossed,
        )
        if decision.delay is None:
            error.retry_stopped = error.retry_stopped or decision.reason
            raise error
        _logger.debug(
            "%s %s: attempt %d failed (%s), the next in %.3f s",
            error.operation,
            error.endpoint_name,
            self._number,
            type(error).__name__,
            decision.delay,
        )
        return decision.delay

    def _header(self, name: str) -> str | None:
        """Returns a header of the attempt's response."""
        return None if self._metadata is None else self._metadata.headers.get(name)

    async def _repair(self, error: AiosmrtError) -> bool:
        """Removes the cause of an error where that can be done: the clock, the credentials."""
        if not isinstance(error, ServiceError):
            return False
        if error.code in _SKEW_CODES and "clock" not in self._repairs:
            self._repairs += ("clock",)
            return self._learn_clock()
        if isinstance(error, ExpiredTokenException) and "credentials" not in self._repairs:
            self._repairs += ("credentials",)
            return await self._renew_credentials(error)
        return False

    async def _renew_credentials(self, error: AiosmrtError) -> bool:
        stale = self._credentials
        if stale is None:
            return False
        renewing = in_own_task(partial(self._channel.provider.refresh, stale))
        try:
            renewed = await self._within(renewing, "The credentials provider was waited for")
        except AiosmrtError as failure:
            _logger.warning("the credentials have expired, and renewing them failed: %s", failure)
            error.retry_stopped = "the credentials could not be renewed"
            return False
        return renewed != stale

    def _learn_clock(self) -> bool:
        """Takes the service's clock for ours if the two differ enough to be the cause."""
        date, heads = self._header("Date"), self._channel.heads.value
        theirs = None if date is None else parse_http_date(date)
        if theirs is None or heads is None:
            return False
        return heads.signer.learn_clock(theirs, signed_with=self._offset)

    def _log(self, started: float, how: str) -> None:
        head, metadata = self._request.head, self._metadata
        _logger.debug(
            "%s %s: attempt %d, status %s, request id %s, %.1f ms, %s",
            head.operation.name,
            head.endpoint_name,
            self._number,
            None if metadata is None else metadata.status_code,
            None if metadata is None else metadata.request_id,
            (time.perf_counter() - started) * 1000,
            how,
        )


def _hash(body: bytes | bytearray | memoryview) -> str:
    return hashlib.sha256(body).hexdigest()


async def _error_body(exchange: Exchange, idle: float | None) -> bytes:
    """Reads as much of an error's body as comes: the status is known, and counts for more."""
    body = b""
    try:
        while len(body) < _ERROR_BODY_LENGTH and (chunk := await exchange.receive(idle)):
            body += chunk
    except (TransportError, EventStreamError):
        pass
    exchange.release()
    return body
