"""The pooled connector: slots, connections and what goes wrong while connecting."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.tracing import Trace
from yarl import URL

from aiosmrt.errors import (
    ConnectError,
    ConnectTimeoutError,
    DeadlineExceededError,
    PoolTimeoutError,
    TransportError,
)
from aiosmrt.transport.exchange import Exchange
from aiosmrt.transport.slots import Slots
from aiosmrt.transport.tls import trust

if TYPE_CHECKING:
    import ssl

    from aiohttp.connector import Connection

__all__ = ["Transport"]

# The service closes idle connections after about 20 s: give them up before it does.
KEEPALIVE_SECONDS = 15.0


class _Probe(Trace):
    """Learns from the connector whether it queued the request and whose connection it gave.

    aiohttp tells this through tracing only. One per request, so without a session or
    a TraceConfig behind it.
    """

    def __init__(self) -> None:
        self.reused = False
        self.queued = False

    async def send_connection_reuseconn(self) -> None:
        self.reused = True

    async def send_connection_queued_start(self) -> None:
        self.queued = True

    async def send_connection_queued_end(self) -> None:
        self.queued = False

    async def send_connection_create_start(self) -> None:
        pass

    async def send_connection_create_end(self) -> None:
        pass

    async def send_dns_resolvehost_start(self, host: str) -> None:
        pass

    async def send_dns_resolvehost_end(self, host: str) -> None:
        pass

    async def send_dns_cache_hit(self, host: str) -> None:
        pass

    async def send_dns_cache_miss(self, host: str) -> None:
        pass


class Transport:
    """Connections to one endpoint URL.

    Args:
        base_url: Scheme, host, port and a path prefix.
        max_connections: Exchanges at once; more wait in line.
        connector: A connector of the user's, shared and never closed here; None makes one.
        tls: As aiohttp takes it: True verifies by the system's certificates; or the path
            of a file of certificates to trust instead.
        proxy: The proxy's URL, with its user and password if it wants them; None for none.

    Attributes:
        host: The Host header's value, for texts and signatures.
        path_prefix: What stands before every request's path.
        target_prefix: What stands before that in the request line: the endpoint, for a
            proxy of plain HTTP.
        proxy_headers: What such a proxy is told in every request.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_connections: int,
        connector: aiohttp.TCPConnector | None = None,
        tls: ssl.SSLContext | aiohttp.Fingerprint | bool | str = True,
        proxy: str | None = None,
    ) -> None:
        self._url = URL(base_url, encoded=True)
        self._tls = tls
        self._proxy = URL(proxy) if proxy else None
        self._owns_connector = connector is None
        self._connector = connector
        self._slots = Slots(max_connections)
        self._template: ClientRequest | None = None
        self._closed = False
        self.host = self._url.host_port_subcomponent or ""
        self.path_prefix = self._url.raw_path.rstrip("/")
        # A plain-HTTP proxy takes the whole URL as the request's target (RFC 9112, 3.2.2).
        self.target_prefix = ""
        self.proxy_headers: tuple[tuple[str, str], ...] = ()
        if self._proxy is not None and self._url.scheme == "http":
            self.target_prefix = f"http://{self.host}"
            if self._proxy.user is not None:
                login = aiohttp.BasicAuth(self._proxy.user, self._proxy.password or "")
                self.proxy_headers = (("Proxy-Authorization", login.encode()),)

    async def _open(self) -> tuple[aiohttp.TCPConnector, ClientRequest]:
        """The connector, and the request that stands for all of ours before it."""
        if isinstance(self._tls, str):
            # Some 150 certificates: 10 ms and more, not on the loop.
            loaded = await asyncio.get_running_loop().run_in_executor(None, trust, self._tls)
            self._tls = loaded
        if self._closed:
            raise TransportError("The session is closed", host=self.host)
        loop = asyncio.get_running_loop()
        if self._connector is None:
            # The slots bound the connections: a second limit would be a second queue.
            self._connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_SECONDS)
        if self._template is None:
            # The connector reads host, TLS and proxy off a ClientRequest, and these
            # are the same for every request of a session.
            self._template = ClientRequest(
                "POST", self._url, loop=loop, ssl=self._tls, proxy=self._proxy
            )
        elif self._template.loop is not loop:
            raise TransportError("The session belongs to another event loop", host=self.host)
        return self._connector, self._template

    async def acquire(
        self, *, deadline: float | None, connect: float | None, fresh: bool = False
    ) -> Exchange:
        """Takes a slot, then a connection.

        Args:
            deadline: When the whole call ends, by the loop's clock; None for never.
            connect: Seconds to a connection; the wait for a slot is not among them.
            fresh: Gives up the pool's idle connections until a new one is made.

        Returns:
            The exchange, to be released or closed.

        Raises:
            PoolTimeoutError: No slot came free before the deadline.
            ConnectTimeoutError: No connection was made in ``connect`` seconds.
            ConnectError: No connection could be made.
            DeadlineExceededError: The deadline passed while connecting.
            TransportError: The session is closed.
        """
        connector, template = await self._open()
        if not self._slots.take_nowait():
            await self._slots.take(deadline, self.host)
        try:
            while True:
                connection, reused = await self._connect(connector, template, deadline, connect)
                if not (fresh and reused):
                    return Exchange(self, connection, reused=reused, deadline=deadline)
                connection.close()
        except BaseException:
            self._slots.give()
            raise

    async def _connect(
        self,
        connector: aiohttp.TCPConnector,
        template: ClientRequest,
        deadline: float | None,
        connect: float | None,
    ) -> tuple[Connection, bool]:
        probe = _Probe()
        remaining = None
        if deadline is not None:
            remaining = deadline - asyncio.get_running_loop().time()
            if remaining <= 0:
                raise DeadlineExceededError("No time is left to connect", host=self.host)
            connect = remaining if connect is None else min(connect, remaining)
        # A connector of the user's may queue the request behind others: that wait is
        # the deadline's matter and not connecting.
        whole = connect if self._owns_connector else remaining
        limits = aiohttp.ClientTimeout(connect=whole, sock_connect=connect)
        try:
            return await connector.connect(template, [probe], limits), probe.reused
        except asyncio.TimeoutError as error:
            raise self._connect_timeout(probe, connect, remaining) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = f"Cannot connect to {self.host}: {_reason(error)}"
            raise ConnectError(text, host=self.host) from error

    def _connect_timeout(
        self, probe: _Probe, connect: float | None, remaining: float | None
    ) -> TransportError:
        if probe.queued:
            return PoolTimeoutError("No connection of the connector came free", host=self.host)
        if remaining is not None and connect == remaining:
            return DeadlineExceededError("The deadline passed while connecting", host=self.host)
        return ConnectTimeoutError(f"No connection was made within {connect} s", host=self.host)

    def give_slot(self) -> None:
        """Returns an exchange's slot."""
        self._slots.give()

    @property
    def closed(self) -> bool:
        """Whether ``aclose`` was called."""
        return self._closed

    async def aclose(self) -> None:
        """Closes the connections made here; those of a user's connector stay. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._slots.fail(self.host)
        if self._owns_connector and self._connector is not None:
            await self._connector.close()


def _reason(error: BaseException) -> str:
    """Why a connection failed, without the proxy's URL, which may hold a password."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate was refused: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status} {error.message}"
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, OSError) and inner.errno:
        # asyncio puts "Connect call failed" where strerror belongs, but not for DNS,
        # whose numbers are not errno's.
        dns = isinstance(inner, socket.gaierror)
        return str(inner.strerror) if dns else os.strerror(inner.errno)
    return type(inner).__name__
