"""Faults to order: what goes wrong, with which requests, how often."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from aiohttp import web

from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    import random

__all__ = ["FAULT_HEADER", "BodyWriter", "Fault", "Faults", "Injection", "send_bent"]

# The request header that orders a fault for its own request, in `--faults` mode.
FAULT_HEADER = "x-aiosmrt-fault"

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
}
_DRIPS_A_SECOND = 20


@attrs.frozen(kw_only=True)
class Fault:
    """What goes wrong with one request.

    Attributes:
        latency: Seconds before anything is done with it.
        error: The code of the error that is answered in the model's place; None for none.
        status_code: The error's HTTP status; None is the service's own of that code.
        stale_close: Whether the connection is closed behind the answer, which did not
            say so.
        cut_at: How many bytes of the body are sent before the connection is closed.
        corrupt_frame: Which message of an event stream is damaged, from 0.
        drip: Bytes a second that the body is sent with at most.

    Raises:
        ConfigurationError: A number is below 0, or the error's status is not known.
    """

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
            if value is not None and not value >= 0:
                raise ConfigurationError(f"a fault's {name} must be 0 or more")
        if self.error is not None and self.error_status is None:
            raise ConfigurationError(f"a fault's error {self.error} needs a status_code")
        if self.drip == 0:
            raise ConfigurationError("a fault's drip must be above 0")

    @property
    def error_status(self) -> int | None:
        """The HTTP status of its error."""
        return self.status_code or _STATUSES.get(self.error or "")

    @property
    def bends_the_body(self) -> bool:
        """Whether the body is not simply written."""
        return self.cut_at is not None or self.drip is not None

    def joined_with(self, other: Fault) -> Fault:
        """Both at once; of two that say different things, this one's."""
        return Fault(
            latency=self.latency + other.latency,
            error=self.error or other.error,
            status_code=self.status_code if self.error else other.status_code,
            stale_close=self.stale_close or other.stale_close,
            cut_at=other.cut_at if self.cut_at is None else self.cut_at,
            corrupt_frame=other.corrupt_frame if self.corrupt_frame is None else self.corrupt_frame,
            drip=other.drip if self.drip is None else self.drip,
        )

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Reads a header: ``error=ThrottlingException, latency=0.5, stale_close``.

        Raises:
            ConfigurationError: It names what is no fault, or a value of the wrong kind.
        """
        values: dict[str, object] = {}
        for item in filter(None, [part.strip() for part in text.split(",")]):
            name, _, value = item.partition("=")
            kind = _KINDS.get(name)
            if kind is None:
                raise ConfigurationError(f"no fault is called {name!r}: {', '.join(_KINDS)}")
            try:
                values[name] = True if kind is bool else kind(value)
            except ValueError:
                raise ConfigurationError(f"{value!r} is no value of the fault {name}") from None
        return cls(**values)  # type: ignore[arg-type]  # of the kinds that _KINDS names


_KINDS = {
    "latency": float,
    "error": str,
    "status_code": int,
    "stale_close": bool,
    "cut_at": int,
    "corrupt_frame": int,
    "drip": float,
}


class Injection:
    """A fault that was ordered, until it is removed.

    Attributes:
        fault: What goes wrong.
        count: How many requests it has struck.

    Raises:
        ConfigurationError: A number is out of its range.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        endpoint_name: str | None,
        operation: str | None,
        probability: float,
        times: int | None,
        above_rate: float | None,
    ) -> None:
        if not 0 <= probability <= 1:
            raise ConfigurationError("a fault's probability must be from 0 to 1")
        if times is not None and times < 0:
            raise ConfigurationError("a fault's times must be 0 or more")
        if above_rate is not None and not above_rate > 0:
            raise ConfigurationError("a fault's above_rate must be above 0")
        self.fault = fault
        self.count = 0
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


class Faults:
    """The faults that are ordered.

    Args:
        chance: What decides by probability.
        obeys_header: Whether requests may order faults for themselves.
    """

    def __init__(self, chance: random.Random, *, obeys_header: bool) -> None:
        self._chance = chance
        self._obeys_header = obeys_header
        self._injections: list[Injection] = []

    def add(self, injection: Injection) -> None:
        """Orders a fault."""
        self._injections = [each for each in self._injections if not each.is_spent]
        self._injections.append(injection)

    def strike(self, operation: str, endpoint_name: str | None, header: str | None) -> Fault | None:
        """What goes wrong with a request.

        Args:
            operation: The operation.
            endpoint_name: The endpoint that it calls.
            header: What it orders for itself.

        Raises:
            ConfigurationError: The header makes no sense.
        """
        struck = Fault.parse(header) if header is not None and self._obeys_header else None
        for injection in self._injections:
            if injection.strikes(operation, endpoint_name, self._chance):
                fault = injection.fault
                struck = fault if struck is None else struck.joined_with(fault)
        return struck


class BodyWriter:
    """Writes a body as a fault bends it.

    Args:
        fault: The fault.
        response: Where the body is written.
        transport: The connection, which a cut closes.
    """

    def __init__(
        self, fault: Fault, response: web.StreamResponse, transport: asyncio.Transport | None
    ) -> None:
        self._fault = fault
        self._response = response
        self._transport = transport
        self._left = fault.cut_at

    async def write(self, data: bytes) -> None:
        """Writes some of the body.

        Raises:
            ConnectionResetError: It was cut here, or the client has gone.
        """
        is_cut = self._left is not None and len(data) >= self._left
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        if self._fault.drip is None:
            await self._response.write(data)
        else:
            await self._drip(data, self._fault.drip)
        if is_cut:
            if self._transport is not None:
                self._transport.close()
            raise ConnectionResetError("cut off by a fault")

    async def _drip(self, data: bytes, rate: float) -> None:
        step = max(int(rate / _DRIPS_A_SECOND), 1)
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            await self._response.write(piece)
            await asyncio.sleep(len(piece) / rate)


async def send_bent(
    request: web.BaseRequest, response: web.StreamResponse, fault: Fault
) -> web.StreamResponse:
    """Sends a response as a fault wants it.

    Args:
        request: The request that is answered.
        response: A whole response, or a stream that has been sent already.
        fault: The fault.

    Returns:
        What the server's handler returns.
    """
    if isinstance(response, web.Response) and isinstance(response.body, bytes):
        body = response.body
        whole, response = response, web.StreamResponse(status=response.status)
        response.headers.update(whole.headers)
        response.content_length = len(body)
        await response.prepare(request)
        with suppress(ConnectionError):
            await BodyWriter(fault, response, request.transport).write(body)
            await response.write_eof()
    if fault.stale_close and request.transport is not None:
        request.transport.close()
    return response
