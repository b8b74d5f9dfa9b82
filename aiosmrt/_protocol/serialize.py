"""Inputs to requests: validation, path, headers, body. Nothing is sent before all of it passed."""

from __future__ import annotations

import functools
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING, Any, Final

import attrs

from aiosmrt._protocol.large_json import dump_json
from aiosmrt._protocol.operations import OPERATIONS, Operation
from aiosmrt.errors import ParameterValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiosmrt._protocol.inputs import AnyInput
    from aiosmrt.errors import AiosmrtError

__all__ = [
    "RequestHead",
    "SerializedRequest",
    "add_call",
    "body_bytes",
    "check_parameters",
    "json_body",
    "name_call",
    "no_json",
    "serialize",
    "serialize_input",
]


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


@attrs.define(eq=False)
class SerializedRequest:
    """A request that passed validation.

    Attributes:
        head: Path and headers.
        body: The body's bytes, without a copy where the caller gave bytes or a buffer.
    """

    head: RequestHead
    body: bytes | bytearray | memoryview = attrs.field(repr=False)


def serialize(operation: Operation, body: Any, parameters: Mapping[str, Any]) -> SerializedRequest:
    """Checks every parameter against the service's constraints and builds the request.

    Args:
        operation: The operation.
        body: The body, None if there is none.
        parameters: Every other parameter by name; None is one not given.

    Returns:
        The request without what only the moment of sending knows (host, date,
        attempt, signature).

    Raises:
        ParameterValidationError: A parameter breaks its constraint.
    """
    return _serialize(operation, body, _FROM_MAPPING[operation](parameters))


def serialize_input(operation: Operation, given: AnyInput) -> SerializedRequest:
    """Does the same with an operation's input.

    Raises:
        ParameterValidationError: A parameter breaks its constraint.
    """
    return _serialize(operation, given.body, _FROM_INPUT[operation](given))


def check_parameters(operation: Operation, given: Mapping[str, Any]) -> dict[str, Any]:
    """Checks the parameters that a caller gives once for many requests.

    Args:
        operation: The operation, one that requires a body.
        given: The parameters by name, without the body.

    Returns:
        Every parameter by name, as `serialize` takes them.

    Raises:
        ParameterValidationError: A parameter breaks its constraint.
        TypeError: The operation has no such parameter.
    """
    parameters: dict[str, Any] = dict.fromkeys(operation.parameters)
    for name, value in given.items():
        if name not in parameters:
            raise TypeError(f"{operation.name} has no parameter {name!r}")
        parameters[name] = value
    serialize(operation, b"", parameters)
    return parameters


def add_call(
    error: AiosmrtError,
    operation: str,
    endpoint_name: str | None,
    *,
    attempts: int | None = None,
    request_id: str | None = None,
) -> None:
    """Adds the facts of its call to an error; None leaves what the error has."""
    error.operation = operation
    if endpoint_name is not None:
        error.endpoint_name = endpoint_name
    if attempts is not None:
        error.attempts = attempts
    if request_id is not None:
        error.request_id = request_id


def name_call(error: ParameterValidationError, operation: Operation, endpoint_name: Any) -> None:
    """Adds the call to the error of one of its parameters."""
    is_name = error.parameter == "endpoint_name"
    add_call(error, operation.name, None if is_name else endpoint_name)


# What reads the values of an operation's parameters, in their order.
_FROM_MAPPING: Final[dict[Operation, Callable[[Mapping[str, Any]], tuple[Any, ...]]]] = {
    each: itemgetter(*each.parameters) for each in OPERATIONS.values()
}
_FROM_INPUT: Final[dict[Operation, Callable[[AnyInput], tuple[Any, ...]]]] = {
    each: attrgetter(*each.parameters) for each in OPERATIONS.values()
}


def _serialize(operation: Operation, body: Any, values: tuple[Any, ...]) -> SerializedRequest:
    try:
        head = _find_head(operation, values)
        if operation.body == "required":
            if body is None:
                raise ParameterValidationError("body", "is required")
            return SerializedRequest(head, body_bytes(body))
        location = values[operation.parameters.index("input_location")]
        return SerializedRequest(head, _async_body(operation, body, location))
    except ParameterValidationError as error:
        name_call(error, operation, values[0])
        raise


def _build_head(operation: Operation, name: Any, *values: Any) -> RequestHead:
    resource = operation.resource
    name = resource.constraint.check(resource.parameter, name)
    headers = tuple(
        [
            (binding.header, binding.constraint.check(binding.parameter, value))
            for binding, value in zip(operation.inputs, values, strict=True)
            if value is not None
        ]
    )
    path = operation.path.replace(f"{{{resource.member}}}", name)
    return RequestHead(operation, name, path, headers)


# Services call with the same few parameter sets over and over: validate each once.
# `typed`, since True, 1 and 1.0 are equal as keys but not as parameters.
_cached_head = functools.lru_cache(maxsize=256, typed=True)(_build_head)


def _find_head(operation: Operation, values: tuple[Any, ...]) -> RequestHead:
    try:
        return _cached_head(operation, *values)
    except TypeError:
        pass
    # An unhashable value cannot be a key: its constraint refuses it by its type.
    return _build_head(operation, *values)


def body_bytes(body: Any) -> bytes | bytearray | memoryview:
    """The bytes of a body, without a copy where it has a contiguous buffer.

    Args:
        body: Bytes, a buffer, or text for UTF-8.

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


def _async_body(
    operation: Operation, body: Any, input_location: Any
) -> bytes | bytearray | memoryview:
    if (input_location is None) == (body is None):
        given = "neither is" if body is None else "both are"
        rule = f"must be given in input_location's place: exactly one of the two, and {given} given"
        raise ParameterValidationError("body", rule)
    if body is None:
        return b""
    data = body_bytes(body)
    limit = operation.max_body_length
    if len(data) > limit:
        rule = f"must be at most {limit} bytes; put a larger input into S3 and give input_location"
        raise ParameterValidationError("body", rule, length=len(data))
    return data
