"""The decoder: bytes in, messages out, no I/O.

Bytes are pushed in as they arrive and whole messages are pulled out, so that one
decoder serves every kind of I/O (the form is h11's).

Its time grows with the bytes, not with how they were cut into chunks. The rules:

- What is being read is one ``bytes`` with an offset that moves forward. A chunk that
  comes when nothing waits is read where it lies.
- What arrives behind an unfinished message only waits, in a bytearray, until that
  message or its prelude can be completed; then both are joined once.
- So a byte is copied a fixed number of times before it lands in its payload.

The order of checks is fixed, so that an error always names the first cause: the
prelude's CRC, then its lengths (at byte 12, before the message is waited for), the
message's CRC, and last the headers. A length that fails its CRC is never believed, a
header that fails it never decoded.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING
from zlib import crc32

from aiosmrt.errors import (
    ChecksumMismatchError,
    EventStreamError,
    InvalidMessageError,
    MessageTooLargeError,
    StreamTruncatedError,
)
from aiosmrt.eventstream.headers import HeaderValue, decode_headers
from aiosmrt.eventstream.message import (
    CRC,
    MAX_HEADERS_LENGTH,
    MAX_MESSAGE_LENGTH,
    OVERHEAD,
    PRELUDE,
    PRELUDE_LENGTH,
    Message,
    to_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EventStreamDecoder"]

# The messages of a stream carry a handful of header blocks of some 100 bytes, over and
# over. Both bounds keep a stream that never repeats one from filling memory.
_MAX_REMEMBERED_BLOCKS = 16
_MAX_REMEMBERED_LENGTH = 512


class EventStreamDecoder:
    """Decodes an event stream that arrives in chunks of any size.

        decoder.receive_data(chunk)
        for message in decoder:
            ...

    Iteration yields the messages that are whole now, then ends; after more data it
    can be done again. A fault in the bytes is raised by iteration, after every whole
    message before it was yielded, and again by every later iteration: nothing can be
    found in a stream behind a fault, so from then on data is dropped.

    Not for use by several threads at once.
    """

    __slots__ = (
        "_blocks",
        "_bytes_received",
        "_data",
        "_fault",
        "_max_message_length",
        "_messages",
        "_offset",
        "_waiting",
    )

    def __init__(self, max_message_length: int = MAX_MESSAGE_LENGTH) -> None:
        """Makes a decoder for one stream.

        Args:
            max_message_length: The most bytes that one message may have on the wire,
                its 16 bytes around headers and payload included; 24 MiB by default.
                With an iteration after every chunk, no more than that and one chunk
                is ever buffered.

        Raises:
            ValueError: The limit is below 16, so no message could pass.
        """
        if max_message_length < OVERHEAD:
            raise ValueError(
                f"max_message_length must be at least {OVERHEAD}, not {max_message_length}"
            )
        self._max_message_length = max_message_length
        self._data: bytes = b""
        self._offset = 0
        self._waiting: bytearray = bytearray()
        self._blocks: dict[bytes, dict[str, HeaderValue]] = {}
        self._bytes_received = 0
        self._messages = 0
        self._fault: EventStreamError | None = None

    @property
    def bytes_received(self) -> int:
        """How many bytes were received in all, those after a fault included."""
        return self._bytes_received

    @property
    def bytes_left(self) -> int:
        """How many bytes are buffered: received, and not yet part of a yielded message."""
        return len(self._data) - self._offset + len(self._waiting)

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes of the stream. Never raises for what they say.

        Args:
            data: Any bytes-like object, of any length; an empty one changes nothing.
                ``bytes`` are kept as they are, anything else is copied, so that its
                buffer can be used again at once.

        Raises:
            TypeError: ``data`` is not bytes-like.
        """
        data = to_bytes(data)
        self._bytes_received += len(data)
        if self._fault is not None:
            return
        if self._offset == len(self._data) and not self._waiting:
            self._data = data
            self._offset = 0
        else:
            self._waiting += data

    def receive_eof(self) -> None:
        """Tells that the stream has ended. Take the messages out first.

        Raises:
            StreamTruncatedError: Bytes remain that were not yielded as a message.
            EventStreamError: The fault that iteration raised before.
        """
        if self._fault is not None:
            raise copy(self._fault)
        if self.bytes_left:
            raise StreamTruncatedError(
                bytes_received=self._bytes_received,
                parts_received=self._messages,
                bytes_left=self.bytes_left,
            )

    def __iter__(self) -> Iterator[Message]:
        """Yields the messages that are whole now.

        More data may be received between two of them. Leaving the loop early loses
        nothing: the next iteration goes on behind the last message that was yielded.

        Raises:
            ChecksumMismatchError: The CRC of a prelude or of a message is wrong.
            MessageTooLargeError: A message or its header block is past its limit.
            InvalidMessageError: A prelude's lengths contradict each other, or a header
                block is malformed.
        """
        while True:
            data, start = self._data, self._offset
            if len(data) - start < PRELUDE_LENGTH:
                if self._join(PRELUDE_LENGTH):
                    continue
                break
            total, headers_length, prelude_crc = PRELUDE.unpack_from(data, start)
            computed = crc32(data[start : start + 8])
            if (
                computed != prelude_crc
                or headers_length > total - OVERHEAD
                or headers_length > MAX_HEADERS_LENGTH
                or total > self._max_message_length
            ):
                self._fail(self._refuse_prelude(total, headers_length, prelude_crc, computed))
                break
            stop = start + total
            if stop > len(data):
                if self._join(total):
                    continue
                break
            payload_start = start + PRELUDE_LENGTH + headers_length
            crc_start = stop - 4
            payload = data[payload_start:crc_start]
            # The CRC goes on from the prelude's, which holds the first 8 bytes, and over
            # the payload's one copy: a slice of the whole would be a second.
            computed = crc32(data[start + 8 : payload_start], prelude_crc)
            computed = crc32(payload, computed)
            (message_crc,) = CRC.unpack_from(data, crc_start)
            if computed != message_crc:
                self._fail(
                    ChecksumMismatchError("message", expected=message_crc, computed=computed)
                )
                break
            block = data[start + PRELUDE_LENGTH : payload_start]
            headers = self._blocks.get(block)
            if headers is None:
                try:
                    headers = self._decode_block(block)
                except InvalidMessageError as error:
                    self._fail(error)
                    break
            self._offset = stop
            self._messages += 1
            yield Message(headers.copy(), payload)
        if self._fault is not None:
            raise copy(self._fault)

    def _join(self, needed: int) -> bool:
        """Joins what waits to what is unread, once that makes ``needed`` bytes.

        What was read is dropped either way: only the unread rest of a chunk, less than
        a message, is kept until the next one comes.
        """
        if self._offset:
            self._data = self._data[self._offset :]
            self._offset = 0
        if len(self._data) + len(self._waiting) < needed:
            return False
        self._data += self._waiting
        self._waiting.clear()
        return True

    def _decode_block(self, block: bytes) -> dict[str, HeaderValue]:
        """Decodes a header block, and remembers a short one."""
        headers = decode_headers(block)
        if len(block) <= _MAX_REMEMBERED_LENGTH:
            if len(self._blocks) == _MAX_REMEMBERED_BLOCKS:
                self._blocks.clear()
            self._blocks[block] = headers
        return headers

    def _refuse_prelude(
        self, total: int, headers_length: int, expected: int, computed: int
    ) -> EventStreamError:
        """Names what is wrong with a prelude, in the order of the module's rules."""
        if computed != expected:
            return ChecksumMismatchError("prelude", expected=expected, computed=computed)
        if total < OVERHEAD:
            return InvalidMessageError(
                f"A message announces {total} bytes; the least is {OVERHEAD}"
            )
        if headers_length > total - OVERHEAD:
            return InvalidMessageError(
                f"A message of {total} bytes announces {headers_length} bytes of headers"
            )
        if headers_length > MAX_HEADERS_LENGTH:
            return MessageTooLargeError("headers", length=headers_length, limit=MAX_HEADERS_LENGTH)
        return MessageTooLargeError("message", length=total, limit=self._max_message_length)

    def _fail(self, fault: EventStreamError) -> None:
        """Ends the stream: nothing behind a fault can be trusted, so nothing is kept."""
        # Every raise is of a copy: one instance would grow a traceback with each, and
        # through it hold this decoder in a cycle.
        self._fault = copy(fault)
        self._data = b""
        self._offset = 0
        self._waiting.clear()
        self._blocks.clear()
