"""Lines of the output: always one line, always JSON, and what the model said unchanged."""

from __future__ import annotations

import base64
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.memory import traced

from aiosmrt import ModelError, ReadTimeoutError, ResponseMetadata
from aiosmrt._client.many import BatchItem
from aiosmrt._protocol.models import InvokeEndpointOutput
from aiosmrt.batch._answers import (
    AnswerCountError,
    RecordFaultError,
    answer_lines,
    fault_line,
)
from aiosmrt.batch._json import encode_json
from aiosmrt.batch._records import Record

FIELDS = ["key", "index", "output", "content_type", "error", "attempts", "latency"]

NUMBERS = [
    b"1.10",
    b"1e400",
    b"-1e400",
    b"1E5",
    b"-0",
    b"0.0",
    b"123456789012345678901234567890.123",
    b"0.1000000000000000055511151231257827",
    b'[1.10, {"x": 1e-400}]',
]


def item(body=None, content_type="application/json", error=None):
    output = None
    if body is not None:
        metadata = ResponseMetadata(request_id=None, status_code=200, headers={}, attempts=2)
        output = InvokeEndpointOutput(body=body, content_type=content_type, metadata=metadata)
    return BatchItem(key=None, index=0, output=output, error=error, attempts=2, latency=0.1234567)


def records(count):
    return [Record(number + 5, b'"k%d"' % number, b"") for number in range(count)]


def one(body, content_type="application/json"):
    (line,), (error,) = answer_lines(records(1), item(body, content_type), joined=False)
    assert error is None
    assert line.count(b"\n") == 1
    return json.loads(line)


def no_constants(name):
    raise AssertionError(f"{name} is not JSON")


def test_a_line_has_these_fields_in_this_order():
    value = one(b'{"a": 1}')
    assert list(value) == FIELDS
    assert value == {
        "key": "k0",
        "index": 5,
        "output": {"a": 1},
        "content_type": "application/json",
        "error": None,
        "attempts": 2,
        "latency": 0.123457,
    }


@pytest.mark.parametrize(
    "body, content_type, output",
    [
        (b"[1, 2]", "application/json", [1, 2]),
        (b'{\n  "a":\r\n 1\n}\n', "application/json", {"a": 1}),
        (b'"\\ud800"', "application/json", "\ud800"),
        (b'{"a": 1}', None, {"a": 1}),
        (b'{"a": 1}', "application/octet-stream", {"a": 1}),
        (b"3", "text/csv", "3"),
        (b"3", "TEXT/CSV; charset=utf-8", "3"),
        (b"", "application/json", ""),
        (b"{", "application/json", "{"),
        (b"NaN", "application/json", "NaN"),
        (b"[Infinity]", "application/json", "[Infinity]"),
        (b"caf\xc3\xa9\n", "text/plain", "café\n"),
        (b"\xff\x00", "application/octet-stream", {"base64": "/wA="}),
        (b"\xff", "text/plain", {"base64": "/w=="}),
        ("é".encode("utf-16"), "application/json", {"base64": "//7pAA=="}),
        (b"[" * 100_000, "application/json", "[" * 100_000),
    ],
)
def test_an_output_is_json_else_text_else_base64(body, content_type, output):
    assert one(body, content_type)["output"] == output


def test_numbers_are_not_touched():
    (line,), _ = answer_lines(
        records(1), item(b"[1.10, 1e400, 12345678901234567890123]"), joined=False
    )
    assert b'"output": [1.10, 1e400, 12345678901234567890123],' in line


LONG = b'{"a": [%b' % (b'{"b": "c\\u00e9", "d": [1.50]},\r\n' * 10_000)


@pytest.mark.parametrize("rest", [b"1e400]}", b"[]]} \n", b'-0], "e": {}}'])
@pytest.mark.parametrize("form", [b"%b", b" [%b ]", b'{"x":[0,%b],"predictions":[%b]}'])
def test_a_long_answer_is_not_touched(rest, form):
    body = form % ((LONG + rest,) * form.count(b"%b"))
    (line,), errors = answer_lines(records(1), item(body), joined=form != b"%b")
    assert errors == [None]
    text = (LONG + rest).strip().replace(b"\r\n", b"  ")
    assert b'"output": %b, "content_type"' % text in line
    assert json.loads(line)["output"]["a"][9_999] == {"b": "cé", "d": [1.5]}


@pytest.mark.parametrize("element", [[0] * 4_000, dict.fromkeys(map(str, range(1_500)), 0)])
def test_of_a_long_answer_only_its_text_is_kept(element):
    body = json.dumps([element] * 200).encode()
    answer = item(body)
    given = records(1)
    with traced():
        (line,), _ = answer_lines(given, answer, joined=False)
        size, most = tracemalloc.get_traced_memory()
    assert most < 2 * len(body)
    assert size < 1.1 * len(line)


def test_many_answers_in_a_long_one_are_told_apart():
    texts = [b"%d" % number * 7 for number in range(1, 50_001)]
    lines, _ = answer_lines(records(50_000), item(b"[%b]" % b" ,".join(texts)), joined=True)
    assert [line.split(b'"output": ')[1].split(b",")[0] for line in lines] == texts


@pytest.mark.parametrize(
    "rest", [b"NaN]}", b"-Infinity]}", b"1]} x", b"1]}{}", b"]}", b"1]", b"[" * 100_000, b'"\n"]}']
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_long_answer_that_is_no_json_is_text(rest, joined):
    for body in (LONG + rest, b" " * 200_000 + rest):
        (line,), errors = answer_lines(records(1), item(body), joined=joined)
        output = json.loads(line)["output"]
        assert errors == [None]
        assert output == body.decode() or (joined and output == body.splitlines()[0].decode())


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize(
    "count, form",
    [
        (2, b"[%b,7]"),
        (1, b" [ %b ]"),
        (2, b'{"a": 1, "predictions" :\r\n[ %b\t, 7\n], "b": []}'),
        (1, b'{"predictions":[%b]}'),
    ],
)
def test_numbers_of_the_answers_to_several_are_not_touched(number, count, form):
    lines, errors = answer_lines(records(count), item(form % number), joined=True)
    assert errors == [None] * count
    assert b'"output": %b, ' % number in lines[0]


def test_a_name_that_comes_twice_stays_twice():
    answers = b'[{"a": 1, "a": 2}, {"b":{"a":1,"a":1.0}}]'
    (first, second), _ = answer_lines(records(2), item(answers), joined=True)
    assert b'"output": {"a": 1, "a": 2}, ' in first
    assert b'"output": {"b":{"a":1,"a":1.0}}, ' in second


@given(
    body=st.binary() | st.text().map(str.encode),
    content_type=st.none() | st.sampled_from(["application/json", "text/plain", "é"]),
    key=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    ),
    count=st.integers(1, 3),
)
def test_whatever_comes_each_record_has_one_line_of_json(body, content_type, key, count):
    given = [Record(number, encode_json(key), b"") for number in range(count)]
    lines, errors = answer_lines(given, item(body, content_type), joined=count > 1)
    assert len(lines) == len(errors) == count
    for number, line in enumerate(lines):
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        value = json.loads(line.decode(), parse_constant=no_constants)
        assert list(value) == FIELDS
        assert value["index"] == number
        output = value["output"]
        if count == 1 and isinstance(output, dict) and list(output) == ["base64"]:
            assert base64.b64decode(output["base64"]) == body or json.loads(body) == output


@pytest.mark.parametrize(
    "body, content_type, outputs",
    [
        (b"[1, [2], null]", "application/json", [1, [2], None]),
        (b'{"predictions": [1, 2, 3]}', "application/json", [1, 2, 3]),
        (b'{"a": 1}\n{"a": 2}\n3\n', "application/jsonlines", [{"a": 1}, {"a": 2}, 3]),
        (b"1,2\r\n3,4\r\n5,6\r\n", "text/csv", ["1,2", "3,4", "5,6"]),
        (b"[1e400, 2, 3]", "application/json", [float("inf"), 2, 3]),
    ],
)
def test_the_answer_to_several_is_told_apart(body, content_type, outputs):
    lines, errors = answer_lines(records(3), item(body, content_type), joined=True)
    values = [json.loads(line, parse_constant=no_constants) for line in lines]
    assert [value["output"] for value in values] == outputs
    assert [value["key"] for value in values] == ["k0", "k1", "k2"]
    assert errors == [None] * 3


@pytest.mark.parametrize(
    "body, content_type, output",
    [
        (b"[3]", "application/json", 3),
        (b"[[1, 2]]", "application/json", [1, 2]),
        (b'{"predictions": [3]}', "application/json", 3),
        (b"[3]\n", "application/jsonlines", [3]),
        (b"[3]\n", "application/x-NDJSON", [3]),
        (b'{"predictions": [3]}\n', "application/jsonlines", {"predictions": [3]}),
        (b"[1, 2]", "application/json", [1, 2]),
        (b'{"digit": 3}\n', "application/json", {"digit": 3}),
        (b"1,2\r\n", "text/csv", "1,2"),
        (b"one\ntwo", "text/plain", "one\ntwo"),
        (b"", "text/plain", ""),
    ],
)
def test_the_one_left_for_the_last_request_is_told_as_the_others_are(body, content_type, output):
    (line,), errors = answer_lines(records(1), item(body, content_type), joined=True)
    assert json.loads(line)["output"] == output
    assert errors == [None]


@pytest.mark.parametrize(
    "body, answers",
    [(b"[1, 2]", "2 answers"), (b"1\n2\n3\n4", "4 answers"), (b'{\n"a":\n1}', "no list")],
)
def test_an_answer_of_another_number_fails_all_of_its_records(body, answers):
    lines, errors = answer_lines(records(3), item(body), joined=True)
    assert [type(error) for error in errors] == [AnswerCountError] * 3
    for line in lines:
        value = json.loads(line)
        assert value["output"] is None
        assert answers in value["error"]["message"]


@pytest.mark.parametrize("body", [b"[1]", b"[1, 2, 3]"])
def test_an_answer_to_two_of_another_number_is_counted(body):
    _, (first, second) = answer_lines(records(2), item(body), joined=True)
    assert isinstance(first, AnswerCountError)
    assert first is second
    assert (first.records, first.answers) == (2, len(json.loads(body)))
    assert str(first).startswith(f"2 records were sent in one request, and {first.answers} answers")
    assert str(first).endswith("a line, or an element of a JSON list, a record.")


@pytest.mark.parametrize("name", ["application/jsonlines", "application/x-ndjson"])
def test_a_list_of_two_is_told_apart_under_the_name_of_lines_too(name):
    lines, errors = answer_lines(records(2), item(b'[{"a": 1.0}, 2]', name), joined=True)
    assert errors == [None, None]
    assert [json.loads(line)["output"] for line in lines] == [{"a": 1.0}, 2]


def test_an_element_that_is_nested_too_deeply_is_text():
    deep = "[" * 50_000 + "]" * 50_000
    body = f'[1, {deep}, "2"]'.encode()
    lines, errors = answer_lines(records(3), item(body), joined=True)
    assert errors == [None] * 3
    assert [json.loads(line)["output"] for line in lines] == [1, deep, "2"]


@pytest.mark.parametrize("body", [b'{"a":\r\n[1,\r2]}\r\n', b'[{"a":\r\n[1,\r2]}\r\n]'])
def test_a_line_end_within_json_does_not_end_the_line(body):
    (line,), _ = answer_lines(records(1), item(body), joined=body[:1] == b"[")
    assert len(line.splitlines()) == 1
    assert json.loads(line)["output"] == {"a": [1, 2]}


@pytest.mark.parametrize(
    "error, told",
    [
        (
            ModelError("no memory", code="ModelError", status_code=424),
            {
                "type": "ModelError",
                "code": "ModelError",
                "message": "no memory",
                "status_code": 424,
            },
        ),
        (
            ReadTimeoutError("No byte came"),
            {
                "type": "ReadTimeoutError",
                "code": None,
                "message": "No byte came",
                "status_code": None,
            },
        ),
    ],
)
def test_an_error_is_told_by_four_fields(error, told):
    (line,), errors = answer_lines(records(1), item(error=error), joined=False)
    value = json.loads(line)
    assert list(value["error"]) == ["type", "code", "message", "status_code"]
    assert value["error"] == told
    assert value["output"] is None
    assert value["content_type"] is None
    assert errors == [error]


def test_a_record_that_was_not_sent():
    value = json.loads(fault_line(Record(3, b'"\xc3\xa9"', b"{", "line 4 is not a JSON value")))
    assert list(value) == FIELDS
    assert (value["key"], value["index"], value["attempts"]) == ("é", 3, 0)
    assert value["error"]["type"] == "RecordFaultError"
    assert value["error"]["message"] == "line 4 is not a JSON value"
    assert str(RecordFaultError("line 4")) == (
        "line 4. Mend the record; the others are not affected."
    )
