"""Which hosts requests may name, and which web pages may send them.

A page on the internet can have its own name resolve to this machine (DNS rebinding); the
browser then takes the local endpoint for a part of the page's site. Nobody can do so with an
address, and no stranger owns a name without a dot. Source: RFC 9110, 7.4 ("Rejecting
Misdirected Requests"), and the Fetch Metadata Request Headers of the W3C.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

import attrs

from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from multidict import CIMultiDictProxy

__all__ = ["SiteCheck", "SiteRefused", "is_loopback"]

_NAME = re.compile(r"[a-z0-9._-]{1,253}", re.IGNORECASE)
_HOST = re.compile(
    rf"(?:(?P<name>{_NAME.pattern})|\[(?P<ipv6>[0-9a-f:.]+)\])(?::\d*)?", re.IGNORECASE
)
# What a browser says of a request that no other site's page sent.
_OWN_SITE = ("same-origin", "none")


@attrs.define
class SiteRefused(Exception):  # noqa: N818 - a verdict on someone else's request
    """A request names another host, or comes from another site's page.

    Attributes:
        code: The error's code.
        message: Its text.
        status_code: The HTTP status.
    """

    code: str
    message: str
    status_code: int


class SiteCheck:
    """Checks what browsers cannot be made to forge: Host, Origin and Sec-Fetch-Site.

    Args:
        host: The address that is listened on. Other machines and containers reach one that is
            not loopback, by names without a dot too.
        allowed_hosts: Further names, each with any port.
        takes_pages: Whether other sites' pages may send requests, as where each request must
            be signed.

    Raises:
        ConfigurationError: ``allowed_hosts`` holds what is not a host's name.
    """

    def __init__(self, host: str, allowed_hosts: Iterable[str], *, takes_pages: bool) -> None:
        names = [allowed_hosts] if isinstance(allowed_hosts, str) else list(allowed_hosts)
        for name in names:
            if not _NAME.fullmatch(name):
                raise ConfigurationError(
                    f"allowed_hosts holds {name!r}, which is not a host's name: give a list of "
                    "names without scheme and port"
                )
        self._names = {_normal(name) for name in ("localhost", host, *names)}
        self._takes_names_without_dot = not is_loopback(host)
        self._takes_pages = takes_pages

    def check(self, headers: CIMultiDictProxy[str]) -> None:
        """Checks one request.

        Raises:
            SiteRefused: The request is not for this endpoint, or was sent by another site's page.
        """
        hosts = headers.getall("Host", [])
        if len(hosts) != 1:
            raise SiteRefused(
                "MisdirectedRequest",
                f"The request has {len(hosts)} Host headers: the local endpoint takes one, so "
                "that it knows for whom the request is",
                421,
            )
        if not self._is_own(hosts[0]):
            raise SiteRefused(
                "MisdirectedRequest",
                f"The Host header names {hosts[0][:300]!r}, which is not this local endpoint. "
                "Call it by an address or localhost, or allow the name: "
                "LocalEndpoint(allowed_hosts=[...]), aiosmrt local --allow-host NAME",
                421,
            )
        if self._takes_pages:
            return
        site = headers.get("Sec-Fetch-Site", "none")
        origins = headers.getall("Origin", [])
        own = hosts[0].lower()
        if site not in _OWN_SITE or any(_authority(origin) != own for origin in origins):
            raise SiteRefused(
                "CrossSiteRequest",
                "Signatures are not checked here, so another site's web page may not send "
                "requests: the Origin or Sec-Fetch-Site header shows that one did",
                403,
            )

    def _is_own(self, value: str) -> bool:
        found = _HOST.fullmatch(value)
        if found is None:
            return False
        name = _normal(found["name"] or found["ipv6"])
        if name in self._names or _address(name) is not None:
            return True
        return self._takes_names_without_dot and "." not in name and ":" not in name


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches a host."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


def _normal(name: str) -> str:
    return name.lower().removesuffix(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _authority(origin: str) -> str:
    return origin.lower().partition("://")[2]
