"""Host names looked up in a session's own threads: the answers are those of aiohttp's resolver."""

from __future__ import annotations

import socket
import sys
from typing import Any

import aiohttp
import pytest

from aiosmrt._threads import Threads
from aiosmrt._transport.resolver import ThreadsResolver


async def resolve(host: str, family: socket.AddressFamily) -> list[Any]:
    threads = Threads()
    resolver = ThreadsResolver(threads)
    try:
        found = await resolver.resolve(host, 443, family)
        await resolver.close()
        assert await threads.run(int, "7") == 7  # others use the threads too
        return found
    finally:
        threads.close()


@pytest.mark.parametrize(
    "host, family",
    [
        ("localhost", socket.AF_INET),
        ("localhost", socket.AF_UNSPEC),
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
    ],
)
async def test_the_answers_are_those_of_aiohttps_resolver(
    host: str, family: socket.AddressFamily
) -> None:
    theirs = await aiohttp.ThreadedResolver().resolve(host, 443, family)
    assert theirs
    assert await resolve(host, family) == theirs


async def test_the_network_of_an_address_is_a_part_of_its_number() -> None:
    """aiohttp's own resolver loses it on uvloop."""
    found = await resolve("fe80::1%1", socket.AF_INET6)
    assert {each["host"] for each in found} == {f"fe80::1%{socket.if_indextoname(1)}"}


async def test_a_host_that_nobody_knows_is_an_error_of_the_systems() -> None:
    with pytest.raises(socket.gaierror):
        await resolve("nobody.invalid", socket.AF_UNSPEC)


@pytest.mark.parametrize("platform", ["linux", "win32"])
@pytest.mark.parametrize(
    "host, is_own",
    [("localhost", True), ("model.localhost", True), ("notlocalhost", False), ("a.b", False)],
)
async def test_addresses_of_kinds_that_the_machine_lacks_are_left_out(
    host: str, is_own: bool, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Except on Windows for the machine itself, whose own address would be left out too."""
    asked = []

    def getaddrinfo(*arguments: Any) -> list[Any]:
        asked.append(arguments)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(sys, "platform", platform)
    (found,) = await resolve(host, socket.AF_UNSPEC)
    assert (found["hostname"], found["host"], found["proto"]) == (host, "127.0.0.1", 6)
    flags = 0 if is_own and platform == "win32" else socket.AI_ADDRCONFIG
    assert asked == [(host, 443, socket.AF_UNSPEC, socket.SOCK_STREAM, 0, flags)]
