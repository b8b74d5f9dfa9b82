"""Which proxy stands before the service, and what it is told."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import attrs
from yarl import URL

from aiosmrt.errors import ConfigurationError

__all__ = ["Proxy", "environment_proxy"]


@attrs.frozen
class Proxy:
    """A proxy; what logs in to it is kept apart from what may be shown.

    Attributes:
        url: Its URL, without user and password: this one may stand in reprs and errors.
        authorization: The ``Proxy-Authorization`` header's value, None where it wants none.
    """

    url: URL
    authorization: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str, source: str = "The argument proxy") -> Proxy:
        """Reads a proxy's URL.

        Args:
            text: The URL; without a scheme it is ``http://``.
            source: Where it was found, for an error's text.

        Raises:
            ConfigurationError: It is not ``http://`` or ``https://`` with a host. The text
                shows nothing of it: where the ``@`` is forgotten, the password is the port.
        """
        try:
            url = URL(text if "://" in text else f"http://{text.removeprefix('//')}")
            port = url.port
        except ValueError:
            raise ConfigurationError(f"{source} is not the URL of a proxy") from None
        if url.scheme not in ("http", "https"):
            rule = "must be an http:// or https:// URL; others, as of SOCKS, cannot be used"
            raise ConfigurationError(f"{source} {rule}")
        if not url.host or not port:
            raise ConfigurationError(f"{source} is a URL without a host and a port to connect to")
        authorization = None
        if url.user is not None or url.password is not None:
            login = f"{url.user or ''}:{url.password or ''}"
            authorization = f"Basic {b64encode(login.encode()).decode()}"
        return cls(url.origin(), authorization)

    def __str__(self) -> str:
        return self.url.host_port_subcomponent or ""


def environment_proxy(url: str) -> str | None:
    """The proxy that ``http_proxy``, ``https_proxy``, ``all_proxy`` and ``no_proxy`` name.

    On macOS and Windows also the system's settings, as for botocore.

    Returns:
        The proxy's URL, None for none.

    Raises:
        ConfigurationError: It is no proxy's URL; its variable is named.
    """
    parts = urlsplit(url)
    proxies = getproxies()
    kind = next((kind for kind in (parts.scheme, "all") if proxies.get(kind)), None)
    if kind is None or proxy_bypass(parts.netloc):
        return None
    Proxy.parse(proxies[kind], f"The environment's {kind}_proxy")
    return proxies[kind]
