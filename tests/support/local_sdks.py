"""The SDKs that run the table of cases: what each makes of it, as facts of one form."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import botocore
import botocore.exceptions
import capo_sagemaker_runtime
import capo_sagemaker_runtime.errors
import pytest
from support.local_cases import CASES
from support.local_clients import aiobotocore_client, with_boto

import aiosmrt

if TYPE_CHECKING:
    from aiosmrt.local import LocalEndpoint


def _of_stream(facts: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    """An error behind a stream's head has no status of its own."""
    return error | ({"status": facts["status"]} if "status" in facts else {})


def _facts(output: dict[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in output.items() if isinstance(value, str)}
    return facts | {"status": output["ResponseMetadata"]["HTTPStatusCode"]}


def _error(error: botocore.exceptions.ClientError) -> dict[str, Any]:
    response = error.response
    return {
        "code": response["Error"]["Code"],
        "message": response["Error"]["Message"],
        "status": response.get("ResponseMetadata", {}).get("HTTPStatusCode"),
        **{name: value for name, value in response.items() if isinstance(value, (str, int))},
    }


def _of_boto3(case: dict[str, Any], client: Any) -> dict[str, Any]:
    method = getattr(client, botocore.xform_name(case["operation"]))
    facts: dict[str, Any] = {}
    try:
        output = method(**case["input"])
        facts = _facts(output)
        if case["operation"] == "InvokeEndpoint":
            facts["Body"] = output["Body"].read().decode()
        elif case["operation"] == "InvokeEndpointWithResponseStream":
            facts["Body"] = ""
            with closing(output["Body"]) as stream:
                for event in stream:
                    facts["Body"] += event["PayloadPart"]["Bytes"].decode()
    except botocore.exceptions.ClientError as error:
        facts |= _of_stream(facts, _error(error))
    return facts


async def run_boto3(local: LocalEndpoint) -> list[dict[str, Any]]:
    return await with_boto(local, lambda client: [_of_boto3(case, client) for case in CASES])


async def _of_aiobotocore(case: dict[str, Any], client: Any) -> dict[str, Any]:
    method = getattr(client, botocore.xform_name(case["operation"]))
    facts: dict[str, Any] = {}
    try:
        output = await method(**case["input"])
        facts = _facts(output)
        if case["operation"] == "InvokeEndpoint":
            async with output["Body"] as stream:
                facts["Body"] = (await stream.read()).decode()
        elif case["operation"] == "InvokeEndpointWithResponseStream":
            facts["Body"] = ""
            async for event in output["Body"]:
                facts["Body"] += event["PayloadPart"]["Bytes"].decode()
    except botocore.exceptions.ClientError as error:
        facts |= _of_stream(facts, _error(error))
    return facts


async def run_aiobotocore(local: LocalEndpoint) -> list[dict[str, Any]]:
    async with aiobotocore_client(local) as client:
        return [await _of_aiobotocore(case, client) for case in CASES]


def _snake_case(case: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    given = {botocore.xform_name(name): value for name, value in case["input"].items()}
    if "body" in given:
        given["body"] = given["body"].encode()
    return botocore.xform_name(case["operation"]), given


def _camel_case(facts: dict[str, Any]) -> dict[str, Any]:
    return {"".join(part.title() for part in name.split("_")): v for name, v in facts.items()}


async def _of_capo(case: dict[str, Any], client: Any) -> dict[str, Any]:
    name, given = _snake_case(case)
    facts: dict[str, Any] = {}
    try:
        if case["operation"] == "InvokeEndpointWithResponseStream":
            async with client.invoke_endpoint_with_response_stream(**given) as output:
                facts = _camel_case(output) | {"Body": ""}
                async for event in output["body"]:
                    facts["Body"] += event["PayloadPart"]["bytes"].decode()
        else:
            output = await getattr(client, name)(**given)
            facts = _camel_case(output)
            if "body" in output:
                facts["Body"] = output["body"].decode()
    except capo_sagemaker_runtime.errors.ServiceError as error:
        facts |= {"code": error.code, "message": error.message, "status": error.response.status}
        facts |= _camel_case(getattr(error, "data", {}))
    return facts


async def run_capo(local: LocalEndpoint) -> list[dict[str, Any]]:
    async with capo_sagemaker_runtime.AsyncSageMakerRuntimeClient(
        endpoint=local.url,
        region=local.region,
        retry_max_attempts=1,
        credentials={
            "access_key": local.credentials.access_key_id,
            "secret_key": local.credentials.secret_access_key,
        },
    ) as client:
        return [await _of_capo(case, client) for case in CASES]


def _of_output(output: Any) -> dict[str, Any]:
    names = [name for name in dir(output) if not name.startswith("_")]
    facts = {name: getattr(output, name) for name in names if name not in ("body", "new_session")}
    told = _camel_case({name: v for name, v in facts.items() if isinstance(v, str)})
    return told | {"status": output.metadata.status_code}


async def _of_aiosmrt(case: dict[str, Any], session: aiosmrt.Session) -> dict[str, Any]:
    name, given = _snake_case(case)
    facts: dict[str, Any] = {}
    try:
        if case["operation"] == "InvokeEndpointWithResponseStream":
            async with session.invoke_endpoint_with_response_stream(**given) as stream:
                facts = _of_output(stream) | {"Body": ""}
                async for part in stream:
                    facts["Body"] += part.bytes.decode()
        else:
            output = await getattr(session, name)(**given)
            facts = _of_output(output)
            if case["operation"] == "InvokeEndpoint":
                facts["Body"] = output.text()
    except aiosmrt.ParameterValidationError as error:
        # It finds out before it sends.
        facts |= {"code": "ValidationError", "status": 400, "message": str(error)}
    except aiosmrt.ServiceError as error:
        facts |= {"code": error.code, "message": error.message, "status": error.status_code}
        members = ("original_status_code", "original_message", "log_stream_arn", "error_code")
        facts |= _camel_case({name: getattr(error, name, None) for name in members})
    return facts


async def run_aiosmrt(local: LocalEndpoint) -> list[dict[str, Any]]:
    async with local.session(retries=aiosmrt.RetryPolicy(max_attempts=1)) as session:
        return [await _of_aiosmrt(case, session) for case in CASES]


# Each with the fields that it does not tell.
SDKS = [
    pytest.param(run_boto3, ["ErrorCode"], id="boto3"),
    pytest.param(run_aiobotocore, ["ErrorCode"], id="aiobotocore"),
    pytest.param(run_capo, ["status"], id="capo"),
    pytest.param(run_aiosmrt, [], id="aiosmrt"),
]
