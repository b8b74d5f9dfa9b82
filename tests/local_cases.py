"""The cases that every SDK must pass before every kind of model: what is sent, what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

# Parameter: a value, and the header by which a container gets it.
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
_PASSED_ON = sorted(header.lower() for _, header in ECHOED.values())
_NOT_STREAMED = ("TargetModel", "EnableExplanations")

NEW_SESSION = "session-1; Expires=2099-01-02T03:04:05Z"


def shown(headers: Mapping[str, str]) -> str:
    """The headers that a container may rely on, as text that is the same for every server."""
    lowered = {name.lower(): value for name, value in headers.items()}
    return json.dumps({name: lowered[name] for name in _PASSED_ON if name in lowered})


# -- the models, as Python functions; local_container.py has the same behind HTTP ---------------


async def echo(request: ModelRequest) -> ModelResponse:
    return ModelResponse(
        f"{request.body.decode()} {shown(request.headers)}",
        content_type="text/x-echo",
        custom_attributes=request.custom_attributes,
    )


async def words(request: ModelRequest) -> AsyncIterator[bytes]:
    for word in request.body.split():
        yield word
    yield shown(request.headers).encode()


async def sessions(request: ModelRequest) -> ModelResponse:
    if request.session_id == "NEW_SESSION":
        return ModelResponse(b"", new_session_id=NEW_SESSION)
    if request.body == b"close":
        return ModelResponse(b"", closed_session_id=request.session_id)
    return ModelResponse(f"in {request.session_id}")


async def refuses(request: ModelRequest) -> bytes:
    raise ModelFailure(418, "I'm a teapot")


async def breaks(request: ModelRequest) -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"
    raise ModelFailure(500, "out of memory")


def add_models(local: LocalEndpoint) -> None:
    """Puts the models behind their endpoints."""
    for handler in (echo, words, sessions, refuses, breaks):
        local.add_model(handler.__name__, handler)


# -- the table ------------------------------------------------------------------------------------


def _sent_and_seen(*left_out: str) -> tuple[dict[str, str], str]:
    kept = {name: facts for name, facts in ECHOED.items() if name not in left_out}
    sent = {name: value for name, (value, _) in kept.items()}
    return sent, shown({header: value for value, header in kept.values()})


def _invoke(name: str, sent: dict[str, str], **expected: Any) -> dict[str, Any]:
    return {"name": name, "operation": "InvokeEndpoint", "input": sent, "expected": expected}


def _stream(name: str, sent: dict[str, str], **expected: Any) -> dict[str, Any]:
    return _invoke(name, sent, **expected) | {"operation": "InvokeEndpointWithResponseStream"}


def _async(name: str, sent: dict[str, Any], **expected: Any) -> dict[str, Any]:
    return _invoke(name, sent, **expected) | {"operation": "InvokeEndpointAsync"}


def _in_session(body: str, session_id: str = "session-1") -> dict[str, str]:
    return {"EndpointName": "sessions", "Body": body, "SessionId": session_id}


_REFUSED = {"EndpointName": "refuses", "Body": "x"}
_MODEL_ERROR = {
    "code": "ModelError",
    "status": 424,
    "OriginalStatusCode": 418,
    "OriginalMessage": "I'm a teapot",
}
_VALIDATION_ERROR = {"code": "ValidationError", "status": 400}

_SENT, _SEEN = _sent_and_seen()
_STREAMED, _SEEN_STREAMED = _sent_and_seen(*_NOT_STREAMED)
_TYPED = {"ContentType": "a/b", "Accept": "c/d", "CustomAttributes": "c"}
_SEEN_TYPED = shown(
    {"Content-Type": "a/b", "Accept": "c/d", "X-Amzn-SageMaker-Custom-Attributes": "c"}
)

# In order: the sessions' cases follow from each other.
CASES: list[dict[str, Any]] = [
    _invoke(
        "every parameter",
        {"EndpointName": "echo", "Body": "1,2,3", **_SENT},
        Body=f"1,2,3 {_SEEN}",
        ContentType="text/x-echo",
        CustomAttributes=_SENT["CustomAttributes"],
        InvokedProductionVariant="AllTraffic",
    ),
    _invoke(
        "a streamed answer, joined",
        {"EndpointName": "words", "Body": "a b", **_TYPED},
        Body=f"ab{_SEEN_TYPED}",
        ContentType="application/octet-stream",
    ),
    _invoke(
        "no such endpoint",
        {"EndpointName": "nowhere", "Body": "x"},
        message="Endpoint nowhere of account 123456789012 not found.",
        **_VALIDATION_ERROR,
    ),
    _invoke("a session opened", _in_session("x", "NEW_SESSION"), NewSessionId=NEW_SESSION),
    _invoke("a session used", _in_session("x"), Body="in session-1"),
    _invoke("a session closed", _in_session("close"), ClosedSessionId="session-1"),
    _invoke("a session that is gone", _in_session("x"), **_VALIDATION_ERROR),
    _invoke("the model's error", _REFUSED, **_MODEL_ERROR),
    _stream(
        "every parameter of a stream",
        {"EndpointName": "words", "Body": "some words", **_STREAMED},
        Body=f"somewords{_SEEN_STREAMED}",
        ContentType="application/octet-stream",
        InvokedProductionVariant="AllTraffic",
    ),
    _stream(
        "a plain answer, streamed",
        {"EndpointName": "echo", "Body": "x", **_TYPED},
        Body=f"x {_SEEN_TYPED}",
        ContentType="text/x-echo",
        CustomAttributes="c",
    ),
    _stream("the model's error before a stream", _REFUSED, **_MODEL_ERROR),
    _stream(
        "a stream that breaks",
        {"EndpointName": "breaks", "Body": "x"},
        Body="onetwo",
        code="ModelStreamError",
    ),
    _async(
        "an async inference",
        {
            "EndpointName": "echo",
            "InputLocation": "s3://inputs/rows 1.csv",
            "ContentType": "text/csv",
            "Accept": "application/json",
            "CustomAttributes": "c",
            "InferenceId": "inference 1",
            "S3OutputPathExtension": "some/extension",
            "Filename": "result.json",
            "RequestTTLSeconds": 60,
            "InvocationTimeoutSeconds": 3600,
        },
        InferenceId="inference 1",
        OutputLocation="s3://aiosmrt-local/echo/output/some/extension/result.json",
        FailureLocation="s3://aiosmrt-local/echo/failure/some/extension/result.json-error.out",
    ),
    _async(
        "an async inference of an inline body",
        {"EndpointName": "echo", "Body": "1,2", "InferenceId": "inference 2"},
        InferenceId="inference 2",
    ),
    _async("an async inference of nothing", {"EndpointName": "echo"}, **_VALIDATION_ERROR),
]


def assert_passed(results: list[dict[str, Any]]) -> None:
    """Compares each field of each case."""
    for case, result in zip(CASES, results, strict=True):
        seen = {name: result.get(name) for name in case["expected"]}
        assert seen == case["expected"], case["name"]
