"""Who is let in, and how the others are refused: the service's own error form."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

import botocore.exceptions
import pytest
from support.local_clients import (
    echo,
    send,
    send_signed,
    signed_headers,
    with_boto,
)

from aiosmrt import Credentials
from aiosmrt.local import LocalEndpoint

PATH = "/endpoints/echo/invocations"


@pytest.fixture
def local(local):
    local.add_model("echo", echo)
    return local


def error_of(client):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        client.invoke_endpoint(EndpointName="echo", Body=b"x")
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]


async def test_a_wrong_secret_as_botocore_parses_it(local):
    wrong = Credentials(local.credentials.access_key_id, "another secret")
    status, error = await with_boto(local, error_of, credentials=wrong)
    assert status == 403
    assert error["Code"] == "InvalidSignatureException"
    assert error["Message"].startswith("The request signature we calculated does not match")


async def test_an_unknown_key_as_botocore_parses_it(local):
    unknown = Credentials("AKIDUNKNOWN", "secret")
    status, error = await with_boto(local, error_of, credentials=unknown)
    assert (status, error["Code"]) == (403, "UnrecognizedClientException")


def clock_off_by(**delta):
    return lambda: datetime.now(timezone.utc) + timedelta(**delta)


@pytest.mark.parametrize(
    "delta, words",
    [({"minutes": 6}, "Signature expired: "), ({"minutes": -6}, "Signature not yet current: ")],
    ids=["stale", "early"],
)
async def test_a_date_off_by_over_five_minutes_as_botocore_parses_it(delta, words):
    async with LocalEndpoint(clock=clock_off_by(**delta)) as local:
        local.add_model("echo", echo)
        status, error = await with_boto(local, error_of)
    assert (status, error["Code"]) == (403, "InvalidSignatureException")
    assert error["Message"].startswith(words)


async def test_a_date_off_by_under_five_minutes_is_taken():
    async with LocalEndpoint(clock=clock_off_by(minutes=4)) as local:
        local.add_model("echo", echo)
        assert (await send_signed(local, PATH, b"x"))[0] == 200


async def test_the_date_header_tells_the_endpoints_time():
    async with LocalEndpoint(clock=clock_off_by(hours=5)) as local:
        _, headers, _ = await send(local, PATH)
    ahead = parsedate_to_datetime(headers["Date"]) - datetime.now(timezone.utc)
    assert timedelta(hours=4) < ahead < timedelta(hours=6)


@pytest.mark.parametrize("length", [3, 300_000], ids=["short", "long"])
async def test_a_tampered_body(local, length):
    headers = signed_headers(local, PATH, bytes(length))
    status, answered, body = await send(local, PATH, b"\1" + bytes(length - 1), headers)
    assert (status, answered["x-amzn-errortype"]) == (403, "InvalidSignatureException")
    assert json.loads(body)["message"].startswith("The request signature we calculated")


@pytest.mark.parametrize("path", ["/endpoints/echo2/invocations", PATH + "?a=b"])
async def test_a_tampered_path(local, path):
    status, _, _ = await send(local, path, b"x", signed_headers(local, PATH, b"x"))
    assert status == 403


@pytest.mark.parametrize("path", [PATH, "/bucket/key"])
async def test_no_signature_at_all(local, path):
    status, headers, body = await send(local, path, b"x")
    assert status == 403
    if path == PATH:
        assert headers["x-amzn-errortype"] == "MissingAuthenticationTokenException"
        assert json.loads(body) == {"message": "Missing Authentication Token"}
    else:
        assert b"<Code>AccessDenied</Code>" in body


async def test_a_session_token_is_asked_for(local):
    held = Credentials("AKIDTEMPORARY", "secret", "token")
    local.add_credentials(held)
    assert (await send_signed(local, PATH, b"x", credentials=held))[0] == 200
    without = Credentials("AKIDTEMPORARY", "secret")
    status, headers, _ = await send_signed(local, PATH, b"x", credentials=without)
    assert (status, headers["x-amzn-errortype"]) == (403, "UnrecognizedClientException")


async def test_an_expired_token_as_botocore_parses_it(local):
    expired = Credentials(
        "AKIDTEMPORARY", "secret", "token", datetime.now(timezone.utc) - timedelta(seconds=1)
    )
    local.add_credentials(expired)
    status, error = await with_boto(local, error_of, credentials=expired)
    assert (status, error["Code"]) == (403, "ExpiredTokenException")


async def test_a_header_left_unsigned(local):
    headers = signed_headers(local, PATH, b"x") | {"X-Amz-Extra": "1"}
    status, answered, _ = await send(local, PATH, b"x", headers)
    assert (status, answered["x-amzn-errortype"]) == (403, "InvalidSignatureException")


async def test_credentials_of_ones_own_and_another_region():
    mine = Credentials("AKIDMINE", "mine")
    async with LocalEndpoint(credentials=mine, region="eu-central-1") as local:
        local.add_model("echo", echo)
        assert local.credentials is mine
        assert (await send_signed(local, PATH, b"x"))[0] == 200
    async with LocalEndpoint(credentials=mine, region="eu-central-1") as local:
        headers = signed_headers(local, PATH, b"x")
        elsewhere = {
            name: value.replace("eu-central-1", "us-west-2") for name, value in headers.items()
        }
        status, _, body = await send(local, PATH, b"x", elsewhere)
    assert status == 403
    assert json.loads(body)["message"] == "Credential should be scoped to a valid region."


async def test_without_verification_everyone_is_let_in():
    async with LocalEndpoint(verify=False) as local:
        local.add_model("echo", echo)
        assert (await send(local, PATH, b"x"))[0] == 200
        assert (await send(local, "/bucket/key", b"x", method="PUT"))[0] == 200
        assert local.get_object("s3://bucket/key") == b"x"


async def test_constraints_are_looked_at_behind_the_signature(local):
    status, _, _ = await send(local, "/endpoints/-/invocations", b"x")
    assert status == 403


def test_the_default_secret_is_not_shown():
    local = LocalEndpoint()
    assert local.credentials.secret_access_key not in repr(local.credentials)
    assert local.credentials.secret_access_key not in repr(local)


async def test_what_is_remembered_of_a_request_holds_no_credentials(local):
    held = Credentials("AKIDTEMPORARY", "secret", "the-token")
    local.add_credentials(held)
    sent = {"Content-Type": "a/b", "X-Amzn-SageMaker-Inference-Id": "mine"}
    await send_signed(local, PATH, b"abc", sent, credentials=held)
    (received,) = local.received
    assert (received.operation, received.endpoint_name) == ("InvokeEndpoint", "echo")
    assert received.inference_id == "mine"
    assert (received.raw_path, received.body_length) == (PATH, 3)
    assert received.headers["content-type"] == "a/b"
    assert "x-amz-date" in received.headers
    everything = repr(received) + repr(received.headers)
    assert "the-token" not in everything
    assert "Signature=" not in everything


async def test_no_request_need_be_remembered():
    async with LocalEndpoint(max_received=0) as local:
        await send(local, PATH)
    assert not local.received


async def test_only_the_last_requests_are_remembered():
    async with LocalEndpoint(max_received=2) as local:
        for name in ("a", "b", "c"):
            await send(local, f"/endpoints/{name}/invocations")
        await send(local, "/bucket?list-type=2", method="GET")
    assert [(seen.operation, seen.endpoint_name) for seen in local.received] == [
        ("InvokeEndpoint", "c"),
        ("ListObjectsV2", None),
    ]


async def test_a_boto_client_says_what_it_sends(local):
    def call(client):
        return client.invoke_endpoint(EndpointName="echo", Body=b"x")["ResponseMetadata"]

    await with_boto(local, call)
    (received,) = local.received
    assert received.headers["amz-sdk-request"] == "attempt=1"
    assert "amz-sdk-invocation-id" in received.headers
