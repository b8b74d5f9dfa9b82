"""Runs `aiosmrt.batch.run` in a process of its own, for tests that kill it.

Its one argument is JSON: ``session`` and ``run`` are keywords, ``largest_file`` a limit
of bytes. It prints "ready", "stopping" when a signal has come, and at the end the
summary's fields or the error.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys

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


async def main() -> None:
    given = json.loads(sys.argv[1])
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
