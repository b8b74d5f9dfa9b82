"""Async inferences with their inputs and results in an S3 elsewhere: moto's."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta, timezone

import botocore.session
import pytest
from support.local_clients import echo, send_signed
from support.sessions import TEMPORARY
from support.waiting import until

from aiosmrt import CachingProvider, ConfigurationError, Credentials
from aiosmrt.local import LocalEndpoint

PATH = "/endpoints/model/async-invocations"
KEYS = Credentials("AKIDMOTO", "moto")


@pytest.fixture
def bucket(moto_url):
    client = botocore.session.Session().create_client(
        "s3",
        endpoint_url=moto_url,
        region_name="us-east-1",
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
    )
    client.create_bucket(Bucket="local-objects")
    yield client
    client.close()


@pytest.fixture
async def local(moto_url):
    endpoint = LocalEndpoint(
        s3_endpoint_url=moto_url, s3_credentials=KEYS, output_bucket="local-objects"
    )
    async with endpoint:
        endpoint.add_model("model", echo)
        yield endpoint


async def finished(local, location):
    headers = {"X-Amzn-SageMaker-InputLocation": location, "X-Amzn-SageMaker-Content-Type": "a/b"}
    _, answered, _ = await send_signed(local, PATH, b"", headers)
    inference = local.async_inferences[-1]
    await until(lambda: inference.status in ("completed", "failed"))
    return inference, answered


def read(bucket, uri):
    key = uri.removeprefix("s3://local-objects/")
    found = bucket.get_object(Bucket="local-objects", Key=key)
    return found["Body"].read(), found["ContentType"]


async def test_inputs_and_outputs_in_an_s3_elsewhere(local, bucket):
    bucket.put_object(Bucket="local-objects", Key="in/a b.csv", Body=b"1,2")
    inference, _ = await finished(local, "s3://local-objects/in/a b.csv")
    assert inference.status == "completed"
    body, content_type = read(bucket, inference.output_location)
    assert json.loads(body)["body"] == "1,2"
    assert content_type == "application/json"
    with pytest.raises(KeyError):
        local.get_object(inference.output_location)


async def test_an_input_that_is_not_there_is_told_there(local, bucket):
    inference, _ = await finished(local, "s3://local-objects/nothing")
    assert inference.status == "failed"
    body, content_type = read(bucket, inference.failure_location)
    assert b"NoSuchKey" in body
    assert content_type.startswith("text/plain")


async def test_a_result_that_cannot_be_written_is_logged(moto_url, bucket, caplog):
    bucket.put_object(Bucket="local-objects", Key="in", Body=b"1,2")
    async with LocalEndpoint(
        s3_endpoint_url=moto_url, s3_credentials=KEYS, output_bucket="no-such-bucket"
    ) as local:
        local.add_model("model", echo)
        inference, _ = await finished(local, "s3://local-objects/in")
        await until(lambda: "its failure object was not written" in caplog.text)
    assert inference.status == "failed"


async def test_a_session_finds_the_results_there(moto_url, bucket):
    async with LocalEndpoint(
        credentials=KEYS,
        s3_endpoint_url=moto_url,
        s3_credentials=KEYS,
        output_bucket="local-objects",
    ) as local:
        local.add_model("model", echo)
        async with local.session() as session:
            invocation = await session.invoke_endpoint_async("model", body=b"1,2")
            result = await invocation.result(timeout=20)
    assert json.loads(result.body)["body"] == "1,2"


async def test_inputs_longer_than_the_service_takes(moto_url, bucket, monkeypatch):
    monkeypatch.setattr("aiosmrt.local._objects._MAX_INPUT_LENGTH", 2)
    monkeypatch.setattr("aiosmrt._s3.object_store.CONCURRENT_REQUESTS", 1)
    bucket.put_object(Bucket="local-objects", Key="long", Body=b"1,2")
    bucket.put_object(Bucket="local-objects", Key="short", Body=b"1")
    async with LocalEndpoint(
        s3_endpoint_url=moto_url, s3_credentials=KEYS, output_bucket="local-objects"
    ) as local:
        local.add_model("model", echo)
        for _ in range(2):
            inference, _ = await finished(local, "s3://local-objects/long")
            body, _ = read(bucket, inference.failure_location)
            assert body == b"the input at s3://local-objects/long is longer than 2 bytes"
        inference, _ = await finished(local, "s3://local-objects/short")
        assert inference.status == "completed"  # they hold nothing up


@pytest.mark.parametrize(
    "location",
    [
        "https://s3.us-east-1.amazonaws.com/b%0d%0aX-Evil:%20y/key",
        "https://s3.us-east-1.amazonaws.com/b%3Facl/key",
        "s3://b?acl/key",
        "s3://../key",
    ],
)
async def test_a_name_that_no_bucket_has_is_part_of_no_request(s3, location):
    async with LocalEndpoint(s3_endpoint_url=s3.url, s3_credentials=TEMPORARY) as local:
        local.add_model("model", echo)
        inference, _ = await finished(local, location)
        await until(lambda: s3.counts["PutObject"])
        assert inference.status == "failed"
    assert s3.counts == {"PutObject": 1}  # its failure object


async def test_a_fetch_of_credentials_under_way_ends_with_it(moto_url, bucket):
    fetches = []

    class Provider:
        async def get_credentials(self):
            fetches.append(asyncio.current_task())
            if len(fetches) > 1:
                await asyncio.Event().wait()
            soon = datetime.now(timezone.utc) + timedelta(minutes=12)
            return Credentials(KEYS.access_key_id, KEYS.secret_access_key, expiry=soon)

    bucket.put_object(Bucket="local-objects", Key="in", Body=b"1,2")
    async with LocalEndpoint(
        s3_endpoint_url=moto_url,
        s3_credentials=CachingProvider(Provider()),
        output_bucket="local-objects",
    ) as local:
        local.add_model("model", echo)
        inference, _ = await finished(local, "s3://local-objects/in")
        assert inference.status == "completed"
        assert not fetches[1].done()
    assert fetches[1].cancelled()


def test_what_is_no_url_of_an_s3():
    with pytest.raises(ConfigurationError):
        LocalEndpoint(s3_endpoint_url="not a URL")
