"""JSON values, one on each line."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing_corpus import JSON_LINES, JSON_TEXTS, check_case, cut, outcome

from aiosmrt.errors import InvalidMessageError, MessageTooLargeError
from aiosmrt.framing import JSONLinesDecoder


@pytest.mark.parametrize("name", JSON_LINES)
def test_the_corpus_however_it_is_cut(name):
    check_case(JSONLinesDecoder, JSON_LINES[name])


@given(st.data())
def test_python_reads_the_same_values(data):
    lines = data.draw(st.lists(JSON_TEXTS, max_size=5))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\n\n", " \r"]))
    payload = end.join(lines).encode()
    found = outcome(JSONLinesDecoder(), data.draw(cut(payload)))
    assert found == ([json.loads(line) for line in lines], None)


def test_nan_is_read():
    (value,) = outcome(JSONLinesDecoder(), [b"NaN\n"]).items
    assert math.isnan(value)


@pytest.mark.parametrize(
    "line,reason",
    [
        (b'{"a" 1}', "Expecting ':' delimiter at its character 5"),
        (b"[1] 2", "Extra data at its character 4"),
        (b"oops", "Expecting value at its character 0"),
        (rb'"\x"', r"Invalid \\escape at its character 1"),
        (b"[" * 120_000, "nested too deeply"),
        (b"1" * 5000, "a number has too many digits"),
    ],
)
def test_the_error_names_line_and_reason(line, reason):
    decoder = JSONLinesDecoder()
    decoder.receive_data(b"1\n\n" + line + b"\n")
    with pytest.raises(InvalidMessageError, match=f"The JSON of line 3 is malformed: {reason}"):
        list(decoder)


def test_a_line_past_the_limit_is_refused():
    assert outcome(JSONLinesDecoder(4), [b"1234\n[12]"]) == ([1234, [12]], None)
    found = outcome(JSONLinesDecoder(4), [b"1234\n[123]\n"])
    assert found.items == [1234]
    assert type(found.error) is MessageTooLargeError
