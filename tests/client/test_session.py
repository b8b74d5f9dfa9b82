"""The session itself: its settings, its limits, its ends. Its calls are tested on their own."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import subprocess
import sys
from typing import Any

import aiohttp
import pytest
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import KEYS, open_session
from support.streams import END, HEAD
from support.waiting import our_threads, until

import aiosmrt
from aiosmrt import ConfigurationError, ParameterValidationError, Timeouts


async def test_json_is_sent_as_json_unless_told_otherwise() -> None:
    async with serve(answer(b'{"a": 1}')) as server, open_session(server.url) as session:
        output = await session.invoke_endpoint("e", json={"inputs": "hé"})
        assert output.json() == {"a": 1}
        await session.invoke_endpoint("e", json=[1], content_type="application/jsonlines")
        await session.invoke_endpoint("e", b"")
        await session.invoke_endpoint_async("e", json={"a": 2})
    first, second, third, fourth = server.requests
    assert first.body == '{"inputs":"hé"}'.encode()
    assert first.headers["content-type"] == "application/json"
    assert second.headers["content-type"] == "application/jsonlines"
    assert third.body == b""
    assert "content-type" not in third.headers
    assert json.loads(fourth.body) == {"a": 2}
    assert fourth.headers["x-amzn-sagemaker-content-type"] == "application/json"


@pytest.mark.parametrize(
    "call, text",
    [
        pytest.param(
            lambda s: s.invoke_endpoint("e"),
            "body: it is required, or json in its place",
            id="no-body",
        ),
        pytest.param(
            lambda s: s.invoke_endpoint("e", b"x", json=1),
            "json: it must not be given together with body",
            id="both",
        ),
        pytest.param(
            lambda s: s.invoke_endpoint("e", json={1, 2}),
            "json: it must have a JSON form",
            id="no-json-form",
        ),
        pytest.param(
            lambda s: s.invoke_endpoint("e", json=float("nan")),
            "json: it must have a JSON form",
            id="nan",
        ),
        pytest.param(lambda s: s.invoke_endpoint("a/b", b"x"), "endpoint_name", id="a-path"),
        pytest.param(
            lambda s: s.invoke_endpoint_with_response_stream(
                "e", session_id="NEW_SESSION", body=b"x"
            ),
            "session_id",
            id="new-session",
        ),
        pytest.param(
            lambda s: s.invoke_endpoint_with_response_stream("e"),
            "body: it is required, or json in its place",
            id="stream-without-body",
        ),
        pytest.param(
            lambda s: s.invoke_endpoint_async("e"), "neither is given", id="async-without-input"
        ),
        pytest.param(
            lambda s: s.invoke_endpoint_async("e", "s3://a/b", body=b"x"),
            "both are given",
            id="async-with-both",
        ),
        pytest.param(
            lambda s: s.invoke_endpoint_async("e", body=bytes(128_001)),
            "must be at most 128000 bytes",
            id="async-too-long",
        ),
        pytest.param(
            lambda s: s.invoke_endpoint_async("e", "s3://a/b", request_ttl_seconds=59),
            "request_ttl_seconds",
            id="ttl",
        ),
    ],
)
async def test_a_bad_parameter_sends_nothing(call: Any, text: str) -> None:
    async with serve(answer()) as server, open_session(server.url) as session:
        with pytest.raises(ParameterValidationError, match=text) as caught:
            await call(session)
        assert isinstance(caught.value, ValueError)
        assert caught.value.operation
        assert server.connections == 0


async def test_the_largest_body_is_the_users_to_set() -> None:
    async with (
        serve(answer(b"abc"), answer(b"abcd")) as server,
        open_session(server.url, max_body_length=3) as session,
    ):
        assert (await session.invoke_endpoint("e", b"abc")).body == b"abc"
        text = r"at most max_body_length=3 bytes.*4.*\(operation InvokeEndpoint, endpoint e\)"
        with pytest.raises(ParameterValidationError, match=text):
            await session.invoke_endpoint("e", b"abcd")
        with pytest.raises(aiosmrt.MessageTooLargeError):
            await session.invoke_endpoint("e", b"abc")
        assert len(server.requests) == 2


@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "broken-off"])
async def test_a_body_as_long_as_it_may_be_is_read_to_its_end(is_whole: bool) -> None:
    """Its last chunk has no bytes, and comes with the answer's end or not at all."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def handler(connection: Connection) -> None:
        for _ in range(2):
            await connection.request()
            await connection.send(head + b"6\r\nabcdef\r\n" + b"0\r\n\r\n" * is_whole)
            if not is_whole:
                return

    async with (
        RawServer(handler) as server,
        open_session(server.url, max_body_length=6) as session,
    ):
        for _ in range(2):
            if is_whole:
                assert (await session.invoke_endpoint("e", b"abcdef")).body == b"abcdef"
            else:
                with pytest.raises(aiosmrt.StreamTruncatedError):
                    await session.invoke_endpoint("e", b"abcdef")
        assert server.connections == (1 if is_whole else 2)


async def test_a_body_past_6_mib_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with serve(answer()) as server, open_session(server.url) as session:
        for length in (6_291_456, 6_291_457, 6_291_457):
            await session.invoke_endpoint("e", bytes(length))
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warned) == 1
    assert "6291457" in warned[0].getMessage()


async def test_a_reset_after_a_large_body_names_the_likely_cause() -> None:
    async def handler(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        connection.reset()

    once = aiosmrt.RetryPolicy(max_attempts=1)
    async with RawServer(handler) as server, open_session(server.url, retries=once) as session:
        with pytest.raises(aiosmrt.ConnectionLostError, match="6 MiB"):
            await session.invoke_endpoint("e", bytes(7_000_000))
        with pytest.raises(aiosmrt.ConnectionLostError) as caught:
            await session.invoke_endpoint("e", b"x")
        assert "6 MiB" not in str(caught.value)


async def test_the_user_agent_is_of_the_aws_form() -> None:
    async with (
        serve(answer()) as server,
        open_session(server.url, user_agent_extra="shop/1.2") as session,
    ):
        await session.invoke_endpoint("e", b"x")
    agent = server.requests[0].headers["user-agent"]
    assert agent.startswith(f"aiosmrt/{aiosmrt.__version__} ua/2.1 os/")
    assert agent.endswith(" shop/1.2")
    for part in ("md/arch#", "lang/python#3.", "md/pyimpl#"):
        assert part in agent
    assert set(server.requests[0].headers) == {
        "host",
        "user-agent",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "x-amz-date",
        "authorization",
        "content-length",
    }


@pytest.mark.parametrize(
    "name, value, rule",
    [
        ("max_connections", 0, "must be an integer of at least 1, not 0"),
        ("max_connections", True, "must be an integer of at least 1, not True"),
        ("max_connections", 1.5, "must be an integer of at least 1, not 1.5"),
        ("max_body_length", 0, "must be an integer of at least 1, not 0"),
        ("user_agent_extra", "a\r\nb: c", "must be printable ASCII, and not empty"),
        ("user_agent_extra", "", "must be printable ASCII, and not empty"),
        ("user_agent_extra", 3, "must be str or None, not int"),
        ("endpoint_url", "not a url", "has spaces or characters outside of ASCII"),
        ("timeouts", 30, "must be Timeouts, not int"),
        ("retries", 3, "must be RetryPolicy or None, not int"),
        ("proxy", 3, "must be str or None, not int"),
        ("connector", "tcp", "must be an aiohttp.TCPConnector, not str"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(name: str, value: Any, rule: str) -> None:
    given = {"endpoint_url": "http://127.0.0.1:1", name: value}
    with pytest.raises(ConfigurationError, match=f"{name}.*{re.escape(rule)}"):
        aiosmrt.Session(region="us-east-1", credentials=KEYS, **given)


def test_a_missing_region_names_the_places() -> None:
    with pytest.raises(ConfigurationError, match="AWS_REGION"):
        aiosmrt.Session(credentials=KEYS)


async def test_a_closed_session_says_so() -> None:
    async with serve(answer()) as server:
        session = open_session(server.url)
        assert "open, 0 of 100 connections in use" in repr(session)
        await session.aclose()
        await session.aclose()
        assert "closed" in repr(session)
        with pytest.raises(aiosmrt.TransportError, match="The session is closed: keep it open"):
            await session.invoke_endpoint("e", b"x")


def test_a_session_of_another_event_loop_says_so() -> None:
    async def use(session: aiosmrt.Session, url: str) -> None:
        await session.invoke_endpoint("e", b"x")

    async def first() -> aiosmrt.Session:
        async with serve(answer(headers={"Connection": "close"})) as server:
            session = open_session(server.url)
            await session.invoke_endpoint("e", b"x")
            return session

    async def second(session: aiosmrt.Session) -> None:
        with pytest.raises(aiosmrt.TransportError, match="another event loop"):
            await session.invoke_endpoint("e", b"x")

    session = asyncio.run(first())
    asyncio.run(second(session))


async def test_the_threads_of_a_session_end_with_it() -> None:
    gc.collect()  # other tests' sessions
    before = our_threads()
    async with serve(answer()) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", bytes(1 << 20))
        assert our_threads() - before
    await until(lambda: our_threads() <= before)


async def test_a_connector_can_be_shared_with_aiohttp() -> None:
    async with serve(answer()) as server, aiohttp.TCPConnector() as connector:
        async with open_session(server.url, connector=connector) as session:
            await session.invoke_endpoint("e", b"x")
        async with aiohttp.ClientSession(connector=connector, connector_owner=False) as client:
            async with client.post(server.url, data=b"x") as response:
                assert await response.read() == b"ok"
        assert server.connections == 1


@pytest.mark.parametrize("method", ["invoke_many", "stream_many"])
async def test_of_many_calls_64_are_made_at_once_and_given_out_as_they_end(method: str) -> None:
    async def handler(connection: Connection) -> None:
        while True:
            request = await connection.request()
            server.requests.append(request)
            await until(lambda: len(server.requests) >= 64)
            if request.body == b"0":
                await release.wait()
            await connection.send(HEAD + END)

    release = asyncio.Event()
    bodies = [b"%d" % number for number in range(65)]
    async with RawServer(handler) as server, open_session(server.url) as session:
        async with getattr(session, method)("e", bodies) as items:
            first = await items.__anext__()
            assert first.index > 0
            release.set()
            assert sorted([first.index] + [item.index async for item in items]) == [*range(65)]
        assert server.connections == 64


async def test_each_call_can_have_its_own_limits_and_retries() -> None:
    async with RawServer(Connection.gone) as server, open_session(server.url) as session:
        for call in (
            session.invoke_endpoint("e", b"x", timeouts=Timeouts(read=0.05)),
            session.invoke_endpoint_async("e", "s3://a/b", timeouts=Timeouts(read=0.05)),
            session.invoke_endpoint_with_response_stream("e", b"x", timeouts=Timeouts(read=0.05)),
        ):
            with pytest.raises(aiosmrt.ReadTimeoutError):
                await call


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "5"], ids=repr)
@pytest.mark.parametrize("name", ["connect", "read", "idle", "total"])
def test_a_timeout_that_is_none_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"Timeouts.{name}"):
        Timeouts(**{name: value})


def test_the_first_import_is_of_nothing_heavy() -> None:
    code = (
        "import sys, aiosmrt; "
        "print([m for m in ('aiohttp', 'asyncio', 'requests', 'botocore', 'attr') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def test_a_calls_own_limits_of_a_wrong_type_are_refused() -> None:
    async with open_session("http://127.0.0.1:1") as session:
        for options in ({"timeouts": 30}, {"retries": 3}):
            with pytest.raises(ConfigurationError, match=next(iter(options))):
                await session.invoke_endpoint("e", b"x", **options)
