"""Runs `aiosmrt.batch.run` in a process of its own, for tests that kill it.

Its one argument is JSON: ``session`` and ``run`` are keywords, ``largest_file`` a limit
of bytes, ``dies_at`` the length of the output at which it kills itself, in the middle of
a write. It prints "ready", "stopping" when a signal has come, and at the end the
summary's fields or the error.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import attrs

import aiosmrt
import aiosmrt.batch


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class Watch:
    def __init__(self) -> None:
        self.has_told = False

    def __call__(self, progress: aiosmrt.batch.Progress) -> None:
        if progress.is_stopping and not self.has_told:
            self.has_told = True
            say("stopping")


def die_at(length: int, path: Path) -> None:
    """Kills this process when the file is so long, within the write that reaches it."""
    write = os.write

    def write_until(descriptor: int, data: Any) -> int:
        fact = os.fstat(descriptor)
        if path.exists() and os.path.samestat(fact, path.stat()):
            room = length - fact.st_size
            if len(data) >= room:
                write(descriptor, data[:room])
                os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, data)

    os.write = write_until


async def main() -> None:
    given = json.loads(sys.argv[1])
    if given.get("dies_at"):
        die_at(given["dies_at"], Path(given["run"]["output"]))
    if given.get("largest_file"):
        limit = given["largest_file"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    keys = aiosmrt.Credentials(*given["session"].pop("credentials"))
    say("ready")
    async with aiosmrt.Session(credentials=keys, **given["session"]) as session:
        try:
            summary = await aiosmrt.batch.run(session, progress=Watch(), **given["run"])
        except (aiosmrt.AiosmrtError, OSError) as error:
            say(json.dumps({"error": type(error).__name__, "text": str(error)}))
        else:
            say(json.dumps(attrs.asdict(summary)))


if __name__ == "__main__":
    asyncio.run(main())
