"""What an error says of the call that it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiosmrt.errors import AiosmrtError

__all__ = ["add_call"]


def add_call(
    error: AiosmrtError,
    operation: str,
    endpoint_name: str | None,
    *,
    attempts: int | None = None,
    request_id: str | None = None,
) -> None:
    """Adds the facts of its call to an error.

    Args:
        error: The error.
        operation: The operation's name.
        endpoint_name: The endpoint; as the other facts, None leaves what the error has.
        attempts: How many attempts the call took.
        request_id: The request id of the last attempt's response.
    """
    error.operation = operation
    if endpoint_name is not None:
        error.endpoint_name = endpoint_name
    if attempts is not None:
        error.attempts = attempts
    if request_id is not None:
        error.request_id = request_id
