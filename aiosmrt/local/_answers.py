"""What a model or a container answered, before it becomes one of the three outputs."""

from __future__ import annotations

import re
from typing import Protocol

import attrs

from aiosmrt.local._models import ModelFailure, ModelRequest

__all__ = ["Answer", "Backend", "Parts", "check_headers"]

# What has a form on the wire, and what the service takes from a container at most.
_HEADER_VALUE = re.compile(r"[\t\x20-\x7E]{1,1024}")


class Parts(Protocol):
    """The parts of an answer as they come.

    A class and no generator: a generator that was never started does not run its
    ``finally`` when it is closed.
    """

    def __aiter__(self) -> Parts:
        """Itself."""
        ...

    async def __anext__(self) -> bytes:
        """The next part.

        Raises:
            ModelFailure: The container broke off.
            StopAsyncIteration: It is done.
        """
        ...

    async def aclose(self) -> None:
        """Stops whatever makes the parts; harmless at their end."""
        ...


@attrs.frozen(kw_only=True)
class Answer:
    """A container's answer of success.

    Attributes:
        body: The whole of it, or its parts.
        content_type: Its MIME type.
        custom_attributes: What the container set, None where it set none.
        new_session_id: The stateful session that it opened, as on the wire.
        closed_session_id: The stateful session that it closed.
    """

    body: bytes | Parts = attrs.field(repr=False)
    content_type: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    new_session_id: str | None = None
    closed_session_id: str | None = None

    async def read(self, limit: int) -> bytes:
        """Reads the whole body, of at most ``limit`` bytes, and closes it.

        Raises:
            ModelFailure: The container broke off, or went past the limit.
        """
        if isinstance(self.body, bytes):
            body = self.body
        else:
            joined = bytearray()
            try:
                async for part in self.body:
                    joined += part
                    if len(joined) > limit:
                        break
            finally:
                await self.body.aclose()
            body = bytes(joined)
        if len(body) > limit:
            raise ModelFailure(500, f"the response is longer than {limit} bytes")
        return body

    async def aclose(self) -> None:
        """Stops whatever makes the parts; harmless at their end."""
        if not isinstance(self.body, bytes):
            await self.body.aclose()


def check_headers(answer: object) -> None:
    """Checks what an answer says beside its body: of an Answer, or of what becomes one.

    Raises:
        ValueError: A value has no form on the wire, or is too long.
    """
    for name in ("content_type", "custom_attributes", "new_session_id", "closed_session_id"):
        value = getattr(answer, name)
        if value is not None and not _HEADER_VALUE.fullmatch(value):
            raise ValueError(f"the answer's {name} must be 1 to 1024 visible ASCII characters")


class Backend(Protocol):
    """What stands behind an endpoint: a Python model, or a container."""

    async def invoke(self, request: ModelRequest) -> Answer:
        """Has the model answer what the container is sent.

        Raises:
            ModelFailure: The container answered with an error.
            Refusal: It is not ready.
        """
        ...

    async def aclose(self) -> None:
        """Frees what it holds."""
        ...
