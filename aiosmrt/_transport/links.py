"""Connections over all the exchanges that they carry, and between two of them."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import ssl
import warnings
import weakref
from collections import deque
from functools import cache
from typing import TYPE_CHECKING

from aiosmrt._transport._http1 import ResponseReader
from aiosmrt._transport.tcp import acknowledgement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiohttp.connector import Connection

    from aiosmrt._transport.tcp import Acknowledgement

__all__ = ["IdleLinks", "Link", "open_link"]

# The service closes idle connections after about 20 s: give them up before it does.
KEEPALIVE_SECONDS = 15.0

# What a loop's connections are read into. With 64 KiB a fast stream takes a quarter longer.
_BUFFER_LENGTH = 262_144
# A read up to here is copied at once: a small copy costs less than a slice of a view.
_COPIED_LENGTH = 16_384
# More than what is read and decoded at a time.
_KEPT_MEMORY = 2_097_152
# A connection whose bytes nobody takes is not read further from here on.
_MOST_BUFFERED = 524_288

# One for each loop and not for each thread: loops may change threads.
_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = (
    weakref.WeakKeyDictionary()
)


@cache
def _keep_memory() -> None:
    """Makes glibc keep the memory that one read frees for the next one.

    It gives what is free at the heap's end back to the system from 128 KiB on, so that each
    read would take it again page by page, until a larger block has been freed once
    (mallopt(3), M_TRIM_THRESHOLD): from then on it keeps up to twice that block's length.
    Other allocators do not mind.
    """
    bytes(_KEPT_MEMORY)


class LinkState(enum.Enum):
    """Who has a connection."""

    IN_USE = "in use"  # an exchange
    IDLE = "idle"  # nobody: it waits for the next exchange
    GONE = "gone"  # closed, or given back to the connector


# To look a member up in its class costs as much as a call of a function.
_IN_USE, _IDLE, _GONE = LinkState


class Link(asyncio.BaseProtocol):
    """One connection of the connector's, and the protocol that its transport calls.

    aiohttp's own protocol connects. This one takes its place for as long as the link has
    the connection, reports the connection's loss to it, and puts it back before the
    connector gets the connection back.

    One timer serves all waits of all its exchanges: a wait only moves ``due``, and the
    timer compares it with the clock when it fires.

    Args:
        connection: The connection.
        loop: The event loop of the connection.
        reused: Whether the connection has carried a request before.

    Attributes:
        state: Whether an exchange uses it, it is idle, or it is gone.
        loop: As given.
        transport: The connection's transport.
        reader: Reads what arrives.
        reused: As given; True from the first exchange's end on.
        idle_since: When its last exchange ended, by the loop's clock.
        due: When the wait under way has lasted too long; None where nobody waits.
        expired: Called when that time has come.
        waiter: Resolved when the reader has something new, None where nobody waits.
        failure: Why nothing more comes: the connection's error, or the one that `fail` got.
        final: What the peer had acknowledged when it closed; None where that is not known. A
            peer that resets the connection may have read what it has not acknowledged; a peer
            that closes acknowledges first.
    """

    __slots__ = (
        "_connection",
        "_drained",
        "_fires_at",
        "_handler",
        "_is_paused",
        "_timer",
        "due",
        "expired",
        "failure",
        "final",
        "idle_since",
        "loop",
        "reader",
        "reused",
        "state",
        "transport",
        "waiter",
    )

    def __init__(
        self, connection: Connection, loop: asyncio.AbstractEventLoop, *, reused: bool
    ) -> None:
        handler, transport = connection.protocol, connection.transport
        assert handler is not None  # noqa: S101 - for the type checker: it is None once released
        self._connection = connection
        self._handler = handler
        self._timer: asyncio.TimerHandle | None = None
        self._fires_at = 0.0
        self._drained: asyncio.Future[None] | None = None
        self._is_paused = False
        self.state: LinkState = _IN_USE
        self.loop: asyncio.AbstractEventLoop = loop
        self.transport: asyncio.Transport | None = transport
        self.reader: ResponseReader = ResponseReader()
        self.reused: bool = reused
        self.idle_since: float = 0.0
        self.due: float | None = None
        self.expired: Callable[[], None] | None = None
        self.waiter: asyncio.Future[None] | None = None
        self.failure: BaseException | None = None
        self.final: Acknowledgement | None = None
        # What had come before belongs to no response.
        self.reader.should_close = handler.should_close
        if transport is not None:
            transport.set_protocol(self)

    @property
    def is_clean(self) -> bool:
        """Whether it is open, and what comes next on it is the next request's answer."""
        transport = self.transport
        return not (self.reader.should_close or transport is None or transport.is_closing())

    # -- what an exchange does with it

    def take(self) -> list[bytes]:
        """Takes the pieces of a body that have come; the transport goes on reading."""
        pieces = self.reader.take()
        transport = self.transport
        if self._is_paused and transport is not None and not transport.is_closing():
            self._is_paused = False
            with contextlib.suppress(AttributeError):  # see `is_written`
                transport.resume_reading()
        return pieces

    @property
    def is_written(self) -> bool:
        """Whether the system has taken all that was written."""
        try:
            return self.transport is None or not self.transport.get_write_buffer_size()
        except AttributeError:
            # Python 3.10's TLS transport, one turn before it reports the connection's end.
            return True

    async def drain(self) -> None:
        """Waits until the transport takes more to write.

        Raises:
            ConnectionError: The connection was lost.
        """
        if self.transport is None:
            raise ConnectionResetError
        if self._drained is not None:
            await self._drained

    def fail(self, error: BaseException) -> None:
        """Ends the wait for bytes, and every later one, with an error."""
        if self.failure is None:
            self.failure = error
        self.wake()

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

    # -- what the pool does with it

    def release(self) -> None:
        """Gives the connection back to the connector, which others use too."""
        self._let_go()
        if self.is_clean and self.transport is not None:
            self.transport.set_protocol(self._handler)
            self._connection.release()
        else:
            self._connection.close()

    def close(self) -> None:
        """Closes the connection. Idempotent."""
        if self.state is not _GONE:
            self._let_go()
            self._connection.close()

    def _let_go(self) -> None:
        self.state = _GONE
        self.due = self.expired = self.failure = None
        if self._timer is not None:
            self._timer.cancel()

    # -- what the transport calls

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes the connection's end, whose reason is an OSError or None."""
        transport, self.transport = self.transport, None
        if isinstance(exc, BrokenPipeError) and _tls_of(transport) is None:
            self._note_end(transport)  # the peer had closed before this side wrote
        is_cut = exc is None and _is_cut(transport)  # a closed transport could not say
        if transport is not None:
            transport.close()  # Python 3.10's TLS transport warns if nobody has closed it
        if exc is None:
            self.reader.receive_eof(is_cut=is_cut)
        else:
            self.reader.should_close = True
            if self.failure is None:
                self.failure = exc
        self.wake()
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_exception(ConnectionResetError())
            drained.exception()  # retrieved, should nobody wait for it
        self._handler.connection_lost(exc)

    def eof_received(self) -> None:
        """Notes that the peer sends no more; the transport closes the connection.

        It first writes what it has, if need be to a peer that reads no further.
        """
        self._note_end(self.transport)
        if not self.is_written:
            self.reader.receive_eof(is_cut=_is_cut(self.transport))
            self.wake()

    def _note_end(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            self.final = acknowledgement(transport)

    def pause_writing(self) -> None:
        """Notes that the transport has enough to write."""
        self._drained = self.loop.create_future()

    def resume_writing(self) -> None:
        """Lets a writer go on."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    def _receive(self, data: bytes | memoryview) -> None:
        """Reads what has come, and wakes the task that waits for it.

        The transport stops reading while too much waits to be taken. After bytes that make
        no sense the connection is of no use to anybody, and its end wakes the task.
        """
        reader = self.reader
        reader.receive_data(data)
        if reader.buffered > _MOST_BUFFERED and not self._is_paused and self.transport is not None:
            self._is_paused = True
            self.transport.pause_reading()
        if reader.fault is not None and self.transport is not None:
            self.transport.abort()
        if reader.status_code:
            self.wake()

    def wake(self) -> None:
        """Ends the wait for bytes, so that whoever waits looks for what is new."""
        waiter, self.waiter = self.waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


class _BufferedLink(Link, asyncio.BufferedProtocol):
    """A link whose transport reads into one buffer of the loop's.

    Without one the selector loop allocates 256 KiB for each read, and shrinks it to what
    has come: glibc maps and unmaps memory each time. Whoever reads has handed everything on
    before the next read, so that one buffer serves all connections of a loop.
    """

    __slots__ = ("_buffer",)

    def __init__(
        self, connection: Connection, loop: asyncio.AbstractEventLoop, *, reused: bool
    ) -> None:
        buffer = _buffers.get(loop)
        if buffer is None:
            buffer = _buffers[loop] = memoryview(bytearray(_BUFFER_LENGTH))
        self._buffer = buffer
        super().__init__(connection, loop, reused=reused)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Returns the loop's buffer."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Takes what was read into the buffer."""
        data = self._buffer[:nbytes]
        self._receive(bytes(data) if nbytes <= _COPIED_LENGTH else data)


class _PlainLink(Link, asyncio.Protocol):
    """A link whose transport reads into memory of its own, and hands over what has come.

    uvloop wastes nothing on that. Windows' proactor loop could not share a buffer: it begins
    the next read of a connection while others are read.
    """

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Takes what was read."""
        self._receive(data)


def _is_cut(transport: asyncio.Transport | None) -> bool:
    """Returns whether a TLS connection has ended without its peer's close_notify.

    Without that anybody on the way may have ended it (RFC 8446, 6.1). Event loops report
    both ends alike, but only after a close_notify does OpenSSL report the end.
    """
    tls = _tls_of(transport)
    try:
        return tls is not None and bool(tls.read(1))
    except ssl.SSLZeroReturnError:
        return False
    except (OSError, ValueError):
        return True


def _tls_of(transport: asyncio.Transport | None) -> ssl.SSLObject | None:
    """Returns the TLS of a connection; None if it has none, or was closed on this side."""
    if transport is None:
        return None
    try:
        found: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    except AttributeError:  # Python 3.11's, once it is closed
        return None
    return found


def open_link(connection: Connection, loop: asyncio.AbstractEventLoop, *, reused: bool) -> Link:
    """Takes a connection over, in the way that its loop reads best. See `Link`."""
    _keep_memory()
    cls = _BufferedLink if isinstance(loop, asyncio.SelectorEventLoop) else _PlainLink
    return cls(connection, loop, reused=reused)


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
        link.failure = None
        link.idle_since = link.loop.time()
        link.reused = True
        self._links.append(link)
        if self._timer is None:
            self._expire_at(link.idle_since + KEEPALIVE_SECONDS, link.loop)

    def take(self, now: float) -> Link | None:
        """Returns a connection that is still good; None if no idle one is.

        Args:
            now: The time, by the loop's clock.
        """
        links = self._links
        while links:
            link = links.pop()
            if now - link.idle_since < KEEPALIVE_SECONDS and link.is_clean:
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
