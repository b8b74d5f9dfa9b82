"""Inputs to requests: validation, path, headers, body. Nothing is sent before all of it passed."""

from __future__ import annotations

import functools
from operator import attrgetter
from typing import Any, Final

import attrs

from aiosmrt._protocol.call_facts import add_call
from aiosmrt._protocol.large_json import LargeJSON, dump_json, is_large
from aiosmrt._protocol.models import (
    InvokeEndpointAsyncInput,
    InvokeEndpointInput,
    InvokeEndpointWithResponseStreamInput,
)
from aiosmrt._protocol.operations import (
    INVOKE_ENDPOINT,
    INVOKE_ENDPOINT_ASYNC,
    INVOKE_ENDPOINT_WITH_RESPONSE_STREAM,
    Operation,
)
from aiosmrt.errors import ParameterValidationError

__all__ = [
    "AnyInput",
    "RequestHead",
    "SerializedRequest",
    "body_bytes",
    "choose_body",
    "json_body",
    "make_request",
    "name_call",
    "serialize",
]

AnyInput = InvokeEndpointInput | InvokeEndpointWithResponseStreamInput | InvokeEndpointAsyncInput


@attrs.frozen(eq=False)
class RequestHead:
    """What a request says before its body, the same object for calls of the same parameters.

    Attributes:
        operation: The operation.
        endpoint_name: The endpoint.
        path: The path on the wire, ``/endpoints/NAME/invocations``; it needs no escaping.
        headers: The operation's own headers, in the table's order.
    """

    operation: Operation
    endpoint_name: str
    path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)


@attrs.frozen
class SerializedRequest:
    """A request that passed validation.

    Attributes:
        head: Path and headers.
        body: The body's bytes, without a copy where the caller gave bytes or a buffer.
    """

    head: RequestHead
    body: bytes | bytearray | memoryview = attrs.field(repr=False)


_VALUES: Final = {
    InvokeEndpointInput: (
        INVOKE_ENDPOINT,
        attrgetter("endpoint_name", *(b.parameter for b in INVOKE_ENDPOINT.inputs)),
    ),
    InvokeEndpointWithResponseStreamInput: (
        INVOKE_ENDPOINT_WITH_RESPONSE_STREAM,
        attrgetter(
            "endpoint_name", *(b.parameter for b in INVOKE_ENDPOINT_WITH_RESPONSE_STREAM.inputs)
        ),
    ),
    InvokeEndpointAsyncInput: (
        INVOKE_ENDPOINT_ASYNC,
        attrgetter("endpoint_name", *(b.parameter for b in INVOKE_ENDPOINT_ASYNC.inputs)),
    ),
}


def _build_head(operation: Operation, endpoint_name: Any, *values: Any) -> RequestHead:
    resource = operation.resource
    name = resource.constraint.check(resource.parameter, endpoint_name)
    headers = tuple(
        (binding.header, binding.constraint.check(binding.parameter, value))
        for binding, value in zip(operation.inputs, values, strict=True)
        if value is not None
    )
    path = operation.path.replace(f"{{{resource.member}}}", name)
    return RequestHead(operation, name, path, headers)


# Services call with the same few parameter sets over and over: validate each once.
# `typed`, since True, 1 and 1.0 are equal as keys but not as parameters.
_cached_head = functools.lru_cache(maxsize=256, typed=True)(_build_head)


def body_bytes(body: Any) -> bytes | bytearray | memoryview:
    """The bytes of a body, without a copy where it has a contiguous buffer.

    Args:
        body: Bytes, a buffer, or text for UTF-8.

    Returns:
        The bytes.

    Raises:
        ParameterValidationError: It is none of these, or has no bytes to read.
    """
    if type(body) is bytes:
        return body
    if isinstance(body, str):
        try:
            return body.encode()
        except UnicodeEncodeError as error:
            rule = f"must be text that UTF-8 can hold; character {error.start} is not"
            raise ParameterValidationError("body", rule, length=len(body)) from None
    try:
        view = memoryview(body)
    except TypeError:
        rule = f"must be bytes, bytearray, memoryview or str, not {type(body).__name__}"
        raise ParameterValidationError("body", rule) from None
    except (BufferError, ValueError):
        # A released view, a closed map, an array of what has no bytes of its own.
        rule = f"must have bytes to read; this {type(body).__name__} has none"
        raise ParameterValidationError("body", rule) from None
    if "O" in view.format:
        rule = "must hold numbers or bytes; these are references to Python objects"
        raise ParameterValidationError("body", rule)
    return view.cast("B") if view.c_contiguous and view.nbytes else view.tobytes()


def json_body(value: Any) -> bytes:
    """Serialises a JSON body: compact, UTF-8, no NaN (which JSON does not have).

    Args:
        value: What ``json.dumps`` takes.

    Returns:
        The JSON text as UTF-8.

    Raises:
        ParameterValidationError: The value has no JSON form.
    """
    try:
        return dump_json(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise no_json(error) from None


def no_json(error: Exception) -> ParameterValidationError:
    """The error of an object without a JSON form, from what ``json.dumps`` raised."""
    # The exception's own text can quote the value: its type is enough.
    rule = f"must have a JSON form; json.dumps raised {type(error).__name__}"
    return ParameterValidationError("json", rule)


def choose_body(
    operation: Operation, endpoint_name: Any, body: Any, json: Any, content_type: str | None
) -> tuple[Any, str | None]:
    """The body and the content type of a call that takes ``body``, or ``json`` in its place.

    A large object becomes a LargeJSON, which is encoded when the call is under way.

    Raises:
        ParameterValidationError: Both are given, or neither, or the object has no JSON form.
    """
    try:
        if json is None:
            if body is None:
                raise ParameterValidationError("body", "is required, or json in its place")
            return body, content_type
        if body is not None:
            raise ParameterValidationError("json", "must not be given together with body")
        if content_type is None:
            content_type = "application/json"
        return LargeJSON(json) if is_large(json) else json_body(json), content_type
    except ParameterValidationError as error:
        name_call(error, operation, endpoint_name)
        raise


def make_request(
    operation: Operation, body: Any, endpoint_name: Any, *values: Any
) -> SerializedRequest:
    """Checks every parameter against the service's constraints and builds the request.

    Args:
        operation: The operation, one that requires a body.
        body: The body.
        endpoint_name: The endpoint.
        values: The operation's ``inputs``, in the table's order; None for one not given.

    Returns:
        The request without what only the moment of sending knows (host, date,
        attempt, signature).

    Raises:
        ParameterValidationError: A parameter breaks its constraint.
    """
    try:
        head = _find_head(operation, endpoint_name, *values)
        if body is None:
            raise ParameterValidationError("body", "is required")
        return SerializedRequest(head, body_bytes(body))
    except ParameterValidationError as error:
        name_call(error, operation, endpoint_name)
        raise


def serialize(parameters: AnyInput) -> SerializedRequest:
    """As `make_request`, of an operation's input.

    Args:
        parameters: The operation's input.

    Returns:
        The request.

    Raises:
        ParameterValidationError: A parameter breaks its constraint.
    """
    operation, values = _VALUES[type(parameters)]
    if operation is not INVOKE_ENDPOINT_ASYNC:
        return make_request(operation, parameters.body, *values(parameters))
    try:
        head = _find_head(operation, *values(parameters))
        return SerializedRequest(head, _async_body(parameters))
    except ParameterValidationError as error:
        name_call(error, operation, parameters.endpoint_name)
        raise


def name_call(error: ParameterValidationError, operation: Operation, endpoint_name: Any) -> None:
    """Adds the call to the error of one of its parameters."""
    is_name = error.parameter == "endpoint_name"
    add_call(error, operation.name, None if is_name else endpoint_name)


def _find_head(operation: Operation, *values: Any) -> RequestHead:
    try:
        return _cached_head(operation, *values)
    except TypeError:
        pass
    # An unhashable value cannot be a key; it is of a wrong type, and is told so.
    return _build_head(operation, *values)


def _async_body(parameters: Any) -> bytes | bytearray | memoryview:
    if (parameters.input_location is None) == (parameters.body is None):
        given = "neither is" if parameters.body is None else "both are"
        rule = f"must be given in input_location's place: exactly one of the two, and {given} given"
        raise ParameterValidationError("body", rule)
    if parameters.body is None:
        return b""
    body = body_bytes(parameters.body)
    limit = INVOKE_ENDPOINT_ASYNC.max_body_length
    if len(body) > limit:
        rule = f"must be at most {limit} bytes; put a larger input into S3 and give input_location"
        raise ParameterValidationError("body", rule, length=len(body))
    return body
