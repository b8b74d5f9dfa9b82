"""Clients that stop: within a request's body, within its head, and before one.

Each watch looks at regular times whether anything has moved since it looked last, so that
bytes which arrived while the event loop was busy count.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp import StreamReader, web

__all__ = ["BodyWatch", "ConnectionWatch"]

# How often a watch looks within the seconds that a client has. What moved last may have done
# so right before a look, so that one more is needed for the seconds to have passed.
_LOOKS = 2


class BodyWatch:
    """Breaks off the reading of a body of which nothing arrives for so many seconds.

    The reader then raises asyncio.TimeoutError; so aiohttp, too, waits for no more of it.
    """

    def __init__(self, content: StreamReader, seconds: float) -> None:
        self._content = content
        self._interval = seconds / _LOOKS
        self._quiet_looks = 0
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def moved(self) -> None:
        """Notes that bytes have arrived."""
        self._quiet_looks = 0

    def stop(self) -> None:
        """Ends the watch."""
        self._timer.cancel()

    def _look(self) -> None:
        self._quiet_looks += 1
        if self._quiet_looks > _LOOKS:
            self._content.set_exception(asyncio.TimeoutError())
        else:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)


class ConnectionWatch:
    """Closes connections that have brought no whole head of a request for so many seconds.

    However slowly a head arrives, it has no longer; aiohttp's own timer begins, in some of its
    versions, with the first answer only.

    Args:
        connections: Lists the open connections.
        answering: The requests that are being answered, whose connections are not idle.
        seconds: How long one may be idle.
    """

    def __init__(
        self,
        connections: Callable[[], Collection[web.RequestHandler]],
        answering: Callable[[], Collection[web.BaseRequest]],
        seconds: float,
    ) -> None:
        self._connections = connections
        self._answering = answering
        self._interval = seconds / _LOOKS
        self._quiet_looks: dict[web.RequestHandler, int] = {}
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)

    def moved(self, connection: web.RequestHandler) -> None:
        """Notes that a request has come on a connection."""
        self._quiet_looks.pop(connection, None)

    def stop(self) -> None:
        """Ends the watch."""
        self._timer.cancel()

    def _look(self) -> None:
        busy = {request.protocol for request in self._answering()}
        before, self._quiet_looks = self._quiet_looks, {}
        for connection in self._connections():
            transport = connection.transport
            # An answer that is not yet read is being read.
            if transport is None or connection in busy or transport.get_write_buffer_size():
                continue
            quiet_looks = before.get(connection, 0) + 1
            if quiet_looks > _LOOKS:
                transport.close()
            else:
                self._quiet_looks[connection] = quiet_looks
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._look)
