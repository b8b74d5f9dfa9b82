"""What a session writes into its socket: botocore's request, signed; for a bad value nothing."""

from __future__ import annotations

import asyncio
import inspect
import re

import pytest
from botocore import xform_name
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bad_parameters import ASYNC, INVOKE, STREAM, VALID, each_bad
from support.botocore_requests import OTHERS, BotocoreRequests
from support.raw_server import answer, serve
from support.service_model import parameters
from support.sessions import KEYS, TEMPORARY, open_once, open_session
from support.sigv4_oracle import botocore_signed
from support.work import counted_steps

import aiosmrt

# A whole answer to each of the operations; the stream's has no parts.
ANSWER = answer(b"", headers={"X-Amzn-SageMaker-OutputLocation": "s3://bucket/out"})
OPERATIONS = [INVOKE, STREAM, ASYNC]


async def call(session, operation, arguments):
    output = await getattr(session, xform_name(operation))(**arguments)
    if operation == STREAM:
        await output.aclose()


def sent(operation, arguments, credentials=TEMPORARY):
    """The server's URL, and the request that it got."""

    async def run():
        async with (
            serve(ANSWER) as server,
            open_session(server.url, credentials=credentials) as session,
        ):
            await call(session, operation, arguments)
            (request,) = server.requests
            return server.url, request

    return asyncio.run(run())


AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/us-east-1/sagemaker/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}"
)


def check_signature(url, request, credentials=TEMPORARY):
    """botocore computes the same signature over the headers that are listed as signed."""
    key, day, listed = AUTHORIZATION.fullmatch(request.headers["authorization"]).groups()
    signed = listed.split(";")
    assert key == credentials.access_key_id
    assert request.headers["x-amz-date"].startswith(day)
    assert signed == sorted(set(signed))
    assert set(signed) == request.headers.keys() - {
        # What proxies change, and what the framing of the connection is.
        "accept",
        "authorization",
        "content-length",
        "user-agent",
    }
    by_botocore = botocore_signed(
        method="POST",
        url=url + request.path,
        headers=[pair for pair in request.headers.items() if pair[0] != "authorization"],
        body=request.body,
        credentials=credentials,
        region="us-east-1",
        service="sagemaker",
        timestamp=request.headers["x-amz-date"],
        signs=signed.__contains__,
    )
    assert dict(by_botocore)["Authorization"] == request.headers["authorization"]


@pytest.fixture(scope="module")
def botocores():
    return BotocoreRequests().of


@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=35)
@given(data=st.data())
def test_what_is_sent_is_botocores_and_signed(botocores, operation, data):
    arguments = data.draw(parameters(operation))
    url, request = sent(operation, {xform_name(name): v for name, v in arguments.items()})

    expected = botocores(operation, arguments)
    assert request.line == f"POST {expected.path} HTTP/1.1"
    assert request.body == expected.body
    own = {name: value for name, value in request.headers.items() if name not in OTHERS}
    assert own == {name.lower(): value for name, value in expected.headers.items()}

    assert request.headers["host"] == url.removeprefix("http://")
    assert request.headers["content-length"] == str(len(expected.body))
    assert request.headers["x-amz-security-token"] == TEMPORARY.session_token
    assert request.headers["amz-sdk-request"] == "attempt=1; max=3"
    check_signature(url, request)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_a_session_token_none_is_sent(operation):
    url, request = sent(operation, VALID[operation], KEYS)
    assert "x-amz-security-token" not in request.headers
    check_signature(url, request, KEYS)


def test_without_parameters_nothing_is_made_up():
    _, request = sent(INVOKE, VALID[INVOKE])
    assert request.headers.keys() == OTHERS


def test_text_is_sent_as_utf_8():
    key = "s3://bucket/k\u00e4se/\u65e5\u672c/\U0001f600.csv"
    url, request = sent(ASYNC, {"endpoint_name": "e", "input_location": key})
    # The server reads the head as UTF-8 and would fail on anything else.
    assert request.headers["x-amzn-sagemaker-inputlocation"] == key
    check_signature(url, request)
    url, request = sent(INVOKE, {"endpoint_name": "e", "body": "k\u00e4se"})
    assert request.body == "k\u00e4se".encode()
    check_signature(url, request)


@pytest.mark.parametrize("value", ["a  b   c", "a\tb", " a", "a ", "a\t\t b \t"])
def test_blanks_in_a_header_do_not_break_the_signature(value):
    url, request = sent(INVOKE, {**VALID[INVOKE], "custom_attributes": value})
    assert request.headers["x-amzn-sagemaker-custom-attributes"] == value
    check_signature(url, request)


@pytest.mark.parametrize(
    "body",
    [bytearray(b"abc"), memoryview(b"abcdef")[::2], memoryview(b"abcdef").cast("H"), b""],
    ids=["bytearray", "strided", "shorts", "empty"],
)
def test_any_buffer_is_sent_as_its_bytes(body):
    url, request = sent(INVOKE, {"endpoint_name": "e", "body": body})
    assert request.body == memoryview(body).tobytes()
    check_signature(url, request)


@each_bad
async def test_a_bad_value_sends_nothing(bad):
    async with serve(ANSWER) as server, open_session(server.url, credentials=TEMPORARY) as session:
        method = getattr(session, xform_name(bad.operation))
        assert bad.parameter in inspect.signature(method).parameters
        with pytest.raises(aiosmrt.ParameterValidationError) as caught:
            await call(session, bad.operation, bad.parameters)
        assert caught.value.parameter == bad.parameter
        assert server.connections == 0
        # The session is none the worse for it.
        await call(session, bad.operation, VALID[bad.operation])
        assert len(server.requests) == server.connections == 1


async def test_a_flood_of_interim_responses_is_refused_before_it_takes_long():
    """Some thousands of them fit into what a head may have."""
    flood = b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000
    async with serve(flood + ANSWER) as server, open_once(server.url) as session:
        with counted_steps() as steps:
            with pytest.raises(aiosmrt.TransportError, match="interim responses came"):
                await session.invoke_endpoint("e", b"")
            counted = steps()
    assert counted < 40_000
