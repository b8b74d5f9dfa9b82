"""One message: its shape, its limits, and its encoder.

    u32 total length | u32 headers length | u32 CRC-32 of those 8 bytes     the prelude
    headers | payload
    u32 CRC-32 of all before it

All big-endian. Source: the AWS event-stream encoding,
https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from collections.abc import Mapping
from struct import Struct
from zlib import crc32

import attrs

from aiosmrt._values import hide, to_bytes
from aiosmrt.errors import MessageTooLargeError
from aiosmrt.eventstream._headers import HeaderValue, encode_headers

__all__ = [
    "CRC",
    "LENGTHS",
    "MAX_HEADERS_LENGTH",
    "MAX_MESSAGE_LENGTH",
    "OVERHEAD",
    "PRELUDE",
    "PRELUDE_LENGTH",
    "Message",
    "encode_message",
]

PRELUDE = Struct(">III")
CRC = Struct(">I")
LENGTHS = Struct(">II")
PRELUDE_LENGTH = PRELUDE.size
# What a message without headers and payload has: the prelude and the message's CRC.
OVERHEAD = PRELUDE_LENGTH + CRC.size

# The limits of the AWS SDKs. A header block is bounded on its own because its parts
# cost far more memory decoded than a payload's bytes do.
MAX_HEADERS_LENGTH = 128 * 1024
MAX_MESSAGE_LENGTH = 24 * 1024 * 1024


@attrs.define
class Message:
    """A message of an event stream.

    Attributes:
        headers: Name to value. A dict of the message's own: changing it changes no
            other message.
        payload: The payload's bytes. The service model calls them sensitive, so the
            repr shows only their number.
    """

    headers: dict[str, HeaderValue]
    payload: bytes = attrs.field(repr=hide)


def encode_message(
    headers: Mapping[str, HeaderValue], payload: bytes | bytearray | memoryview
) -> bytes:
    """Encodes one message.

    Args:
        headers: Name (1 to 255 bytes of UTF-8) to value (at most 32,767 bytes); 128 KiB
            in all. A plain ``int`` becomes an Int32, a datetime loses what is below a
            millisecond.
        payload: Any bytes-like object; may be empty. With the headers and 16 bytes
            around them at most 24 MiB.

    Returns:
        The message's bytes, ready for the wire.

    Raises:
        MessageTooLargeError: The header block or the message is past its limit.
        InvalidMessageError: A header's name or value is past its limit.
        ValueError: An int does not fit its width, a datetime has no time zone or is
            outside the years 1 to 9999 in UTC, or a text cannot be UTF-8.
        TypeError: A header or the payload has a type that the wire does not know.
    """
    block = encode_headers(headers)
    if len(block) > MAX_HEADERS_LENGTH:
        raise MessageTooLargeError("headers", length=len(block), limit=MAX_HEADERS_LENGTH)
    data = to_bytes(payload)
    total = OVERHEAD + len(block) + len(data)
    if total > MAX_MESSAGE_LENGTH:
        raise MessageTooLargeError("message", length=total, limit=MAX_MESSAGE_LENGTH)
    lengths = LENGTHS.pack(total, len(block))
    head = lengths + CRC.pack(crc32(lengths)) + block
    return b"".join((head, data, CRC.pack(crc32(data, crc32(head)))))
