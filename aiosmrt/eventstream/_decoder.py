"""The decoder: bytes in, messages out, no I/O.

Bytes are pushed in as they arrive and whole messages are pulled out, so that one
decoder serves every kind of I/O (the form is h11's).

Its time grows with the bytes, not with how they were cut into chunks. The rules:

- A chunk is kept as it came, and read where it lies. What is being read is one ``bytes``
  with an offset that moves forward; later chunks wait behind it.
- The pieces of a message that was cut are joined once, when they are all there; the
  chunk that completes it is read on where it lies. Those of a long message are copied
  and checked as they come, so that its last chunk takes no longer than the others.
- So a byte is copied a fixed number of times before it lands in its payload, and most
  bytes of a fast stream only there.
- Messages of one length with the same headers begin with the same bytes, CRC included:
  what has been checked and decoded once is looked up, and with it how to take the rest
  of such a message. ``next_run`` needs nothing else where each event has a chunk of its
  own, as a model's endpoint sends them.

The order of checks is fixed, so that an error always names the first cause: the
prelude's CRC, then its lengths (at byte 12, before the message is waited for), the
message's CRC, and last the headers. A length that fails its CRC is never believed, a
header that fails it never decoded.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

from aiosmrt._values import to_bytes
from aiosmrt.errors import (
    ChecksumMismatchError,
    EventStreamError,
    InvalidMessageError,
    MessageTooLargeError,
    StreamTruncatedError,
)
from aiosmrt.eventstream._headers import HeaderValue, decode_headers
from aiosmrt.eventstream._message import (
    CRC,
    LENGTHS,
    MAX_HEADERS_LENGTH,
    MAX_MESSAGE_LENGTH,
    OVERHEAD,
    PRELUDE,
    PRELUDE_LENGTH,
    Message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["LONG", "EventStreamDecoder", "forget"]

# The messages of a stream carry a handful of header blocks of some 100 bytes, over and
# over, and their lengths are few; and those of all streams from one service are the same.
# The bounds keep a stream that never repeats one from filling memory.
_MAX_REMEMBERED_BLOCKS = 16
_MAX_REMEMBERED_HEADS = 256
_MAX_REMEMBERED_LENGTH = 512

# A run ends about here, so that whoever reads a stream gets on with it. A longer message is a run
# by itself: its payload's memory is the next one's if it is handed out before.
_MAX_RUN = 256
_MAX_LENGTH_IN_RUN = 4_096

# From this length on, a message that is cut is copied and checked while it comes.
LONG = 1_048_576

# Chunks below it are joined where they wait, lest each byte bring its own bytes object.
_SMALL_CHUNK = 512

_unpack_prelude = PRELUDE.unpack_from
_unpack_crc = CRC.unpack_from

# What is known of the messages that begin with one head: the decoded headers, the CRC up
# to the payload, the length of the whole, and what takes the payload and the CRC behind it.
_Head: TypeAlias = (
    "tuple[dict[str, HeaderValue], int, int, Callable[[bytes, int], tuple[bytes, int]]]"
)

# What all decoders remember: what is found under some bytes follows from these bytes alone.
_blocks: dict[bytes, dict[str, HeaderValue]] = {}
_heads: dict[bytes, _Head] = {}


def forget() -> None:
    """Forgets all that was remembered."""
    _blocks.clear()
    _heads.clear()  # which hold the same dicts, or there would be runs of one


class _Begun:
    """A long message of which a part has come.

    Attributes:
        payload: The part of its payload that was copied; the last bytes of the message wait.
        crc: The checksum of the message up to there.
    """

    __slots__ = ("crc", "payload")

    def __init__(self, crc: int) -> None:
        self.payload = BytesIO()
        self.crc = crc

    @property
    def length(self) -> int:
        """How many bytes of the payload were copied."""
        return self.payload.tell()


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
        "_begun",
        "_bytes_received",
        "_crc32",
        "_data",
        "_fault",
        "_head_length",
        "_max_message_length",
        "_messages",
        "_missing",
        "_offset",
        "_waiting",
        "_waiting_length",
    )

    def __init__(
        self,
        max_message_length: int = MAX_MESSAGE_LENGTH,
        *,
        crc32: Callable[[bytes, int], int] = crc32,
    ) -> None:
        """Makes a decoder for one stream.

        Args:
            max_message_length: The most bytes that one message may have on the wire,
                its 16 bytes around headers and payload included; 24 MiB by default.
                With an iteration after every chunk, no more than that and one chunk
                is ever buffered.
            crc32: Computes checksums as `zlib.crc32` does, in its place.

        Raises:
            ValueError: The limit is below 16, so no message could pass.
        """
        if max_message_length < OVERHEAD:
            raise ValueError(
                f"max_message_length must be at least {OVERHEAD}, not {max_message_length}"
            )
        self._max_message_length = max_message_length
        self._crc32 = crc32
        self._data: bytes = b""
        self._offset = 0
        # The chunks behind it, and their length in all. An empty deque has 700 bytes, and
        # few of many idle streams need one.
        self._waiting: deque[bytes] | None = None
        self._waiting_length = 0
        # How many bytes must wait before the next message can be taken.
        self._missing = 0
        self._begun: _Begun | None = None  # of it, if it is long; its head is in _data then
        # The length of the last message's head: the next head is looked up by as many bytes.
        self._head_length = 0
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
        begun = 0 if self._begun is None else self._begun.length
        return len(self._data) - self._offset + begun + self._waiting_length

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
        if self._fault is not None or not data:
            return
        waiting = self._waiting
        if not waiting and self._offset == len(self._data):
            self._data = data
            self._offset = 0
            return
        self._waiting_length += len(data)
        if waiting is None:
            waiting = self._waiting = deque()
        if waiting and len(data) < _SMALL_CHUNK and len(waiting[-1]) < _SMALL_CHUNK:
            waiting[-1] += data
        else:
            waiting.append(data)

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
        while (frame := self._frame()) is not None:
            headers, payload = frame
            self._messages += 1
            yield Message(headers.copy(), payload)
        if self._fault is not None:
            raise copy(self._fault)

    def next_run(self) -> tuple[dict[str, HeaderValue], list[bytes]] | None:
        """Returns what iterating yields, several messages at a time and at a third of its cost.

        Returns:
            Headers, and the payloads of some messages in a row that have them: one or
            more. Runs share their headers: they must not be changed. None when no message
            is whole.

        Raises:
            EventStreamError: As iterating.
        """
        crc32 = self._crc32
        headers: dict[str, HeaderValue] | None = None
        payloads: list[bytes] = []
        while True:
            data, start, head_length = self._data, self._offset, self._head_length
            stop = len(data)
            # Messages like the last one; a head that is cut is not among those known.
            for _ in range(_MAX_RUN):
                known = _heads.get(data[start : start + head_length])
                if known is None:
                    break
                known_headers, crc, length, unpack = known
                end = start + length
                if end > stop or (headers is not known_headers and headers is not None):
                    break
                payload, message_crc = unpack(data, start + head_length)
                if crc32(payload, crc) != message_crc:
                    break
                headers = known_headers
                payloads.append(payload)
                start = end
            self._offset = start
            # The next one begins like no message before it, is cut, or is damaged.
            if headers is not None or (frame := self._frame()) is None:
                break
            headers, payload = frame
            payloads.append(payload)
        if headers is None:
            if self._fault is not None:
                raise copy(self._fault)
            return None
        if start == stop and not self._waiting:
            self._drop_read()
        self._messages += len(payloads)
        return headers, payloads

    def _frame(self) -> tuple[dict[str, HeaderValue], bytes] | None:
        """Takes the next message: its headers, its payload.

        Returns:
            None when none is whole, or a fault was found.
        """
        if self._waiting_length < self._missing:
            self._copy_waiting()
            return None
        if not self._find_prelude():
            return None
        data, start = self._data, self._offset
        total, headers_length, prelude_crc = _unpack_prelude(data, start)
        head_length = PRELUDE_LENGTH + headers_length
        stop = start + total
        is_whole = stop <= len(data)
        head = data[start : start + head_length] if is_whole else b""
        # Another decoder may have learnt it, which had another limit.
        known = _heads.get(head) if total <= self._max_message_length else None
        if known is None:
            fault = self._check_prelude(data[start : start + 8], prelude_crc)
            if fault is not None:
                self._fail(fault)
                return None
        # Below, a payload is copied once: a slice of its whole message would be a second copy.
        if known is not None:
            payload, message_crc = known[3](data, start + head_length)
            self._offset = stop
        elif is_whole:
            payload = data[start + head_length : stop - 4]
            (message_crc,) = _unpack_crc(data, stop - 4)
            self._offset = stop
        else:
            pieces = self._take_cut(total, head_length, prelude_crc)
            if pieces is None:
                return None
            head, payload, message_crc = pieces
        # The CRC goes on from the prelude's, which holds the first 8 bytes.
        crc = crc32(head[8:], prelude_crc) if known is None else known[1]
        if self._begun is None:
            computed = self._crc32(payload, crc)
        else:
            payload, computed = self._finish(self._begun, payload)
        if computed != message_crc:
            self._fail(ChecksumMismatchError("message", expected=message_crc, computed=computed))
            return None
        # With a lower limit each message is looked at: another decoder may have learnt its head.
        is_short = total <= _MAX_LENGTH_IN_RUN <= self._max_message_length
        self._head_length = head_length if is_short else 0
        if known is not None:
            return known[0], payload
        try:
            return self._learn_head(head, crc, total), payload
        except InvalidMessageError as error:
            self._fail(error)
            return None

    def _find_prelude(self) -> bool:
        """Makes sure that the next prelude lies in one piece; False when it is not all there."""
        while len(self._data) - self._offset < PRELUDE_LENGTH:
            if not self._waiting:
                self._drop_read()
                return False
            chunk = self._waiting.popleft()
            self._waiting_length -= len(chunk)
            self._data, self._offset = self._data[self._offset :] + chunk, 0
        return True

    def _take(self, needed: int) -> list[memoryview] | None:
        """Takes the next ``needed`` bytes, more than are unread of what is being read.

        Returns:
            The pieces that they are in; None when they have not all arrived.
        """
        waiting = self._waiting
        missing = needed - (len(self._data) - self._offset)
        if waiting is None or missing > self._waiting_length:
            self._missing = missing
            self._drop_read()
            return None
        self._missing = 0
        views = [memoryview(self._data)[self._offset :]]
        while missing:
            self._data = waiting.popleft()
            self._waiting_length -= len(self._data)
            views.append(memoryview(self._data)[:missing])
            self._offset = len(views[-1])
            missing -= self._offset
        return views

    def _take_cut(
        self, total: int, head_length: int, prelude_crc: int
    ) -> tuple[bytes, bytes, int] | None:
        """Takes a message that came in pieces: its head, its payload, its CRC.

        Returns:
            None when it has not all arrived. Of one that was begun, the payload is the rest.
        """
        begun = self._begun
        views = self._take(total if begun is None else total - begun.length)
        if views is None:
            if total >= LONG:
                self._begin(total, head_length, prelude_crc)
            return None
        if len(views[0]) < head_length or len(views[-1]) < CRC.size:
            views = [memoryview(b"".join(views))]
        head = bytes(views[0][:head_length])
        (message_crc,) = _unpack_crc(views[-1], len(views[-1]) - 4)
        views[-1] = views[-1][:-4]
        views[0] = views[0][head_length:]
        return head, b"".join(views), message_crc

    def _begin(self, total: int, head_length: int, prelude_crc: int) -> None:
        """Begins to copy and check a long message that is cut, once its head is there."""
        if self._waiting:
            self._data = b"".join((self._data, *self._waiting))
            self._waiting.clear()
            self._waiting_length = 0
        data = self._data
        self._missing = total - len(data)
        if len(data) < head_length:
            self._missing = head_length - len(data)
        elif self._missing >= CRC.size:
            self._begun = begun = _Begun(self._crc32(data[8:], prelude_crc))
            begun.payload.write(memoryview(data)[head_length:])
            self._data = data[:head_length]

    def _copy_waiting(self) -> None:
        """Copies and checks what has come of a long message, up to its own checksum."""
        begun = self._begun
        if begun is None or self._missing - self._waiting_length < CRC.size:
            return
        for chunk in self._waiting or ():
            begun.payload.write(chunk)
            begun.crc = self._crc32(chunk, begun.crc)
        self._missing -= self._waiting_length
        self._waiting, self._waiting_length = None, 0

    def _finish(self, begun: _Begun, rest: bytes) -> tuple[bytes, int]:
        """Returns the payload of a long message that ends with ``rest``, and the checksum."""
        self._begun = None
        begun.payload.write(rest)
        return begun.payload.getvalue(), self._crc32(rest, begun.crc)

    def _drop_read(self) -> None:
        """Keeps of a chunk only what is unread, less than a message, until the next one comes."""
        if self._offset:
            self._data = self._data[self._offset :]
            self._offset = 0

    def _learn_head(self, head: bytes, crc: int, total: int) -> dict[str, HeaderValue]:
        """Decodes the headers of a checked message; of a short one remembers the head."""
        headers = self._decode_block(head[PRELUDE_LENGTH:])
        if len(head) <= _MAX_REMEMBERED_LENGTH and total <= _MAX_LENGTH_IN_RUN:
            if len(_heads) >= _MAX_REMEMBERED_HEADS:
                _heads.clear()
            unpack = Struct(f">{total - len(head) - CRC.size}sI").unpack_from
            _heads[head] = headers, crc, total, unpack
        return headers

    def _decode_block(self, block: bytes) -> dict[str, HeaderValue]:
        """Decodes a header block, and remembers a short one."""
        headers = _blocks.get(block)
        if headers is not None:
            return headers
        headers = decode_headers(block)
        if len(block) <= _MAX_REMEMBERED_LENGTH:
            if len(_blocks) >= _MAX_REMEMBERED_BLOCKS:
                forget()
            _blocks[block] = headers
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
        self._data = b""
        self._offset = self._waiting_length = self._missing = 0
        self._waiting = self._begun = None
