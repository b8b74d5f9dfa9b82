"""The operations from request to output: what `Session` gives its names and parameters to."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from aiosmrt._aws.retries import RetryPolicy
from aiosmrt._client.call import Call
from aiosmrt._protocol.models import Timeouts
from aiosmrt._protocol.operations import SYNC_BODY_LENGTH
from aiosmrt._protocol.serialize import name_call
from aiosmrt._values import is_integer
from aiosmrt.errors import ConfigurationError, ParameterValidationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmrt._client.call import Channel
    from aiosmrt._client.streaming import ResponseStream
    from aiosmrt._protocol.models import PayloadPart, ResponseMetadata
    from aiosmrt._protocol.serialize import SerializedRequest
    from aiosmrt._threads import Threads
    from aiosmrt._transport import Exchange
    from aiosmrt._transport.lifetime import Lifetime
    from aiosmrt.errors import AiosmrtError
    from aiosmrt.instrumentation._watch import CallWatcher

__all__ = ["Client", "check_count", "check_type"]

_T = TypeVar("_T")

_logger = logging.getLogger("aiosmrt")


@attrs.define(eq=False, kw_only=True)
class Client:
    """Makes calls with a session's defaults.

    Attributes:
        channel: The way to the service.
        timeouts: For calls without limits of their own.
        retries: For calls without a policy of their own.
        max_body_length: The most bytes of a body, in and out; None for no limit.
        watcher: Follows the calls; None where there is no instrumentation.
    """

    channel: Channel
    timeouts: Timeouts
    retries: RetryPolicy
    max_body_length: int | None
    watcher: CallWatcher | None
    _has_warned_of_length: bool = attrs.field(default=False, init=False)

    async def invoke(
        self,
        request: SerializedRequest,
        parse: Callable[[bytes, ResponseMetadata], _T],
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        *,
        failed: Callable[[AiosmrtError], None] | None = None,
    ) -> _T:
        """Makes a call whose answer is read whole, and made an output by ``parse``.

        See `Session.invoke_endpoint`, and `Call` for ``failed``.
        """
        self._check_length(request)
        limits, policy = self._choose(timeouts, retries)

        async def finish(exchange: Exchange, metadata: ResponseMetadata) -> _T:
            join = self.channel.join
            return parse(await exchange.read(limits.idle, self.max_body_length, join), metadata)

        watch = None if self.watcher is None else self.watcher.begin(request)
        call = Call(self.channel, request, finish, limits, policy, failed=failed, watch=watch)
        return await (call.run() if watch is None else watch.until_end(call.run()))

    async def open_stream(
        self,
        request: SerializedRequest,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        *,
        require_terminal: Callable[[PayloadPart], bool] | None = None,
        failed: Callable[[AiosmrtError], None] | None = None,
    ) -> ResponseStream:
        """Makes a streaming call up to the response's head."""
        # Not at the module's head: a call without a stream needs no codec.
        from aiosmrt._client.streaming import ResponseStream

        started = time.perf_counter()
        self._check_length(request)
        limits, policy = self._choose(timeouts, retries)

        async def finish(exchange: Exchange, metadata: ResponseMetadata) -> ResponseStream:
            exchange.without_deadline()
            return ResponseStream(
                exchange,
                metadata,
                request.head.endpoint_name,
                idle=limits.idle,
                started=started,
                max_length=self.max_body_length,
                join=partial(_join, self.channel.threads, self.channel.lifetime),
                require_terminal=require_terminal,
                watch=watch,
            )

        watch = None if self.watcher is None else self.watcher.begin(request)
        call = Call(self.channel, request, finish, limits, policy, failed=failed, watch=watch)
        return await (call.run() if watch is None else watch.until_head(call.run()))

    def _choose(
        self, timeouts: Timeouts | None, retries: RetryPolicy | None
    ) -> tuple[Timeouts, RetryPolicy]:
        """A call's own limits and policy, else the session's."""
        if timeouts is None:
            timeouts = self.timeouts
        else:
            check_type("timeouts", timeouts, Timeouts)
        if retries is None:
            retries = self.retries
        else:
            check_type("retries", retries, RetryPolicy)
        return timeouts, retries

    def _check_length(self, request: SerializedRequest) -> None:
        length = len(request.body)
        if self.max_body_length is not None and length > self.max_body_length:
            rule = f"must be at most max_body_length={self.max_body_length} bytes"
            error = ParameterValidationError("body", rule, length=length)
            name_call(error, request.head.operation, request.head.endpoint_name)
            raise error
        if length > SYNC_BODY_LENGTH and not self._has_warned_of_length:
            self._has_warned_of_length = True
            _logger.warning(
                "a request body of %d bytes is over the service's usual limit of %d; an endpoint "
                "without a raised limit answers such a request by closing the connection",
                length,
                SYNC_BODY_LENGTH,
            )


async def _join(threads: Threads, lifetime: Lifetime, pieces: list[bytes]) -> bytes:
    """Joins a stream's parts. The stream keeps this, and must not keep the connections alive."""
    return await threads.join(pieces, partial(lifetime.wait_for, seconds=None))


def check_type(name: str, value: object, *types: type) -> None:
    """Raises ConfigurationError for an option of a wrong type, before it is used."""
    if not isinstance(value, types):
        wanted = " or ".join("None" if cls is type(None) else cls.__name__ for cls in types)
        raise ConfigurationError(f"{name} must be {wanted}, not {type(value).__name__}")


def check_count(name: str, value: object) -> None:
    """Raises ConfigurationError for an option that is no integer of at least 1."""
    if not is_integer(value) or value < 1:
        raise ConfigurationError(f"{name} must be an integer of at least 1, not {value!r}")
