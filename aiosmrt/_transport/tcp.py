"""How much of what was written a peer's system has acknowledged, as Linux reports it."""

from __future__ import annotations

import socket
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import asyncio

__all__ = ["Acknowledgement", "acknowledgement"]

# tcpi_bytes_acked in Linux's struct tcp_info (linux/tcp.h), since Linux 4.1.
_BYTES_ACKED = struct.Struct("=120xQ")


class Acknowledgement(NamedTuple):
    """What is known of the bytes that were written to a connection.

    Attributes:
        total: How many the peer's system has acknowledged, of all the connection's.
        missing: How many the peer's system has not acknowledged, of those that left.
    """

    total: int
    missing: int


def acknowledgement(transport: asyncio.Transport) -> Acknowledgement | None:
    """Asks the system about a connection that is open, or that is about to be closed.

    Args:
        transport: The connection's transport, also one of TLS.

    Returns:
        What the system knows, of a connection on which something has been acknowledged; None
        where it does not say.
    """
    if sys.platform != "linux":
        return None
    import fcntl
    import termios

    connection = transport.get_extra_info("socket")
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        # SIOCOUTQ of tcp(7), which has the same number.
        missing = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        known = Acknowledgement(_BYTES_ACKED.unpack(info)[0], struct.unpack("=i", missing)[0])
    except (AttributeError, OSError, ValueError, struct.error):
        return None
    # A system that only looks like Linux may leave the number at 0, which would never change.
    return known if known.total else None
