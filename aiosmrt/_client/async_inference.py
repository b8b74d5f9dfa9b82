"""The handle of an async inference, and its result out of S3."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import aclosing
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aiosmrt._client.atomic_file import AtomicFile
from aiosmrt._protocol.models import AsyncInferenceResult
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_ASYNC
from aiosmrt._protocol.serialize import add_call, body_bytes, serialize
from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.object_errors import is_absence, is_older, is_passing
from aiosmrt._s3.upload_parts import read_regular
from aiosmrt._values import is_finite, printable
from aiosmrt.errors import (
    AiosmrtError,
    AsyncInferenceError,
    DeadlineExceededError,
    ParameterValidationError,
    ServiceError,
    TransportError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiosmrt._protocol.models import Body, ResponseMetadata
    from aiosmrt._s3.object_store import ObjectStore, StoredObject
    from aiosmrt._s3.result_poller import ResultPoller, Watch
    from aiosmrt._threads import Threads

__all__ = ["AsyncInvocation", "choose_input", "parse_time", "upload_input"]

_logger = logging.getLogger("aiosmrt.async_inference")

_POLL = 5.0
_BODY_LIMIT = 33_554_432
_FAILURE_LENGTH = 65_536


class AsyncInvocation:
    """An async inference that the service has accepted.

    ``await invocation.result()`` waits for its output. The handle holds nothing but these
    facts and its session: ``to_dict()`` saves them, ``session.async_invocation(**facts)``
    brings the handle back, in another process too.

    Attributes:
        inference_id: The inference's id, None where it was not told.
        output_location: The S3 URI at which the output will lie.
        failure_location: The S3 URI at which a failure object would lie, None for none.
        accepted_at: When the service accepted it, by the service's clock: its response's
            ``Date``. None where that is not known.
        metadata: The accepting response's, None for a handle made from saved facts.
        endpoint_name: The endpoint that was called, None for such a handle too.
    """

    __module__ = "aiosmrt"

    def __init__(
        self,
        *,
        inference_id: str | None,
        output_location: str | None,
        failure_location: str | None,
        accepted_at: datetime | None,
        metadata: ResponseMetadata | None,
        poller: ResultPoller,
        endpoint_name: str | None = None,
    ) -> None:
        self.inference_id = inference_id
        self.output_location = output_location
        self.failure_location = failure_location
        self.accepted_at = accepted_at
        self.metadata = metadata
        self._poller = poller
        self.endpoint_name = endpoint_name

    def __repr__(self) -> str:
        return f"<AsyncInvocation {self.inference_id} to {self.output_location}>"

    def to_dict(self) -> dict[str, str | None]:
        """The facts to save: strings and None, as JSON has them.

        Returns:
            The keywords of ``session.async_invocation``.
        """
        return {
            "inference_id": self.inference_id,
            "output_location": self.output_location,
            "failure_location": self.failure_location,
            "accepted_at": None if self.accepted_at is None else self.accepted_at.isoformat(),
        }

    async def result(
        self,
        timeout: float | None = None,
        *,
        poll: float = _POLL,
        body_limit: int | None = _BODY_LIMIT,
    ) -> AsyncInferenceResult:
        """Waits until the output or the failure object is in S3.

        The first look comes at once, the pauses between further ones grow up to ``poll``.
        Handles of one session whose objects have a common prefix share looks. After a
        timeout or a cancellation it can be called again; nothing is lost.

        An object last modified in a second before ``accepted_at`` belongs to an earlier
        inference with the same ``filename`` or ``s3_output_path_extension``, and is taken as
        not there. Where ``accepted_at`` is None, whatever object is there is the result.
        Inferences that are under way at the same time need locations of their own.

        Args:
            timeout: Seconds to wait, the reading of the output included; None for no limit.
            poll: The longest pause between two looks, in seconds.
            body_limit: Up to this many bytes the output is read into ``body``. A longer one
                stays in S3: take it with ``await result.save(path)`` or
                ``await result.read()``. None reads an output of any length.

        Returns:
            The output: ``body``, ``content_type``, ``size``, ``save()``.

        Raises:
            AsyncInferenceError: The inference failed, with the failure object's text.
            DeadlineExceededError: Neither object came within ``timeout`` seconds.
            ServiceError: S3 refuses to hand the output out, or has no such bucket.
            TransportError: S3 cannot be reached, or the session was closed.
            CredentialsError: There are no credentials.
            ParameterValidationError: A location is not an S3 URI, or a number not one above 0.
            AiosmrtError: Other code cancelled the looking, or it failed unexpectedly.
        """
        if timeout is not None:
            _check_seconds("timeout", timeout)
        _check_seconds("poll", poll)
        if self.output_location is None:
            raise ParameterValidationError("output_location", "is needed for the result")
        output = S3Location.parse(self.output_location, "output_location")
        failure = None
        if self.failure_location is not None:
            failure = S3Location.parse(self.failure_location, "failure_location")
        wait = _Wait(self, self._poller, output=output, failure=failure, poll=poll)
        try:
            return await self._poller.wait_for(wait.run(body_limit), timeout)
        except AiosmrtError:
            raise  # a ReadTimeoutError is an asyncio.TimeoutError too
        except asyncio.TimeoutError:
            raise wait.too_late(timeout) from None
        finally:
            wait.close()


async def upload_input(
    store: ObjectStore, body: Body | os.PathLike[str], location: str, content_type: str | None
) -> str:
    """Puts an input into S3; see ``Session.upload_input``."""
    parsed = _new_location(location, "location")
    data = body if isinstance(body, os.PathLike) else body_bytes(body)
    await store.put(parsed, data, content_type=content_type)
    return str(parsed)


def _new_location(location: str, parameter: str) -> S3Location:
    """Where to put an input: a name of its own below ``s3://bucket/prefix/``."""
    if isinstance(location, str) and location.startswith("s3://") and location[5:].endswith("/"):
        location += uuid4().hex
    return S3Location.parse(location, parameter)


async def choose_input(
    store: ObjectStore,
    threads: Threads,
    how: str | None,
    body: Body | os.PathLike[str] | None,
    parameters: Mapping[str, Any],
) -> tuple[Body | None, Mapping[str, Any]]:
    """Decides how an input travels: with the request, or through S3.

    Args:
        store: S3.
        threads: Where a file is read.
        how: ``auto`` to choose by its length.
        body: The input, or the path of a file that holds it.
        parameters: All others; ``input_location`` is where to put the input if it is long.

    Returns:
        The body and the parameters to send; a long input is in S3. All of them are checked
        before.

    Raises:
        ParameterValidationError: They do not fit together, or one breaks its constraint.
        AiosmrtError: As ``Session.upload_input``.
        OSError: As ``Session.upload_input``.
    """
    location = parameters["input_location"]
    if how is None:
        raise ParameterValidationError("body", 'may be a path only with input="auto"')
    if how != "auto":
        raise ParameterValidationError("input", 'must be "auto" or None')
    if body is None:
        raise ParameterValidationError("body", 'is required with input="auto"')
    target = None if location is None else _new_location(location, "input_location")
    if isinstance(body, os.PathLike):
        length = (await threads.run(os.stat, body)).st_size
    else:
        body = body_bytes(body)
        length = len(body)
    limit = INVOKE_ENDPOINT_ASYNC.max_body_length
    if length <= limit:
        if isinstance(body, os.PathLike):
            content: Body = await threads.run(read_regular, body, limit + 1)
        else:
            content = body
        return content, {**parameters, "input_location": None}
    if target is None:
        rule = f"must say where in S3 to put a body of more than {limit} bytes"
        raise ParameterValidationError("input_location", rule, length=length)
    parameters = {**parameters, "input_location": str(target)}
    serialize(INVOKE_ENDPOINT_ASYNC, None, parameters)  # a refused request uploads nothing
    await store.put(target, body, content_type=parameters["content_type"])
    return None, parameters


class _Wait:
    """One wait for one result."""

    def __init__(
        self,
        invocation: AsyncInvocation,
        poller: ResultPoller,
        *,
        output: S3Location,
        failure: S3Location | None,
        poll: float,
    ) -> None:
        self._invocation = invocation
        self._store = poller.store
        self._poller = poller
        self._output = output
        self._poll = poll
        self._failure = failure
        self._watches: dict[S3Location, Watch] = {}
        # The failure object's text, while the output is asked for once more.
        self._reason: str | None = None

    def close(self) -> None:
        for watch in self._watches.values():
            watch.close()

    async def run(self, body_limit: int | None) -> AsyncInferenceResult:
        await self._poller.pace.wait()
        # The output first: where both have arrived in one turn of the loop, it counts.
        self._watch(self._output)
        if self._failure is not None and self._failure != self._output:
            self._watch(self._failure)
        while True:
            await asyncio.wait(
                [watch.arrived for watch in self._watches.values()],
                return_when=asyncio.FIRST_COMPLETED,
            )
            watch = next(watch for watch in self._watches.values() if watch.arrived.done())
            is_output = watch.location == self._output
            try:
                found = watch.arrived.result()
            except (ServiceError, TransportError) as error:
                if is_output:
                    raise
                _logger.warning("no longer looking for a failure object: %s", error)
                del self._watches[watch.location]
                continue
            try:
                result = await self._read(watch, found, body_limit)
                if result is not None:
                    return result
            except AsyncInferenceError:
                raise
            except AiosmrtError as error:
                if not (is_absence(error) or is_older(error) or is_passing(error)):
                    if is_output:
                        raise
                    raise self._failed(f"its failure object cannot be read ({error})") from error
                # Deleted since, or lost on its way: as if it had not come yet.
                _logger.warning("looking again for %s: %s", printable(str(watch.location)), error)
                watch.note(error if is_passing(error) else None)
                watch.has_seen_older = watch.has_seen_older or is_older(error)
            self._watch(watch.location, watch)

    def _watch(self, location: S3Location, before: Watch | None = None) -> None:
        """Begins to look for an object, again where a wait for the same one has ended."""
        pause = None if before is None else before.pause
        watch = self._poller.watch(
            location, cap=self._poll, pause=pause, since=self._invocation.accepted_at
        )
        if before is not None:
            watch.go_on_from(before)
        self._watches[location] = watch

    async def _open(self, watch: Watch) -> StoredObject | None:
        """Asks for an object that was listed; None if an older one has come back since."""
        found = await self._store.get(watch.location, modified_since=watch.since, purpose="read")
        if watch.accepts(found.last_modified):
            return found
        found.close()
        return None

    async def _read(
        self, watch: Watch, found: StoredObject | None, body_limit: int | None
    ) -> AsyncInferenceResult | None:
        """Reads what has arrived; None if an older object has come back in its place."""
        found = found or await self._open(watch)
        if found is None:
            return None
        if watch.location == self._output:
            return await self._finish(found, body_limit)
        self._reason = await _read_text(found)
        output = await self._find_output()
        if output is None:
            raise self._failed(self._reason)
        self._reason = None
        return await self._finish(output, body_limit)

    async def _find_output(self) -> StoredObject | None:
        """Asks for the output once more, which counts where the failure object is there too."""
        try:
            return await self._open(self._watches[self._output])
        except AiosmrtError:
            return None

    async def _finish(self, found: StoredObject, body_limit: int | None) -> AsyncInferenceResult:
        fits = body_limit is None or found.size <= body_limit
        body = await found.read() if fits else None
        found.close()
        return AsyncInferenceResult(
            output_location=str(found.location),
            content_type=found.content_type,
            size=found.size,
            body=body,
            source=_Output(self._poller, found),
        )

    def _failed(self, reason: str) -> AsyncInferenceError:
        error = AsyncInferenceError(
            f"The async inference failed: {reason}",
            inference_id=self._invocation.inference_id,
            failure_location=self._invocation.failure_location,
        )
        self._describe(error)
        return error

    def _describe(self, error: AiosmrtError) -> None:
        """Adds the call that queued the inference."""
        name, metadata = self._invocation.endpoint_name, self._invocation.metadata
        request_id = None if metadata is None else metadata.request_id
        add_call(error, INVOKE_ENDPOINT_ASYNC.name, name, request_id=request_id)

    def too_late(self, timeout: float | None) -> AsyncInferenceError | DeadlineExceededError:
        """The error for a wait that took too long: the failure's, where that is known."""
        if self._reason is not None:
            return self._failed(self._reason)
        name = self._invocation.inference_id
        text = (
            f"Neither output nor failure object of the inference {f'{name} ' if name else ''}"
            f"came within {timeout} s, and result() can be awaited again: {self._output}"
        )
        watches = self._watches.values()
        failure = next((watch.failure for watch in watches if watch.failure is not None), None)
        if failure is not None:
            text += f". The last look failed: {type(failure).__name__}, {failure.message}"
        elif not any(watch.has_answer for watch in watches):
            text += ". S3 had not answered the first look yet"
        if any(watch.is_ambiguous for watch in watches):
            text += (
                ". S3 answered 403 each time, as for an object that is not there where "
                "s3:ListBucket is not allowed, and for one that s3:GetObject does not allow to read"
            )
        if older := [str(watch.location) for watch in watches if watch.has_seen_older]:
            text += (
                f". What lies at {' and '.join(older)} was last modified before "
                f"{self._invocation.accepted_at}, when the service accepted this inference: it is "
                "an earlier one's"
            )
        error = DeadlineExceededError(text)
        self._describe(error)
        return error


class _Output:
    """The bytes of one version of an output, in S3."""

    def __init__(self, poller: ResultPoller, found: StoredObject) -> None:
        self._poller = poller
        self._location = found.location
        self._etag = found.etag
        self._version = _version(found)

    async def read(self) -> bytes:
        """Reads it whole."""
        return await self._poller.wait_for(self._read(), None)

    async def save(self, path: str | os.PathLike[str], body: bytes | None) -> None:
        """Writes it to a file, from S3 where ``body`` is None."""
        async with AtomicFile(path, self._poller.threads) as file:
            if body is not None:
                await file.write(body)
            else:
                await self._poller.wait_for(self._copy(file), None)

    async def _read(self) -> bytes:
        return await (await self._open()).read()

    async def _copy(self, file: AtomicFile) -> None:
        async with aclosing((await self._open()).chunks()) as chunks:
            async for chunk in chunks:
                await file.write(chunk)

    async def _open(self) -> StoredObject:
        store = self._poller.store
        found = await store.get(self._location, etag=self._etag, purpose="download")
        if _version(found) == self._version:
            return found
        # An S3 that knows no If-Match, or no tags.
        found.close()
        raise TransportError(f"{self._location} was overwritten since result() returned")


def _version(found: StoredObject) -> tuple[str | None, int, datetime | None]:
    return found.etag, found.size, found.last_modified


async def _read_text(found: StoredObject) -> str:
    """What a failure object says, as far as an error should carry it."""
    text = b""
    async with aclosing(found.chunks()) as chunks:
        async for chunk in chunks:
            text += chunk
            if len(text) >= _FAILURE_LENGTH:
                break
    said = text[:_FAILURE_LENGTH].decode(errors="replace").strip()
    return said or "its failure object is empty"


def parse_time(parameter: str, value: datetime | str | None) -> datetime | None:
    """Reads a time that a caller gives, as text in the form of ISO 8601 or as it is.

    Raises:
        ParameterValidationError: The text is no time, or the time has no zone.
    """
    if value is None:
        return None
    rule = "must be a datetime with a time zone, or its text: 2026-01-02T03:04:05+00:00"
    time = value
    try:
        if isinstance(time, str):
            # Python 3.10 does not read the Z.
            time = datetime.fromisoformat(time[:-1] + "+00:00" if time[-1:] == "Z" else time)
        if isinstance(time, datetime) and time.tzinfo is not None:
            return time.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        pass
    raise ParameterValidationError(
        parameter, rule, length=len(value) if isinstance(value, str) else None
    )


def _check_seconds(name: str, value: float) -> None:
    if not is_finite(value) or value <= 0:
        raise ParameterValidationError(name, "must be a finite number of seconds above 0")
