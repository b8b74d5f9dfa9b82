"""Batch runs where things go wrong for good: a full file system, an endpoint with faults."""

from __future__ import annotations

import collections
import errno
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.batch_runs import check_each_once, child, outcome, read_lines, write_records

import aiosmrt
import aiosmrt.batch
from aiosmrt.local import LocalEndpoint, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture
async def local() -> AsyncIterator[LocalEndpoint]:
    async with LocalEndpoint(seed=9) as local:
        yield local


@pytest.fixture
def seen(local: LocalEndpoint) -> collections.Counter[bytes]:
    seen: collections.Counter[bytes] = collections.Counter()

    async def echo(request: ModelRequest) -> ModelResponse:
        seen[request.body] += 1
        return ModelResponse(request.body, content_type="application/json")

    local.add_model("echo", echo)
    return seen


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, which only root can have."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        # The limit of a file's size is tested everywhere, in batch/test_runner.py.
        pytest.skip(f"no tmpfs can be mounted here: {error}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)


@pytest.mark.parametrize("records_per_request", [1, 50])
async def test_a_full_file_system(local, seen, small_disk, tmp_path, records_per_request):
    source = write_records(tmp_path / "in.jsonl", 600)
    out = small_disk / "out.jsonl"
    run: dict[str, Any] = {"input": source, "output": out, "concurrency": 4}
    run["records_per_request"] = records_per_request
    async with child(local, **run) as process:
        told = await outcome(process)
    assert told["error"] == "OutputError"
    assert f"{out} cannot be written: {os.strerror(errno.ENOSPC)}" in told["text"]
    assert "make room" in told["text"]
    lines = read_lines(out)  # whole ones
    assert 0 < len(lines) < 600
    # Still full, it fails again, and spoils nothing.
    async with child(local, **run) as process:
        assert (await outcome(process))["error"] == "OutputError"
    assert read_lines(out)[: len(lines)] == lines
    lines = read_lines(out)
    make_room(small_disk)
    async with child(local, **run) as process:
        assert (await outcome(process))["skipped"] == len(lines)
    assert check_each_once(out, 600)[: len(lines)] == lines
    assert len(set(b"\n".join(seen).splitlines())) == 600


async def test_a_file_system_that_is_full_from_the_start(local, seen, small_disk, tmp_path):
    source = write_records(tmp_path / "in.jsonl", 10)
    (small_disk / "all").write_bytes(b"x" * 65_536)
    async with child(local, input=source, output=small_disk / "out.jsonl") as process:
        told = await outcome(process)
    assert told["error"] == "OutputError"
    assert not seen
    (small_disk / "all").unlink()
    async with child(local, input=source, output=small_disk / "out.jsonl") as process:
        assert (await outcome(process))["is_complete"]
    check_each_once(small_disk / "out.jsonl", 10)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
async def test_a_file_system_without_room_for_the_table(local, seen, small_disk, tmp_path, name):
    source = write_records(tmp_path / "in.jsonl", 380)  # a journal of 60 KB
    out = small_disk / name
    async with child(local, input=source, output=out) as process:
        told = await outcome(process)
    assert told["error"] == "OutputError"
    assert len(read_lines(small_disk / f"{name}.jsonl")) == 380
    assert sorted(path.name for path in small_disk.iterdir()) == [f"{name}.jsonl", f"{name}.run"]
    make_room(small_disk)
    async with child(local, input=source, output=out) as process:
        assert (await outcome(process))["skipped"] == 380
    assert out.exists()
    assert set(seen.values()) == {1}
    assert sorted(path.name for path in small_disk.iterdir()) == [name, f"{name}.run"]


@pytest.mark.parametrize("concurrency", [32, "auto"])
async def test_an_endpoint_with_faults(local, seen, tmp_path, concurrency):
    local.inject(error="ThrottlingException", above_rate=30)
    local.inject(error="ModelError", probability=0.08)
    local.inject(latency=0.5, probability=0.03)
    source = write_records(tmp_path / "in.jsonl", 100)
    out = tmp_path / "out.jsonl"
    retries = aiosmrt.RetryPolicy(max_attempts=10)
    async with local.session(retries=retries) as session:
        summary = await aiosmrt.batch.run(session, "echo", source, out, concurrency=concurrency)
    lines = check_each_once(out, 100)
    kinds = collections.Counter(line["error"] and line["error"]["type"] for line in lines)
    assert kinds.keys() <= {None, "ModelError", "ThrottlingException"}
    assert 0 < kinds["ModelError"] < 30
    assert kinds[None] > 20
    assert summary.failed == 100 - kinds[None]
    for line in lines:
        if line["error"] is None:
            assert line["output"]["n"] == line["index"]
    # Whoever was answered was asked once: a throttled request did not reach the model.
    assert set(seen.values()) == {1}
    assert len(seen) == kinds[None]
    assert summary.requests == sum(line["attempts"] for line in lines) > 100
