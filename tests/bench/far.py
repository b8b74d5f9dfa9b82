"""Puts a server 20 ms away: hands bytes on to it and back, in each direction 10 ms late.

A kernel opens connections at once, whatever the process that accepts them does. So the round
trip of opening one is added to the first bytes that come: whoever connects has nothing else to
do until the answer to these.

    python far.py PORT      prints its own port
"""

from __future__ import annotations

import asyncio
import sys

ONE_WAY = 0.010


async def hand_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, opened: float
) -> None:
    """Hands bytes on, in their order, those that came before ``opened`` as if they came then."""
    loop = asyncio.get_running_loop()
    due = opened
    while True:
        data = await reader.read(65_536)
        # Timers of the same time have no order.
        due = max(due + 1e-6, max(loop.time(), opened) + ONE_WAY)
        if not data:
            loop.call_at(due, writer.close)
            return
        loop.call_at(due, writer.write, data)


async def main(port: str) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = asyncio.get_running_loop().time() + 2 * ONE_WAY
        near_reader, near_writer = await asyncio.open_connection("127.0.0.1", int(port))
        await asyncio.gather(
            hand_on(reader, near_writer, opened), hand_on(near_reader, writer, opened)
        )

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
