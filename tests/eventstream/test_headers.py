"""Header blocks: every type, every limit, and nothing of a value in an error's text."""

from __future__ import annotations

import copy
import enum
import pickle
from datetime import datetime, timedelta, timezone
from uuid import UUID

import pytest
from botocore.eventstream import EventStreamHeaderParser
from hypothesis import given
from support.eventstream_strategies import HEADERS
from support.eventstream_vectors import INVALID, VALID, Valid

from aiosmrt.errors import InvalidMessageError
from aiosmrt.eventstream import Byte, Int32, Int64, Short
from aiosmrt.eventstream._headers import decode_headers, encode_headers

SIZED = [(Byte, 8), (Short, 16), (Int32, 32), (Int64, 64)]


def block_of(wire: bytes) -> bytes:
    return wire[12 : 12 + int.from_bytes(wire[4:8], "big")]


def as_botocore_decodes(value):
    """botocore leaves a timestamp in milliseconds, and a UUID in bytes."""
    if isinstance(value, datetime):
        return (value - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(milliseconds=1)
    return value.bytes if isinstance(value, UUID) else value


# -- vectors


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_decodes(vector: Valid):
    headers = decode_headers(block_of(vector.wire))
    assert headers == vector.headers
    assert list(headers) == list(vector.headers)
    assert [type(value) for value in headers.values()] == [
        type(value) for value in vector.headers.values()
    ]


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_encodes(vector: Valid):
    assert encode_headers(vector.headers) == block_of(vector.wire)


@pytest.mark.parametrize(
    "vector",
    [vector for vector in INVALID if vector.error is InvalidMessageError and len(vector.wire) > 12],
    ids=lambda vector: vector.name,
)
def test_refuses_to_decode(vector):
    with pytest.raises(InvalidMessageError) as caught:
        decode_headers(block_of(vector.wire))
    assert vector.says in str(caught.value)


def test_every_cut_of_a_block_is_refused_or_holds_fewer_headers():
    (vector,) = [vector for vector in VALID if vector.name == "all ten types"]
    block = block_of(vector.wire)
    whole = {len(encode_headers(dict(list(vector.headers.items())[:count]))) for count in range(10)}
    for length in range(len(block)):
        if length in whole:
            assert decode_headers(block[:length]).items() <= vector.headers.items()
        else:
            with pytest.raises(InvalidMessageError):
                decode_headers(block[:length])


# -- against botocore


def as_botocore_decodes_all(headers):
    return {name: as_botocore_decodes(value) for name, value in headers.items()}


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_botocore_reads_the_vectors_as_we_do(vector: Valid):
    theirs = EventStreamHeaderParser().parse(block_of(vector.wire))
    assert theirs == as_botocore_decodes_all(decode_headers(block_of(vector.wire)))


@given(HEADERS)
def test_botocore_reads_what_is_encoded(headers):
    theirs = EventStreamHeaderParser().parse(encode_headers(headers))
    assert theirs == as_botocore_decodes_all(headers)


@given(HEADERS)
def test_what_is_encoded_is_decoded(headers):
    decoded = decode_headers(encode_headers(headers))
    assert decoded == headers
    assert [type(value) for value in decoded.values()] == [
        type(value) for value in headers.values()
    ]


# -- the sized integers


@pytest.mark.parametrize("kind, bits", SIZED)
def test_a_sized_int_holds_its_range(kind, bits):
    limit = 1 << (bits - 1)
    assert kind(-limit) == -limit
    assert kind(limit - 1) == limit - 1
    for value in (-limit - 1, limit):
        with pytest.raises(ValueError, match=rf"{value} does not fit {kind.__name__}") as caught:
            kind(value)
        assert f"{-limit} to {limit - 1}" in str(caught.value)


@pytest.mark.parametrize("kind, bits", SIZED)
@pytest.mark.parametrize("value", ["1", 1.0, b"2", None])
def test_a_sized_int_takes_integers_only(kind, bits, value):
    with pytest.raises(TypeError):
        kind(value)


@pytest.mark.parametrize("kind, bits", SIZED)
def test_a_sized_int_is_an_int(kind, bits):
    value = kind(-5)
    assert value == -5
    assert hash(value) == hash(-5)
    assert repr(value) == f"{kind.__name__}(-5)"
    assert str(value) == f"{value}" == "-5"
    unpickled = pickle.loads(pickle.dumps(value))  # noqa: S301 (our own)
    for other in (copy.copy(value), copy.deepcopy(value), unpickled):
        assert type(other) is kind
        assert other == value
    with pytest.raises(AttributeError):
        value.attribute = 1


# -- what encodes as what


class Colour(enum.IntEnum):
    RED = 3


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "value, decoded",
    [
        (True, True),
        (False, False),
        (7, Int32(7)),
        (Colour.RED, Int32(3)),
        (Word("word"), "word"),
        (
            datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=timezone(timedelta(hours=2))),
            datetime(2026, 1, 2, 1, 4, 5, 678_000, tzinfo=timezone.utc),
        ),
        (
            datetime(1969, 12, 31, 23, 59, 59, 999_001, tzinfo=timezone.utc),
            datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=timezone.utc),
        ),
    ],
)
def test_a_value_encodes_as_the_nearest_type(value, decoded):
    (result,) = decode_headers(encode_headers({"x": value})).values()
    assert result == decoded
    assert type(result) is type(decoded)


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_a_plain_int_must_fit_32_bits(value):
    with pytest.raises(ValueError, match=rf"'size': {value} does not fit Int32"):
        encode_headers({"size": value})


@pytest.mark.parametrize(
    "value, says",
    [
        (datetime(2026, 1, 2), "'x': a datetime needs a time zone"),  # noqa: DTZ001 (that is the fault)
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), "outside the years 1 to 9999"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "outside the years 1 to 9999"),
        ("\ud800", "'x': a lone surrogate has no UTF-8"),
    ],
    ids=["naive", "before year 1", "after year 9999", "surrogate"],
)
def test_a_value_that_has_no_bytes_is_refused(value, says):
    with pytest.raises(ValueError, match=says):
        encode_headers({"x": value})


@pytest.mark.parametrize("value", [None, 1.5, bytearray(b"x"), [1], object()])
def test_a_value_of_another_class_is_refused(value):
    with pytest.raises(TypeError, match=rf"'x' is a {type(value).__name__}"):
        encode_headers({"x": value})


# -- names and limits


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_a_name_may_have_255_bytes(name):
    assert decode_headers(encode_headers({name: True})) == {name: True}


@pytest.mark.parametrize("name", ["", "x" * 256, "é" * 128])
def test_a_name_past_its_limits_is_not_encoded(name):
    with pytest.raises(InvalidMessageError, match="it must have 1 to 255"):
        encode_headers({name: True})


def test_a_name_must_be_text():
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        encode_headers({b"x": True})
    with pytest.raises(ValueError, match="lone surrogate"):
        encode_headers({"\udfff": True})


@pytest.mark.parametrize("value", [b"v" * 32_767, "v" * 32_767, "é" * 16_383])
def test_a_value_may_have_32767_bytes(value):
    assert decode_headers(encode_headers({"x": value})) == {"x": value}


@pytest.mark.parametrize("value", [b"v" * 32_768, "v" * 32_768, "é" * 16_384])
def test_a_value_past_its_limit_is_not_encoded(value):
    with pytest.raises(InvalidMessageError, match="'x' has 32768 bytes; the limit is 32767"):
        encode_headers({"x": value})


@pytest.mark.parametrize("kind", [6, 7])
def test_a_value_past_its_limit_is_not_decoded(kind):
    block = b"\x01x" + bytes([kind]) + b"\x80\x00" + b"v" * 32_768
    with pytest.raises(InvalidMessageError, match="'x' has 32768 bytes; the limit is 32767"):
        decode_headers(block)


@pytest.mark.parametrize(
    "block",
    [
        b"\x01x\x07\x00\x07secret\xff",  # broken UTF-8
        b"\x01x\x07\x00\x08secret",  # cut off
        b"\x01x\x07\x00\x06secret\x01x\x00",  # the name twice
    ],
)
def test_an_error_tells_nothing_of_a_value(block):
    with pytest.raises(InvalidMessageError) as caught:
        decode_headers(block)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("value", ["secret\ud800", "secret" * 6_000])
def test_an_encoding_error_tells_nothing_of_a_value(value):
    with pytest.raises((ValueError, InvalidMessageError)) as caught:
        encode_headers({"x": value})
    assert "secret" not in str(caught.value)
