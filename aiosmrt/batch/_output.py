"""The output file: whole lines appended, a lock, and what a later run can trust.

Two files. The output is nothing but lines, one a record, in the order in which they
came. Beside it lies ``OUTPUT.run``, which says of which input and parameters the lines
are. Both are locked while a run is at work, so that neither a second run, by whatever
names it knows them, nor another input can mix its lines in.

A process that is killed leaves whole lines and at most one torn one, which the next run
cuts off: lines are written in one piece behind one another, and nothing is ever
written before them. Blocks; belongs in a thread.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from aiosmrt._client.replacement import Replacement
from aiosmrt.batch._json import json_members
from aiosmrt.batch._locks import lock, open_locked
from aiosmrt.errors import AiosmrtError, ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from threading import Event

__all__ = [
    "PART_SUFFIX",
    "IndexSet",
    "OutputError",
    "OutputFile",
    "RunFile",
    "check_count_of_lines",
    "run_path",
]

_FORMAT: Final = 1
PART_SUFFIX: Final = ".part"
"""Of the file that is to take another one's place, while it is written."""
_IS_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputError(AiosmrtError, OSError):
    """The output cannot be written: the disk is full, a quota is used up, a device fails.

    What was written before is whole, and can be resumed.

    Attributes:
        errno: Why, as of `OSError`.
        path: The file.
    """

    errno: int | None = None  # not OSError's own, which a pickle leaves behind

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(f"{path} cannot be written: {error.strerror or error}")
        self.errno = error.errno
        self.path = path

    def _advise(self) -> str:
        what = "make room" if self.errno in _IS_FULL else "mend that"
        return f"What was written is whole: {what}, then run it again with resume (--resume)."


class IndexSet:
    """A set of the numbers below ``size``, a bit each: a million take 125 KB."""

    def __init__(self, size: int) -> None:
        self._bits = bytearray(size // 8 + 1)
        self._count = 0

    def add(self, number: int) -> None:
        """Adds a number."""
        if number not in self:
            self._bits[number >> 3] |= 1 << (number & 7)
            self._count += 1

    def __contains__(self, number: int) -> bool:
        return bool(self._bits[number >> 3] & 1 << (number & 7))

    def __len__(self) -> int:
        return self._count


def run_path(output: Path) -> Path:
    """``OUTPUT.run``, where it lies."""
    return output.with_name(output.name + ".run")


class RunFile:
    """``OUTPUT.run``: the lock, and the facts that the output's lines rest on.

    Args:
        output: What it lies beside.
        mode: The permissions of a new file, less the umask.

    Raises:
        ConfigurationError: Another run holds the lock.
        OutputError: The file cannot be made, or locked.
    """

    def __init__(self, output: Path, mode: int = 0o666) -> None:
        self._output = output
        self.path = run_path(output)
        try:
            self._descriptor = open_locked(self.path, mode, output)
        except OSError as error:
            raise OutputError(self.path, error) from error

    def read(self) -> dict[str, Any] | None:
        """The facts of the run before; None where there are none, or not whole ones."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        try:
            facts = json.loads(os.read(self._descriptor, 1_048_576))
        except (ValueError, RecursionError):
            return None
        if not isinstance(facts, dict):
            return None
        known = cast("dict[str, Any]", facts)
        return known if known.get("format") == _FORMAT else None

    def write(self, facts: Mapping[str, Any]) -> None:
        """Puts facts in the place of those before, onto the disk.

        Raises:
            OutputError: It cannot be written.
        """
        data = json.dumps({"format": _FORMAT, **facts}, indent=1).encode() + b"\n"
        try:
            # Never empty on the way: a run that is killed here can be resumed.
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            _write_all(self._descriptor, data)
            os.ftruncate(self._descriptor, len(data))
            os.fsync(self._descriptor)
            _sync_directory(self.path.parent)
        except OSError as error:
            raise OutputError(self.path, error) from error

    def check(self, facts: Mapping[str, Any]) -> None:
        """Compares the facts of the run before with those of this one.

        Raises:
            ConfigurationError: They differ, or are missing.
        """
        before = self.read()
        if before is None:
            raise ConfigurationError(
                f"{self._output} cannot be resumed: {self.path.name} beside it, which says of "
                "what input its lines are, is missing or broken"
            )
        changed = sorted(
            name
            for name in {*before, *facts} - {"format", "failed"}
            if before.get(name) != json.loads(json.dumps(facts.get(name)))
        )
        if changed:
            raise ConfigurationError(
                f"{self._output} was begun with another {' and another '.join(changed)}: "
                "resume with what it was begun with, or give another output"
            )

    def failed(self) -> int:
        """How many records of a finished run failed, as its last facts tell."""
        return int((self.read() or {}).get("failed", 0))

    def close(self) -> None:
        """Gives the lock back. The file stays: without it nothing could be resumed."""
        os.close(self._descriptor)


@attrs.define
class OutputFile:
    """The lines of the output.

    Attributes:
        path: Where.
        mode: The permissions of a new file, less the umask.
        done: The indices of the records that have a line.
        failed: How many lines found there say of an error.
    """

    path: Path
    mode: int = 0o666
    done: IndexSet = attrs.field(factory=lambda: IndexSet(0))
    failed: int = 0
    _descriptor: int = -1
    _length: int = 0

    def claim(self) -> None:
        """Opens it, and keeps other runs away from it, by whatever name they know it.

        Raises:
            ConfigurationError: Another run is writing it.
            OutputError: It cannot be opened.
        """
        try:
            self._descriptor = open_locked(self.path, self.mode, self.path)
        except OSError as error:
            raise OutputError(self.path, error) from error

    def drop_failed(self) -> None:
        """Takes out the lines that tell an error, so that their records are sent again.

        In one step: a crash leaves the file as it was, or as it is to be.

        Raises:
            OutputError: It cannot be written.
        """
        descriptor = None
        try:
            with (
                open(self._descriptor, "rb", closefd=False) as lines,
                Replacement(self.path, PART_SUFFIX) as kept,
            ):
                descriptor = os.dup(kept.fileno())
                lock(descriptor)
                for line in lines:
                    fact = _index_of(line)
                    if fact is None or not fact[1]:  # what is no line is for `open` to judge
                        kept.write(line)
            _sync_directory(self.path.parent)
        except OSError as error:
            if descriptor is not None:
                os.close(descriptor)
            raise OutputError(self.path, error) from error
        os.close(self._descriptor)
        self._descriptor = descriptor

    def open(self, count: int, stopped: Event) -> None:
        """Reads the lines that are there, until ``stopped``, and cuts off a torn last one.

        Raises:
            ConfigurationError: A line is not one of ours, or a record has two.
            OutputError: It cannot be read or written.
        """
        self.done = IndexSet(count)
        try:
            os.lseek(self._descriptor, 0, os.SEEK_SET)
            self._length, has_end = self._scan(count, stopped)
            os.ftruncate(self._descriptor, self._length)
            os.lseek(self._descriptor, self._length, os.SEEK_SET)
            if not has_end:
                _write_all(self._descriptor, b"\n")
                self._length += 1
            os.fsync(self._descriptor)
            _sync_directory(self.path.parent)
        except OSError as error:
            raise OutputError(self.path, error) from error

    def _scan(self, count: int, stopped: Event) -> tuple[int, bool]:
        """Takes in the lines that are there.

        Returns:
            The length up to the last whole one, and whether that has its line end.
        """
        length = 0
        has_end = True
        with open(self._descriptor, "rb", closefd=False) as file:
            for number, line in enumerate(file, start=1):
                if stopped.is_set():
                    raise InterruptedError
                fact = _index_of(line)
                if fact is None:
                    # Torn where it ends the file; a file system that crashed can leave zeros.
                    if file.read(1):
                        raise ConfigurationError(
                            f"{self.path} cannot be resumed: line {number} is not of a run's output"
                        )
                    break
                index, has_failed = fact
                if not 0 <= index < count or index in self.done:
                    raise ConfigurationError(
                        f"{self.path} cannot be resumed: line {number} is of record {index}, "
                        f"which the input does not have or an earlier line is of"
                    )
                self.done.add(index)
                self.failed += has_failed
                length += len(line)
                has_end = line.endswith(b"\n")
        return length, has_end

    def append(self, lines: bytes) -> None:
        """Writes whole lines behind the others; the system has them then, the disk not yet.

        Raises:
            OutputError: They cannot be written; then none of them, or only whole ones, are
                there.
        """
        try:
            _write_all(self._descriptor, lines)
        except OSError as error:
            # Where even that fails, the next run finds the torn line.
            with contextlib.suppress(OSError):
                self._mend(lines)
            raise OutputError(self.path, error) from error
        self._length += len(lines)

    def _mend(self, lines: bytes) -> None:
        """Cuts off the part of a line that a full disk has left, and goes back to its place."""
        written = os.lseek(self._descriptor, 0, os.SEEK_CUR) - self._length
        self._length += lines[:written].rfind(b"\n") + 1
        os.ftruncate(self._descriptor, self._length)
        os.lseek(self._descriptor, self._length, os.SEEK_SET)

    def sync(self) -> None:
        """Waits until all lines are on the disk.

        Raises:
            OutputError: The disk has failed, and lines may be missing.
        """
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise OutputError(self.path, error) from error

    def close(self) -> None:
        """Syncs and closes.

        Raises:
            OutputError: The last lines may not be on the disk.
        """
        if self._descriptor < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._descriptor)
            self._descriptor = -1


def check_count_of_lines(path: Path, expected: int) -> None:
    """Compares how many lines a finished file has with how many were written.

    Raises:
        OutputError: Lines are missing, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            count = sum(chunk.count(b"\n") for chunk in iter(partial(file.read, 1_048_576), b""))
        if count != expected:
            raise OSError(errno.EIO, f"it has {count} lines, not {expected}")
    except OSError as error:
        raise OutputError(path, error) from error


def _index_of(line: bytes) -> tuple[int, bool] | None:
    """A line's index, and whether it tells an error; None where it is not one of ours."""
    try:
        try:
            value = json.loads(line)
            index, error = value["index"], value["error"]
        except RecursionError:  # a key or an answer that this version of Python does not read
            texts = json_members(line.decode())
            index, error = json.loads(texts["index"]), json.loads(texts["error"])
        return (index, error is not None) if type(index) is int else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        written = os.write(descriptor, left)
        if not written:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        left = left[written:]


def _sync_directory(path: Path) -> None:
    """Puts a new file's name onto the disk too."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
