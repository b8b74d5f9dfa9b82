"""One client in a process of its own; does what each line of its input says, and reports.

    python worker.py CLIENT LOOP URL [CA.pem]

A line is a JSON object: ``do`` is ``rounds`` (make ``count`` calls, ``flight`` at a
time), ``many`` and ``run`` (make them by `invoke_many` and `aiosmrt.batch.run`),
``memory`` (hold ``count`` streams open), ``follow`` (read paced streams), ``stall`` (make
a call while a ticker measures how long the loop was kept busy) or ``end``. What is measured
is this process's own CPU time, so that a busy machine, or the server, changes little of it.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clients import CLIENTS, CONNECTIONS, CONTENT_TYPE
from follower import follow, resident


def expect(endpoint: str, found: int | None) -> None:
    number = endpoint.rpartition("-")[2]
    if found is not None and found != int(number):
        raise AssertionError(f"{endpoint} gave {found}")


def write_records(path: Path, count: int, length: int) -> None:
    text = "x" * (length - 30)
    with path.open("w", encoding="ascii") as file:
        for number in range(count):
            file.write(f'{{"id": {number}, "x": "{text}"}}\n')


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


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

    async def many(
        self, *, endpoint: str, body: int, count: int, flight: int, blocks: int = 1
    ) -> dict[str, Any]:
        """The same calls by `invoke_many`; tells the memory after each block of them."""
        data = b"x" * body
        requests = (data for _ in range(count))
        mib: list[tuple[int, float]] = []
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        items = self.client.session.invoke_many(
            endpoint, requests, concurrency=flight, content_type=CONTENT_TYPE
        )
        done = 0
        async for item in items:
            expect(endpoint, len(item.output.body))
            done += 1
            if done * blocks // count > len(mib):
                mib.append((done, resident() / 2**20))
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        return {**spent, "blocks": mib}

    async def run(
        self, *, endpoint: str, body: int, count: int, flight: int, blocks: int = 1
    ) -> dict[str, Any]:
        """The same by `aiosmrt.batch.run`, from a file and into one."""
        from aiosmrt import batch

        mib: list[tuple[int, float]] = []

        def watch(progress: batch.Progress) -> None:
            if progress.done * blocks // count > len(mib):
                mib.append((progress.done, resident() / 2**20))

        with tempfile.TemporaryDirectory() as folder:
            source, output = Path(folder, "in.jsonl"), Path(folder, "out.jsonl")
            write_records(source, count, body)
            wall, cpu = time.perf_counter(), time.process_time()
            summary = await batch.run(
                self.client.session,
                endpoint,
                source,
                output,
                key_field="id",
                concurrency=flight,
                progress=watch,
            )
            spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
            lines = count_lines(output)
        if lines != count or summary.failed:
            raise AssertionError(f"{lines} lines of {count}, {summary.failed} failed")
        return {**spent, "blocks": mib}

    async def memory(self, endpoint: str, count: int) -> dict[str, float]:
        """Holds streams open: what each adds to the process."""
        held = [await self.client.hold(endpoint, b"x")]
        gc.collect()
        before = resident()
        for _ in range(count):
            held.append(await self.client.hold(endpoint, b"x"))  # noqa: PERF401 - one by one
        gc.collect()
        grown = resident() - before
        for stream in held:
            await self.client.drop(stream)
        return {"bytes": grown / count}

    async def follow(self, **order: Any) -> dict[str, float]:
        """Reads many paced streams at once; see `follower`."""
        return await follow(self.client, **order)

    async def stall(
        self, operation: str, endpoint: str, body: int, *, as_json: bool = False
    ) -> dict[str, float]:
        """The longest time that the loop's thread was kept busy in one turn during a call."""
        data: Any = b"x" * body
        if as_json:
            operation = "invoke_json"
            row = [number / 7 for number in range(784)]
            data = {"instances": [row] * (body // len(repr(row)))}
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
        report["mib"] = resident() / 2**20
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
