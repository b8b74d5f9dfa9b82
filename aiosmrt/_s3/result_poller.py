"""Looks for objects in S3 that will come: one poller for each prefix, however many wait.

All that wait for an object below one prefix (the key up to its last slash) share looks. A look
for one object is a GetObject, which has the object in hand if it is there. A look for several
is a ListObjectsV2 that begins at the first of them and jumps from page to page over keys that
nobody waits for: it costs no more requests than there are pages, nor than there are objects
due. Where the caller may not list, or would read whole pages of years for each that is due,
each is asked for by itself, so many a second and those first that have waited longest: the
more there are, the longer are the pauses of each.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import logging
import math
import random
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.object_errors import (
    is_absence,
    is_older,
    is_passing,
    is_refusal_of_all,
    is_refusal_of_listing,
)
from aiosmrt._s3.object_store import LIST_PAGE_LENGTH
from aiosmrt._s3.pace import Pace
from aiosmrt._values import printable
from aiosmrt.errors import AiosmrtError, ServiceError, TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine
    from datetime import datetime

    from aiosmrt._s3.object_store import ObjectStore, StoredObject
    from aiosmrt._threads import Threads
    from aiosmrt._transport import Clock

__all__ = ["ResultPoller", "Watch", "just_before"]

_T = TypeVar("_T")

_logger = logging.getLogger("aiosmrt.async_inference")

# Time for the handles of one `gather` to come together, and no time for a person.
_FIRST_PAUSE = 0.05
_GROWTH = 1.6
_JITTER = (0.8, 1.2)
# Of one prefix, without a listing: looks at once, and looks in vain in a second.
_BATCH = 64
_VAIN_LOOKS = 100
# How many that are due a page must tell of, on average. Pages come one behind the other, some
# ten in a second: for fewer, looks for each are sooner done, and S3 charges twelve for a page.
_WORTH_A_PAGE = 10
# After how long a listing that was not worth it is tried again.
_UNLISTED_SECONDS = 60.0
# Waits, and looks, that begin in one turn of the loop; a millisecond or two of its time.
_BEGUN_IN_A_TURN = 32
# Looks that may fail in a row where none has succeeded yet: some 10 s of them.
_FAILURES = 10


class WaitFor(Protocol):
    """The type of the session's ``Lifetime.wait_for``."""

    async def __call__(self, waiting: Coroutine[Any, Any, _T], seconds: float | None) -> _T: ...


class Watch:
    """One wait for one object.

    Attributes:
        location: Where the object will be.
        pause: The pause that follows the next look, in seconds.
        due: When the next look is due, by the poller's clock.
        halfway: From when on a listing for others is a look for this object too.
        rests_until: What is found before this is not taken: the wait that this one goes on from
            has just failed to read it. When the wait began, where it goes on from none.
        arrived: Done when the object is there: with the object if the look has it in hand,
            with None if it was listed. An AiosmrtError when looking is of no use.
        since: The wait is for an object last modified in this second or later; None for any.
        is_ambiguous: Whether S3 has answered 403 in a way that fits an object that is not
            there as well as one that may not be read.
        has_seen_older: Whether an object from before ``since`` was there.
        has_answer: Whether S3 has answered a look.
        failure: What the last look has failed with; None where it has not.
    """

    def __init__(
        self,
        directory: _Directory,
        location: S3Location,
        *,
        began: float,
        cap: float,
        pause: float | None,
        since: datetime | None,
    ) -> None:
        self._directory = directory
        self._cap = cap
        self.location = location
        self.since: datetime | None = None if since is None else since.replace(microsecond=0)
        self.pause: float = min(_FIRST_PAUSE if pause is None else pause, cap)
        self.due: float = 0.0
        self.halfway: float = 0.0
        self.rests_until: float = began if pause is None else began + pause / 2
        self.arrived: asyncio.Future[StoredObject | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.is_ambiguous: bool = False
        self.has_seen_older: bool = False
        self.has_answer: bool = False
        self.failure: AiosmrtError | None = None

    def go_on_from(self, other: Watch) -> None:
        """Takes over what another wait for the same object has learnt of it."""
        self.is_ambiguous = other.is_ambiguous
        self.has_seen_older = other.has_seen_older
        self.has_answer = other.has_answer
        self.failure = other.failure

    def note(self, failure: AiosmrtError | None) -> None:
        """Takes note of how a look has ended."""
        self.failure = failure
        self.has_answer = self.has_answer or failure is None

    def accepts(self, last_modified: datetime | None) -> bool:
        """Decides whether an object is the one that is waited for.

        Args:
            last_modified: When the object was last modified. None, which S3 never says, is
                accepted: to wait for ever would be worse.
        """
        if self.since is None or last_modified is None or last_modified >= self.since:
            return True
        self.has_seen_older = True
        return False

    def close(self) -> None:
        """Ends the wait. Idempotent."""
        self._directory.remove(self)
        if self.arrived.cancel() or self.arrived.cancelled():
            return
        # Retrieved, or the loop would report it.
        if self.arrived.exception() is None and (found := self.arrived.result()) is not None:
            found.close()

    def schedule(self, now: float, jitter: float) -> None:
        """Sets the time of the next look, each further from the last.

        Args:
            now: The time, by the poller's clock.
            jitter: What the pause is multiplied by; the same for all that one look was for,
                so that they stay together.
        """
        self.due = now + self.pause * jitter
        self.halfway = now + self.pause / 2
        self.pause = min(self.pause * _GROWTH, self._cap)


class ResultPoller:
    """Waits for objects; one for a session.

    Args:
        store: Where they will be.
        wait_for: Awaits a coroutine for so many seconds, and until the session is closed.
        threads: The session's.
        get_clock: Gives the clock that the pauses between looks are timed by.

    Attributes:
        store: As given.
        wait_for: As given.
        threads: As given.
        pace: Whoever begins many waits at once spreads them by it.
    """

    def __init__(
        self,
        store: ObjectStore,
        wait_for: WaitFor,
        threads: Threads,
        get_clock: Callable[[], Clock] = asyncio.get_running_loop,
    ) -> None:
        self.store = store
        self.wait_for = wait_for
        self.threads = threads
        self.pace: Pace = Pace(_BEGUN_IN_A_TURN)
        self._get_clock = get_clock
        self._looks_pace = Pace(_BEGUN_IN_A_TURN)
        self._directories: dict[S3Location, _Directory] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def prefixes(self) -> Collection[S3Location]:
        """Those below which something is waited for."""
        return self._directories.keys()

    def watch(
        self,
        location: S3Location,
        *,
        cap: float,
        pause: float | None = None,
        since: datetime | None = None,
    ) -> Watch:
        """Begins to look for an object; the first look comes within a tenth of a second.

        Args:
            location: Where it will be.
            cap: The longest pause between two looks, in seconds.
            pause: The pause before the first look, that of a wait which this one goes on from.
                None for a wait that goes on from no other.
            since: An object last modified in an earlier second is taken as not there.

        Returns:
            The wait, which must be closed.

        Raises:
            TransportError: The session is closed.
        """
        if self._closed:
            raise TransportError("The session is closed")
        prefix, clock = location.directory, self._get_clock()
        directory = self._directories.get(prefix)
        if directory is None:
            directory = _Directory(
                self.store,
                prefix,
                clock=clock,
                pace=self._looks_pace,
                tasks=self._tasks,
                forget=self._forget,
            )
            self._directories[prefix] = directory
        now = clock.time()
        watch = Watch(directory, location, began=now, cap=cap, pause=pause, since=since)
        watch.schedule(now, _jitter())
        directory.add(watch)
        return watch

    def _forget(self, directory: _Directory) -> None:
        # Another one may have come in the place of one that was stopped before its task ended.
        if self._directories.get(directory.prefix) is directory:
            del self._directories[directory.prefix]

    def close(self) -> None:
        """Ends every wait with a TransportError, and every look. Idempotent."""
        self._closed = True
        for directory in list(self._directories.values()):
            directory.close(TransportError("The session was closed while a result was awaited"))
        self.store.close()

    async def aclose(self) -> None:
        """Closes as `close` does, and waits until all has ended. Idempotent."""
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.store.aclose()


class _Directory:
    """All that is waited for below one prefix.

    Attributes:
        prefix: The prefix.
    """

    def __init__(
        self,
        store: ObjectStore,
        prefix: S3Location,
        *,
        clock: Clock,
        pace: Pace,
        tasks: set[asyncio.Task[None]],
        forget: Callable[[_Directory], None],
    ) -> None:
        self._store = store
        self.prefix = prefix
        self._clock = clock
        self._pace = pace
        self._tasks = tasks  # those of all prefixes, until each is done
        self._forget = forget  # called when nothing is waited for any more
        # Each key's in the order of their coming.
        self._watches: dict[str, dict[Watch, None]] = {}
        self._is_sorted = True  # that dict, by its keys
        self._task: asyncio.Task[None] | None = None
        # Done when a newcomer's look is due before the next one.
        self._hurry: asyncio.Future[None] | None = None
        self._wakes_at = math.inf
        # No look before this, by the clock.
        self._rests_until = 0.0
        # No listing before this, by the clock; for ever where the caller may not list.
        self._lists_from = 0.0
        # Whether to list for one object too, since GetObject tells too little.
        self._must_list = False
        self._has_answered = False

    def add(self, watch: Watch) -> None:
        key = watch.location.key
        self._is_sorted = self._is_sorted and key in self._watches
        self._watches.setdefault(key, {})[watch] = None
        if watch.due < self._wakes_at:
            self._wake()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._tasks.add(self._task)
            self._task.add_done_callback(self._ended)

    def remove(self, watch: Watch) -> None:
        self._drop(watch)
        if not self._watches:
            self._stop()

    def close(self, error: AiosmrtError) -> None:
        """Ends all waits with an error, and looks no more."""
        self._fail(error)
        self._stop()

    def _drop(self, watch: Watch) -> None:
        key = watch.location.key
        watches = self._watches.get(key, {})
        watches.pop(watch, None)
        if not watches:
            self._watches.pop(key, None)

    def _stop(self) -> None:
        self._forget(self)
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Ends all waits if the task ended before its work was done, whatever the reason."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if task is not self._task:  # stopped, or at its end
            return
        self._task = None
        if error is None:
            reason = "was cancelled, and not by result(), which can be awaited again"
        else:
            # The text of an exception that is no Exception was not written for a log.
            told = repr(error) if isinstance(error, Exception) else type(error).__name__
            reason = f"failed: {told}"
        self._fail(AiosmrtError(f"Looking below {self.prefix} {reason}"))
        self._forget(self)

    def _fail(self, error: AiosmrtError) -> None:
        for key in list(self._watches):
            self._refuse(key, error)

    async def _run(self) -> None:
        failures = 0
        while self._watches:
            await self._sleep()
            await self._pace.wait()
            began = self._clock.time()
            due = self._due(began)
            failure: AiosmrtError | None = None
            try:
                due = await self._look(due)
                failures = 0
            except AiosmrtError as error:
                failure = error
                failures += 1
                lasting = failures >= _FAILURES and not self._has_answered
                if lasting or not is_passing(error):
                    self._fail(error)
                else:
                    # An outage is told once, and not at each of its looks.
                    level = logging.WARNING if failures == 1 else logging.DEBUG
                    _logger.log(
                        level, "looking below %s failed: %s", printable(str(self.prefix)), error
                    )
            now, jitter = self._clock.time(), _jitter()
            for key in due:
                for watch in self._watches.get(key, ()):
                    if watch.rests_until < began:  # else the look was not for this one
                        watch.note(failure)
                        watch.schedule(now, jitter)
        self._task = None
        self._forget(self)

    def _due(self, now: float) -> list[str]:
        """The keys to look for now: for a listing in its order, else a batch of them."""
        # Ten thousand wait here at times, and the loop with them: hence the plain loops.
        if now < self._lists_from:
            overdue: list[tuple[float, str]] = []
            for key, watches in self._watches.items():
                when = min([watch.due for watch in watches])
                if when <= now:
                    overdue.append((when, key))
            return [key for _, key in heapq.nsmallest(_BATCH, overdue)]
        if not self._is_sorted:
            self._watches = dict(sorted(self._watches.items()))
            self._is_sorted = True
        due: list[str] = []
        for key, watches in self._watches.items():
            for watch in watches:
                if watch.halfway <= now:  # not only who is due, so that looks come together
                    due.append(key)
                    break
        return due

    async def _sleep(self) -> None:
        """Sleeps until the first look is due, newcomers' looks included."""
        while True:
            self._wakes_at = min(
                watch.due for watches in self._watches.values() for watch in watches
            )
            end = max(self._wakes_at, self._rests_until)
            if end <= self._clock.time():
                return
            self._hurry = asyncio.get_running_loop().create_future()
            timer = self._clock.call_at(end, self._wake)
            try:
                await self._hurry
            finally:
                timer.cancel()

    def _wake(self) -> None:
        """Ends the sleep, if there is one."""
        if self._hurry is not None and not self._hurry.done():
            self._hurry.set_result(None)

    async def _look(self, due: list[str]) -> list[str]:
        """Looks for as many as it can, and returns those."""
        alone = len(self._watches) == 1 and not self._must_list
        lists = not alone and self._clock.time() >= self._lists_from
        listed = await self._list(due) if lists else 0
        if listed == len(due):
            return due
        await self._get_each(due[listed : listed + _BATCH])
        return due[: listed + _BATCH]

    async def _list(self, due: list[str]) -> int:
        """Looks by listing; returns for how many, fewer where it cannot be done or is not worth it.

        Args:
            due: The keys, in order.
        """
        at = pages = 0
        while at < len(due):
            try:
                page = await self._store.list_page(self.prefix, just_before(due[at]))
            except ServiceError as error:
                if is_passing(error):
                    raise
                page = None
            if page is None:
                _logger.debug(
                    "keys below %s cannot be listed: asking for each", printable(str(self.prefix))
                )
                self._lists_from = math.inf
                return at
            self._has_answered = True
            pages += 1
            for key, last_modified in page:
                if key in self._watches:
                    self._arrive(key, last_modified)
            if len(page) < LIST_PAGE_LENGTH:
                break
            behind = bisect_right(due, page[-1][0])
            if behind == at:  # a page of keys that `just_before` did not get past
                await self._get(due[at])
            at = max(behind, at + 1)
            if at < len(due) and at < pages * _WORTH_A_PAGE and not self._must_list:
                _logger.debug(
                    "too many others lie below %s: asking for each", printable(str(self.prefix))
                )
                self._lists_from = self._clock.time() + _UNLISTED_SECONDS
                return at
        return len(due)

    async def _get_each(self, keys: list[str]) -> None:
        outcomes = await asyncio.gather(*map(self._get, keys), return_exceptions=True)
        in_vain = sum(key in self._watches for key in keys)
        self._rests_until = self._clock.time() + in_vain / _VAIN_LOOKS
        for outcome in outcomes:
            if outcome is not None:
                raise outcome

    async def _get(self, key: str) -> None:
        watches = list(self._watches.get(key, ()))
        since = [watch.since for watch in watches if watch.since is not None]
        earliest = min(since) if since and len(since) == len(watches) else None
        try:
            found = await self._store.get(
                S3Location(self.prefix.bucket, key), modified_since=earliest
            )
        except ServiceError as error:
            if is_passing(error) or is_refusal_of_all(error):
                raise
            self._has_answered = True
            if is_older(error):
                for watch in watches:
                    watch.has_seen_older = True
            elif not is_absence(error) and (
                error.code != "AccessDenied" or not await self._may_be_absent(key, error)
            ):
                self._refuse(key, error)
        else:
            self._has_answered = True
            self._arrive(key, found.last_modified, found)

    async def _may_be_absent(self, key: str, error: ServiceError) -> bool:
        """Whether a 403 may stand for an object that is not there yet.

        It does where the caller may read, but not list. Where the caller may list, the
        listing tells; else the message may; else only time will.
        """
        if is_refusal_of_listing(error):
            return True
        if "is not authorized to perform" in error.message:
            return False
        if self._lists_from < math.inf:
            self._must_list = True
            if await self._list([key]):
                return key in self._watches
        for watch in self._watches.get(key, ()):
            watch.is_ambiguous = True
        return True

    def _refuse(self, key: str, error: AiosmrtError) -> None:
        """Ends the waits for an object with an error."""
        for watch in self._watches.pop(key, ()):
            # Each who waits raises its own: one for all would gather all their tracebacks.
            watch.arrived.set_exception(copy.copy(error))

    def _arrive(
        self, key: str, last_modified: datetime | None, found: StoredObject | None = None
    ) -> None:
        """Ends the waits for an object that is there, except those that it is too old for."""
        now = self._clock.time()
        for watch in list(self._watches.get(key, ())):
            if watch.rests_until <= now and watch.accepts(last_modified):
                self._drop(watch)
                watch.arrived.set_result(found)
                found = None  # its bytes can be read once
        if found is not None:
            found.close()


def _jitter() -> float:
    return random.uniform(*_JITTER)  # noqa: S311 - it spreads load


def just_before(key: str) -> str:
    """A text less than the key, with next to no keys between the two."""
    head, last = key[:-1], key[-1]
    if last.isascii() and last.isalnum() and last != "0":  # before 0 there is the slash
        return f"{head}{chr(ord(last) - 1)}zzz"
    return head
