"""InvokeEndpointAsync behind its 202: the queue, and where results are written."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal
from uuid import uuid4

import attrs

from aiosmrt.errors import ConfigurationError
from aiosmrt.local._hosting import Deployment
from aiosmrt.local._model_calls import whole_answer
from aiosmrt.local._objects import Objects, ObjectsError
from aiosmrt.local._parameters import Call
from aiosmrt.local._refusals import Refusal, too_many_requests

__all__ = ["AsyncInference", "AsyncInferences"]

_log = logging.getLogger("aiosmrt.local")

# The service's defaults of RequestTTLSeconds and InvocationTimeoutSeconds.
_REQUEST_TTL_SECONDS = 21_600
_INVOCATION_TIMEOUT_SECONDS = 900
# The service's limit of an output.
_MAX_OUTPUT_LENGTH = 1_073_741_824
# An inference whose model is not ready is tried again, ever later, as long as it may wait.
_NOT_READY_SECONDS = 0.5
_MAX_NOT_READY_SECONDS = 10.0
# At the end: how long a model that does not heed its cancellation is waited for, and how long
# failure objects may take to be written.
_CANCEL_SECONDS = 5.0
_FAIL_SECONDS = 30.0
# How many finished ones are remembered.
_REMEMBERED = 10_000


@attrs.define(kw_only=True)
class AsyncInference:
    """An async inference.

    Attributes:
        inference_id: The caller's id, or one made for it.
        endpoint_name: The endpoint.
        output_location: Where the output will lie, an S3 URI.
        failure_location: Where the failure object will lie, None where none is written.
        accepted_at: When it was accepted.
        status: ``queued``, ``running``, ``completed`` or ``failed``.
    """

    __module__ = "aiosmrt.local"

    inference_id: str
    endpoint_name: str
    output_location: str
    failure_location: str | None
    accepted_at: datetime
    status: Literal["queued", "running", "completed", "failed"] = "queued"


class AsyncInferences:
    """Accepts inferences, and runs a few at a time.

    Args:
        objects: Where inputs are and results go.
        clock: The time that RequestTTLSeconds is measured by.
        region: Named in failures.
        output_path: The prefix of results: ``s3://BUCKET``.
        writes_failures: Whether failure objects are written and announced.
        concurrency: How many run at once.
        max_queued: How many may wait.

    Raises:
        ConfigurationError: None may run, or less than none may wait.
    """

    def __init__(
        self,
        objects: Objects,
        clock: Callable[[], datetime],
        *,
        region: str,
        output_path: str,
        writes_failures: bool,
        concurrency: int,
        max_queued: int,
    ) -> None:
        self._objects = objects
        self._clock = clock
        self._region = region
        self._output_path = output_path
        self._writes_failures = writes_failures
        if concurrency < 1 or max_queued < 0:
            raise ConfigurationError(
                "async_concurrency must be at least 1 and async_queue_length at least 0, not "
                f"{concurrency} and {max_queued}"
            )
        self._slots = asyncio.Semaphore(concurrency)
        self._max_unfinished = max_queued + concurrency
        self._unfinished: dict[asyncio.Task[None], AsyncInference] = {}
        self._finished: deque[AsyncInference] = deque(maxlen=_REMEMBERED)

    def accept(self, call: Call, deployment: Deployment) -> AsyncInference:
        """Takes an inference into the queue.

        Raises:
            Refusal: The queue is full.
        """
        if len(self._unfinished) >= self._max_unfinished:
            raise too_many_requests()
        inference_id = call.parameters.setdefault("inference_id", str(uuid4()))
        # A caller's id may come twice, and may hold any character: files have their own.
        name = call.parameters.get("filename")
        stem = name or str(uuid4())
        inference = AsyncInference(
            inference_id=inference_id,
            endpoint_name=call.endpoint_name,
            output_location=self._location(call, "output", name or f"{stem}.out"),
            failure_location=self._location(call, "failure", f"{stem}-error.out")
            if self._writes_failures
            else None,
            accepted_at=self._clock(),
        )
        task = asyncio.create_task(self._run(inference, call, deployment))
        self._unfinished[task] = inference
        task.add_done_callback(self._forget)
        return inference

    def _location(self, call: Call, kind: str, name: str) -> str:
        extension = call.parameters.get("s3_output_path_extension", "").strip("/")
        parts = (self._output_path, call.endpoint_name, kind, extension, name)
        return "/".join([part for part in parts if part])

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._finished.append(self._unfinished.pop(task))

    def listed(self) -> list[AsyncInference]:
        """The inferences: the last 10,000 finished ones, then those under way."""
        return [*self._finished, *self._unfinished.values()]

    async def aclose(self, seconds: float) -> None:
        """Finishes what is under way, or fails what is not done after so many seconds."""
        unfinished = dict(self._unfinished)
        if unfinished and seconds > 0:
            await asyncio.wait(unfinished, timeout=seconds)
        for task in unfinished:
            task.cancel()
        if unfinished:
            await asyncio.wait(unfinished, timeout=_CANCEL_SECONDS)
        # Not in the tasks themselves: one that is cancelled before its first step runs
        # no handler of its own.
        reason = "The endpoint was stopped before the model answered."
        failing = [
            asyncio.create_task(self._fail(inference, reason))
            for inference in unfinished.values()
            if inference.status in ("queued", "running")
        ]
        if failing:
            _, late = await asyncio.wait(failing, timeout=_FAIL_SECONDS)
            for task in late:
                task.cancel()
            if late:
                _log.error("failure objects that were not written in time: %d", len(late))
        await self._objects.aclose()

    async def _run(self, inference: AsyncInference, call: Call, deployment: Deployment) -> None:
        seconds = _NOT_READY_SECONDS
        while not await self._is_done(inference, call, deployment):
            await asyncio.sleep(seconds)
            seconds = min(2 * seconds, _MAX_NOT_READY_SECONDS)

    async def _is_done(self, inference: AsyncInference, call: Call, deployment: Deployment) -> bool:
        """Runs an inference to its end; False where the model is not ready, and it waits on."""
        async with self._slots:
            try:
                await self._complete(inference, call, deployment)
            except (Refusal, ObjectsError) as error:
                if isinstance(error, Refusal) and error.code == "ModelNotReadyException":
                    inference.status = "queued"
                    return False
                await self._fail(inference, str(error))
            except Exception:  # noqa: BLE001 - whoever waits for the result has to hear of it
                _log.exception("async inference %s was not run", inference.inference_id)
                await self._fail(inference, "The local endpoint failed: see its log.")
        return True

    async def _complete(
        self, inference: AsyncInference, call: Call, deployment: Deployment
    ) -> None:
        ttl = int(call.parameters.get("request_ttl_seconds", _REQUEST_TTL_SECONDS))
        if self._clock() - inference.accepted_at > timedelta(seconds=ttl):
            await self._fail(inference, f"The request waited longer than {ttl} seconds.")
            return
        inference.status = "running"
        location = call.parameters.get("input_location")
        body = call.body if location is None else await self._objects.read(location)
        limit = call.parameters.get("invocation_timeout_seconds", _INVOCATION_TIMEOUT_SECONDS)
        answer, output = await whole_answer(
            deployment,
            call.to_container(body),
            seconds=float(limit),
            limit=_MAX_OUTPUT_LENGTH,
            region=self._region,
        )
        await self._objects.write(inference.output_location, output, answer.content_type)
        inference.status = "completed"

    async def _fail(self, inference: AsyncInference, reason: str) -> None:
        _log.warning(  # not why: that may quote the input
            "async inference %s of endpoint %s failed: see %s",
            inference.inference_id,
            inference.endpoint_name,
            inference.failure_location or "the model's own log",
        )
        if inference.failure_location is not None:
            try:
                await self._objects.write(
                    inference.failure_location, reason.encode(), "text/plain; charset=utf-8"
                )
            except ObjectsError as error:
                _log.error("its failure object was not written: %s", error)
        inference.status = "failed"
