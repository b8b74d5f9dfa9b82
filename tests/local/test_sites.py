"""Which hosts requests may name, and which web pages may send them."""

from __future__ import annotations

import asyncio
import contextlib
import warnings

import pytest
from support.local_clients import echo, send, with_boto

import aiosmrt
from aiosmrt.local import LocalEndpoint

PATH = "/endpoints/echo/invocations"
REQUESTS = [f"POST {PATH}", "POST /endpoints/echo/async-invocations", "PUT /b/k", "GET /b/k"]


async def ask(local, head, *fields):
    """The status and the text of the answer to a request with these header lines."""
    reader, writer = await asyncio.open_connection(local.host, local.port)
    lines = "".join(f"{field}\r\n" for field in (*fields, "Connection: close", "Content-Length: 0"))
    writer.write(f"{head} HTTP/1.1\r\n{lines}\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer


@contextlib.asynccontextmanager
async def listening(host="127.0.0.1", **keywords):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the local endpoint listens on")
        async with LocalEndpoint(host, verify=False, **keywords) as local:
            local.add_model("echo", echo)
            local.put_object("s3://b/k", b"x")
            yield local


OWN = ["127.0.0.1", "localhost", "LOCALHOST", "localhost.", "[::1]", "0.0.0.0", "10.1.2.3"]
FOREIGN = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "bucket.localhost",
    "evil.example.",
    "127.0.0.1@evil.example",
    "evil.example:80@127.0.0.1",
    "127.0.0.1:80:evil.example",
    "[::1].evil.example",
    "[evil.example]",
    "127.1",
    "[127.0.0.1",
    "a b",
    "ä",
    "localhost,evil.example",
    "",
]


@pytest.mark.parametrize("host", OWN)
@pytest.mark.parametrize("port", ["", ":{}", ":80"])
async def test_its_own_hosts(host, port):
    async with listening() as local:
        field = f"Host: {host}{port.format(local.port)}"
        for head in REQUESTS:
            assert (await ask(local, head, field))[0] in (200, 400), head


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("host", [*FOREIGN, "aiosmrt"])
async def test_other_hosts_are_refused(host, verify):
    """So a web page whose name was pointed here reaches nothing, the known key notwithstanding."""
    async with LocalEndpoint(verify=verify) as local:
        called = []

        async def model(request):
            called.append(request)
            return b""

        local.add_model("echo", model)
        for head in REQUESTS:
            for port in ("", f":{local.port}"):
                status, answer = await ask(local, head, f"Host: {host}{port}")
                assert (status, "MisdirectedRequest" in answer) in ((421, True), (400, False))
                if status == 421:
                    assert "allowed_hosts" in answer
        with pytest.raises(KeyError):
            local.get_object("s3://b/k")
    assert not called


@pytest.mark.parametrize(
    "fields", [[], ["Host: localhost", "Host: localhost"], ["Host: localhost", "Host: evil"]]
)
async def test_a_request_names_one_host(fields):
    async with listening() as local:
        assert (await ask(local, f"POST {PATH}", *fields))[0] in (400, 421)


async def test_a_request_of_http_1_0_without_a_host_is_told_so():
    async with listening() as local:
        reader, writer = await asyncio.open_connection(local.host, local.port)
        writer.write(f"POST {PATH} HTTP/1.0\r\nContent-Length: 0\r\n\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert b" 421 " in answer.splitlines()[0]
    assert b"The request has 0 Host headers" in answer


async def test_a_request_for_another_host_is_refused_before_its_body():
    async with listening() as local:
        reader, writer = await asyncio.open_connection(local.host, local.port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nHost: a.b\r\nContent-Length: 9\r\n\r\n".encode())
        assert b" 421 " in await reader.readline()
        writer.close()


@pytest.mark.parametrize("allowed", [["models.example", "b.c"], ("Models.Example.",)])
async def test_hosts_that_are_allowed(allowed):
    async with listening(allowed_hosts=allowed) as local:
        for host in ("models.example", "MODELS.example:1", "models.example."):
            assert (await ask(local, f"POST {PATH}", f"Host: {host}"))[0] == 200
        for host in ("example", "x.models.example", "models.example.evil"):
            assert (await ask(local, f"POST {PATH}", f"Host: {host}"))[0] == 421


async def test_where_others_can_reach_it_it_takes_names_of_containers():
    async with listening("0.0.0.0") as local:
        for host in ("aiosmrt:8787", "sage-maker_1", "192.0.2.7", "[2001:db8::1]:80"):
            assert (await ask(local, f"POST {PATH}", f"Host: {host}"))[0] == 200
        for host in FOREIGN:
            assert (await ask(local, f"POST {PATH}", f"Host: {host}"))[0] in (400, 421)


@pytest.mark.parametrize("wrong", ["a.b", ["http://a.b"], ["a.b:80"], [""], ["*"], ["a b"]])
def test_what_is_no_hosts_name(wrong):
    if wrong == "a.b":  # a str is one name, not one for each of its letters
        LocalEndpoint(allowed_hosts=wrong)
        return
    with pytest.raises(aiosmrt.ConfigurationError, match="allowed_hosts holds '"):
        LocalEndpoint(allowed_hosts=wrong)


CROSS_SITE = [
    "Origin: http://evil.example",
    "Origin: https://evil.example",
    "Origin: null",
    "Origin: http://127.0.0.1",
    "Origin: http://127.0.0.1.evil.example:{port}",
    "Origin: http://localhost:{port}",
    "Origin: file://",
    "Origin: 127.0.0.1:{port}",
    "Origin:",
    "Sec-Fetch-Site: cross-site",
    "Sec-Fetch-Site: same-site",
]


@pytest.mark.parametrize("field", CROSS_SITE)
async def test_without_signatures_other_sites_pages_reach_nothing(field):
    called = []

    async def model(request):
        called.append(request)
        return b""

    async with LocalEndpoint(verify=False) as local:
        local.add_model("echo", model)
        host = f"Host: 127.0.0.1:{local.port}"
        for head in REQUESTS:
            status, answer = await ask(local, head, host, field.format(port=local.port))
            assert (status, "CrossSiteRequest" in answer) == (403, True), head
        assert not called
        assert not local.async_inferences
        with pytest.raises(KeyError):
            local.get_object("s3://b/k")


@pytest.mark.parametrize(
    "fields",
    [
        ["Origin: http://127.0.0.1:{port}"],
        ["Origin: http://127.0.0.1:{port}", "Sec-Fetch-Site: same-origin"],
        ["Sec-Fetch-Site: none"],
    ],
)
async def test_a_page_of_its_own_and_a_person_reach_it(fields):
    async with listening() as local:
        lines = [field.format(port=local.port) for field in fields]
        status, _ = await ask(local, f"POST {PATH}", f"Host: 127.0.0.1:{local.port}", *lines)
        assert status == 200


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("path", [PATH, "/b/k"])
async def test_a_preflight_is_refused(verify, path):
    """Without it, no page can send the headers of a signature."""
    async with LocalEndpoint(verify=verify) as local:
        status, answer = await ask(
            local,
            f"OPTIONS {path}",
            f"Host: 127.0.0.1:{local.port}",
            "Origin: http://evil.example",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization,x-amz-date",
        )
        assert status == 403
        assert "access-control-" not in answer.lower()


async def test_signed_requests_may_have_an_origin():
    """As when a development server of pages passes its page's request on."""
    async with LocalEndpoint() as local:
        local.add_model("echo", echo)
        headers = {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}

        def call(client):
            client.meta.events.register(
                "before-send", lambda request, **_: request.headers.update(headers)
            )
            return client.invoke_endpoint(EndpointName="echo", Body=b"x")["Body"].read()

        assert b'"body": "x"' in await with_boto(local, call)


async def test_an_sdk_shows_what_is_wrong_and_what_to_do():
    async with LocalEndpoint() as local:
        local.add_model("echo", echo)
        status, headers, body = await send(local, PATH, headers={"Host": "evil.example"})
        assert (status, headers["x-amzn-errortype"]) == (421, "MisdirectedRequest")
        assert b"aiosmrt local --allow-host NAME" in body
