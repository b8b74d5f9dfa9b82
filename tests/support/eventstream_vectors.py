"""Event-stream messages byte by byte: what must be decoded, and what must be refused.

Every message is written out group by group with checksums computed elsewhere, so that
neither our encoder nor our decoder vouches for itself. What is too long to write out
is made by ``sealed``, which shares no code with the package.
"""

from __future__ import annotations

from binascii import crc32
from datetime import datetime, timezone
from struct import pack
from typing import NamedTuple
from uuid import UUID

from aiosmrt.errors import (
    ChecksumMismatchError,
    EventStreamError,
    InvalidMessageError,
    MessageTooLargeError,
)
from aiosmrt.eventstream import (
    Byte,
    EventStreamDecoder,
    HeaderValue,
    Int32,
    Int64,
    Message,
    Short,
)


class Valid(NamedTuple):
    name: str
    wire: bytes
    headers: dict[str, HeaderValue]
    payload: bytes


class Invalid(NamedTuple):
    name: str
    wire: bytes
    error: type[EventStreamError]
    says: str  # a part of the error's text


def sealed(block: bytes, payload: bytes = b"") -> bytes:
    """The message of a header block and a payload, whatever they hold."""
    lengths = pack(">II", 16 + len(block) + len(payload), len(block))
    unsealed = lengths + pack(">I", crc32(lengths)) + block + payload
    return unsealed + pack(">I", crc32(unsealed))


VALID = [
    Valid(
        "empty",
        (
            b"\x00\x00\x00\x10"  # total length 16
            b"\x00\x00\x00\x00"  # headers length 0
            b"\x05\xc2\x48\xeb"  # prelude CRC
            b"\x7d\x98\xc8\xff"  # message CRC
        ),
        {},
        b"",
    ),
    Valid(
        "payload without headers",
        (
            b"\x00\x00\x00\x1d"  # total length 29
            b"\x00\x00\x00\x00"  # headers length 0
            b"\xfd\x52\x8c\x5a"  # prelude CRC
            b"{'foo':'bar'}"  # payload
            b"\xc3\x65\x39\x36"  # message CRC
        ),
        {},
        b"{'foo':'bar'}",
    ),
    Valid(
        "true",
        (
            b"\x00\x00\x00\x15"  # total length 21
            b"\x00\x00\x00\x05"  # headers length 5
            b"\xbd\x48\x33\x14"  # prelude CRC
            b"\x03yes\x00"  # yes: true
            b"\x94\xd1\xdf\x10"  # message CRC
        ),
        {"yes": True},
        b"",
    ),
    Valid(
        "false",
        (
            b"\x00\x00\x00\x14"  # total length 20
            b"\x00\x00\x00\x04"  # headers length 4
            b"\xf7\x2f\x2a\x32"  # prelude CRC
            b"\x02no\x01"  # no: false
            b"\x09\x46\x26\xda"  # message CRC
        ),
        {"no": False},
        b"",
    ),
    Valid(
        "byte",
        (
            b"\x00\x00\x00\x1d"  # total length 29
            b"\x00\x00\x00\x0d"  # headers length 13
            b"\x83\xe3\xf0\xe7"  # prelude CRC
            b"\x03low\x02\x80"  # low: i8 -128
            b"\x04high\x02\x7f"  # high: i8 127
            b"\x6a\x16\x05\x05"  # message CRC
        ),
        {"low": Byte(-128), "high": Byte(127)},
        b"",
    ),
    Valid(
        "short",
        (
            b"\x00\x00\x00\x1f"  # total length 31
            b"\x00\x00\x00\x0f"  # headers length 15
            b"\x17\x2d\xc2\xab"  # prelude CRC
            b"\x03low\x03\x80\x00"  # low: i16 -32,768
            b"\x04high\x03\x7f\xff"  # high: i16 32,767
            b"\xdf\x8d\x7c\xc8"  # message CRC
        ),
        {"low": Short(-32_768), "high": Short(32_767)},
        b"",
    ),
    Valid(
        "int32",
        (
            b"\x00\x00\x00\x23"  # total length 35
            b"\x00\x00\x00\x13"  # headers length 19
            b"\x67\xfd\xcb\x63"  # prelude CRC
            b"\x03low\x04\x80\x00\x00\x00"  # low: i32 -2**31
            b"\x04high\x04\x7f\xff\xff\xff"  # high: i32 2**31 - 1
            b"\xce\x2a\xbb\xa9"  # message CRC
        ),
        {"low": Int32(-(2**31)), "high": Int32(2**31 - 1)},
        b"",
    ),
    Valid(
        "int64",
        (
            b"\x00\x00\x00\x2b"  # total length 43
            b"\x00\x00\x00\x1b"  # headers length 27
            b"\x59\x56\x08\x90"  # prelude CRC
            b"\x03low\x05\x80\x00\x00\x00\x00\x00\x00\x00"  # low: i64 -2**63
            b"\x04high\x05\x7f\xff\xff\xff\xff\xff\xff\xff"  # high: i64 2**63 - 1
            b"\x9e\xc8\xc5\x63"  # message CRC
        ),
        {"low": Int64(-(2**63)), "high": Int64(2**63 - 1)},
        b"",
    ),
    Valid(
        "bytes",
        (
            b"\x00\x00\x00\x22"  # total length 34
            b"\x00\x00\x00\x12"  # headers length 18
            b"\x2d\x9a\xd2\x45"  # prelude CRC
            b"\x04blob\x06\x00\x02\x00\xff"  # blob: 2 bytes
            b"\x04none\x06\x00\x00"  # none: 0 bytes
            b"\x38\x61\x4c\x31"  # message CRC
        ),
        {"blob": b"\x00\xff", "none": b""},
        b"",
    ),
    Valid(
        "string",
        (
            b"\x00\x00\x00\x23"  # total length 35
            b"\x00\x00\x00\x13"  # headers length 19
            b"\x67\xfd\xcb\x63"  # prelude CRC
            b"\x04text\x07\x00\x03n\xc3\xa9"  # text: 3 bytes of UTF-8
            b"\x04none\x07\x00\x00"  # none: 0 bytes
            b"\x8b\x85\xa0\x87"  # message CRC
        ),
        {"text": "né", "none": ""},
        b"",
    ),
    Valid(
        "timestamp",
        (
            b"\x00\x00\x00\x2f"  # total length 47
            b"\x00\x00\x00\x1f"  # headers length 31
            b"\xab\xbb\x6a\x49"  # prelude CRC
            b"\x05epoch\x08\x00\x00\x00\x00\x00\x00\x00\x00"  # epoch: 0 ms
            b"\x06before\x08\xff\xff\xff\xff\xff\xff\xff\xff"  # before: -1 ms
            b"\x5f\x41\xec\xa7"  # message CRC
        ),
        {
            "epoch": datetime(1970, 1, 1, tzinfo=timezone.utc),
            "before": datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=timezone.utc),
        },
        b"",
    ),
    Valid(
        "first and last timestamp",
        (
            b"\x00\x00\x00\x2d"  # total length 45
            b"\x00\x00\x00\x1d"  # headers length 29
            b"\x3f\x75\x58\x05"  # prelude CRC
            b"\x05first\x08\xff\xff\xc7|\xed\xd3(\x00"  # first: year 1
            b"\x04last\x08\x00\x00\xe6w\xd2\x1f\xdb\xff"  # last: year 9999
            b"\xb5\x77\x2e\x71"  # message CRC
        ),
        {
            "first": datetime(1, 1, 1, tzinfo=timezone.utc),
            "last": datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=timezone.utc),
        },
        b"",
    ),
    Valid(
        "uuid",
        (
            b"\x00\x00\x00\x24"  # total length 36
            b"\x00\x00\x00\x14"  # headers length 20
            b"\x4b\xb9\x82\xd0"  # prelude CRC
            b"\x02id\x09"  # id: UUID, 16 bytes
            b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"  # its bytes
            b"\x38\x82\x31\x0d"  # message CRC
        ),
        {"id": UUID("00010203-0405-0607-0809-0a0b0c0d0e0f")},
        b"",
    ),
    Valid(
        "all ten types",
        (
            b"\x00\x00\x00\x64"  # total length 100
            b"\x00\x00\x00\x51"  # headers length 81
            b"\x15\xfc\x6f\x86"  # prelude CRC
            b"\x010\x00"  # true
            b"\x011\x01"  # false
            b"\x012\x02\x02"  # i8
            b"\x013\x03\x00\x03"  # i16
            b"\x014\x04\x00\x00\x00\x04"  # i32
            b"\x015\x05\x00\x00\x00\x00\x00\x00\x00\x05"  # i64
            b"\x016\x06\x00\x03six"  # bytes
            b"\x017\x07\x00\x05seven"  # string
            b"\x018\x08\x00\x00\x00\x00\x00\x00\x00\x08"  # timestamp
            b"\x019\x09ninenineninenine"  # uuid
            b"ten"  # payload
            b"\x36\x8f\x25\x3c"  # message CRC
        ),
        {
            "0": True,
            "1": False,
            "2": Byte(2),
            "3": Short(3),
            "4": Int32(4),
            "5": Int64(5),
            "6": b"six",
            "7": "seven",
            "8": datetime(1970, 1, 1, microsecond=8_000, tzinfo=timezone.utc),
            "9": UUID(bytes=b"ninenineninenine"),
        },
        b"ten",
    ),
    Valid(
        "name outside ASCII",
        (
            b"\x00\x00\x00\x1a"  # total length 26
            b"\x00\x00\x00\x0a"  # headers length 10
            b"\xaf\xa7\xb9\x54"  # prelude CRC
            b"\x07gr\xc3\xb6\xc3\x9fe\x02\x05"  # größe: i8 5
            b"\xb4\xae\x82\x95"  # message CRC
        ),
        {"größe": Byte(5)},
        b"",
    ),
    Valid(
        "payload part",
        (
            b"\x00\x00\x00\x84"  # total length 132
            b"\x00\x00\x00\x59"  # headers length 89
            b"\x33\xf3\x20\x6b"  # prelude CRC
            b"\x0d:message-type\x07\x00\x05event"  # :message-type
            b"\x0b:event-type\x07\x00\x0bPayloadPart"  # :event-type
            b"\x0d:content-type\x07\x00\x18application/octet-stream"  # :content-type
            b"{\x22token\x22: {\x22text\x22: \x22 the\x22}}"  # payload
            b"\xef\x49\x01\x9d"  # message CRC
        ),
        {
            ":message-type": "event",
            ":event-type": "PayloadPart",
            ":content-type": "application/octet-stream",
        },
        b"{\x22token\x22: {\x22text\x22: \x22 the\x22}}",
    ),
    Valid(
        "payload part without bytes",
        (
            b"\x00\x00\x00\x40"  # total length 64
            b"\x00\x00\x00\x30"  # headers length 48
            b"\x1b\x08\xb7\x8c"  # prelude CRC
            b"\x0d:message-type\x07\x00\x05event"  # :message-type
            b"\x0b:event-type\x07\x00\x0bPayloadPart"  # :event-type
            b"\x87\x4f\x79\xff"  # message CRC
        ),
        {":message-type": "event", ":event-type": "PayloadPart"},
        b"",
    ),
    Valid(
        "exception",
        (
            b"\x00\x00\x00\x60"  # total length 96
            b"\x00\x00\x00\x3d"  # headers length 61
            b"\xa4\x78\xe4\x35"  # prelude CRC
            b"\x0d:message-type\x07\x00\x09exception"  # :message-type
            b"\x0f:exception-type\x07\x00\x10ModelStreamError"  # :exception-type
            b"{\x22Message\x22: \x22gone\x22}"  # payload
            b"\xab\x6a\x9e\x62"  # message CRC
        ),
        {":message-type": "exception", ":exception-type": "ModelStreamError"},
        b"{\x22Message\x22: \x22gone\x22}",
    ),
    Valid(
        "error",
        (
            b"\x00\x00\x00\x53"  # total length 83
            b"\x00\x00\x00\x43"  # headers length 67
            b"\xf5\x44\x7a\x58"  # prelude CRC
            b"\x0d:message-type\x07\x00\x05error"  # :message-type
            b"\x0b:error-code\x07\x00\x04Oops"  # :error-code
            b"\x0e:error-message\x07\x00\x08It broke"  # :error-message
            b"\x56\x3e\x25\x78"  # message CRC
        ),
        {
            ":message-type": "error",
            ":error-code": "Oops",
            ":error-message": "It broke",
        },
        b"",
    ),
]

INVALID = [
    Invalid(
        "total length changed",
        (
            b"\x00\x00\x00\x14"  # total length 20
            b"\x00\x00\x00\x03"  # headers length 3
            b"\xdb\x6b\x63\x81"  # prelude CRC of other lengths
            b"\x01x\x00"  # x: true
            b"\xf0\xe6\x3f\xab"  # message CRC
        ),
        ChecksumMismatchError,
        "prelude checksum",
    ),
    Invalid(
        "headers length changed",
        (
            b"\x00\x00\x00\x13"  # total length 19
            b"\x00\x00\x00\x02"  # headers length 2
            b"\xdb\x6b\x63\x81"  # prelude CRC of other lengths
            b"\x01x\x00"  # x: true
            b"\x48\xd4\xd6\xba"  # message CRC
        ),
        ChecksumMismatchError,
        "prelude checksum",
    ),
    Invalid(
        "huge length changed on the way",
        (
            b"\x7f\x00\x00\x10"  # total length 2,130,706,448
            b"\x00\x00\x00\x00"  # headers length 0
            b"\x05\xc2\x48\xeb"  # prelude CRC of other lengths
        ),
        ChecksumMismatchError,
        "prelude checksum",
    ),
    Invalid(
        "message checksum changed",
        (
            b"\x00\x00\x00\x15"  # total length 21
            b"\x00\x00\x00\x03"  # headers length 3
            b"\x54\x2b\x96\x21"  # prelude CRC
            b"\x01x\x00"  # x: true
            b"hi"  # payload
            b"\x01\x22\x7a\xc1"  # message CRC, wrong in its last bit
        ),
        ChecksumMismatchError,
        "message checksum",
    ),
    Invalid(
        "checksum before headers",
        (
            b"\x00\x00\x00\x13"  # total length 19
            b"\x00\x00\x00\x03"  # headers length 3
            b"\xdb\x6b\x63\x81"  # prelude CRC
            b"\x01x\x0a"  # x: a type that does not exist
            b"\x64\xab\x3f\x3b"  # message CRC, wrong in its last bit
        ),
        ChecksumMismatchError,
        "message checksum",
    ),
    Invalid(
        "total of nothing",
        (
            b"\x00\x00\x00\x00"  # total length 0
            b"\x00\x00\x00\x00"  # headers length 0
            b"\x65\x22\xdf\x69"  # prelude CRC
        ),
        InvalidMessageError,
        "announces 0 bytes; the least is 16",
    ),
    Invalid(
        "total below the least",
        (
            b"\x00\x00\x00\x0f"  # total length 15
            b"\x00\x00\x00\x00"  # headers length 0
            b"\xe7\x72\x48\xb8"  # prelude CRC
        ),
        InvalidMessageError,
        "announces 15 bytes; the least is 16",
    ),
    Invalid(
        "headers longer than the message",
        (
            b"\x00\x00\x00\x11"  # total length 17
            b"\x00\x00\x00\x02"  # headers length 2
            b"\xd6\xac\x00\x77"  # prelude CRC
        ),
        InvalidMessageError,
        "17 bytes announces 2 bytes of headers",
    ),
    Invalid(
        "headers with the total below the least",
        (
            b"\x00\x00\x00\x0f"  # total length 15
            b"\x00\x00\x00\x01"  # headers length 1
            b"\x90\x75\x78\x2e"  # prelude CRC
        ),
        InvalidMessageError,
        "announces 15 bytes; the least is 16",
    ),
    Invalid(
        "headers past their limit",
        (
            b"\x00\x02\x00\x11"  # total length 131,089
            b"\x00\x02\x00\x01"  # headers length 131,073
            b"\xdb\xbe\x94\x8a"  # prelude CRC
        ),
        MessageTooLargeError,
        "headers of 131073 bytes",
    ),
    Invalid(
        "message past its limit",
        (
            b"\x01\x80\x00\x01"  # total length 25,165,825
            b"\x00\x00\x00\x00"  # headers length 0
            b"\x1c\xfe\x1c\xb5"  # prelude CRC
        ),
        MessageTooLargeError,
        "message of 25165825 bytes",
    ),
    Invalid(
        "empty name",
        (
            b"\x00\x00\x00\x12"  # total length 18
            b"\x00\x00\x00\x02"  # headers length 2
            b"\x91\x0c\x7a\xa7"  # prelude CRC
            b"\x00"  # a name of 0 bytes
            b"\x00"  # true
            b"\x7b\xc1\x36\x1e"  # message CRC
        ),
        InvalidMessageError,
        "empty name",
    ),
    Invalid(
        "name cut off",
        (
            b"\x00\x00\x00\x15"  # total length 21
            b"\x00\x00\x00\x05"  # headers length 5
            b"\xbd\x48\x33\x14"  # prelude CRC
            b"\x05name"  # a name of 5 bytes, 4 given
            b"\x38\xcf\x47\x42"  # message CRC
        ),
        InvalidMessageError,
        "ends within a header's name",
    ),
    Invalid(
        "type cut off",
        (
            b"\x00\x00\x00\x15"  # total length 21
            b"\x00\x00\x00\x05"  # headers length 5
            b"\xbd\x48\x33\x14"  # prelude CRC
            b"\x04name"  # a name, and no type
            b"\x05\xaf\x6e\xf2"  # message CRC
        ),
        InvalidMessageError,
        "ends within a header's name",
    ),
    Invalid(
        "name of broken UTF-8",
        (
            b"\x00\x00\x00\x13"  # total length 19
            b"\x00\x00\x00\x03"  # headers length 3
            b"\xdb\x6b\x63\x81"  # prelude CRC
            b"\x01\xff\x00"  # a name of 0xff
            b"\xf0\xbc\xd8\xa8"  # message CRC
        ),
        InvalidMessageError,
        "name is not valid UTF-8",
    ),
    Invalid(
        "name twice",
        (
            b"\x00\x00\x00\x19"  # total length 25
            b"\x00\x00\x00\x09"  # headers length 9
            b"\x71\x0e\x92\x3e"  # prelude CRC
            b"\x01x\x00"  # x: true
            b"\x01y\x01"  # y: false
            b"\x01x\x01"  # x again
            b"\x3e\x2f\xf3\x78"  # message CRC
        ),
        InvalidMessageError,
        "'x' is there twice",
    ),
    Invalid(
        "type 10",
        (
            b"\x00\x00\x00\x13"  # total length 19
            b"\x00\x00\x00\x03"  # headers length 3
            b"\xdb\x6b\x63\x81"  # prelude CRC
            b"\x01x\x0a"  # x: type 10
            b"\x64\xab\x3f\x3a"  # message CRC
        ),
        InvalidMessageError,
        "unknown type 10",
    ),
    Invalid(
        "type 255",
        (
            b"\x00\x00\x00\x13"  # total length 19
            b"\x00\x00\x00\x03"  # headers length 3
            b"\xdb\x6b\x63\x81"  # prelude CRC
            b"\x01x\xff"  # x: type 255
            b"\xa9\x7c\x39\xa9"  # message CRC
        ),
        InvalidMessageError,
        "unknown type 255",
    ),
    Invalid(
        "uuid cut off",
        (
            b"\x00\x00\x00\x22"  # total length 34
            b"\x00\x00\x00\x12"  # headers length 18
            b"\x2d\x9a\xd2\x45"  # prelude CRC
            b"\x01x\x09"  # x: UUID, 16 bytes due
            b"fifteen bytes.."  # 15 given
            b"\xf9\x6c\xab\xe3"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "byte cut off",
        (
            b"\x00\x00\x00\x13"  # total length 19
            b"\x00\x00\x00\x03"  # headers length 3
            b"\xdb\x6b\x63\x81"  # prelude CRC
            b"\x01x\x02"  # x: 1 bytes due, 0 given
            b"\x6a\x70\xb7\x08"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "short cut off",
        (
            b"\x00\x00\x00\x14"  # total length 20
            b"\x00\x00\x00\x04"  # headers length 4
            b"\xf7\x2f\x2a\x32"  # prelude CRC
            b"\x01x\x03\x00"  # x: 2 bytes due, 1 given
            b"\xbd\x17\x42\xcb"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "int32 cut off",
        (
            b"\x00\x00\x00\x16"  # total length 22
            b"\x00\x00\x00\x06"  # headers length 6
            b"\x63\xe1\x18\x7e"  # prelude CRC
            b"\x01x\x04\x00\x00\x00"  # x: 4 bytes due, 3 given
            b"\x60\x3e\x0a\x7c"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "int64 cut off",
        (
            b"\x00\x00\x00\x1a"  # total length 26
            b"\x00\x00\x00\x0a"  # headers length 10
            b"\xaf\xa7\xb9\x54"  # prelude CRC
            b"\x01x\x05\x00\x00\x00\x00\x00\x00\x00"  # x: 8 bytes due, 7 given
            b"\x1a\xec\x6e\xba"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "timestamp cut off",
        (
            b"\x00\x00\x00\x1a"  # total length 26
            b"\x00\x00\x00\x0a"  # headers length 10
            b"\xaf\xa7\xb9\x54"  # prelude CRC
            b"\x01x\x08\x00\x00\x00\x00\x00\x00\x00"  # x: 8 bytes due, 7 given
            b"\x81\xe9\x7b\x6b"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "length cut off",
        (
            b"\x00\x00\x00\x14"  # total length 20
            b"\x00\x00\x00\x04"  # headers length 4
            b"\xf7\x2f\x2a\x32"  # prelude CRC
            b"\x01x\x06\x00"  # x: half a u16
            b"\xc0\x60\xb6\x8e"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "bytes cut off",
        (
            b"\x00\x00\x00\x17"  # total length 23
            b"\x00\x00\x00\x07"  # headers length 7
            b"\x29\x86\x01\x58"  # prelude CRC
            b"\x01x\x06\x00\x03ab"  # x: 3 bytes due, 2 given
            b"\x21\x66\x47\x5c"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "string cut off",
        (
            b"\x00\x00\x00\x17"  # total length 23
            b"\x00\x00\x00\x07"  # headers length 7
            b"\x29\x86\x01\x58"  # prelude CRC
            b"\x01x\x07\x00\x03ab"  # x: 3 bytes due, 2 given
            b"\x1c\x06\x6e\xec"  # message CRC
        ),
        InvalidMessageError,
        "ends within the value of header 'x'",
    ),
    Invalid(
        "bytes past their limit",
        (
            b"\x00\x00\x00\x15"  # total length 21
            b"\x00\x00\x00\x05"  # headers length 5
            b"\xbd\x48\x33\x14"  # prelude CRC
            b"\x01x\x06\x80\x00"  # x: 32,768 bytes announced
            b"\x23\xad\x2c\x12"  # message CRC
        ),
        InvalidMessageError,
        "has 32768 bytes; the limit is 32767",
    ),
    Invalid(
        "string past its limit",
        (
            b"\x00\x00\x00\x15"  # total length 21
            b"\x00\x00\x00\x05"  # headers length 5
            b"\xbd\x48\x33\x14"  # prelude CRC
            b"\x01x\x07\xff\xff"  # x: 65,535 bytes announced
            b"\xa7\xca\xcc\x91"  # message CRC
        ),
        InvalidMessageError,
        "has 65535 bytes; the limit is 32767",
    ),
    Invalid(
        "string of broken UTF-8",
        (
            b"\x00\x00\x00\x17"  # total length 23
            b"\x00\x00\x00\x07"  # headers length 7
            b"\x29\x86\x01\x58"  # prelude CRC
            b"\x01x\x07\x00\x02\xc3("  # x: 0xc3 without its second byte
            b"\x17\xfc\x72\x3e"  # message CRC
        ),
        InvalidMessageError,
        "value of header 'x' is not valid UTF-8",
    ),
    Invalid(
        "timestamp before year 1",
        (
            b"\x00\x00\x00\x1b"  # total length 27
            b"\x00\x00\x00\x0b"  # headers length 11
            b"\xe5\xc0\xa0\x72"  # prelude CRC
            b"\x01x\x08\xff\xff\xc7|\xed\xd3'\xff"  # x: 1 ms too early
            b"\x9b\x39\xc5\x29"  # message CRC
        ),
        InvalidMessageError,
        "outside the years 1 to 9999",
    ),
    Invalid(
        "timestamp after year 9999",
        (
            b"\x00\x00\x00\x1b"  # total length 27
            b"\x00\x00\x00\x0b"  # headers length 11
            b"\xe5\xc0\xa0\x72"  # prelude CRC
            b"\x01x\x08\x00\x00\xe6w\xd2\x1f\xdc\x00"  # x: 1 ms too late
            b"\x7e\xd3\x3e\x55"  # message CRC
        ),
        InvalidMessageError,
        "outside the years 1 to 9999",
    ),
    Invalid(
        "timestamp past a timedelta",
        (
            b"\x00\x00\x00\x1b"  # total length 27
            b"\x00\x00\x00\x0b"  # headers length 11
            b"\xe5\xc0\xa0\x72"  # prelude CRC
            b"\x01x\x08\x7f\xff\xff\xff\xff\xff\xff\xff"  # x: 2**63 - 1 ms
            b"\x54\xcb\x60\xf6"  # message CRC
        ),
        InvalidMessageError,
        "outside the years 1 to 9999",
    ),
    Invalid(
        "byte left over",
        (
            b"\x00\x00\x00\x14"  # total length 20
            b"\x00\x00\x00\x04"  # headers length 4
            b"\xf7\x2f\x2a\x32"  # prelude CRC
            b"\x01x\x00"  # x: true
            b"\x00"  # one byte too many
            b"\x96\x3a\x11\x08"  # message CRC
        ),
        InvalidMessageError,
        "empty name",
    ),
    Invalid(
        "bytes left over",
        (
            b"\x00\x00\x00\x15"  # total length 21
            b"\x00\x00\x00\x05"  # headers length 5
            b"\xbd\x48\x33\x14"  # prelude CRC
            b"\x01x\x00"  # x: true
            b"\x01y"  # two bytes too many
            b"\x2c\x61\x30\x32"  # message CRC
        ),
        InvalidMessageError,
        "ends within a header's name",
    ),
]


def decode(chunks) -> tuple[list[Message], EventStreamError | None]:
    """The messages of a stream, and the error that it ends with; iterates after each chunk."""
    decoder = EventStreamDecoder()
    messages: list[Message] = []
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            messages.extend(decoder)
        decoder.receive_eof()
    except EventStreamError as error:
        return messages, error
    return messages, None
