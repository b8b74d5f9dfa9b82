"""The chunks of a body, taken as aiohttp's reader holds them.

Its ``readany`` copies all that has arrived into one bytes, and for each chunk in it asks
the connection for more, which since aiohttp 3.14 runs the parser. Here nothing is copied
but small chunks, and the connection is asked once. A reader of an aiohttp to come that
keeps its chunks elsewhere is read by the method below ``readany``.
"""

# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.client_proto import ResponseHandler

__all__ = ["take_chunks", "wait_for_chunks"]

# Below it, on average, chunks are joined: a copy costs less than handling each.
_SMALL = 4_096


def take_chunks(payload: StreamReader, protocol: ResponseHandler) -> list[bytes]:
    """Takes all that has arrived. Small chunks come as one.

    Args:
        payload: The reader; not an ended one.
        protocol: The connection, which goes on reading if the reader was full.

    Returns:
        Some chunks, none of them empty, or none.
    """
    try:
        buffer, size, cursor = payload._buffer, payload._size, payload._cursor
        splits, paused = payload._http_chunk_splits, protocol._reading_paused
    except AttributeError:
        data = payload._read_nowait(-1)
        return [data] if data else []
    if not buffer:
        return []
    chunks = list(buffer)
    buffer.clear()
    payload._size, payload._cursor = 0, cursor + size
    if splits:
        splits.clear()  # where the chunks of HTTP end, which nobody asks for
    if paused:
        protocol.resume_reading()
    return chunks if size >= _SMALL * len(chunks) else [b"".join(chunks)]


async def wait_for_chunks(payload: StreamReader, protocol: ResponseHandler) -> list[bytes]:
    """Takes what arrives next.

    Returns:
        Some chunks, or none at the body's end.

    Raises:
        Exception: The reader's own, for a connection that broke, or what was set on it.
    """
    try:
        wait, buffer = payload._wait, payload._buffer
    except AttributeError:
        data = await payload.readany()
        return [data] if data else []
    while not buffer and not payload.is_eof():
        failure = payload.exception()
        if failure is not None:
            raise failure
        await wait("wait_for_chunks")
    return take_chunks(payload, protocol)
