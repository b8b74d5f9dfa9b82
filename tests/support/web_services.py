"""The examples of async web services, as processes of their own in front of a local endpoint."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from support.cli_process import SECONDS, environment

from aiosmrt.local import ModelResponse

EXAMPLES = Path(__file__).parents[2] / "examples"


def chunk(text):
    return b"data: %s\n\n" % json.dumps({"choices": [{"delta": {"content": text}}]}).encode()


class Model:
    """Streams a token whenever it is told to, and tells when it is cancelled."""

    def __init__(self):
        self.requests = []
        self.tokens = asyncio.Queue()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self, request):
        self.requests.append(json.loads(request.body))
        return ModelResponse(self._stream(), content_type="text/event-stream; charset=utf-8")

    async def _stream(self):
        self.started.set()
        try:
            while (token := await self.tokens.get()) is not None:
                if isinstance(token, Exception):
                    raise token
                yield chunk(token)
            yield b"data: [DONE]\n\n"
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise


# The examples' own calls, but that they listen where the test knows: on a socket of its.
RUN = """
import runpy, socket, sys, uvicorn
from aiohttp import web

path, descriptor = sys.argv[1], int(sys.argv[2])
run, run_app = uvicorn.run, web.run_app
uvicorn.run = lambda app, port, **keywords: run(app, fd=descriptor, **keywords)
web.run_app = lambda app, host, port, **keywords: run_app(
    app, sock=socket.socket(fileno=descriptor), **keywords
)
sys.path.insert(0, path.rpartition("/")[0])
runpy.run_path(path, run_name="__main__")
"""


@asynccontextmanager
async def serving(*words, env, stop=signal.SIGTERM, errors=False):
    """A service that is told, in place of FD, which descriptor it listens on; and its client."""
    with tempfile.TemporaryFile() as stderr:
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *(word.replace("FD", str(listener.fileno())) for word in words),
                env=env,
                pass_fds=[listener.fileno()],
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
            )
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            async with aiohttp.ClientSession(
                url,
                timeout=aiohttp.ClientTimeout(None),  # pytest's own limit ends what hangs
                connector=aiohttp.TCPConnector(limit=0),
            ) as client:
                yield client
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(stop)
            await asyncio.wait_for(process.wait(), SECONDS)
            stderr.seek(0)
            said = stderr.read().decode()
            sys.stderr.write(said)
    assert ("Traceback" in said) == errors


def web_service(local, **variables):
    words = ["-m", "uvicorn", "--app-dir", str(EXAMPLES / "web_service"), "app:app", "--fd", "FD"]
    words += ["--timeout-graceful-shutdown", "3"]
    return serving(*words, env=environment(local, **variables))


def web_service_alone():
    """The chat with its own model, ended by Ctrl-C."""
    path = str(EXAMPLES / "web_service" / "app.py")
    return serving("-c", RUN, path, "FD", env=environment(), stop=signal.SIGINT)


def aiohttp_service(local, *, errors=False):
    path = str(EXAMPLES / "aiohttp_service.py")
    return serving("-c", RUN, path, "FD", env=environment(local), errors=errors)
