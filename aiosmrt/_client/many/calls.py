"""One call of many: from what was read, a body or an input, to its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiosmrt._client.many.items import CollectedStream
from aiosmrt._protocol.deserialize import parse_invoke_endpoint
from aiosmrt._protocol.models import InvokeEndpointInput, InvokeEndpointWithResponseStreamInput
from aiosmrt._protocol.serialize import serialize

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._client.client import Client
    from aiosmrt._protocol.models import InvokeEndpointOutput, PayloadPart, Timeouts
    from aiosmrt.errors import AiosmrtError

__all__ = ["InvokeCall", "StreamCall"]


class InvokeCall:
    """Invokes an endpoint and waits for the whole answer.

    Args:
        client: Makes the call.
        parameters: An InvokeEndpointInput's, but for the body: those of bare bodies.
        timeouts: In place of the session's.
        retries: In place of the session's.

    Raises:
        ParameterValidationError: A parameter breaks its constraint: once, here, and not
            for each of a million bodies.
    """

    def __init__(
        self,
        client: Client,
        parameters: dict[str, Any],
        timeouts: Timeouts | None,
        retries: RetryPolicy | None,
    ) -> None:
        serialize(InvokeEndpointInput(body=b"", **parameters))
        self._client = client
        self._parameters = parameters
        self._timeouts = timeouts
        self._retries = retries

    async def __call__(
        self, request: Any, failed: Callable[[AiosmrtError], None]
    ) -> InvokeEndpointOutput:
        """Makes one call; ``failed`` is told of every attempt that fails."""
        if not isinstance(request, InvokeEndpointInput):
            request = InvokeEndpointInput(body=request, **self._parameters)
        return await self._client.invoke(
            serialize(request),
            parse_invoke_endpoint,
            self._timeouts,
            self._retries,
            failed=failed,
        )


class StreamCall:
    """Invokes an endpoint and collects the parts of its answer.

    Args:
        client: Makes the call.
        parameters: An InvokeEndpointWithResponseStreamInput's, but for the body.
        timeouts: In place of the session's.
        retries: In place of the session's.
        require_terminal: As for ``invoke_endpoint_with_response_stream``.

    Raises:
        ParameterValidationError: A parameter breaks its constraint.
    """

    def __init__(
        self,
        client: Client,
        parameters: dict[str, Any],
        timeouts: Timeouts | None,
        retries: RetryPolicy | None,
        require_terminal: Callable[[PayloadPart], bool] | None,
    ) -> None:
        serialize(InvokeEndpointWithResponseStreamInput(body=b"", **parameters))
        self._client = client
        self._parameters = parameters
        self._timeouts = timeouts
        self._retries = retries
        self._require_terminal = require_terminal

    async def __call__(
        self, request: Any, failed: Callable[[AiosmrtError], None]
    ) -> CollectedStream:
        """Makes one call; ``failed`` is told of every attempt that fails."""
        if not isinstance(request, InvokeEndpointWithResponseStreamInput):
            request = InvokeEndpointWithResponseStreamInput(body=request, **self._parameters)
        stream = await self._client.open_stream(
            serialize(request),
            self._timeouts,
            self._retries,
            require_terminal=self._require_terminal,
            failed=failed,
        )
        async with stream:
            parts = tuple([part async for part in stream])
        return CollectedStream(
            parts=parts,
            content_type=stream.content_type,
            invoked_production_variant=stream.invoked_production_variant,
            custom_attributes=stream.custom_attributes,
            metadata=stream.metadata,
        )
