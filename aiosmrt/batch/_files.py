"""The files of a run: checked against each other, locked, read and written in threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from aiosmrt._threads import Threads
from aiosmrt.batch._input_watch import InputWatch
from aiosmrt.batch._output import (
    PART_SUFFIX,
    IndexSet,
    OutputFile,
    RunFile,
    check_count_of_lines,
    run_path,
)
from aiosmrt.batch._report import require_matplotlib, write_report
from aiosmrt.batch._tables import converter
from aiosmrt.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiosmrt.batch._records import RecordFile
    from aiosmrt.batch._statistics import BatchSummary, Statistics

__all__ = ["SYNC_SECONDS", "Paths", "RunFiles"]

SYNC_SECONDS = 1.0
"""What a crash of the machine, not of the process, can cost beyond what is under way."""
# Copying this much into the system's cache takes less than 0.1 ms.
_WRITE_OFF_LOOP = 262_144

_T = TypeVar("_T")


class Paths:
    """Where a run reads and writes.

    Raises:
        ConfigurationError: Two are one file, a directory does not exist, a format is not
            known, or what it needs is not installed.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        output: str | os.PathLike[str],
        report: str | os.PathLike[str] | None,
    ) -> None:
        self.input = Path(source)
        self.report = None if report is None else Path(report)
        self.convert = converter(Path(output))
        # A link's target: what lies beside that is the same by all names.
        self.output = _target(Path(output))
        # The file that lines are appended to.
        self.lines = self.output
        if self.convert is not None:
            self.lines = self.output.with_name(self.output.name + ".jsonl")
        # The output's own permissions are its journal's too: that holds the same answers.
        self.mode = 0o666
        with contextlib.suppress(OSError):
            self.mode = stat.S_IMODE(self.output.stat().st_mode) & 0o666 | 0o600
        written = [self.output, self.lines, run_path(self.output)]
        parts = (self.output, self.lines)
        written += [path.with_name(path.name + PART_SUFFIX) for path in parts]
        if any(_are_one(path, self.input) for path in written):
            raise ConfigurationError("the output must not be the input")
        _check_directory("output", self.output)
        self._check_link(Path(output))
        if self.report is not None:
            # All that can be told of it before the work.
            require_matplotlib()
            for path in (self.input, *written):
                if _are_one(self.report, path):
                    raise ConfigurationError(
                        f"the report must not be {path}, which the run itself reads or writes: "
                        "give another name"
                    )
            _check_directory("report", self.report)

    def _check_link(self, link: Path) -> None:
        """Refuses to overlook a run that an earlier version began, whose files are beside a link.

        Raises:
            ConfigurationError: There are such.
        """
        places = {run_path(link): run_path(self.output)}
        if self.convert is not None:
            places[link.with_name(link.name + ".jsonl")] = self.lines
        moves = [f"{old} to {new}" for old, new in places.items() if _is_left(old, new)]
        if moves and not _has_content(run_path(self.output)):
            raise ConfigurationError(
                f"an earlier version of aiosmrt began a run through the link {link}, and left its "
                f"files beside it: to resume, move {' and '.join(moves)}; to begin anew, remove "
                "them and what the link leads to"
            )


class RunFiles:
    """What a run reads and writes, and the threads in which it does.

    Args:
        paths: Where they are.
        clock: What the seconds between two syncs are measured by.

    Attributes:
        is_closing: Is set when nobody waits any more for what is being read.
        total: How many records the input has.
        watch: Whether the input is still the same.
        held: Closes what reads the input, once no thread does.
    """

    total: int
    watch: InputWatch

    def __init__(self, paths: Paths, clock: Callable[[], float] = time.monotonic) -> None:
        self._paths = paths
        self._clock = clock
        # One to read, one to write: neither waits for the other.
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="aiosmrt-batch")
        self.is_closing = threading.Event()
        self.held = contextlib.ExitStack()
        self._run_file: RunFile | None = None
        self._lines: OutputFile | None = None
        self._facts: dict[str, Any] = {}
        self._unwritten: list[bytes] = []
        # A thread's write. Not a task: whoever cancels all tasks would leave the thread at work.
        self._flushing: asyncio.Future[None] | None = None
        self._synced_at = clock()
        self._is_unsynced = False
        self._failure: Exception | None = None

    @property
    def lines(self) -> OutputFile:
        """The lines that are there."""
        assert self._lines is not None  # noqa: S101 - for the type checker: after `open`
        return self._lines

    async def do(self, function: Callable[..., _T], *arguments: Any) -> _T:
        """Calls a function that blocks."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *arguments)

    async def open(
        self, records: RecordFile, facts: dict[str, Any], *, resume: bool, retry_failed: bool
    ) -> None:
        """Locks the output, checks it against the input, and reads what is there.

        ``facts`` are what a later run must be given again; ``retry_failed`` gives up the lines
        that tell an error.

        Raises:
            ConfigurationError: They do not go together.
            OutputError: The output cannot be written.
        """
        await self.do(partial(self._open, records, facts, resume=resume, retry=retry_failed))

    def _open(
        self, records: RecordFile, facts: dict[str, Any], *, resume: bool, retry: bool
    ) -> None:
        paths = self._paths
        if not paths.input.is_file():
            raise ConfigurationError(f"the input {paths.input} is not a file on this machine")
        self._run_file = RunFile(paths.output, paths.mode)
        self._lines = OutputFile(paths.lines, paths.mode)
        # A table that is whole has no journal any more.
        is_whole = paths.convert is not None and _has_content(paths.output)
        if not is_whole or paths.lines.exists():
            self._lines.claim()
        begun = [path for path in (paths.output, paths.lines) if _has_content(path)]
        if begun and not resume:
            raise ConfigurationError(
                f"{begun[0]} is there already: resume goes on with it (--resume), "
                "or remove it to begin anew"
            )
        self.watch = InputWatch(paths.input)
        survey = records.survey(self.is_closing)
        self.watch.digest = survey.digest
        self._facts = {"input": attrs.asdict(survey), **facts}
        if begun:
            self._run_file.check(self._facts)
        else:
            self._run_file.write(self._facts)
        self.total = survey.count
        if paths.lines in begun or not begun:
            if retry:
                self._lines.drop_failed()
            self._lines.open(survey.count, self.is_closing)
            return
        # All was done, made into the output, and the journal removed.
        self._lines.failed = self._run_file.failed()
        if retry and self._lines.failed:
            raise ConfigurationError(
                f"{paths.output} is complete: failed records can be tried again while their "
                "lines are there, or with a .jsonl output"
            )
        self._lines.done = IndexSet(survey.count)
        for index in range(survey.count):
            self._lines.done.add(index)

    def append(self, lines: list[bytes]) -> None:
        """Takes whole lines, which are written together by the end of this turn of the loop.

        ``write`` writes them before that, and where they are many they are written in a
        thread; ``flush`` waits for both.

        Raises:
            OutputError: Some lines before them could not be written.
        """
        if self._failure is not None:
            raise self._failure
        if not self._unwritten and self._flushing is None:
            asyncio.get_running_loop().call_soon(self._write_soon)
        self._unwritten += lines

    def _write_soon(self) -> None:
        if self.is_closing.is_set():  # `_close` writes what waits
            return
        with contextlib.suppress(Exception):  # the next caller gets the error
            self.write()

    def write(self) -> bool:
        """Writes the lines handed over, where that takes microseconds; else begins to.

        Returns:
            Whether all are written.

        Raises:
            OutputError: These lines, or some before them, could not be written.
        """
        if self._failure is not None:
            raise self._failure
        if self._flushing is not None:
            return False
        if not self._unwritten:
            return True
        data = b"".join(self._unwritten)
        if self._clock() - self._synced_at >= SYNC_SECONDS or len(data) >= _WRITE_OFF_LOOP:
            self._unwritten = [data]
            self._begin_flush()
            return False
        self._unwritten = []
        try:
            # Into the system's cache: less than handing it to a thread would take.
            self.lines.append(data)
        except Exception as error:
            self._failure = error
            raise
        self._is_unsynced = True
        return True

    def sync_when_due(self) -> None:
        """Brings what was written onto the disk, soon; to be called now and then.

        Where answers are few the next one, which would do it too, may take minutes.

        Raises:
            OutputError: Some lines could not be written; the calls under way may take minutes.
        """
        if self._failure is not None:
            raise self._failure
        if self._flushing is None and self._is_sync_due():
            self._begin_flush()

    def _is_sync_due(self) -> bool:
        return self._is_unsynced and self._clock() - self._synced_at >= SYNC_SECONDS

    def _begin_flush(self) -> None:
        """Lets a thread write all lines that wait; nothing else is written meanwhile."""
        data = b"".join(self._unwritten)
        loop = asyncio.get_running_loop()
        self._flushing = loop.run_in_executor(self._threads, self._flush, data)
        self._unwritten = []
        self._flushing.add_done_callback(self._end_flush)

    def _flush(self, data: bytes) -> None:
        """Writes lines, and syncs when that is due; runs in a thread."""
        try:
            if data:
                self.lines.append(data)
                self._is_unsynced = True
            if self._is_sync_due():
                self.lines.sync()
                self._is_unsynced = False
                self._synced_at = self._clock()
        except Exception as error:  # noqa: BLE001 - whatever it is, lines may be missing
            self._failure = error

    def _end_flush(self, _: asyncio.Future[None]) -> None:
        self._flushing = None
        self._write_soon()

    async def flush(self) -> None:
        """Waits until the lines handed over are written.

        Raises:
            OutputError: They could not be.
        """
        while not self.write():
            if self._flushing is not None:
                await asyncio.wait([self._flushing])

    async def finish(self, statistics: Statistics, signal: int | None) -> BatchSummary:
        """Brings the lines onto the disk, and makes of them what is made of them.

        Raises:
            ConfigurationError: The input was changed meanwhile.
            OutputError: It cannot be written.
        """
        paths = self._paths
        await self.flush()
        await self.do(self.lines.close)
        summary = statistics.summary(now=time.monotonic(), signal=signal)
        if summary.is_complete:
            await self.do(partial(self.watch.check, is_last=True))
        if paths.convert is not None and summary.is_complete:
            await self.do(self._convert, paths.convert, summary)
        if paths.report is not None:
            await self.do(write_report, paths.report, statistics, summary, paths.input.name)
        return summary

    def _convert(self, convert: Callable[[Path], None], summary: BatchSummary) -> None:
        journal = self._paths.lines
        if self._run_file is not None and journal.exists():
            check_count_of_lines(journal, summary.total)
            convert(journal)
            self._run_file.write({**self._facts, "failed": summary.failed})
            journal.unlink()

    async def close(self) -> None:
        """Writes the lines that wait, closes the files, and gives the lock back.

        A thread does so even if this call is cancelled.
        """
        self.is_closing.set()
        # The default executor may be full of the program's own work.
        threads = Threads()
        closing = threads.run(self._close)
        threads.close()
        await asyncio.shield(closing)

    def _close(self) -> None:
        # A cancelled run leaves its threads at work: they end before anything is closed.
        self._threads.shutdown()
        try:
            self.held.close()
            if self._lines is not None:
                if self._unwritten and self._failure is None:
                    with contextlib.suppress(Exception):
                        self._lines.append(b"".join(self._unwritten))
                self._lines.close()
        finally:
            if self._run_file is not None:
                self._run_file.close()


def _check_directory(name: str, path: Path) -> None:
    if not path.parent.is_dir():
        raise ConfigurationError(f"the {name}'s directory {path.parent} does not exist")


def _target(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_left(old: Path, new: Path) -> bool:
    return _has_content(old) and not _are_one(old, new)


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _are_one(one: Path, other: Path) -> bool:
    if one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)  # by a hard link
