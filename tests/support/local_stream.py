"""A streaming call made by hand, so that the time and the place of each read are the test's."""

from __future__ import annotations

import asyncio

from support.local_clients import signed_headers

from aiosmrt.eventstream import EventStreamDecoder


def decoded(body):
    decoder = EventStreamDecoder()
    decoder.receive_data(body)
    messages = list(decoder)
    decoder.receive_eof()
    return messages


STREAM = "/endpoints/{}/invocations-response-stream"


class Stream:
    """A stream read by hand, so that the time and the place of each read are the test's."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self._decoder = EventStreamDecoder()
        self._messages = []

    @classmethod
    async def open(cls, local, endpoint_name, body=b""):
        path = STREAM.format(endpoint_name)
        headers = signed_headers(local, path, body) | {"Content-Length": str(len(body))}
        reader, writer = await asyncio.open_connection(local.host, local.port)
        head = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        host = f"Host: {local.host}:{local.port}\r\n"
        writer.write(f"POST {path} HTTP/1.1\r\n{host}{head}\r\n".encode() + body)
        stream = cls(reader, writer)
        stream.head = await reader.readuntil(b"\r\n\r\n")
        assert stream.head.startswith(b"HTTP/1.1 200 ")
        return stream

    async def part(self):
        while not self._messages:
            length = int(await self.reader.readline(), 16)
            self._decoder.receive_data(await self.reader.readexactly(length))
            await self.reader.readexactly(2)
            self._messages += list(self._decoder)
        return self._messages.pop(0).payload

    async def aclose(self):
        self.writer.transport.abort()
