"""UTF-8 that is cut anywhere."""

from __future__ import annotations

from codecs import utf_8_decode

import pytest
from fuzz.fuzz_framing import JoinedText
from hypothesis import given
from hypothesis import strategies as st
from support.framing_corpus import TEXT, check_case, cut, drained, outcome

from aiosmrt.errors import InvalidMessageError
from aiosmrt.framing import TextDecoder


@pytest.mark.parametrize("name", TEXT)
def test_the_corpus_however_it_is_cut(name):
    case = TEXT[name]
    joined = case._replace(items=[character for text in case.items for character in text])
    check_case(JoinedText, joined)


@given(st.data())
def test_python_decodes_the_same(data):
    payload = data.draw(st.binary(max_size=40) | st.text(max_size=40).map(_encode))
    chunks = data.draw(cut(payload))
    found = outcome(JoinedText(), chunks)
    text, used = utf_8_decode(payload[: _first_bad(payload)], "strict", False)
    assert "".join(found.items) == text
    assert (found.error is None) == (used == len(payload))


def _first_bad(payload: bytes) -> int:
    try:
        utf_8_decode(payload, "strict", False)
    except UnicodeDecodeError as error:
        return error.start
    return len(payload)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def test_a_chunk_gives_one_text_and_a_part_of_a_character_none():
    decoder = TextDecoder()
    decoder.receive_data(b"a\xe2")
    assert list(decoder) == ["a"]
    decoder.receive_data(b"\x82")
    decoder.receive_data(b"")
    assert list(decoder) == []
    decoder.receive_data("\xac".encode("latin-1") + b"b")
    decoder.receive_data(b"c")
    assert list(decoder) == ["€b", "c"]


def test_the_error_names_the_byte_of_the_payload():
    decoder = TextDecoder()
    for chunk in (b"a" * 10, "é".encode(), b"\xe2", b"x"):
        decoder.receive_data(chunk)
    items, error = drained(decoder)
    assert items == ["a" * 10, "é"]
    assert type(error) is InvalidMessageError
    assert "Byte 12 of the payload is not valid UTF-8" in str(error)
