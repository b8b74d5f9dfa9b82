"""What all decoders of the payload promise alike, and what importing them costs."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc
from array import array

import pytest
from fuzz.fuzz_framing import check, run
from hypothesis import given, settings
from hypothesis import strategies as st
from support.framing_corpus import bytewise, drained, outcome
from support.memory import traced

import aiosmrt.framing
from aiosmrt.errors import AiosmrtError, EventStreamError, StreamTruncatedError
from aiosmrt.framing import (
    JSONLinesDecoder,
    JSONStreamDecoder,
    JSONValuesDecoder,
    LineDecoder,
    ServerSentEvent,
    SSEDecoder,
    TextDecoder,
    Token,
    TokenDecoder,
)

GOOD = {
    TextDecoder: (b"ab", ["ab"]),
    LineDecoder: (b"a\nb\n", ["a", "b"]),
    SSEDecoder: (b"data: a\n\ndata: b\n\n", [ServerSentEvent(data="a"), ServerSentEvent(data="b")]),
    JSONLinesDecoder: (b"1\n2\n", [1, 2]),
    JSONValuesDecoder: (b"[1] [2]", [[1], [2]]),
    JSONStreamDecoder: (b"[1] [2]", [[1], [2]]),
    TokenDecoder: (b'{"outputs": ["a"]}{"outputs": ["b"]}', [Token("a"), Token("b")]),
}
# Bytes that are wrong at once, and bytes that are wrong because nothing follows them.
BAD = {
    TextDecoder: (b"secret\xff", b"\xe2"),
    LineDecoder: (b"secret\xff\n", b"secret\xe2"),
    SSEDecoder: (b"data: secret\xff\n\n", b"data: secret"),
    JSONLinesDecoder: (b'"secret\n', b'"secret'),
    JSONValuesDecoder: (b'{"secret"}', b'"secret'),
    JSONStreamDecoder: (b'{"secret"}', b'["secret'),
    TokenDecoder: (b'data: "secret"\n\n', b'data: "secret'),
}
DECODERS = pytest.mark.parametrize("make", list(GOOD))


def fed(make, data: bytes):
    decoder = make()
    decoder.receive_data(data)
    return decoder


@DECODERS
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array("B", data)])
def test_any_bytes_like_object_is_taken(make, kind):
    data, items = GOOD[make]
    assert outcome(make(), [kind(data)]).items == items


@DECODERS
def test_a_view_of_wider_items_counts_as_its_bytes(make):
    data, items = GOOD[make]
    padded = data + b"\n" * (-len(data) % 4) if make is not TextDecoder else b"abab"
    view = memoryview(padded).cast("I")
    assert outcome(make(), [view]).items == (items if make is not TextDecoder else ["abab"])


@DECODERS
def test_a_buffer_may_be_reused_at_once(make):
    data, items = GOOD[make]
    buffer = bytearray(1)
    decoder = make()
    for byte in data:
        buffer[0] = byte
        decoder.receive_data(buffer)
        buffer[0] = 0
    decoder.receive_eof()
    assert "".join(decoder) == "ab" if make is TextDecoder else list(decoder) == items


@DECODERS
@pytest.mark.parametrize("data", [5, "text", [97], None])
def test_what_is_not_bytes_like_is_refused(make, data):
    with pytest.raises(TypeError):
        make().receive_data(data)


@DECODERS
def test_no_data_comes_after_the_end(make):
    decoder = make()
    decoder.receive_eof()
    with pytest.raises(RuntimeError, match="after receive_eof"):
        decoder.receive_data(b"1")
    assert list(decoder) == []


@DECODERS
def test_the_end_may_be_told_twice(make):
    data, items = GOOD[make]
    decoder = fed(make, data)
    decoder.receive_eof()
    decoder.receive_eof()
    assert list(decoder) == items
    assert list(decoder) == []


@DECODERS
def test_leaving_the_loop_early_loses_nothing(make):
    data, items = GOOD[make]
    decoder = fed(make, data)
    found = []
    for _ in range(3):
        for item in decoder:
            found.append(item)
            break
    assert found == items


@DECODERS
def test_data_may_come_between_two_items(make):
    data, items = GOOD[make]
    decoder = fed(make, data)
    iterator = iter(decoder)
    found = [next(iterator)]
    decoder.receive_data(data)
    found.extend(iterator)
    assert found == items + items


@DECODERS
def test_nothing_is_decoded_before_it_is_asked_for_and_all_of_it_then(make):
    data, items = GOOD[make]
    decoder = make()
    for chunk in bytewise(data):
        decoder.receive_data(chunk)
    assert "".join(decoder) == "ab" if make is TextDecoder else list(decoder) == items


@DECODERS
@pytest.mark.parametrize("ended", [False, True])
def test_a_fault_is_raised_after_all_before_it_and_again_each_time(make, ended):
    data, items = GOOD[make]
    bad, unfinished = BAD[make]
    if make is TokenDecoder:  # whose first byte decides how the rest is framed
        data, items = b'data: {"outputs": ["a"]}\n\n', [Token("a")]
    decoder = fed(make, data)
    decoder.receive_data(unfinished if ended else bad)
    if ended:
        decoder.receive_eof()
    first, second, third = drained(decoder), drained(decoder), drained(decoder)
    if make is not TextDecoder:
        assert first.items == items
    assert second.items == third.items == []
    assert isinstance(first.error, EventStreamError)
    assert type(first.error) is type(second.error) is type(third.error)
    assert str(first.error) == str(second.error) == str(third.error)
    assert second.error is not third.error  # else its traceback would grow


@DECODERS
def test_items_come_before_the_fault(make):
    data, items = GOOD[make]
    bad, _ = BAD[make]
    if make is TokenDecoder:
        data, items = b'data: {"outputs": ["a"]}\n\n', [Token("a")]
    whole = outcome(make(), [data + bad])
    assert whole.items == (["absecret"] if make is TextDecoder else items)
    assert whole.error is not None


@DECODERS
@pytest.mark.parametrize("ended", [False, True])
def test_an_error_prints_no_payload_and_holds_none_in_its_context(make, ended):
    bad, unfinished = BAD[make]
    error = outcome(make(), [unfinished if ended else bad]).error
    assert "secret" not in f"{error} {error!r}"
    assert error.__context__ is None
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(copied) == str(error)
    if ended:
        assert isinstance(error, StreamTruncatedError)
        assert copied.leftover == error.leftover == unfinished
        assert error.bytes_left == len(unfinished)


@DECODERS
def test_data_after_a_fault_is_dropped(make):
    decoder = fed(make, BAD[make][0])
    with pytest.raises(EventStreamError):
        list(decoder)
    with traced():
        for _ in range(100):
            decoder.receive_data(bytes(65_536))
        assert tracemalloc.get_traced_memory()[0] < 65_536


@DECODERS
def test_an_error_is_raised_for_a_limit_that_lets_nothing_pass(make):
    if make is TextDecoder:
        return  # it buffers three bytes at most
    with pytest.raises(ValueError, match="at least 1"):
        make(**{limit_of(make): 0})


def limit_of(make) -> str:
    names = ("max_line_length", "max_event_length", "max_value_length", "max_length")
    parameters = make.__init__.__annotations__
    return next(name for name in names if name in parameters)


# -- the fuzzer's invariant


def test_the_fuzzers_invariant_holds():
    run(150, seed=7)


@given(st.binary(max_size=60))
def test_the_fuzzers_invariant_holds_for_any_bytes(data):
    check(data)


@pytest.mark.slow
@settings(max_examples=5_000)
@given(st.text(alphabet='{}[]",:\\ \r\ndataeiry01-.tfn\ufeffé', max_size=60))
def test_the_fuzzers_invariant_holds_for_much_syntax(text):
    check(text.encode())


@pytest.mark.slow
def test_the_fuzzers_invariant_holds_for_long():
    run(5_000, seed=11)


# -- the package


def test_all_of_the_public_names_are_there():
    assert len(aiosmrt.framing.__all__) == len(set(aiosmrt.framing.__all__))
    assert all(hasattr(aiosmrt.framing, name) for name in aiosmrt.framing.__all__)


def test_importing_it_loads_the_standard_library_and_attrs_only():
    code = (
        "import sys; before = set(sys.modules); import aiosmrt.framing; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run_code = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(run_code.stdout.split())
    assert loaded - sys.stdlib_module_names <= {"aiosmrt", "attr", "attrs"}
    assert not loaded & {"asyncio", "http", "socket", "ssl"}


def test_every_error_is_the_packages_own():
    for bad in BAD.values():
        for data in bad:
            for make in GOOD:
                error = outcome(make(), [data]).error
                assert error is None or isinstance(error, AiosmrtError)
