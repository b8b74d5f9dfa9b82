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
    """Adds the facts of its call to an error; None leaves what the error has."""
    error.operation = operation
    if endpoint_name is not None:
        error.endpoint_name = endpoint_name
    if attempts is not None:
        error.attempts = attempts
    if request_id is not None:
        error.request_id = request_id
