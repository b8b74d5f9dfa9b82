"""A session's settings: from arguments, the environment and the profile, in that order.

The order within each is botocore's, but for ``AWS_REGION``, which the other SDKs read and which
comes before ``AWS_DEFAULT_REGION`` here. An empty variable counts as not set. A value that
cannot be meant is an error that names the place where it stands: a FIPS switch that says ``yes``
is off in botocore, without a word.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

from aiosmrt._aws.endpoints import (
    check_endpoint_url,
    is_known_region,
    is_private_host,
    resolve_endpoint,
)
from aiosmrt._aws.retries import RetryPolicy
from aiosmrt._aws.shared_files import Section, SharedFiles, locate
from aiosmrt.errors import ConfigurationError

__all__ = ["Config", "Source", "resolve_config"]

logger = logging.getLogger("aiosmrt.config")

_APP_ID_LENGTH = 50  # AWS SDKs and Tools Reference Guide, "Application ID"
_NAMES_SHOWN = 20


@attrs.frozen
class Source:
    """Where a setting was found; its ``str`` is what an error says of it.

    Attributes:
        name: ``AWS_REGION``, ``the argument region``, or a file's path.
        section: In a file: the section's name as written.
        key: In a file: the key.
        nested_key: In a block of the file: the key within the block.
    """

    name: str
    section: str | None = None
    key: str | None = None
    nested_key: str | None = None

    def __str__(self) -> str:
        if self.section is None:
            return self.name
        return locate(self.name, self.section, *filter(None, (self.key, self.nested_key)))


@attrs.frozen(kw_only=True)
class Config:
    """What a session goes by.

    Attributes:
        region: The region, which signatures name too.
        endpoint_url: The service's URL, without a slash at its end.
        s3_endpoint_url: The URL for the objects of async inferences; None is S3's own.
        profile: The profile's name; ``default`` when none is named.
        profile_is_argument: Whether it was named in the code, and not by the environment: then
            the environment's credentials are passed over.
        use_fips: Whether AWS's FIPS hosts are asked for.
        use_dualstack: Whether AWS's dual-stack hosts are asked for.
        ca_bundle: The path of a file of certificates to trust in place of the usual ones.
        user_agent_app_id: The application's name for the user agent.
        retries: The retry policy.
        config_file: The path of the shared config file, there or not.
        credentials_file: The path of the shared credentials file, there or not.
        sources: Where each setting that is no default was found, by its name.
    """

    region: str
    endpoint_url: str
    s3_endpoint_url: str | None
    profile: str
    profile_is_argument: bool
    use_fips: bool
    use_dualstack: bool
    ca_bundle: str | None
    user_agent_app_id: str | None
    retries: RetryPolicy
    config_file: str
    credentials_file: str
    sources: Mapping[str, Source]


def resolve_config(
    *,
    region: str | None = None,
    endpoint_url: str | None = None,
    s3_endpoint_url: str | None = None,
    profile: str | None = None,
    use_fips: bool | None = None,
    use_dualstack: bool | None = None,
    retries: RetryPolicy | None = None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """Finds a session's settings. Reads the two shared files, and nothing else.

    Args:
        region: The region; else ``AWS_REGION``, ``AWS_DEFAULT_REGION``, the profile's ``region``.
        endpoint_url: The service's URL; else ``AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME``,
            ``AWS_ENDPOINT_URL``, ``endpoint_url`` of ``sagemaker_runtime`` in the profile's
            ``services`` section, the profile's ``endpoint_url``, the region's host.
        s3_endpoint_url: The same for S3: ``AWS_ENDPOINT_URL_S3``, ``s3`` in ``services``.
        profile: The profile; else ``AWS_DEFAULT_PROFILE``, ``AWS_PROFILE``, ``default``.
        use_fips: Whether to use FIPS hosts; else ``AWS_USE_FIPS_ENDPOINT``, the profile's
            ``use_fips_endpoint``.
        use_dualstack: Whether to use dual-stack hosts; else ``AWS_USE_DUALSTACK_ENDPOINT``, the
            profile's ``use_dualstack_endpoint``.
        retries: The retry policy; else ``AWS_MAX_ATTEMPTS`` and ``AWS_RETRY_MODE``, the
            profile's ``max_attempts`` and ``retry_mode``.
        environ: The environment, ``os.environ`` if None. A ``~`` or ``$NAME`` in a file's path
            is this process's own all the same.

    Returns:
        The settings. A RuntimeWarning goes with an ``http://`` URL of a public host in a region
        of AWS's: what is sent there, session tokens included, can be read on its way.

    Raises:
        ConfigurationError: There is no region, the profile named does not exist, a file cannot
            be read, or a value is malformed or contradicts another.
    """
    settings = _Settings(environ, profile)
    found_region = settings.text("region", region, ("AWS_REGION", "AWS_DEFAULT_REGION"), "region")
    if found_region is None:
        raise ConfigurationError(settings.describe_missing_region())
    fips = settings.flag("use_fips", use_fips, "AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")
    dualstack = settings.flag(
        "use_dualstack", use_dualstack, "AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint"
    )
    try:
        # Whatever URL is called, the region goes into signatures and must be one.
        regional_url = resolve_endpoint(found_region, use_fips=fips, use_dualstack=dualstack)
    except ConfigurationError as error:
        raise ConfigurationError(f"{settings.sources['region']}: {error.message}") from None
    own_url = settings.url("endpoint_url", endpoint_url, "sagemaker_runtime")
    s3_url = settings.url("s3_endpoint_url", s3_endpoint_url, "s3")
    for name in ("endpoint_url", "s3_endpoint_url"):
        _check_variants(settings.sources, name, use_fips=fips, use_dualstack=dualstack)
    for url in (own_url, s3_url):
        if url is not None:
            _warn_of_clear_text(url, found_region)
    return Config(
        region=found_region,
        endpoint_url=own_url or regional_url,
        s3_endpoint_url=s3_url,
        profile=settings.profile_name,
        profile_is_argument=profile is not None,
        use_fips=fips,
        use_dualstack=dualstack,
        ca_bundle=settings.text("ca_bundle", None, ("AWS_CA_BUNDLE",), "ca_bundle"),
        user_agent_app_id=settings.app_id(),
        retries=settings.retries() if retries is None else retries,
        config_file=settings.files.config.path,
        credentials_file=settings.files.credentials.path,
        sources=settings.sources,
    )


def _expand(path: str) -> str:
    expanded = os.path.expandvars(path)
    return os.path.expanduser(expanded)  # noqa: PTH111 - pathlib's raises where there is no home


class _Settings:
    """The lookup of one setting after another; notes each one's source."""

    def __init__(self, environ: Mapping[str, str] | None, profile: str | None) -> None:
        self._environ = environ
        self.sources: dict[str, Source] = {}
        self.files = SharedFiles.load(
            config=_expand(self._variable("AWS_CONFIG_FILE") or "~/.aws/config"),
            credentials=_expand(
                self._variable("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
            ),
        )
        named = self._given("profile", profile, ("AWS_DEFAULT_PROFILE", "AWS_PROFILE"))
        self.profile_name = "default" if named is None else named
        section = self.files.profile(self.profile_name)
        if section is None and named is not None:
            raise ConfigurationError(self._describe_missing_profile())
        self._profile = section or Section()

    def _variable(self, name: str) -> str | None:
        # os.environ stays out of locals and attributes: its repr shows every secret in it.
        return (os.environ if self._environ is None else self._environ).get(name)

    def _given(self, name: str, given: str | None, variables: tuple[str, ...]) -> str | None:
        """What the argument or the environment says."""
        if given is not None:
            if not isinstance(given, str):
                raise ConfigurationError(
                    f"The argument {name} must be a str, not {type(given).__name__}"
                )
            self.sources[name] = Source(f"the argument {name}")
            return given
        for variable in variables:
            if value := self._variable(variable):
                self.sources[name] = Source(variable)
                return value
        return None

    def text(
        self, name: str, given: str | None, variables: tuple[str, ...], key: str
    ) -> str | None:
        """A setting's text, None when it is set nowhere."""
        value = self._given(name, given, variables)
        if value is not None or not self._profile.get(key):
            return value
        source = self.sources[name] = Source(*self.files.place(self.profile_name, key))
        in_profile = self._profile[key]
        if not isinstance(in_profile, str):
            raise ConfigurationError(f"{source}: {key} is a block of keys, not a value")
        return in_profile

    def flag(self, name: str, given: bool | None, variable: str, key: str) -> bool:  # noqa: FBT001 - as Session takes it
        """A setting that is true or false; false when it is set nowhere."""
        if given is not None:
            if not isinstance(given, bool):
                raise ConfigurationError(
                    f"The argument {name} must be True or False, not {type(given).__name__}"
                )
            self.sources[name] = Source(f"the argument {name}")
            return given
        value = self.text(name, None, (variable,), key)
        if value is None:
            return False
        if value.lower() not in ("true", "false"):
            raise ConfigurationError(
                f"{self.sources[name]}: {value!r} is neither true nor false; {key} must be one"
            )
        return value.lower() == "true"

    def url(self, name: str, given: str | None, service: str) -> str | None:
        """The URL that is set for a service, checked; None when there is none."""
        if given is None and self.flag(
            "ignore_configured_endpoint_urls",
            None,
            "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
            "ignore_configured_endpoint_urls",
        ):
            return None
        variables = (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
        value = self._given(name, given, variables)
        if value is None:
            value = self._url_in_services(name, service)
        if value is None:
            value = self.text(name, None, (), "endpoint_url")
        if value is None:
            return None
        try:
            return check_endpoint_url(value)
        except ConfigurationError as error:
            raise ConfigurationError(f"{self.sources[name]}: {error.message}") from None

    def _url_in_services(self, name: str, service: str) -> str | None:
        section_name = self.text("services", None, (), "services")
        if section_name is None:
            return None
        found = self.files.config_section("services", section_name)
        if found is None:
            raise ConfigurationError(
                f"{self.sources['services']}: there is no section [services {section_name}] "
                f"in {self.files.config.path}"
            )
        written, section = found
        block = section.get(service, {})
        if not isinstance(block, dict):
            raise ConfigurationError(
                f"{locate(self.files.config.path, written, service)}: {service} must be followed "
                "by an indented line 'endpoint_url = URL'"
            )
        value = block.get("endpoint_url")
        if value:
            self.sources[name] = Source(self.files.config.path, written, service, "endpoint_url")
        return value or None

    def app_id(self) -> str | None:
        """The application's name for the user agent, cut to what AWS takes."""
        value = self.text("user_agent_app_id", None, ("AWS_SDK_UA_APP_ID",), "sdk_ua_app_id")
        if value is None:
            return None
        if len(value) > _APP_ID_LENGTH:
            logger.warning(
                "%s: an application id has at most %d characters; the rest of this one is cut off",
                self.sources["user_agent_app_id"],
                _APP_ID_LENGTH,
            )
        return value[:_APP_ID_LENGTH]

    def retries(self) -> RetryPolicy:
        """The retry policy by environment and profile."""
        attempts = self.text("max_attempts", None, ("AWS_MAX_ATTEMPTS",), "max_attempts")
        mode = self.text("retry_mode", None, ("AWS_RETRY_MODE",), "retry_mode")
        return RetryPolicy.from_values(
            attempts,
            mode,
            max_attempts_source=str(self.sources.get("max_attempts", "")),
            mode_source=str(self.sources.get("retry_mode", "")),
        )

    def _describe_files(self) -> str:
        return " and ".join(
            file.path if file.exists else f"{file.path} (not there)"
            for file in (self.files.config, self.files.credentials)
        )

    def describe_missing_region(self) -> str:
        """The sentence for a session without a region."""
        return (
            "No region is set. Looked at: the argument region, AWS_REGION, AWS_DEFAULT_REGION, "
            f"region in the profile {self.profile_name!r} of {self._describe_files()}. "
            "Pass region='...' or set AWS_REGION"
        )

    def _describe_missing_profile(self) -> str:
        names = self.files.profile_names()
        found = ", ".join(names[:_NAMES_SHOWN]) or "none"
        if more := names[_NAMES_SHOWN:]:
            found += f" and {len(more)} more"
        text = (
            f"The profile {self.profile_name!r} ({self.sources['profile']}) does not exist. "
            f"Looked at: {self._describe_files()}. Profiles found: {found}"
        )
        if self.profile_name in self.files.config.sections:
            place = locate(self.files.config.path, self.profile_name)
            text += (
                f". In the config file its section must be [profile {self.profile_name}]: {place}"
            )
        return text


def _check_variants(
    sources: Mapping[str, Source], name: str, *, use_fips: bool, use_dualstack: bool
) -> None:
    """Refuses a URL of one's own beside a wish for a certain host of AWS's."""
    for wanted, flag, kind in (
        (use_fips, "use_fips", "FIPS"),
        (use_dualstack, "use_dualstack", "dual-stack"),
    ):
        if wanted and name in sources:
            raise ConfigurationError(
                f"{kind} hosts are asked for ({sources[flag]}), but {name} is set "
                f"({sources[name]}): use one of the two"
            )


def _warn_of_clear_text(url: str, region: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "http" or not is_known_region(region):
        return
    if is_private_host(parts.hostname or ""):
        return
    warnings.warn(
        f"The endpoint URL http://{parts.netloc} is not encrypted: bodies and session tokens can "
        "be read and changed on their way. Use https://, or a host of your own network",
        RuntimeWarning,
        stacklevel=4,  # whoever made the session
    )
