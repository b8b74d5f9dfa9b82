"""A file is there whole, or is as it was before."""

from __future__ import annotations

import asyncio
import os
import resource
import threading

import pytest
from support.waiting import turns, until

from aiosmrt._client.atomic_file import AtomicFile
from aiosmrt._threads import Threads

THREADS = Threads()


def names(directory):
    return sorted(path.name for path in directory.iterdir())


async def test_the_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older")
    async with AtomicFile(path, THREADS) as file:
        await file.write(b"one, ")
        await file.write(b"two")
        assert path.read_bytes() == b"older"
        assert len(names(tmp_path)) == 2
    assert path.read_bytes() == b"one, two"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_block_that_raises_leaves_the_older_one(tmp_path, error):
    (tmp_path / "file").write_bytes(b"older")
    with pytest.raises(error):
        async with AtomicFile(tmp_path / "file", THREADS) as file:
            await file.write(b"newer")
            raise error
    assert (tmp_path / "file").read_bytes() == b"older"
    assert names(tmp_path) == ["file"]


async def test_a_relative_name_is_taken_where_the_process_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with AtomicFile("file", THREADS) as file:
        await file.write(b"here")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
async def test_the_older_ones_permissions_are_kept_from_the_first_byte_on(tmp_path, mode):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    async with AtomicFile(path, THREADS) as file:
        await file.write(b"newer")
        assert {one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {mode}
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("older", [b"older", None])
async def test_a_symbolic_link_stays_one(tmp_path, older):
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "file"
    if older is not None:
        path.write_bytes(older)
    (tmp_path / "link").symlink_to(path)
    async with AtomicFile(tmp_path / "link", THREADS) as file:
        await file.write(b"newer")
    assert (tmp_path / "link").is_symlink()
    assert path.read_bytes() == b"newer"
    assert names(tmp_path / "elsewhere") == ["file"]


async def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "directory"):
        with pytest.raises(OSError, match="not a regular file") as caught:
            async with AtomicFile(tmp_path / name, THREADS):
                pytest.fail("there is nothing to write to")
        assert caught.value.filename == str(tmp_path / name)
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == ["directory", "pipe"]


@pytest.mark.parametrize("length", [100, 100_000])
async def test_a_disk_that_is_full_leaves_nothing(tmp_path, length):
    """By a limit to files' sizes, which fails as a full disk does: here, or when it is flushed."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            async with AtomicFile(tmp_path / "file", THREADS) as file:
                await file.write(b"x" * length)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not names(tmp_path)


async def test_a_missing_directory_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        async with AtomicFile(tmp_path / "missing" / "file", THREADS):
            pytest.fail("there is nothing to write to")


@pytest.fixture
def syncing(monkeypatch):
    """Where a thread waits that brings a file onto the disk, and what that then raises."""

    class Syncing:
        entered, free, error = threading.Event(), threading.Event(), None

        def __call__(self, descriptor):
            self.entered.set()
            self.free.wait(30)
            if self.error is not None:
                raise self.error

    held = Syncing()
    monkeypatch.setattr(os, "fsync", held)
    yield held
    held.free.set()


async def write(path):
    async with AtomicFile(path, THREADS) as file:
        await file.write(b"newer")


@pytest.mark.parametrize("error", [None, OSError("late")])
async def test_a_cancelled_file_outlasts_the_thread(tmp_path, syncing, error):
    """The thread still has the file in its hands: nobody may close it yet."""
    (tmp_path / "file").write_bytes(b"older")
    task = asyncio.create_task(write(tmp_path / "file"))
    await until(syncing.entered.is_set)
    task.cancel()
    await turns()
    assert not task.done()
    syncing.error = error
    syncing.free.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (tmp_path / "file").read_bytes() == (b"newer" if error is None else b"older")
    assert names(tmp_path) == ["file"]


async def test_a_file_that_is_cancelled_twice_leaves_nothing_in_the_end(tmp_path, syncing):
    task = asyncio.create_task(write(tmp_path / "file"))
    await until(syncing.entered.is_set)
    syncing.error = OSError("late")
    for _ in range(2):
        task.cancel()
        await turns()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert names(tmp_path)  # the thread's
    syncing.free.set()
    await until(lambda: not names(tmp_path))


async def test_a_file_does_not_wait_for_a_default_executor_that_is_full(tmp_path):
    free = threading.Event()
    others = [asyncio.get_running_loop().run_in_executor(None, free.wait, 60) for _ in range(99)]
    await write(tmp_path / "file")
    assert names(tmp_path) == ["file"]
    free.set()
    await asyncio.gather(*others)
