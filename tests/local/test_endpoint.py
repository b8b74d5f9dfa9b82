"""The local endpoint's life, and its plain functions."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import pytest
from support.local_clients import Stubborn, echo, send, send_signed

from aiosmrt import ConfigurationError
from aiosmrt.local import LocalEndpoint
from aiosmrt.local._hosting import Hosting
from aiosmrt.local._s3.requests import ObjectStoreApi

PATH = "/endpoints/echo/invocations"


async def test_a_free_port_on_loopback():
    async with LocalEndpoint() as one, LocalEndpoint() as other:
        assert one.host == "127.0.0.1"
        assert one.port != other.port
        assert one.url == f"http://127.0.0.1:{one.port}"


async def test_models_may_come_before_the_start_and_after():
    local = LocalEndpoint()
    local.add_model("echo", echo)
    local.put_object("s3://b/k", b"x")
    async with local:
        assert (await send_signed(local, PATH, b"x"))[0] == 200
        assert (await send_signed(local, PATH.replace("echo", "late"), b"x"))[0] == 400
        local.add_model("late", echo)
        assert (await send_signed(local, PATH.replace("echo", "late"), b"x"))[0] == 200
        assert local.get_object("s3://b/k") == b"x"


async def test_start_and_aclose():
    local = LocalEndpoint()
    with pytest.raises(ConfigurationError, match="before it is started"):
        local.url  # noqa: B018 - it raises
    await local.start()
    await local.aclose()
    await local.aclose()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(local.host, local.port)
    with pytest.raises(ConfigurationError, match="started once"):
        await local.start()


async def test_an_endpoint_that_was_never_started_closes():
    await LocalEndpoint().aclose()


async def test_a_port_that_is_taken():
    async with LocalEndpoint() as local:
        taken = LocalEndpoint(port=local.port)
        with pytest.raises(OSError, match="address already in use"):
            await taken.start()
        await taken.aclose()


async def test_an_ipv6_address_has_its_brackets():
    if not socket.has_ipv6:
        raise AssertionError("the tests need IPv6 on loopback")
    async with LocalEndpoint("::1") as local:
        assert local.url == f"http://[::1]:{local.port}"
        assert (await send(local, PATH))[0] == 403


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
async def test_it_warns_when_others_can_reach_it(host):
    local = LocalEndpoint(host)
    with pytest.warns(UserWarning, match="development server"):
        await local.start()
    await local.aclose()


async def test_localhost_is_loopback():
    async with LocalEndpoint("localhost") as local:
        assert local.url == f"http://localhost:{local.port}"


async def test_idle_connections_do_not_hold_up_the_end():
    async with LocalEndpoint() as local:
        idle = await asyncio.open_connection(local.host, local.port)
        half = await asyncio.open_connection(local.host, local.port)
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n"
        half[1].write(f"{head}ab".encode())
        await half[1].drain()
        await send(local, PATH)
        closing = asyncio.create_task(local.aclose())
        await asyncio.wait_for(closing, 3)  # less than a model has that does not end
    for reader, writer in (idle, half):
        await reader.read()
        writer.close()


async def test_a_model_that_does_not_heed_its_cancellation_is_given_up(monkeypatch):
    monkeypatch.setattr("aiosmrt.local._server._CANCEL_SECONDS", 0.05)
    stubborn = Stubborn()
    local = LocalEndpoint()
    local.add_model("echo", stubborn)
    await local.start()
    call = asyncio.create_task(send_signed(local, PATH, b"x"))
    await stubborn.begun.wait()
    await asyncio.wait_for(local.aclose(), 5)
    stubborn.release.set()
    await asyncio.gather(call, return_exceptions=True)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"region": name} for name in ("", "us east 1", "us-east-1\n", "é")),
        *({"output_bucket": name} for name in ("", "ab", "a b", "a/b", "abc\n", "Abc", "a" * 64)),
    ],
    ids=str,
)
def test_what_is_no_region_or_bucket(wrong):
    with pytest.raises(ConfigurationError, match=r"is not a (region|bucket)'s name: "):
        LocalEndpoint(**wrong)


def test_objects_by_plain_functions():
    local = LocalEndpoint()
    local.put_object("s3://bucket/a key/ä?#%", "é", "text/plain")
    assert local.get_object("s3://bucket/a key/ä?#%") == "é".encode()
    local.put_object("s3://bucket/a key/ä?#%", bytearray(b"other"))
    assert local.get_object("s3://bucket/a key/ä?#%") == b"other"
    with pytest.raises(KeyError, match=r"no object at s3://bucket/other in the local endpoint"):
        local.get_object("s3://bucket/other")


@pytest.mark.parametrize(
    "uri",
    ["", "bucket/key", "s3://", "s3://bucket", "s3://bucket/", "s3:///key", "file:///a/b"],
)
def test_what_is_no_objects_uri(uri):
    local = LocalEndpoint()
    with pytest.raises(ValueError, match="s3://BUCKET/KEY"):
        local.get_object(uri)
    with pytest.raises(ValueError, match="s3://BUCKET/KEY"):
        local.put_object(uri, b"")


@pytest.mark.parametrize(
    "uri",
    [
        "https://bucket.s3.eu-west-1.amazonaws.com/a%20key",
        "https://bucket.s3.amazonaws.com/a%20key",
        "https://bucket.s3-eu-west-1.amazonaws.com/a%20key",
        "https://s3.eu-west-1.amazonaws.com/bucket/a%20key",
        "https://bucket.s3.dualstack.eu-west-1.amazonaws.com/a%20key",
        "https://bucket.s3.cn-north-1.amazonaws.com.cn:443/a%20key",
    ],
)
def test_objects_by_their_https_address(uri):
    local = LocalEndpoint()
    local.put_object("s3://bucket/a key", b"x")
    assert local.get_object(uri) == b"x"


async def test_what_goes_wrong_inside_has_the_services_form(monkeypatch, caplog):
    async with LocalEndpoint() as local:
        local.add_model("echo", echo)

        def defect(*_):
            raise RuntimeError("a defect")

        monkeypatch.setattr(Hosting, "resolve", defect)
        status, headers, body = await send_signed(local, PATH, b"x")
    assert (status, headers["x-amzn-errortype"]) == (500, "InternalFailure")
    assert b"a defect" not in body
    assert "a defect" in caplog.text


async def test_what_goes_wrong_inside_the_store_has_s3s_form(monkeypatch, caplog):
    async with LocalEndpoint() as local:

        async def defect(*_):
            raise RuntimeError("a defect")

        monkeypatch.setattr(ObjectStoreApi, "answer", defect)
        status, _, body = await send_signed(local, "/b/k", method="GET", service="s3")
    assert (status, b"<Code>InternalError</Code>" in body) == (500, True)
    assert b"a defect" not in body
    assert "a defect" in caplog.text


async def test_a_request_that_is_no_http_is_logged_without_its_bytes(caplog):
    async with LocalEndpoint() as local:
        reader, writer = await asyncio.open_connection(local.host, local.port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nAuthorization: secret\x01\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.0 400 ")
        writer.close()
    (record,) = caplog.records
    assert record.getMessage().startswith("Error handling request")
    assert "secret" not in caplog.text


async def test_session_calls_this_endpoint():
    async with LocalEndpoint(region="eu-central-1") as local:
        local.add_model("echo", echo)
        async with local.session(max_connections=3) as session:
            out = await session.invoke_endpoint("echo", b"hello", content_type="text/plain")
        assert out.json() == {"body": "hello", "headers": {"Content-Type": "text/plain"}}


def test_the_models_are_loaded_without_the_client():
    code = "import aiosmrt.local, sys; print('aiosmrt._client.session' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_packages_names():
    import aiosmrt.local

    assert set(aiosmrt.local.__all__) <= set(dir(aiosmrt.local))
    for name in aiosmrt.local.__all__:
        assert getattr(aiosmrt.local, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'other'"):
        aiosmrt.local.other  # noqa: B018 - it raises
