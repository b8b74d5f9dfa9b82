"""The parts of a body are the body, and end when they are told to."""

from __future__ import annotations

import asyncio
import os

import pytest

from aiosmrt._s3.upload_parts import UploadParts

MIB = 1024 * 1024


async def nothing() -> None:
    pass


@pytest.mark.parametrize(
    "length, lengths",
    [(0, []), (1, [1]), (8 * MIB, [8 * MIB]), (8 * MIB + 1, [8 * MIB, 1])],
)
@pytest.mark.parametrize("from_file", [True, False])
async def test_the_parts_are_the_body(tmp_path, length, lengths, from_file):
    body = os.urandom(length)
    (tmp_path / "file").write_bytes(body)
    async with UploadParts(tmp_path / "file" if from_file else body, nothing) as parts:
        assert parts.total_length == length
        for _ in range(2):
            found = [bytes(part) async for part in parts]
            assert list(map(len, found)) == lengths
            assert b"".join(found) == body
            await parts.rewind()


@pytest.mark.parametrize("length", [5 * MIB, 20 * MIB])
@pytest.mark.parametrize("change", [-1, 1])
async def test_a_file_that_changes_meanwhile_is_an_error(tmp_path, length, change):
    path = tmp_path / "file"
    path.write_bytes(b"x" * length)
    async with UploadParts(path, nothing) as parts:
        with path.open("r+b") as file:
            file.truncate(length + change)
        with pytest.raises(OSError, match=f"it had {length} bytes, and was changed") as caught:
            async for _ in parts:
                pass
        assert parts.error is caught.value
        assert caught.value.filename == str(path)


async def test_what_is_no_regular_file_has_no_length_and_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        async with UploadParts(tmp_path / "pipe", nothing):
            pytest.fail("it would wait for a writer")


async def test_a_huge_file_has_no_more_parts_than_s3_takes(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(100_000 * MIB)  # sparse
    async with UploadParts(tmp_path / "file", nothing) as parts:
        assert parts.total_length / parts.part_length <= 9_000


async def test_what_comes_before_each_part_is_awaited_and_its_error_kept():
    asked = 0

    async def count():
        nonlocal asked
        asked += 1
        if asked == 3:
            raise ValueError("third")

    async with UploadParts(b"x" * (17 * MIB), count) as parts:
        await anext(parts)
        await anext(parts)
        with pytest.raises(ValueError, match="third"):
            await anext(parts)
        assert isinstance(parts.error, ValueError)


async def test_a_cancelled_upload_hears_of_it_from_its_iterator():
    """obstore aborts an upload whose iterator raises: only then may the wait end."""
    heard = asyncio.Event()

    async with UploadParts(b"x" * (17 * MIB), nothing) as parts:

        async def upload():
            await anext(parts)
            await free.wait()
            try:
                await anext(parts)
            finally:
                heard.set()

        free = asyncio.Event()
        waiting = asyncio.create_task(parts.finish(asyncio.ensure_future(upload())))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        free.set()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert heard.is_set()


async def test_an_upload_that_does_not_listen_is_cancelled(monkeypatch):
    monkeypatch.setattr("aiosmrt._s3.upload_parts._ABORT_SECONDS", 0.01)
    async with UploadParts(b"", nothing) as parts:
        deaf = asyncio.ensure_future(asyncio.Event().wait())
        waiting = asyncio.create_task(parts.finish(deaf))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await deaf
