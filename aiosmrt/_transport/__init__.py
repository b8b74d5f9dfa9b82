"""The pooled connector and one HTTP/1.1 exchange over it.

The only module that sees aiohttp's client or catches its exceptions. It takes
connections from aiohttp's TCPConnector, which brings TLS, proxies, happy eyeballs and
the DNS cache, and keeps those that are idle (a connector of the user's keeps its own).
The request head is written here, and the response read by `_http1`. So a request is signed
when its connection is there and it is about to be written, never while it waits in a
queue, and nothing follows redirects, keeps cookies, adds headers or decompresses.

The order of every exchange: ``acquire`` a slot and a connection, ``send``, then
``receive`` or ``read``, then ``release`` (or ``close`` on any error: a connection in
an unknown state is never used again).
"""

from __future__ import annotations

from aiosmrt._transport.exchange import Exchange, StaleConnectionError
from aiosmrt._transport.lifetime import Clock, Lifetime
from aiosmrt._transport.pool import Transport
from aiosmrt._transport.proxies import environment_proxy
from aiosmrt._transport.slots import Slots
from aiosmrt._transport.tls import Verification, beside_the_service, choose_tls

__all__ = [
    "Clock",
    "Exchange",
    "Lifetime",
    "Slots",
    "StaleConnectionError",
    "Transport",
    "Verification",
    "beside_the_service",
    "choose_tls",
    "environment_proxy",
]
