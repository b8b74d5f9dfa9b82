"""The connections to S3's hosts, of which there is one for each bucket of AWS."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from aiosmrt._transport import StaleConnectionError, Transport, environment_proxy
from aiosmrt.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmrt._protocol.models import Timeouts
    from aiosmrt._threads import Threads
    from aiosmrt._transport import Exchange, Verification

__all__ = ["Hosts"]

# Those that nobody uses are closed for others beyond it.
MAX_HOSTS = 64
# More than `ObjectStore` lets through.
_MAX_CONNECTIONS = 1024


class Hosts:
    """Opens connections, and keeps those of some hosts.

    Args:
        timeouts: ``connect`` and ``read``.
        proxy: The proxy's URL; None for the one that the environment names.
        tls: What hosts are verified by, as the transport takes it.
        threads: The session's.

    Attributes:
        is_closed: Whether ``close`` was called.
    """

    def __init__(
        self, timeouts: Timeouts, *, proxy: str | None, tls: Verification, threads: Threads
    ) -> None:
        self._timeouts = timeouts
        self._proxy = proxy
        self._tls = tls
        self._threads = threads
        # By URL, the one used last at the end.
        self._transports: dict[str, Transport] = {}
        self._sending: Counter[str] = Counter()
        self.is_closed: bool = False

    def apart(self) -> Hosts:
        """Makes others with the same settings, which the end of these leaves open."""
        return Hosts(self._timeouts, proxy=self._proxy, tls=self._tls, threads=self._threads)

    def close(self) -> None:
        """Drops all connections at once; later requests fail. Idempotent."""
        self.is_closed = True
        for transport in self._transports.values():
            transport.close()

    async def aclose(self) -> None:
        """Drops all connections, and waits until they are closed. Idempotent."""
        self.close()
        await asyncio.gather(*[transport.aclose() for transport in self._transports.values()])

    def check_open(self) -> None:
        """Raises TransportError if they are closed."""
        if self.is_closed:
            text = "The session is closed: keep it open for as long as calls are made"
            raise TransportError(text)

    async def send(
        self,
        url: str,
        write_head: Callable[[Transport], bytes],
        body: bytes | bytearray | memoryview = b"",
    ) -> Exchange:
        """Sends a request, and reads the head of the answer.

        Args:
            url: The host's URL.
            write_head: Writes the request's head, signed at that moment.
            body: The request's body.

        Returns:
            The exchange, to be released or closed.

        Raises:
            TransportError: There is no connection or no answer, or the session is closed.
        """
        connect, read = self._timeouts.connect, self._timeouts.read
        self._sending[url] += 1  # first, or another request could close what this one opens
        try:
            transport = await self._open(url)
            exchange = await transport.acquire(deadline=None, connect=connect)
            try:
                try:
                    await exchange.send(write_head(transport), body, read=read)
                except StaleConnectionError:
                    exchange = await transport.acquire(deadline=None, connect=connect, fresh=True)
                    await exchange.send(write_head(transport), body, read=read)
            except BaseException:
                exchange.close()
                raise
        finally:
            self._sending[url] -= 1
            if not self._sending[url]:
                del self._sending[url]
        return exchange

    async def _open(self, url: str) -> Transport:
        self.check_open()
        transport = self._transports.pop(url, None)
        left: list[Transport] = []
        if transport is None:
            left = self._take_unused()
            transport = Transport(
                url,
                max_connections=_MAX_CONNECTIONS,
                tls=self._tls,
                proxy=self._proxy or environment_proxy(url),
                threads=self._threads,
            )
        self._transports[url] = transport
        for unused in left:
            await unused.aclose()
        return transport

    def _take_unused(self) -> list[Transport]:
        """Takes those out that nobody uses, so that there is room for one more."""
        too_many = len(self._transports) - MAX_HOSTS + 1
        if too_many <= 0:
            return []
        unused = [
            url
            for url, transport in self._transports.items()
            if url not in self._sending and not transport.has_exchanges
        ]
        return [self._transports.pop(url) for url in unused[:too_many]]
