"""The decoder: any bytes, any cuts, messages first and then the fault, in linear work."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
import traceback
import tracemalloc
import weakref
from array import array
from functools import partial
from struct import pack
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from fuzz.fuzz_eventstream import check, run
from hypothesis import given, settings
from hypothesis import strategies as st
from support.eventstream_strategies import MESSAGES, cut, flipped, spliced
from support.eventstream_vectors import INVALID, VALID, Invalid, Valid, decode, sealed
from support.memory import taken, traced
from support.work import counted_calls

import aiosmrt.eventstream._decoder as decoder_module
from aiosmrt.errors import (
    ChecksumMismatchError,
    EventStreamError,
    InvalidMessageError,
    MessageTooLargeError,
    StreamTruncatedError,
)
from aiosmrt.eventstream import EventStreamDecoder, Message, encode_message

PART = Message({":message-type": "event", ":event-type": "PayloadPart"}, b" the")
PART_WIRE = encode_message(PART.headers, PART.payload)


def wire_of(messages) -> bytes:
    return b"".join(encode_message(message.headers, message.payload) for message in messages)


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def runs_of(decoder: EventStreamDecoder):
    return iter(decoder.next_run, None)


def splits(data: bytes) -> list[list[bytes]]:
    return [[data[:index], data[index:]] for index in range(len(data) + 1)]


# -- vectors: whole, byte by byte, with trailing bytes, split at every offset


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_a_message_comes_out_of_any_cuts(vector: Valid):
    message = Message(vector.headers, vector.payload)
    for chunks in ([vector.wire], bytewise(vector.wire), *splits(vector.wire)):
        assert decode(chunks) == ([message], None)


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_a_message_comes_out_with_its_last_byte(vector: Valid):
    decoder = EventStreamDecoder()
    for byte in bytewise(vector.wire[:-1]):
        decoder.receive_data(byte)
        assert list(decoder) == []
    decoder.receive_data(vector.wire[-1:])
    assert list(decoder) == [Message(vector.headers, vector.payload)]


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_trailing_bytes_wait_for_the_rest_of_theirs(vector: Valid):
    message = Message(vector.headers, vector.payload)
    for length in range(len(PART_WIRE)):
        decoder = EventStreamDecoder()
        decoder.receive_data(vector.wire + PART_WIRE[:length])
        assert list(decoder) == [message]
        assert decoder.bytes_left == length
        decoder.receive_data(PART_WIRE[length:])
        assert list(decoder) == [PART]


@pytest.mark.parametrize("vector", INVALID, ids=lambda vector: vector.name)
def test_a_fault_comes_after_the_messages_before_it(vector: Invalid):
    data = PART_WIRE + vector.wire
    for chunks in ([data], bytewise(data), *splits(data), [data + PART_WIRE]):
        messages, error = decode(chunks)
        assert messages == [PART]
        assert type(error) is vector.error
        assert vector.says in str(error)


def test_every_cut_off_stream_is_truncated():
    data = PART_WIRE + sealed(b"", b"payload")
    for length in range(1, len(data)):
        messages, error = decode([data[:length]])
        if length == len(PART_WIRE):
            assert (messages, error) == ([PART], None)
            continue
        assert messages == [PART][: length // len(PART_WIRE)]
        assert type(error) is StreamTruncatedError
        assert error.bytes_left == length % len(PART_WIRE)
        assert error.bytes_received == length
        assert error.parts_received == len(messages)


# -- limits, at the prelude


@pytest.mark.parametrize(
    "vector",
    [vector for vector in INVALID if len(vector.wire) == 12],
    ids=lambda vector: vector.name,
)
def test_a_bad_prelude_is_refused_at_byte_12(vector: Invalid):
    decoder = EventStreamDecoder()
    for byte in bytewise(vector.wire[:11]):
        decoder.receive_data(byte)
        assert list(decoder) == []
    decoder.receive_data(vector.wire[11:])
    with pytest.raises(vector.error, match=vector.says):
        list(decoder)
    assert decoder.bytes_left == 0


def prelude(total: int, headers_length: int) -> bytes:
    lengths = pack(">II", total, headers_length)
    return lengths + pack(">I", crc32(lengths))


@pytest.mark.parametrize("total, headers_length", [(25_165_824, 0), (25_165_824, 131_072), (16, 0)])
def test_a_prelude_at_its_limits_is_waited_for(total, headers_length):
    decoder = EventStreamDecoder()
    decoder.receive_data(prelude(total, headers_length))
    assert list(decoder) == []
    assert decoder.bytes_left == 12


@pytest.mark.parametrize("limit", [16, 100, 100_000_000])
def test_the_limit_of_a_message_is_the_users(limit):
    decoder = EventStreamDecoder(max_message_length=limit)
    decoder.receive_data(prelude(limit, 0))
    assert list(decoder) == []
    decoder = EventStreamDecoder(limit)
    decoder.receive_data(prelude(limit + 1, 0))
    with pytest.raises(MessageTooLargeError) as caught:
        list(decoder)
    error = caught.value
    assert (error.part, error.length, error.limit) == ("message", limit + 1, limit)


def test_a_limit_holds_for_what_another_decoder_has_passed():
    data = PART_WIRE + encode_message(PART.headers, b"longer")
    assert decode([data * 2])[1] is None
    for parts in (lambda decoder: decoder, runs_of):
        decoder = EventStreamDecoder(max_message_length=len(PART_WIRE))
        decoder.receive_data(data)
        iterator = iter(parts(decoder))
        next(iterator)
        with pytest.raises(MessageTooLargeError):
            next(iterator)


@pytest.mark.parametrize("limit", [15, 0, -1])
def test_a_limit_that_no_message_passes_is_refused(limit):
    with pytest.raises(ValueError, match=f"at least 16, not {limit}"):
        EventStreamDecoder(max_message_length=limit)


def test_the_largest_header_block_is_decoded():
    block = b"".join(
        b"\x01" + name + b"\x06\x7f\xff" + bytes(32_767) for name in (b"a", b"b", b"c")
    )
    block += b"\x01d\x06" + pack(">H", 131_072 - len(block) - 5)
    block += bytes(131_072 - len(block))
    ((message,), error) = decode([sealed(block, b"p")])
    assert error is None
    assert [len(value) for value in message.headers.values()] == [32_767] * 3 + [32_751]


# -- after a fault, and at the end


@pytest.mark.parametrize(
    "wire, fault",
    [
        pytest.param(bytes(12), ChecksumMismatchError, id="prelude"),
        pytest.param(sealed(b"\x01\xff\x00"), InvalidMessageError, id="headers"),
    ],
)
def test_a_fault_is_raised_again_by_every_iteration(wire, fault):
    decoder = EventStreamDecoder()
    decoder.receive_data(wire)
    seen = set()
    for times in range(3):
        with pytest.raises(fault) as caught:
            list(decoder)
        error = caught.value
        # The same facts each time, and a traceback that does not grow.
        seen.add((str(error), len(traceback.extract_tb(error.__traceback__))))
        assert error.__context__ is None
        assert decoder.bytes_received == len(wire) + times * len(PART_WIRE)
        decoder.receive_data(PART_WIRE)
        assert decoder.bytes_left == 0
    assert len(seen) == 1
    with pytest.raises(fault) as caught:
        decoder.receive_eof()
    assert str(caught.value) == seen.pop()[0]


@pytest.mark.parametrize("take", [list, EventStreamDecoder.next_run], ids=["iterated", "in runs"])
@pytest.mark.parametrize("vector", INVALID, ids=lambda vector: vector.name)
def test_nothing_behind_a_fault_comes_out_though_it_came_before_it_was_found(vector, take):
    for chunks in ([vector.wire, PART_WIRE], [*bytewise(vector.wire), PART_WIRE, PART_WIRE]):
        decoder = EventStreamDecoder()
        for chunk in chunks:
            decoder.receive_data(chunk)
        for _ in range(3):
            with pytest.raises(vector.error, match=vector.says):
                take(decoder)
            assert decoder.bytes_left == 0


def test_a_fault_that_is_kept_holds_no_frames():
    """Neither the callers', nor the decoder's own, which would hold the decoder in a cycle."""

    class Local(EventStreamDecoder):
        """One that weak references may point to."""

    def attempt(use):
        local = Local()
        with contextlib.suppress(InvalidMessageError):
            use()
            pytest.fail("nothing was raised")
        return weakref.ref(local)

    gc.disable()
    try:
        decoder = Local()
        decoder.receive_data(sealed(b"\x01\xff\x00"))
        assert attempt(partial(list, decoder))() is None
        assert attempt(decoder.receive_eof)() is None
        gone = weakref.ref(decoder)
        del decoder
        assert gone() is None
    finally:
        gc.enable()


def test_data_after_a_fault_takes_no_memory():
    decoder = EventStreamDecoder()
    decoder.receive_data(bytes(12))
    with pytest.raises(EventStreamError):
        list(decoder)
    with traced():
        for _ in range(100):
            decoder.receive_data(bytes(65_536))
        assert tracemalloc.get_traced_memory()[0] < 65_536


def test_an_iterator_under_way_meets_the_fault_that_another_found():
    decoder = EventStreamDecoder()
    decoder.receive_data(PART_WIRE + bytes(12))
    first = iter(decoder)
    assert next(first) == PART
    for iterator in (iter(decoder), first):
        with pytest.raises(ChecksumMismatchError):
            next(iterator)


def test_the_end_is_told_by_the_bytes_that_remain():
    decoder = EventStreamDecoder()
    decoder.receive_eof()
    decoder.receive_data(PART_WIRE + PART_WIRE[:20])
    assert list(decoder) == [PART]
    with pytest.raises(StreamTruncatedError) as caught:
        decoder.receive_eof()
    error = caught.value
    assert (error.bytes_received, error.parts_received, error.bytes_left) == (
        len(PART_WIRE) + 20,
        1,
        20,
    )


# -- chunks and iteration


@pytest.mark.parametrize(
    "chunk",
    [
        bytearray(PART_WIRE),
        memoryview(PART_WIRE),
        memoryview(bytes(byte for byte in PART_WIRE for _ in range(2)))[::2],
    ],
    ids=["bytearray", "memoryview", "strided"],
)
def test_a_chunk_is_any_bytes_like_object(chunk):
    assert decode([chunk]) == ([PART], None)
    assert decode([PART_WIRE[:7], chunk[7:]]) == ([PART], None)


def test_an_array_counts_in_bytes():
    data = sealed(b"", b"even")
    decoder = EventStreamDecoder()
    decoder.receive_data(array("H", data))
    assert decoder.bytes_received == decoder.bytes_left == len(data)
    assert list(decoder) == [Message({}, b"even")]


@pytest.mark.parametrize("data", ["text", 12, None, [1, 2]])
def test_a_chunk_without_bytes_is_refused(data):
    with pytest.raises(TypeError):
        EventStreamDecoder().receive_data(data)


def test_a_buffer_may_be_used_again_at_once():
    decoder = EventStreamDecoder()
    buffer = bytearray(PART_WIRE[:30])
    decoder.receive_data(buffer)
    buffer[:] = PART_WIRE[30:60]
    decoder.receive_data(memoryview(buffer))
    buffer[:] = bytes(30)
    decoder.receive_data(PART_WIRE[60:])
    assert list(decoder) == [PART]


def test_an_empty_chunk_changes_nothing():
    assert decode([b"", PART_WIRE[:5], b"", b"", PART_WIRE[5:], b""]) == ([PART], None)


def test_many_chunks_before_one_iteration():
    decoder = EventStreamDecoder()
    for byte in bytewise(PART_WIRE * 3 + PART_WIRE[:9]):
        decoder.receive_data(byte)
    assert decoder.bytes_left == decoder.bytes_received == 3 * len(PART_WIRE) + 9
    assert list(decoder) == [PART] * 3
    assert decoder.bytes_left == 9


def test_a_loop_left_early_goes_on_where_it_was():
    decoder = EventStreamDecoder()
    sent = [Message({}, bytes([number])) for number in range(5)]
    data = wire_of(sent)
    decoder.receive_data(data[:60])
    taken = []
    for message in decoder:
        taken.append(message)
        break
    decoder.receive_data(data[60:])
    for message in decoder:
        taken.append(message)
        break
    assert taken == sent[:2]
    assert list(decoder) == sent[2:]


def test_chunks_stay_in_order_however_few_messages_are_taken():
    decoder = EventStreamDecoder()
    sent = [Message({}, bytes([number])) for number in range(6)]
    wires = [wire_of([message]) for message in sent]
    taken = []
    for chunk in (wires[0] + wires[1], wires[2], wires[3], wires[4] + wires[5]):
        decoder.receive_data(chunk)
        taken.append(next(iter(decoder)))
    assert [*taken, *decoder] == sent


def test_a_chunk_of_bytes_is_read_where_it_lies():
    chunk = PART_WIRE * 1_000
    decoder = EventStreamDecoder()
    with traced():
        decoder.receive_data(chunk)
        for message in decoder:
            assert message == PART
        assert tracemalloc.get_traced_memory()[1] < len(chunk) // 2


def test_data_may_come_between_two_messages():
    decoder = EventStreamDecoder()
    decoder.receive_data(PART_WIRE)
    rounds = 0
    for message in decoder:
        assert message == PART
        rounds += 1
        if rounds < 5:
            decoder.receive_data(PART_WIRE[:50])
            decoder.receive_data(PART_WIRE[50:])
    assert rounds == 5


def test_two_iterators_share_the_messages():
    decoder = EventStreamDecoder()
    sent = [Message({}, bytes([number])) for number in range(4)]
    decoder.receive_data(wire_of(sent))
    one, other = iter(decoder), iter(decoder)
    assert [next(one), next(other), next(one), next(other)] == sent
    assert [*one, *other] == []


def test_a_payload_is_bytes():
    for chunks in ([bytearray(PART_WIRE)], bytewise(PART_WIRE)):
        ((message,), _) = decode(chunks)
        assert type(message.payload) is bytes
        assert type(message.headers) is dict


# -- header blocks that repeat


@pytest.fixture
def nothing_known():
    """Decoders know nothing of what others decoded before."""
    decoder_module.forget()


def counted(monkeypatch) -> list[bytes]:
    """The header blocks that are really decoded from now on."""
    blocks = []
    real = decoder_module.decode_headers
    monkeypatch.setattr(
        decoder_module, "decode_headers", lambda block: [blocks.append(block), real(block)][1]
    )
    return blocks


@pytest.mark.usefixtures("nothing_known")
def test_a_header_block_that_repeats_is_decoded_once(monkeypatch):
    blocks = counted(monkeypatch)
    other = Message({":event-type": "Other"}, b"")
    sent = [PART, other] * 50
    # By whichever decoder: the blocks of all streams from one service are the same.
    for _ in range(3):
        assert decode([wire_of(sent)]) == (sent, None)
    assert len(blocks) == 2


@pytest.mark.usefixtures("nothing_known")
def test_a_block_is_remembered_after_many_others(monkeypatch):
    sent = [Message({"number": number}, b"") for number in range(100)]
    blocks = counted(monkeypatch)
    assert decode([wire_of(sent + [PART] * 100)]) == (sent + [PART] * 100, None)
    assert len(blocks) == 101


def test_headers_are_the_messages_own():
    decoder = EventStreamDecoder()
    decoder.receive_data(PART_WIRE * 3)
    for message in decoder:
        assert message == PART
        message.headers.clear()
        message.headers["mine"] = True


@pytest.mark.usefixtures("nothing_known")
def test_runs_are_the_messages_with_headers_that_are_shared():
    decoder = EventStreamDecoder()
    other = encode_message({":event-type": "Other"}, b"?")
    longer = encode_message(PART.headers, b"longer")
    decoder.receive_data((PART_WIRE + longer) * 2 + other * 2 + PART_WIRE)
    *first, second, third = runs_of(decoder)
    assert [payload for _, payloads in first for payload in payloads] == [
        PART.payload,
        b"longer",
        PART.payload,
        b"longer",
    ]
    # Once both heads are known they make one run.
    assert [len(payloads) for _, payloads in first] == [1, 3]
    assert second == ({":event-type": "Other"}, [b"?", b"?"])
    assert third == (PART.headers, [PART.payload])
    assert all(headers is third[0] for headers, _ in first)


@pytest.mark.usefixtures("nothing_known")
def test_runs_are_as_long_after_many_other_blocks():
    one, two = (encode_message(PART.headers, b"x" * length) for length in (1, 2))
    others = [Message({"number": number}, b"") for number in range(20)]
    decode([one, wire_of(others)])
    decoder = EventStreamDecoder()
    decoder.receive_data((one + two) * 20)
    assert len(list(runs_of(decoder))) <= 3


def test_a_run_has_an_end():
    decoder = EventStreamDecoder()
    decoder.receive_data(PART_WIRE * 1_000)
    lengths = [len(payloads) for _, payloads in runs_of(decoder)]
    assert sum(lengths) == 1_000
    assert max(lengths) < 1_000


@pytest.mark.usefixtures("nothing_known")
def test_a_run_has_messages_of_the_same_headers():
    """Though the heads are all known, and as long as each other."""
    sent = [Message({":event-type": name}, b"x") for name in ("one", "two", "one", "two", "two")]
    decode([wire_of(sent)])
    decoder = EventStreamDecoder()
    decoder.receive_data(wire_of(sent))
    assert [(headers[":event-type"], len(payloads)) for headers, payloads in runs_of(decoder)] == [
        ("one", 1),
        ("two", 1),
        ("one", 1),
        ("two", 2),
    ]


@pytest.mark.parametrize("left", [0, 5, 30])
def test_a_chunk_is_let_go_once_its_messages_are_taken(left):
    data = PART_WIRE * 2 + PART_WIRE[:left]
    for _ in range(2):  # the second time the head is known
        decoder = EventStreamDecoder()
        held = sys.getrefcount(data)
        decoder.receive_data(data)
        assert sys.getrefcount(data) > held
        assert decoder.next_run() == (PART.headers, [PART.payload] * 2)
        assert not left or decoder.next_run() is None
        assert sys.getrefcount(data) == held
        assert decoder.bytes_left == left


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize(
    "after",
    [
        PART_WIRE[:-1],
        PART_WIRE[:-1] + b"?",
        encode_message(PART.headers | {":event-type": "AnotherPart"}, b""),
        encode_message(PART.headers | {"number": 1}, b""),
    ],
    ids=["cut", "damaged", "other headers", "a head of another length"],
)
def test_the_end_of_a_run_is_seen_at_once(after):
    decode([PART_WIRE, after])
    decoder = EventStreamDecoder()
    decoder.receive_data(PART_WIRE + PART_WIRE + after)
    with counted_calls() as calls:
        assert decoder.next_run() == (PART.headers, [PART.payload] * 2)
    assert calls.count < 50


def test_runs_end_where_messages_do():
    """At any cut, and at any damage, runs and messages say the same."""
    wire = wire_of([PART, Message({}, b"x"), PART, PART, Message(PART.headers, b"")])
    damaged = [wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :] for at in range(len(wire))]
    for data in (wire, *damaged):
        messages, error = decode([data])
        for chunks in splits(data) if data is wire else [[data], bytewise(data)]:
            decoder, flat, fault = EventStreamDecoder(), [], None
            try:
                for chunk in chunks:
                    decoder.receive_data(chunk)
                    for headers, payloads in runs_of(decoder):
                        flat += [Message(headers, payload) for payload in payloads]
            except EventStreamError as raised:
                fault = raised
            assert flat == messages
            assert str(fault or decoder.bytes_left) == str(error or 0)


# As a model's stream has them: a few blocks of headers, a few lengths, over and over.
SIMILAR = st.lists(
    st.builds(
        Message,
        st.sampled_from([PART.headers, {":event-type": "Other"}, {}]),
        st.sampled_from([b"", b"x", b"y", b"longer", b"z" * 5_000]),
    ),
    min_size=1,
    max_size=8,
)


@given(st.data())
def test_a_head_that_is_known_changes_no_result(data):
    """One message to a chunk, as from a model, or any cuts; whole or damaged."""
    wires = [wire_of([message]) for message in data.draw(SIMILAR)]
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(wires) - 1))
        wires[at], _ = data.draw(flipped(wires[at]))
    chunks = wires if data.draw(st.booleans()) else data.draw(cut(b"".join(wires)))
    limit = data.draw(st.sampled_from([100, 4_096, 1 << 20]))

    def facts(take):
        decoder = EventStreamDecoder(limit)
        messages, seen = [], []
        try:
            for chunk in chunks:
                decoder.receive_data(chunk)
                messages += take(decoder)
                seen.append((decoder.bytes_received, decoder.bytes_left, len(messages)))
            decoder.receive_eof()
        except EventStreamError as error:
            return messages, seen, f"{type(error)} {error}"
        return messages, seen, None

    def from_runs(decoder):
        for headers, payloads in runs_of(decoder):
            yield from (Message(headers, payload) for payload in payloads)

    def knowing_nothing(decoder):
        """Every message is looked at from its prelude on."""
        messages = iter(decoder)
        while True:
            decoder_module.forget()
            try:
                yield next(messages)
            except StopIteration:
                return

    expected = facts(knowing_nothing)
    for _ in range(2):  # the second time all heads are known from the first
        assert facts(iter) == expected
        assert facts(from_runs) == expected


@pytest.mark.usefixtures("nothing_known")
def test_messages_of_many_lengths_keep_their_headers(monkeypatch):
    blocks = counted(monkeypatch)
    sent = [Message(PART.headers, b"x" * length) for length in range(200)] * 2
    assert decode([wire_of(sent)]) == (sent, None)
    assert len(blocks) == 1


@pytest.mark.parametrize("length", [1, 12, 13, len(PART_WIRE) - 1])
def test_chunks_queue_behind_the_one_that_completes_a_message(length):
    decoder = EventStreamDecoder()
    decoder.receive_data(PART_WIRE[:length])
    assert list(decoder) == []
    rest = PART_WIRE[length:] + PART_WIRE[:5]
    for chunk in (rest, PART_WIRE[5:], PART_WIRE):
        decoder.receive_data(chunk)
    assert decoder.bytes_left == 3 * len(PART_WIRE)
    assert list(decoder) == [PART] * 3
    decoder.receive_eof()


@pytest.mark.usefixtures("nothing_known")
def test_lengths_that_never_repeat_do_not_fill_memory():
    wires = [wire_of([Message(PART.headers, bytes(length))]) for length in range(4_000)]
    with traced():
        decode(wires[:500])
        held = tracemalloc.get_traced_memory()[0]
        for wire in wires[500:]:
            decode([wire])
        assert tracemalloc.get_traced_memory()[0] < 2 * held


@pytest.mark.usefixtures("nothing_known")
@pytest.mark.parametrize("length", [400, 4_000])
def test_blocks_that_never_repeat_do_not_fill_memory(length):
    decoders = [EventStreamDecoder() for _ in range(10)]
    with traced():
        for number in range(4_000):
            decoder = decoders[number % 10]
            decoder.receive_data(encode_message({"number": number, "x": bytes(length)}, b""))
            assert len(list(decoder)) == 1
        # All that every decoder of a process remembers.
        assert tracemalloc.get_traced_memory()[0] < 600_000


# -- random messages, random cuts, random damage


@given(st.data())
def test_random_cuts_decode_as_botocore_decodes_them(data):
    sent = data.draw(st.lists(MESSAGES, max_size=5))
    chunks = data.draw(cut(wire_of(sent)))
    theirs = EventStreamBuffer()
    decoder = EventStreamDecoder()
    for chunk in chunks:
        theirs.add_data(chunk)
        decoder.receive_data(chunk)
        messages = list(decoder)
        assert [(list(message.headers), message.payload) for message in messages] == [
            (list(message.headers), message.payload) for message in theirs
        ]
        assert messages == sent[: len(messages)]
        del sent[: len(messages)]
    assert sent == []
    decoder.receive_eof()


@given(st.data())
def test_bytes_changed_on_the_way_end_the_stream(data):
    sent = data.draw(st.lists(MESSAGES, min_size=1, max_size=5))
    damaged, first = data.draw(flipped(wire_of(sent)))
    messages, error = decode(data.draw(cut(damaged)))
    whole = len(wire_of(messages))
    assert messages == sent[: len(messages)]
    assert whole <= first < whole + len(wire_of(sent[len(messages) : len(messages) + 1]))
    assert type(error) is ChecksumMismatchError


@given(st.data())
def test_bytes_lost_or_slipped_in_end_the_stream(data):
    sent = data.draw(st.lists(MESSAGES, min_size=1, max_size=5))
    original = wire_of(sent)
    damaged, first = data.draw(spliced(original))
    messages, error = decode(data.draw(cut(damaged)))
    before = [m for n, m in enumerate(sent, 1) if len(wire_of(sent[:n])) <= first]
    assert messages[: len(before)] == before
    assert all(message in sent for message in messages)
    assert error or wire_of(messages) == damaged


def test_the_fuzzers_invariant_holds_for_mutated_vectors():
    run(runs=300, seed=20_260_102)


@pytest.mark.slow
@settings(max_examples=5_000)
@given(st.binary(max_size=300))
def test_the_fuzzers_invariant_holds_for_any_bytes(data):
    check(data)


@pytest.mark.slow
@settings(max_examples=2_000)
@given(st.data())
def test_the_fuzzers_invariant_holds_for_damaged_messages(data):
    original = wire_of(data.draw(st.lists(MESSAGES, max_size=4)))
    damaged, _ = data.draw(spliced(original))
    check(damaged)


# -- the work grows with the bytes


def taken_by_us(data: bytes, size: int) -> int:
    chunks = (data[start : start + size] for start in range(0, len(data), size))
    return taken(EventStreamDecoder(), chunks)


def taken_by_botocore(data: bytes) -> int:
    theirs = EventStreamBuffer()
    return taken(theirs, [data], theirs.add_data)


@pytest.mark.parametrize(
    "data, four_times, size",
    [
        pytest.param(PART_WIRE * 500, PART_WIRE * 2_000, 4_000_000, id="messages in one chunk"),
        pytest.param(PART_WIRE * 500, PART_WIRE * 2_000, 4_096, id="messages in chunks"),
        pytest.param(PART_WIRE * 30, PART_WIRE * 120, 1, id="single bytes"),
        pytest.param(
            sealed(b"", bytes(250_000)), sealed(b"", bytes(1_000_000)), 1_024, id="large message"
        ),
    ],
)
def test_the_work_grows_with_the_bytes(data, four_times, size):
    assert taken_by_us(four_times, size) < 4.5 * taken_by_us(data, size)


def test_the_work_of_runs_grows_with_the_bytes():
    def taken_in_runs(times):
        decoder = EventStreamDecoder()
        data = (PART_WIRE + wire_of([Message({}, b"")])) * times  # each message is a run
        return taken(runs_of(decoder), [data], decoder.receive_data)

    assert taken_in_runs(2_000) < 4.5 * taken_in_runs(500)


def test_small_chunks_of_a_message_take_little_more_than_their_bytes():
    """Each would be an object of more than 30 bytes."""
    decoder, wire = EventStreamDecoder(), sealed(b"", bytes(40_000))
    with traced():
        for start in range(0, 40_000, 2):
            decoder.receive_data(wire[start : start + 2])
            assert decoder.next_run() is None
        assert tracemalloc.get_traced_memory()[0] < 60_000


def test_the_count_tells_a_decoder_whose_work_grows_faster():
    assert taken_by_botocore(PART_WIRE * 2_000) > 12 * taken_by_botocore(PART_WIRE * 500)


# -- what an import loads


def test_the_codec_loads_the_standard_library_and_attrs_only():
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import aiosmrt.eventstream\n"
        "print(*sorted(set(sys.modules) - before))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = ran.stdout.split()
    tops = {name.partition(".")[0] for name in loaded}
    assert "aiosmrt" in tops
    assert tops - {"aiosmrt", "attr", "attrs"} <= sys.stdlib_module_names
    assert not tops & {"asyncio", "concurrent", "http", "socket", "ssl", "urllib"}
    assert {name for name in loaded if name.count(".") == 1 and name.startswith("aiosmrt.")} == {
        "aiosmrt._values",
        "aiosmrt.errors",
        "aiosmrt.eventstream",
    }


def test_checksums_are_computed_by_what_was_given():
    summed = []

    def spying(data: bytes, value: int) -> int:
        summed.append(data)
        return crc32(data, value)

    payloads = [b"%d" % number for number in range(3)]
    wire = b"".join(encode_message({":message-type": "event"}, each) for each in payloads)
    decoder = EventStreamDecoder(crc32=spying)
    decoder.receive_data(wire)
    assert [message.payload for message in decoder] == payloads == summed
    decoder = EventStreamDecoder(crc32=lambda data, value: crc32(data, value) ^ 1)
    decoder.receive_data(wire)
    with pytest.raises(ChecksumMismatchError):
        decoder.next_run()


@pytest.mark.parametrize("long", [1, 30, 200])
@given(messages=st.lists(MESSAGES, max_size=4), data=st.data())
def test_a_long_message_is_as_a_short_one(long: int, messages: list[Message], data: st.DataObject):
    """However it is cut or damaged."""
    wire = wire_of(messages)
    if wire and data.draw(st.booleans()):
        wire, _ = data.draw(flipped(wire))
    wire = wire[: data.draw(st.integers(0, len(wire)) | st.just(len(wire)))]
    expected, fault = decode([wire])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder_module, "LONG", long)
        found, error = decode(data.draw(cut(wire) | st.just(bytewise(wire))))
    assert (found, type(error), str(error)) == (expected, type(fault), str(fault))


@pytest.mark.parametrize("first", [1, 12, 100, 50_000])
def test_a_long_message_is_checked_as_it_comes(first: int):
    wire = encode_message({":event-type": "PayloadPart"}, b"ab" * 4_000_000)
    checked = 0

    def counting(data: bytes, crc: int) -> int:
        nonlocal checked
        checked += len(data)
        return crc32(data, crc)

    decoder = EventStreamDecoder(crc32=counting)
    messages: list[Message] = []
    most, start = 0, 0
    for end in (*range(first, len(wire), 50_000), len(wire)):
        before = checked
        decoder.receive_data(wire[start:end])
        messages += decoder
        assert decoder.bytes_left == (0 if messages else end)
        most = max(most, checked - before)
        start = end
    assert [message.payload for message in messages] == [b"ab" * 4_000_000]
    assert checked < len(wire)
    assert most <= 100_000


def test_a_long_message_that_was_begun_and_is_damaged_holds_nothing():
    wire = bytearray(encode_message({}, bytes(4_000_000)))
    wire[2_000_000] = 1
    decoder = EventStreamDecoder()
    with pytest.raises(ChecksumMismatchError):
        for start in range(0, len(wire), 50_000):
            decoder.receive_data(wire[start : start + 50_000])
            assert not list(decoder)
    assert decoder.bytes_left == 0
