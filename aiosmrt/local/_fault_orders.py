"""The faults that are ordered: by the endpoint's owner, and by requests for themselves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from aiosmrt.errors import ConfigurationError
from aiosmrt.local._faults import Fault, Injection

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from multidict import CIMultiDictProxy

__all__ = ["Faults"]

# Not one of x-amz-*, which must be signed: whatever adds it may do so behind the signer.
_HEADER = "x-aiosmrt-fault"
# Which attempt of a call a request is, as the AWS SDKs say it.
_ATTEMPTS = "amz-sdk-request"
_attempt = re.compile(r"\battempt=(\d{1,9})").search
# Texts of the header that are kept, the oldest given up first.
_MAX_ORDERS = 1_000


def _flag(value: str) -> bool:
    return {"": True, "true": True, "false": False}[value.lower()]


_KINDS: dict[str, Callable[[str], Any]] = {
    "latency": float,
    "error": str,
    "status_code": int,
    "stale_close": _flag,
    "cut_at": int,
    "corrupt_frame": int,
    "drip": float,
    "probability": float,
    "times": int,
    "above_rate": float,
}


@attrs.frozen
class _Order:
    """What a header orders: a fault, and how many attempts of each call it may strike."""

    injection: Injection
    attempts: int | None

    @classmethod
    def parse(cls, text: str) -> _Order:
        """Reads a header: ``error=ThrottlingException, latency=0.5, stale_close``.

        Raises:
            ConfigurationError: It names what is no fault, or a value of the wrong kind.
        """
        values: dict[str, Any] = {}
        for item in filter(None, [part.strip() for part in text.split(",")]):
            name, _, value = [part.strip() for part in item.partition("=")]
            kind = _KINDS.get(name)
            if kind is None:
                raise ConfigurationError(f"no fault is called {name!r}: {', '.join(_KINDS)}")
            try:
                values[name] = kind(value)
            except (KeyError, ValueError):
                raise ConfigurationError(f"{value!r} is no value of the fault {name}") from None
        attempts = values.pop("times", None)
        probability = values.pop("probability", 1.0)
        above_rate = values.pop("above_rate", None)
        injection = Injection(
            Fault(**values), times=None, probability=probability, above_rate=above_rate
        )
        return cls(injection, attempts)


class Faults:
    """The faults that are ordered: with ``obeys_header`` also by requests for themselves."""

    def __init__(self, chance: random.Random, *, obeys_header: bool) -> None:
        self._chance = chance
        self._obeys_header = obeys_header
        self._injections: list[Injection] = []
        self._orders: dict[str, _Order] = {}

    def add(self, injection: Injection) -> None:
        """Orders a fault."""
        self._injections = [each for each in self._injections if not each.is_spent]
        self._injections.append(injection)

    def strike(
        self, operation: str, endpoint_name: str | None, headers: CIMultiDictProxy[str]
    ) -> Fault | None:
        """What goes wrong with a request.

        Raises:
            ConfigurationError: What it orders for itself makes no sense.
        """
        injections = self._injections
        if self._obeys_header and _HEADER in headers:
            injections = [*self._by_header(headers), *injections]
        struck: Fault | None = None
        for injection in injections:
            if injection.strikes(operation, endpoint_name, self._chance):
                fault = injection.fault
                struck = fault if struck is None else struck.joined_with(fault)
        return struck

    def _by_header(self, headers: CIMultiDictProxy[str]) -> list[Injection]:
        text = ", ".join(headers.getall(_HEADER))
        order = self._orders.get(text)
        if order is None:
            order = self._orders[text] = _Order.parse(text)
            if len(self._orders) > _MAX_ORDERS:
                del self._orders[next(iter(self._orders))]
        if order.attempts is not None:
            attempt = _attempt(headers.get(_ATTEMPTS, ""))
            if int(attempt[1] if attempt else 1) > order.attempts:
                return []
        return [order.injection]
