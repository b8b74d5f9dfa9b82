"""The decoder: bytes in, messages out, no I/O.

Bytes are pushed in as they arrive and whole messages are pulled out, so that one
decoder serves every kind of I/O (the form is h11's).

Its time grows with the bytes, not with how they were cut into chunks. The rules:

- What is being read is one ``bytes`` with an offset that moves forward. A chunk that
  comes when nothing waits is read where it lies.
- What arrives behind an unfinished message only waits, in a bytearray, until that
  message or its prelude can be completed; then both are joined once.
- Of a chunk that completes the message, only the message's end is joined to it. What
  follows is again read where it lies.
- So a byte is copied a fixed number of times before it lands in its payload, and most
  bytes of a fast stream only there.
- Messages of one length with the same headers begin with the same bytes, CRC included:
  what has been checked and decoded once is looked up.

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
    LENGTHS,
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
# over, and their lengths are few. The bounds keep a stream that never repeats one from
# filling memory.
_MAX_REMEMBERED_BLOCKS = 16
_MAX_REMEMBERED_HEADS = 64
_MAX_REMEMBERED_LENGTH = 512

_unpack_prelude = PRELUDE.unpack_from
_unpack_crc = CRC.unpack_from


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
        "_heads",
        "_max_message_length",
        "_messages",
        "_needed",
        "_next",
        "_next_offset",
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
        # Behind it: a chunk of which an offset's worth was joined to the above ...
        self._next: bytes = b""
        self._next_offset = 0
        # ... and what else has arrived.
        self._waiting: bytearray = bytearray()
        # The length of the message that is unfinished, 0 while that is not known.
        self._needed = 0
        self._blocks: dict[bytes, dict[str, HeaderValue]] = {}
        # A message's prelude and headers to the decoded headers and the CRC so far.
        self._heads: dict[bytes, tuple[dict[str, HeaderValue], int]] = {}
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
        unread = len(self._data) - self._offset + len(self._next) - self._next_offset
        return unread + len(self._waiting)

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
        left = len(self._data) - self._offset
        missing = self._needed - left - len(self._waiting)
        if not (left or self._next or self._waiting):
            self._data = data
            self._offset = 0
        elif self._next or not 0 < missing <= len(data):
            self._waiting += data
        else:
            unread = memoryview(self._data)[self._offset :]
            self._data = b"".join((unread, self._waiting, data[:missing]))
            self._offset = self._needed = 0
            self._waiting.clear()
            self._next = data
            self._next_offset = missing

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
        for headers, payload in self.frames():
            yield Message(headers.copy(), payload)

    def frames(self) -> Iterator[tuple[dict[str, HeaderValue], bytes]]:
        """Yields what iterating yields, at two thirds of its cost.

        Yields:
            Headers and payload. Frames share their headers: they must not be changed.

        Raises:
            EventStreamError: As iterating.
        """
        heads = self._heads
        while True:
            data, start = self._data, self._offset
            if len(data) - start < PRELUDE_LENGTH:
                if self._join(PRELUDE_LENGTH):
                    continue
                break
            total, headers_length, prelude_crc = _unpack_prelude(data, start)
            payload_start = start + PRELUDE_LENGTH + headers_length
            stop = start + total
            known = heads.get(data[start:payload_start]) if stop <= len(data) else None
            if known is None:
                fault = self._check_prelude(data[start : start + 8], prelude_crc)
                if fault is not None:
                    self._fail(fault)
                    break
                if stop > len(data):
                    if self._join(total):
                        continue
                    break
                # The CRC goes on from the prelude's, which holds the first 8 bytes.
                headers, crc = None, crc32(data[start + 8 : payload_start], prelude_crc)
            else:
                headers, crc = known
            # Over the payload's one copy: a slice of the whole message would be a second.
            payload = data[payload_start : stop - 4]
            computed = crc32(payload, crc)
            (message_crc,) = _unpack_crc(data, stop - 4)
            if computed != message_crc:
                self._fail(
                    ChecksumMismatchError("message", expected=message_crc, computed=computed)
                )
                break
            if headers is None:
                try:
                    headers = self._learn_head(data[start:payload_start], crc)
                except InvalidMessageError as error:
                    self._fail(error)
                    break
            self._offset = stop
            self._messages += 1
            yield headers, payload
        if self._fault is not None:
            raise copy(self._fault)

    def _join(self, needed: int) -> bool:
        """Makes more of what has arrived readable, or notes that ``needed`` bytes are not there.

        What was read is dropped either way: only the unread rest of a chunk, less than
        a message, is kept until the next one comes.
        """
        if self._next:  # What it was joined to is a whole message, and was read.
            self._data, self._next = self._next, b""
            self._offset, self._next_offset = self._next_offset, 0
            return True
        if self._offset:
            self._data = self._data[self._offset :]
            self._offset = 0
        if len(self._data) + len(self._waiting) < needed:
            # A prelude's end would be joined alone, without the message that it announces.
            self._needed = needed if needed > PRELUDE_LENGTH else 0
            return False
        self._needed = 0
        self._data += self._waiting
        self._waiting.clear()
        return True

    def _learn_head(self, head: bytes, crc: int) -> dict[str, HeaderValue]:
        """Decodes the headers of a checked message, and remembers a short head."""
        headers = self._decode_block(head[PRELUDE_LENGTH:])
        if len(head) <= _MAX_REMEMBERED_LENGTH:
            if len(self._heads) == _MAX_REMEMBERED_HEADS:
                self._heads.clear()
            self._heads[head] = headers, crc
        return headers

    def _decode_block(self, block: bytes) -> dict[str, HeaderValue]:
        """Decodes a header block, and remembers a short one."""
        headers = self._blocks.get(block)
        if headers is not None:
            return headers
        headers = decode_headers(block)
        if len(block) <= _MAX_REMEMBERED_LENGTH:
            if len(self._blocks) == _MAX_REMEMBERED_BLOCKS:
                self._blocks.clear()
            self._blocks[block] = headers
        return headers

    def _check_prelude(self, lengths: bytes, expected: int) -> EventStreamError | None:
        """Names what is wrong with a prelude, in the order of the module's rules."""
        computed = crc32(lengths)
        if computed != expected:
            return ChecksumMismatchError("prelude", expected=expected, computed=computed)
        total, headers_length = LENGTHS.unpack(lengths)
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
        if total > self._max_message_length:
            return MessageTooLargeError("message", length=total, limit=self._max_message_length)
        return None

    def _fail(self, fault: EventStreamError) -> None:
        """Ends the stream: nothing behind a fault can be trusted, so nothing is kept."""
        # Every raise is of a copy: one instance would grow a traceback with each, and
        # through it hold this decoder in a cycle.
        self._fault = copy(fault)
        self._data = self._next = b""
        self._offset = self._next_offset = 0
        self._waiting.clear()
        self._blocks.clear()
        self._heads.clear()
