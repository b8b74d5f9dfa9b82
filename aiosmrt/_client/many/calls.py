"""One call of many: from what was read, a body or an input, to its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiosmrt._client.many.items import CollectedStream
from aiosmrt._protocol.deserialize import parse_invoke_endpoint
from aiosmrt._protocol.models import InvokeEndpointInput, InvokeEndpointWithResponseStreamInput
from aiosmrt._protocol.operations import INVOKE_ENDPOINT
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM as INVOKE_STREAM
from aiosmrt._protocol.serialize import check_parameters, serialize, serialize_input

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._client.client import Client
    from aiosmrt._protocol.models import InvokeEndpointOutput, PayloadPart, Timeouts
    from aiosmrt.errors import AiosmrtError

__all__ = ["InvokeCall", "StreamCall"]


class InvokeCall:
    """Invokes an endpoint and waits for the whole answer.

    Args:
        client: Makes the call.
        parameters: The parameters of bare bodies, the endpoint's name included.
        timeouts: In place of the session's.
        retries: In place of the session's.

    Raises:
        ParameterValidationError: A parameter breaks its constraint: once, here, and not
            for each of a million bodies.
        TypeError: The operation has no such parameter.
    """

    def __init__(
        self,
        client: Client,
        parameters: Mapping[str, Any],
        timeouts: Timeouts | None,
        retries: RetryPolicy | None,
    ) -> None:
        self._client = client
        self._parameters = check_parameters(INVOKE_ENDPOINT, parameters)
        self._timeouts = timeouts
        self._retries = retries

    async def __call__(
        self, request: Any, failed: Callable[[AiosmrtError], None]
    ) -> InvokeEndpointOutput:
        """Makes one call; ``failed`` is told of every attempt that fails."""
        if isinstance(request, InvokeEndpointInput):
            serialized = serialize_input(INVOKE_ENDPOINT, request)
        else:
            serialized = serialize(INVOKE_ENDPOINT, request, self._parameters)
        return await self._client.invoke(
            serialized, parse_invoke_endpoint, self._timeouts, self._retries, failed=failed
        )


class StreamCall:
    """Invokes an endpoint and collects the parts of its answer.

    Args:
        client: Makes the call.
        parameters: The parameters of bare bodies, the endpoint's name included.
        timeouts: In place of the session's.
        retries: In place of the session's.
        require_terminal: As for ``invoke_endpoint_with_response_stream``.

    Raises:
        ParameterValidationError: A parameter breaks its constraint.
        TypeError: The operation has no such parameter.
    """

    def __init__(
        self,
        client: Client,
        parameters: Mapping[str, Any],
        timeouts: Timeouts | None,
        retries: RetryPolicy | None,
        require_terminal: Callable[[PayloadPart], bool] | None,
    ) -> None:
        self._client = client
        self._parameters = check_parameters(INVOKE_STREAM, parameters)
        self._timeouts = timeouts
        self._retries = retries
        self._require_terminal = require_terminal

    async def __call__(
        self, request: Any, failed: Callable[[AiosmrtError], None]
    ) -> CollectedStream:
        """Makes one call; ``failed`` is told of every attempt that fails."""
        if isinstance(request, InvokeEndpointWithResponseStreamInput):
            serialized = serialize_input(INVOKE_STREAM, request)
        else:
            serialized = serialize(INVOKE_STREAM, request, self._parameters)
        stream = await self._client.open_stream(
            serialized,
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
