"""The AWS event-stream encoding, decoded and encoded without I/O.

    decoder = EventStreamDecoder()
    decoder.receive_data(chunk)          # any bytes-like, any split
    for message in decoder:              # as many as are whole
        message.headers, message.payload
    decoder.receive_eof()                # raises when bytes remain

Loads the standard library and attrs only: no asyncio, no HTTP client.
"""

from __future__ import annotations

from aiosmrt.eventstream._decoder import EventStreamDecoder
from aiosmrt.eventstream._headers import Byte, HeaderValue, Int32, Int64, Short
from aiosmrt.eventstream._message import Message, encode_message

__all__ = [
    "Byte",
    "EventStreamDecoder",
    "HeaderValue",
    "Int32",
    "Int64",
    "Message",
    "Short",
    "encode_message",
]

for _public in (Byte, EventStreamDecoder, Int32, Int64, Message, Short, encode_message):
    _public.__module__ = __name__
