"""README.md's table "Coming from boto3": what it calls the same is the same, on one endpoint."""

from __future__ import annotations

import asyncio
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError

import aiosmrt
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse


@pytest.fixture
def local(local):
    async def echo(request: ModelRequest) -> ModelResponse:
        return ModelResponse(request.body, content_type=request.content_type)

    async def refuse(_request: ModelRequest) -> None:
        raise ModelFailure(503, "no memory")

    async def words(request: ModelRequest):
        for word in request.body.split():
            yield word

    async def sleep(_request: ModelRequest) -> None:
        await asyncio.Event().wait()

    for name, handler in {"e": echo, "no": refuse, "llm": words, "slow": sleep}.items():
        local.add_model(name, handler)
    return local


def boto(local: LocalEndpoint, **settings: Any) -> Any:
    settings.setdefault("retries", {"total_max_attempts": 3, "mode": "standard"})
    return boto3.client(
        "sagemaker-runtime",
        region_name=local.region,
        endpoint_url=local.url,
        aws_access_key_id=local.credentials.access_key_id,
        aws_secret_access_key=local.credentials.secret_access_key,
        config=Config(**settings),
    )


async def test_an_invocation(local):
    client = boto(local)
    local.inject(error="InternalFailure", times=1)
    theirs = await asyncio.to_thread(
        client.invoke_endpoint, EndpointName="e", Body=b"[1]", ContentType="application/json"
    )
    local.inject(error="InternalFailure", times=1)
    async with local.session() as session:
        ours = await session.invoke_endpoint("e", json=[1])
    assert theirs["Body"].read() == ours.body
    assert theirs["ContentType"] == ours.content_type
    assert theirs["InvokedProductionVariant"] == ours.invoked_production_variant
    assert theirs["ResponseMetadata"]["RequestId"]
    assert ours.metadata.request_id
    assert theirs["ResponseMetadata"]["RetryAttempts"] + 1 == ours.metadata.attempts == 2


async def test_a_stream(local):
    def read() -> list[bytes]:
        response = boto(local).invoke_endpoint_with_response_stream(
            EndpointName="llm", Body=b"bye now"
        )
        return [event["PayloadPart"]["Bytes"] for event in response["Body"]]

    async with (
        local.session() as session,
        session.invoke_endpoint_with_response_stream("llm", b"bye now") as stream,
    ):
        assert [part.bytes async for part in stream] == await asyncio.to_thread(read)


@pytest.mark.parametrize("endpoint", ["no", "unknown"])
async def test_an_error(local, endpoint):
    with pytest.raises(ClientError) as theirs:
        await asyncio.to_thread(boto(local).invoke_endpoint, EndpointName=endpoint, Body=b"")
    async with local.session() as session:
        with pytest.raises(aiosmrt.ServiceError) as ours:
            await session.invoke_endpoint(endpoint, b"")
    response, error = theirs.value.response, ours.value
    assert response["Error"]["Code"] == error.code
    assert response["Error"]["Message"] == error.message
    assert response["ResponseMetadata"]["HTTPStatusCode"] == error.status_code
    assert response.get("OriginalStatusCode") == getattr(error, "original_status_code", None)


async def test_how_many_attempts_are_made(local):
    local.inject(error="InternalFailure")
    with pytest.raises(ClientError):
        await asyncio.to_thread(boto(local).invoke_endpoint, EndpointName="e", Body=b"")
    assert len(local.received) == 3
    async with local.session(retries=aiosmrt.RetryPolicy(max_attempts=3)) as session:
        with pytest.raises(aiosmrt.InternalFailure):
            await session.invoke_endpoint("e", b"")
    assert len(local.received) == 6


async def test_a_read_timeout_is_tried_again_by_boto3_alone(local):
    client = boto(local, read_timeout=0.2, retries={"total_max_attempts": 2, "mode": "standard"})
    with pytest.raises(ReadTimeoutError):
        await asyncio.to_thread(client.invoke_endpoint, EndpointName="slow", Body=b"")
    assert len(local.received) == 2
    async with local.session(timeouts=aiosmrt.Timeouts(read=0.2)) as session:
        with pytest.raises(aiosmrt.ReadTimeoutError):
            await session.invoke_endpoint("slow", b"")
    assert len(local.received) == 3
