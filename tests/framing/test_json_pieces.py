"""Long JSON values, parsed in pieces: the same values and errors as in one."""

from __future__ import annotations

import json
import tracemalloc
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing_corpus import drained
from support.memory import traced

from aiosmrt.errors import InvalidMessageError
from aiosmrt.framing import NEED_DATA, JSONLinesDecoder, JSONStreamDecoder, _json_pieces
from aiosmrt.framing._decoder import PAUSED

LONG = 2 * _json_pieces.LONG


def told(read: Any) -> Any:
    """A value's repr, in which NaN equals NaN, or what an error says and where."""
    try:
        return repr(read())
    except json.JSONDecodeError as error:
        return error.msg, error.pos
    except (ValueError, RecursionError) as error:
        return type(error)


RAW_DECODE = json.JSONDecoder().raw_decode


def in_pieces(text: str, raw_decode: Any = RAW_DECODE) -> Any:
    parsing = _json_pieces.decode_in_pieces(text, 0, raw_decode)
    while True:
        try:
            next(parsing)
        except StopIteration as done:
            return done.value


SPACE = st.text(" \t\r\n", max_size=3)
STRINGS = st.lists(
    st.sampled_from(
        [
            *"aé\U0001f600,:[]{} ",
            '\\"',
            "\\\\",
            "\\n",
            "\\u0041",
            "\\ud83d\\ude00",
            "\\ud83d",
            "\\ude00",
        ]
    ),
    max_size=40,
).map(lambda parts: '"' + "".join(parts) + '"')
SCALARS = STRINGS | st.sampled_from(
    ["0", "-1.5E-3", "1e5", "true", "false", "null", "NaN", "-Infinity", "9" * 40, "9" * 5000]
)


def containers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    items = st.lists(st.tuples(SPACE, inner, SPACE).map("".join), max_size=8).map(",".join)
    pairs = st.tuples(SPACE, STRINGS | st.just('"a"'), SPACE, st.just(":"), SPACE, inner, SPACE)
    entries = st.lists(pairs.map("".join), max_size=8).map(",".join)
    return st.tuples(st.just("["), items, st.just("]")).map("".join) | st.tuples(
        st.just("{"), entries, st.just("}")
    ).map("".join)


TEXTS = st.recursive(SCALARS, containers, max_leaves=40)
JUNK = st.sampled_from([*'[]{},:"\\ 1-.eEtnu\x01', '"a"', "null", "\\u12", "\\ud83d", ",]"])


@st.composite
def broken(draw: st.DrawFn) -> str:
    text = draw(TEXTS)
    at = draw(st.integers(0, len(text)))
    until = draw(st.sampled_from([at, at + 1, len(text)]))
    return text[:at] + draw(JUNK | st.just("")) + text[until:]


@pytest.mark.parametrize("longest,shortest", [(24, 2), (40, 16), (200, 24), (65_536, 256)])
@given(text=TEXTS | broken())
def test_pieces_give_what_json_gives(longest: int, shortest: int, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_json_pieces, "LONGEST", longest)
        patch.setattr(_json_pieces, "SHORTEST", shortest)
        found = told(lambda: in_pieces(text))
    assert found == told(lambda: json.JSONDecoder().raw_decode(text))


LONG_TEXTS = {
    "numbers": "[" + "1, " * LONG + "2]",
    "strings of commas": "[" + '",\\",,", ' * (LONG // 8) + "2]",
    "rows": "[" + ("[" + "1.5," * 200 + "0],\n") * 1000 + "[]]",
    "objects": "[" + '{"a": [1, {"b": {}}], "a": "c"}, ' * (LONG // 30) + "{}]",
    "keys": "{" + "".join(f'"{n % 5000}": {n}, ' for n in range(50_000)) + '"last": []}',
    "long string": '"' + "ab" * LONG + '"',
    "escapes": '["' + r"\"\\\n\ud83d\ude00" * (LONG // 16) + '"]',
    "halves of pairs": '"' + r"\ud83d" * (LONG // 6) + r"\ude00" + '"',
    "long key": '{"' + "k" * LONG + '": {"' + "é" * LONG + '": 1}}',
    "spaces": "[" + " " * LONG + "1" + " " * LONG + "]",
    "deep": "[" * 600 + "1," * LONG + "1" + "]" * 600,
    "cut": "[" + "{}," * LONG,
    "two commas": "[" + "{}," * LONG + ",1]",
    "comma at the end": "[" + "{}," * LONG + " ]",
    "no comma": "[" + "{}," * LONG + "1 2]",
    "no colon": "{" + '"a":1,' * LONG + '"b" 2}',
    "no key": "{" + '"a":1,' * LONG + "b:2}",
    "other bracket": "[" + "{}," * LONG + "1}",
    "more": "[" + "{}," * LONG + "1] [",
    "control character": '["' + "a" * LONG + "\x01" + "a" * LONG + '"]',
    "bad escape": '["' + "a" * LONG + "\\x" + "a" * LONG + '"]',
    "too many digits": "[" + "1," * LONG + "9" * 5000 + "]",
    "far too deep": "[" * LONG + "]" * LONG,
}


@pytest.mark.parametrize("case", LONG_TEXTS)
@pytest.mark.parametrize("framing", ["values", "line", "last line", "event"])
def test_a_long_value_is_as_json_has_it(case: str, framing: str) -> None:
    text = LONG_TEXTS[case]
    try:
        expected, error = json.loads(text), None
    except json.JSONDecodeError as caught:
        expected, error = None, f"{caught.msg} at its character {caught.pos}"
    except RecursionError:
        expected, error = None, "nested too deeply"
    except ValueError:
        expected, error = None, "too many digits"
    if framing == "event":
        decoder: Any = JSONStreamDecoder("text/event-stream")
        # Spaces and line ends of an event's data are its own.
        data = "\n".join("data: " + line for line in text.split("\n")) + "\n\n"
    elif framing == "values":
        decoder, data = JSONStreamDecoder(), text
    else:
        decoder, data = JSONLinesDecoder(), text.replace("\n", " ") + "\n" * (framing == "line")
    wire = data.encode()
    for at in range(0, len(wire), 10_000):
        decoder.receive_data(wire[at : at + 10_000])
        found = drained(decoder)
        if found.items or found.error:
            break
    else:
        decoder.receive_eof()
        found = drained(decoder)
    if error is None:
        assert found == ([expected], None)
    elif framing == "values" and case == "more":
        assert found.items == [json.loads(text[:-2])]
    else:
        assert found.error is not None
        if isinstance(found.error, InvalidMessageError):
            assert error in str(found.error)
        else:  # cut, as far as that framing can see
            assert found.error.leftover == wire


def test_steps_are_paused_until_the_value_is_whole() -> None:
    decoder = JSONStreamDecoder()
    decoder.receive_data(b"[1")
    assert decoder.step() is NEED_DATA
    decoder.receive_data(b",1" * LONG + b"]")
    for steps in count(1):  # noqa: B007 - used after the loop
        unit = decoder.step()
        assert unit is not NEED_DATA
        if unit is not PAUSED:
            break
    assert unit == [1] * (LONG + 1)
    assert steps > 3
    assert decoder.next_unit() is NEED_DATA
    decoder.receive_data(b"[" + b"2," * LONG + b"2]")
    assert decoder.next_unit() == [2] * (LONG + 1)


def test_the_work_grows_with_the_length_however_deep() -> None:
    """Each of a comb's teeth is deep, and longer than a piece."""

    def work(teeth: int) -> int:
        read = 0

        def counting(text: str, start: int = 0) -> tuple[Any, int]:
            nonlocal read
            try:
                value, end = RAW_DECODE(text, start)
            except ValueError:
                read += len(text) - start
                raise
            read += end - start
            return value, end

        tooth = "[" * 500 + "1," * 40_000 + "1" + "]" * 500
        in_pieces("[" + ",".join([tooth] * teeth) + "]", counting)
        return read // (teeth * len(tooth))

    assert 1 <= work(2) < 10
    assert 1 <= work(8) < 10


@pytest.mark.parametrize(
    "element",
    ['"a, b"', '"\\",,"', "[1,2]", '{"a": {"b": 1}, "c": [1, 2, 3, 4]}', '{"a": ", ", "b": ","}'],
)
@pytest.mark.parametrize("form", ["[{}]", '[[{}], "a"]', '{{"a": [{}], "b": 1}}', "keys"])
def test_short_elements_with_commas_are_taken_together(form: str, element: str) -> None:
    calls = 0

    def counting(text: str, start: int = 0) -> tuple[Any, int]:
        nonlocal calls
        calls += 1
        return RAW_DECODE(text, start)

    elements = [element] * (2 * LONG // len(element))
    if form == "keys":
        text = "{" + ",".join(f'"{n},": {each}' for n, each in enumerate(elements)) + "}"
    else:
        text = form.format(",".join(elements))
    expected = json.loads(text)
    value, end = in_pieces(text, counting)
    assert value == expected
    assert end == len(text)
    assert 0 < calls < 100


def test_much_white_space_is_skipped_step_by_step() -> None:
    parsing = _json_pieces.decode_in_pieces("[" + " " * 40 * LONG + "1" + "\n" * 40 * LONG + "]")
    steps = 0
    with pytest.raises(StopIteration) as done:
        while True:
            next(parsing)
            steps += 1
    assert done.value.value == ([1], 80 * LONG + 3)
    assert steps > 80


def test_a_paused_line_is_held_once() -> None:
    decoder = JSONLinesDecoder()
    with traced():
        wire = b"[" + b'"' + b"ab" * 4_000_000 + b'",' + b"1," * LONG + b"1]\n"
        length = len(wire)
        decoder.receive_data(wire)
        del wire
        for _ in range(4):
            assert decoder.step() is PAUSED
        held, _ = tracemalloc.get_traced_memory()
    assert held < 1.9 * length
    assert decoder.next_unit()[0] == "ab" * 4_000_000
