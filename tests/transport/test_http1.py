"""The reader of HTTP/1.1 responses: any cuts, any damage, and what others make of the same."""

from __future__ import annotations

import gc
import random
import re
import sys
import tracemalloc
import weakref
from itertools import pairwise

import pytest
from fuzz.fuzz_http1 import (
    WE_ALONE_REFUSE,
    WIRES,
    check,
    check_cuts,
    compare,
    headers_of,
    made,
    mutated,
    run,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from support.http1_corpus import (
    BAD,
    GOOD,
    HEAD_LENGTH,
    LAST,
    OPEN,
    Bad,
    Good,
    chunk,
    chunked,
    interim,
    response,
    sized,
)
from support.http1_readers import (
    Reading,
    Refusal,
    bytewise,
    outcome,
    read_by_h11,
    read_by_llhttp,
)
from support.memory import traced

from aiosmrt._transport import _http1
from aiosmrt._transport._http1 import (
    IncompleteResponseError,
    RemoteProtocolError,
    ResponseReader,
)


def cases(corpus):
    return pytest.mark.parametrize("case", [pytest.param(corpus[name], id=name) for name in corpus])


def new_reader(*data: bytes) -> ResponseReader:
    reader = ResponseReader()
    reader.expect_response()
    for part in data:
        reader.receive_data(part)
    return reader


def splits(data: bytes) -> list[list[bytes]]:
    """At every place, or at some of a long one."""
    step = len(data) // 20 if len(data) > 1_000 else 1
    return [[data[:at], data[at:]] for at in range(0, len(data), step)]


def random_cuts(data: bytes) -> list[list[bytes]]:
    rng = random.Random(len(data))
    cuts = []
    for _ in range(5):
        places = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(6))})
        cuts.append([data[a:b] for a, b in pairwise(places)])
    return cuts


# -- the corpus: whole, byte by byte, split everywhere, from memory that is used again


@cases(GOOD)
def test_a_response_is_read_from_any_cuts(case: Good):
    whole = outcome([case.wire])
    assert whole.fault is None
    assert whole.is_complete
    assert (whole.status, whole.body, whole.keeps) == (case.status, case.body, case.keeps)
    for chunks in ([case.wire], bytewise(case.wire), *splits(case.wire), *random_cuts(case.wire)):
        assert outcome(chunks) == whole
        assert outcome(chunks, reuse=True) == whole


@cases(BAD)
def test_a_bad_response_is_refused_at_any_cuts(case: Bad):
    whole = outcome([case.wire])
    assert whole.fault == f"RemoteProtocolError: {case.says}"
    assert whole.body == case.body
    assert not whole.is_complete
    assert not whole.keeps
    for chunks in ([case.wire], bytewise(case.wire), *splits(case.wire), *random_cuts(case.wire)):
        assert outcome(chunks) == whole
        assert outcome(chunks, reuse=True) == whole


@cases(GOOD)
def test_a_response_is_complete_with_its_last_byte(case: Good):
    reader = new_reader(*bytewise(case.wire[:-1]))
    assert not reader.is_complete
    reader.receive_data(case.wire[-1:])
    if not case.keeps and not reader.is_complete:  # its end is that of the connection
        assert reader.should_close
        reader.receive_eof()
    assert reader.is_complete
    assert reader.fault is None


@cases({name: case for name, case in GOOD.items() if len(case.wire) < 1_000})
def test_a_connection_that_ends_early_is_told(case: Good):
    for at in range(len(case.wire)):
        reader = new_reader(*bytewise(case.wire[:at]))
        assert not reader.is_complete
        assert reader.has_begun is (at > 0)
        until_the_end = reader.status_code and reader.should_close and b"ength" not in case.wire
        reader.receive_eof()
        assert reader.should_close
        assert reader.is_complete is (reader.fault is None) is bool(until_the_end)
        assert reader.is_complete or type(reader.fault) is IncompleteResponseError
        assert case.body.startswith(b"".join(reader.take()))


@cases({name: case for name, case in GOOD.items() if not name.startswith("until")})
def test_bytes_after_a_response_close_the_connection(case: Good):
    for extra in (b"x", b"\r", b"\n", b"\r\n", b"\0" * 500, sized()):
        for chunks in (
            [case.wire + extra],
            [case.wire, extra],
            bytewise(case.wire + extra),
            [case.wire[:-1], case.wire[-1:] + extra],
        ):
            found = outcome(chunks)
            assert found.is_complete
            assert not found.keeps
            assert (found.status, found.body) == (case.status, case.body)
            assert found.fault == "RemoteProtocolError: Bytes came that belong to no response"


def test_before_the_first_response_nothing_has_come():
    reader = ResponseReader()
    assert (reader.status_code, dict(reader.headers), reader.buffered) == (0, {}, 0)
    assert not any((reader.has_begun, reader.is_complete, reader.should_close))
    assert reader.fault is None
    assert reader.take() == []
    reader.expect_response()
    reader.receive_data(sized())
    assert reader.is_complete


def test_responses_follow_each_other():
    reader = ResponseReader()
    for case in GOOD.values():
        if not case.keeps:
            continue
        reader.expect_response()
        assert (reader.status_code, dict(reader.headers)) == (0, {})
        assert not reader.has_begun
        assert not reader.is_complete
        for part in bytewise(case.wire):
            assert not reader.is_complete
            reader.receive_data(part)
            assert reader.has_begun is not reader.is_complete
        assert reader.is_complete
        assert not reader.should_close
        assert b"".join(reader.take()) == case.body
        assert reader.status_code == case.status
    reader.receive_eof()
    assert reader.should_close
    assert reader.fault is None


def test_bytes_before_a_request_belong_to_none():
    reader = ResponseReader()
    reader.receive_data(sized())
    assert type(reader.fault) is RemoteProtocolError
    assert reader.should_close
    assert not reader.has_begun


# -- faults


@cases(BAD)
def test_nothing_is_read_after_a_fault(case: Bad):
    reader = new_reader(case.wire)
    fault, pieces = reader.fault, reader.take()
    for data in (b"\r\n\r\n", sized(), LAST, b"x" * 70_000):
        reader.receive_data(data)
    assert reader.take() == []
    assert b"".join(pieces) == case.body
    reader.receive_eof()
    reader.expect_response()
    reader.receive_data(sized())
    assert reader.fault is fault
    assert (reader.status_code, reader.buffered, reader.is_complete) == (0, 0, False)
    assert reader.should_close


def test_the_pieces_before_a_fault_wait_to_be_taken():
    reader = new_reader(chunked(chunk(b"x" * 5_000) + chunk(b"y" * 5_000) + b"bad\r\n"))
    assert reader.fault is None
    reader.receive_data(chunk(b"!")[:1] + b"?" * 3_000)
    assert reader.fault
    assert reader.buffered == 10_000 + 2_989
    assert b"".join(reader.take())[:10_000] == b"x" * 5_000 + b"y" * 5_000


def test_a_fault_holds_neither_frames_nor_bytes():
    class Data(bytearray):
        """One that weak references may point to."""

    gc.disable()
    try:
        data = Data(sized(b"A : b"))
        gone = weakref.ref(data)
        reader = new_reader(memoryview(data))
        assert reader.fault
        del data
        assert gone() is None
        reader = ResponseReader()
        reader.expect_response()
        with pytest.raises(RemoteProtocolError):
            raise_it(reader)
    finally:
        gc.enable()


def raise_it(reader: ResponseReader) -> None:
    reader.receive_data(b"x")
    assert reader.fault
    raise reader.fault


# -- headers


@cases(GOOD)
def test_headers_are_aiohttps(case: Good):
    """Their values as strings, in their order, whatever bytes are in them."""
    theirs = read_by_llhttp(case.wire, strict=False)
    if isinstance(theirs, Reading):
        ours = new_reader(case.wire).headers
        assert [(name.lower(), value) for name, value in ours.items()] == headers_of(theirs)


@pytest.mark.parametrize(
    "value",
    ["žluťoučký".encode(), "😀".encode(), b"caf\xe9", b"\xff\xfe", b"\xe2\x82", b"\xed\xa0\x80"],
)
def test_the_bytes_of_a_header_can_be_had_again(value):
    reader = new_reader(sized(b"X-Custom: \t" + value + b" "))
    assert reader.headers["x-CUSTOM"].encode("utf-8", "surrogateescape") == value


# -- the other readers


@cases(GOOD)
def test_a_response_is_read_as_others_read_it(case: Good):
    compare(case.wire)


@cases(BAD)
def test_what_is_refused_alone_is_listed(case: Bad):
    compare(case.wire)


def test_llhttp_is_asked_in_both_of_its_modes():
    """The strict one is that of Python's development mode, whatever mode the tests run in."""
    for wire in (response(line=b"HTTP/1.1 200 OK\nA: b"), sized(b"A: b", b" c")):
        assert isinstance(read_by_llhttp(wire, strict=False), Reading)
        assert isinstance(read_by_llhttp(wire, strict=True), Refusal)


def test_every_difference_is_met():
    """A difference that has gone must leave the list."""
    refused = {
        difference.reason
        for case in BAD.values()
        for difference in WE_ALONE_REFUSE
        if difference.refusal in case.says
        and re.search(difference.wire, case.wire)
        and isinstance(read_by_llhttp(case.wire, strict=True), Reading)
        and isinstance(read_by_h11(case.wire), Reading)
    }
    listed = {difference.reason for difference in WE_ALONE_REFUSE}
    assert not {reason for reason in listed - refused if "aiohttp before" not in reason}


@pytest.mark.parametrize(
    "wire",
    [
        sized(b"Content-Type: a", b"Content-Type: b"),
        sized(b"Sec-WebSocket-Key1: a"),
        sized(b"A: " + b"b" * 9_000),
        chunked(b"0\r\n" + b"A: b\r\n" * 128 + b"\r\n"),
        chunked(b"3 \r\nabc\r\n" + LAST),
        interim(b"Proxy-Connection: close") + sized(),
        sized(b"Proxy-Connection: close"),
        response(b"Content-Length: 0000000000000000002", body=b"ab"),
    ],
    ids=["repeat", "websocket", "long", "trailers", "blank", "interim", "proxy", "length"],
)
def test_what_only_others_refuse_is_listed(wire):
    check(wire)


# -- the fuzzer's invariant


def test_the_fuzzers_invariant_holds():
    run(400, seed=20_260_102)


@given(st.integers(0, 2**64), st.data())
def test_random_cuts_change_nothing(seed, data):
    rng = random.Random(seed)
    wire = mutated(rng, rng.choice(WIRES) if rng.randrange(2) else made(rng))
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    chunks = [wire[a:b] for a, b in zip([0, *places], [*places, len(wire)], strict=True)]
    assert outcome(chunks) == outcome(chunks, reuse=True) == outcome([wire])


@given(st.binary(max_size=80))
def test_any_bytes_are_a_body_or_a_fault(data):
    for head in (b"", OPEN, chunked(b""), response(b"Content-Length: 40"), b"HTTP/1.1 200 OK\r\n"):
        check_cuts(head + data)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.data())
def test_the_body_is_that_of_the_chunks(bodies, data):
    wire = chunked(b"".join(map(chunk, bodies)) + LAST)
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    found = outcome(
        [wire[a:b] for a, b in zip([0, *places], [*places, len(wire)], strict=True)],
        reuse=data.draw(st.booleans()),
    )
    assert (found.body, found.is_complete, found.fault) == (b"".join(bodies), True, None)


@pytest.mark.slow
@settings(max_examples=5_000)
@given(st.binary(max_size=200))
def test_the_fuzzers_invariant_holds_for_any_bytes(data):
    check(data)
    check(chunked(data))
    check(b"HTTP/1.1 200 OK\r\n" + data)


@pytest.mark.slow
def test_the_fuzzers_invariant_holds_for_long():
    run(20_000, seed=11)


# -- pieces


@pytest.mark.parametrize("make", [bytes, bytearray], ids=["bytes", "memoryview"])
def test_large_pieces_come_as_they_lie_and_small_ones_as_one(make):
    def data(wire: bytes):
        return wire if make is bytes else memoryview(make(wire))

    reader = new_reader(data(chunked(b"")))
    reader.receive_data(data(chunk(b"a" * 10_000) + chunk(b"b" * 10_000)))
    assert reader.take() == [b"a" * 10_000, b"b" * 10_000]
    reader.receive_data(data(b"".join(chunk(b"%d," % number) for number in range(300))))
    assert reader.take() == [b"".join(b"%d," % number for number in range(300))]
    assert reader.take() == []


def test_a_body_in_one_read_is_not_copied():
    data = b"x" * 100_000
    for head in (OPEN, response(b"Content-Length: 200000")):
        reader = new_reader(head)
        reader.receive_data(data)
        assert reader.take()[0] is data


def test_what_is_buffered_is_counted_on_every_way():
    for wire in (
        chunked((chunk(b"x" * 10) + chunk(b"y" * 5_000)) * 20 + LAST),
        chunked(chunk(b"x" * 250) * 1_100 + LAST),
        chunked(chunk(b"x") * 9_000 + LAST),
        response(b"Content-Length: 9000", body=b"x" * 9_000),
        OPEN + b"x" * 9_000,
    ):
        for size in (len(wire), 1_000, 70):
            parts = [wire[at : at + size] for at in range(0, len(wire), size)]
            for view in (bytes, memoryview):
                reader = new_reader(*map(view, parts))
                assert reader.buffered == sum(map(len, reader.take())) > 0
                assert reader.buffered == 0


# -- what a server can make the reader hold. tracemalloc measures it on any machine


def held(wires, *, take: bool = False) -> tuple[ResponseReader, int]:
    """The memory that is held after some reads."""
    gc.collect()
    with traced():
        reader = new_reader()
        for wire in wires:
            reader.receive_data(wire)
            if take:
                reader.take()
        del wire
        return reader, tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize("length", [1, 2, 3, 17])
@pytest.mark.parametrize("size", ["one", "many"])
def test_small_pieces_take_little_more_than_their_bytes(length, size):
    pieces = [chunk(bytes([number]) * length) for number in range(128, 256)]
    count = 10_240 // len(pieces)
    reads = pieces * count if size == "one" else [b"".join(pieces) * 8] * (count // 8)
    reader, memory = held([chunked(b""), *reads])
    assert reader.fault is None
    assert reader.buffered == 10_240 * length
    assert memory < reader.buffered * 2 + 35_000


@pytest.mark.parametrize(
    "head", [OPEN, response(b"Content-Length: 99999999")], ids=["end", "length"]
)
def test_small_reads_of_a_body_take_little_more_than_their_bytes(head):
    reader, memory = held([head, *(b"%02d" % (number % 100) for number in range(10_000))])
    assert reader.buffered == 20_000
    assert memory < 20_000 * 2 + 35_000
    assert b"".join(reader.take()) == b"".join(b"%02d" % (n % 100) for n in range(10_000))


READ = 262_144
ENDLESS = {
    "status line": b"HTTP/1.1 200 " + b"x" * READ,
    "header": b"HTTP/1.1 200 OK\r\nA: " + b"b" * READ,
    "headers": b"HTTP/1.1 200 OK\r\n" + b"A:\r\n" * (READ // 4),
    "headers of many names": b"HTTP/1.1 200 OK\r\n"
    + b"".join(b"%x:\r\n" % n for n in range(40_000)),
    "blanks": b"HTTP/1.1 200 OK\r\nA:" + b" " * READ,
    "interim responses": interim() * (READ // 25),
    "interim responses, one long": interim(b"A: " + b"b" * 60_000) * 4,
    "size line": chunked(b"5;" + b"a" * READ),
    "size line of a string": chunked(b'5;a="' + b'\\"' * (READ // 2)),
    "size line of extensions": chunked(b"5" + b";a" * (READ // 2)),
    "size line of blanks": chunked(b"5" + b" " * READ),
    "size line of digits": chunked(b"0" * READ),
    "trailers": chunked(b"0\r\n" + b"A:\r\n" * (READ // 4)),
    "trailer": chunked(b"0\r\nA:" + b" " * READ),
}


@pytest.mark.parametrize("wire", ENDLESS.values(), ids=ENDLESS.keys())
@pytest.mark.parametrize("size", [READ, 4_096, 100])
def test_what_has_no_end_is_refused_before_it_fills_memory(wire, size):
    """The largest head takes five times its bytes while it is made into headers."""
    for view in (bytes, memoryview):
        reads = [view(wire[at : at + size]) for at in range(0, len(wire), size)]
        with traced():
            before = tracemalloc.get_traced_memory()[0]
            reader = new_reader(*reads)
            after, peak = tracemalloc.get_traced_memory()
        assert type(reader.fault) is RemoteProtocolError
        assert after - before < 5_000
        assert peak - before < 5 * HEAD_LENGTH + 2 * size + 30_000


def test_a_read_of_small_chunks_takes_less_than_its_bytes():
    reader = new_reader(chunked(b""))
    data = chunk(b"ab") * (READ // 7)
    with traced():
        reader.receive_data(data)
        peak = tracemalloc.get_traced_memory()[1]
    assert reader.buffered == READ // 7 * 2
    assert peak < READ + reader.buffered * 2


def test_chunks_with_extensions_leave_nothing():
    data = b"".join(b"1;a=%d\r\nx\r\n" % number for number in range(1_000))
    _, memory = held([chunked(b""), *[data] * 5], take=True)
    assert memory < 200_000  # all the sizes that are remembered


# -- sizes that are remembered are those of all connections


@pytest.fixture
def known_sizes(monkeypatch):
    sizes: dict[bytes, int] = {}
    monkeypatch.setattr(_http1, "_known_sizes", sizes)
    return sizes


def test_a_server_cannot_change_what_another_ones_sizes_mean(known_sizes):
    rng = random.Random(3)
    for _ in range(300):
        wire = mutated(rng, rng.choice(WIRES) if rng.randrange(2) else made(rng))
        for chunks in ([wire], bytewise(wire)):
            new_reader(*chunks)
    assert known_sizes
    for line, size in list(known_sizes.items()):
        own = line.removeprefix(b"\r\n")
        assert size == int(own.replace(b";", b" ").split()[0], 16) > 0
        found = outcome([chunked(chunk(b"a") + own + b"x" * size + b"\r\n" + LAST)])
        assert found.body == b"a" + b"x" * size


def test_a_server_cannot_keep_the_memory_of_sizes_full(known_sizes):
    hostile = new_reader(chunked(b""))
    for size in range(1, 5_000):
        hostile.receive_data(chunk(b"x" * size) + chunk(b"y"))
        hostile.take()
        assert len(known_sizes) <= 1_024
    new_reader(chunked(chunk(b"x" * 3_000) + chunk(b"y")))
    assert b"\r\nbb8\r\n" in known_sizes


# -- the work grows with the bytes. Steps are counted, and bytes that steps look at: time would
# tell of the machine


class Counting:
    """Counts what a compiled pattern is made to look through."""

    def __init__(self, function) -> None:
        self._function = function
        self.looked = 0

    def __call__(self, data, *span: int):
        start = span[0] if span else 0
        stop = span[1] if len(span) > 1 else len(data)
        found = self._function(data, *span)
        self.looked += found.end() - start if found else max(min(stop, len(data)) - start, 0)
        return found


PATTERNS = ("_head", "_size_line", "_size_line_begins", "_trailers", "_bare_line_end")


def work(monkeypatch, chunks) -> tuple[int, int]:
    """The lines of Python that reading takes, and the bytes that patterns look through."""
    lines = 0

    def trace(frame, event, arg):
        nonlocal lines
        if frame.f_code.co_filename != _http1.__file__:
            return None
        lines += event == "line"
        return trace

    with monkeypatch.context() as patch:
        counters = [Counting(getattr(_http1, name)) for name in PATTERNS]
        for name, counter in zip(PATTERNS, counters, strict=True):
            patch.setattr(_http1, name, counter)
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            new_reader(*chunks)
        finally:
            sys.settrace(before)
    return lines, sum(counter.looked for counter in counters)


GROWING = {
    "header": lambda n: b"HTTP/1.1 200 OK\r\nA: " + b"b" * n,
    "headers": lambda n: b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (n // 6),
    "interim responses": lambda n: interim() * (n // 25),
    "interim responses, the last unfinished": lambda n: (
        interim() * 9 + interim(b"A: " + b"b" * n)[:-1]
    ),
    "trailer": lambda n: chunked(b"0\r\nA: " + b"b" * (n // 4)),
    "trailers": lambda n: chunked(b"0\r\n" + b"A: b\r\n" * (n // 24)),
    "chunks": lambda n: chunked(chunk(b"ab") * (n // 7)),
    "chunks of new sizes": lambda n: chunked(
        b"".join(map(chunk, (b"x" * i for i in range(1, n // 100))))
    ),
    "size lines": lambda n: chunked((b"1;" + b"a" * 100 + b"\r\nx\r\n") * (n // 120)),
}


@pytest.mark.parametrize("make", GROWING.values(), ids=GROWING.keys())
@pytest.mark.parametrize("size", [1, 7, 1_000, READ])
def test_the_work_grows_with_the_bytes(monkeypatch, make, size):
    done = []
    for length in (5_000, 20_000):
        wire = make(length)
        chunks = [wire[at : at + size] for at in range(0, len(wire), size)]
        done.append((len(wire), *work(monkeypatch, chunks)))
    (few, fewer_lines, fewer_looked), (many, lines, looked) = done
    growth = many / few
    assert lines <= fewer_lines * growth * 1.2 + 200
    assert looked <= fewer_looked * growth * 1.2 + 2_000
