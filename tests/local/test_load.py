"""A thousand streams through `aiosmrt local`, and what they take of its memory. Slow."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from support.cli_process import SECONDS, environment, running

import aiosmrt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# The limit of most systems, which a thousand streams, of two connections each, are past.
FEW_FILES = 'ulimit -S -n 1024 && exec "$@"'
PATIENT = aiosmrt.Timeouts(connect=60, read=200, idle=200)


@asynccontextmanager
async def container(invocations):
    """A model container that answers with a function of the test's."""

    async def answer(request):
        if request.path == "/ping":
            return web.Response()
        response = web.StreamResponse()
        await response.prepare(request)
        with suppress(ConnectionError):  # the client has left
            await invocations(response)
        return response

    runner = web.ServerRunner(web.Server(answer, handler_cancellation=True), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def serving(url):
    """The command before a container; gives its process, and a session that calls it."""
    words = ("local", "--port", "0", "--container", f"llm={url}")
    async with running(*words, env=environment(), through=FEW_FILES) as process:
        exports = {}
        while "AWS_SECRET_ACCESS_KEY" not in exports:
            line = (await asyncio.wait_for(process.stderr.readline(), SECONDS)).decode()
            if export := re.fullmatch(r"  export (\w+)=(.*)\n", line):
                exports[export[1]] = export[2]
        async with aiosmrt.Session(
            endpoint_url=exports["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"],
            region=exports["AWS_REGION"],
            credentials=aiosmrt.Credentials(
                exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"]
            ),
            max_connections=2_000,
            timeouts=PATIENT,
        ) as session:
            yield process, session
        process.terminate()


def resident_mib(process):
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


async def test_a_thousand_streams_at_once():
    all_here = asyncio.Event()
    here = 0

    async def invocations(response):
        nonlocal here
        here += 1
        if here == 1_000:
            all_here.set()
        await response.write(b"first")
        await all_here.wait()
        for number in range(20):
            await response.write(b" %d" % number)

    async def read(session):
        async with session.invoke_endpoint_with_response_stream("llm", b"x") as stream:
            return await stream.read()

    async with container(invocations) as url, serving(url) as (process, session):
        before = resident_mib(process)
        answers = await asyncio.gather(*[read(session) for _ in range(1_000)])
        grown = resident_mib(process) - before
    whole = b"first" + b"".join(b" %d" % number for number in range(20))
    assert answers == [whole] * 1_000
    assert grown < 200  # 27 when this was written: 27 KiB a stream


async def test_clients_that_do_not_read_a_flood():
    async def invocations(response):
        piece = bytes(16_384)
        while True:
            await response.write(piece)

    async with container(invocations) as url, serving(url) as (process, session):
        before = resident_mib(process)
        streams = [
            await session.invoke_endpoint_with_response_stream("llm", b"x") for _ in range(50)
        ]
        grown, seen = [-1.0], -2.0
        while grown[-1] > seen:  # until it grows no more
            seen = grown[-1]
            await asyncio.sleep(2)
            grown.append(resident_mib(process) - before)
        for stream in streams:
            await stream.aclose()
    assert grown[-1] < 50 * 4  # 1.2 MiB a stream when this was written, however long it lasts
