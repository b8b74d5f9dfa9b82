"""One message: its bytes, its limits, and what its repr keeps to itself."""

from __future__ import annotations

import pickle
from array import array

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from support.eventstream_strategies import MESSAGES
from support.eventstream_vectors import VALID, Valid, sealed

from aiosmrt.errors import InvalidMessageError, MessageTooLargeError
from aiosmrt.eventstream import Message, encode_message
from aiosmrt.eventstream._headers import encode_headers


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_encodes(vector: Valid):
    assert encode_message(vector.headers, vector.payload) == vector.wire


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_botocore_takes_the_vectors_for_whole(vector: Valid):
    theirs = EventStreamBuffer()
    theirs.add_data(vector.wire)
    assert [decoded.payload for decoded in theirs] == [vector.payload]


@given(MESSAGES)
def test_botocore_reads_what_is_encoded(message):
    theirs = EventStreamBuffer()
    theirs.add_data(encode_message(message.headers, message.payload) * 2)
    # It checks both CRCs; the header test compares the values. That it finds the second one
    # shows where the first one ends.
    first, second = theirs
    for decoded in (first, second):
        assert list(decoded.headers) == list(message.headers)
        assert decoded.payload == message.payload


@pytest.mark.parametrize(
    "payload",
    [
        b"\x01\x02\x03\x04",
        bytearray(b"\x01\x02\x03\x04"),
        memoryview(b"\x01\x02\x03\x04"),
        memoryview(b"\x01_\x02_\x03_\x04_")[::2],
        array("H", b"\x01\x02\x03\x04"),
    ],
    ids=["bytes", "bytearray", "memoryview", "strided", "array of u16"],
)
def test_the_payload_is_any_bytes_like_object(payload):
    assert encode_message({}, payload) == sealed(b"", b"\x01\x02\x03\x04")


@pytest.mark.parametrize("payload", ["text", 5, None, [1, 2]])
def test_a_payload_without_bytes_is_refused(payload):
    with pytest.raises(TypeError):
        encode_message({}, payload)


def test_the_faults_of_a_header_come_through():
    with pytest.raises(InvalidMessageError, match="'x' has 32768 bytes"):
        encode_message({"x": "v" * 32_768}, b"")


def headers_of(length: int) -> dict[str, bytes]:
    """Headers whose block has so many bytes: 4 whole values, and the rest."""
    headers = dict.fromkeys("abcd", b"v" * 32_000)
    headers["e"] = b"v" * (length - len(encode_headers(headers)) - 5)
    return headers


def test_a_header_block_may_have_128_kib():
    headers = headers_of(131_072)
    assert encode_message(headers, b"p") == sealed(encode_headers(headers), b"p")


def test_a_header_block_past_its_limit_is_refused():
    with pytest.raises(MessageTooLargeError) as caught:
        encode_message(headers_of(131_073), b"")
    assert (caught.value.part, caught.value.length, caught.value.limit) == (
        "headers",
        131_073,
        131_072,
    )


def test_a_message_may_have_24_mib():
    payload = bytes(25_165_824 - 16 - 5)
    assert len(encode_message({"yes": True}, payload)) == 25_165_824
    with pytest.raises(MessageTooLargeError) as caught:
        encode_message({"yes": True}, payload + b"1")
    assert (caught.value.part, caught.value.length, caught.value.limit) == (
        "message",
        25_165_825,
        25_165_824,
    )


# -- Message


def test_the_repr_shows_no_payload():
    text = repr(Message({":event-type": "PayloadPart"}, b"a secret"))
    assert text == "Message(headers={':event-type': 'PayloadPart'}, payload=<8 bytes>)"


def test_a_message_has_these_two_attributes_and_no_hash():
    message = Message({}, b"")
    with pytest.raises(AttributeError):
        message.other = 1
    assert not hasattr(message, "__dict__")
    with pytest.raises(TypeError, match="unhashable"):
        hash(message)


def test_a_message_is_its_headers_and_its_payload():
    message = Message(headers={"x": 1}, payload=b"p")
    assert message == Message({"x": 1}, b"p")
    assert message != Message({"x": 2}, b"p")
    assert message != Message({"x": 1}, b"q")
    assert pickle.loads(pickle.dumps(message)) == message  # noqa: S301 (our own)
