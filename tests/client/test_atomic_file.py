"""A file is there whole, or is as it was before."""

from __future__ import annotations

import asyncio
import os
import resource
import threading

import pytest

from aiosmrt._client.atomic_file import AtomicFile, _in_thread


def names(directory):
    return sorted(path.name for path in directory.iterdir())


async def test_the_file_takes_its_place_at_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"older")
    async with AtomicFile(path) as file:
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
        async with AtomicFile(tmp_path / "file") as file:
            await file.write(b"newer")
            raise error
    assert (tmp_path / "file").read_bytes() == b"older"
    assert names(tmp_path) == ["file"]


async def test_a_relative_name_is_taken_where_the_process_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with AtomicFile("file") as file:
        await file.write(b"here")
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666])
async def test_the_older_ones_permissions_are_kept_from_the_first_byte_on(tmp_path, mode):
    path = tmp_path / "file"
    path.touch()
    path.chmod(mode)
    async with AtomicFile(path) as file:
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
    async with AtomicFile(tmp_path / "link") as file:
        await file.write(b"newer")
    assert (tmp_path / "link").is_symlink()
    assert path.read_bytes() == b"newer"
    assert names(tmp_path / "elsewhere") == ["file"]


async def test_what_is_no_regular_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "directory"):
        with pytest.raises(OSError, match="not a regular file") as caught:
            async with AtomicFile(tmp_path / name):
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
            async with AtomicFile(tmp_path / "file") as file:
                await file.write(b"x" * length)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not names(tmp_path)


async def test_a_missing_directory_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        async with AtomicFile(tmp_path / "missing" / "file"):
            pytest.fail("there is nothing to write to")


@pytest.mark.parametrize("error", [None, OSError("late")])
async def test_a_cancelled_wait_outlasts_the_thread(error):
    """The thread still has the file in its hands: nobody may close it yet."""
    entered, free, is_through = threading.Event(), threading.Event(), False

    def work():
        nonlocal is_through
        entered.set()
        free.wait(10)
        is_through = True
        if error is not None:
            raise error

    task = asyncio.create_task(_in_thread(work))
    await asyncio.to_thread(entered.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    free.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_through
