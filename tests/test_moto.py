"""aiosmrt against moto's server: the service as somebody else has understood it."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from support.sessions import open_session
from support.waiting import until

import aiosmrt
from aiosmrt import AccessDeniedException, AsyncInferenceError, Credentials, DeadlineExceededError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def queue(url: str, kind: str, results: list[object]) -> None:
    """Tells moto what to answer next; its own endpoints take it, unsigned."""
    data = json.dumps({"results": results, "region": "us-east-1", "account_id": "123456789012"})
    path = f"{url}/moto-api/static/sagemaker/{kind}"
    with urllib.request.urlopen(path, data.encode()) as response:  # noqa: S310 - loopback
        assert response.status == 201


async def test_invoke_endpoint(moto_url: str) -> None:
    answer = {
        "Body": "this is the answer",
        "ContentType": "text/plain",
        "InvokedProductionVariant": "prod",
        "CustomAttributes": "my_attr",
    }
    queue(moto_url, "endpoint-results", [answer])
    async with open_session(moto_url) as session:
        output = await session.invoke_endpoint(
            "asdf", b"qwer", content_type="text/plain", custom_attributes="a=b"
        )
    assert output.text() == "this is the answer"
    assert output.content_type is not None
    assert output.invoked_production_variant == "prod"
    assert output.custom_attributes == "my_attr"
    assert output.metadata.status_code == 200


async def test_invoke_endpoint_async_to_its_result(moto_url: str) -> None:
    queue(moto_url, "async-endpoint-results", [{"data": '{"answer": 42}'}])
    # moto writes the output before it dates the response: not at the end of a second.
    await until(lambda: time.time() % 1 < 0.5)
    async with open_session(moto_url, s3_endpoint_url=moto_url) as session:
        invocation = await session.invoke_endpoint_async(
            "asdf", input_location="s3://somebucket/qwer", inference_id="order-4711"
        )
        assert invocation.inference_id == "order-4711"
        assert invocation.output_location is not None
        assert invocation.output_location.startswith("s3://")
        result = await invocation.result(timeout=30)
    assert json.loads(result.body) == {"answer": 42}


# -- S3, where IAM decides who may do what ------------------------------------------------------


@pytest.fixture
def user(moto_url: str) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes users who may do these actions and nothing else; from the first on, IAM is asked."""
    where = {"endpoint_url": moto_url, "region_name": "us-east-1"}
    root = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    s3, iam = boto3.client("s3", **where, **root), boto3.client("iam", **where, **root)
    s3.create_bucket(Bucket="iam-tests")
    made = []

    def ask_iam(after: str) -> None:
        text = {"Content-Type": "text/plain"}
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{moto_url}/moto-api/reset-auth", after.encode(), text
        )
        with urllib.request.urlopen(request):  # noqa: S310
            pass

    def make(*actions: str) -> dict[str, Any]:
        """The arguments of boto3.client."""
        ask_iam("inf")
        made.append(name := f"user{len(made)}")
        iam.create_user(UserName=name)
        keys = iam.create_access_key(UserName=name)["AccessKey"]
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="its", PolicyDocument=policy)
        ask_iam("0")
        return where | {
            "aws_access_key_id": keys["AccessKeyId"],
            "aws_secret_access_key": keys["SecretAccessKey"],
        }

    yield make
    ask_iam("inf")
    for name in made:
        for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.delete_user_policy(UserName=name, PolicyName="its")
        iam.delete_user(UserName=name)
    s3.close()
    iam.close()


def session_of(given: dict[str, Any]) -> aiosmrt.Session:
    return aiosmrt.Session(
        region=given["region_name"],
        s3_endpoint_url=given["endpoint_url"],
        credentials=Credentials(given["aws_access_key_id"], given["aws_secret_access_key"]),
    )


@pytest.mark.parametrize("may_list", [True, False])
async def test_results_are_collected_with_and_without_leave_to_list(
    user: Callable[..., dict[str, Any]], may_list: bool
) -> None:
    reader = user("s3:GetObject", *(["s3:ListBucket"] if may_list else []))
    writer = boto3.client("s3", **user("s3:PutObject"))
    below = f"s3://iam-tests/{may_list}"

    def write(key: str, body: bytes) -> None:
        writer.put_object(Bucket="iam-tests", Key=f"{may_list}/{key}", Body=body)

    async with session_of(reader) as session:
        handles = [
            session.async_invocation(
                output_location=f"{below}/output/{n}", failure_location=f"{below}/failure/{n}"
            )
            for n in range(4)
        ]
        waiting = [asyncio.create_task(handle.result(60, poll=0.1)) for handle in handles]
        with pytest.raises(DeadlineExceededError):
            await handles[0].result(0.5, poll=0.1)
        for n in range(3):
            await asyncio.to_thread(write, f"output/{n}", b"%d" % n)
        await asyncio.to_thread(write, "failure/3", b"it broke")
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    writer.close()
    bodies = [
        outcome.body for outcome in outcomes if isinstance(outcome, aiosmrt.AsyncInferenceResult)
    ]
    assert bodies == [b"0", b"1", b"2"]
    assert isinstance(outcomes[3], AsyncInferenceError)
    assert "it broke" in str(outcomes[3])


@pytest.mark.parametrize("number", [1, 3])
async def test_an_object_older_than_its_inference_is_not_its_result(
    user: Callable[..., dict[str, Any]], number: int
) -> None:
    where = user("s3:*")
    client = boto3.client("s3", **where)
    keys = [f"older{number}/{each}" for each in range(number)]
    for key in keys:
        client.put_object(Bucket="iam-tests", Key=key, Body=b"written")
    written = [client.head_object(Bucket="iam-tests", Key=key)["LastModified"] for key in keys]
    client.close()
    async with session_of(where) as session:

        def handles(later: timedelta) -> list[aiosmrt.AsyncInvocation]:
            return [
                session.async_invocation(
                    output_location=f"s3://iam-tests/{key}", accepted_at=when + later
                )
                for key, when in zip(keys, written, strict=True)
            ]

        early = [handle.result(1.0, poll=0.1) for handle in handles(timedelta(seconds=1))]
        for outcome in await asyncio.gather(*early, return_exceptions=True):
            assert isinstance(outcome, DeadlineExceededError)
            assert "last modified before" in str(outcome)
        same = [handle.result(60, poll=0.1) for handle in handles(timedelta(microseconds=999_999))]
        assert [outcome.body for outcome in await asyncio.gather(*same)] == [b"written"] * number


async def test_a_refusal_to_read_is_told_from_an_output_that_is_not_there(
    user: Callable[..., dict[str, Any]],
) -> None:
    lister, nobody = user("s3:ListBucket"), user("s3:GetBucketLocation")
    writer = boto3.client("s3", **user("s3:PutObject"))
    uri = "s3://iam-tests/refused/output/1"
    async with session_of(lister) as session:
        with pytest.raises(DeadlineExceededError):
            await session.async_invocation(output_location=uri).result(0.5, poll=0.1)
        await asyncio.to_thread(
            lambda: writer.put_object(Bucket="iam-tests", Key="refused/output/1", Body=b"secret")
        )
        with pytest.raises(AccessDeniedException, match="Allow s3:GetObject"):
            await session.async_invocation(output_location=uri).result(60, poll=0.1)
    async with session_of(nobody) as session:  # to whom both are one and the same
        with pytest.raises(DeadlineExceededError, match="S3 answered 403 each time"):
            await session.async_invocation(output_location=uri).result(2.0, poll=0.1)
    writer.close()
