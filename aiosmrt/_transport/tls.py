"""How the service's certificate is verified."""

from __future__ import annotations

import logging
import ssl
from typing import Any, TypeAlias

import aiohttp

from aiosmrt.errors import ConfigurationError

__all__ = ["Verification", "beside_the_service", "choose_tls", "trust"]

_logger = logging.getLogger("aiosmrt")


# A path is of a CA bundle; True is the system's authorities, False none.
Verification: TypeAlias = "ssl.SSLContext | aiohttp.Fingerprint | bool | str"


def choose_tls(given: Any, ca_bundle: str | None) -> Verification:
    """What to verify by, from the session's ``ssl`` argument and the configured CA bundle.

    Args:
        given: An ``SSLContext`` that verifies, a ``Fingerprint``, None or True to verify;
            only a literal False turns verification off, not what happens to be falsy and not
            a context that was never told to verify.
        ca_bundle: The path of a file of certificates, None for the system's.

    Raises:
        ConfigurationError: ``given`` is nothing of these, or a context that verifies no
            certificate or allows versions before TLS 1.2.
    """
    if given is None or given is True:
        return ca_bundle or True
    if given is False:
        _logger.warning("ssl=False: the service's certificate is not verified")
        return False
    if isinstance(given, ssl.SSLContext):
        _check_context(given)
        return given
    if isinstance(given, aiohttp.Fingerprint):
        return given
    raise ConfigurationError(
        "ssl must be an SSLContext, an aiohttp.Fingerprint, True, False or None, "
        f"not {type(given).__name__}"
    )


def _check_context(context: ssl.SSLContext) -> None:
    """Refuses what leaves the service unverified without saying so."""
    if context.verify_mode == ssl.CERT_NONE:
        raise ConfigurationError(
            "The argument ssl is an SSLContext that verifies no certificate, as ssl.SSLContext() "
            "makes it: use ssl.create_default_context(), or ssl=False if that is meant"
        )
    if context.minimum_version < ssl.TLSVersion.TLSv1_2:
        raise ConfigurationError(
            "The argument ssl is an SSLContext that allows versions before TLS 1.2: set its "
            "minimum_version to ssl.TLSVersion.TLSv1_2"
        )
    if not context.check_hostname:
        _logger.warning("ssl: the SSLContext does not check that the certificate is the host's")


def trust(path: str) -> ssl.SSLContext:
    """A context that trusts the certificates of a file, with TLS 1.2 at least. Reads the file.

    Raises:
        ConfigurationError: The file cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(
            f"The CA bundle {path} (AWS_CA_BUNDLE, else ca_bundle in the profile) cannot be "
            f"used: {why}"
        ) from error
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


def beside_the_service(tls: Verification, ca_bundle: str | None) -> ssl.SSLContext | bool | str:
    """What to verify other hosts by: a fingerprint is of the service's own certificate.

    Args:
        tls: What `choose_tls` chose for the service.
        ca_bundle: As it was given.
    """
    return (ca_bundle or True) if isinstance(tls, aiohttp.Fingerprint) else tls
