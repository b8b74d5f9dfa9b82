"""A server whose streams send their events at a rate, each event in a TCP segment of its own.

A language model's endpoint does so: it writes a token when it has one. Every event carries
this server's clock, `time.monotonic`, which all processes of a machine share.

A request for ``.../invocations-response-stream`` gets a head and waits. A request for the
endpoint ``go-RATE-EVENTS`` starts all streams that wait: RATE events a second and EVENTS in
all for each of them. The streams begin at random moments of one period, the same for every
client, so that no two events are due at once.

A line on its input asks how late the events of the last start were: seconds at the 99th
percentile, and how many they were.

    python paced_server.py      prints its port
"""

from __future__ import annotations

import asyncio
import json
import resource
import struct
import sys
import time
from zlib import crc32

from server import HEAD, PART_HEADERS, answer
from stamps import EVENT, starts

from aiosmrt.eventstream import encode_message

_STREAM_HEAD = (
    HEAD + b"X-Amzn-SageMaker-Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
# From the answer to ``go`` until the first event: the time to begin reading.
_PAUSE = 0.1


class Frame:
    """An event's chunk; only the clock in it, and the checksum, are made anew."""

    def __init__(self) -> None:
        event = EVENT % 0.0
        message = encode_message(PART_HEADERS, event)
        before = message[: message.index(event)]
        self.start = b"%x\r\n%b" % (len(message), before)
        self.checksum = crc32(before)

    def at(self, now: float) -> bytes:
        event = EVENT % now
        checksum = struct.pack(">I", crc32(event, self.checksum))
        return b"%b%b%b\r\n" % (self.start, event, checksum)


class Pacer:
    """Starts the streams that wait, and knows how late it was."""

    def __init__(self) -> None:
        self.waiting: list[asyncio.WriteTransport] = []
        self.late: list[float] = []

    def begin(self, rate: float, events: int) -> None:
        """Sends everything that is due, until the end.

        The loop stands still meanwhile: its own timers would be a millisecond late.
        """
        streams, self.waiting = self.waiting, []
        self.late = []
        offsets = starts(len(streams), rate)
        frame, late = Frame(), self.late
        first = time.monotonic()
        for number in range(events + 1):
            for stream, start in zip(streams, offsets, strict=True):
                due = first + number / rate + start
                now = time.monotonic()
                if now < due:
                    time.sleep(due - now)
                    now = time.monotonic()
                if number < events:
                    late.append(now - due)
                    stream.write(frame.at(now))
                else:
                    stream.write(b"0\r\n\r\n")

    def lateness(self) -> dict[str, float]:
        late = sorted(self.late)
        return {"events": len(late), "late": late[len(late) * 99 // 100] if late else 0.0}


class Streamer(asyncio.Protocol):
    """Answers one request after the other."""

    def __init__(self, pacer: Pacer) -> None:
        self.pacer = pacer
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport in self.pacer.waiting:
            self.pacer.waiting.remove(self.transport)

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        if not found:
            return
        head = head.lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self.received = b""
        _, _, endpoint, operation = head.partition(b" http")[0].split(b"/")
        if operation == b"invocations-response-stream":
            self.transport.write(_STREAM_HEAD)
            self.pacer.waiting.append(self.transport)
            return
        self.transport.write(answer("bytes-2"))
        _, rate, events = endpoint.decode().split("-")
        loop = asyncio.get_running_loop()
        loop.call_later(_PAUSE, self.pacer.begin, float(rate), int(events))


async def main() -> None:
    pacer = Pacer()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Streamer(pacer), "127.0.0.1", 0, backlog=4096)
    ended = asyncio.Event()

    def report() -> None:
        if not sys.stdin.readline():
            loop.remove_reader(sys.stdin)
            ended.set()
            return
        sys.stdout.write(json.dumps(pacer.lateness()) + "\n")
        sys.stdout.flush()

    loop.add_reader(sys.stdin, report)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await ended.wait()


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    # On asyncio's loop a transport writes at once; uvloop's would wait for the loop's next turn.
    asyncio.run(main())
