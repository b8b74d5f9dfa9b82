"""Every constraint of every operation, held to over the wire."""

from __future__ import annotations

import json

import pytest
from support.local_clients import echo, send, send_signed, signed_headers

from aiosmrt._protocol.operations import (
    ASYNC_BODY_LENGTH,
    INVOKE_ENDPOINT,
    INVOKE_ENDPOINT_ASYNC,
    OPERATIONS,
    SYNC_BODY_LENGTH,
    IntegerConstraint,
)
from aiosmrt.local import LocalEndpoint

# In order of what most patterns refuse; all of them have a form on the wire.
SUSPICIOUS = ["-a", "a b", "a/b", "..", "ftp://bucket/key", "é"]


def broken_values(constraint):
    if isinstance(constraint, IntegerConstraint):
        return [constraint.minimum - 1, constraint.maximum + 1, "1.5", "+60", "60a", "9" * 30]
    values = [value for value in SUSPICIOUS if not constraint.pattern.fullmatch(value)]
    return ["a" * (constraint.max_length + 1), values[0]]


def good_values(constraint):
    if isinstance(constraint, IntegerConstraint):
        return [constraint.minimum, constraint.maximum]
    for value in ("a", "s3://b/k"):
        if constraint.pattern.fullmatch(value):
            return [value, value + "a" * (constraint.max_length - len(value))]
    raise AssertionError("no value of this pattern is known here")


BINDINGS = [
    pytest.param(operation, binding, id=f"{operation.name}-{binding.member}")
    for operation in OPERATIONS.values()
    for binding in operation.inputs
]


def path_of(operation, endpoint_name="echo"):
    return operation.path.format(EndpointName=endpoint_name)


def body_for(operation, header=None):
    return b"" if header == "X-Amzn-SageMaker-InputLocation" else b"1,2"


@pytest.fixture
def local(local):
    local.add_model("echo", echo)
    return local


@pytest.mark.parametrize("operation, binding", BINDINGS)
async def test_a_value_outside_its_constraint_is_refused(local, operation, binding):
    for value in broken_values(binding.constraint):
        status, headers, body = await send_signed(
            local,
            path_of(operation),
            body_for(operation, binding.header),
            {binding.header: str(value)},
        )
        message = json.loads(body)["message"]
        assert (status, headers["x-amzn-errortype"]) == (400, "ValidationError")
        member = binding.member[0].lower() + binding.member[1:]
        assert message.startswith(
            f"1 validation error detected: Value at '{member}' failed to satisfy constraint: Member"
        )
        assert f"'{value}'" not in message  # some members are sensitive


@pytest.mark.parametrize("operation, binding", BINDINGS)
async def test_a_value_at_its_limits_is_taken(local, operation, binding):
    for value in good_values(binding.constraint):
        status, _, body = await send_signed(
            local,
            path_of(operation),
            body_for(operation, binding.header),
            {binding.header: str(value)},
        )
        assert status == operation.status_code, body


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("name", ["a" * 64, "-a", "a%2Fb", "%2e%2e", "a%0Ab", "%ff", "a_b"])
async def test_an_endpoint_name_outside_its_constraint_is_refused(local, operation, name):
    status, _, body = await send_signed(local, path_of(operation, name), b"x")
    assert status == 400
    assert "Value at 'endpointName' failed" in json.loads(body)["message"]


async def test_everything_that_is_wrong_is_said_at_once(local):
    status, _, body = await send_signed(
        local,
        path_of(INVOKE_ENDPOINT, "-"),
        b"x",
        {"X-Amzn-SageMaker-Target-Variant": "-", "X-Amzn-SageMaker-Inference-Id": "é"},
    )
    assert status == 400
    message = json.loads(body)["message"]
    assert message.startswith("3 validation errors detected: Value at 'endpointName'")
    assert "Value at 'targetVariant'" in message
    assert "Value at 'inferenceId'" in message


async def test_a_header_sent_twice_is_one_value(local):
    headers = signed_headers(
        local, path_of(INVOKE_ENDPOINT), b"x", {"X-Amzn-SageMaker-Custom-Attributes": "a,b"}
    )
    del headers["X-Amzn-SageMaker-Custom-Attributes"]
    twice = [*headers.items(), *[("X-Amzn-SageMaker-Custom-Attributes", v) for v in ("a", "b")]]
    status, _, body = await send(local, path_of(INVOKE_ENDPOINT), b"x", twice)
    assert status == 200
    assert json.loads(body)["headers"]["X-Amzn-SageMaker-Custom-Attributes"] == "a, b"


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_a_body_past_its_limit_is_refused(local, operation):
    limit = ASYNC_BODY_LENGTH if operation is INVOKE_ENDPOINT_ASYNC else SYNC_BODY_LENGTH
    status, _, body = await send_signed(local, path_of(operation), bytes(limit + 1))
    assert status == 400
    assert json.loads(body) == {
        "message": "1 validation error detected: Value at 'body' failed to satisfy constraint: "
        f"Member must have length less than or equal to {limit}"
    }


async def test_a_body_at_its_limit_is_taken(local):
    body = b"a" * SYNC_BODY_LENGTH
    status, _, answer = await send_signed(local, path_of(INVOKE_ENDPOINT), body)
    assert status == 200
    assert len(json.loads(answer)["body"]) == SYNC_BODY_LENGTH
    status, _, _ = await send_signed(local, path_of(INVOKE_ENDPOINT_ASYNC), bytes(128_000))
    assert status == 202


async def test_the_limit_of_the_body_can_be_another():
    async with LocalEndpoint(max_body_length=10) as local:
        local.add_model("echo", echo)
        assert (await send_signed(local, path_of(INVOKE_ENDPOINT), bytes(10)))[0] == 200
        assert (await send_signed(local, path_of(INVOKE_ENDPOINT), bytes(11)))[0] == 400


async def test_a_chunked_body_is_read_and_bounded():
    async def chunks(count):
        for _ in range(count):
            yield b"abc"

    async with LocalEndpoint(max_body_length=9) as local:
        local.add_model("echo", echo)
        path = path_of(INVOKE_ENDPOINT)
        headers = signed_headers(local, path, b"abc" * 3)
        status, _, body = await send(local, path, chunks(3), headers)
        assert (status, json.loads(body)["body"]) == (200, "abcabcabc")
        status, _, body = await send(local, path, chunks(4), headers)
        assert status == 400
        assert "'body'" in json.loads(body)["message"]


@pytest.mark.parametrize(
    "body, location",
    [(b"", None), (b"x", "s3://bucket/key")],
    ids=["neither", "both"],
)
async def test_an_async_inference_has_one_input(local, body, location):
    headers = {"X-Amzn-SageMaker-InputLocation": location} if location else {}
    status, _, answer = await send_signed(local, path_of(INVOKE_ENDPOINT_ASYNC), body, headers)
    assert status == 400
    assert "Value at 'inputLocation'" in json.loads(answer)["message"]


async def test_an_empty_body_is_a_body(local):
    status, _, body = await send_signed(local, path_of(INVOKE_ENDPOINT), b"")
    assert (status, json.loads(body)["body"]) == (200, "")


async def test_what_is_no_operation(local):
    status, headers, _ = await send_signed(local, "/endpoints/echo/other", b"x")
    assert (status, headers["x-amzn-errortype"]) == (404, "UnknownOperationException")


async def test_only_what_the_operation_has_reaches_the_model(local):
    status, _, body = await send_signed(
        local,
        path_of(INVOKE_ENDPOINT),
        b"x",
        {
            "Content-Type": "a/b",
            "X-Amzn-SageMaker-Unknown": "1",
            "X-Amzn-SageMaker-Filename": "of another operation",
            "Cookie": "c",
        },
    )
    assert status == 200
    assert json.loads(body)["headers"] == {"Content-Type": "a/b"}
