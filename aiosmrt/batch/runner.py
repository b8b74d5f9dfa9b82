"""A file of records through an endpoint into a file of results."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from aiosmrt.batch.answers import RecordFaultError, answer_lines, fault_line
from aiosmrt.batch.output import IndexSet, OutputError, OutputFile, RunFile
from aiosmrt.batch.records import RecordFile, open_records
from aiosmrt.batch.report import require_matplotlib, write_report
from aiosmrt.batch.statistics import Statistics
from aiosmrt.batch.tables import converter
from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from aiosmrt.batch.records import Record
    from aiosmrt.batch.statistics import BatchSummary, Progress
    from aiosmrt.concurrency import BatchItems
    from aiosmrt.models import InvokeEndpointOutput, Timeouts
    from aiosmrt.retries import RetryPolicy
    from aiosmrt.session import Session

__all__ = ["run"]

# How often `progress` is called.
_PROGRESS_SECONDS = 0.25
# Read ahead in one go of the thread: enough to be worth it, little enough to hold.
_RECORDS_AT_ONCE = 256
_BYTES_AT_ONCE = 1_048_576
# What a crash of the machine, not of the process, can cost beyond what is under way.
_SYNC_SECONDS = 1.0
# Copying this much into the system's cache takes some 30 microseconds.
_WRITE_OFF_LOOP = 65_536

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_T = TypeVar("_T")


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
    report: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    handle_signals: bool = False,
    drain_timeout: float = 30.0,
    content_type: str | None = None,
    accept: str | None = None,
    custom_attributes: str | None = None,
    target_model: str | None = None,
    target_variant: str | None = None,
    target_container_hostname: str | None = None,
    enable_explanations: str | None = None,
    inference_component_name: str | None = None,
    timeouts: Timeouts | None = None,
    retries: RetryPolicy | None = None,
) -> BatchSummary:
    """Invokes an endpoint for every record of a file, and writes a line for each.

        async with aiosmrt.Session(region="eu-west-1") as session:
            summary = await aiosmrt.batch.run(session, "my-endpoint", "in.jsonl", "out.jsonl")

    A line of the output is ``{"key", "index", "output", "content_type", "error",
    "attempts", "latency"}``, in the order in which answers come. A record that fails has
    its line too, and is not tried again by a later run. Beside the output lies
    ``OUTPUT.run``, which holds what a later run must be given again, and the lock.

    Cancelled, it stops at once; what is in the output stays whole and can be resumed, as
    after a crash: the records under way are sent again then, no other.

    Args:
        session: Makes the calls. Give it ``max_connections`` of at least ``concurrency``.
        endpoint_name: The endpoint.
        input: A ``.jsonl`` (or ``.ndjson``, ``.json``) file of one JSON value a line,
            each sent as it stands; a ``.csv`` file, each row sent without the key's column;
            a ``.parquet`` file, each row sent as a JSON object.
        output: A ``.jsonl``, ``.csv`` or ``.parquet`` file. The last two appear when all
            is done, made from a journal beside them, ``OUTPUT.jsonl``.
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
        report: Where to write an HTML page with plots of this run; needs matplotlib.
        progress: Called four times a second, and at the end.
        handle_signals: Whether SIGINT and SIGTERM end the run by reading no further and
            waiting for what is under way; a second one does not wait. In the main thread.
        drain_timeout: The seconds of that wait.
        content_type: The requests' MIME type; None is the input format's:
            ``application/json``, ``text/csv``, several JSON records ``application/jsonlines``.
        accept: The MIME type wanted of the answers.
        custom_attributes: Passed to the container.
        target_model: The model of a multi-model endpoint.
        target_variant: The production variant.
        target_container_hostname: The container of a multi-container endpoint.
        enable_explanations: A JMESPath expression for Clarify.
        inference_component_name: The inference component.
        timeouts: Each request's time limits in place of the session's.
        retries: Each request's retry policy in place of the session's.

    Returns:
        How it ended. ``failed`` counts the lines that tell an error; ``is_complete`` is
        False when a signal ended it.

    Raises:
        ConfigurationError: The output is there and ``resume`` was not given; it is of
            another input or of other parameters; another run is writing it; a format is
            not known.
        ParameterValidationError: A parameter breaks its constraint.
        OutputError: The output cannot be written: a full disk.
        OSError: The input cannot be read.
    """
    if report is not None:
        require_matplotlib()
    paths = _Paths(Path(input), Path(output))
    form = _Form(open_records(paths.input, key_field, header=header), records_per_request)
    parameters: dict[str, Any] = {"content_type": content_type or form.content_type()}
    parameters |= {"accept": accept, "custom_attributes": custom_attributes}
    parameters |= {"target_model": target_model, "target_variant": target_variant}
    parameters["target_container_hostname"] = target_container_hostname
    parameters["enable_explanations"] = enable_explanations
    parameters["inference_component_name"] = inference_component_name
    how: dict[str, Any] = {"concurrency": concurrency, "max_concurrency": max_concurrency}
    how |= {"rate": rate, "timeouts": timeouts, "retries": retries}
    facts = {"endpoint_name": endpoint_name, "region": session.region, **parameters}
    facts |= {"key_field": key_field, "header": header, "records_per_request": records_per_request}
    files = _Files(paths)
    try:
        await files.open(form.records, facts, resume=resume)
        batch = _Run(files, form)
        items = session.invoke_many(endpoint_name, batch.requests(), **how, **parameters)
        with batch.drain_on_signals(drain_timeout) if handle_signals else nullcontext():
            await batch.consume(items, progress)
        return await files.finish(batch.statistics, Path(report) if report else None)
    finally:
        await files.close()


@attrs.frozen
class _Form:
    """How records become requests.

    Attributes:
        records: The input.
        size: How many records one request carries.
    """

    records: RecordFile
    size: int

    def __attrs_post_init__(self) -> None:
        if type(self.size) is not int or self.size < 1:
            raise ConfigurationError("records_per_request must be an integer of at least 1")

    def content_type(self) -> str:
        """Of a request."""
        return self.records.content_type if self.size == 1 else self.records.joined_content_type


class _Paths:
    """Where a run reads and writes."""

    def __init__(self, source: Path, output: Path) -> None:
        self.input = source
        self.output = output
        self.convert = converter(output)
        # The file that lines are appended to.
        self.lines = output
        if self.convert is not None:
            self.lines = output.with_name(output.name + ".jsonl")
        if source.resolve() in (output.resolve(), self.lines.resolve()):
            raise ConfigurationError("the output must not be the input")


class _Files:
    """The files of a run, and the threads in which they are read and written."""

    def __init__(self, paths: _Paths) -> None:
        self._paths = paths
        # One to read, one to write: neither waits for the other.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="aiosmrt-batch")
        self._run_file: RunFile | None = None
        self._lines: OutputFile | None = None
        self._unwritten: list[bytes] = []
        self._flushing: asyncio.Task[None] | None = None
        self._synced_at = time.monotonic()
        self._failure: OutputError | None = None
        self.total = 0

    @property
    def lines(self) -> OutputFile:
        """The lines that are there."""
        assert self._lines is not None  # noqa: S101 - for the type checker: after `open`
        return self._lines

    async def do(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Calls a function that blocks."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    async def open(self, records: RecordFile, facts: dict[str, Any], *, resume: bool) -> None:
        """Locks the output, checks it against the input, and reads what is there."""
        await self.do(partial(self._open, records, facts, resume=resume))

    def _open(self, records: RecordFile, facts: dict[str, Any], *, resume: bool) -> None:
        paths = self._paths
        if not paths.input.is_file():
            raise ConfigurationError(f"the input {paths.input} is not a file")
        self._run_file = RunFile(paths.output)
        begun = [path for path in (paths.output, paths.lines) if _has_content(path)]
        if begun and not resume:
            raise ConfigurationError(
                f"{begun[0]} is there already: resume goes on with it (--resume), "
                "or remove it to begin anew"
            )
        survey = records.survey()
        facts = {"input": attrs.asdict(survey), **facts}
        if begun:
            self._run_file.check(facts)
        else:
            self._run_file.write(facts)
        self.total = survey.count
        self._lines = OutputFile(paths.lines, IndexSet(survey.count))
        if paths.lines not in begun and paths.output in begun:
            # All was done, made into the output, and the journal removed.
            for index in range(survey.count):
                self._lines.done.add(index)
        else:
            self._lines.open(survey.count)

    def append(self, lines: list[bytes]) -> None:
        """Writes lines: at once where that takes microseconds, else soon, in a thread.

        Raises:
            OutputError: These lines, or some before them, could not be written.
        """
        if self._failure is not None:
            raise self._failure
        if self._flushing is not None:
            self._unwritten += lines
            return
        data = b"".join(lines)
        if time.monotonic() - self._synced_at < _SYNC_SECONDS and len(data) < _WRITE_OFF_LOOP:
            # Into the system's cache: less than handing it to a thread would take.
            self.lines.append(data)
            return
        self._unwritten.append(data)
        self._flushing = asyncio.create_task(self._flush())

    async def _flush(self) -> None:
        """Writes what waits; a sync comes due now and then, and writing waits for it."""
        try:
            while self._unwritten:
                data = b"".join(self._unwritten)
                self._unwritten = []
                await self.do(self.lines.append, data)
                if time.monotonic() - self._synced_at >= _SYNC_SECONDS:
                    await self.do(self.lines.sync)
                    self._synced_at = time.monotonic()
        except OutputError as error:
            self._failure = error
        finally:
            self._flushing = None

    async def flush(self) -> None:
        """Waits until the lines handed over are written.

        Raises:
            OutputError: They could not be.
        """
        if self._flushing is not None:
            await asyncio.wait([self._flushing])
        if self._failure is not None:
            raise self._failure

    async def finish(self, statistics: Statistics, report: Path | None) -> BatchSummary:
        """Brings the lines onto the disk, and makes of them what is made of them."""
        paths = self._paths
        await self.flush()
        await self.do(self.lines.close)
        summary = statistics.summary(now=time.monotonic())
        if paths.convert is not None and summary.is_complete and paths.lines.exists():
            await self.do(paths.convert, paths.lines)
            await self.do(paths.lines.unlink)
        if report is not None:
            await self.do(write_report, report, statistics, summary, paths.input.name)
        return summary

    async def close(self) -> None:
        """Closes what is open, and gives the lock back."""
        try:
            if self._flushing is not None:
                await asyncio.wait([self._flushing])
            if self._lines is not None:
                await self.do(self._lines.close)
        finally:
            self._threads.shutdown(wait=False)
            if self._run_file is not None:
                self._run_file.close()


class _Run:
    """What happens between the files."""

    def __init__(self, files: _Files, form: _Form) -> None:
        self._files = files
        self._form = form
        self._is_stopping = False
        self._consuming: asyncio.Future[None] | None = None
        self._is_forced = False
        lines = files.lines
        self.statistics = Statistics(
            files.total, len(lines.done), lines.failed, now=time.monotonic()
        )

    async def requests(self) -> AsyncIterator[tuple[list[Record], bytes]]:
        """The requests: their records in the place of the key, and their bodies."""
        done = self._files.lines.done
        source = self._form.records.read(lambda index: index not in done)
        while chunk := await self._files.do(_take, source):
            size = self._form.size
            for first in range(0, len(chunk), size):
                if self._is_stopping:
                    return
                group = chunk[first : first + size]
                if faulty := [record for record in group if record.fault is not None]:
                    self._refuse(faulty)
                    group = [record for record in group if record.fault is None]
                if group:
                    # An answered record counts as under way until its line is written:
                    # no crash then costs more than `concurrency` requests.
                    await self._files.flush()
                    yield group, b"\n".join([record.body for record in group])

    def _refuse(self, records: list[Record]) -> None:
        errors: list[str | None] = [RecordFaultError.__name__] * len(records)
        self.statistics.add(errors, attempts=0, latency=None, concurrency=0, now=time.monotonic())
        self._files.append([fault_line(record) for record in records])

    async def consume(
        self, items: BatchItems[InvokeEndpointOutput], progress: Callable[[Progress], None] | None
    ) -> None:
        """Writes a line for every record, to the end or until it is told to stop."""
        ticking = None
        if progress is not None:
            ticking = asyncio.ensure_future(self._tick(items, progress))
        self._consuming = asyncio.ensure_future(self._consume(items))
        try:
            await self._consuming
        except asyncio.CancelledError:
            if not self._is_forced:
                raise
        finally:
            if ticking is not None:
                ticking.cancel()
                await asyncio.wait([ticking])
        if progress is not None:
            progress(self._progress(items))

    async def _consume(self, items: BatchItems[InvokeEndpointOutput]) -> None:
        async with items:
            async for item in items:
                lines, errors = answer_lines(item.key, item)
                self.statistics.add(
                    errors,
                    attempts=item.attempts,
                    latency=item.latency if item.attempts else None,
                    concurrency=items.concurrency,
                    now=time.monotonic(),
                )
                self._files.append(lines)

    async def _tick(
        self, items: BatchItems[InvokeEndpointOutput], progress: Callable[[Progress], None]
    ) -> None:
        while True:
            progress(self._progress(items))
            await asyncio.sleep(_PROGRESS_SECONDS)

    def _progress(self, items: BatchItems[InvokeEndpointOutput]) -> Progress:
        return self.statistics.progress(
            concurrency=items.concurrency,
            in_flight=items.in_flight,
            is_stopping=self._is_stopping,
            now=time.monotonic(),
        )

    @contextlib.contextmanager
    def drain_on_signals(self, timeout: float) -> Generator[None]:
        """Stops on the first SIGINT or SIGTERM, and at once on the second."""
        loop = asyncio.get_running_loop()
        timers: list[asyncio.TimerHandle] = []

        def stop() -> None:
            if self._is_stopping:
                self._force()
            self._is_stopping = True
            timers.append(loop.call_later(timeout, self._force))

        def on_signal(_number: int, _frame: object) -> None:
            loop.call_soon_threadsafe(stop)

        # Not the loop's own handlers: those are not on Windows, and could not give back
        # the ones that were there.
        before = {number: signal.signal(number, on_signal) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            for timer in timers:
                timer.cancel()

    def _force(self) -> None:
        self._is_forced = True
        if self._consuming is not None:
            self._consuming.cancel()


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _take(source: Iterator[Record]) -> list[Record]:
    """The next records, as many as are worth a turn of the thread."""
    records: list[Record] = []
    size = 0
    for record in source:
        records.append(record)
        size += len(record.body)
        if len(records) == _RECORDS_AT_ONCE or size > _BYTES_AT_ONCE:
            break
    return records
