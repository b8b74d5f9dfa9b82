"""The files of a run by themselves: when lines are written, synced and given up, and where."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from support.waiting import turns, until

from aiosmrt import ConfigurationError
from aiosmrt.batch import OutputError
from aiosmrt.batch._files import Paths, RunFiles
from aiosmrt.batch._records import open_records
from aiosmrt.batch._statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

LINE = b'{"index": %d, "error": null}\n'
LONG = 262_144  # from so many bytes on a thread writes


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("1\n2\n3\n")
    return path


@contextlib.asynccontextmanager
async def opened(
    source: Path, name: str, clock: Clock, *, resume: bool = False
) -> AsyncIterator[RunFiles]:
    files = RunFiles(Paths(source, source.with_name(name), None), clock)
    try:
        records = open_records(source, None, header=False)
        await files.open(records, {}, resume=resume, retry_failed=False)
        yield files
    finally:
        await files.close()


@pytest.fixture
async def files(source: Path, clock: Clock) -> AsyncIterator[RunFiles]:
    async with opened(source, "out.jsonl", clock) as files:
        yield files


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


class Disk:
    """The writes and syncs of one file, and the threads in which they are made."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._path = path
        self.writes: list[int] = []
        self.syncs: list[int] = []
        self.fails = False
        self.go_on = threading.Event()
        self.go_on.set()
        for name, calls in (("write", self.writes), ("fsync", self.syncs)):
            monkeypatch.setattr(os, name, self._observed(getattr(os, name), calls))

    def _observed(self, call: Callable[..., Any], calls: list[int]) -> Callable[..., Any]:
        def observe(descriptor: int, *data: bytes) -> Any:
            fact = os.fstat(descriptor)
            if self._path.exists() and os.path.samestat(fact, self._path.stat()):
                calls.append(threading.get_ident())
                assert self.go_on.wait(30)
                if self.fails:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            return call(descriptor, *data)

        return observe


@pytest.fixture
def disk(out: Path, monkeypatch: pytest.MonkeyPatch, files: RunFiles) -> Disk:
    return Disk(out, monkeypatch)


HERE = threading.get_ident()


async def test_lines_are_written_by_the_end_of_the_turn_without_further_calls(files, disk, out):
    files.append([LINE % 0, LINE % 1])
    files.append([LINE % 2])
    assert out.read_bytes() == b""
    await asyncio.sleep(0)
    assert out.read_bytes() == LINE % 0 + LINE % 1 + LINE % 2
    assert disk.writes == [HERE]
    assert files.write()
    assert disk.writes == [HERE]


@pytest.mark.parametrize("length, is_here", [(LONG - 1, True), (LONG, False)])
async def test_much_at_once_is_written_by_a_thread(files, disk, out, length, is_here):
    files.append([b"x" * (length - 1) + b"\n"])
    assert files.write() == is_here
    await files.flush()
    assert files.write()
    assert out.stat().st_size == length
    assert [thread == HERE for thread in disk.writes] == [is_here]


async def test_what_comes_while_a_thread_writes_is_written_after_it_without_further_calls(
    files, disk, out, clock
):
    clock.now += 1.0
    disk.go_on.clear()
    files.append([LINE % 0])
    await until(lambda: disk.writes)
    files.append([LINE % 1])
    assert not files.write()
    await turns()
    assert disk.writes != [HERE]
    assert len(disk.writes) == 1
    disk.go_on.set()
    await until(lambda: out.read_bytes() == LINE % 0 + LINE % 1)
    await files.flush()


async def test_lines_are_synced_a_second_after_the_last_sync_and_once(files, disk, clock):
    files.sync_when_due()
    files.append([LINE % 0])
    assert files.write()
    clock.now += 0.99
    files.sync_when_due()
    await files.flush()
    assert disk.syncs == []
    clock.now += 0.01
    files.sync_when_due()
    files.sync_when_due()
    assert not files.write()
    await files.flush()
    assert [thread == HERE for thread in disk.syncs] == [False]
    clock.now += 5.0
    files.sync_when_due()
    assert files.write()
    assert len(disk.syncs) == 1
    # The next lines a second later are written and synced in one go.
    files.append([LINE % 1])
    assert not files.write()
    await files.flush()
    assert [thread == HERE for thread in disk.writes] == [True, False]
    assert len(disk.syncs) == 2
    files.append([LINE % 2])
    assert files.write()


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["here", "in a thread"])
async def test_after_a_write_that_failed_nothing_is_written_any_more(
    source, out, clock, monkeypatch, seconds
):
    async with opened(source, "out.jsonl", clock) as files:
        disk = Disk(out, monkeypatch)
        clock.now += seconds
        disk.fails = True
        files.append([LINE % 0])
        with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
            await files.flush()
        disk.fails = False
        for call in (files.write, files.sync_when_due, lambda: files.append([LINE % 1])):
            with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
                call()
        for wait in (files.flush, lambda: files.finish(Statistics(3, 0, 0, now=0.0), None)):
            with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
                await wait()
    assert out.read_bytes() == b""


async def test_lines_that_wait_when_a_write_fails_are_not_written(source, out, clock, monkeypatch):
    async with opened(source, "out.jsonl", clock) as files:
        disk = Disk(out, monkeypatch)
        clock.now += 1.0
        disk.go_on.clear()
        disk.fails = True
        files.append([LINE % 0])
        await until(lambda: disk.writes)
        files.append([LINE % 1])
        disk.go_on.set()
        with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
            await files.flush()
        disk.fails = False
    assert out.read_bytes() == b""


async def test_a_sync_that_failed_ends_the_run(files, disk, clock):
    files.append([LINE % 0])
    assert files.write()
    disk.fails = True
    clock.now += 1.0
    files.sync_when_due()
    with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
        await files.flush()
    disk.fails = False


async def test_what_waits_is_written_at_the_end(files, disk, out, source):
    files.append([LINE % 0])
    await files.finish(Statistics(3, 0, 0, now=0.0), None)
    assert out.read_bytes() == LINE % 0
    assert disk.syncs


async def test_what_waits_is_written_when_it_is_closed_and_the_lock_given_back(source, out, clock):
    async with opened(source, "out.jsonl", clock) as files:
        files.append([LINE % 0])
    assert out.read_bytes() == LINE % 0
    await turns()
    assert out.read_bytes() == LINE % 0
    async with opened(source, "out.jsonl", clock, resume=True) as again:
        assert [index for index in range(3) if index in again.lines.done] == [0]


async def test_the_lock_is_given_back_where_the_last_sync_fails(source, out, clock, monkeypatch):
    with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
        async with opened(source, "out.jsonl", clock) as files:
            files.append([LINE % 0])
            assert files.write()
            disk = Disk(out, monkeypatch)
            disk.fails = True
    disk.fails = False
    async with opened(source, "out.jsonl", clock, resume=True) as again:
        assert len(again.lines.done) == 1


async def test_a_last_sync_that_fails_is_told(files, disk):
    files.append([LINE % 0])
    disk.fails = True
    with pytest.raises(OutputError, match=os.strerror(errno.EIO)):
        await files.finish(Statistics(3, 0, 0, now=0.0), None)


async def test_a_run_ends_with_a_look_at_a_young_input(files, source):
    files.watch.digest = "of another content"  # as after a change that the times do not show
    incomplete, complete = Statistics(3, 0, 0, now=0.0), Statistics(3, 3, 0, now=0.0)
    await files.finish(incomplete, None)
    with pytest.raises(ConfigurationError, match="its content changed"):
        await files.finish(complete, None)


@pytest.mark.parametrize("name", ["out.jsonl", "out.csv"])
async def test_new_files_have_the_permissions_that_the_umask_leaves(source, clock, tmp_path, name):
    before = os.umask(0o002)
    try:
        async with opened(source, name, clock) as files:
            files.append([LINE % 0])
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    lines = "out.jsonl" if name == "out.jsonl" else "out.csv.jsonl"
    assert modes.pop("in.jsonl")
    assert modes == {lines: 0o664, f"{name}.run": 0o664}


async def test_even_one_byte_is_not_overwritten(source, clock, out):
    out.write_bytes(b"\n")
    with pytest.raises(ConfigurationError, match=r"out\.jsonl is there already"):
        async with opened(source, "out.jsonl", clock):
            pass
    assert out.read_bytes() == b"\n"
