"""Header blocks: names and typed values to bytes and back.

A block is a row of headers without a count, so only its length says where it ends:

    u8 name length (1 to 255) | name, UTF-8 | u8 type | value

    type 0 true, 1 false        no bytes          bool
    type 2, 3, 4, 5             1, 2, 4, 8        Byte, Short, Int32, Int64
    type 6                      u16 length, data  bytes
    type 7                      u16 length, UTF-8 str
    type 8                      8: i64, ms since the epoch   datetime in UTC
    type 9                      16                uuid.UUID

Everything is big-endian. A length of bytes or text is at most 32,767, although a u16
holds more. Source: the AWS event-stream encoding,
https://smithy.io/2.0/aws/amazon-eventstream.html

Errors name the header, never its value: their texts end up in logs.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from uuid import UUID

from aiosmrt.errors import InvalidMessageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self

__all__ = [
    "Byte",
    "HeaderValue",
    "Int32",
    "Int64",
    "Short",
    "decode_headers",
    "encode_headers",
]

_MAX_NAME_LENGTH = 255
_MAX_VALUE_LENGTH = 32_767

_TRUE, _FALSE, _BYTE, _SHORT, _INT32, _INT64, _BYTES, _STRING, _TIMESTAMP, _UUID = range(10)

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)
# What a datetime can hold once it is in UTC; an i64 holds far more.
_MIN_TIMESTAMP = (datetime.min.replace(tzinfo=timezone.utc) - _EPOCH) // _MILLISECOND
_MAX_TIMESTAMP = (datetime.max.replace(tzinfo=timezone.utc) - _EPOCH) // _MILLISECOND


class _SizedInt(int):
    """An int that remembers how wide it is on the wire."""

    __slots__ = ()

    _bits: ClassVar[int]

    def __new__(cls, value: int) -> Self:
        number = index(value)
        limit = 1 << (cls._bits - 1)
        if not -limit <= number < limit:
            raise ValueError(
                f"{number} does not fit {cls.__name__}: it takes {-limit} to {limit - 1}"
            )
        return super().__new__(cls, number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({int(self)})"

    def __str__(self) -> str:
        return int.__repr__(self)  # else str() and f-strings would print the repr above


class Byte(_SizedInt):
    """A header's signed 8-bit integer, -128 to 127.

    Raises:
        ValueError: The value is outside that range.
        TypeError: The value is not an integer.
    """

    __slots__ = ()
    _bits = 8


class Short(_SizedInt):
    """A header's signed 16-bit integer, -32,768 to 32,767.

    Raises:
        ValueError: The value is outside that range.
        TypeError: The value is not an integer.
    """

    __slots__ = ()
    _bits = 16


class Int32(_SizedInt):
    """A header's signed 32-bit integer; what a plain ``int`` is encoded as.

    Raises:
        ValueError: The value is outside -2**31 to 2**31 - 1.
        TypeError: The value is not an integer.
    """

    __slots__ = ()
    _bits = 32


class Int64(_SizedInt):
    """A header's signed 64-bit integer.

    Raises:
        ValueError: The value is outside -2**63 to 2**63 - 1.
        TypeError: The value is not an integer.
    """

    __slots__ = ()
    _bits = 64


# An int is decoded as the one of the four classes above that the wire names. Every
# value is immutable: messages with the same header block share the values.
HeaderValue: TypeAlias = bool | int | bytes | str | datetime | UUID


# -- decoding


def _decode_text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError("not valid UTF-8") from None


def _decode_timestamp(data: bytes) -> datetime:
    milliseconds = int.from_bytes(data, "big", signed=True)
    if not _MIN_TIMESTAMP <= milliseconds <= _MAX_TIMESTAMP:
        raise ValueError("a time outside the years 1 to 9999")
    return _EPOCH + timedelta(milliseconds=milliseconds)


# Type to the value's length in bytes, and to what makes the value of them.
_FIXED: dict[int, tuple[int, Callable[[bytes], HeaderValue]]] = {
    _TRUE: (0, lambda _: True),
    _FALSE: (0, lambda _: False),
    _BYTE: (1, lambda data: Byte(int.from_bytes(data, "big", signed=True))),
    _SHORT: (2, lambda data: Short(int.from_bytes(data, "big", signed=True))),
    _INT32: (4, lambda data: Int32(int.from_bytes(data, "big", signed=True))),
    _INT64: (8, lambda data: Int64(int.from_bytes(data, "big", signed=True))),
    _TIMESTAMP: (8, _decode_timestamp),
    _UUID: (16, lambda data: UUID(bytes=data)),
}
# The types whose value has its length, a u16, before it.
_COUNTED: dict[int, Callable[[bytes], HeaderValue]] = {_BYTES: bytes, _STRING: _decode_text}


def decode_headers(block: bytes) -> dict[str, HeaderValue]:
    """Decodes a whole header block.

    Args:
        block: The bytes between the prelude and the payload; may be empty.

    Returns:
        Name to value, in the order of the wire.

    Raises:
        InvalidMessageError: A name is empty, not UTF-8 or there twice; a type is
            unknown; a value is past 32,767 bytes, not UTF-8, or a time that a datetime
            cannot hold; or the block ends within a header.
    """
    headers: dict[str, HeaderValue] = {}
    position = 0
    while position < len(block):
        name, position = _decode_name(block, position)
        if name in headers:
            raise InvalidMessageError(f"Header {name!r} is there twice")
        headers[name], position = _decode_value(block, position, name)
    return headers


def _decode_name(block: bytes, position: int) -> tuple[str, int]:
    start = position + 1
    stop = start + block[position]
    if stop == start:
        raise InvalidMessageError("A header has an empty name")
    # The type's byte must follow.
    if stop >= len(block):
        raise InvalidMessageError("The header block ends within a header's name")
    try:
        return _decode_text(block[start:stop]), stop
    except ValueError as error:
        raise InvalidMessageError(f"A header's name is {error}") from None


def _decode_value(block: bytes, position: int, name: str) -> tuple[HeaderValue, int]:
    kind = block[position]
    start = position + 1
    if kind in _FIXED:
        length, decode = _FIXED[kind]
    elif kind in _COUNTED:
        decode = _COUNTED[kind]
        length = int.from_bytes(block[start : start + 2], "big")
        start += 2
        if length > _MAX_VALUE_LENGTH:
            raise InvalidMessageError(_too_long(name, length))
    else:
        raise InvalidMessageError(f"Header {name!r} has the unknown type {kind}")
    stop = start + length
    if stop > len(block):
        raise InvalidMessageError(f"The header block ends within the value of header {name!r}")
    try:
        return decode(block[start:stop]), stop
    except ValueError as error:
        raise InvalidMessageError(f"The value of header {name!r} is {error}") from None


def _too_long(name: str, length: int) -> str:
    return (
        f"The value of header {name!r} has {length} bytes; the limit is {_MAX_VALUE_LENGTH} bytes"
    )


# -- encoding


def _encode_int(length: int) -> Callable[[int], bytes]:
    return lambda value: value.to_bytes(length, "big", signed=True)


def _encode_text(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise ValueError("a lone surrogate has no UTF-8") from None


def _encode_timestamp(value: datetime) -> bytes:
    if value.utcoffset() is None:
        raise ValueError("a datetime needs a time zone, such as datetime.timezone.utc")
    milliseconds = (value - _EPOCH) // _MILLISECOND
    if not _MIN_TIMESTAMP <= milliseconds <= _MAX_TIMESTAMP:
        raise ValueError("in UTC the time is outside the years 1 to 9999")
    return milliseconds.to_bytes(8, "big", signed=True)


# Class to type, and to what makes the value's bytes. A bool has no bytes, and two types.
_ENCODERS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    Byte: (_BYTE, _encode_int(1)),
    Short: (_SHORT, _encode_int(2)),
    Int32: (_INT32, _encode_int(4)),
    Int64: (_INT64, _encode_int(8)),
    int: (_INT32, lambda value: Int32(value).to_bytes(4, "big", signed=True)),
    bytes: (_BYTES, bytes),
    str: (_STRING, _encode_text),
    datetime: (_TIMESTAMP, _encode_timestamp),
    UUID: (_UUID, lambda value: value.bytes),
}


def encode_headers(headers: Mapping[str, HeaderValue]) -> bytes:
    """Encodes a header block.

    Args:
        headers: Name to value. A plain ``int`` becomes an Int32; of a datetime the
            microseconds below a whole millisecond are cut off.

    Returns:
        The block's bytes, in the order of ``headers``.

    Raises:
        InvalidMessageError: A name has not 1 to 255 bytes, or a value more than 32,767.
        ValueError: An int does not fit, a datetime has no time zone or is outside the
            years 1 to 9999 in UTC, or a text cannot be UTF-8.
        TypeError: A name is not a str, or a value of none of the types above.
    """
    block = bytearray()
    for name, value in headers.items():
        encoded_name = _encode_name(name)
        kind, data = _encode_value(name, value)
        block.append(len(encoded_name))
        block += encoded_name
        block.append(kind)
        if kind in _COUNTED:
            block += len(data).to_bytes(2, "big")
        block += data
    return bytes(block)


def _encode_name(name: str) -> bytes:
    if not isinstance(name, str):
        raise TypeError(f"A header's name must be a str, not {type(name).__name__}")
    try:
        encoded = _encode_text(name)
    except ValueError as error:
        raise ValueError(f"Header {name!r}: {error}") from None
    if not 1 <= len(encoded) <= _MAX_NAME_LENGTH:
        raise InvalidMessageError(
            f"A header's name has {len(encoded)} bytes; it must have 1 to {_MAX_NAME_LENGTH}"
        )
    return encoded


def _encode_value(name: str, value: HeaderValue) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return (_TRUE if value else _FALSE), b""
    # By the order of inheritance: a subclass (an IntEnum, a str of one's own) goes as
    # the nearest class that the wire knows.
    for base in type(value).__mro__:
        if base in _ENCODERS:
            kind, encode = _ENCODERS[base]
            break
    else:
        raise TypeError(
            f"Header {name!r} is a {type(value).__name__}; "
            "a header holds bool, int, bytes, str, datetime or UUID"
        )
    try:
        data = encode(value)
    except ValueError as error:
        raise ValueError(f"Header {name!r}: {error}") from None
    if len(data) > _MAX_VALUE_LENGTH:
        raise InvalidMessageError(_too_long(name, len(data)))
    return kind, data
