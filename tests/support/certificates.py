"""An authority of the tests' own, servers that it vouches for, and clients that trust it."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trustme

if TYPE_CHECKING:
    from datetime import datetime

AUTHORITY = trustme.CA()


def serving(*names: str, authority: trustme.CA = AUTHORITY, **when: datetime) -> ssl.SSLContext:
    """A server's context, with a certificate for these names."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*(names or ("127.0.0.1",)), **when).configure_cert(context)
    return context


def trusting(authority: trustme.CA = AUTHORITY) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
