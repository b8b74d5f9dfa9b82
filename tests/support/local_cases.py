"""The cases that every SDK must pass before every kind of model: what is sent, what comes back."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from aiosmrt.local import Handler, LocalEndpoint, ModelFailure, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping

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


async def unnoticed(request: ModelRequest) -> ModelResponse:
    return ModelResponse(request.body, content_type="text/x-unnoticed")


async def words(request: ModelRequest) -> AsyncIterator[bytes]:
    for word in request.body.split():
        yield word
    yield shown(request.headers).encode()


async def sessions(request: ModelRequest) -> ModelResponse:
    if request.session_id == "NEW_SESSION":
        return ModelResponse("", new_session_id=NEW_SESSION)
    if request.body == b"close":
        return ModelResponse("", closed_session_id=request.session_id)
    return ModelResponse(f"in {request.session_id}")


async def refuses(request: ModelRequest) -> bytes:
    raise ModelFailure(418, "I'm a teapot")


async def breaks(request: ModelRequest) -> AsyncIterator[bytes]:
    yield b"one"
    yield b"two"
    raise ModelFailure(500, "out of memory")


def named(name: str) -> Handler:
    async def handler(_: ModelRequest) -> str:
        return name

    return handler


# Endpoint: what each of its deployments answers with, and what tells it from the others.
DEPLOYMENTS: dict[str, dict[str, dict[str, Any]]] = {
    "variants": {"blue": {"variant": "blue"}, "green": {"variant": "green", "weight": 0}},
    "hosts": {"one": {"container_hostname": "one"}, "two": {"container_hostname": "two"}},
    "models": {"m1": {"target_model": "m1.tar.gz"}, "m2": {"target_model": "m2.tar.gz"}},
    "components": {"c1": {"inference_component": "c-1"}, "c2": {"inference_component": "c-2"}},
}


def add_models(local: LocalEndpoint) -> None:
    """Puts the models behind their endpoints."""
    for handler in (echo, unnoticed, words, sessions, refuses, breaks):
        local.add_model(handler.__name__, handler)
    for endpoint_name, deployments in DEPLOYMENTS.items():
        for name, options in deployments.items():
            local.add_model(endpoint_name, named(name), **options)
    add_what_both_have(local)


def add_what_both_have(local: LocalEndpoint) -> None:
    """An endpoint whose container is not there, and an input."""
    local.add_container("cold", "http://127.0.0.1:1")
    local.put_object("s3://inputs/rows 1.csv", "1,2")


# -- the table ------------------------------------------------------------------------------------


def _sent_and_seen(*left_out: str) -> tuple[dict[str, str], str]:
    kept = {name: facts for name, facts in ECHOED.items() if name not in left_out}
    sent = {name: value for name, (value, _) in kept.items()}
    return sent, shown({header: value for value, header in kept.values()})


def _invoke(name: str, sent: dict[str, Any], **expected: Any) -> dict[str, Any]:
    return {"name": name, "operation": "InvokeEndpoint", "input": sent, "expected": expected}


def _stream(name: str, sent: dict[str, Any], **expected: Any) -> dict[str, Any]:
    return _invoke(name, sent, **expected) | {"operation": "InvokeEndpointWithResponseStream"}


def _async(name: str, sent: dict[str, Any], **expected: Any) -> dict[str, Any]:
    return _invoke(name, sent, **expected) | {"operation": "InvokeEndpointAsync"}


def _in_session(body: str, session_id: str = "session-1") -> dict[str, str]:
    return {"EndpointName": "sessions", "Body": body, "SessionId": session_id}


def _answers(body: str, content_type: str, variant: str = "AllTraffic") -> dict[str, Any]:
    facts = {"Body": body, "ContentType": content_type, "InvokedProductionVariant": variant}
    return facts | {"status": 200}


def _is_refused(message: str) -> dict[str, Any]:
    return {"code": "ValidationError", "status": 400, "message": message}


_TEXT = "text/plain; charset=utf-8"
_BYTES = "application/octet-stream"
_REFUSED = {"EndpointName": "refuses", "Body": "x"}
_MODEL_ERROR = {
    "code": "ModelError",
    "status": 424,
    "message": re.compile(r'Received client error \(418\) from primary with message "I\'m a tea.*'),
    "OriginalStatusCode": 418,
    "OriginalMessage": "I'm a teapot",
    "LogStreamArn": "arn:aws:logs:us-east-1:123456789012:log-group:"
    "/aws/sagemaker/Endpoints/refuses:log-stream:AllTraffic/local",
}
_COLD = {"EndpointName": "cold", "Body": "x"}
_NOT_READY = {
    "code": "ModelNotReadyException",
    "status": 429,
    "message": "The model of endpoint cold is not ready for inference requests.",
}
_GONE = _is_refused("Session session-1 not found: it was never opened, or has ended.")
_NOWHERE = _is_refused("Endpoint nowhere of account 123456789012 not found.")
_UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"

_SENT, _SEEN = _sent_and_seen()
_STREAMED, _SEEN_STREAMED = _sent_and_seen(*_NOT_STREAMED)
_TYPED = {"ContentType": "a/b", "Accept": "c/d", "CustomAttributes": "c"}
_SEEN_TYPED = shown(
    {"Content-Type": "a/b", "Accept": "c/d", "X-Amzn-SageMaker-Custom-Attributes": "c"}
)


def _targeted() -> Iterator[dict[str, Any]]:
    """What chooses among an endpoint's deployments, by both operations that can."""
    for parameter, endpoint_name, right, wrong, kind in (
        ("TargetVariant", "variants", "green", "red", "Variant"),
        ("TargetContainerHostname", "hosts", "two", "three", "Container"),
        ("InferenceComponentName", "components", "c-2", "c-3", "Inference Component"),
        ("TargetModel", "models", "m2.tar.gz", "m3.tar.gz", "Model"),
    ):
        answer, options = list(DEPLOYMENTS[endpoint_name].items())[1]
        expected = _answers(answer, _TEXT, options.get("variant", "AllTraffic"))
        for make in (_invoke, _stream):
            if make is _stream and parameter in _NOT_STREAMED:
                continue
            name = f"{parameter}, {make.__name__}"
            sent = {"EndpointName": endpoint_name, "Body": "x"}
            yield make(name, {**sent, parameter: right}, **expected)
            yield make(
                f"{name}, of none",
                {**sent, parameter: wrong},
                **_is_refused(f"{kind} {wrong} of endpoint {endpoint_name} not found."),
            )


# In order: the sessions' cases follow from each other.
CASES: list[dict[str, Any]] = [
    _invoke(
        "every parameter",
        {"EndpointName": "echo", "Body": "1,2,3", **_SENT},
        CustomAttributes=_SENT["CustomAttributes"],
        **_answers(f"1,2,3 {_SEEN}", "text/x-echo"),
    ),
    _invoke(
        "no parameter, and attributes that the model does not set",
        {"EndpointName": "unnoticed", "Body": "ä ☹\r\n", "CustomAttributes": "c"},
        **_answers("ä ☹\r\n", "text/x-unnoticed"),
    ),
    _invoke(
        "an empty body",
        {"EndpointName": "unnoticed", "Body": ""},
        **_answers("", "text/x-unnoticed"),
    ),
    _invoke(
        "a streamed answer, joined",
        {"EndpointName": "words", "Body": "a b", **_TYPED},
        **_answers(f"ab{_SEEN_TYPED}", _BYTES),
    ),
    _invoke("no such endpoint", {"EndpointName": "nowhere", "Body": "x"}, **_NOWHERE),
    _invoke(
        "a session opened",
        _in_session("x", "NEW_SESSION"),
        NewSessionId=NEW_SESSION,
        **_answers("", _TEXT),
    ),
    _invoke("a session used", _in_session("x"), **_answers("in session-1", _TEXT)),
    _stream("a session used by a stream", _in_session("x"), **_answers("in session-1", _TEXT)),
    _invoke(
        "a session closed",
        _in_session("close"),
        ClosedSessionId="session-1",
        **_answers("", _TEXT),
    ),
    _invoke("a session that is gone", _in_session("x"), **_GONE),
    _stream("a session that is gone, of a stream", _in_session("x"), **_GONE),
    *_targeted(),
    _invoke(
        "the variant that has the traffic",
        {"EndpointName": "variants", "Body": "x"},
        **_answers("blue", _TEXT, "blue"),
    ),
    _invoke("the model's error", _REFUSED, **_MODEL_ERROR),
    _invoke("a model that is not ready", _COLD, **_NOT_READY),
    _stream(
        "every parameter of a stream",
        {"EndpointName": "words", "Body": "some words", **_STREAMED},
        **_answers(f"somewords{_SEEN_STREAMED}", _BYTES),
    ),
    _stream(
        "a plain answer, streamed",
        {"EndpointName": "echo", "Body": "x", **_TYPED},
        CustomAttributes="c",
        **_answers(f"x {_SEEN_TYPED}", "text/x-echo"),
    ),
    _stream("no such endpoint, of a stream", {"EndpointName": "nowhere", "Body": "x"}, **_NOWHERE),
    _stream("the model's error before a stream", _REFUSED, **_MODEL_ERROR),
    _stream("a model that is not ready to stream", _COLD, **_NOT_READY),
    _stream(
        "a stream that breaks",
        {"EndpointName": "breaks", "Body": "x"},
        code="ModelStreamError",
        message=re.compile(".+"),
        ErrorCode="StreamBroken",
        **_answers("onetwo", _BYTES),
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
        status=202,
        InferenceId="inference 1",
        OutputLocation="s3://aiosmrt-local/echo/output/some/extension/result.json",
        FailureLocation="s3://aiosmrt-local/echo/failure/some/extension/result.json-error.out",
    ),
    _async(
        "an async inference of an inline body",
        {"EndpointName": "echo", "Body": "1,2"},
        status=202,
        InferenceId=re.compile(_UUID),
        OutputLocation=re.compile(rf"s3://aiosmrt-local/echo/output/{_UUID}\.out"),
        FailureLocation=re.compile(rf"s3://aiosmrt-local/echo/failure/{_UUID}-error\.out"),
    ),
    _async("an async inference nowhere", {"EndpointName": "nowhere", "Body": "x"}, **_NOWHERE),
    _async(
        "an async inference of nothing",
        {"EndpointName": "echo"},
        code="ValidationError",
        status=400,
        message=re.compile(".*inputLocation.*|.*input_location.*"),
    ),
]

# What an operation's outputs and errors tell, as far as it is the endpoint's doing.
_FIELDS = (
    *("status", "code", "message", "Body", "ContentType", "CustomAttributes"),
    *("InvokedProductionVariant", "NewSessionId", "ClosedSessionId", "InferenceId"),
    *("OutputLocation", "FailureLocation", "OriginalStatusCode", "OriginalMessage"),
    *("LogStreamArn", "ErrorCode"),
)


def assert_passed(results: list[dict[str, Any]], *, untold: Collection[str] = ()) -> None:
    """Compares each field of each case, those too that must not be there.

    ``untold`` are the fields that the SDK keeps to itself.
    """
    for case, result in zip(CASES, results, strict=True):
        for field in _FIELDS:
            expected, seen = case["expected"].get(field), result.get(field)
            if field in untold and seen is None:
                continue
            if isinstance(expected, re.Pattern):
                same = isinstance(seen, str) and expected.fullmatch(seen) is not None
            else:
                same = seen == expected
            assert same, f"{case['name']}: {field} is {seen!r}, not {expected!r}"
