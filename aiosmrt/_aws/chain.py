"""The default chain of credentials, in botocore's order.

What the environment and the shared files say is read here. The rest (assumed roles, web identity,
SSO, login, ``credential_process``, containers, instance metadata) is botocore's own code, imported
when first needed. It blocks, so it runs in a thread.

botocore's order (``credentials.create_credential_resolver``), and who answers here:

==============================================================  ========
environment, unless the profile is named in the code            natively
a profile with ``role_arn``                                     botocore
web identity, of environment or profile                         botocore
a profile with ``sso_account_id`` or ``sso_role_name``          botocore
keys in the credentials file                                    natively
a profile with ``login_session``, then ``credential_process``   botocore
keys in the config file                                         natively
files of older tools, container, instance metadata              botocore
==============================================================  ========
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import os
import shlex
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from aiosmrt._aws.credential_failures import credentials_failure
from aiosmrt._aws.credentials import CachingProvider, Credentials, refuse_pickling
from aiosmrt._aws.providers import DirectProvider, StaticProvider, read_environment
from aiosmrt._aws.shared_files import Section, SharedFiles, locate
from aiosmrt.errors import ConfigurationError, CredentialsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiosmrt._aws.config import Config
    from aiosmrt._aws.credentials import CredentialsProvider, SessionProvider

__all__ = ["DefaultProvider", "as_provider", "choose_provider", "default_provider"]

logger = logging.getLogger("aiosmrt.credentials")

_T = TypeVar("_T")

_INSTALL = "pip install 'aiosmrt[botocore]'"
_KEY = "aws_access_key_id"
_SECRET = "aws_secret_access_key"  # noqa: S105 - a key's name
_TOKENS = ("aws_security_token", "aws_session_token")  # botocore's order: the older name first


def default_provider(config: Config) -> CachingProvider:
    """Makes the provider of a session that is given no credentials.

    Args:
        config: The session's settings: profile, files, and the region for STS.

    Returns:
        The default chain, kept and refreshed in time.
    """
    return CachingProvider(DefaultProvider(config))


def choose_provider(
    credentials: Credentials | CredentialsProvider | Any | None, config: Config
) -> SessionProvider:
    """Makes the provider of a session: `as_provider`, or the default chain for None."""
    return default_provider(config) if credentials is None else as_provider(credentials)


def as_provider(credentials: Credentials | CredentialsProvider | Any) -> SessionProvider:
    """Makes a provider of what a user hands to a session.

    Args:
        credentials: Credentials; a provider; or an object with ``get_frozen_credentials``, as
            ``get_credentials()`` of boto3's, botocore's and aiobotocore's sessions returns.

    Returns:
        A CachingProvider as it is; any other provider behind one that asks it every time;
        botocore's objects behind a CachingProvider, those that block in a thread.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(credentials, Credentials):
        return StaticProvider(credentials)
    if isinstance(credentials, CachingProvider):
        return credentials
    if not isinstance(credentials, type):
        if callable(getattr(credentials, "get_frozen_credentials", None)):
            return CachingProvider(_BotocoreCredentials(credentials))
        # Their sessions have a `get_credentials` too, which returns no Credentials of ours.
        package = type(credentials).__module__.partition(".")[0]
        if package in {"aioboto3", "aiobotocore", "boto3", "botocore"}:
            raise ConfigurationError(
                f"The argument credentials is an object of {package} that holds no credentials: "
                "pass what the session's get_credentials() returns (await it where it is async)"
            )
        if callable(getattr(credentials, "get_credentials", None)):
            return DirectProvider(credentials)
    raise ConfigurationError(
        "The argument credentials must be aiosmrt.Credentials, an object with a coroutine method "
        "get_credentials, or what get_credentials() of boto3 or aiobotocore returns, not "
        f"{type(credentials).__name__}"
    )


class DefaultProvider:
    """The default chain. It looks anew each time, except where botocore refreshes."""

    __reduce__ = refuse_pickling

    def __init__(self, config: Config) -> None:
        self._config = config
        # botocore's object, which renews its credentials itself: anew, it would ask for an MFA
        # code in the background.
        self._kept: Any = None

    async def get_credentials(self) -> Credentials:
        """Goes through the chain.

        Raises:
            CredentialsError: None were found, those found are malformed or half there, or they
                could not be fetched.
            ConfigurationError: A shared file cannot be read or parsed.
        """
        if not self._config.profile_is_argument:
            found = read_environment()
            if found is not None:
                return found
            if os.environ.get("AWS_SECRET_ACCESS_KEY"):
                # botocore goes on too, without a word.
                logger.warning("AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID: ignored")
        return await _in_thread(self._look_further)

    async def renew(self) -> Credentials:
        """Goes through the chain again, past whatever botocore has kept.

        Raises:
            AiosmrtError: As `get_credentials`.
        """
        self._kept = None
        return await self.get_credentials()

    def _look_further(self) -> Credentials:
        """The chain behind the environment."""
        name = self._config.profile
        files = SharedFiles.load(
            config=self._config.config_file, credentials=self._config.credentials_file
        )
        profile = files.profile(name) or Section()
        decisive = self._before_the_credentials_file(profile)
        if decisive is None:
            in_file = files.credentials.sections.get(name, Section())
            if found := _keys(in_file, files.credentials.path, name):
                return found
            later = ("login_session", "credential_process")
            decisive = next((key for key in later if key in profile), None)
        if decisive is None:
            written, in_file = files.config_section("profile", name) or (name, Section())
            if found := _keys(in_file, files.config.path, written):
                return found
        elif decisive in profile:
            decisive = f"{decisive}, {locate(*files.place(name, decisive))}"
        return self._from_botocore(decisive)

    def _before_the_credentials_file(self, profile: Section) -> str | None:
        """The key or variable by which botocore finds credentials before that file."""
        if "role_arn" in profile and "web_identity_token_file" not in profile:
            return "role_arn"
        variable = "AWS_WEB_IDENTITY_TOKEN_FILE"
        if not self._config.profile_is_argument and variable in os.environ:
            # An empty one hides the profile's, in botocore.
            if os.environ[variable]:
                return variable
        elif profile.get("web_identity_token_file"):
            return "web_identity_token_file"
        return next((key for key in ("sso_role_name", "sso_account_id") if key in profile), None)

    def _from_botocore(self, decisive: str | None) -> Credentials:
        found = self._kept
        if found is None:
            try:
                # An extra's, and untyped: a type checker need not have it.
                session_class = import_module("botocore.session").Session
            except ImportError:
                raise CredentialsError(self._describe_missing_botocore(decisive)) from None
            found = self._answered(decisive, self._load, session_class)
            if found is None:
                raise CredentialsError(
                    f"No credentials were found. {self._describe_tried()}, and by botocore at "
                    "those of a container and of an instance"
                )
        credentials = self._answered(decisive, _freeze, found)
        self._kept = found  # what never gave any is not worth keeping
        return credentials

    def _load(self, session_class: Any) -> Any:
        config = self._config
        named = config.profile if "profile" in config.sources else None
        if config.profile_is_argument:
            session = session_class(profile=named)
        else:
            # As a default and not as `profile=`, which would make botocore pass over web
            # identity's variables too.
            session = session_class(session_vars={"profile": (None, None, named, None)})
        session.set_config_variable("config_file", config.config_file)
        session.set_config_variable("credentials_file", config.credentials_file)
        session.set_config_variable("region", config.region)  # for STS
        return session.get_credentials()

    def _answered(self, decisive: str | None, call: Callable[[Any], _T], argument: Any) -> _T:
        """Calls botocore; whatever it raises becomes an error of ours."""
        config, profile = self._config, self._config.profile
        try:
            return call(argument)
        except Exception as error:  # noqa: BLE001 - whatever botocore raises
            failure = credentials_failure(
                f"botocore got no credentials for the profile {profile!r}"
                + (f" by {decisive}" if decisive else ""),
                error,
                "To see botocore's own error, run: aws sts get-caller-identity"
                + (f" --profile {shlex.quote(profile)}" if config.profile_is_argument else ""),
            )
        raise failure

    def _describe_tried(self) -> str:
        if self._config.profile_is_argument:
            environment = "the environment not (a profile named in the code goes before it)"
        elif os.environ.get("AWS_SECRET_ACCESS_KEY"):
            environment = "the environment (AWS_ACCESS_KEY_ID is missing)"
        else:
            environment = "the environment (AWS_ACCESS_KEY_ID is not set)"
        return (
            f"Looked at: {environment}, the profile {self._config.profile!r} in "
            f"{self._config.credentials_file} and {self._config.config_file}"
        )

    def _describe_missing_botocore(self, decisive: str | None) -> str:
        if decisive:
            return (
                f"The credentials of the profile {self._config.profile!r} are fetched by botocore "
                f"({decisive}), which is not installed: {_INSTALL}"
            )
        return (
            f"No credentials were found. {self._describe_tried()}. Credentials of a container or "
            f"an instance need botocore, which is not installed: {_INSTALL}"
        )


def _keys(section: Mapping[str, Any], path: str, written: str) -> Credentials | None:
    """The keys in a profile's section of one file, None if it has none."""
    if _KEY not in section:
        return None
    if _SECRET not in section:
        place = locate(path, written, _KEY)
        raise CredentialsError(f"{place}: the profile has {_KEY}, but no {_SECRET}")
    token = next((name for name in _TOKENS if name in section), "")
    try:
        return Credentials(section[_KEY], section[_SECRET], section.get(token))
    except CredentialsError as error:
        raise CredentialsError(f"{locate(path, written, _KEY)}: {error.message}") from None


class _BotocoreCredentials:
    """A credentials object of boto3, botocore or aiobotocore."""

    __reduce__ = refuse_pickling

    def __init__(self, credentials: Any) -> None:
        self._credentials = credentials

    async def get_credentials(self) -> Credentials:
        if inspect.iscoroutinefunction(self._credentials.get_frozen_credentials):
            return _convert(
                await self._credentials.get_frozen_credentials(), _expiry(self._credentials)
            )
        return await _in_thread(lambda: _freeze(self._credentials))


def _freeze(credentials: Any) -> Credentials:
    """The present credentials of a botocore object; blocks where it renews them."""
    return _convert(*_take(credentials))


def _take(credentials: Any) -> tuple[Any, Any]:
    """What a botocore object has now, and when that ends."""
    before = _expiry(credentials)
    frozen = credentials.get_frozen_credentials()
    expiry = _expiry(credentials)
    if before is not None and before != expiry:
        # Renewed in between, here or in another thread: the pair may not belong together.
        frozen = credentials.get_frozen_credentials()
        expiry = _expiry(credentials)
    return frozen, expiry


def _expiry(credentials: Any) -> Any:
    # There is no public name. Without it, the service's ExpiredToken is what has them renewed.
    return getattr(credentials, "_expiry_time", None)


def _convert(frozen: Any, expiry: Any) -> Credentials:
    try:
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expiry)
    except CredentialsError as error:
        fault = error.message
    del frozen  # a log of the traceback's locals would show its secrets
    raise CredentialsError(fault)


async def _in_thread(call: Callable[[], _T]) -> _T:
    """Runs what blocks in a thread of its own.

    Not in the loop's executor, whose few threads may all be taken, and for which ``asyncio.run``
    waits at its end: a credential process or STS can hang for minutes.
    """
    outcome: concurrent.futures.Future[_T] = concurrent.futures.Future()
    outcome.set_running_or_notify_cancel()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where it is waited for
            outcome.set_exception(error)

    threading.Thread(target=run, name="aiosmrt-credentials", daemon=True).start()
    return await asyncio.wrap_future(outcome)
