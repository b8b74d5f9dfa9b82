"""The server of the benchmark: canned answers, on uvloop, in a process of its own.

What to answer is the endpoint's name: ``bytes-N`` is a JSON text of N bytes; ``tokens-N``
a stream of N token-size events, 64 to an HTTP chunk; ``flushes-N`` the same with a
chunk for each; ``parts-N`` a stream of N parts of 64 KiB; ``idle`` one event, then
silence. Each is built once and written whole, so that the server is never what is
measured.

    python server.py [CERTIFICATE.pem]      prints its port
"""

from __future__ import annotations

import asyncio
import functools
import random
import ssl
import sys

import uvloop

from aiosmrt.eventstream import encode_message

PART_HEADERS = {
    ":message-type": "event",
    ":event-type": "PayloadPart",
    ":content-type": "application/octet-stream",
}
HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"x-amzn-RequestId: 0f1c1a6e-7b5d-4c1e-9f0a-1234567890ab\r\n"
    b"x-Amzn-Invoked-Production-Variant: AllTraffic\r\n"
    b"Date: Sun, 22 Nov 2026 18:00:00 GMT\r\n"
)


def token_event(seed: int) -> bytes:
    """An event as a language model's server flushes it."""
    text = b'data: {"token":{"id":%d,"text":" word"}}\n\n' % random.Random(seed).randrange(100_000)
    return encode_message(PART_HEADERS, text)


def _stream(chunks: list[bytes], *, ends: bool = True) -> bytes:
    head = HEAD + b"X-Amzn-SageMaker-Content-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b"".join([b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks])
    return head + body + (b"0\r\n\r\n" if ends else b"")


@functools.lru_cache
def answer(endpoint: str) -> bytes:
    """The whole response of an endpoint."""
    kind, _, number = endpoint.partition("-")
    if kind == "bytes":
        length = int(number)
        return (
            HEAD
            + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length
            + (b'"%b"' % (b"x" * (length - 2)))
        )
    if kind == "parts":
        part = encode_message(PART_HEADERS, random.Random(1).randbytes(65_536))
        return _stream([part] * int(number))
    if kind == "idle":
        return _stream([token_event(0)], ends=False)
    events = [token_event(seed) for seed in range(int(number))]
    step = 64 if kind == "tokens" else 1
    return _stream([b"".join(events[at : at + step]) for at in range(0, len(events), step)])


class Answerer(asyncio.Protocol):
    """Answers one request after the other; reads of a body only its length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.head = b""
        self.left = 0
        self.response = b""

    def data_received(self, data: bytes) -> None:
        if self.left:
            taken = min(self.left, len(data))
            self.left -= taken
            if self.left:
                return
            data = data[taken:]
            self.transport.write(self.response)
        self.head += data
        end = self.head.find(b"\r\n\r\n")
        if end < 0:
            return
        head, rest = self.head[:end].lower(), self.head[end + 4 :]
        self.head = b""
        self.response = answer(head.split(b"/", 3)[2].decode())
        self.left = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        if self.left:
            if rest:
                self.data_received(rest)
        else:
            self.transport.write(self.response)


async def main(certificate: str | None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(
        Answerer, "127.0.0.1", 0, ssl=context, backlog=4096
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:] or [None]))
