"""Payload bytes to text, lines, server-sent events, JSON values and tokens; without I/O.

A stream's parts end where the container's buffers ended, not where a line, an event, a
value or even a character does. Each decoder here takes bytes cut anywhere, and hands
out what is whole:

    decoder = SSEDecoder()
    decoder.receive_data(chunk)          # any bytes-like, any split
    for event in decoder:                # as many as are whole
        ...
    decoder.receive_eof()
    for event in decoder:                # what only the end could tell, or an error
        ...

``next_unit()`` hands out one at a time, ``NEED_DATA`` when none is whole.

Loads the standard library and attrs only: no asyncio, no HTTP client.
"""

from __future__ import annotations

from aiosmrt.framing._decoder import NEED_DATA, NeedData
from aiosmrt.framing._json_lines import JSONLinesDecoder
from aiosmrt.framing._json_values import JSONValuesDecoder
from aiosmrt.framing._lines import LineDecoder
from aiosmrt.framing._sniff import JSONStreamDecoder
from aiosmrt.framing._sse import ServerSentEvent, SSEDecoder
from aiosmrt.framing._text import TextDecoder
from aiosmrt.framing._tokens import Token, TokenDecoder, TokenUsage

__all__ = [
    "NEED_DATA",
    "JSONLinesDecoder",
    "JSONStreamDecoder",
    "JSONValuesDecoder",
    "LineDecoder",
    "NeedData",
    "SSEDecoder",
    "ServerSentEvent",
    "TextDecoder",
    "Token",
    "TokenDecoder",
    "TokenUsage",
]

for _name in __all__:
    if isinstance(globals()[_name], type):
        globals()[_name].__module__ = __name__
