"""Payloads and what each decoder must make of them, however their bytes are cut."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any, NamedTuple

import attrs
from hypothesis import strategies as st

from aiosmrt.errors import (
    AiosmrtError,
    InvalidMessageError,
    MessageTooLargeError,
    ModelError,
    StreamTruncatedError,
)
from aiosmrt.framing import ServerSentEvent, Token, TokenUsage


class Case(NamedTuple):
    data: bytes
    items: list[Any]
    error: type[AiosmrtError] | None = None
    leftover: bytes | None = None


class Outcome(NamedTuple):
    """What a decoder hands out, and the error that it ends with."""

    items: list[Any]
    error: AiosmrtError | None

    def facts(self) -> tuple[Any, ...]:
        """What must not depend on how the bytes were cut."""
        error = self.error
        # How far past its limit something is when that is seen does depend on it.
        text = "" if isinstance(error, MessageTooLargeError) else str(error)
        # By their reprs, where NaN equals NaN; but not by those that hide the payload.
        items = [attrs.astuple(item) if attrs.has(type(item)) else item for item in self.items]
        return repr(items), type(error), text, getattr(error, "leftover", None)


def outcome(decoder, chunks) -> Outcome:
    """Decodes, and iterates after every chunk."""
    items = []
    for chunk in chunks:
        decoder.receive_data(chunk)
        found = drained(decoder)
        items += found.items
        if found.error is not None:
            return Outcome(items, found.error)
    decoder.receive_eof()
    found = drained(decoder)
    return Outcome(items + found.items, found.error)


def drained(decoder) -> Outcome:
    """What a decoder has now."""
    items = []
    try:
        for item in decoder:
            items.append(item)  # noqa: PERF402 - what comes before an error counts
    except AiosmrtError as error:
        return Outcome(items, error)
    return Outcome(items, None)


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def splits(data: bytes) -> list[list[bytes]]:
    """``data`` in two at every offset, and in three where that is not too much."""
    edges = range(len(data) + 1)
    found = [[data[:first], data[first:]] for first in edges]
    if len(data) <= 40:
        found += [
            [data[:first], data[first:second], b"", data[second:]]
            for first in edges
            for second in range(first, len(data) + 1)
        ]
    return found


def check_case(make, case: Case) -> None:
    whole = outcome(make(), [case.data])
    assert whole.items == case.items
    assert type(whole.error) is (case.error or type(None))
    if case.leftover is not None:
        assert whole.error.leftover == case.leftover
        assert whole.error.bytes_left == len(case.leftover)
    for chunks in (bytewise(case.data), *splits(case.data)):
        assert outcome(make(), chunks).facts() == whole.facts(), chunks


@st.composite
def cut(draw, data: bytes) -> list[bytes]:
    """``data`` in chunks, empty ones among them."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12).map(sorted))
    return [data[start:stop] for start, stop in pairwise([0, *cuts, len(data)])]


E = ServerSentEvent

LINES = {
    "nothing": Case(b"", []),
    "one line": Case(b"a\n", ["a"]),
    "not ended": Case(b"a\nb", ["a", "b"]),
    "every end": Case(b"a\rb\nc\r\nd", ["a", "b", "c", "d"]),
    "empty lines": Case(b"\n\r\r\n\n\r", [""] * 5),
    "LF then CR": Case(b"a\n\rb", ["a", "", "b"]),
    "CR at the end": Case(b"a\r", ["a"]),
    "CRLF at the end": Case(b"a\r\n", ["a"]),
    "CRCRLF": Case(b"a\r\r\nb", ["a", "", "b"]),
    "characters that are no ends": Case(
        "a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i\n".encode(),
        ["a\x0bb\x0cc\x1cd\x1de\x1ef\x85g\u2028h\u2029i"],
    ),
    "UTF-8 of every length": Case("é€😀\né€😀".encode(), ["é€😀", "é€😀"]),
    "a byte order mark is text": Case(b"\xef\xbb\xbfa\n", ["\ufeffa"]),
    "NUL": Case(b"a\0b\n", ["a\0b"]),
    "not UTF-8": Case(b"a\nb\xffc\nd\n", ["a"], InvalidMessageError),
    "not UTF-8, not ended": Case(b"a\nb\xff", ["a"], InvalidMessageError),
    "a surrogate": Case(b"a\n\xed\xa0\x80\n", ["a"], InvalidMessageError),
    "overlong": Case(b"\xc0\xaf\n", [], InvalidMessageError),
    "a line ends in a character": Case(b"a\n\xe2\x82\nb", ["a"], InvalidMessageError),
    "the end in a character": Case(b"a\nb\xe2\x82", ["a"], StreamTruncatedError, b"b\xe2\x82"),
}

TEXT = {
    "nothing": Case(b"", []),
    "ASCII": Case(b"a\r\nb", ["a\r\nb"]),
    "UTF-8 of every length": Case("aé€😀".encode(), ["aé€😀"]),
    "a byte order mark is text": Case(b"\xef\xbb\xbfa", ["\ufeffa"]),
    "not UTF-8": Case(b"ab\xffc", ["ab"], InvalidMessageError),
    "a character that breaks off": Case(b"ab\xe2\x82c", ["ab"], InvalidMessageError),
    "a surrogate": Case(b"\xed\xa0\x80", [], InvalidMessageError),
    "the end in a character": Case(
        b"ab\xf0\x9f\x98", ["ab"], StreamTruncatedError, b"\xf0\x9f\x98"
    ),
}

# The first seven are the examples of the WHATWG text, 9.2.5 and 9.2.6.
SSE = {
    "WHATWG: two lines of data": Case(
        b"data: YHOO\ndata: +2\ndata: 10\n\n", [E(data="YHOO\n+2\n10")]
    ),
    "WHATWG: comment, ids, a space kept": Case(
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
        [E(data="first event", id="1"), E(data="second event")],
        StreamTruncatedError,
        b"data:  third event",
    ),
    "WHATWG: data that is empty": Case(
        b"data\n\ndata\ndata\n\ndata:", [E(), E(data="\n")], StreamTruncatedError, b"data:"
    ),
    "WHATWG: one space or none": Case(b"data:test\n\ndata: test\n\n", [E(data="test")] * 2),
    "WHATWG: named events": Case(
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        [E("add", "73857293"), E("remove", "2153")],
    ),
    "WHATWG: a name alone": Case(b"event: add\n\ndata: x\n\n", [E(data="x")]),
    "WHATWG: digits only": Case(
        b"retry: 1e3\nretry: -1\nretry:\nretry: 12x\ndata: x\n\n", [E(data="x")]
    ),
    "nothing": Case(b"", []),
    "empty lines only": Case(b"\n\r\n\r\n", []),
    "CR": Case(b"data: a\rdata: b\r\rdata: c\r\r", [E(data="a\nb"), E(data="c")]),
    "CRLF": Case(b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", [E(data="a\nb"), E(data="c")]),
    "mixed ends": Case(b"data: a\n\rdata: b\r\r\ndata: c\r\n\n", [E(data=x) for x in "abc"]),
    "a byte order mark": Case(b"\xef\xbb\xbfdata: a\n\n", [E(data="a")]),
    "a byte order mark later": Case(b"\n\xef\xbb\xbfdata: a\n\ndata: b\n\n", [E(data="b")]),
    "no event's lines": Case(b"<p>no\n\nevent</p>\n\n", [], InvalidMessageError),
    "JSON Lines": Case(b'{"data": 1}\n\n{"data": 2}\n\n', [], InvalidMessageError),
    "JSON, no line end": Case(b'{"data": 1}', [], InvalidMessageError),
    "JSON, no empty line": Case(b'{"data": 1}\n', [], InvalidMessageError),
    "JSON behind an event": Case(
        b'data: a\n\n{"data": 1}', [E(data="a")], StreamTruncatedError, b'{"data": 1}'
    ),
    "fields of no event": Case(b"retry: 1\n\nevent: a\n\nid\n\n", []),
    "comments": Case(b":\n: hi\ndata: a\n:data: b\n\n:\n\n", [E(data="a")]),
    "a comment at the end": Case(b"data: a\n\n: bye", [E(data="a")]),
    "all fields": Case(
        b"id: 7\nevent: e\nretry: 3000\ndata: a\n\ndata: b\n\n",
        [E("e", "a", "7", 3000), E("message", "b", "7", None)],
    ),
    "fields of no event hold for the next": Case(
        b"retry: 5\nid: 1\nevent: x\n\ndata: a\n\n", [E("message", "a", "1", 5)]
    ),
    "an id with NUL": Case(
        b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n", [E(data=x, id="1") for x in "ab"]
    ),
    "an id reset": Case(b"id: 1\ndata: a\n\nid:\ndata: b\n\n", [E(data="a", id="1"), E(data="b")]),
    "an empty name": Case(b"event:\ndata: a\n\n", [E(data="a")]),
    "a field of no meaning": Case(
        b"foo: 1\ndatas: 2\ndata : 3\n data: 4\ndata: a\n\n", [E(data="a")]
    ),
    "colons in a value": Case(b"data::a: b:\n\n", [E(data=":a: b:")]),
    "a retry of 18 digits": Case(b"retry: 000000000000000005\ndata: a\n\n", [E(data="a", retry=5)]),
    "a retry of 19 digits": Case(b"retry: 0000000000000000005\ndata: a\n\n", [E(data="a")]),
    "retry of the last line": Case(b"retry: 1\nretry: 02\ndata: a\n\n", [E(data="a", retry=2)]),
    "characters that are no ends": Case(
        "data: a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b\n\n".encode(),
        [E(data="a\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029b")],
    ),
    "[DONE] is an event": Case(b"data: [DONE]\n\n", [E(data="[DONE]")]),
    "UTF-8": Case("event: é\nid: €\ndata: 😀\n\n".encode(), [E("é", "😀", "€")]),
    "data not UTF-8": Case(
        b"data: a\n\ndata: \xff\n\ndata: b\n\n", [E(data="a")], InvalidMessageError
    ),
    "name not UTF-8": Case(b"event: \xff\ndata: a\n\n", [], InvalidMessageError),
    "id not UTF-8": Case(b"data: a\n\nid: \xff\ndata: a\n\n", [E(data="a")], InvalidMessageError),
    "no empty line": Case(
        b"data: a\n\ndata: b\n", [E(data="a")], StreamTruncatedError, b"data: b\n"
    ),
    "the end in a field's name": Case(b"data: a\n\nda", [E(data="a")], StreamTruncatedError, b"da"),
    "the end in the first field's name": Case(b"dat", [], StreamTruncatedError, b"dat"),
    "the end before the first data": Case(b"event: a\n", [], StreamTruncatedError, b"event: a\n"),
    "the end in a character": Case(b"data: \xe2\x82", [], StreamTruncatedError, b"data: \xe2\x82"),
    "the end after a comment": Case(b"data: a\n: b", [], StreamTruncatedError, b"data: a"),
}

SSE_DONE = {
    "left out": Case(b"data: a\n\ndata: [DONE]\n\n", [E(data="a")]),
    "in the middle": Case(b"data: [DONE]\n\ndata: a\n\n", [E(data="a")]),
    "no empty line": Case(b"data: a\n\ndata: [DONE]\n", [E(data="a")]),
    "no end at all": Case(b"data: a\n\ndata:[DONE]", [E(data="a")]),
    "alone, beside what is ignored": Case(b"foo: 1\n\ndata: [DONE]\n\n", []),
    "its id holds": Case(b"id: 1\ndata: [DONE]\n\ndata: a\n\n", [E(data="a", id="1")]),
    "cut off": Case(b"data: [DON", [], StreamTruncatedError, b"data: [DON"),
    "more than it": Case(b"data: [DONE] \n\n", [E(data="[DONE] ")]),
    "not UTF-8 at the end": Case(b"data: \xff", [], StreamTruncatedError, b"data: \xff"),
}

JSON_LINES = {
    "nothing": Case(b"", []),
    "every kind": Case(
        b'{"a": [1, 2.5e3]}\n[]\n"x"\n-1\ntrue\nfalse\nnull',
        [{"a": [1, 2500.0]}, [], "x", -1, True, False, None],
    ),
    "every end": Case(b"1\r2\n3\r\n4", [1, 2, 3, 4]),
    "blank lines": Case(b"\n1\n \t\n\r\n2\n \t", [1, 2]),
    "spaces around": Case(b" 1 \n\t{} ", [1, {}]),
    "a byte order mark": Case(b"\xef\xbb\xbf1\n2", [1, 2]),
    "a byte order mark, not ended": Case(b"\xef\xbb\xbf1", [1]),
    "separators of str.splitlines": Case(
        '"a\x85b\u2028c\u2029d"\n1'.encode(), ["a\x85b\u2028c\u2029d", 1]
    ),
    "infinities": Case(b"[Infinity, -Infinity]\n", [[float("inf"), float("-inf")]]),
    "malformed": Case(b'1\n{"a": }\n2\n', [1], InvalidMessageError),
    "two on a line": Case(b"1 2\n", [], InvalidMessageError),
    "not UTF-8": Case(b'1\n"\xff"\n2\n', [1], InvalidMessageError),
    "cut off": Case(b'1\n{"a": 2', [1], StreamTruncatedError, b'{"a": 2'),
    "cut off in a character": Case(b'1\n"\xe2\x82', [1], StreamTruncatedError, b'"\xe2\x82'),
}

JSON_VALUES = {
    "nothing": Case(b"", []),
    "white space": Case(b" \t\r\n", []),
    "joined": Case(b'{"a":1}{"b":2}[3][]{}""', [{"a": 1}, {"b": 2}, [3], [], {}, ""]),
    "spaced": Case(b' {"a":1}\n\r\t [2] ', [{"a": 1}, [2]]),
    "numbers": Case(b"1 -2.5 3e2 0", [1, -2.5, 300.0, 0]),
    "words": Case(b"true false null", [True, False, None]),
    "words and brackets": Case(b'1[2]3"4"true{}null', [1, [2], 3, "4", True, {}, None]),
    "a number that only the end ends": Case(b"12", [12]),
    "infinities": Case(b"Infinity -Infinity", [float("inf"), float("-inf")]),
    "pretty-printed": Case(b'{\n  "a": [\n    1\n  ]\n}\n{\n}\n', [{"a": [1]}, {}]),
    "brackets in strings": Case(b'{"}{": "]["}["{", "}"]', [{"}{": "]["}, ["{", "}"]]),
    "escapes": Case(
        rb'["\"", "\\", "\\\"", "\\\\"]"\\""\""1', [['"', "\\", '\\"', "\\\\"], "\\", '"', 1]
    ),
    "unicode escapes": Case(rb'"\u00e9\ud83d\ude00"', ["é😀"]),
    "UTF-8": Case('{"é": "€😀"}"é"'.encode(), [{"é": "€😀"}, "é"]),
    "a byte order mark": Case(b"\xef\xbb\xbf1 2", [1, 2]),
    "separators of str.splitlines": Case('["\x85\u2028"]'.encode(), [["\x85\u2028"]]),
    "deep": Case(b"[" * 50 + b"]" * 50 + b"1", [json.loads("[" * 50 + "]" * 50), 1]),
    "malformed object": Case(b'{"a":1}{"b" 2}{}', [{"a": 1}], InvalidMessageError),
    "wrong bracket": Case(b"1 [2} 3", [1], InvalidMessageError),
    "comma between": Case(b"{},{}", [{}], InvalidMessageError),
    "closing bracket": Case(b"{}}", [{}], InvalidMessageError),
    "no JSON": Case(b"Internal Server Error", [], InvalidMessageError),
    "HTML": Case(b"<html>x</html>", [], InvalidMessageError),
    "two words in one": Case(b"1true 2", [], InvalidMessageError),
    "a leading zero": Case(b"01 ", [], InvalidMessageError),
    "a control character": Case(b'1 "a\nb" 2', [1], InvalidMessageError),
    "a bad escape": Case(rb'1 "\x" 2', [1], InvalidMessageError),
    "an escape outside of strings": Case(
        rb'1 {\"a": 1} 2', [1], StreamTruncatedError, rb'{\"a": 1} 2'
    ),
    "not UTF-8": Case(b'{"a":1}{"b":"\xff"}', [{"a": 1}], InvalidMessageError),
    "the end in an object": Case(b'{"a":1}{"b', [{"a": 1}], StreamTruncatedError, b'{"b'),
    "the end in a string": Case(b'1"\\', [1], StreamTruncatedError, b'"\\'),
    "the end in a word": Case(b"true tru", [True], StreamTruncatedError, b"tru"),
    "the end in a character": Case(b'1["\xe2\x82', [1], StreamTruncatedError, b'["\xe2\x82'),
    "the end in a character alone": Case(b"1 \xe2\x82", [1], StreamTruncatedError, b"\xe2\x82"),
    "the end after a number and in a character": Case(b"1\xe2", [], StreamTruncatedError, b"1\xe2"),
}


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk as vLLM sends it for a chat completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice], **more}


def sse(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


def json_lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


DONE = b"data: [DONE]\n\n"
T = Token
USAGE = TokenUsage(12, 2)
OPENAI_USAGE = {"prompt_tokens": 12, "total_tokens": 14, "completion_tokens": 2}

CHAT = (
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "Hé"}),
    chunk({"content": " you"}),
    chunk({"content": ""}, "stop", stop_reason=None),
)
CHAT_TOKENS = [T("Hé"), T(" you"), T("", finish_reason="stop")]


def completion(text: str, reason: str | None = None, index: int = 0) -> dict[str, Any]:
    choice = {"index": index, "text": text, "logprobs": None, "finish_reason": reason}
    return {"id": "c", "object": "text_completion", "choices": [choice]}


def tgi(number: int, text: str, *, special: bool = False, **end: Any) -> dict[str, Any]:
    token = {"id": 5, "text": text, "logprob": -0.1, "special": special}
    return {"index": number, "token": token, "generated_text": None, "details": None, **end}


def lmi(text: str, **end: Any) -> dict[str, Any]:
    return {"token": {"id": 5, "text": text, "log_prob": -0.1}, **end}


TGI_DETAILS = {
    "finish_reason": "eos_token",
    "generated_tokens": 2,
    "seed": None,
    "input_length": 12,
}
LMI_DETAILS = {"finish_reason": "length", "generated_tokens": 2, "inputs": "Say hi"}

TOKENS = {
    "nothing": Case(b"", []),
    "chat of vLLM and SGLang": Case(sse(*CHAT) + DONE, CHAT_TOKENS),
    "chat of LMI as JSON Lines": Case(
        b"\n" + b"\n".join(map(json_lines, CHAT)) + b"\n", CHAT_TOKENS
    ),
    "chat joined": Case(json_lines(*CHAT).replace(b"\n", b""), CHAT_TOKENS),
    "usage in a last chunk": Case(
        sse(*CHAT, {"object": "chat.completion.chunk", "choices": [], "usage": OPENAI_USAGE})
        + DONE,
        [*CHAT_TOKENS, T("", finish_reason="stop", usage=USAGE)],
    ),
    "usage in every chunk": Case(
        sse(
            chunk({"content": "a"}, usage={**OPENAI_USAGE, "completion_tokens": 1}),
            chunk({"content": "b"}, "length", usage=OPENAI_USAGE),
        ),
        [T("a", usage=TokenUsage(12, 1)), T("b", finish_reason="length", usage=USAGE)],
    ),
    "usage null": Case(sse(chunk({"content": "a"}, usage=None)), [T("a")]),
    "an empty chunk": Case(sse({"choices": []}, {"choices": [], "usage": None}), []),
    "reasoning of vLLM": Case(
        sse(chunk({"reasoning": "hm", "content": None})), [T("", reasoning="hm")]
    ),
    "reasoning of SGLang": Case(
        sse(chunk({"reasoning_content": "hm"}), chunk({"reasoning_content": None, "content": "a"})),
        [T("", reasoning="hm"), T("a")],
    ),
    "tool calls": Case(sse(chunk({"tool_calls": [{"index": 0}]})), [T("")]),
    "a refusal": Case(sse(chunk({"role": "assistant", "refusal": "I may not"})), [T("")]),
    "no delta": Case(sse(chunk(None, "stop")), [T("", finish_reason="stop")]),
    "two answers": Case(
        sse(
            {"choices": [{"index": 1, "delta": {"content": "b"}}, {"delta": {"content": "a"}}]},
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]},
        ),
        [T("b", 1), T("a"), T("", 1, finish_reason="stop")],
    ),
    "completions": Case(
        sse(completion("a"), completion("b", "length", 1)) + DONE,
        [T("a"), T("b", 1, finish_reason="length")],
    ),
    "completions of TGI": Case(
        sse(completion("a", ""), completion("", "stop")), [T("a"), T("", finish_reason="stop")]
    ),
    "TGI": Case(
        sse(
            tgi(1, "Hé"),
            tgi(2, " you"),
            tgi(3, "</s>", special=True, generated_text="Hé you", details=TGI_DETAILS),
        ).replace(b"data: ", b"data:"),
        [T("Hé"), T(" you"), T("", finish_reason="eos_token", usage=USAGE)],
    ),
    "LMI": Case(
        json_lines(lmi("Hé"), lmi(" you", generated_text="Hé you", details=LMI_DETAILS)),
        [T("Hé"), T(" you", finish_reason="length", usage=TokenUsage(None, 2))],
    ),
    "LMI without details": Case(json_lines(lmi("a", generated_text="a")), [T("a")]),
    "LMI as events": Case(sse(lmi("a"), lmi("b")), [T("a"), T("b")]),
    "LMI without rolling batch": Case(
        json_lines({"outputs": ["a", "x"]}, {"outputs": ["b", "y"]}),
        [T("a"), T("x", 1), T("b"), T("y", 1)],
    ),
    "an error of vLLM": Case(
        sse(CHAT[1], {"error": {"message": "m", "type": "t", "param": None, "code": 400}}) + DONE,
        [T("Hé")],
        ModelError,
    ),
    "the end in an event": Case(
        sse(CHAT[1]) + b"data: {", [T("Hé")], StreamTruncatedError, b"data: {"
    ),
    "the end in a line": Case(json_lines(CHAT[1]) + b'{"', [T("Hé")], StreamTruncatedError, b'{"'),
    "an event that is no JSON": Case(
        sse(CHAT[1]) + b"data: oops\n\n", [T("Hé")], InvalidMessageError
    ),
    "no JSON and no event": Case(b"error: out of memory\n\n", [], InvalidMessageError),
    "a form that is not known": Case(
        sse(CHAT[1], {"generation": "a"}), [T("Hé")], InvalidMessageError
    ),
}


_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('[]{}",:\\ \n\x85\u2028é😀', max_size=8)
    | _TEXT,
    lambda values: (
        st.lists(values, max_size=4)
        | st.dictionaries(st.text('"\\{}a', max_size=4) | _TEXT, values, max_size=4)
    ),
    max_leaves=8,
)
# A JSON text on one line: what it means, and how tightly and in which alphabet it is written.
JSON_TEXTS = st.builds(
    lambda value, escaped, marks: json.dumps(value, ensure_ascii=escaped, separators=marks),
    _JSON,
    st.booleans(),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\t", " :  ")]),
)
