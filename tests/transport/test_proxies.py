"""Through proxies: tunnels, forwarding, whose word counts, and that no password is ever shown.

The proxy is proxy.py in a process of its own, one that asks for a login and one that does not.
Proxies that misbehave, and what exactly they are told, are servers that speak bytes.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import pickle
import re
import subprocess
import sys
import time
import traceback
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import pytest
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies
from support.certificates import serving, trusting
from support.raw_server import RawServer, answer, serve
from support.sessions import KEYS, open_once
from support.waiting import until

import aiosmrt
from aiosmrt._transport import Transport
from aiosmrt._transport.proxies import Proxy, environment_proxy
from aiosmrt.local import LocalEndpoint

if TYPE_CHECKING:
    from pathlib import Path

USER = "alice"
PASSWORD = "pa55:w0rd/ü"
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
# Whatever of it could be shown: as it is, as it stands in a URL, as it stands in a header.
SHOWN = (PASSWORD, "pa55", "w0rd", BASIC, BASIC[:12])


class RunningProxy:
    """proxy.py, and what it has written down."""

    def __init__(self, port: int, log: Path) -> None:
        self.port = port
        self._log = log
        self._told = 0

    def url(self, login: str = "") -> str:
        """Its URL, for one test: a port of an earlier one may serve the next endpoint too."""
        self._told = len(self._log.read_text())
        return f"http://{login}{'@' if login else ''}127.0.0.1:{self.port}"

    async def told_of(self, line: str, count: int) -> None:
        """Waits until the line is in its log as often as that; it writes when a client leaves."""
        await until(lambda: self._log.read_text()[self._told :].count(line) >= count)
        assert self._log.read_text()[self._told :].count(line) == count


@contextlib.contextmanager
def running_proxy(folder: Path, *options: str):
    port_file, log = folder / "port", folder / "log"
    command = [sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0"]
    command += ["--num-workers", "1", "--num-acceptors", "1", "--data-dir", str(folder)]
    command += ["--port-file", str(port_file), "--log-file", str(log), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while not (port_file.exists() and port_file.read_text().strip()):
            assert process.poll() is None
            assert time.monotonic() < end, "the proxy did not start"
            time.sleep(0.01)
        yield RunningProxy(int(port_file.read_text()), log)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    with running_proxy(tmp_path_factory.mktemp("proxy")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A proxy that asks for a login."""
    folder = tmp_path_factory.mktemp("guarded")
    with running_proxy(folder, "--basic-auth", f"{USER}:{PASSWORD}") as running:
        yield running


@contextlib.asynccontextmanager
async def endpoints(*names: str):
    """The local endpoint, which checks signatures, and TLS in front of it."""

    async def forward(connection):
        reader, writer = await asyncio.open_connection(local.host, local.port)
        with contextlib.closing(writer):
            await asyncio.gather(copy(connection.reader, writer), copy(reader, connection.writer))

    async def copy(reader, writer):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def echo(request):
        return request.body

    async def count(request):
        for number in range(5):
            yield b"%d" % number

    async with LocalEndpoint() as local, RawServer(forward, ssl=serving(*names)) as front:
        local.add_model("echo", echo)
        local.add_model("count", count)
        yield local, front


# ── tunnels for https://, forwarding for http:// ─────────────────────────────────────────────


@pytest.mark.parametrize("by", ["argument", "https_proxy", "HTTPS_PROXY", "all_proxy", "no scheme"])
@pytest.mark.parametrize("login", [False, True], ids=["open", "with a login"])
async def test_https_goes_through_a_tunnel(by, login, proxy, guarded, monkeypatch):
    through = guarded if login else proxy
    url = through.url(LOGIN if login else "")
    argument = None
    if by in ("argument", "no scheme"):
        argument = url if by == "argument" else url.removeprefix("http://")
    else:
        monkeypatch.setenv(by, url)
    async with endpoints() as (local, front):
        options = {"credentials": local.credentials, "ssl": trusting(), "proxy": argument}
        async with open_once(front.url, **options) as session:
            for number in range(3):
                body = b"%d" % number
                assert (await session.invoke_endpoint("echo", body)).body == body
            async with session.invoke_endpoint_with_response_stream("count", b"") as stream:
                assert await stream.read() == b"01234"
        assert front.connections == 1  # kept from one call to the next
        await through.told_of(f"CONNECT {front.url.removeprefix('https://')}", 1)
        assert "via" not in local.received[0].headers  # the proxy saw a tunnel only


@pytest.mark.parametrize("by", ["argument", "http_proxy", "all_proxy"])
@pytest.mark.parametrize("login", [False, True], ids=["open", "with a login"])
async def test_http_is_forwarded_and_its_signature_still_holds(
    by, login, proxy, guarded, monkeypatch
):
    url = guarded.url(LOGIN) if login else proxy.url()
    if by != "argument":
        monkeypatch.setenv(by, url)
    async with endpoints() as (local, _):
        options = {"credentials": local.credentials, "proxy": url if by == "argument" else None}
        async with open_once(local.url, **options) as session:
            for number in range(3):
                body = b"%d" % number
                assert (await session.invoke_endpoint("echo", body)).body == body
            async with session.invoke_endpoint_with_response_stream("count", b"") as stream:
                assert await stream.read() == b"01234"
        assert "proxy.py" in local.received[0].headers["via"]
        assert {request.raw_path for request in local.received} == {
            "/endpoints/echo/invocations",
            "/endpoints/count/invocations-response-stream",
        }


async def test_at_most_max_connections_tunnels_are_open_and_all_are_used_again(proxy):
    async with endpoints() as (local, front):
        options = {"credentials": local.credentials, "ssl": trusting(), "proxy": proxy.url()}
        async with open_once(front.url, max_connections=4, **options) as session:
            for _ in range(2):
                await asyncio.gather(*(session.invoke_endpoint("echo", b"x") for _ in range(20)))
        assert front.connections <= 4
        assert len(local.received) == 40


@pytest.mark.parametrize("login", [None, LOGIN], ids=["open", "with a login"])
async def test_what_a_forwarding_proxy_is_told(login):
    async with serve(answer()) as server:
        url = server.url.replace("//", f"//{login}@") if login else server.url
        options = {"proxy": url, "max_connections": 1}
        async with open_once("http://service.internal:81/stage", **options) as session:
            await asyncio.gather(*(session.invoke_endpoint("e", b"x") for _ in range(5)))
        assert server.connections == 1
    for request in server.requests:
        target = "http://service.internal:81/stage/endpoints/e/invocations"
        assert request.line == f"POST {target} HTTP/1.1"
        assert request.headers["host"] == "service.internal:81"
        assert request.headers.get("proxy-authorization") == (f"Basic {BASIC}" if login else None)
        assert "proxy-authorization" not in request.headers["authorization"]  # not signed


@pytest.mark.parametrize("login", [None, LOGIN], ids=["open", "with a login"])
async def test_what_a_tunnelling_proxy_is_told(login):
    heads = []

    async def handler(connection):
        heads.append((await connection.reader.readuntil(b"\r\n\r\n")).decode().lower())
        await connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    async with RawServer(handler) as server:
        url = server.url.replace("//", f"//{login}@") if login else server.url
        async with open_once("https://example.invalid", proxy=url) as session:
            with pytest.raises(aiosmrt.ConnectError, match="proxy answered 403 Forbidden"):
                await session.invoke_endpoint("e", b"x")
    [head] = heads
    assert head.startswith("connect example.invalid:443 http/1.1\r\nhost: example.invalid")
    assert (f"proxy-authorization: basic {BASIC.lower()}\r\n" in head) is (login is not None)
    assert "akid" not in head  # nothing of the request that goes inside of the tunnel


async def test_tunnels_of_one_login_are_not_used_by_another():
    """Two sessions share a connector; the proxy may grant them different things."""
    seen = []

    async def handler(connection):
        head = await connection.reader.readuntil(b"\r\n\r\n")
        seen.append([line for line in head.split(b"\r\n") if b"uthorization" in line])
        await connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", local_front)
        with contextlib.closing(writer):

            async def copy(source, sink):
                while data := await source.read(65_536):
                    sink.write(data)
                sink.close()

            await asyncio.gather(copy(connection.reader, writer), copy(reader, connection.writer))

    async with endpoints() as (local, front), RawServer(handler) as tunnel:
        local_front = int(front.url.rpartition(":")[2])
        async with aiohttp.TCPConnector() as connector:
            options = {"credentials": local.credentials, "ssl": trusting(), "connector": connector}
            for login in ("alice:1@", "bob:1@", "alice:1@", ""):
                through = tunnel.url.replace("//", f"//{login}")
                async with open_once(front.url, proxy=through, **options) as session:
                    for _ in range(2):
                        await session.invoke_endpoint("echo", b"x")
    assert [bool(logins) for logins in seen] == [True, True, False]
    assert seen[0] != seen[1]


async def test_a_certificate_is_verified_inside_of_the_tunnel(proxy):
    async with endpoints("example.org") as (local, front):
        async with open_once(front.url, ssl=trusting(), proxy=proxy.url()) as session:
            with pytest.raises(aiosmrt.ConnectError, match=r"not valid for '127\.0\.0\.1'"):
                await session.invoke_endpoint("echo", b"x")
        assert not local.received


# ── whose word counts ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_proxy_leads_past_the_environments_proxy(scheme, monkeypatch):
    async with RawServer(lambda _: asyncio.sleep(0)) as server:
        nobody = server.url
    monkeypatch.setenv(f"{scheme}_proxy", nobody)
    async with endpoints() as (local, front):
        url = local.url if scheme == "http" else front.url
        options = {"credentials": local.credentials, "ssl": trusting()}
        through = nobody.removeprefix("http://")
        async with open_once(url, **options) as session:
            with pytest.raises(aiosmrt.ConnectError, match=f"through the proxy {through}"):
                await session.invoke_endpoint("echo", b"x")
        monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
        async with open_once(url, **options) as session:
            assert (await session.invoke_endpoint("echo", b"x")).body == b"x"
        # What is said in the code is meant, whatever the environment says.
        async with open_once(url, proxy=nobody, **options) as session:
            with pytest.raises(aiosmrt.ConnectError, match=f"through the proxy {through}"):
                await session.invoke_endpoint("echo", b"x")


URLS = [
    "https://runtime.sagemaker.eu-west-1.amazonaws.com",
    "http://127.0.0.1:8080",
    "https://localhost",
    "http://[::1]:8080",
]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"http_proxy": "http://one:1"},
        {"HTTP_PROXY": "http://one:1", "https_proxy": "https://two:2"},
        {"HTTPS_PROXY": "http://upper:1", "https_proxy": "http://lower:2"},
        {"HTTPS_PROXY": "http://upper:1", "https_proxy": ""},
        {"https_proxy": "two:2", "no_proxy": "sagemaker.eu-west-1.amazonaws.com"},
        {"https_proxy": "//two:2", "http_proxy": "u:p@one:1"},
        {"https_proxy": "two:2", "no_proxy": ".amazonaws.com, localhost"},
        {"https_proxy": "two:2", "NO_PROXY": "*"},
        {"http_proxy": "one:1", "no_proxy": "127.0.0.1:8080"},
        {"http_proxy": "one:1", "no_proxy": "127.0.0.1:81"},
        {"http_proxy": "one:1", "no_proxy": "127.0.0.0/8"},
        {"http_proxy": "one:1", "no_proxy": "[::1]"},
        {"HTTP_PROXY": "one:1", "REQUEST_METHOD": "GET"},  # a header's, in a CGI script
    ],
    ids=str,
)
def test_the_environments_proxy_is_botocores(variables, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for url in URLS:
        theirs = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
        ours = environment_proxy(url)
        assert (theirs is None) is (ours is None)
        if theirs is not None:
            assert Proxy.parse(ours) == Proxy.parse(theirs)


def test_all_proxy_counts_where_no_other_does(monkeypatch):
    """curl's, and many a laptop's; botocore does not look at it."""
    monkeypatch.setenv("all_proxy", "http://all:1")
    monkeypatch.setenv("http_proxy", "http://one:1")
    assert [environment_proxy(url) for url in URLS[:2]] == ["http://all:1", "http://one:1"]


BAD = [
    f"socks5://{LOGIN}@127.0.0.1:1",
    f"ftp://{LOGIN}@127.0.0.1:1",
    f"http://{LOGIN}@127.0.0.1:99999",
    f"http://{LOGIN}@127.0.0.1:port",
    f"http://{LOGIN}@127.0.0.1:0",
    f"http://{LOGIN}@",
    f"http://{LOGIN}",  # the host is forgotten, and the password becomes the port
    f"http://{USER}:{PASSWORD}@127.0.0.1:1",  # its slash is not quoted
    f"{LOGIN}@:1",
    "http://",
]


@pytest.mark.parametrize("by", ["argument", "https_proxy", "all_proxy"])
@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_proxys_url_is_refused_and_not_shown(bad, by, monkeypatch):
    argument = bad if by == "argument" else None
    if argument is None:
        monkeypatch.setenv(by, bad)
    with pytest.raises(aiosmrt.ConfigurationError, match=by) as caught:
        open_once("https://example.invalid", proxy=argument)
    assert_not_shown("".join(traceback.format_exception(caught.value)))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text, url, login",
    [
        ("http://u:p@host:1", "http://host:1", "u:p"),
        ("https://u@host", "https://host", "u:"),
        ("http://:p@host/path?query#fragment", "http://host", ":p"),
        ("u%40corp:%20%2F%3A%40@host:1", "http://host:1", "u@corp: /:@"),
        ("//host:1", "http://host:1", None),
        ("[::1]:3128", "http://[::1]:3128", None),
    ],
)
def test_a_proxys_url_is_taken_apart(text, url, login):
    proxy = Proxy.parse(text)
    assert str(proxy.url) == url
    expected = None if login is None else "Basic " + base64.b64encode(login.encode()).decode()
    assert proxy.authorization == expected


# ── what goes wrong, and that no password is shown ───────────────────────────────────────────


def assert_not_shown(text: str) -> None:
    assert not [word for word in SHOWN if word in text], text


async def reads(connection):
    await connection.reader.readuntil(b"\r\n\r\n")


async def reads_and_resets(connection):
    await reads(connection)
    connection.reset()


def says(data: bytes):
    async def handler(connection):
        await reads(connection)
        await connection.send(data)

    return handler


PROXIES = {
    "closes at once": lambda _: asyncio.sleep(0),
    "reads and closes": reads,
    "reads and resets": reads_and_resets,
    "says nothing": lambda connection: connection.gone(),
    "no HTTP": says(b"\0\1nonsense\r\n\r\n"),
    "407": says(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"),
    "502": says(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
    "half a head": says(b"HTTP/1.1 200 OK\r\nContent-"),
    "200 and then no TLS": says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnonsense"),
}


# What is told of each, where an https:// endpoint is behind it.
CLOSED = "the connection was closed while it was being made"
WHY = {
    "closes at once": f"({CLOSED}|Connection reset by peer)",
    "reads and closes": CLOSED,
    "reads and resets": "Connection reset by peer",
    "says nothing": r"Timeouts\.connect=0\.5 s",
    "no HTTP": "the proxy's answer is not HTTP",
    "407": "the proxy answered 407 Proxy Authentication Required",
    "502": "the proxy answered 502 Bad Gateway",
    "half a head": CLOSED,
    "200 and then no TLS": CLOSED,
    "down": "Connection refused",
    "unknown": r"[A-Z][a-z ]+",  # in the words of the system's resolver
}


def everything_about(error: BaseException) -> str:
    """Its text, its traceback, and the reprs and texts of all that hangs on it."""
    said = [*traceback.format_exception(error)]
    waiting, seen = [error], set()
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            said += [repr(each), str(each), repr(vars(each)), repr(each.args)]
            waiting += [each.__cause__, each.__context__]
    return "\n".join(said)


def locals_in_tunnelling(error: BaseException) -> str:
    """What a tool that reports local variables would send: all but the test's own frames."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "\n".join(
        str(frame.locals) for frame in shown.stack if frame.filename != os.path.realpath(__file__)
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("behaviour", [*PROXIES, "down", "unknown"])
async def test_a_proxy_that_fails_costs_a_call_but_no_password(behaviour, scheme, caplog):
    caplog.set_level(logging.DEBUG)
    limits = aiosmrt.Timeouts(connect=0.5, read=0.5)
    async with RawServer(PROXIES.get(behaviour, reads)) as server:
        host = "proxy.invalid:3128" if behaviour == "unknown" else server.url.partition("//")[2]
        if behaviour == "down":
            server.close()
        url = f"http://{LOGIN}@{host}"
        async with open_once(f"{scheme}://service.internal", proxy=url, timeouts=limits) as session:
            with pytest.raises(aiosmrt.AiosmrtError) as caught:
                await session.invoke_endpoint("e", b"x")
        error = caught.value
        if scheme == "https":
            assert isinstance(error, (aiosmrt.ConnectError, aiosmrt.ConnectTimeoutError))
            why = WHY[behaviour]
            if behaviour == "says nothing":
                told = f"No connection through the proxy {host} was made within {why}"
            else:
                told = f"Cannot connect to service.internal through the proxy {host}: {why}"
            assert re.fullmatch(told, error.message)
            assert_not_shown(locals_in_tunnelling(error))
        assert_not_shown(everything_about(error))
        assert_not_shown(everything_about(pickle.loads(pickle.dumps(error))))  # noqa: S301 - ours
        assert_not_shown(repr(session) + repr(Proxy.parse(url)))
    assert_not_shown(caplog.text)


@pytest.mark.parametrize("login", ["", f"{USER}:pa55-of-yesterday"], ids=["none", "wrong"])
async def test_a_login_that_the_proxy_refuses_is_told(login, guarded, caplog):
    caplog.set_level(logging.DEBUG)
    async with endpoints() as (local, front):
        options = {"credentials": local.credentials, "ssl": trusting()}
        async with open_once(front.url, proxy=guarded.url(login), **options) as session:
            with pytest.raises(aiosmrt.ConnectError, match="the proxy answered 407") as caught:
                await session.invoke_endpoint("echo", b"x")
        assert_not_shown(everything_about(caught.value) + caplog.text)
        async with open_once(local.url, proxy=guarded.url(login), **options) as session:
            with pytest.raises(aiosmrt.AiosmrtError, match="407") as caught:
                await session.invoke_endpoint("echo", b"x")
        assert_not_shown(everything_about(caught.value) + caplog.text)
        assert not local.received


async def test_a_session_is_not_pickled_with_its_proxys_password():
    class Mine:
        async def get_credentials(self):
            return KEYS

    async with open_once("https://example.invalid", proxy=f"http://{LOGIN}@h:1") as session:
        with pytest.raises(TypeError):
            pickle.dumps(session)
    transport = Transport("https://example.invalid", max_connections=1, proxy=f"http://{LOGIN}@h:1")
    with pytest.raises(TypeError, match="A session is not pickled"):
        pickle.dumps(transport)
