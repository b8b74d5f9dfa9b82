"""Host names looked up in threads of our own: the event loop's executor may be full."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from aiosmrt._threads import Threads

__all__ = ["ThreadsResolver"]

_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_AS_NUMBERS = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class ThreadsResolver(AbstractResolver):
    """The system's resolver, as aiohttp's ThreadedResolver asks it.

    Args:
        threads: Where it is asked.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Looks a host up.

        Raises:
            OSError: The host is not known.
        """
        return await self._threads.run(_look_up, host, port, family)

    async def close(self) -> None:
        """Does nothing: the threads are closed by their owner."""


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    # On Windows without a network AI_ADDRCONFIG leaves no address of the machine itself.
    is_own = sys.platform == "win32" and (host == "localhost" or host.endswith(".localhost"))
    flags = 0 if is_own else socket.AI_ADDRCONFIG
    found = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, flags)
    return [
        ResolveResult(
            hostname=host,
            # The scope of a link-local address is part of its number.
            host=socket.getnameinfo(address, _AS_NUMBERS)[0],
            port=port,
            family=kind,
            proto=proto,
            flags=_NUMERIC,
        )
        for kind, _, proto, _, address in found
    ]
