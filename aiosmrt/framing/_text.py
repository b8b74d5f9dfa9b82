"""Bytes to text: strict UTF-8 that may be cut anywhere, and what the decoders share.

A part ends where the container's buffer ended, often inside a character. Bytes that can
never become UTF-8 are an error, not U+FFFD: a payload that was damaged must not pass for
one that was not.
"""

from __future__ import annotations

from codecs import utf_8_decode
from collections import deque
from copy import copy
from typing import Literal, TypeAlias

from aiosmrt._values import to_bytes
from aiosmrt.errors import EventStreamError, InvalidMessageError, StreamTruncatedError
from aiosmrt.framing._decoder import NEED_DATA, Decoder, NeedData

__all__ = [
    "BOM",
    "MAX_LENGTH",
    "BytesLike",
    "TextDecoder",
    "Utf8",
    "decode_utf8",
    "unfinished",
]

BytesLike: TypeAlias = bytes | bytearray | memoryview

BOM = b"\xef\xbb\xbf"

# Far above any real line, event or value (one event-stream message carries 24 MiB at
# most), yet it keeps a stream without a line end from filling memory.
MAX_LENGTH = 64 * 1024 * 1024


def decode_utf8(data: bytes, kind: str, number: int, offset: int = 0) -> str:
    """Decodes a ``line`` or ``event``, whose number counts from 1, from its byte ``offset`` on.

    Raises:
        InvalidMessageError: It is not UTF-8; the text says at which of its bytes.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        position = offset + error.start
    # Outside the handler: the UnicodeDecodeError holds the payload, and would be
    # this error's context.
    raise InvalidMessageError(f"Byte {position} of {kind} {number} is not valid UTF-8")


def unfinished(kind: str, leftover: bytes) -> StreamTruncatedError:
    """The error for a payload that ended too early, in ``an event``; it shows no leftover bytes."""
    return StreamTruncatedError(
        f"The payload ended in the middle of {kind}",
        bytes_left=len(leftover),
        leftover=leftover,
    )


class Utf8:
    """Decodes UTF-8 step by step. What the decoders of this package are built on.

    Attributes:
        rest: The first bytes of a character whose other bytes have not come, 0 to 3.
        fault: Set once there are bytes that are not UTF-8; nothing is decoded after it.
    """

    __slots__ = ("_offset", "fault", "rest")

    def __init__(self) -> None:
        self._offset = 0
        self.rest = b""
        self.fault: EventStreamError | None = None

    def decode(self, data: BytesLike) -> str:
        """Returns the characters that are whole now; of invalid bytes, those before."""
        chunk = to_bytes(data)
        if self.fault is not None:
            return ""
        if self.rest:
            chunk = self.rest + chunk
        try:
            text, used = utf_8_decode(chunk, "strict", False)  # noqa: FBT003 - final; positional only
        except UnicodeDecodeError as error:
            used = error.start
            text = chunk[:used].decode()
            self.fault = InvalidMessageError(
                f"Byte {self._offset + used} of the payload is not valid UTF-8"
            )
        self.rest = b"" if used == len(chunk) else chunk[used:]
        self._offset += used
        return text


class TextDecoder(Decoder[str]):
    """Decodes a payload into text, whatever its chunks cut apart.

        decoder.receive_data(chunk)
        for text in decoder:
            ...
        decoder.receive_eof()
        for text in decoder:
            ...

    Yields one str for a chunk, never an empty one. ``receive_data`` and ``receive_eof``
    raise nothing for what the bytes say: iteration does, after all text before the
    fault, and again each time; data after a fault is dropped. A byte order mark is
    text, U+FEFF, as it is for Python's own ``utf-8``.
    """

    __slots__ = ("_ended", "_texts", "_utf8")

    def __init__(self) -> None:
        self._utf8 = Utf8()
        self._texts: deque[str] = deque()
        self._ended = False

    def receive_data(self, data: BytesLike) -> None:
        """Takes the next bytes of the payload, of any length.

        Raises:
            TypeError: ``data`` is not bytes-like.
            RuntimeError: ``receive_eof`` was called before.
        """
        if self._ended:
            raise RuntimeError("receive_data() after receive_eof()")
        if text := self._utf8.decode(data):
            self._texts.append(text)

    def receive_eof(self) -> None:
        """Tells that the payload has ended; iterate once more after it."""
        self._ended = True

    def step(self) -> str | Literal[NeedData.NEED_DATA]:
        """Returns the next text; NEED_DATA if none is whole yet.

        Raises:
            InvalidMessageError: The payload is not UTF-8; the text says at which byte.
            StreamTruncatedError: The payload has ended inside a character.
        """
        if self._texts:
            return self._texts.popleft()
        utf8 = self._utf8
        if utf8.fault is None and self._ended and utf8.rest:
            utf8.fault = unfinished("a character", utf8.rest)
        if utf8.fault is not None:
            raise copy(utf8.fault)
        return NEED_DATA
