"""Other people's clients of the local endpoint, and requests signed by hand."""

from __future__ import annotations

import asyncio
import io
from contextlib import closing
from typing import TYPE_CHECKING, Any

import aiohttp
import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.session
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from aiosmrt import Credentials
    from aiosmrt.local import LocalEndpoint, ModelRequest

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


def aiobotocore_client(local: LocalEndpoint) -> Any:
    """A client of aiobotocore's: an async context manager."""
    config = AioConfig(**_ONCE)
    return _AIOBOTOCORE.create_client("sagemaker-runtime", config=config, **settings(local))


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


async def echo(request: ModelRequest) -> dict[str, Any]:
    """A model that answers with what it was sent."""
    return {"body": request.body.decode(), "headers": dict(request.headers)}


class Stubborn:
    """A model that does not heed its cancellation before it is released."""

    def __init__(self) -> None:
        self.begun, self.release = asyncio.Event(), asyncio.Event()

    async def __call__(self, request: ModelRequest) -> bytes:
        self.begun.set()
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                continue
        return b""
