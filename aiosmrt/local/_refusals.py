"""The service's own errors: codes, statuses, bodies.

Bodies are those that error reports quote: what the front end finds wrong says
``message``, what the service behind it finds says ``Message``, with an ``ErrorCode``
where one is known.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from aiosmrt.local._models import ModelFailure

__all__ = [
    "ACCOUNT_ID",
    "Refusal",
    "broken_constraints",
    "endpoint_not_found",
    "internal_failure",
    "invalid_request",
    "model_error",
    "model_not_ready",
    "ordered",
    "request_idle",
    "session_not_found",
    "target_missing",
    "target_not_found",
    "timed_out",
    "too_long",
    "too_many_requests",
    "unknown_operation",
]

# The account that AWS's own examples use.
ACCOUNT_ID = "123456789012"

_TIMED_OUT = (
    "Your invocation timed out while waiting for a response from container primary. Review the "
    "latency metrics for each container in Amazon CloudWatch, resolve the issue, and try again."
)

# How much of a container's own text is passed on.
_MESSAGE_LENGTH = 16_384


@attrs.define
class Refusal(Exception):  # noqa: N818 - a verdict on someone else's request
    """The service answers with an error.

    Attributes:
        code: The code, for ``x-amzn-errortype``; empty for an answer with a status alone.
        status_code: The HTTP status.
        body: The JSON body.
    """

    code: str
    status_code: int
    body: dict[str, Any]

    def __str__(self) -> str:
        return str(self.body.get("Message") or self.body.get("message") or self.code)

    def to_json(self) -> bytes:
        """The body's bytes."""
        return json.dumps(self.body).encode()


def invalid_request(message: str, error_code: str | None = None) -> Refusal:
    """What the service behind the front end finds wrong with a request."""
    body = {"Message": message}
    if error_code is not None:
        body["ErrorCode"] = error_code
    return Refusal("ValidationError", 400, body)


def broken_constraints(problems: list[str]) -> Refusal:
    """Parameters outside their constraints.

    Each problem is ``Value at 'member' failed to satisfy constraint: ...``, never with the
    value: some of them are sensitive.
    """
    count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
    return Refusal("ValidationError", 400, {"message": count + "; ".join(problems)})


def too_long(limit: int) -> Refusal:
    """A body past its limit in bytes."""
    rule = f"Member must have length less than or equal to {limit}"
    return broken_constraints([f"Value at 'body' failed to satisfy constraint: {rule}"])


def too_many_requests() -> Refusal:
    """More than the endpoint takes."""
    return Refusal("ThrottlingException", 400, {"message": "Rate exceeded"})


def request_idle() -> Refusal:
    """A request whose client has stopped before the body's end."""
    return Refusal(
        "RequestTimeoutException", 408, {"message": "The rest of the request's body did not come."}
    )


def internal_failure() -> Refusal:
    """A defect of the local endpoint itself; its log tells."""
    return Refusal("InternalFailure", 500, {"message": "The local endpoint failed: see its log."})


def unknown_operation() -> Refusal:
    """A path below ``/endpoints/`` that is no operation."""
    return Refusal("UnknownOperationException", 404, {})


def endpoint_not_found(endpoint_name: str) -> Refusal:
    """No such endpoint in the account."""
    return invalid_request(f"Endpoint {endpoint_name} of account {ACCOUNT_ID} not found.")


# Where the service's own words are not known, they are ours, and say what is wrong.
_MISSING = {
    "inference_component": (
        "Inference Component Name header is required for endpoints to which you plan to deploy "
        "inference components. Please include Inference Component Name header or consider using "
        "SageMaker models."
    ),
    "container_hostname": (
        "The endpoint hosts several containers that are invoked directly: the request is missing "
        "a target container hostname header."
    ),
    "model": "The request is missing a target model header.",
}
_MISSING_CODES = {"inference_component": "INFERENCE_COMPONENT_NAME_MISSING"}
_NOT_FOUND = {
    "inference_component": "Inference Component",
    "container_hostname": "Container",
    "model": "Model",
    "variant": "Variant",
}


def target_missing(kind: str) -> Refusal:
    """The endpoint needs a target of a kind (an attribute of Deployment) that the call lacks."""
    return invalid_request(_MISSING[kind], _MISSING_CODES.get(kind))


def target_not_found(kind: str, name: str, endpoint_name: str) -> Refusal:
    """The endpoint has no target of that kind (an attribute of Deployment) and name."""
    return invalid_request(f"{_NOT_FOUND[kind]} {name} of endpoint {endpoint_name} not found.")


def session_not_found(session_id: str) -> Refusal:
    """No such stateful session, or not any more."""
    return invalid_request(f"Session {session_id} not found: it was never opened, or has ended.")


def model_error(failure: ModelFailure, *, region: str, endpoint_name: str, variant: str) -> Refusal:
    """The container's own failure, as the caller sees it."""
    log_group = f"/aws/sagemaker/Endpoints/{endpoint_name}"
    original = failure.message[:_MESSAGE_LENGTH]
    is_client = 400 <= failure.status_code < 500
    return Refusal(
        "ModelError",
        424,
        {
            "ErrorCode": "CLIENT_ERROR_FROM_MODEL" if is_client else "INTERNAL_FAILURE_FROM_MODEL",
            "LogStreamArn": f"arn:aws:logs:{region}:{ACCOUNT_ID}:log-group:{log_group}"
            f":log-stream:{variant}/local",
            "Message": f"Received {'client' if is_client else 'server'} error "
            f'({failure.status_code}) from primary with message "{original}". See '
            f"https://{region}.console.aws.amazon.com/cloudwatch/home?region={region}"
            f"#logEventViewer:group={log_group} in account {ACCOUNT_ID} for more information.",
            "OriginalMessage": original,
            "OriginalStatusCode": failure.status_code,
        },
    )


def ordered(code: str | None, status_code: int) -> Refusal:
    """An error that was ordered as a fault; without a code it is but a status."""
    body: dict[str, Any] = {"Message": "A fault was ordered."}
    if code == "ModelError":
        body |= {"OriginalStatusCode": 500, "OriginalMessage": "A fault was ordered."}
    return Refusal(code or "", status_code, body)


def model_not_ready(endpoint_name: str) -> Refusal:
    """The container is not there yet, or the model is being loaded."""
    message = f"The model of endpoint {endpoint_name} is not ready for inference requests."
    return Refusal("ModelNotReadyException", 429, {"Message": message})


def timed_out() -> ModelFailure:
    """The container took longer than the service waits: status 0, as the service says it."""
    return ModelFailure(0, _TIMED_OUT)
