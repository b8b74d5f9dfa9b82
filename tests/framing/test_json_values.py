"""JSON values that follow each other, as ijson reads them, in work that grows with the bytes."""

from __future__ import annotations

import io
import json
import tracemalloc

import ijson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing_corpus import (
    JSON_TEXTS,
    JSON_VALUES,
    bytewise,
    check_case,
    cut,
    outcome,
    splits,
)
from support.memory import taken, traced
from support.work import parsed_lengths

from aiosmrt.errors import InvalidMessageError, MessageTooLargeError, StreamTruncatedError
from aiosmrt.framing import JSONValuesDecoder

# Written in Python, it is the one of ijson's backends that reads integers of any size.
THEIRS = ijson.get_backend("python")

SPACE = st.text(" \t\r\n", max_size=3)


@pytest.mark.parametrize("name", JSON_VALUES)
def test_the_corpus_however_it_is_cut(name):
    check_case(JSONValuesDecoder, JSON_VALUES[name])


@st.composite
def payloads(draw) -> bytes:
    """Values with white space between them, or none where a bracket or a quote will do."""
    payload = draw(SPACE)
    for text in draw(st.lists(JSON_TEXTS, min_size=1, max_size=5)):
        space = draw(SPACE)
        if not space and payload and payload[-1] not in '}]"' and text[0] not in '{["':
            space = "\n"
        payload += space + text
    return (payload + draw(SPACE)).encode()


@given(st.data())
def test_ijson_reads_the_same_values(data):
    payload = data.draw(payloads())
    theirs = list(THEIRS.items(io.BytesIO(payload), "", multiple_values=True, use_float=True))
    found = outcome(JSONValuesDecoder(), data.draw(cut(payload)))
    assert found.error is None
    assert repr(found.items) == repr(theirs)


def python_reads(text: str) -> list[object]:
    """The values that Python's ``json`` finds one behind the other, words ended as here."""
    values: list[object] = []
    at = 0
    while rest := text[at:].lstrip(" "):
        value, length = json.JSONDecoder().raw_decode(rest)
        if not isinstance(value, list | dict | str) and rest[length:][:1].strip(' {}[]",:'):
            raise ValueError("a number or word goes on")
        values.append(value)
        at = len(text) - len(rest) + length
    return values


@given(st.data())
def test_damage_is_told_as_python_tells_it(data):
    """What begins as an array is read if and only if ``json`` reads it, wherever it is cut."""
    text = data.draw(st.lists(st.sampled_from('{}[]",:\\ 1-.eatrue'), max_size=12).map("".join))
    payload = f"[{text}]"
    found = outcome(JSONValuesDecoder(), data.draw(cut(payload.encode())))
    try:
        values = python_reads(payload)
    except ValueError:
        assert found.error is not None
    else:
        assert found == (values, None)


@given(st.data())
def test_the_end_of_a_value_is_found_where_it_is(data):
    text = data.draw(st.recursive(JSON_TEXTS, lambda texts: texts.map("[{}]".format), max_leaves=3))
    if text[0] not in '{["':
        text = f"[{text}]"
    chunks = [chunk.decode() for chunk in data.draw(cut(text.encode("ascii", "replace"))) if chunk]
    decoder = JSONValuesDecoder()
    found = []
    for chunk in chunks:
        decoder.receive_data(chunk.encode())
        found.append(len(list(decoder)))
    assert found == [0] * (len(chunks) - 1) + [1]


def test_a_value_is_handed_out_as_soon_as_it_has_ended():
    decoder = JSONValuesDecoder()
    for chunk, values in [
        (b'{"a', []),
        (b'": [1, "]}', []),
        (b'"]', []),
        (b"}", [{"a": [1, "]}"]}]),
        (b"12", []),
        (b"3", []),
        (b"\n", [123]),
        (b'tr"', []),
    ][:-1]:
        decoder.receive_data(chunk)
        assert list(decoder) == values


@pytest.mark.parametrize(
    "data,reason",
    [
        (b'{"a" 1}', "Expecting ':' delimiter at its character 5"),
        (b"<html>", "Expecting value at its character 0"),
        (b"12x ", "a number or word goes on behind its end"),
        (b"[" * 120_000 + b"]" * 120_000, "nested too deeply"),
        (b"1" * 5000 + b" ", "a number has too many digits"),
    ],
)
def test_the_error_names_value_and_reason(data, reason):
    message = f"JSON value 3 is malformed: {reason}"
    for chunks in ([b" 1 [2] " + data], [b" 1 [2] ", data], [b" 1 [2] " + data[:3], data[3:]]):
        found = outcome(JSONValuesDecoder(), chunks)
        assert type(found.error) is InvalidMessageError
        assert found.error.message == message


def test_what_is_no_json_is_told_at_once():
    decoder = JSONValuesDecoder()
    decoder.receive_data(b"<")
    with pytest.raises(InvalidMessageError):
        list(decoder)


def test_a_deep_value_that_is_cut_off_is_cut_off():
    for chunks in ([b"[" * 120_000], [b"[" * 60_000] * 2):
        found = outcome(JSONValuesDecoder(), chunks)
        assert type(found.error) is StreamTruncatedError
        assert found.error.leftover == b"[" * 120_000


def test_the_error_of_the_end_holds_the_value_alone():
    found = outcome(JSONValuesDecoder(), [b'{"a": 1} ["\xc3', b"\xa9", b"\xe2\x82"])
    assert found.items == [{"a": 1}]
    assert found.error.leftover == '["é'.encode() + b"\xe2\x82"


# -- the limit


@pytest.mark.parametrize("text", ['["éé"]', "12345678", '{"a":11}', '"123456"'])
def test_a_value_may_be_as_long_as_the_limit(text):
    data = f"{text} {text}\n".encode()
    limit = len(text.encode())
    for chunks in (bytewise(data), *splits(data)):
        assert outcome(JSONValuesDecoder(limit), chunks).error is None
        found = outcome(JSONValuesDecoder(limit - 1), chunks)
        assert found.items == []
        assert type(found.error) is MessageTooLargeError
        assert (found.error.part, found.error.limit) == ("JSON value", limit - 1)


def test_values_in_one_chunk_count_each_alone():
    data = b'{"a": 1}' * 1000
    for size in (1, 7, 1000, len(data)):
        chunks = [data[start : start + size] for start in range(0, len(data), size)]
        assert outcome(JSONValuesDecoder(8), chunks) == ([{"a": 1}] * 1000, None)


# -- the work grows with the bytes


@pytest.mark.parametrize(
    "first,part,last",
    [
        (b"[", b'{"a": ["\\"[", 1]}, ' * 50, b"0]"),
        (b'"', b'a\\\\\\n\\"[{' * 100, b'"'),
        (b"1", b"2" * 1000, b" "),
        (b"[", b"      " * 160, b"]"),
    ],
    ids=["array", "string", "number", "space"],
)
def test_a_value_in_many_parts_is_parsed_twice_at_most(first, part, last):
    decoder = JSONValuesDecoder()
    with parsed_lengths() as parsed:
        for chunk in (first, *[part] * 1000):
            decoder.receive_data(chunk)
            assert list(decoder) == []
        assert len(parsed) <= 1
        assert sum(parsed) == len(first) * len(parsed)
        if first == b"1":
            return  # Python refuses a number of that length
        decoder.receive_data(last)
        assert len(list(decoder)) == 1
    length = len(first + part * 1000 + last)
    assert 0 < sum(parsed) <= 2 * length


def test_a_value_in_many_parts_is_not_copied_for_each():
    def work(length: int) -> int:
        return taken(JSONValuesDecoder(), [b"[", *[b"      1," * 128] * (length // 1024), b"1]"])

    assert work(1 << 19) < 3 * work(1 << 18)


def test_white_space_between_values_is_not_kept():
    def work(length: int) -> int:
        return taken(JSONValuesDecoder(), [b"{}", *[b" " * 1024] * (length // 1024), b"{}"])

    assert work(1 << 19) < 3 * work(1 << 18)


def test_many_values_in_one_part_are_not_copied_for_each():
    def work(values: int) -> int:
        return taken(JSONValuesDecoder(), [b'{"a":1}' * values])

    assert work(8_000) < 3 * work(4_000)


def test_the_depths_of_brackets_take_no_object_each():
    decoder = JSONValuesDecoder()
    length = 1 << 20
    with traced():
        decoder.receive_data(b"[" * length)
        assert list(decoder) == []
        peak = tracemalloc.get_traced_memory()[1]
    assert peak < 32 * length
