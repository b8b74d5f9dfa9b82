"""No secret stands in the local variables of a traceback, at whichever stage a call fails.

Error trackers and logs with local variables send them to others. The secrets are the secret
key, the session token, and what is made of them: signatures and the keys that make these.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import requests
from support.cancelling import MOST_SUSPENSIONS, cancel_at
from support.certificates import serving, trusting
from support.raw_server import Connection, RawServer, answer
from support.sessions import open_once
from support.streams import part
from support.traceback_locals import assert_no_secret_in_locals

import aiosmrt
from aiosmrt import CachingProvider, Credentials, RetryPolicy, Session, Timeouts
from aiosmrt._aws.providers import EnvironmentProvider
from aiosmrt._aws.signer import SigV4Signer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

SECRET, TOKEN = "SECRETSECRETSECRET", "TOKENTOKENTOKEN"
KEYS = Credentials("AKID", SECRET, TOKEN)


def derived_keys() -> Iterator[str]:
    """The keys of today and of tomorrow, as a repr shows bytes."""
    for second in (time.time(), time.time() + 86_400):
        date = datetime.fromtimestamp(second, timezone.utc).strftime("%Y%m%d")
        key = f"AWS4{SECRET}".encode()
        for text in (date, "us-east-1", "sagemaker", "aws4_request"):
            key = hmac.digest(key, text.encode(), hashlib.sha256)
            yield repr(key)[2:-1]


def check(error: BaseException) -> None:
    secrets = [SECRET, TOKEN, "Signature=", "AWS4-HMAC", *derived_keys()]
    assert_no_secret_in_locals(error, secrets)


# ── a call that fails at each of its stages ──────────────────────────────────────────────────


async def closes(connection: Connection) -> None:
    """Ends the connection before it has read anything."""


async def resets(connection: Connection) -> None:
    await connection.request()
    connection.reset()


async def hangs(connection: Connection) -> None:
    await connection.request()
    await connection.gone()


def says(data: bytes) -> Callable[[Connection], Awaitable[None]]:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)
        await connection.gone()

    return handler


def then_closes(data: bytes) -> Callable[[Connection], Awaitable[None]]:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(data)

    return handler


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
SERVERS = {
    "closes": closes,
    "resets": resets,
    "hangs": hangs,
    "no HTTP": says(b"SSH-2.0\r\n\r\n"),
    "half a head": then_closes(b"HTTP/1.1 200 OK\r\nContent-"),
    "half a body": then_closes(HEAD + b"{"),
    "a body that stops": says(HEAD + b"{"),
    "an error": says(answer(b"{}", "500 Oops")),
    "a refused signature": says(answer(b"{}", "403 No", {"x-amzn-errortype": "InvalidToken"})),
    "an expired token": says(
        answer(b"{}", "403 No", {"x-amzn-errortype": "ExpiredTokenException"})
    ),
    "a skewed clock": says(
        answer(
            b"{}",
            "403 No",
            {
                "x-amzn-errortype": "RequestTimeTooSkewed",
                "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
            },
        )
    ),
}


class Slow:
    """A provider that the first call has to wait for: the connection ages meanwhile."""

    async def get_credentials(self) -> Credentials:
        await asyncio.sleep(0.01)
        return KEYS


async def unary(session: Session, body: bytes) -> None:
    await session.invoke_endpoint("e", body)


async def long(session: Session, _: bytes) -> None:
    await session.invoke_endpoint("e", bytes(2_000_000))


async def stream(session: Session, body: bytes) -> None:
    async with session.invoke_endpoint_with_response_stream("e", body) as parts:
        await parts.read()


async def many(session: Session, body: bytes) -> None:
    async with session.invoke_many("e", [body] * 3) as items:
        async for item in items:
            if item.error is not None:
                raise item.error


def open_failing(url: str, **options: Any) -> Session:
    limits = Timeouts(connect=0.5, read=0.2, idle=0.2, total=1.0)
    given = {"credentials": Slow(), "timeouts": limits, "retries": RetryPolicy(max_attempts=2)}
    return open_once(url, **(given | options))


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("call", [unary, long, stream, many])
@pytest.mark.parametrize("behaviour", SERVERS)
async def test_a_call_that_fails(
    behaviour: str, call: Callable[[Session, bytes], Awaitable[None]], scheme: str
) -> None:
    ssl = serving() if scheme == "https" else None
    async with (
        RawServer(SERVERS[behaviour], ssl=ssl) as server,
        open_failing(server.url, ssl=trusting() if ssl else None) as session,
    ):
        with pytest.raises(aiosmrt.AiosmrtError) as caught:
            await call(session, b"x")
        check(caught.value)


async def test_a_stream_that_breaks() -> None:
    broken = part(b"one") + part(b"two")[:-1] + b"x"
    async with RawServer(says(answer(broken))) as server, open_failing(server.url) as session:
        with pytest.raises(aiosmrt.ChecksumMismatchError) as caught:
            await stream(session, b"x")
        check(caught.value)


@pytest.mark.parametrize("why", ["refused", "no TLS", "not trusted", "unknown"])
async def test_a_connection_that_cannot_be_made(why: str) -> None:
    async with RawServer(closes, ssl=serving() if why == "not trusted" else None) as server:
        url = {
            "refused": "http://127.0.0.1:1",
            "no TLS": server.url.replace("http:", "https:"),
            "not trusted": server.url,
            "unknown": "https://nobody.invalid",
        }[why]
        async with open_failing(url, credentials=KEYS) as session:
            with pytest.raises(aiosmrt.ConnectError) as caught:
                await unary(session, b"x")
            check(caught.value)


@pytest.mark.parametrize("call", [unary, long, stream])
@pytest.mark.parametrize("provider", [KEYS, Slow()], ids=["static", "slow"])
async def test_a_call_that_is_cancelled_wherever_it_waits(
    call: Callable[[Session, bytes], Awaitable[None]], provider: Any
) -> None:
    cancelled = 0
    async with RawServer(hangs) as server:
        for number in range(MOST_SUSPENSIONS):
            async with open_failing(server.url, credentials=provider) as session:
                try:
                    await cancel_at(call(session, b"x"), number)
                except aiosmrt.AiosmrtError:
                    break  # nothing was cancelled: it went on to its timeout
                except asyncio.CancelledError as error:
                    task = asyncio.current_task()
                    assert task is not None
                    if hasattr(task, "uncancel"):
                        task.uncancel()
                    cancelled += 1
                    check(error)
    assert cancelled > 2


# ── credentials that cannot be used ──────────────────────────────────────────────────────────

# Each a secret in a wrong place, or one that no header or no key can be made of.
MALFORMED = [
    ("AKID", f"{SECRET} ", TOKEN),
    ("AKID", f"\udcff{SECRET}", TOKEN),
    ("AKID", SECRET, f"{TOKEN}\n"),
    (f"{SECRET} {TOKEN}", SECRET, TOKEN),
    ("AKID", "", TOKEN),
]


@pytest.mark.parametrize("values", MALFORMED, ids=ascii)
def test_credentials_that_are_malformed(values: tuple[str, str, str]) -> None:
    with pytest.raises(aiosmrt.CredentialsError) as caught:
        Credentials(*values)
    check(caught.value)


def test_an_expiry_that_is_a_token() -> None:
    with pytest.raises(aiosmrt.CredentialsError, match="expiry") as caught:
        Credentials("AKID", SECRET, None, TOKEN)  # type: ignore[arg-type]
    check(caught.value)


@pytest.fixture
def set_environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[tuple[str, str, str]], None]:
    def set_all(values: tuple[str, str, str]) -> None:
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        for name, value in zip(names, values, strict=True):
            monkeypatch.setenv(name, value)

    return set_all


@pytest.mark.parametrize("values", MALFORMED, ids=ascii)
@pytest.mark.parametrize("provider", [None, EnvironmentProvider()], ids=["chain", "own"])
async def test_an_environment_that_is_malformed(
    values: tuple[str, str, str],
    provider: Any,
    set_environment: Callable[[tuple[str, str, str]], None],
) -> None:
    set_environment(values)
    async with (
        RawServer(Connection.gone) as server,
        open_failing(server.url, credentials=provider) as session,
    ):
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await unary(session, b"x")
    check(caught.value)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("values", MALFORMED, ids=ascii)
async def test_credentials_of_botocore_that_are_malformed(
    values: tuple[str, str, str], is_async: bool
) -> None:
    class Found:
        def get_frozen_credentials(self) -> Any:
            key, secret, token = values
            return SimpleNamespace(access_key=key, secret_key=secret, token=token)

    class AsyncFound(Found):
        async def get_frozen_credentials(self) -> Any:
            return super().get_frozen_credentials()

    found = AsyncFound() if is_async else Found()
    async with open_failing("http://127.0.0.1:1", credentials=found) as session:
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await unary(session, b"x")
    check(caught.value)


async def test_a_provider_that_fails_with_credentials_in_its_hands() -> None:
    class Failing:
        async def get_credentials(self) -> Credentials:
            raise OSError("the vault is sealed")

    async with open_failing(
        "http://127.0.0.1:1", credentials=CachingProvider(Failing())
    ) as session:
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await unary(session, b"x")
    check(caught.value)


@pytest.mark.parametrize("setting", ["file", "profile", "region", "endpoint_url", "retries"])
def test_a_session_that_cannot_be_made(
    setting: str,
    set_environment: Callable[[tuple[str, str, str]], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    set_environment(("AKID", SECRET, TOKEN))
    given: dict[str, Any] = {"region": "us-east-1"}
    file = tmp_path / "credentials"
    file.write_text(f"[default]\naws_secret_access_key = {SECRET}\naws_session_token {TOKEN}\n")
    if setting == "file":
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    elif setting == "profile":
        monkeypatch.setenv("AWS_PROFILE", "missing")
    elif setting == "region":
        del given["region"]
    elif setting == "endpoint_url":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "nonsense")
    else:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "many")
    with pytest.raises(aiosmrt.ConfigurationError) as caught:
        Session(**given)
    check(caught.value)


@pytest.mark.parametrize("values", MALFORMED, ids=ascii)
def test_a_request_of_requests_that_cannot_be_signed(values: tuple[str, str, str]) -> None:
    key, secret, token = values
    signer = SigV4Signer(key, secret, "example.com", "us-east-1", "sagemaker", token)
    with pytest.raises(aiosmrt.CredentialsError) as caught:
        requests.Request("POST", "https://example.com/", data=b"x", auth=signer).prepare()
    check(caught.value)


# ── S3 ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_s3_that_quotes_the_request_when_it_refuses_it() -> None:
    async def quote(connection: Connection) -> None:
        head = await connection.reader.readuntil(b"\r\n\r\n")
        told = f"<Error><Code>SignatureDoesNotMatch</Code><Quoted>{head.decode()}</Quoted></Error>"
        await connection.send(answer(told.encode(), "403 Forbidden"))

    async with RawServer(quote) as s3, RawServer(hangs) as server:
        async with open_failing(server.url, s3_endpoint_url=s3.url, credentials=KEYS) as session:
            invocation = session.async_invocation(output_location="s3://bucket/out/1.out")
            with pytest.raises(aiosmrt.AiosmrtError) as caught:
                await invocation.result(timeout=5)
            check(caught.value)
            with pytest.raises(aiosmrt.AiosmrtError) as caught:
                await session.invoke_endpoint_async(
                    "e", body=bytes(7_000_000), input="auto", input_location="s3://bucket/in/"
                )
            check(caught.value)
