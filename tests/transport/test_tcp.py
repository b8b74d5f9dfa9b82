"""What Linux says of the bytes on a connection: the truth, or nothing."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.raw_server import Connection, RawServer, answer
from support.transports import begin, open_transport

from aiosmrt._transport import StaleConnectionError, exchange, links
from aiosmrt._transport.tcp import Acknowledgement, acknowledgement
from aiosmrt.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Holding:
    """As a transport does, it hands out the socket that it has."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self._held


@contextlib.contextmanager
def connected(family: socket.AddressFamily, address: str) -> Iterator[list[socket.socket]]:
    """Both ends of a connection."""
    with socket.create_server((address, 0), family=family) as listening:
        near = socket.create_connection(listening.getsockname()[:2])
        far, _ = listening.accept()
    with near, far:
        yield [near, far]


@pytest.mark.parametrize(
    "family, address", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_what_the_peers_system_has_is_told_from_what_it_lacks(
    family: socket.AddressFamily, address: str
) -> None:
    with connected(family, address) as (near, far):
        near.sendall(b"x" * 1000)
        assert far.recv(1000, socket.MSG_WAITALL)
        before = acknowledgement(Holding(near))
        assert before is not None
        assert before.missing == 0
        far.close()
        near.sendall(b"y" * 300)
        assert acknowledgement(Holding(near)) == Acknowledgement(before.total, 300)


def test_what_a_closing_peer_had_read_is_acknowledged() -> None:
    with connected(socket.AF_INET, "127.0.0.1") as (near, far):
        near.sendall(b"x" * 1000)
        assert far.recv(1000, socket.MSG_WAITALL)
        before = acknowledgement(Holding(near))
        assert before is not None
        near.sendall(b"y" * 300)
        assert far.recv(300, socket.MSG_WAITALL)
        far.close()
        assert near.recv(1) == b""
        assert acknowledgement(Holding(near)) == Acknowledgement(before.total + 300, 0)


class LooksLikeLinux:
    """A socket of a system that knows Linux's calls, and leaves what it does not count at 0."""

    def __init__(self, real: socket.socket) -> None:
        self.fileno = real.fileno

    def getsockopt(self, _level: int, _name: int, length: int) -> bytes:
        return bytes(length)


def test_a_system_that_does_not_count_says_nothing() -> None:
    with connected(socket.AF_INET, "127.0.0.1") as (near, _):
        near.sendall(b"x")
        assert acknowledgement(Holding(LooksLikeLinux(near))) is None


def test_a_socket_that_is_none_of_tcps_says_nothing() -> None:
    near, far = socket.socketpair()
    with near, far:
        near.sendall(b"x")
        assert acknowledgement(Holding(near)) is None


@pytest.mark.parametrize("gone", [True, False])
def test_a_closed_connection_says_nothing(gone: bool) -> None:
    """Its number may be another file's by then."""
    with connected(socket.AF_INET, "127.0.0.1") as (near, _):
        near.sendall(b"x")
        near.close()
        with Path("/dev/null").open():
            assert acknowledgement(Holding(None if gone else near)) is None


async def test_what_left_by_a_way_that_nobody_counts_may_have_been_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As when a connection has several paths, and the system counts the first one."""

    def of_the_first_path(transport: Any) -> Acknowledgement | None:
        found = acknowledgement(transport)
        return None if found is None else Acknowledgement(1000, found.missing)

    for module in (exchange, links):
        monkeypatch.setattr(module, "acknowledgement", of_the_first_path)
    await _lose_an_upload(reads=True)


async def test_without_a_count_before_a_request_nobody_knows_what_was_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exchange, "acknowledgement", lambda _: None)
    await _lose_an_upload(reads=False)


async def _lose_an_upload(*, reads: bool) -> None:
    """Fails if a request is known as unread that goes over a kept connection, which ends."""

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(answer())
        if reads:
            await connection.request()

    async with RawServer(handler) as server, open_transport(server) as transport:
        await (await begin(transport)).read(5.0, None)
        with pytest.raises(ConnectionLostError) as caught:
            await begin(transport, body=bytes(100_000))
        assert not isinstance(caught.value, StaleConnectionError)
