"""Signing, encoding and decoding alone, in this process, against those of botocore.

Each function prepares its side and returns what one round does; a round's CPU time is
divided by the number it stands under.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from server import token_event

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALONE", "measure"]

_BODY = b"x" * 1000
_HASH = hashlib.sha256(_BODY).hexdigest()
_URL = "https://runtime.sagemaker.eu-west-1.amazonaws.com/endpoints/my-endpoint/invocations"
_KEY = ("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
_MESSAGES = 256
_EVENTS = b"".join([token_event(seed) for seed in range(_MESSAGES)])


def _sign_aiosmrt() -> Callable[[], object]:
    from aiosmrt._aws.credentials import Credentials
    from aiosmrt._aws.signer import SigV4Signer

    host, path = "runtime.sagemaker.eu-west-1.amazonaws.com", "/endpoints/my-endpoint/invocations"
    signer = SigV4Signer(None, None, host, "eu-west-1", "sagemaker")
    credentials = Credentials(*_KEY)
    headers = [
        ("Host", host),
        ("Content-Type", "application/json"),
        ("amz-sdk-invocation-id", "0f1c1a6e-7b5d-4c1e-9f0a-1234567890ab"),
        ("amz-sdk-request", "attempt=1; max=3"),
    ]
    return lambda: signer.sign("POST", path, headers, _HASH, credentials)


def _sign_parent() -> Callable[[], object]:
    from aws_requests_auth.aws_auth import AWSRequestsAuth
    from requests import Request

    host = "runtime.sagemaker.eu-west-1.amazonaws.com"
    auth = AWSRequestsAuth(*_KEY, host, "eu-west-1", "sagemaker")
    request = Request("POST", _URL, data=_BODY).prepare()
    return lambda: auth.get_aws_request_headers_handler(request)


def _sign_botocore() -> Callable[[], object]:
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    auth = SigV4Auth(Credentials(*_KEY), "sagemaker", "eu-west-1")

    def sign() -> object:
        request = AWSRequest("POST", _URL, {"Content-Type": "application/json"}, _BODY)
        return auth.add_auth(request)

    return sign


def _encode_aiosmrt() -> Callable[[], object]:
    from aiosmrt._protocol.inputs import InvokeEndpointInput
    from aiosmrt._protocol.operations import INVOKE_ENDPOINT
    from aiosmrt._protocol.serialize import serialize_input

    return lambda: serialize_input(
        INVOKE_ENDPOINT,
        InvokeEndpointInput(
            endpoint_name="my-endpoint", body=_BODY, content_type="application/json"
        ),
    )


def _encode_botocore() -> Callable[[], object]:
    from botocore.loaders import Loader
    from botocore.model import ServiceModel
    from botocore.serialize import create_serializer

    model = ServiceModel(Loader().load_service_model("sagemaker-runtime", "service-2"))
    operation = model.operation_model("InvokeEndpoint")
    serializer = create_serializer("rest-json")
    parameters = {
        "EndpointName": "my-endpoint",
        "Body": _BODY,
        "ContentType": "application/json",
    }
    return lambda: serializer.serialize_to_request(parameters, operation)


def _decode_aiosmrt() -> Callable[[], object]:
    from aiosmrt.eventstream import EventStreamDecoder

    def decode() -> None:
        decoder = EventStreamDecoder()
        decoder.receive_data(_EVENTS)
        for _message in decoder:
            pass

    return decode


def _decode_botocore() -> Callable[[], object]:
    from botocore.eventstream import EventStreamBuffer

    def decode() -> None:
        decoder = EventStreamBuffer()
        decoder.add_data(_EVENTS)
        for _message in decoder:
            pass

    return decode


# Name; unit and how many of it a turn makes; turns in a round; then who does it.
ALONE = {
    "sign": (
        ("signature", 1),
        400,
        {
            "aiosmrt": _sign_aiosmrt,
            "aws-requests-auth": _sign_parent,
            "botocore": _sign_botocore,
        },
    ),
    "check and encode parameters": (
        ("request", 1),
        400,
        {"aiosmrt": _encode_aiosmrt, "botocore": _encode_botocore},
    ),
    "decode token events": (
        ("event", _MESSAGES),
        8,
        {"aiosmrt": _decode_aiosmrt, "botocore": _decode_botocore},
    ),
}


def measure(turn: Callable[[], object], turns: int) -> float:
    """The CPU seconds of so many turns, without the first."""
    turn()
    started = time.process_time()
    for _ in range(turns):
        turn()
    return time.process_time() - started
