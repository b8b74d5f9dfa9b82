"""The three operations, once a call is read and its signature is checked."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from aiohttp import web

from aiosmrt._protocol.operations import INVOKE_ENDPOINT, INVOKE_ENDPOINT_ASYNC, Operation
from aiosmrt.local._async_inference import AsyncInferences
from aiosmrt.local._hosting import Hosting
from aiosmrt.local._model_calls import begin_answer, whole_answer
from aiosmrt.local._models import ModelFailure
from aiosmrt.local._streaming import EventStreamResponse

if TYPE_CHECKING:
    from aiosmrt.local._answers import Answer
    from aiosmrt.local._faults import Fault
    from aiosmrt.local._hosting import Deployment
    from aiosmrt.local._parameters import Call

__all__ = ["Invocations"]

_log = logging.getLogger("aiosmrt.local")

# A container may answer with more than the service passes on (25 MB), but not endlessly.
_MAX_ANSWER_LENGTH = 268_435_456
# What an answer that was not made in parts is streamed in.
_PART_LENGTH = 1_048_576


@attrs.frozen(eq=False)
class Invocations:
    """Answers calls, within the seconds that a model has for its answer, and for a stream."""

    hosting: Hosting
    async_inferences: AsyncInferences
    region: str
    model_timeout: float
    stream_timeout: float

    async def answer(
        self, request: web.BaseRequest, call: Call, headers: dict[str, str], fault: Fault | None
    ) -> web.StreamResponse:
        """Answers one call; a stream is sent here, as the fault wants it.

        Raises:
            Refusal: The service's error.
        """
        deployment = self.hosting.resolve(call)
        if call.operation is INVOKE_ENDPOINT:
            return await self._plain(call, deployment, headers)
        if call.operation is INVOKE_ENDPOINT_ASYNC:
            return self._accepted(call, deployment, headers)
        return await self._stream(request, call, deployment, headers, fault)

    async def _plain(
        self, call: Call, deployment: Deployment, headers: dict[str, str]
    ) -> web.Response:
        answer, body = await whole_answer(
            deployment,
            call.to_container(call.body),
            seconds=self.model_timeout,
            limit=_MAX_ANSWER_LENGTH,
            region=self.region,
        )
        self.hosting.note(call, deployment, answer)
        headers.update(_outputs(call.operation, answer, deployment))
        return web.Response(body=body, headers=headers)

    def _accepted(
        self, call: Call, deployment: Deployment, headers: dict[str, str]
    ) -> web.Response:
        inference = self.async_inferences.accept(call, deployment)
        headers.update(_bound(call.operation, inference))
        return web.json_response(
            {"InferenceId": inference.inference_id},
            status=call.operation.status_code,
            headers=headers,
        )

    async def _stream(
        self,
        request: web.BaseRequest,
        call: Call,
        deployment: Deployment,
        headers: dict[str, str],
        fault: Fault | None,
    ) -> web.StreamResponse:
        answer = await begin_answer(
            deployment,
            call.to_container(call.body),
            seconds=self.model_timeout,
            region=self.region,
        )
        try:
            self.hosting.note(call, deployment, answer)
            headers.update(_outputs(call.operation, answer, deployment))
            response = EventStreamResponse(request, headers, fault)
            with suppress(ConnectionError):  # the client has gone: there is nobody left to tell
                await self._send(answer, response, call.endpoint_name)
            return response.response
        finally:
            await answer.aclose()

    async def _send(
        self, answer: Answer, response: EventStreamResponse, endpoint_name: str
    ) -> None:
        await response.begin()
        try:
            await asyncio.wait_for(_write_parts(answer, response), self.stream_timeout)
        except asyncio.TimeoutError:
            await response.fail("ModelStreamError", _TOO_LONG)
        except ModelFailure as failure:
            await response.fail("ModelStreamError", _BROKEN | {"Message": failure.message})
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - the head is sent: what is left is to say so in the stream
            _log.exception("a stream of endpoint %s was not sent", endpoint_name)
            await response.fail("InternalStreamFailure", _FAILED)
        await response.end()


_TOO_LONG = {
    "ErrorCode": "ModelInvocationTimeExceeded",
    "Message": "The model failed to finish sending the response within the timeout period "
    "allowed by Amazon SageMaker.",
}
_BROKEN = {"ErrorCode": "StreamBroken"}
_FAILED = {"Message": "The local endpoint failed: see its log."}


async def _write_parts(answer: Answer, response: EventStreamResponse) -> None:
    if isinstance(answer.body, bytes):
        for start in range(0, len(answer.body), _PART_LENGTH):
            await response.write(answer.body[start : start + _PART_LENGTH])
    else:
        async for part in answer.body:
            await response.write(part)


def _outputs(operation: Operation, answer: Answer, deployment: Deployment) -> dict[str, str]:
    return _bound(operation, answer) | {
        "x-Amzn-Invoked-Production-Variant": deployment.variant_name
    }


def _bound(operation: Operation, source: object) -> dict[str, str]:
    """The headers of an operation's output members that the source has a value of."""
    headers: dict[str, str] = {}
    for binding in operation.outputs:
        value = getattr(source, binding.parameter, None)
        if value is not None:
            headers[binding.header] = value
    return headers
