"""What many calls give: an item for each request."""

from typing import Any, Generic, TypeVar

import attrs

from aiosmrt._protocol.models import Answer, InvokeEndpointOutput, PayloadPart, ResponseMetadata
from aiosmrt.errors import AiosmrtError

__all__ = ["BatchItem", "CollectedStream", "OutputT"]


@attrs.frozen(kw_only=True)
class CollectedStream(Answer):
    """A streamed answer that was read to its end.

    Attributes:
        parts: The parts in their order.
        content_type: The parts' MIME type, None where the service sent none.
        invoked_production_variant: The variant that answered.
        custom_attributes: What the container set.
        metadata: Request id, status, headers, attempts.
    """

    __module__ = "aiosmrt"

    parts: tuple[PayloadPart, ...] = attrs.field(repr=False)
    content_type: str | None = None
    invoked_production_variant: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    metadata: ResponseMetadata

    @property
    def body(self) -> bytes:
        """The parts' bytes, joined anew at each access."""
        return b"".join([part.bytes for part in self.parts])


OutputT = TypeVar("OutputT", bound=InvokeEndpointOutput | CollectedStream)


@attrs.frozen(kw_only=True)
class BatchItem(Generic[OutputT]):
    """The end of one request of many: an output or an error, never both.

    Attributes:
        key: What the request was given with, else its index.
        index: The request's position in the input, from 0.
        output: The answer; None where there is an error.
        error: Why there is none, without a traceback; None on success.
        attempts: How many attempts it took, as `AiosmrtError.attempts` counts; 0 where none was.
        latency: Seconds from the call's beginning to its end: its attempts, the waits
            between them and the wait for a connection.
    """

    __module__ = "aiosmrt"

    key: Any
    index: int
    output: OutputT | None
    error: AiosmrtError | None
    attempts: int
    latency: float
