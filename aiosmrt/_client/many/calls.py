"""One call of many: from what was read, a body or an input, to its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from aiosmrt._client.many.items import CollectedStream
from aiosmrt._protocol.deserialize import parse_invoke_endpoint
from aiosmrt._protocol.inputs import (
    InvokeEndpointInput,
    InvokeEndpointWithResponseStreamInput,
)
from aiosmrt._protocol.operations import INVOKE_ENDPOINT
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM as INVOKE_STREAM
from aiosmrt._protocol.serialize import check_parameters, serialize, serialize_input

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._client.client import Client
    from aiosmrt._protocol.inputs import AnyInput
    from aiosmrt._protocol.models import InvokeEndpointOutput, PayloadPart, Timeouts
    from aiosmrt._protocol.operations import Operation
    from aiosmrt._protocol.serialize import SerializedRequest
    from aiosmrt.errors import AiosmrtError

__all__ = ["InvokeCall", "StreamCall"]


class _Call:
    """What the calls of one operation have in common.

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

    _operation: ClassVar[Operation]
    _input: ClassVar[type[AnyInput]]

    def __init__(
        self,
        client: Client,
        parameters: Mapping[str, Any],
        timeouts: Timeouts | None,
        retries: RetryPolicy | None,
    ) -> None:
        self._client = client
        self._parameters = check_parameters(self._operation, parameters)
        self._timeouts = timeouts
        self._retries = retries

    def _serialize(self, request: Any) -> SerializedRequest:
        """Makes the request of an input, or of a bare body."""
        if isinstance(request, self._input):
            return serialize_input(self._operation, request)
        return serialize(self._operation, request, self._parameters)


class InvokeCall(_Call):
    """Invokes an endpoint and waits for the whole answer."""

    _operation = INVOKE_ENDPOINT
    _input = InvokeEndpointInput

    async def __call__(
        self, request: Any, failed: Callable[[AiosmrtError], None]
    ) -> InvokeEndpointOutput:
        """Makes one call; ``failed`` gets the error of every attempt that fails."""
        return await self._client.invoke(
            self._serialize(request),
            parse_invoke_endpoint,
            self._timeouts,
            self._retries,
            failed=failed,
        )


class StreamCall(_Call):
    """Invokes an endpoint and collects the parts of its answer.

    Args: As for any call, and
        require_terminal: As for ``invoke_endpoint_with_response_stream``.
    """

    _operation = INVOKE_STREAM
    _input = InvokeEndpointWithResponseStreamInput

    def __init__(
        self,
        client: Client,
        parameters: Mapping[str, Any],
        timeouts: Timeouts | None,
        retries: RetryPolicy | None,
        require_terminal: Callable[[PayloadPart], bool] | None,
    ) -> None:
        super().__init__(client, parameters, timeouts, retries)
        self._require_terminal = require_terminal

    async def __call__(
        self, request: Any, failed: Callable[[AiosmrtError], None]
    ) -> CollectedStream:
        """Makes one call; ``failed`` gets the error of every attempt that fails."""
        stream = await self._client.open_stream(
            self._serialize(request),
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
