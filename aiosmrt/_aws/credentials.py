"""Credentials, what a provider of them is, and how those that end are renewed in time."""

import asyncio
import copy
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, NoReturn, Protocol

import attrs

from aiosmrt._aws.credential_failures import credentials_failure
from aiosmrt._shared_wait import SharedWait
from aiosmrt.errors import AiosmrtError, CredentialsError

__all__ = [
    "CachingProvider",
    "Credentials",
    "CredentialsProvider",
    "SessionProvider",
    "ask_provider",
    "in_own_task",
    "refuse_pickling",
]

logger = logging.getLogger("aiosmrt.credentials")

_VISIBLE_ASCII = re.compile(r"[!-~]+")
_SURROGATE = re.compile("[\ud800-\udfff]")


def _is_header_value(value: object) -> bool:
    return isinstance(value, str) and _VISIBLE_ASCII.fullmatch(value) is not None


def _is_secret(value: object) -> bool:
    if not isinstance(value, str) or value == "" or value != value.strip():
        return False  # white space is what a file's line end leaves
    # Half of a surrogate pair is what an environment has for a byte that is not UTF-8. No key
    # can be derived from it.
    return not _SURROGATE.search(value)


def _is_expiry(value: object) -> bool:
    return value is None or (isinstance(value, datetime) and value.utcoffset() is not None)


# Key id and token stand in headers of every request.
_VISIBLE = "a str of visible ASCII characters, not empty and without spaces or line ends"
_RULES: tuple[tuple[str, str, Callable[[object], bool]], ...] = (
    ("access_key_id", _VISIBLE, _is_header_value),
    (
        "secret_access_key",
        "a str of Unicode characters, not empty and without white space around it",
        _is_secret,
    ),
    ("session_token", _VISIBLE, lambda value: value is None or _is_header_value(value)),
    ("expiry", "a datetime with its timezone, or None", _is_expiry),
)


@attrs.frozen(init=False)
class Credentials:
    """An access key, its secret and, for temporary ones, their token and end.

    They are equal when all four are. They cannot be pickled, so that no secret ends up in a queue
    or a cache by accident.

    Attributes:
        access_key_id: The access key's id; not a secret.
        secret_access_key: The secret; never in ``repr``.
        session_token: The session token of temporary credentials, else None; never in ``repr``.
            An empty one is None.
        expiry: When they end, timezone-aware; None for those that do not.

    Raises:
        CredentialsError: One of them is empty, of another type, cannot stand in a header, or is
            a time without its zone. The text names the attribute, never the value.
    """

    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    session_token: str | None = attrs.field(repr=False)
    expiry: datetime | None

    def __init__(
        self,
        access_key_id: str,
        secret_access_key: str,
        session_token: str | None = None,
        expiry: datetime | None = None,
    ) -> None:
        session_token = None if session_token == "" else session_token
        values: tuple[Any, ...] = (access_key_id, secret_access_key, session_token, expiry)
        broken = [
            f"Credentials.{name} must be {rule}"
            for (name, rule, holds), value in zip(_RULES, values, strict=True)
            if not holds(value)
        ]
        if broken:
            # A log of the traceback's locals would show the values, and fail at self, which has
            # none yet.
            del self, access_key_id, secret_access_key, session_token, expiry, values
            raise CredentialsError(broken[0])
        for (name, _, _), value in zip(_RULES, values, strict=True):
            object.__setattr__(self, name, value)

    def __copy__(self) -> "Credentials":
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Credentials":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "Credentials are not pickled, for they hold secrets: let the other process find its "
            "own, or hand it the three strings knowingly"
        )


def refuse_pickling(self: object) -> NoReturn:
    """A provider's ``__reduce__``.

    Raises:
        TypeError: Always.
    """
    raise TypeError(
        f"{type(self).__name__} is not pickled: it holds secrets, and is its process's own"
    )


class CredentialsProvider(Protocol):
    """Where credentials come from: any object with this method.

    A session asks it for every attempt and keeps nothing: a provider that has to fetch them is
    wrapped in `CachingProvider`, which asks it only in time for the next ones.

    A provider that itself keeps credentials may also have a coroutine method ``renew``, which
    returns others than it gave last: a `CachingProvider` calls it in place of
    ``get_credentials`` when the service has refused those as expired.
    """

    async def get_credentials(self) -> Credentials:
        """Returns the credentials to sign with.

        Raises:
            CredentialsError: There are none, or they could not be fetched.
        """
        ...


class SessionProvider(CredentialsProvider, Protocol):
    """What a session asks for credentials."""

    def current(self) -> Credentials | None:
        """Returns credentials at once, None where ``get_credentials`` must be awaited."""
        ...

    async def refresh(self, stale: Credentials) -> Credentials:
        """Returns others than those that the service has refused; the same if there are none.

        Args:
            stale: Those refused.
        """
        ...

    def close(self) -> None:
        """Ends what runs in the background."""
        ...

    async def aclose(self) -> None:
        """Closes as ``close`` does, and waits until all has ended."""
        ...


async def ask_provider(provider: CredentialsProvider, *, renew: bool = False) -> Credentials:
    """Asks a provider of whatever origin, and answers for what comes of it.

    Args:
        provider: The provider.
        renew: Whether to ask by its ``renew``, if it has one.

    Raises:
        CredentialsError: It raised an error that is not ours, or returned something else.
        AiosmrtError: It raised this error of ours.
    """
    name = type(provider).__name__
    fetch: Callable[[], Awaitable[Any]] = provider.get_credentials
    if renew:
        fetch = getattr(provider, "renew", fetch)
    failure = None
    found: Any = None
    try:
        found = await fetch()
    except AiosmrtError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a user's provider raises
        failure = credentials_failure(
            f"The credentials provider {name} failed",
            error,
            "To say more, let the provider raise aiosmrt.CredentialsError",
        )
    if failure is not None:
        raise failure
    if not isinstance(found, Credentials):
        raise CredentialsError(
            f"The credentials provider {name} returned {type(found).__name__}, "
            "not aiosmrt.Credentials"
        )
    return found


async def in_own_task(ask: Callable[[], Awaitable[Credentials]]) -> Credentials:
    """Awaits a provider, in a task that makes nothing else.

    A caller that was not cancelled would else take a CancelledError of the provider's own for
    its own cancellation, as task groups do.

    Raises:
        CredentialsError: The provider raised CancelledError.
        AiosmrtError: As `ask_provider`.
    """
    try:
        return await ask()
    except asyncio.CancelledError as error:
        raise CredentialsError(_CANCELLED) from error


_CANCELLED: Final = (
    "The credentials provider was cancelled, by itself or by other code, though the call was not"
)
# botocore's times (`credentials.py`), in seconds before the end.
_REFRESH_BEFORE: Final = 15 * 60.0
_BLOCK_BEFORE: Final = 10 * 60.0
# Between two fetches of which the first got nothing better: before the end, and when refused.
_PAUSE: Final = 60.0
_PAUSE_WHEN_REFUSED: Final = 10.0
# A fetch that is cancelled mostly ends within a few turns of the loop; some never does.
_SETTLING_SECONDS: Final = 1.0


class CachingProvider:
    """Keeps a provider's credentials, and asks it again in time.

    From 15 minutes before they end the next ones are fetched in the background, from 10 minutes
    on calls wait for them. However many wait, one fetch runs; it goes on when some who wait are
    cancelled. A fetch that fails while the present ones last is logged (``aiosmrt.credentials``)
    and made again after up to a minute; so is one that brings none that last longer. Credentials
    that have ended by this machine's clock are handed out if the provider has just given them:
    the clock may be wrong, and the service has the last word.

    It may be used from several event loops one after another, not at once.

    Args:
        provider: Where they come from; not closed.
        clock: The time in seconds since the epoch.
    """

    def __reduce__(self) -> NoReturn:
        refuse_pickling(self)

    def __init__(
        self, provider: CredentialsProvider, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._credentials: Credentials | None = None
        self._refresh_from = self._block_from = self._no_others_until = -math.inf
        # The fetch under way, and whether it is one that `refresh` wants. Its task returns its
        # error, so that it is no unretrieved exception where nobody waits for it.
        self._flight: asyncio.Task[Credentials | AiosmrtError] | None = None
        self._flight_end: SharedWait[Credentials | AiosmrtError] | None = None
        self._flight_renews = False
        # Fetches that were cancelled and have not ended yet.
        self._left: set[asyncio.Task[Credentials | AiosmrtError]] = set()

    def current(self) -> Credentials | None:
        """Returns the credentials if no wait is due; begins a fetch in the background if one is.

        Returns:
            The credentials; None when ``get_credentials`` must be awaited.
        """
        now = self._clock()
        if now < self._refresh_from:
            return self._credentials
        if now < self._block_from:
            self._fly()
            return self._credentials
        return None

    async def get_credentials(self) -> Credentials:
        """Returns the credentials, and waits for them where there are none or they soon end.

        Returns:
            The credentials.

        Raises:
            AiosmrtError: The provider failed, and there are none that last; a CredentialsError
                unless the provider raised another of ours.
        """
        credentials = self.current()
        while credentials is None:
            credentials = await self._join(self._fly())
        return credentials

    async def refresh(self, stale: Credentials) -> Credentials:
        """Returns others than those that the service has refused.

        Args:
            stale: Those refused.

        Returns:
            Those kept where they are others already, else what the provider gives now; the same
            where it has no others, or had none a moment ago.

        Raises:
            AiosmrtError: The provider failed.
        """
        while True:
            kept = self._credentials
            if kept is not None and (kept != stale or self._clock() < self._no_others_until):
                return kept
            flight = self._fly(renew=True)
            renews = self._flight_renews
            found = await self._join(flight)
            if found is not None and (renews or found != stale):
                return found

    def close(self) -> None:
        """Ends a fetch in the background. Calls that wait for it, and later ones, begin another."""
        flight, self._flight = self._flight, None
        if flight is not None and _is_running(flight):
            flight.cancel()
            self._left.add(flight)
            flight.add_done_callback(self._left.discard)

    async def aclose(self) -> None:
        """Closes as ``close`` does, and waits a second at most for the fetch to end."""
        self.close()
        left = [flight for flight in self._left if _is_running(flight)]
        if left:
            await asyncio.wait(left, timeout=_SETTLING_SECONDS)

    def _fly(self, *, renew: bool = False) -> SharedWait[Credentials | AiosmrtError]:
        """Returns the wait for the fetch under way; begins one if this event loop has none."""
        flight, end = self._flight, self._flight_end
        if flight is None or end is None or not _is_running(flight):
            flight = asyncio.get_running_loop().create_task(self._fetch(renew=renew))
            flight.add_done_callback(_retrieve)
            self._flight, self._flight_renews = flight, renew
            end = self._flight_end = SharedWait(flight)
        return end

    async def _join(self, flight: SharedWait[Credentials | AiosmrtError]) -> Credentials | None:
        """Waits for a fetch without being able to cancel it; None if it was closed."""
        await flight.wait()
        if flight.future.cancelled():
            return None
        outcome = flight.future.result()
        if isinstance(outcome, AiosmrtError):
            # Each who waits raises its own: one for all would gather all their tracebacks.
            raise copy.copy(outcome) from outcome.__cause__
        return outcome

    async def _fetch(self, *, renew: bool) -> Credentials | AiosmrtError:
        try:
            credentials = await ask_provider(self._provider, renew=renew)
        except AiosmrtError as error:
            return self._make_do(error, renew=renew)
        except asyncio.CancelledError:
            if asyncio.current_task() is not self._flight:
                raise  # closed
            # By whoever else: waiting for another fetch would cancel that one too, and for ever.
            kept = None if renew else self._credentials
            lasts = kept is not None and self._seconds_left(kept) > 0
            return kept if kept is not None and lasts else CredentialsError(_CANCELLED)
        except BaseException as error:
            # Raised to whoever waits; in the background it counts as any other failure.
            name = type(error).__name__
            self._make_do(CredentialsError(f"The provider raised {name}"), renew=renew)
            raise
        if asyncio.current_task() is self._flight:  # else it was closed, and went on all the same
            self._keep(credentials, renew=renew)
        return credentials

    def _keep(self, credentials: Credentials, *, renew: bool) -> None:
        now = self._clock()
        previous, self._credentials = self._credentials, credentials
        if renew:
            self._no_others_until = now + _PAUSE_WHEN_REFUSED if credentials == previous else now
        if credentials.expiry is None:
            self._refresh_from = self._block_from = math.inf
            return
        end = credentials.expiry.timestamp()
        if end <= now:
            logger.warning("The credentials that were fetched ended %.0f s ago", now - end)
        self._refresh_from = end - _REFRESH_BEFORE
        self._block_from = end - _BLOCK_BEFORE
        if previous is not None and now >= self._refresh_from:
            # The source has none that last longer: asking it at every call gains nothing.
            left = max(end - now, 4.0)
            if now >= self._block_from:
                self._block_from = now + 0.75 * left
            self._refresh_from = min(now + min(_PAUSE, left / 2), self._block_from)

    def _seconds_left(self, credentials: Credentials) -> float:
        expiry = credentials.expiry
        return math.inf if expiry is None else expiry.timestamp() - self._clock()

    def _make_do(self, error: AiosmrtError, *, renew: bool) -> Credentials | AiosmrtError:
        """What a failed fetch comes to: the credentials kept if they last, else its error."""
        kept = self._credentials
        if renew or kept is None or not 0 < (left := self._seconds_left(kept)) < math.inf:
            return error
        logger.warning(
            "Fetching credentials failed, those in use last %.0f s more: %s", left, error
        )
        self._refresh_from = self._clock() + max(1.0, min(_PAUSE, left / 2))
        self._block_from = max(self._block_from, self._refresh_from)
        return kept


def _retrieve(flight: asyncio.Task[Any]) -> None:
    """Takes note of what has ended a fetch that nobody waited for."""
    if not flight.cancelled():
        flight.exception()


def _is_running(flight: asyncio.Task[Any]) -> bool:
    return not flight.done() and flight.get_loop() is asyncio.get_running_loop()


for _public in (CachingProvider, Credentials, CredentialsProvider):
    _public.__module__ = "aiosmrt"
