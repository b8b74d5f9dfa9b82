"""``aiosmrt`` as its users run it: a process of its own, here against a local endpoint."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import NamedTuple

SECONDS = 50.0

# A shell's background job ignores Ctrl-C (POSIX, "Signals and Error Handling"), and so would
# all that is started here.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# In debug mode asyncio warns on stderr of every step over 0.1 s, such as the first import; its
# errors still reach the tests. For each future it makes it also reads source files, and a Ctrl-C
# just then leaves an open file to the collector.
WITHOUT_SLOW_STEPS = """
import linecache, logging, runpy
logging.getLogger("asyncio").setLevel(logging.ERROR)
linecache.updatecache = lambda *_: []
runpy.run_module("aiosmrt", run_name="__main__", alter_sys=True)
"""
MODULE = ["-c", WITHOUT_SLOW_STEPS] if sys.flags.dev_mode else ["-m", "aiosmrt"]


class Ended(NamedTuple):
    status: int
    stdout: bytes
    stderr: str


def environment(local=None, **variables):
    """The environment of a command; with a local endpoint, one that points it there."""
    given = dict(os.environ)
    if local is not None:
        given |= {
            "AWS_ENDPOINT_URL": local.url,
            "AWS_REGION": local.region,
            "AWS_ACCESS_KEY_ID": local.credentials.access_key_id,
            "AWS_SECRET_ACCESS_KEY": local.credentials.secret_access_key,
        }
    return given | variables


@asynccontextmanager
async def running(*words, env, through=None, **keywords):
    """Starts a command; one that still runs in the end is killed, and that is a failure.

    ``through`` is a line of sh in which ``"$@"`` is the command.
    """
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    command = [sys.executable, *MODULE, *words]
    if through is not None:
        command = ["sh", "-c", through, "sh", *command]
    process = await asyncio.create_subprocess_exec(*command, env=env, **pipes | keywords)
    try:
        yield process
        await asyncio.wait_for(process.wait(), SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        # Reads what is left, so that the pipes' transports close.
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                await pipe.read()
        if process.stdin is not None:
            process.stdin.close()


async def run(*words, env, stdin=b"", **keywords):
    """Runs a command to its end."""
    async with running(*words, env=env, **keywords) as process:
        stdout, stderr = await asyncio.wait_for(process.communicate(stdin), SECONDS)
    return Ended(process.returncode, stdout, stderr.decode())


class Terminal:
    """A terminal of 100 columns, for a command to write to."""

    def __init__(self):
        self._master, self.descriptor = pty.openpty()
        os.set_blocking(self._master, False)
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.shown = ""

    async def shows(self, text):
        """Waits until what was written, without its control sequences, holds this."""
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._master, ready.set)
        try:
            while text not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.shown):
                await asyncio.wait_for(ready.wait(), SECONDS)
                ready.clear()
                with suppress(BlockingIOError):
                    self.shown += os.read(self._master, 65_536).decode()
        finally:
            loop.remove_reader(self._master)

    def close(self):
        os.close(self._master)
        os.close(self.descriptor)


@contextmanager
def terminal():
    made = Terminal()
    try:
        yield made
    finally:
        made.close()
