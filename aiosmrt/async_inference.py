"""The handle of an async inference."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiosmrt.models import ResponseMetadata

__all__ = ["AsyncInvocation"]


class AsyncInvocation:
    """An async inference that the service has accepted.

    Attributes:
        inference_id: The inference's id, None where it was not told.
        output_location: The S3 URI at which the output will lie.
        failure_location: The S3 URI at which a failure object would lie, None for none.
        metadata: The accepting response's, None for a handle made from saved facts.
    """

    def __init__(
        self,
        *,
        inference_id: str | None,
        output_location: str | None,
        failure_location: str | None,
        metadata: ResponseMetadata | None,
    ) -> None:
        self.inference_id = inference_id
        self.output_location = output_location
        self.failure_location = failure_location
        self.metadata = metadata

    def __repr__(self) -> str:
        return f"<AsyncInvocation {self.inference_id} to {self.output_location}>"
