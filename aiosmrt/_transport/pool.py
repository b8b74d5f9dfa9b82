"""The pooled connector: slots, connections and what goes wrong while connecting."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from aiosmrt._threads import Late, Threads
from aiosmrt._transport._aiohttp import ClientRequest, Trace, check_aiohttp
from aiosmrt._transport.exchange import Exchange
from aiosmrt._transport.lifetime import Lifetime
from aiosmrt._transport.links import IdleLinks, Link, open_link
from aiosmrt._transport.proxies import Proxy
from aiosmrt._transport.resolver import ThreadsResolver
from aiosmrt._transport.slots import Slots
from aiosmrt._transport.tls import trust
from aiosmrt.errors import (
    ConfigurationError,
    ConnectError,
    ConnectTimeoutError,
    DeadlineExceededError,
    PoolTimeoutError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractResolver
    from aiohttp.connector import Connection

__all__ = ["Transport"]


class _Probe(Trace):
    """Notes whether the connector queued the request, and whether it reused a connection.

    aiohttp reports both through tracing only. A probe serves one request to the connector,
    so it needs neither a session nor a TraceConfig.
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

    async def _ignore(self, host: str = "") -> None:
        pass

    send_connection_create_start = send_connection_create_end = _ignore
    send_dns_resolvehost_start = send_dns_resolvehost_end = _ignore
    send_dns_cache_hit = send_dns_cache_miss = _ignore


class _NoneIdleError(Exception):
    """A connector has no idle connection at hand."""


class _IdleProbe(Trace):
    """Lets the connector hand out an idle connection, and nothing that has to be waited for."""

    def __init__(self) -> None:
        pass

    async def send_connection_reuseconn(self) -> None:
        pass

    async def _refuse(self) -> None:
        raise _NoneIdleError

    send_connection_create_start = send_connection_queued_start = _refuse


# It keeps nothing, so that one serves all requests.
_IDLE_ONLY: list[Trace] = [_IdleProbe()]


class Transport:
    """Connections to one endpoint URL.

    Args:
        base_url: Scheme, host, port and a path prefix.
        max_connections: Exchanges at once; more wait in line.
        connector: A connector of the user's, shared and never closed here; None makes one.
        tls: As aiohttp takes it: True verifies by the system's certificates; or the path
            of a file of certificates to trust instead.
        proxy: The proxy's URL, with its user and password if it wants them; None for none.
        threads: The session's; None makes some.

    Attributes:
        host: The Host header's value, for texts and signatures.
        lifetime: Ends waits when the transport is closed.
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
        threads: Threads | None = None,
    ) -> None:
        self._url = URL(base_url, encoded=True)
        self._proxy = Proxy.parse(proxy) if proxy else None
        schemes = {self._url.scheme, self._proxy.url.scheme if self._proxy else "http"}
        self._threads = Threads() if threads is None else threads
        self._owns_threads = threads is None
        # Apart from the others, which must not wait for a name server that does not answer.
        self._lookups = Threads()
        self._tls: Late[ssl.SSLContext] | ssl.SSLContext | aiohttp.Fingerprint | bool
        if not isinstance(tls, str):
            self._tls = tls
        elif "https" in schemes:
            # Some 150 certificates: 10 ms and more, not on the loop.
            self._tls = Late(self._threads, partial(trust, tls))
        else:
            self._tls = True  # nothing is encrypted, so that the file need not be read
        self._way = f" through the proxy {self._proxy}" if self._proxy else ""
        if connector is not None and not isinstance(connector, aiohttp.TCPConnector):
            raise ConfigurationError(
                f"connector must be an aiohttp.TCPConnector, not {type(connector).__name__}"
            )
        self._owns_connector = connector is None
        self._connector = connector
        self._slots = Slots(max_connections)
        self._idle = IdleLinks()
        self._exchanges: set[Exchange] = set()
        self._opened: tuple[aiohttp.TCPConnector, ClientRequest] | None = None
        self._closing: asyncio.Task[None] | None = None
        self.host: str = self._url.host_port_subcomponent or ""
        self.lifetime = Lifetime(self.host)
        self.path_prefix: str = self._url.raw_path.rstrip("/")
        # A plain-HTTP proxy takes the whole URL as the request's target (RFC 9112, 3.2.2).
        self.target_prefix: str = ""
        self.proxy_headers: tuple[tuple[str, str], ...] = ()
        if self._proxy is not None and self._url.scheme == "http":
            self.target_prefix = f"http://{self.host}"
            if self._proxy.authorization is not None:
                self.proxy_headers = (("Proxy-Authorization", self._proxy.authorization),)

    def __repr__(self) -> str:
        """How many connections are in use, and how many wait for the next call."""
        return f"{self._slots}, {len(self._idle)} idle"

    async def _open(
        self, deadline: float | None, connect: float | None
    ) -> tuple[aiohttp.TCPConnector, ClientRequest]:
        """The connector, and the request that stands for all of ours before it."""
        loop = asyncio.get_running_loop()
        tls = self._tls
        if isinstance(tls, Late):
            tls = tls.value or await self._load(tls, deadline, connect)
        self.lifetime.check_open()
        if self._opened is None:
            connector = self._connector
            if connector is None:
                # The slots bound the connections: a second limit would be a second queue.
                connector = self._connector = aiohttp.TCPConnector(
                    limit=0, resolver=self._make_resolver()
                )
            template = self._make_template(loop, tls=tls)
            check_aiohttp(template)
            self._opened = connector, template
        elif self._opened[1].loop is not loop:
            text = "The session belongs to another event loop: open one in each"
            raise TransportError(text, host=self.host)
        return self._opened

    def _make_resolver(self) -> AbstractResolver | None:
        """Makes one in place of aiohttp's threads; None where aiohttp uses aiodns."""
        in_threads = aiohttp.DefaultResolver is aiohttp.ThreadedResolver
        return ThreadsResolver(self._lookups) if in_threads else None

    async def _load(
        self, tls: Late[ssl.SSLContext], deadline: float | None, connect: float | None
    ) -> ssl.SSLContext:
        """Waits for the file of certificates, as for a part of connecting."""
        remaining = None if deadline is None else self._remaining(deadline)
        seconds = min((s for s in (connect, remaining) if s is not None), default=None)
        try:
            return await self.lifetime.wait_for(tls.get(), seconds)
        except asyncio.TimeoutError:
            failure = self._connect_timeout(None, seconds, remaining)
        raise failure

    def _make_template(
        self, loop: asyncio.AbstractEventLoop, *, tls: ssl.SSLContext | aiohttp.Fingerprint | bool
    ) -> ClientRequest:
        """What the connector reads host, TLS and proxy off: the same for all of a session."""
        proxy = self._proxy
        if proxy is None:
            return ClientRequest("POST", self._url, loop=loop, ssl=tls)
        if self._url.scheme == "http":
            # Such a proxy is a server like any other, and learns the rest from each request.
            return ClientRequest("POST", proxy.url, loop=loop, ssl=tls)
        headers = None
        if proxy.authorization is not None:
            # Not in the URL, which aiohttp keeps in the keys of its pool and shows in errors.
            # The connector would add a Host, and so change the key after the first request.
            told = {"Proxy-Authorization": proxy.authorization, "Host": self.host}
            headers = CIMultiDict(told)
        return ClientRequest(
            "POST", self._url, loop=loop, ssl=tls, proxy=proxy.url, proxy_headers=headers
        )

    def take(self, deadline: float | None) -> Exchange | None:
        """Takes a slot and a connection that are free now.

        Args:
            deadline: As for ``acquire``.

        Returns:
            The exchange, to be released or closed; None where ``acquire`` has to be awaited.
        """
        opened, idle = self._opened, self._idle
        if opened is None or self.lifetime.is_closed or not idle:
            return None
        loop = opened[1].loop
        if loop is not asyncio.get_running_loop() or not self._slots.take_nowait():
            return None
        now = loop.time()
        link = idle.take(now) if deadline is None or now < deadline else None
        if link is None:
            self._slots.give()
            return None
        return self._exchange(link, deadline)

    async def acquire(
        self,
        *,
        deadline: float | None,
        connect: float | None,
        fresh: bool = False,
        waited: Callable[[float], None] | None = None,
    ) -> Exchange:
        """Takes a slot, then a connection.

        Args:
            deadline: When the whole call ends, by the loop's clock; None for never.
            connect: Seconds to a connection; the wait for a slot is not among them.
            fresh: Gives up the pool's idle connections until a new one is made.
            waited: Told of the seconds for which a slot was waited for, if it was.

        Returns:
            The exchange, to be released or closed.

        Raises:
            ConfigurationError: The file of certificates cannot be used.
            PoolTimeoutError: No slot came free before the deadline.
            ConnectTimeoutError: No connection was made in ``connect`` seconds.
            ConnectError: No connection could be made.
            DeadlineExceededError: The deadline passed while connecting.
            TransportError: The session is closed.
        """
        loop = asyncio.get_running_loop()
        opened = self._opened
        if opened is None or opened[1].loop is not loop:
            opened = await self._open(deadline, connect)
        if not self._slots.take_nowait():
            asked = time.perf_counter()
            try:
                await self._slots.take(deadline, self.host)
            finally:
                if waited is not None:
                    waited(time.perf_counter() - asked)
        try:
            # The slot may have been given just before the session was closed.
            self.lifetime.check_open()
            if fresh:
                self._idle.clear()
            elif deadline is not None:
                self._remaining(deadline)
            link = self._idle.take(loop.time())
            while link is None:
                connection, reused = await self._connect(*opened, deadline, connect)
                link = open_link(connection, loop, reused=reused)
                if self.lifetime.is_closed:
                    link.close()
                    self.lifetime.check_open()
                if reused and (fresh or not link.is_clean):
                    link.close()
                    link = None
        except BaseException:
            self._slots.give()
            raise
        return self._exchange(link, deadline)

    def _exchange(self, link: Link, deadline: float | None) -> Exchange:
        exchange = Exchange(link, host=self.host, deadline=deadline, ended=self._take_back)
        self._exchanges.add(exchange)
        return exchange

    async def _connect(
        self,
        connector: aiohttp.TCPConnector,
        template: ClientRequest,
        deadline: float | None,
        connect: float | None,
    ) -> tuple[Connection, bool]:
        remaining = None
        if deadline is not None:
            remaining = self._remaining(deadline)
            connect = remaining if connect is None else min(connect, remaining)
        # A connector of the user's may queue the request behind others: that wait is
        # the deadline's matter and not connecting.
        whole = connect if self._owns_connector else remaining
        limits = aiohttp.ClientTimeout(sock_connect=connect)
        probe: _Probe | None = None
        failure: TransportError
        cause: BaseException | None
        try:
            if not self._owns_connector:
                try:
                    # This never waits, and so needs no task: one would cost a fifth of a call.
                    return await connector.connect(template, _IDLE_ONLY, limits), True
                except _NoneIdleError:
                    pass
            probe = _Probe()
            connecting = connector.connect(template, [probe], limits)
            connection = await self.lifetime.wait_for(connecting, whole, unwanted=_drop)
            return connection, probe.reused
        except TransportError:
            raise  # a ConnectError is an OSError too
        except asyncio.TimeoutError as error:
            failure, cause = self._connect_timeout(probe, connect, remaining), error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = f"Cannot connect to {self.host}{self._way}: {_reason(error)}"
            failure, cause = ConnectError(text, host=self.host), error
        if self._proxy is not None and self._proxy.authorization is not None:
            # aiohttp's errors and the frames they hold know what was said to the proxy. So
            # this is raised out here too: inside of `except` they would be its context.
            cause = None
        try:
            raise failure from cause
        finally:
            del failure, cause  # they hold this frame, which would hold them

    def _remaining(self, deadline: float) -> float:
        """The seconds until the deadline; without any, nothing is to be sent."""
        remaining = deadline - asyncio.get_running_loop().time()
        if remaining <= 0:
            text = "Timeouts.total ran out before a connection was made"
            raise DeadlineExceededError(text, host=self.host)
        return remaining

    def _connect_timeout(
        self, probe: _Probe | None, connect: float | None, remaining: float | None
    ) -> TransportError:
        if probe is not None and probe.queued:
            text = "No connection of the connector came free until Timeouts.total ran out"
            return PoolTimeoutError(text, host=self.host)
        if remaining is not None and connect == remaining:
            text = "Timeouts.total ran out while connecting"
            return DeadlineExceededError(text, host=self.host)
        text = f"No connection{self._way} was made within Timeouts.connect={connect} s"
        return ConnectTimeoutError(text, host=self.host)

    def __reduce__(self) -> NoReturn:
        raise TypeError("A session is not pickled: its connections are its process's own")

    def _take_back(self, exchange: Exchange, link: Link | None) -> None:
        """Takes back an exchange's slot, and its connection if the response was complete."""
        self._exchanges.discard(exchange)
        self._slots.give()
        if link is None:
            return
        if not self._owns_connector:
            # An idle connection here would count against the limits that others share.
            link.release()
        elif not link.is_clean:
            link.close()
        else:
            self._idle.put(link)

    @property
    def has_exchanges(self) -> bool:
        """Whether a connection is in use."""
        return bool(self._exchanges)

    def close(self) -> None:
        """Closes the connections made here; and those in use of a user's connector. Idempotent.

        Whoever waits for a slot, a connection or an answer gets a TransportError.
        """
        if self.lifetime.is_closed:
            return
        self.lifetime.close()
        self._slots.fail(self.host)
        if self._opened is not None and self._opened[1].loop.is_closed():
            self._exchanges.clear()  # a closed loop's connections cannot be closed any more
        for exchange in list(self._exchanges):
            text = "The session was closed during the call: let its calls end first"
            exchange.close(TransportError(text, host=self.host))
        self._lookups.close()
        if self._owns_threads:
            self._threads.close()
        if self._owns_connector and self._connector is not None:
            # A task, so that no cancellation of `aclose` leaves the connections open.
            self._closing = asyncio.get_running_loop().create_task(_close(self._connector))
            self._closing.add_done_callback(lambda _: self._idle.clear())

    async def aclose(self) -> None:
        """Closes as `close` does, and waits until all is closed. Idempotent."""
        self.close()
        closing = self._closing
        # A loop that was stopped in the middle of closing never ends that.
        if closing is not None and closing.get_loop() is asyncio.get_running_loop():
            await asyncio.wait([closing])
            if not closing.cancelled():
                closing.result()
        await self.lifetime.settle()


async def _close(connector: aiohttp.TCPConnector) -> None:
    # To the connector our idle connections count as in use; closing it closes them too, and
    # waits until they are closed.
    await connector.close()


def _drop(connection: Connection) -> None:
    """Closes a connection that was made for a call which has ended."""
    connection.close()


def _reason(error: BaseException) -> str:
    """Why a connection failed, in the words of whoever knows best."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate was refused: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientResponseError):
        return "the proxy's answer is not HTTP"
    inner = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(inner, ssl.SSLError):
        # Its errno is OpenSSL's, not the system's.
        return f"the TLS handshake failed ({inner.reason or type(inner).__name__})"
    if isinstance(inner, OSError) and inner.errno:
        # asyncio puts "Connect call failed" where strerror belongs, but not for DNS,
        # whose numbers are not errno's.
        dns = isinstance(inner, socket.gaierror)
        return str(inner.strerror) if dns else os.strerror(inner.errno)
    if isinstance(inner, (ConnectionError, aiohttp.ServerDisconnectedError)):
        return "the connection was closed while it was being made"
    return type(inner).__name__
