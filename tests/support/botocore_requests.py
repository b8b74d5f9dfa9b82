"""What botocore's client would send, told just before it would be sent."""

from __future__ import annotations

import io
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import boto3
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config

# What a request has beside its operation's own headers, and what only a moment knows.
OTHERS = {
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "authorization",
    "content-length",
    "host",
    "user-agent",
    "x-amz-date",
    "x-amz-security-token",
}


class BotocoreRequest(NamedTuple):
    """A request, without the headers of OTHERS."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class _EmptyBody(io.BytesIO):
    def stream(self) -> list[bytes]:
        return []


class BotocoreRequests:
    """A client of botocore that sends nothing."""

    def __init__(self) -> None:
        self._client = boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url="http://127.0.0.1:9",
            aws_access_key_id="id",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._client.meta.events.register("before-send", self._answer)

    def _answer(self, request: AWSPreparedRequest, **_: object) -> AWSResponse:
        self._request = request
        return AWSResponse(request.url, 200, {}, _EmptyBody())

    def of(self, operation: str, arguments: dict[str, Any]) -> BotocoreRequest:
        """The request of an operation by its name and arguments, both as botocore has them."""
        getattr(self._client, xform_name(operation))(**arguments)
        headers = {
            name: value.decode("ascii") if isinstance(value, bytes) else value
            for name, value in self._request.headers.items()
            if name.lower() not in OTHERS
        }
        return BotocoreRequest(
            self._request.method,
            urlsplit(self._request.url).path,
            headers,
            self._request.body or b"",
        )
