"""How the service's certificate is verified, and which proxy stands before it."""

from __future__ import annotations

import logging
import ssl
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from aiosmrt.errors import ConfigurationError

__all__ = ["choose_tls", "environment_proxy", "trust"]

_logger = logging.getLogger("aiosmrt")


def choose_tls(
    given: Any, ca_bundle: str | None
) -> ssl.SSLContext | aiohttp.Fingerprint | bool | str:
    """What to verify by, from the session's ``ssl`` argument and the configured CA bundle.

    Args:
        given: An ``SSLContext``, a ``Fingerprint``, None or True to verify; only a
            literal False turns verification off, and not what happens to be falsy.
        ca_bundle: The path of a file of certificates, None for the system's.

    Returns:
        What the transport takes.

    Raises:
        ConfigurationError: ``given`` is nothing of these.
    """
    if given is None or given is True:
        return ca_bundle or True
    if given is False:
        _logger.warning("ssl=False: the service's certificate is not verified")
        return False
    if isinstance(given, (ssl.SSLContext, aiohttp.Fingerprint)):
        return given
    raise ConfigurationError(
        "ssl must be an SSLContext, an aiohttp.Fingerprint, True, False or None, "
        f"not {type(given).__name__}"
    )


def trust(path: str) -> ssl.SSLContext:
    """A context that trusts the certificates of a file, with TLS 1.2 at least. Reads the file.

    Raises:
        ConfigurationError: The file cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=path)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(f"The CA bundle {path} cannot be used: {why}") from error
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context


def environment_proxy(url: str) -> str | None:
    """The proxy that ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` name.

    On macOS and Windows also the system's settings, as for botocore.

    Args:
        url: The endpoint's URL.

    Returns:
        The proxy's URL, None for none.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
