"""What a model behind the local endpoint is handed, and what it gives back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, TypeAlias

import attrs

__all__ = [
    "Handler",
    "ModelFailure",
    "ModelRequest",
    "ModelResponse",
    "ModelValue",
    "Parts",
    "ReceivedRequest",
]


_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@attrs.frozen(kw_only=True)
class ModelRequest:
    """One invocation as the model's container sees it: no credentials, no SDK headers.

    Attributes:
        endpoint_name: The endpoint that was called.
        body: The request's body; of an async inference, its input.
        content_type: The body's MIME type, None where the caller named none.
        accept: The MIME type that the caller wants, None where none was named.
        custom_attributes: What the caller sent, unread.
        inference_id: The caller's id; an async inference always has one.
        target_model: The model of a multi-model endpoint.
        target_variant: The variant that the caller asked for.
        target_container_hostname: The container that the caller asked for.
        inference_component_name: The inference component.
        session_id: A stateful session's id, or ``NEW_SESSION``.
        enable_explanations: The caller's JMESPath expression.
        prefix_aware_id: The caller's routing hint.
        headers: All of these but the endpoint's name as the headers that a container
            gets, case-insensitive. The service strips every other header.
    """

    endpoint_name: str
    body: bytes = attrs.field(repr=False)
    content_type: str | None = None
    accept: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    inference_id: str | None = None
    target_model: str | None = None
    target_variant: str | None = None
    target_container_hostname: str | None = None
    inference_component_name: str | None = None
    session_id: str | None = None
    enable_explanations: str | None = None
    prefix_aware_id: str | None = None
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False, hash=False)


Parts: TypeAlias = AsyncIterator[bytes | str]
"""A streamed answer: each item becomes a PayloadPart, or is joined for InvokeEndpoint."""

ModelValue: TypeAlias = bytes | str | dict[str, Any] | list[Any] | Parts
"""What a handler may return in place of a ModelResponse."""


@attrs.frozen
class ModelResponse:
    """A model's answer, where the body alone does not say enough.

    Attributes:
        body: bytes, str (sent as UTF-8), dict or list (sent as JSON), or an async
            generator (or iterator) of bytes or str.
        content_type: Its MIME type. None is ``application/octet-stream`` for bytes,
            ``text/plain; charset=utf-8`` for str, ``application/json`` for dict and list.
        custom_attributes: What the caller gets back, at most 1024 visible ASCII characters.
        status_code: The container's HTTP status; outside 200 to 299 the caller gets a
            ModelError with the body as OriginalMessage.
        new_session_id: Opens a stateful session: ``ID; Expires=2026-01-02T03:04:05Z``.
        closed_session_id: Closes a stateful session.
    """

    body: ModelValue = attrs.field(repr=False)
    content_type: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    status_code: int = 200
    new_session_id: str | None = attrs.field(default=None, kw_only=True)
    closed_session_id: str | None = attrs.field(default=None, kw_only=True)


Handler: TypeAlias = (
    Callable[[ModelRequest], Awaitable[ModelValue | ModelResponse]]
    | Callable[[ModelRequest], Parts]
)
"""A coroutine function, or an async generator function."""


class ModelFailure(Exception):  # noqa: N818 - the contract's name
    """Raised by a model to answer with an HTTP error; the caller gets a ModelError 424.

    Attributes:
        status_code: The container's status: OriginalStatusCode.
        message: The container's text: OriginalMessage.
    """

    def __init__(self, status_code: int, message: str = "") -> None:
        super().__init__(status_code, message)
        self.status_code = status_code
        self.message = message

    def __str__(self) -> str:
        return f"the model failed with status {self.status_code}: {self.message}"


@attrs.frozen(kw_only=True)
class ReceivedRequest:
    """A request that arrived at the local endpoint, answered or refused.

    Attributes:
        operation: ``InvokeEndpoint`` and its like, S3's (``GetObject``), or the HTTP
            method where it is neither.
        endpoint_name: The SageMaker endpoint that was called, None for S3's.
        inference_id: The InferenceId that the caller gave.
        raw_path: The path and query as they were on the wire.
        headers: The request's headers, case-insensitive, without Authorization and
            the session token.
        body_length: The body's length in bytes, None where the head does not tell.
        at: When its head had been read, by the local endpoint's clock.
    """

    operation: str
    endpoint_name: str | None
    inference_id: str | None
    raw_path: str
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    body_length: int | None
    at: datetime


for _public in (ModelFailure, ModelRequest, ModelResponse, ReceivedRequest):
    _public.__module__ = "aiosmrt.local"
