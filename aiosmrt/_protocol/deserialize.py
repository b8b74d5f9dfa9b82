"""Responses and event-stream messages to outputs and errors. Bytes from the network are hostile."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, cast

from aiosmrt._protocol.http_dates import parse_http_date
from aiosmrt._protocol.models import (
    InvokeEndpointAsyncOutput,
    InvokeEndpointOutput,
    ResponseMetadata,
)
from aiosmrt._protocol.operations import (
    INVOKE_ENDPOINT,
    INVOKE_ENDPOINT_ASYNC,
    INVOKE_ENDPOINT_WITH_RESPONSE_STREAM,
)
from aiosmrt._values import printable
from aiosmrt.errors import (
    ERROR_CLASSES,
    InvalidMessageError,
    ModelError,
    ModelStreamError,
    ServiceError,
    UnknownServiceError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiosmrt.eventstream._headers import HeaderValue

__all__ = [
    "carries_part",
    "parse_error",
    "parse_invoke_endpoint",
    "parse_invoke_endpoint_async",
    "parse_stream_head",
    "request_id",
]

_logger = logging.getLogger("aiosmrt")

# A message that is not JSON may be a proxy's whole error page: enough to know it by.
_SHORTENED = 500
# AWS's have 36 characters, S3's 16.
_REQUEST_ID_LENGTH = 128

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Read off the table once, since each call reads them.
_INVOKE_ENDPOINT_HEADERS = tuple([(b.parameter, b.header) for b in INVOKE_ENDPOINT.outputs])


def request_id(headers: Mapping[str, str]) -> str | None:
    """Returns the response's request id as logs and traces may show it, None where it has none."""
    told = headers.get("x-amzn-RequestId")
    if not told:
        return None
    # A tab is the one ASCII character of a header's value that is not printable.
    if told.isascii() and "\t" not in told and len(told) <= _REQUEST_ID_LENGTH:
        return told
    return printable(told, _REQUEST_ID_LENGTH)


def parse_invoke_endpoint(body: bytes, metadata: ResponseMetadata) -> InvokeEndpointOutput:
    """The output of InvokeEndpoint from a response of success."""
    get = metadata.headers.get
    return InvokeEndpointOutput(
        body=body,
        metadata=metadata,
        **{parameter: get(header) for parameter, header in _INVOKE_ENDPOINT_HEADERS},
    )


def parse_stream_head(metadata: ResponseMetadata) -> dict[str, str | None]:
    """Returns the members of InvokeEndpointWithResponseStream's output that are headers."""
    get = metadata.headers.get
    outputs = INVOKE_ENDPOINT_WITH_RESPONSE_STREAM.outputs
    return {binding.parameter: get(binding.header) for binding in outputs}


def parse_invoke_endpoint_async(
    body: bytes, metadata: ResponseMetadata
) -> InvokeEndpointAsyncOutput:
    """The output of InvokeEndpointAsync from a response of success.

    The inference is accepted whatever the body says, and the locations are in the
    headers: a body without an id loses the id and nothing else.
    """
    get = metadata.headers.get
    inference_id = (_json_object(body) or {}).get("InferenceId")
    seconds = parse_http_date(get("Date", ""))
    return InvokeEndpointAsyncOutput(
        metadata=metadata,
        inference_id=inference_id if isinstance(inference_id, str) else None,
        accepted_at=None if seconds is None else _EPOCH + timedelta(seconds=seconds),
        **{b.parameter: get(b.header) for b in INVOKE_ENDPOINT_ASYNC.outputs},
    )


def _json_object(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body holds, None for any other body."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _text(*candidates: Any) -> str:
    """The first candidate that is a text with something in it."""
    for candidate in candidates:
        if isinstance(candidate, str) and candidate:
            if candidate.isascii():
                return candidate
            # Half a surrogate pair (JSON escapes cut off, bytes that are not UTF-8) makes
            # a text that cannot be printed or written to a file.
            return candidate.encode("utf-8", "replace").decode()
    return ""


def _clean_code(code: Any) -> str:
    """``com.amazonaws.sagemaker#ModelError:http://...`` to ``ModelError``."""
    return _text(code).partition(":")[0].rpartition("#")[2].strip()


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _shortened(body: bytes) -> str:
    # No character has more than 4 bytes; one more tells whether there is more.
    text = body[: (_SHORTENED + 1) * 4].decode("utf-8", "replace").strip()
    return text if len(text) <= _SHORTENED else text[:_SHORTENED] + "..."


def _service_error(
    code: Any, body: bytes, *, status_code: int, request_id: str | None, attempts: int
) -> ServiceError:
    """The typed error of a code, where the headers tell one, and of a body."""
    fields = _json_object(body)
    get = (fields or {}).get
    message = _shortened(body) if fields is None else _text(get("message"), get("Message"))
    code = (
        _clean_code(code)
        or _clean_code(get("code"))
        or _clean_code(get("Code"))
        or _clean_code(get("__type"))
    )
    cls = ERROR_CLASSES.get(code, UnknownServiceError)
    members: dict[str, Any] = {}
    if cls is ModelError:
        members = {
            "original_status_code": _integer(get("OriginalStatusCode")),
            "original_message": _text(get("OriginalMessage")) or None,
            "log_stream_arn": _text(get("LogStreamArn")) or None,
        }
    elif cls is ModelStreamError:
        members = {"error_code": _text(get("ErrorCode")) or None}
    return cls(
        message,
        code=code or str(status_code),
        status_code=status_code,
        request_id=request_id,
        attempts=attempts,
        **members,
    )


def parse_error(
    status_code: int, headers: Mapping[str, str], body: bytes, *, attempts: int
) -> ServiceError:
    """The error that a response of no success stands for.

    The code is the header ``x-amzn-errortype``, else the body's ``code``, ``Code``
    or ``__type``, else the status (the AWS JSON protocols; botocore `parsers.py`).

    Returns:
        The typed error; UnknownServiceError for a code that is not modelled.
    """
    return _service_error(
        headers.get("x-amzn-errortype"),
        body,
        status_code=status_code,
        request_id=request_id(headers),
        attempts=attempts,
    )


def carries_part(
    headers: Mapping[str, HeaderValue], payload: bytes, metadata: ResponseMetadata
) -> bool:
    """Whether a message of the response stream carries a part: its payload is the part's bytes.

    Args:
        headers: The message's headers; only read.
        payload: Its payload.
        metadata: The response's, for the errors' facts.

    Returns:
        True, as for every message with these headers; False for an event of a type that
        this version does not know.

    Raises:
        ModelStreamError: The container broke off or took too long.
        InternalStreamFailure: The service failed.
        ServiceError: Another exception, typed by its code as a response's is;
            UnknownServiceError for one that is not modelled, and for an error message.
        InvalidMessageError: The message is of no known type.
    """
    message_type = headers.get(":message-type")
    if message_type == "event":
        event_type = headers.get(":event-type")
        if event_type == "PayloadPart":
            return True
        if not isinstance(event_type, str):
            raise InvalidMessageError("An event-stream event has no :event-type")
        _logger.debug("skipped an event of the unknown type %.64r", event_type)
        return False
    if message_type == "exception":
        raise _service_error(
            headers.get(":exception-type"),
            payload,
            status_code=metadata.status_code,
            request_id=metadata.request_id,
            attempts=metadata.attempts,
        )
    if message_type == "error":
        raise UnknownServiceError(
            _text(headers.get(":error-message")),
            code=_text(headers.get(":error-code")) or str(metadata.status_code),
            status_code=metadata.status_code,
            request_id=metadata.request_id,
            attempts=metadata.attempts,
        )
    raise InvalidMessageError("An event-stream message has none of the known message types")
