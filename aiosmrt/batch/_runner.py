"""A file of records through an endpoint into a file of results."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import signal
import time
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs

from aiosmrt._client.client import check_count
from aiosmrt._client.many import give_all
from aiosmrt._protocol.operations import INVOKE_ENDPOINT
from aiosmrt._protocol.serialize import check_parameters
from aiosmrt.batch._answers import (
    Lines,
    RecordFaultError,
    answer_lines,
    answer_lines_in_turns,
    fault_line,
)
from aiosmrt.batch._files import Paths, RunFiles
from aiosmrt.batch._records import RecordFile, open_records
from aiosmrt.batch._requests import Requests
from aiosmrt.batch._statistics import Statistics
from aiosmrt.errors import ConfigurationError, CredentialsError
from aiosmrt.framing._json_pieces import LONG

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable, Generator

    from typing_extensions import Unpack

    from aiosmrt._aws.retries import RetryPolicy
    from aiosmrt._client.many import BatchItem, BatchItems
    from aiosmrt._client.session import Session
    from aiosmrt._protocol.models import InvokeEndpointOutput, Timeouts
    from aiosmrt._protocol.parameters import InvokeParameters
    from aiosmrt.batch._records import Record
    from aiosmrt.batch._statistics import BatchSummary, Progress

__all__ = ["PROGRESS_SECONDS", "run"]

PROGRESS_SECONDS = 0.25
"""How often `progress` is called."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run(
    session: Session,
    endpoint_name: str,
    input: str | os.PathLike[str],  # noqa: A002 - the word users look for
    output: str | os.PathLike[str],
    *,
    concurrency: int | Literal["auto"] = 64,
    max_concurrency: int | None = None,
    rate: float | None = None,
    records_per_request: int = 1,
    key_field: str | None = None,
    header: bool = False,
    resume: bool = False,
    retry_failed: bool = False,
    report: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    handle_signals: bool = False,
    drain_timeout: float = 30.0,
    timeouts: Timeouts | None = None,
    retries: RetryPolicy | None = None,
    **parameters: Unpack[InvokeParameters],
) -> BatchSummary:
    """Invokes an endpoint for every record of a file, and writes a line for each.

        async with aiosmrt.Session(region="eu-west-1") as session:
            summary = await aiosmrt.batch.run(session, "my-endpoint", "in.jsonl", "out.jsonl")

    A line of the output is ``{"key", "index", "output", "content_type", "error",
    "attempts", "latency"}``, in the order in which answers come. A record that fails has
    its line too, and is tried again by a later run only where that is asked for. An answer
    in JSON stands in its line as it came, unless it is nested too deeply for this version
    of Python to read: then its text does, as a string. Beside
    the output lies ``OUTPUT.run``, which holds what a later run must be given again, and
    the lock.

    A cancelled run stops at once. Its output stays whole and can be resumed, as after a
    crash: only the records that were under way are sent again.

    Args:
        session: Makes the calls. Give it ``max_connections`` of at least ``concurrency``.
        endpoint_name: The endpoint.
        input: A ``.jsonl`` (or ``.ndjson``, ``.json``) file of one JSON value a line,
            each sent as it stands; a ``.csv`` file, each row sent without the key's column;
            a ``.parquet`` file, each row sent as a JSON object. No two columns may have one
            name.
        output: A ``.jsonl``, ``.csv`` or ``.parquet`` file. The last two appear when all
            is done, made from a journal beside them, ``OUTPUT.jsonl``. Their columns ``key``
            and ``output`` are text, string columns in Parquet: a string as it is, and any
            other JSON value as it was written, so that no number is rounded. For a CSV file
            pandas keeps that text with ``dtype={"key": str, "output": str}``.
        concurrency: How many requests are under way at once; ``auto`` finds it out.
        max_concurrency: The most that ``auto`` goes to; None is the session's
            ``max_connections``.
        rate: The most requests a second; None is no limit.
        records_per_request: How many records one request carries, joined by newlines; the
            answer must have as many lines, or be a JSON list of as many elements (alone, or
            as ``predictions`` of an object). A request that fails fails all of its records.
        key_field: The field, or column, whose value is the key; without one, and where a
            record has no such field, the key is the index.
        header: Whether a CSV file's first line names its columns.
        resume: Goes on with an output that is there: what has a line is not sent again.
            Without an output, it begins one.
        retry_failed: With ``resume``, gives the lines up that tell an error, and sends their
            records again.
        report: Where to write an HTML page with plots of this run; needs matplotlib.
        progress: Called four times a second, and at the end. What it counts as done is
            written: a call may wait until lines are, and until a sync to the disk that is
            under way has ended.
        handle_signals: Whether SIGINT and SIGTERM end the run by reading no further and
            waiting for what is under way; a second one does not wait. In the main thread.
        drain_timeout: The seconds of that wait.
        timeouts: Each request's time limits in place of the session's.
        retries: Each request's retry policy in place of the session's.
        **parameters: The parameters of every request, as for `Session.invoke_many`. The
            default of ``content_type`` is the input format's: ``application/json`` (of
            several records ``application/jsonlines``), ``text/csv``.

    Returns:
        How it ended. ``failed`` counts the lines that tell an error; ``is_complete`` is
        False when a signal ended it.

    Raises:
        ConfigurationError: The output is there and ``resume`` was not given; it is of
            another input or of other parameters; another run is writing it; a format is
            not known; or the input was changed during the run: what was sent before that
            has its lines.
        ParameterValidationError: A parameter breaks its constraint.
        TypeError: InvokeEndpoint has no such parameter.
        CredentialsError: There are no credentials, or no more: no other record could be
            sent either. What has been done can be resumed.
        OutputError: The output cannot be written: a full disk. It can be resumed.
        OSError: The input cannot be read.
    """
    if retry_failed and not resume:
        raise ConfigurationError("retry_failed goes with resume")
    # What can be refused is refused before a file is touched.
    paths = Paths(input, output, report)
    form = _Form(open_records(paths.input, key_field, header=header), records_per_request)
    parameters["content_type"] = parameters.get("content_type") or form.content_type()
    given = {"endpoint_name": endpoint_name, **parameters}
    check_parameters(INVOKE_ENDPOINT, given)
    facts = {"region": session.region, **given}
    facts |= {"key_field": key_field, "header": header, "records_per_request": records_per_request}
    # From here on there are a lock, an output and threads, which `close` gives back.
    files = RunFiles(paths)
    try:
        await files.open(form.records, facts, resume=resume, retry_failed=retry_failed)
        batch = _Run(files, form)
        items = session.invoke_many(
            endpoint_name,
            batch.requests,
            concurrency=concurrency,
            max_concurrency=max_concurrency,
            rate=rate,
            timeouts=timeouts,
            retries=retries,
            **parameters,
        )
        with batch.drain_on_signals(drain_timeout) if handle_signals else nullcontext():
            await batch.consume(items, progress)
        return await files.finish(batch.statistics, batch.signal)
    finally:
        await files.close()


@attrs.frozen
class _Form:
    """How records become requests, so many in each."""

    records: RecordFile
    size: int

    def __attrs_post_init__(self) -> None:
        check_count("records_per_request", self.size)

    def content_type(self) -> str:
        """Of a request."""
        return self.records.content_type if self.size == 1 else self.records.joined_content_type


class _State(enum.Enum):
    """The states of a run, in their order."""

    RUNNING = enum.auto()
    """Records are read and sent."""
    DRAINING = enum.auto()
    """A signal came: no more records are read, and what is under way is waited for."""
    STOPPED = enum.auto()
    """That took too long, or a second signal came: what was under way is cancelled."""


class _Run:
    """What happens between the files.

    Attributes:
        requests: What is sent.
        signal: The signal that ended the reading, None for none.
        statistics: What has been counted.
    """

    def __init__(self, files: RunFiles, form: _Form) -> None:
        self._files = files
        self._form = form
        self._state = _State.RUNNING
        self.signal: int | None = None
        self._consuming: asyncio.Task[None] | None = None
        # The lines of long answers, by the index of the request.
        self._prepared: dict[int, Lines] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.requests = Requests(files, form.records, form.size, self._refuse)
        lines = files.lines
        self.statistics = Statistics(
            files.total, len(lines.done), lines.failed, now=time.monotonic()
        )

    def _refuse(self, records: list[Record]) -> None:
        errors = [RecordFaultError(record.fault or "") for record in records]
        self.statistics.add(errors, attempts=0, latency=None, concurrency=0, now=time.monotonic())
        self._files.append([fault_line(record) for record in records])

    async def consume(
        self, items: BatchItems[InvokeEndpointOutput], progress: Callable[[Progress], None] | None
    ) -> None:
        """Writes a line for every record, to the end or until the run is stopped."""
        consuming = self._consuming = asyncio.create_task(
            give_all(items, partial(self._write, items), self._prepare)
        )
        ticking = asyncio.create_task(self._tick(items, progress))
        try:
            await asyncio.wait([consuming, ticking], return_when=asyncio.FIRST_COMPLETED)
        finally:
            consuming.cancel()
            ticking.cancel()
            await asyncio.gather(consuming, ticking, return_exceptions=True)
        if not ticking.cancelled():
            ticking.result()  # what `progress` raised ends the run
        if not consuming.cancelled():
            consuming.result()
        elif self._state is not _State.STOPPED:
            # This call was not cancelled: a task group would take CancelledError for its end.
            raise RuntimeError("a task of the run was cancelled from outside: resume the run")
        if progress is not None:
            await self._files.flush()
            progress(self._progress(items))

    def _prepare(self, item: BatchItem[InvokeEndpointOutput]) -> Awaitable[None] | None:
        is_long = item.output is not None and len(item.output.body) > LONG
        return self._prepare_lines(item) if is_long else None

    async def _prepare_lines(self, item: BatchItem[InvokeEndpointOutput]) -> None:
        """Makes the lines of a long answer, and gives other tasks their turns meanwhile."""
        turns = answer_lines_in_turns(item.key, item, joined=self._form.size > 1)
        while True:
            try:
                next(turns)
            except StopIteration as end:
                self._prepared[item.index] = end.value
                return
            await asyncio.sleep(0)

    def _write(
        self, items: BatchItems[InvokeEndpointOutput], item: BatchItem[InvokeEndpointOutput]
    ) -> None:
        if isinstance(item.error, CredentialsError):
            raise item.error  # a million lines of it would help nobody
        prepared = self._prepared.pop(item.index, None)
        lines, errors = prepared or answer_lines(item.key, item, joined=self._form.size > 1)
        self.statistics.add(
            errors,
            attempts=item.attempts,
            latency=item.latency if item.attempts else None,
            concurrency=items.concurrency,
            now=time.monotonic(),
        )
        self._files.append(lines)

    async def _tick(
        self, items: BatchItems[InvokeEndpointOutput], progress: Callable[[Progress], None] | None
    ) -> None:
        while True:
            if progress is not None:
                await self._files.flush()  # progress reports only what is written
                progress(self._progress(items))
            self._files.sync_when_due()
            await asyncio.sleep(PROGRESS_SECONDS)

    def _progress(self, items: BatchItems[InvokeEndpointOutput]) -> Progress:
        return self.statistics.progress(
            concurrency=items.concurrency,
            in_flight=items.in_flight,
            is_stopping=self._state is not _State.RUNNING,
            now=time.monotonic(),
        )

    @contextlib.contextmanager
    def drain_on_signals(self, timeout: float) -> Generator[None]:
        """Drains on the first SIGINT or SIGTERM, and stops on the second."""
        loop = asyncio.get_running_loop()

        def on_signal(number: int, _frame: object) -> None:
            loop.call_soon_threadsafe(self._interrupt, number, timeout)

        # Not the loop's own handlers: those are not on Windows, and could not give back
        # the ones that were there.
        before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._timer is not None:
                self._timer.cancel()

    def _interrupt(self, number: int, timeout: float) -> None:
        if self._state is _State.RUNNING:
            self._drain(number, timeout)
        else:
            self._stop()

    def _drain(self, number: int, timeout: float) -> None:
        self._state = _State.DRAINING
        self.requests.stop()
        self.signal = number
        self._timer = asyncio.get_running_loop().call_later(timeout, self._stop)

    def _stop(self) -> None:
        self._state = _State.STOPPED
        if self._consuming is not None:
            self._consuming.cancel()
