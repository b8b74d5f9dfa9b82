"""Other people's clients of the local endpoint, and the cases that all of them must pass."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import aiohttp
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.exceptions
import botocore.session
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from yarl import URL

from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from aiosmrt import Credentials

# One session keeps the service models it has read.
_BOTOCORE = botocore.session.Session()
_AIOBOTOCORE = AioSession()
_ONCE = {"retries": {"total_max_attempts": 1}, "read_timeout": 30}


def settings(local: LocalEndpoint, credentials: Credentials | None = None) -> dict[str, Any]:
    """What boto3 and aiobotocore are told of the endpoint."""
    credentials = credentials or local.credentials
    return {
        "endpoint_url": local.url,
        "region_name": local.region,
        "aws_access_key_id": credentials.access_key_id,
        "aws_secret_access_key": credentials.secret_access_key,
        "aws_session_token": credentials.session_token,
    }


def boto_client(local: LocalEndpoint, service: str, credentials: Credentials | None = None) -> Any:
    """A client of boto3's kind: a context manager, and blocking."""
    config = botocore.config.Config(**_ONCE)
    made = _BOTOCORE.create_client(service, config=config, **settings(local, credentials))
    return closing(made)


async def with_boto(
    local: LocalEndpoint,
    use: Callable[[Any], Any],
    *,
    service: str = "sagemaker-runtime",
    credentials: Credentials | None = None,
) -> Any:
    """What a function of a blocking client returns, run in a thread."""

    def run() -> Any:
        with boto_client(local, service, credentials) as client:
            return use(client)

    return await asyncio.to_thread(run)


async def until(what: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Waits until a function gives something true, and returns it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not (found := what()):
        assert loop.time() < deadline, "it did not come to pass"
        await asyncio.sleep(0.002)
    return found


# -- signed requests by hand, where an SDK would refuse to send them ---------------------------


def signed_headers(
    local: LocalEndpoint,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    service: str = "sagemaker",
    credentials: Credentials | None = None,
) -> dict[str, str]:
    """The headers of a request that botocore has signed.

    An x-amz-content-sha256 among the headers stands for the body's hash.
    """
    credentials = credentials or local.credentials
    request = botocore.awsrequest.AWSRequest(
        method=method, url=local.url + path, data=body, headers=dict(headers or {})
    )
    keys = botocore.credentials.Credentials(
        credentials.access_key_id, credentials.secret_access_key, credentials.session_token
    )
    kind = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    signer = kind(keys, service, local.region)
    if payload_hash := request.headers.get("x-amz-content-sha256"):
        signer.payload = lambda _: payload_hash
    signer.add_auth(request)
    return dict(request.headers.items())


async def send(
    local: LocalEndpoint,
    path: str,
    body: bytes | AsyncIterator[bytes] = b"",
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
    *,
    method: str = "POST",
) -> tuple[int, Mapping[str, str], bytes]:
    """Sends a request as it is; returns status, headers and body."""
    data = io.BytesIO(body) if isinstance(body, bytes) else body
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Content-Type", "Accept"]) as session,
        session.request(
            method, URL(local.url + path, encoded=True), data=data, headers=headers
        ) as response,
    ):
        return response.status, response.headers, await response.read()


async def send_signed(
    local: LocalEndpoint,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "POST",
    service: str = "sagemaker",
    credentials: Credentials | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Signs a request, and sends it."""
    signed = signed_headers(
        local, path, body, headers, method=method, service=service, credentials=credentials
    )
    return await send(local, path, body, signed, method=method)


# -- the table: the same cases for every SDK --------------------------------------------------


async def echo(request: ModelRequest) -> ModelResponse:
    """Answers with what it was sent."""
    return ModelResponse(
        {"body": request.body.decode(), "headers": dict(request.headers)},
        content_type="application/json",
        custom_attributes=request.custom_attributes,
    )


async def tokens(request: ModelRequest) -> AsyncIterator[bytes]:
    """Streams the body's words, and the headers at the end."""
    for word in request.body.split():
        yield word
    yield json.dumps(dict(request.headers)).encode()


async def sessions(request: ModelRequest) -> ModelResponse:
    """Opens, uses and closes stateful sessions."""
    if request.session_id == "NEW_SESSION":
        return ModelResponse(b"", new_session_id="session-1; Expires=2099-01-02T03:04:05Z")
    if request.body == b"close":
        return ModelResponse(b"", closed_session_id=request.session_id)
    return ModelResponse(f"in {request.session_id}")


async def refuses(request: ModelRequest) -> bytes:
    """Answers 418 in its container's name."""
    raise ModelFailure(418, "I'm a teapot")


async def breaks(request: ModelRequest) -> AsyncIterator[bytes]:
    """Breaks off in the middle."""
    yield b"one "
    yield b"two"
    raise ModelFailure(500, "out of memory")


def add_models(local: LocalEndpoint) -> None:
    """Puts the table's models behind their endpoints."""
    for handler in (echo, tokens, sessions, refuses, breaks):
        local.add_model(handler.__name__, handler)


ECHOED = {
    "ContentType": ("text/csv", "Content-Type"),
    "Accept": ("application/json", "Accept"),
    "CustomAttributes": ("trace=1; other value", "X-Amzn-SageMaker-Custom-Attributes"),
    "TargetModel": ("model 1.tar.gz", "X-Amzn-SageMaker-Target-Model"),
    "TargetVariant": ("AllTraffic", "X-Amzn-SageMaker-Target-Variant"),
    "TargetContainerHostname": ("second", "X-Amzn-SageMaker-Target-Container-Hostname"),
    "InferenceId": ("id 1", "X-Amzn-SageMaker-Inference-Id"),
    "EnableExplanations": ("`true`", "X-Amzn-SageMaker-Enable-Explanations"),
    "InferenceComponentName": ("component-1", "X-Amzn-SageMaker-Inference-Component"),
    "SessionId": ("session-1", "X-Amzn-SageMaker-Session-Id"),
    "PrefixAwareId": ("prefix 1", "X-Amzn-SageMaker-Prefix-Aware-Id"),
}
_NOT_STREAMED = ("TargetModel", "EnableExplanations")


def _case(name: str, operation: str, sent: dict[str, str], **expected: Any) -> dict[str, Any]:
    return {"name": name, "operation": operation, "input": sent, "expected": expected}


def _echoed(*left_out: str) -> tuple[dict[str, str], dict[str, str]]:
    kept = {name: facts for name, facts in ECHOED.items() if name not in left_out}
    return (
        {name: value for name, (value, _) in kept.items()},
        {header: value for value, header in kept.values()},
    )


def table() -> list[dict[str, Any]]:
    """The cases: what is sent, and what must come back, in boto3's names."""
    sent, seen = _echoed()
    streamed, seen_streamed = _echoed(*_NOT_STREAMED)
    model_error = {
        "code": "ModelError",
        "status": 424,
        "OriginalStatusCode": 418,
        "OriginalMessage": "I'm a teapot",
    }
    return [
        _case(
            "every parameter",
            "InvokeEndpoint",
            {"EndpointName": "echo", "Body": "1,2,3", **sent},
            Body=json.dumps({"body": "1,2,3", "headers": seen}),
            ContentType="application/json",
            CustomAttributes=sent["CustomAttributes"],
            InvokedProductionVariant="AllTraffic",
        ),
        _case(
            "a generator joined",
            "InvokeEndpoint",
            {"EndpointName": "tokens", "Body": "a b", "ContentType": "c/d", "Accept": "e/f"},
            Body='ab{"Content-Type": "c/d", "Accept": "e/f"}',
            ContentType="application/octet-stream",
        ),
        _case(
            "no such endpoint",
            "InvokeEndpoint",
            {"EndpointName": "nowhere", "Body": "x"},
            code="ValidationError",
            status=400,
            message="Endpoint nowhere of account 123456789012 not found.",
        ),
        _case(
            "a session opened",
            "InvokeEndpoint",
            {"EndpointName": "sessions", "Body": "x", "SessionId": "NEW_SESSION"},
            Body="",
            NewSessionId="session-1; Expires=2099-01-02T03:04:05Z",
        ),
        _case(
            "a session used",
            "InvokeEndpoint",
            {"EndpointName": "sessions", "Body": "x", "SessionId": "session-1"},
            Body="in session-1",
            ContentType="text/plain; charset=utf-8",
        ),
        _case(
            "a session closed",
            "InvokeEndpoint",
            {"EndpointName": "sessions", "Body": "close", "SessionId": "session-1"},
            ClosedSessionId="session-1",
        ),
        _case(
            "a session that is gone",
            "InvokeEndpoint",
            {"EndpointName": "sessions", "Body": "x", "SessionId": "session-1"},
            code="ValidationError",
            status=400,
        ),
        _case(
            "the model's error",
            "InvokeEndpoint",
            {"EndpointName": "refuses", "Body": "x"},
            **model_error,
        ),
        _case(
            "every parameter of a stream",
            "InvokeEndpointWithResponseStream",
            {"EndpointName": "tokens", "Body": "some words", **streamed},
            parts=["some", "words", json.dumps(seen_streamed)],
            ContentType="application/octet-stream",
            InvokedProductionVariant="AllTraffic",
        ),
        _case(
            "a plain answer streamed",
            "InvokeEndpointWithResponseStream",
            {"EndpointName": "echo", "Body": "x", "ContentType": "a/b", "CustomAttributes": "c"},
            parts=[
                json.dumps(
                    {
                        "body": "x",
                        "headers": {
                            "Content-Type": "a/b",
                            "X-Amzn-SageMaker-Custom-Attributes": "c",
                        },
                    }
                )
            ],
            ContentType="application/json",
            CustomAttributes="c",
        ),
        _case(
            "the model's error before a stream",
            "InvokeEndpointWithResponseStream",
            {"EndpointName": "refuses", "Body": "x"},
            **model_error,
        ),
        _case(
            "a stream that breaks",
            "InvokeEndpointWithResponseStream",
            {"EndpointName": "breaks", "Body": "x"},
            parts=["one ", "two"],
            code="ModelStreamError",
            message="out of memory",
        ),
        _case(
            "an async inference",
            "InvokeEndpointAsync",
            {
                "EndpointName": "echo",
                "InputLocation": "s3://inputs/rows é.csv",
                "ContentType": "text/csv",
                "Accept": "application/json",
                "CustomAttributes": "c",
                "InferenceId": "inference 1",
                "S3OutputPathExtension": "some/extension",
                "Filename": "result.json",
                "RequestTTLSeconds": 60,
                "InvocationTimeoutSeconds": 3600,
            },
            status=202,
            InferenceId="inference 1",
            OutputLocation="s3://aiosmrt-local/echo/output/some/extension/result.json",
            FailureLocation="s3://aiosmrt-local/echo/failure/some/extension/result.json-error.out",
        ),
        _case(
            "an async inference of an inline body",
            "InvokeEndpointAsync",
            {"EndpointName": "echo", "Body": "1,2", "InferenceId": "inference 2"},
            status=202,
            InferenceId="inference 2",
        ),
        _case(
            "an async inference of nothing",
            "InvokeEndpointAsync",
            {"EndpointName": "echo"},
            code="ValidationError",
            status=400,
        ),
    ]


def _errors(error: botocore.exceptions.ClientError) -> dict[str, Any]:
    response = error.response
    facts = {name: value for name, value in response.items() if name.startswith("Original")}
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return {
        "code": response["Error"]["Code"],
        "message": response["Error"]["Message"],
        "status": status,
        **facts,
    }


def _facts(output: dict[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in output.items() if isinstance(value, str)}
    return facts | {"status": output["ResponseMetadata"]["HTTPStatusCode"]}


def _of_boto(case: dict[str, Any], client: Any) -> dict[str, Any]:
    method = getattr(client, botocore.xform_name(case["operation"]))
    facts: dict[str, Any] = {}
    try:
        output = method(**case["input"])
        facts = _facts(output)
        if case["operation"] == "InvokeEndpoint":
            facts["Body"] = output["Body"].read().decode()
        elif case["operation"] == "InvokeEndpointWithResponseStream":
            with closing(output["Body"]) as stream:
                facts["parts"] = []
                for event in stream:
                    facts["parts"].append(event["PayloadPart"]["Bytes"].decode())
    except botocore.exceptions.ClientError as error:
        facts |= _errors(error)
    return facts


async def run_boto3(local: LocalEndpoint, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What boto3 makes of the cases."""
    return await with_boto(local, lambda client: [_of_boto(case, client) for case in cases])


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
            facts["parts"] = []
            async for event in output["Body"]:
                facts["parts"].append(event["PayloadPart"]["Bytes"].decode())
    except botocore.exceptions.ClientError as error:
        facts |= _errors(error)
    return facts


async def run_aiobotocore(
    local: LocalEndpoint, cases: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What aiobotocore makes of the cases."""
    config = AioConfig(**_ONCE)
    async with _AIOBOTOCORE.create_client(
        "sagemaker-runtime", config=config, **settings(local)
    ) as client:
        return [await _of_aiobotocore(case, client) for case in cases]
