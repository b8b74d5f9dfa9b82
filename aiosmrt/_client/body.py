"""The body that a call is given, as bytes or as an object for JSON."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiosmrt._protocol.large_json import is_large, json_pieces
from aiosmrt._protocol.serialize import json_body, name_call, no_json
from aiosmrt.errors import ParameterValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiosmrt._protocol.operations import Operation

__all__ = ["choose_body"]


async def choose_body(
    operation: Operation, body: Any, json: Any, parameters: Mapping[str, Any]
) -> tuple[Any, Mapping[str, Any]]:
    """Chooses between ``body`` and ``json``, which is encoded.

    Args:
        operation: The operation.
        body: The body, None if there is none.
        json: The object to send as JSON, None if there is none.
        parameters: All other parameters by name.

    Returns:
        The body, and the parameters with the content type of JSON where they had none.

    Raises:
        ParameterValidationError: Both are given, or neither although the operation requires
            a body, or the object has no JSON form.
    """
    try:
        if json is None:
            if body is None and operation.body == "required":
                raise ParameterValidationError("body", "is required, or json in its place")
            return body, parameters
        if body is not None:
            raise ParameterValidationError("json", "must not be given together with body")
        body = await _encode_in_turns(json) if is_large(json) else json_body(json)
    except ParameterValidationError as error:
        name_call(error, operation, parameters.get(operation.resource.parameter))
        raise
    if parameters.get("content_type") is None:
        parameters = {**parameters, "content_type": "application/json"}
    return body, parameters


async def _encode_in_turns(value: Any) -> bytes:
    """Encodes a large object, with a turn of the loop for others after each piece."""
    pieces: list[bytes] = []
    try:
        for piece in json_pieces(value):
            pieces.append(piece)
            await asyncio.sleep(0)
    except (TypeError, ValueError, RuntimeError) as error:
        raise no_json(error) from None
    return b"".join(pieces)
