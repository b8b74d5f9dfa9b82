"""JSON values in whichever framing the bytes and the content type say."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing_corpus import DONE, Case, check_case, cut, drained, json_lines, outcome, sse

from aiosmrt.errors import InvalidMessageError, MessageTooLargeError, StreamTruncatedError
from aiosmrt.framing import JSONStreamDecoder

TYPES = [
    None,
    "",
    "application/json",
    "application/octet-stream",
    "text/plain; charset=utf-8",
    "text/event-stream",
    "Text/Event-Stream; charset=utf-8",
    "application/jsonlines",
    "application/x-ndjson",
]
VALUES = [{"a": 1}, [2], {"b": "é\u2028"}]
PRETTY = "\n".join(json.dumps(value, indent=2) for value in VALUES).encode()


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize(
    "data",
    [
        sse(*VALUES),
        sse(*VALUES) + DONE,
        b": hello\n\n" + sse(*VALUES),
        b"\r\n" + sse(*VALUES).replace(b"\n", b"\r\n"),
        b"event: a\n" + sse(*VALUES),
        b"id: 1\n" + sse(*VALUES),
        b"retry: 1\n" + sse(*VALUES),
        b"\xef\xbb\xbf" + sse(*VALUES),
        json_lines(*VALUES),
        b"\n \n" + json_lines(*VALUES).strip(),
        b"\xef\xbb\xbf" + json_lines(*VALUES),
        b"\xef\xbb\xbf \n" + json_lines(*VALUES),
    ],
    ids=str,
)
def test_the_first_byte_decides_where_it_can(content_type, data):
    check_case(lambda: JSONStreamDecoder(content_type), Case(data, VALUES))


@pytest.mark.parametrize("data", [PRETTY, PRETTY.replace(b"\n", b"")])
def test_values_that_are_not_on_lines_of_their_own(data):
    for content_type in TYPES[:7]:
        check_case(lambda: JSONStreamDecoder(content_type), Case(data, VALUES))  # noqa: B023


def test_json_lines_are_what_the_content_type_says():
    found = outcome(JSONStreamDecoder("application/jsonlines"), [b'{"a": 1}\n{"a": \n{}\n'])
    assert found.items == [{"a": 1}]
    assert "line 2" in str(found.error)


@pytest.mark.parametrize(
    "content_type,data,case",
    [
        ("text/event-stream", b"foo: 1\ndata: 1\n\n", Case(b"", [1])),
        ("text/event-stream", b"123", Case(b"", [], InvalidMessageError)),
        (None, b"1 2", Case(b"", [1, 2])),
        ("application/jsonlines", b"1\n2", Case(b"", [1, 2])),
        ("application/jsonlines", b"1 2\n", Case(b"", [], InvalidMessageError)),
        (None, b"foo: 1", Case(b"", [], InvalidMessageError)),
    ],
)
def test_the_content_type_decides_what_the_first_byte_leaves_open(content_type, data, case):
    check_case(lambda: JSONStreamDecoder(content_type), case._replace(data=data))


@pytest.mark.parametrize(
    "case",
    [
        Case(b"", []),
        Case(b" \r\n\t", []),
        Case(b"\xef\xbb\xbf", []),
        Case(b"\xef\xbb", [], StreamTruncatedError, b"\xef\xbb"),
        Case(b"\r\xef", [], InvalidMessageError),  # a mark is one at the start only
        Case(b"\xef\xbb\xbf\xef\xbb", [], InvalidMessageError),
        Case(b"\xff", [], InvalidMessageError),
        Case(b"data:\n\ndata: \n\ndata:  \t\ndata:\n\ndata: 1\n\n", [1]),
        Case(b"data: {\ndata: }\n\n", [{}]),
        Case(b"data: [1\n\ndata: 2\n\n", [], InvalidMessageError),
        Case(b"data: 1\n\ndata: 2\n", [1], StreamTruncatedError, b"data: 2\n"),
        Case(b"data: 1\n\ndata: [DONE]", [1]),
        Case(b"data: 1\n\ndata: \xff\n\n", [1], InvalidMessageError),
        Case(b"data: NaN1\n\n", [], InvalidMessageError),
    ],
    ids=str,
)
def test_the_corpus_however_it_is_cut(case):
    check_case(JSONStreamDecoder, case)


@given(st.data())
def test_every_framing_gives_the_same_values(data):
    values = data.draw(st.lists(st.dictionaries(st.text(max_size=3), st.integers(), max_size=3)))
    frame = data.draw(st.sampled_from([sse, json_lines]))
    for content_type in (None, "text/event-stream", "application/jsonlines"):
        chunks = data.draw(cut(frame(*values)))
        assert outcome(JSONStreamDecoder(content_type), chunks) == (values, None)


def test_the_error_names_the_event():
    found = outcome(JSONStreamDecoder(), [b"data: 1\n\ndata: oops\n\n"])
    assert "The JSON of event 2 is malformed: Expecting value at its character 0" in str(
        found.error
    )


def test_an_event_that_is_no_json_ends_the_stream():
    decoder = JSONStreamDecoder()
    decoder.receive_data(sse(1) + b"data: oops\n\n" + sse(2))
    assert drained(decoder).items == [1]
    decoder.receive_data(sse(3))
    decoder.receive_eof()
    for _ in range(2):
        items, error = drained(decoder)
        assert items == []
        assert "event 2" in str(error)


@pytest.mark.parametrize(
    "content_type,data,part",
    [
        (None, b"[123456789]", "JSON value"),
        (None, b"data: 12345\n\n", "line"),
        (None, b"data: 1\ndata: 2\n\n", "event"),
        ("application/jsonlines", b"[123456789]\n", "line"),
    ],
)
def test_the_limit_reaches_every_framing(content_type, data, part):
    found = outcome(JSONStreamDecoder(content_type, max_length=10), [data])
    assert type(found.error) is MessageTooLargeError
    assert (found.error.part, found.error.limit) == (part, 10)


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize(
    "data",
    [
        b"<html>secret</html>",
        b"<html>\n\nsecret</html>\n\n",
        b"error: secret\n\n",
        b"secret\n\n",
        b"data_secret\n\n: comment\n\n",
        b"event: secret\nsecret\n\n",
    ],
)
def test_what_is_neither_json_nor_events_is_no_answer_of_nothing(content_type, data):
    found = outcome(JSONStreamDecoder(content_type), [data])
    assert found.items == []
    assert type(found.error) in {InvalidMessageError, StreamTruncatedError}
    assert "secret" not in str(found.error)


@pytest.mark.parametrize(
    "content_type,said",
    [
        ("Text/HTML; charset=utf-8", "its content type is 'text/html'"),
        (None, "its content type was not told"),
        ("x" * 1000, f"'{'x' * 80}'"),
    ],
)
def test_its_content_type_is_told(content_type, said):
    check_case(lambda: JSONStreamDecoder(content_type), Case(b"<html>", [], InvalidMessageError))
    decoder = JSONStreamDecoder(content_type)
    decoder.receive_data(b"<html>")
    for _ in range(2):
        assert said in str(drained(decoder).error)


@pytest.mark.parametrize("data", [b"", b": hi\n\n", b"retry: 1\n\n", b"id: 1\n\n", DONE])
def test_events_without_data_are_an_answer_of_nothing(data):
    check_case(lambda: JSONStreamDecoder("text/event-stream"), Case(data, []))


def test_a_line_that_no_event_has_is_ignored_beside_one():
    check_case(JSONStreamDecoder, Case(b"error: x\n\ndata: 1\n\n", [1]))


def test_white_space_before_the_first_value_is_not_kept():
    decoder = JSONStreamDecoder(max_length=10)
    for _ in range(100):
        decoder.receive_data(b" \n" * 50)
    decoder.receive_data(b"[1]")
    assert list(decoder) == [[1]]
