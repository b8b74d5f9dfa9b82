"""aiosmrt against moto's server: the service as somebody else has understood it."""

from __future__ import annotations

import json
import urllib.request

import aiosmrt
from aiosmrt import Credentials

KEYS = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")


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
    async with aiosmrt.Session(
        region="us-east-1", endpoint_url=moto_url, credentials=KEYS
    ) as session:
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
    async with aiosmrt.Session(
        region="us-east-1", endpoint_url=moto_url, s3_endpoint_url=moto_url, credentials=KEYS
    ) as session:
        invocation = await session.invoke_endpoint_async(
            "asdf", input_location="s3://somebucket/qwer", inference_id="order-4711"
        )
        assert invocation.inference_id == "order-4711"
        assert invocation.output_location is not None
        assert invocation.output_location.startswith("s3://")
        result = await invocation.result(timeout=30)
    assert json.loads(result.body) == {"answer": 42}
