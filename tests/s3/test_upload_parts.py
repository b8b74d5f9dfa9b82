"""The parts of a body are the body."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aiosmrt._s3.upload_parts import UploadParts
from aiosmrt._threads import Threads

MIB = 1024 * 1024


@pytest.mark.parametrize(
    "length, lengths",
    [(0, []), (1, [1]), (8 * MIB, [8 * MIB]), (8 * MIB + 1, [8 * MIB, 1])],
)
@pytest.mark.parametrize("from_file", [True, False])
async def test_the_parts_are_the_body(tmp_path, length, lengths, from_file):
    body = os.urandom(length)
    (tmp_path / "file").write_bytes(body)
    async with UploadParts(tmp_path / "file" if from_file else body, Threads()) as parts:
        assert parts.total_length == length
        found = []
        while part := await parts.read():
            found.append(bytes(part))
        assert list(map(len, found)) == lengths
        assert b"".join(found) == body


@pytest.mark.parametrize("length", [5 * MIB, 20 * MIB])
@pytest.mark.parametrize("change", [-1, 1])
async def test_a_file_that_changes_meanwhile_is_an_error(tmp_path, length, change):
    path = tmp_path / "file"
    path.write_bytes(b"x" * length)
    async with UploadParts(path, Threads()) as parts:
        with path.open("r+b") as file:
            file.truncate(length + change)
        with pytest.raises(OSError, match=f"it had {length} bytes, and was changed") as caught:
            while await parts.read():
                pass
        assert caught.value.filename == str(path)


@pytest.mark.parametrize("length", [5 * MIB, 8 * MIB, 20 * MIB])
@pytest.mark.parametrize("at", [0, 1])
async def test_a_file_that_is_written_to_meanwhile_is_an_error(tmp_path, length, at):
    """In its place, or behind a body of just one part: both have as many bytes as were wanted."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * length)
    os.utime(path, (1, 1))
    async with UploadParts(path, Threads()) as parts:
        with path.open("r+b") as file:
            file.seek(at * length)
            file.write(b"y")
        with pytest.raises(OSError, match="changed while it was uploaded"):
            await parts.read()


@pytest.mark.parametrize("path", ["/proc/version", "/sys/devices/system/cpu/online"])
async def test_a_file_of_the_kernels_with_another_length_than_it_says_is_an_error(path):
    """One says that it has no bytes, the other that it has a page of them."""
    async with UploadParts(Path(path), Threads()) as parts:
        with pytest.raises(OSError, match="and was changed while it was uploaded"):
            await parts.read()


async def test_what_is_no_regular_file_has_no_length_and_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        async with UploadParts(tmp_path / "pipe", Threads()):
            pytest.fail("it would wait for a writer")


async def test_a_huge_file_has_no_more_parts_than_s3_takes(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        file.truncate(100_000 * MIB)  # sparse
    async with UploadParts(tmp_path / "file", Threads()) as parts:
        assert parts.total_length / parts.part_length <= 9_000
