"""What `aiosmrt local` adds to the first part of a stream: `python tests/bench/local_latency.py`.

One process each for a model container, the local endpoint before it, and this client, which
asks the container itself and the endpoint in turn, over a connection to each that is kept.
The clock runs from the request's first byte until the first part's bytes are here; requests
are signed before, and the endpoint checks the signature.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = b"first"
BODY = b'{"inputs": "hi"}'
PATH = "/endpoints/llm/invocations-response-stream"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The container: a chunk of one part, then the end."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(PART), PART)
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            if asked.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            else:
                await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", asked)[1]))
                writer.write(head + chunk)
                await asyncio.sleep(0)  # the end is a write of its own, as a model's is
                writer.write(b"0\r\n\r\n")
    writer.close()


async def contain() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextlib.contextmanager
def running(command: list[str], stream: str) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(command, **{stream: subprocess.PIPE}, text=True)
    try:
        yield child
    finally:
        child.terminate()
        child.communicate()


class Caller:
    """Sends the same request again and again."""

    def __init__(self, url: str, path: str, headers: dict[str, str]) -> None:
        where = urlsplit(url)
        self.socket = socket.create_connection((where.hostname, where.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self.request = "\r\n".join([*lines, "", ""]).encode() + BODY

    def seconds(self) -> float:
        """From the request's first byte to the first part."""
        received = b""
        begun = time.perf_counter()
        self.socket.sendall(self.request)
        while PART not in received:
            received += self.receive()
        seconds = time.perf_counter() - begun
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += self.receive()
        return seconds

    def receive(self) -> bytes:
        if not (data := self.socket.recv(65_536)):
            raise ConnectionError("the answer has no end")
        return data


def signed(url: str, exports: dict[str, str]) -> dict[str, str]:
    request = botocore.awsrequest.AWSRequest("POST", url + PATH, data=BODY)
    keys = botocore.credentials.Credentials(
        exports["AWS_ACCESS_KEY_ID"], exports["AWS_SECRET_ACCESS_KEY"]
    )
    botocore.auth.SigV4Auth(keys, "sagemaker", exports["AWS_REGION"]).add_auth(request)
    return {"Host": urlsplit(url).netloc, "Content-Length": str(len(BODY)), **request.headers}


def compare(calls: int, container_url: str, exports: dict[str, str]) -> None:
    plain = {"Host": "container", "Content-Length": str(len(BODY))}
    local_url = exports["AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME"]
    callers = {
        "the container alone": Caller(container_url, "/invocations", plain),
        "through aiosmrt local": Caller(local_url, PATH, signed(local_url, exports)),
    }
    for caller in callers.values():
        for _ in range(50):
            caller.seconds()
    taken: dict[str, list[float]] = {name: [] for name in callers}
    for _ in range(calls):
        for name, caller in callers.items():
            taken[name].append(caller.seconds() * 1000)
    alone, through = taken.values()
    taken["added"] = [after - before for before, after in zip(alone, through, strict=True)]
    print(
        f"First part of a stream, ms; {calls} calls in turn, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for name, figures in taken.items():
        tenths = statistics.quantiles(figures, n=10)
        print(f"{name:>22}: 10 % {tenths[0]:.2f}, median {tenths[4]:.2f}, 90 % {tenths[8]:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=1000)
    parser.add_argument("--contain", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contain:
        asyncio.run(contain())
        return
    with running([sys.executable, __file__, "--contain"], "stdout") as container:
        url = f"http://127.0.0.1:{int(container.stdout.readline())}"
        command = [sys.executable, "-m", "aiosmrt", "local", "--port=0", f"--container=llm={url}"]
        with running(command, "stderr") as local:
            exports: dict[str, str] = {}
            while "AWS_SECRET_ACCESS_KEY" not in exports:
                if found := re.fullmatch(r" *export (\w+)=(.*)\n", local.stderr.readline()):
                    exports[found[1]] = found[2]
            compare(options.calls, url, exports)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
