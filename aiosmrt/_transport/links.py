"""Connections over all the exchanges that they carry, and between two of them."""

from __future__ import annotations

import enum
import warnings
import weakref
from collections import deque
from typing import TYPE_CHECKING

from aiosmrt._transport.parsers import expect_nothing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection

__all__ = ["IdleLinks", "Link"]

# The service closes idle connections after about 20 s: give them up before it does.
KEEPALIVE_SECONDS = 15.0


class LinkState(enum.Enum):
    """Who has a connection."""

    IN_USE = "in use"  # an exchange
    IDLE = "idle"  # nobody: it waits for the next exchange
    GONE = "gone"  # closed, or given back to the connector


# To look a member up in its class costs as much as a call of a function.
_IN_USE, _IDLE, _GONE = LinkState


class Link:
    """One connection of the connector's.

    One timer serves all waits of all its exchanges: a wait only moves ``due``, and the
    timer compares it with the clock when it fires.

    Args:
        connection: The connection.
        loop: The event loop of the connection.
        reused: Whether the connection has carried a request before.

    Attributes:
        state: Whether an exchange uses it, it is idle, or it is gone.
        connection: As given.
        loop: As given.
        protocol: The connection's protocol.
        reused: As given; True from the first exchange's end on.
        idle_since: When its last exchange ended, by the loop's clock.
        due: When the wait under way has lasted too long; None where nobody waits.
        expired: Called when that time has come.
    """

    __slots__ = (
        "_fires_at",
        "_timer",
        "connection",
        "due",
        "expired",
        "idle_since",
        "loop",
        "protocol",
        "reused",
        "state",
    )

    def __init__(
        self, connection: Connection, loop: asyncio.AbstractEventLoop, *, reused: bool
    ) -> None:
        protocol = connection.protocol
        assert protocol is not None  # noqa: S101 - for the type checker: it is None once released
        self.state: LinkState = _IN_USE
        self.connection: Connection = connection
        self.protocol: ResponseHandler = protocol
        self.loop: asyncio.AbstractEventLoop = loop
        self.reused: bool = reused
        self.idle_since: float = 0.0
        self.due: float | None = None
        self.expired: Callable[[], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether it is open, and what comes next on it is the next request's answer.

        aiohttp checks for stray bytes on return to the pool but not on checkout: they would
        be read as the next answer.
        """
        return self.protocol.is_connected() and not self.protocol.should_close

    def wait_until(self, due: float | None) -> None:
        """Begins a wait: ``expired`` is called at ``due``, unless that was set to None."""
        self.due = due
        if due is not None and (self._timer is None or self._fires_at > due):
            self._fire_at(due)

    def _fire_at(self, when: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = when
        self._timer = self.loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self.due is None:
            return
        if self.loop.time() < self.due:
            self._fire_at(self.due)
        elif self.expired is not None:
            self.expired()

    def release(self) -> None:
        """Gives the connection back to the connector, which others use too."""
        self._let_go()
        self.connection.release()

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        if self.state is not _GONE:
            self._let_go()
            self.connection.close()

    def _let_go(self) -> None:
        self.state = _GONE
        self.due = self.expired = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class IdleLinks:
    """The connections that wait for their next exchange; the last to come is the first to go.

    To the connector they count as in use. Returning each one would cost a third of what the
    rest of an exchange takes, and the connector keeps them for nobody else.
    """

    def __init__(self) -> None:
        self._links: deque[Link] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._links)

    def put(self, link: Link) -> None:
        """Keeps a connection for up to ``KEEPALIVE_SECONDS``."""
        link.state = _IDLE
        link.idle_since = link.loop.time()
        link.reused = True
        expect_nothing(link.protocol)
        self._links.append(link)
        if self._timer is None:
            self._expire_at(link.idle_since + KEEPALIVE_SECONDS, link.loop)

    def take(self, loop: asyncio.AbstractEventLoop) -> Link | None:
        """Returns a connection that is still good, None where there is none."""
        links = self._links
        while links:
            link = links.pop()
            if loop.time() - link.idle_since < KEEPALIVE_SECONDS and link.is_clean:
                link.state = _IN_USE
                return link
            link.close()
        return None

    def clear(self) -> None:
        """Closes them all."""
        while self._links:
            self._links.pop().close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire_at(self, when: float, loop: asyncio.AbstractEventLoop) -> None:
        # Weakly: the timer shall not hide from the collector that nobody closes the session.
        self._timer = loop.call_at(when, _expire, weakref.ref(self))

    def expire(self) -> None:
        """Closes those that have been idle for too long."""
        self._timer = None
        while self._links:
            oldest = self._links[0]
            due = oldest.idle_since + KEEPALIVE_SECONDS
            if oldest.loop.time() < due:
                self._expire_at(due, oldest.loop)
                return
            self._links.popleft().close()

    def __del__(self) -> None:
        if not self._links or self._links[0].loop.is_closed():
            return  # aiohttp warns of the connections of a closed loop
        # The garbage collector may run in any thread; and a warning may be an error.
        self._links[0].loop.call_soon_threadsafe(_close, self._links)
        text = "a Session was not closed: enter it with async with, or await its aclose()"
        warnings.warn(text, ResourceWarning, source=self, stacklevel=2)


def _expire(dereference: Callable[[], IdleLinks | None]) -> None:
    idle = dereference()
    if idle is not None:
        idle.expire()


def _close(links: Iterable[Link]) -> None:
    for link in links:
        link.close()
