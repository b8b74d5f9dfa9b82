"""A request's head and body into the parameters of an operation, or the service's refusal."""

from __future__ import annotations

import re
from urllib.parse import unquote

import attrs
from multidict import CIMultiDict, CIMultiDictProxy

from aiosmrt._protocol.operations import (
    INVOKE_ENDPOINT,
    OPERATIONS,
    HeaderBinding,
    IntegerConstraint,
    Operation,
)
from aiosmrt.errors import ParameterValidationError
from aiosmrt.local._models import ModelRequest
from aiosmrt.local._refusals import broken_constraints, too_long, unknown_operation

__all__ = ["Call", "read_call", "route"]

_PATH = re.compile(r"/endpoints/([^/]+)/([^/]+)")
_BY_SEGMENT = {operation.path.rpartition("/")[2]: operation for operation in OPERATIONS.values()}
# A container is called as InvokeEndpoint is, whichever operation the caller used.
_CONTAINER_HEADERS = {binding.parameter: binding.header for binding in INVOKE_ENDPOINT.inputs}


@attrs.frozen(kw_only=True)
class Call:
    """One call of an operation, its constraints checked.

    The body is empty where an async inference has its input in S3; the parameters are those
    of headers that were sent, by their names here.
    """

    operation: Operation
    endpoint_name: str
    body: bytes = attrs.field(repr=False)
    parameters: dict[str, str] = attrs.field(repr=False)

    def to_container(self, body: bytes) -> ModelRequest:
        """What the container is sent, with the request's body or the async input's."""
        known = {
            name: value for name, value in self.parameters.items() if name in _CONTAINER_HEADERS
        }
        headers = CIMultiDict([(_CONTAINER_HEADERS[name], value) for name, value in known.items()])
        return ModelRequest(
            endpoint_name=self.endpoint_name, body=body, headers=CIMultiDictProxy(headers), **known
        )


def route(method: str, raw_path: str) -> tuple[Operation | None, str] | None:
    """Which operation a request calls, by its method and its path without the query.

    Returns:
        The operation (None for one that the service does not have) and the endpoint's
        name, unchecked; None for a request that is not the service's.
    """
    found = _PATH.fullmatch(raw_path)
    if found is None or method != "POST":
        return None
    return _BY_SEGMENT.get(found[2]), unquote(found[1])


def read_call(
    operation: Operation | None,
    endpoint_name: str,
    headers: CIMultiDictProxy[str],
    body: bytes,
) -> Call:
    """Checks every constraint, and reports all that are broken at once.

    The limit of bodies that accounts can have raised is the reader's to check;
    InvokeEndpointAsync has a fixed one of its own.

    Raises:
        Refusal: The service's ValidationError, or its UnknownOperationException.
    """
    if operation is None:
        raise unknown_operation()
    problems: list[str] = []
    parameters: dict[str, str] = {}
    try:
        operation.resource.constraint.check("endpointName", endpoint_name)
    except ParameterValidationError as error:
        problems.append(_problem(error))
    for binding in operation.inputs:
        values = headers.getall(binding.header, None)
        if values is not None:
            try:
                # One header sent twice is one value joined with a comma (RFC 9110, 5.3).
                parameters[binding.parameter] = _checked(binding, ", ".join(values))
            except ParameterValidationError as error:
                problems.append(_problem(error))
    if problems:
        raise broken_constraints(problems)
    if operation.body != "required":
        _check_one_input(operation, parameters, body)
    return Call(operation=operation, endpoint_name=endpoint_name, body=body, parameters=parameters)


def _checked(binding: HeaderBinding, value: str) -> str:
    member = binding.member[0].lower() + binding.member[1:]
    if not isinstance(binding.constraint, IntegerConstraint):
        return binding.constraint.check(member, value)
    # Longer ones are out of every range, and slow to parse.
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise ParameterValidationError(member, binding.constraint.rule)
    return binding.constraint.check(member, int(value))


def _problem(error: ParameterValidationError) -> str:
    return f"Value at '{error.parameter}' failed to satisfy constraint: Member {error.rule}"


def _check_one_input(operation: Operation, parameters: dict[str, str], body: bytes) -> None:
    if len(body) > operation.max_body_length:
        raise too_long(operation.max_body_length)
    if bool(body) == ("input_location" in parameters):
        rule = "must be given, or the body, and not both"
        raise broken_constraints([_problem(ParameterValidationError("inputLocation", rule))])
