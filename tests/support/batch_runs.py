"""Batch runs in processes of their own, and what lies in their files."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiosmrt.local import LocalEndpoint

CHILD = Path(__file__).with_name("batch_child.py")
FIELDS = ["key", "index", "output", "content_type", "error", "attempts", "latency"]


def descriptors() -> list[Path]:
    """What this process has open."""
    return sorted(Path("/dev/fd").iterdir())


def write_records(path: Path, count: int) -> Path:
    path.write_text("".join(f'{{"id": "k{number}", "n": {number}}}\n' for number in range(count)))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    assert not data or data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def check_each_once(path: Path, count: int) -> list[dict[str, Any]]:
    lines = read_lines(path)
    assert all(list(line) == FIELDS for line in lines)
    assert sorted(line["index"] for line in lines) == list(range(count))
    return lines


@asynccontextmanager
async def child(
    local: LocalEndpoint,
    *,
    largest_file: int | None = None,
    dies_at: int | None = None,
    **run: Any,
) -> AsyncIterator[asyncio.subprocess.Process]:
    keys = local.credentials
    given = {
        "session": {
            "endpoint_url": local.url,
            "region": local.region,
            "credentials": [keys.access_key_id, keys.secret_access_key],
        },
        "run": {"endpoint_name": "echo", "resume": True, **run},
        "largest_file": largest_file,
        "dies_at": dies_at,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), json.dumps(given, default=str), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def outcome(process: asyncio.subprocess.Process) -> dict[str, Any]:
    stdout, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(stdout)
