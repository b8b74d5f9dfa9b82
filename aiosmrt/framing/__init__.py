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

Loads the standard library and attrs only: no asyncio, no HTTP client.
"""

from __future__ import annotations

from aiosmrt.framing.json_lines import JSONLinesDecoder
from aiosmrt.framing.json_values import JSONValuesDecoder
from aiosmrt.framing.lines import LineDecoder
from aiosmrt.framing.sniff import JSONStreamDecoder
from aiosmrt.framing.sse import ServerSentEvent, SSEDecoder
from aiosmrt.framing.text import TextDecoder
from aiosmrt.framing.tokens import Token, TokenDecoder, TokenUsage

__all__ = [
    "JSONLinesDecoder",
    "JSONStreamDecoder",
    "JSONValuesDecoder",
    "LineDecoder",
    "SSEDecoder",
    "ServerSentEvent",
    "TextDecoder",
    "Token",
    "TokenDecoder",
    "TokenUsage",
]
