"""Credentials that need no fetching: of an argument, a user's own object, the environment."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from aiosmrt._aws.credentials import Credentials, ask_provider, refuse_pickling
from aiosmrt.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiosmrt._aws.credentials import CredentialsProvider

__all__ = ["DirectProvider", "EnvironmentProvider", "StaticProvider", "read_environment"]


class StaticProvider:
    """Always the same credentials."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def current(self) -> Credentials:
        """Returns the credentials."""
        return self._credentials

    async def get_credentials(self) -> Credentials:
        """Returns the credentials."""
        return self._credentials

    async def refresh(self, stale: Credentials) -> Credentials:  # noqa: ARG002 - there are no others
        """Returns the credentials, refused or not."""
        return self._credentials

    def close(self) -> None:
        """Does nothing."""

    async def aclose(self) -> None:
        """Does nothing."""


class DirectProvider:
    """A provider of the user's own, asked every time and never closed."""

    def __init__(self, provider: CredentialsProvider) -> None:
        self._provider = provider

    def current(self) -> None:
        """Returns None: only the provider knows."""

    async def get_credentials(self) -> Credentials:
        """Asks the provider.

        Raises:
            CredentialsError: It failed, or returned something else.
        """
        return await ask_provider(self._provider)

    async def refresh(self, stale: Credentials) -> Credentials:  # noqa: ARG002 - it knows what it gave
        """Asks the provider for others, by its ``renew`` if it has one.

        Raises:
            CredentialsError: It failed, or returned something else.
        """
        return await ask_provider(self._provider, renew=True)

    def close(self) -> None:
        """Does nothing: the provider may serve others."""

    async def aclose(self) -> None:
        """Does nothing: the provider may serve others."""


_KEY = "AWS_ACCESS_KEY_ID"
_SECRET = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name
# botocore's order: the older name first.
_TOKENS = ("AWS_SECURITY_TOKEN", "AWS_SESSION_TOKEN")
_EXPIRY = "AWS_CREDENTIAL_EXPIRATION"


class EnvironmentProvider:
    """``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and ``AWS_SESSION_TOKEN``, read each time.

    ``AWS_SECURITY_TOKEN``, the token's older name, comes first where both are set;
    ``AWS_CREDENTIAL_EXPIRATION`` is when they end (ISO 8601, UTC where it names no zone).

    Args:
        environ: The environment, ``os.environ`` if None.
    """

    __reduce__ = refuse_pickling

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ

    async def get_credentials(self) -> Credentials:
        """Reads the environment.

        Raises:
            CredentialsError: A variable is missing or malformed; it is named.
        """
        found = read_environment(self._environ)
        if found is None:
            missing = _KEY if _variables(self._environ).get(_SECRET) else f"{_KEY} and {_SECRET}"
            raise CredentialsError(f"No credentials in the environment: {missing} not set")
        return found


def read_environment(environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Reads credentials from the environment.

    Args:
        environ: The environment, ``os.environ`` if None; an empty variable counts as not set.

    Returns:
        The credentials; None without ``AWS_ACCESS_KEY_ID``, when a chain goes on.

    Raises:
        CredentialsError: There is a key without its secret, or a malformed variable.
    """
    try:
        return _read(_variables(environ))
    except CredentialsError as error:
        fault = error.message
    del environ  # a log of the traceback's locals would show all of it
    raise CredentialsError(fault)


def _variables(environ: Mapping[str, str] | None) -> Mapping[str, str]:
    # Looked up where it is read: the repr of os.environ shows every secret in it.
    return os.environ if environ is None else environ


def _read(environ: Mapping[str, str]) -> Credentials | None:
    key = environ.get(_KEY)
    if not key:
        return None
    secret = environ.get(_SECRET)
    if not secret:
        raise CredentialsError(
            f"The environment has {_KEY}, but not {_SECRET}: set both, or neither"
        )
    token = next(filter(None, map(environ.get, _TOKENS)), None)
    try:
        return Credentials(key, secret, token, _parse_expiry(environ.get(_EXPIRY)))
    except CredentialsError as error:
        raise CredentialsError(f"Credentials in the environment: {error.message}") from None


def _parse_expiry(text: str | None) -> datetime | None:
    if not text:
        return None
    expiry = None
    with suppress(ValueError):
        # Python 3.10 does not know the Z.
        expiry = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text))
    if expiry is None:  # outside of the handler: the error there shows the value
        raise CredentialsError(
            f"{_EXPIRY} must be a time in ISO 8601, such as 2026-01-02T03:04:05Z: set one, or "
            "unset the variable"
        )
    return expiry if expiry.tzinfo else expiry.replace(tzinfo=timezone.utc)
