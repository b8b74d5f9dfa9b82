"""The requests of a run: records read ahead in a thread, and given out one request at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from aiosmrt._client.many import ReadAhead
from aiosmrt.batch._records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from aiosmrt.batch._files import RunFiles
    from aiosmrt.batch._records import RecordFile

__all__ = ["Requests"]

# Read ahead in one go of the thread: enough to be worth it, little enough to hold.
_RECORDS_AT_ONCE = 1_024
_BYTES_AT_ONCE = 1_048_576
# Refused in one turn of the loop: each takes microseconds, and others wait.
_REFUSED_AT_ONCE = 64

_Group: TypeAlias = tuple[list[Record], bytes, list[Record]]
"""The records of one request, its body, and the records among them that cannot be sent."""


class Requests(ReadAhead):
    """The requests of a run: their records in the place of the key, and their bodies.

    Args:
        files: Where they are read, and where the lines of the answers are written.
        records: The input.
        size: How many records one request carries.
        refuse: Gets the records that cannot be sent.
    """

    def __init__(
        self,
        files: RunFiles,
        records: RecordFile,
        size: int,
        refuse: Callable[[list[Record]], None],
    ) -> None:
        self._files = files
        self._done = files.lines.done
        self._refuse = refuse
        self._groups = _group(records.read(self._is_wanted), size)
        # It has the input open, and stands in a cycle that only the collector would break.
        files.held.callback(self._groups.close)
        self._at_hand: deque[_Group] = deque()
        # How many records of the input have been passed, those of earlier runs included; the
        # reader's thread counts them, and `wait` compares them once it is through.
        self._read = 0
        # What the input raised after the groups at hand.
        self._error: Exception | None = None
        self._is_stopped = False

    def stop(self) -> None:
        """Gives out no more requests."""
        self._is_stopped = True

    def take(self) -> tuple[list[Record], bytes] | None:
        """Returns the next request that is at hand, once all lines handed over are written.

        An answered record counts as under way until its line is written: no crash then
        costs more than ``concurrency`` requests. Records that cannot be sent are refused
        on the way, only some in one call: it returns None then, and ``wait`` lets other
        tasks run.
        """
        if self._is_stopped or not self._files.write():
            return None
        refused = 0
        while self._at_hand and refused < _REFUSED_AT_ONCE:
            records, body, faulty = self._at_hand.popleft()
            if faulty:
                self._refuse(faulty)
                refused += len(faulty)
            if records:
                return records, body
        return None

    async def wait(self) -> bool:
        """Waits until lines are written and records are read; returns False at the end.

        Raises:
            ConfigurationError: The input has another number of records than before.
            OutputError: Lines could not be written.
        """
        while True:
            await self._files.flush()
            if self._is_stopped:
                return False
            if self._at_hand:
                await asyncio.sleep(0)  # `take` has refused as many as one turn allows
                return True
            self._at_hand.extend(await self._files.do(self._read_groups))
            if not self._at_hand:
                if self._read != self._files.total:
                    raise self._files.watch.changed("it has fewer records")
                return False

    def _read_groups(self) -> list[_Group]:
        """Reads as many groups as are worth a turn of the reader's thread, in which it runs.

        An error of the input is raised after the groups before it have been returned, except
        that it was changed: nobody knows since when.
        """
        if self._error is not None:
            raise self._error
        groups: list[_Group] = []
        count = size = 0
        try:
            for group in self._groups:
                records, body, faulty = group
                groups.append(group)
                count += len(records) + len(faulty)
                size += len(body)
                if count >= _RECORDS_AT_ONCE or size > _BYTES_AT_ONCE:
                    break
        except Exception as error:
            self._files.watch.check()
            if not groups:
                raise
            self._error = error
        # Only now what was read is known to be what was there when the run began.
        self._files.watch.check()
        return groups

    def _is_wanted(self, index: int) -> bool:
        """Whether a record has no line yet; runs in the reader's thread too."""
        if self._files.is_closing.is_set():  # of a long input all but the end may be done
            raise InterruptedError
        self._read = index + 1
        if index >= self._files.total:
            raise self._files.watch.changed("it has more records")
        return index not in self._done


def _group(records: Iterator[Record], size: int) -> Generator[_Group]:
    """Puts records into groups of a request each; runs in the reader's thread."""
    if size == 1:
        for record in records:
            is_sound = record.fault is None
            yield ([record], record.body, []) if is_sound else ([], b"", [record])
    else:
        while group := list(islice(records, size)):
            faulty = [record for record in group if record.fault is not None]
            sound = [record for record in group if record.fault is None] if faulty else group
            yield sound, b"\n".join([record.body for record in sound]), faulty
