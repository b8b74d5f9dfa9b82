"""One client in a process of its own; does what each line of its input says, and reports.

    python worker.py CLIENT LOOP URL [CA.pem]

A line is a JSON object: ``do`` is ``rounds`` (make ``count`` calls, ``flight`` at a
time), ``memory`` (hold ``count`` streams open), ``stall`` (make a call while a ticker
measures how long the loop was kept busy) or ``end``. What is measured is this process's
own CPU time, so that a busy machine, or the server, changes little of it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clients import CLIENTS, CONNECTIONS


def expect(endpoint: str, found: int | None) -> None:
    number = endpoint.rpartition("-")[2]
    if found is not None and found != int(number):
        raise AssertionError(f"{endpoint} gave {found}")


class Worker:
    def __init__(self, client: Any) -> None:
        self.client = client
        self.threads = ThreadPoolExecutor(CONNECTIONS)

    async def _lane(self, operation: str, endpoint: str, body: bytes, calls: int) -> None:
        call = getattr(self.client, operation)
        if inspect.iscoroutinefunction(call):
            for _ in range(calls):
                expect(endpoint, await call(endpoint, body))
        else:

            def work() -> None:
                for _ in range(calls):
                    expect(endpoint, call(endpoint, body))

            await asyncio.get_running_loop().run_in_executor(self.threads, work)

    async def _calls(
        self, operation: str, endpoint: str, body: bytes, count: int, flight: int
    ) -> None:
        each = max(count // flight, 1)
        lanes = min(flight, count)
        if lanes == 1:
            await self._lane(operation, endpoint, body, each)
        else:
            await asyncio.gather(
                *(self._lane(operation, endpoint, body, each) for _ in range(lanes))
            )

    async def rounds(
        self, *, operation: str, endpoint: str, body: int, count: int, flight: int, warm: int
    ) -> dict[str, float]:
        """Makes calls: first ``warm`` that open the connections, then those that count."""
        data = b"x" * body
        if warm:
            await self._calls(operation, endpoint, data, warm, flight)
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        await self._calls(operation, endpoint, data, count, flight)
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    async def memory(self, endpoint: str, count: int) -> dict[str, float]:
        """Holds streams open: what each adds to the process."""
        held = [await self.client.hold(endpoint, b"x")]
        gc.collect()
        before = _resident()
        for _ in range(count):
            held.append(await self.client.hold(endpoint, b"x"))  # noqa: PERF401 - one by one
        gc.collect()
        grown = _resident() - before
        for stream in held:
            await self.client.drop(stream)
        return {"bytes": grown / count}

    async def stall(self, operation: str, endpoint: str, body: int) -> dict[str, float]:
        """The longest time that the loop's thread was kept busy in one turn during a call."""
        data = b"x" * body
        await self._lane(operation, endpoint, data, 1)
        task = asyncio.ensure_future(self._lane(operation, endpoint, data, 1))
        longest = 0.0
        last = time.thread_time()
        while not task.done():
            await asyncio.sleep(0)
            # The CPU time of this thread alone: what other processes do is not in it.
            now = time.thread_time()
            longest, last = max(longest, now - last), now
        await task
        return {"seconds": longest}


def _resident() -> int:
    """This process's memory now, of which Linux alone tells; elsewhere its peak."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return pages * resource.getpagesize()


async def main(name: str, url: str, ca: str | None = None) -> None:
    client = CLIENTS[name]()
    await client.open(url, ca)
    worker = Worker(client)
    for line in sys.stdin:
        order = json.loads(line)
        do = order.pop("do")
        if do == "end":
            break
        report = await getattr(worker, do)(**order)
        # Since the process began: of the first order, what a fresh process's first call takes.
        report["process_cpu"] = time.process_time()
        report["mib"] = _resident() / 2**20
        sys.stdout.write(json.dumps(report) + "\n")
        sys.stdout.flush()
    worker.threads.shutdown()
    await client.close()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    _, chosen, loop, *where = sys.argv
    if loop == "uvloop":
        import uvloop

        uvloop.run(main(chosen, *where))
    else:
        asyncio.run(main(chosen, *where))
