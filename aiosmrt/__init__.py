"""aiosmrt: the asyncio-native client for Amazon SageMaker Runtime.

    async with aiosmrt.Session(region="eu-west-1") as session:
        output = await session.invoke_endpoint("my-endpoint", b"...")

Every public name, and every module with some of its own, is loaded when it is first used,
so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiosmrt import batch as batch
    from aiosmrt import errors as errors
    from aiosmrt import eventstream as eventstream
    from aiosmrt import framing as framing
    from aiosmrt import instrumentation as instrumentation
    from aiosmrt import local as local
    from aiosmrt._aws.credentials import CachingProvider, Credentials, CredentialsProvider
    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._client.async_inference import AsyncInvocation
    from aiosmrt._client.decoded_stream import DecodedStream
    from aiosmrt._client.many import BatchItem, BatchItems, CollectedStream
    from aiosmrt._client.session import Session
    from aiosmrt._client.stream_stats import StreamStats
    from aiosmrt._client.streaming import ResponseStream, ResponseStreamCall
    from aiosmrt._protocol.inputs import (
        InvokeEndpointAsyncInput,
        InvokeEndpointInput,
        InvokeEndpointWithResponseStreamInput,
    )
    from aiosmrt._protocol.models import (
        AsyncInferenceResult,
        InvokeEndpointOutput,
        NewSession,
        PayloadPart,
        ResponseMetadata,
        Timeouts,
    )
    from aiosmrt.errors import (
        AccessDeniedException,
        AiosmrtError,
        AsyncInferenceError,
        ChecksumMismatchError,
        ConfigurationError,
        ConnectError,
        ConnectionLostError,
        ConnectTimeoutError,
        CredentialsError,
        DeadlineExceededError,
        EventStreamError,
        ExpiredTokenException,
        InternalDependencyException,
        InternalFailure,
        InternalStreamFailure,
        InvalidMessageError,
        MessageTooLargeError,
        ModelError,
        ModelNotReadyException,
        ModelStreamError,
        ParameterValidationError,
        PoolTimeoutError,
        ReadTimeoutError,
        ServiceError,
        ServiceUnavailable,
        StreamTruncatedError,
        ThrottlingException,
        TransportError,
        UnknownServiceError,
        ValidationError,
    )

__version__ = "0.1.0"

__all__ = [
    "AccessDeniedException",
    "AiosmrtError",
    "AsyncInferenceError",
    "AsyncInferenceResult",
    "AsyncInvocation",
    "BatchItem",
    "BatchItems",
    "CachingProvider",
    "ChecksumMismatchError",
    "CollectedStream",
    "ConfigurationError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "Credentials",
    "CredentialsError",
    "CredentialsProvider",
    "DeadlineExceededError",
    "DecodedStream",
    "EventStreamError",
    "ExpiredTokenException",
    "InternalDependencyException",
    "InternalFailure",
    "InternalStreamFailure",
    "InvalidMessageError",
    "InvokeEndpointAsyncInput",
    "InvokeEndpointInput",
    "InvokeEndpointOutput",
    "InvokeEndpointWithResponseStreamInput",
    "MessageTooLargeError",
    "ModelError",
    "ModelNotReadyException",
    "ModelStreamError",
    "NewSession",
    "ParameterValidationError",
    "PayloadPart",
    "PoolTimeoutError",
    "ReadTimeoutError",
    "ResponseMetadata",
    "ResponseStream",
    "ResponseStreamCall",
    "RetryPolicy",
    "ServiceError",
    "ServiceUnavailable",
    "Session",
    "StreamStats",
    "StreamTruncatedError",
    "ThrottlingException",
    "Timeouts",
    "TransportError",
    "UnknownServiceError",
    "ValidationError",
]

_MODULES = frozenset({"batch", "errors", "eventstream", "framing", "instrumentation", "local"})

_HOMES = {
    "AsyncInferenceResult": "_protocol.models",
    "AsyncInvocation": "_client.async_inference",
    "BatchItem": "_client.many",
    "BatchItems": "_client.many",
    "CachingProvider": "_aws.credentials",
    "CollectedStream": "_client.many",
    "Credentials": "_aws.credentials",
    "CredentialsProvider": "_aws.credentials",
    "DecodedStream": "_client.decoded_stream",
    "InvokeEndpointAsyncInput": "_protocol.inputs",
    "InvokeEndpointInput": "_protocol.inputs",
    "InvokeEndpointOutput": "_protocol.models",
    "InvokeEndpointWithResponseStreamInput": "_protocol.inputs",
    "NewSession": "_protocol.models",
    "PayloadPart": "_protocol.models",
    "ResponseMetadata": "_protocol.models",
    "ResponseStream": "_client.streaming",
    "ResponseStreamCall": "_client.streaming",
    "RetryPolicy": "_aws.retries",
    "Session": "_client.session",
    "StreamStats": "_client.stream_stats",
    "Timeouts": "_protocol.models",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"aiosmrt.{name}")  # which sets it here
    if name not in __all__:
        raise AttributeError(f"module 'aiosmrt' has no attribute {name!r}")
    # What has no other home is an error.
    value = getattr(import_module(f"aiosmrt.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
