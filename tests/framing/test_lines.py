"""Lines, which end with CR, LF or CRLF, in work that grows with the bytes."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.framing_corpus import LINES, bytewise, check_case, cut, outcome, splits
from support.memory import taken

from aiosmrt.errors import InvalidMessageError, MessageTooLargeError
from aiosmrt.framing import LineDecoder

# Every character that some notion of a line ends with, and some that need 2 to 4 bytes.
ALPHABET = "\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029aé€😀\ufeff\0"


@pytest.mark.parametrize("name", LINES)
def test_the_corpus_however_it_is_cut(name):
    check_case(LineDecoder, LINES[name])


@given(st.data())
def test_text_files_have_the_same_lines(data):
    payload = data.draw(st.text(ALPHABET, max_size=60)).encode()
    theirs = io.TextIOWrapper(io.BytesIO(payload), encoding="utf-8", newline=None)
    ours = outcome(LineDecoder(), data.draw(cut(payload)))
    assert ours == ([line.removesuffix("\n") for line in theirs], None)


def test_a_line_is_handed_out_as_soon_as_it_has_ended():
    decoder = LineDecoder()
    decoder.receive_data(b"a\r")
    assert list(decoder) == ["a"]
    decoder.receive_data(b"\nb")
    assert list(decoder) == []
    decoder.receive_data(b"\n")
    assert list(decoder) == ["b"]
    decoder.receive_data(b"c")
    assert list(decoder) == []
    decoder.receive_eof()
    assert list(decoder) == ["c"]


def test_an_empty_chunk_between_cr_and_lf_changes_nothing():
    assert outcome(LineDecoder(), [b"a\r", b"", b"\nb"]).items == ["a", "b"]


def test_the_error_names_line_and_byte():
    decoder = LineDecoder()
    decoder.receive_data(b"a\nb\n")
    decoder.receive_data(b"c\ndd\xff\ne\n")
    found = []
    with pytest.raises(InvalidMessageError, match="Byte 2 of line 4 is not valid UTF-8"):
        found.extend(line for line in decoder)
    decoder = LineDecoder()
    decoder.receive_data(b"a\nb\xff")
    decoder.receive_eof()
    with pytest.raises(InvalidMessageError, match="Byte 1 of line 2 is not valid UTF-8"):
        list(decoder)


# -- the limit


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n", b""])
def test_a_line_may_be_as_long_as_the_limit(end):
    data = b"1234" + end
    for chunks in (bytewise(data), *splits(data)):
        assert outcome(LineDecoder(4), chunks) == (["1234"], None)
    data = b"ab\n12345" + end
    for chunks in (bytewise(data), *splits(data)):
        found = outcome(LineDecoder(4), chunks)
        assert found.items == ["ab"]
        assert type(found.error) is MessageTooLargeError
        assert (found.error.part, found.error.length, found.error.limit) == ("line", 5, 4)


def test_the_limit_counts_bytes_and_each_line_alone():
    assert outcome(LineDecoder(4), ["éé\n".encode()]).error is None
    assert outcome(LineDecoder(3), ["éé\n".encode()]).error is not None
    assert outcome(LineDecoder(4), [b"1234\n" * 1000]).items == ["1234"] * 1000


def test_a_line_without_an_end_is_refused_once_it_is_too_long():
    decoder = LineDecoder(1000)
    for _ in range(11):
        decoder.receive_data(b"x" * 100)
    with pytest.raises(MessageTooLargeError):
        list(decoder)


def test_a_fault_in_the_line_before_one_that_is_too_long_comes_first():
    found = outcome(LineDecoder(4), [b"a\n\xff\n12345\n"])
    assert found.items == ["a"]
    assert type(found.error) is InvalidMessageError


# -- the work grows with the bytes


def test_a_long_line_in_many_parts_is_not_copied_for_each():
    def work(length: int) -> int:
        return taken(LineDecoder(), [b"x" * 1024] * (length // 1024))

    assert work(1 << 20) < 3 * work(1 << 19)


def test_many_lines_in_one_part_are_not_copied_for_each():
    def work(lines: int) -> int:
        return taken(LineDecoder(), [b"x" * 20 + b"\n" + b"y\r\n" * lines + b"z"])

    assert work(8_000) < 3 * work(4_000)
