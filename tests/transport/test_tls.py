"""Who is believed to be the service: authorities, names, versions, and what cannot be turned off.

Certificates are trustme's, the servers are real, and every refusal is shown to come before one
byte of a request. What is trusted is told in each way that a user has.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import ssl
import threading
import warnings
from datetime import datetime, timedelta, timezone

import aiohttp
import pytest
import trustme
from aiohttp.client_proto import ResponseHandler
from support.certificates import AUTHORITY, serving, trusting
from support.raw_server import RawServer, answer, serve
from support.sessions import open_once
from support.transports import idle
from support.waiting import until

import aiosmrt
from aiosmrt._transport.tls import beside_the_service, choose_tls

PAST = datetime.now(timezone.utc) - timedelta(days=2)


async def call(session: aiosmrt.Session) -> bytes:
    return (await session.invoke_endpoint("e", b"x")).body


async def refusal(server: RawServer, **options) -> str:
    """The text of the error; nothing was sent."""
    async with open_once(server.url, **options) as session:
        with pytest.raises(aiosmrt.ConnectError) as caught:
            await call(session)
    assert not server.requests
    return str(caught.value)


@pytest.fixture
def bundle(tmp_path) -> str:
    """The path of a file with the authority's certificate."""
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return str(tmp_path / "authority.pem")


@pytest.fixture
def trusted(request, bundle, tmp_path, monkeypatch):
    """The session's arguments in a set-up that trusts the authority."""
    if request.param == "argument":
        return {"ssl": trusting()}
    if request.param == "argument before environment":
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))
        return {"ssl": trusting()}
    if request.param == "environment":
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
        return {}
    if request.param == "ssl=True":
        monkeypatch.setenv("AWS_CA_BUNDLE", bundle)
        return {"ssl": True}
    (tmp_path / "config").write_text(f"[profile corp]\nca_bundle = {bundle}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return {"profile": "corp"}


every_way = pytest.mark.parametrize(
    "trusted",
    ["argument", "argument before environment", "environment", "ssl=True", "profile"],
    indirect=True,
)


# ── what is trusted ──────────────────────────────────────────────────────────────────────────


@every_way
async def test_an_authority_is_trusted_when_it_is_named(trusted):
    async with (
        serve(answer(), ssl=serving()) as server,
        open_once(server.url, **trusted) as session,
    ):
        assert await call(session) == b"ok"
        assert await call(session) == b"ok"
        assert server.connections == 1


async def test_an_authority_that_nobody_named_is_refused():
    async with serve(answer(), ssl=serving()) as server:
        assert "certificate was refused" in await refusal(server)


@every_way
@pytest.mark.parametrize(
    "context, why",
    [
        (serving("example.org"), "not valid for '127.0.0.1'"),
        (serving(authority=trustme.CA()), "unable to get local issuer"),
        (serving(not_before=PAST, not_after=PAST + timedelta(days=1)), "has expired"),
    ],
    ids=["another host's", "another authority's", "expired"],
)
async def test_a_certificate_that_is_not_the_hosts_is_refused(trusted, context, why):
    async with serve(answer(), ssl=context) as server:
        assert why in await refusal(server, **trusted)


@every_way
async def test_a_self_signed_certificate_is_refused(trusted, tmp_path):
    alone = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    pair = tmp_path / "self-signed.pem"
    pair.write_bytes(alone.private_key_pem.bytes() + alone.cert_pem.bytes())
    context.load_cert_chain(pair)
    async with serve(answer(), ssl=context) as server:
        assert "self-signed certificate" in await refusal(server, **trusted)


async def test_a_fingerprint_is_the_certificate_and_no_other():
    context = serving()
    async with serve(answer(), ssl=context) as server:
        host, port = server.url.removeprefix("https://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=trusting())
        certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
        digest = hashlib.sha256(certificate).digest()
        assert "Fingerprint" in await refusal(server, ssl=aiohttp.Fingerprint(digest[::-1]))
        async with open_once(server.url, ssl=aiohttp.Fingerprint(digest)) as session:
            assert await call(session) == b"ok"


def test_other_hosts_than_that_of_a_fingerprint_are_verified_by_authorities(bundle):
    fingerprint = aiohttp.Fingerprint(bytes(32))
    assert beside_the_service(fingerprint, None) is True
    assert beside_the_service(fingerprint, bundle) == bundle
    for given in (True, False, "another.pem", trusting()):
        assert beside_the_service(given, bundle) is given


# ── versions ─────────────────────────────────────────────────────────────────────────────────


def old(context: ssl.SSLContext) -> ssl.SSLContext:
    """The context for TLS 1.1 and nothing newer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    return context


@every_way
async def test_a_server_of_tls_1_1_is_refused(trusted):
    async with serve(answer(), ssl=old(serving())) as server:
        host, port = server.url.removeprefix("https://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), ssl=old(trusting()))
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.1"  # so it does serve
        writer.close()
        await writer.wait_closed()
        assert "Cannot connect" in await refusal(server, **trusted)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("trusted", ["argument", "environment"], indirect=True)
async def test_servers_of_today_are_taken(trusted, version):
    context = serving()
    context.minimum_version = context.maximum_version = version
    async with serve(answer(), ssl=context) as server, open_once(server.url, **trusted) as session:
        assert await call(session) == b"ok"


# ── nothing turns it off by accident ─────────────────────────────────────────────────────────


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("given", [0, "", b"", [], {}, 1, "authority.pem", object], ids=repr)
def test_what_is_no_answer_to_the_question_is_refused(given):
    with pytest.raises(aiosmrt.ConfigurationError, match="ssl must be an SSLContext"):
        aiosmrt.Session(region="eu-west-1", ssl=given)


@pytest.mark.parametrize(
    "context",
    [unverified(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)],
    ids=["unverified", "a server's"],
)
def test_a_context_that_verifies_nothing_is_refused(context):
    with pytest.raises(aiosmrt.ConfigurationError, match="or ssl=False if that is meant"):
        aiosmrt.Session(region="eu-west-1", ssl=context)


def test_a_context_of_old_versions_is_refused():
    context = ssl.create_default_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(aiosmrt.ConfigurationError, match=r"before TLS 1\.2: set its minimum_"):
        aiosmrt.Session(region="eu-west-1", ssl=context)


async def test_a_context_that_leaves_the_name_open_is_taken_and_told_of(caplog):
    context = trusting()
    context.check_hostname = False
    async with serve(answer(), ssl=serving("example.org")) as server:
        async with open_once(server.url, ssl=context) as session:
            assert await call(session) == b"ok"
    assert "does not check that the certificate is the host's" in caplog.text


async def test_false_turns_it_off_and_is_told_of(caplog):
    async with serve(answer(), ssl=serving("example.org")) as server:
        async with open_once(server.url, ssl=False) as session:
            assert await call(session) == b"ok"
    assert [(record.levelno, record.name) for record in caplog.records] == [
        (logging.WARNING, "aiosmrt")
    ]
    assert "is not verified" in caplog.text


def test_verifying_is_the_default():
    assert choose_tls(None, None) is True
    assert choose_tls(True, None) is True


# ── the file of certificates ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wrong", ["missing", "empty", "a folder", "a key", "no PEM"])
async def test_a_bundle_that_cannot_be_used_is_named_and_read_anew_when_mended(
    wrong, tmp_path, monkeypatch
):
    path = tmp_path / "bundle.pem"
    if wrong == "a folder":
        path.mkdir()
    elif wrong == "a key":
        AUTHORITY.private_key_pem.write_to_path(str(path))
    elif wrong != "missing":
        path.write_text("" if wrong == "empty" else "certificate")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    async with serve(answer(), ssl=serving()) as server, open_once(server.url) as session:
        for _ in range(2):
            with pytest.raises(aiosmrt.ConfigurationError, match=f"{path} .*AWS_CA_BUNDLE"):
                await call(session)
        assert not server.connections
        if wrong == "a folder":
            path.rmdir()
        AUTHORITY.cert_pem.write_to_path(str(path))
        assert await call(session) == b"ok"


async def test_a_bundle_is_read_only_where_something_is_encrypted(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    async with serve(answer()) as server:
        async with open_once(server.url) as session:
            assert await call(session) == b"ok"
        async with open_once(server.url, proxy="https://127.0.0.1:1") as session:
            with pytest.raises(aiosmrt.ConfigurationError, match=r"missing\.pem"):
                await call(session)


@pytest.fixture
def pipe(tmp_path):
    """A pipe's path. Who has waited 5 s for its other end finds it empty: no test hangs here."""
    path = tmp_path / "bundle.pem"
    os.mkfifo(path)
    over = threading.Event()

    def release():
        while not over.wait(5):
            with contextlib.suppress(OSError):  # ENXIO: nobody reads
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))

    thread = threading.Thread(target=release)
    thread.start()
    yield path
    over.set()
    thread.join()


async def test_the_bundle_is_read_off_the_event_loop_and_once(pipe, monkeypatch):
    """It is a pipe that the event loop itself fills, once: read on the loop it stays empty."""
    monkeypatch.setenv("AWS_CA_BUNDLE", str(pipe))
    async with serve(answer(), ssl=serving()) as server, open_once(server.url) as session:
        calls = [asyncio.create_task(call(session)) for _ in range(5)]
        end = -1

        def reader_has_come() -> bool:
            nonlocal end
            with contextlib.suppress(OSError):  # ENXIO: nobody reads yet
                end = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
            return end >= 0

        await until(reader_has_come)
        os.write(end, AUTHORITY.cert_pem.bytes())
        os.close(end)
        assert await asyncio.gather(*calls) == [b"ok"] * 5


async def test_when_a_session_is_closed_its_idle_connections_are_gone(monkeypatch):
    lost = []
    told = ResponseHandler.connection_lost

    def connection_lost(protocol, error):
        lost.append(protocol)
        told(protocol, error)

    monkeypatch.setattr(ResponseHandler, "connection_lost", connection_lost)
    async with serve(answer(), ssl=serving("127.0.0.1")) as server:
        async with open_once(server.url, ssl=trusting()) as session:
            await asyncio.gather(call(session), call(session))
            assert idle(session) == 2
            assert not lost
        # Not in a turn of the loop to come: there may be none.
        assert len(lost) == 2
