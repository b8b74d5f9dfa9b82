"""What is taken for bytes and for a number, and how texts from elsewhere are shown."""

from __future__ import annotations

import array
import enum

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.readable import is_readable

from aiosmrt._values import hide, is_finite, is_integer, printable, to_bytes

LARGEST = float("1.7976931348623157e308")


@pytest.mark.parametrize("value", [0, -1, 10**400, enum.IntEnum("Number", "ONE").ONE], ids=repr)
def test_an_integer(value):
    assert is_integer(value)


@pytest.mark.parametrize("value", [True, False, 1.0, "1", None, float("nan")], ids=repr)
def test_no_integer(value):
    assert not is_integer(value)


@pytest.mark.parametrize("value", [0, -1, 0.5, LARGEST, -LARGEST, int(LARGEST)], ids=str)
def test_a_finite_number(value):
    assert is_finite(value)


@pytest.mark.parametrize(
    "value",
    [True, False, float("nan"), float("inf"), -float("inf"), 10**400, "1", None, 1j],
    ids=lambda value: str(value)[:10],
)
def test_no_finite_number(value):
    assert not is_finite(value)


def test_bytes_are_taken_as_they_are_and_other_buffers_copied():
    data = b"abc"
    assert to_bytes(data) is data
    for buffer in (bytearray(data), memoryview(data), array.array("B", data)):
        assert to_bytes(buffer) == data


@pytest.mark.parametrize("value", [3, "abc", None, [1]], ids=repr)
def test_what_has_no_buffer_is_not_bytes(value):
    with pytest.raises(TypeError):
        to_bytes(value)


def test_a_repr_shows_how_long_a_payload_is():
    assert hide(b"abc") == "<3 bytes>"
    assert hide("\u00fc\u00df") == "<2 characters>"


@pytest.mark.parametrize(
    "text, shown",
    [
        ("", ""),
        ("It is so.", "It is so."),
        ("Größe, Ελλάδα, 模型, עברית, हिन्दी, 🚀", "Größe, Ελλάδα, 模型, עברית, हिन्दी, 🚀"),
        ("one\r\ntwo\tthree\0", r"one\r\ntwo\tthree\x00"),
        ("\x1b[2J\x07\x7f", r"\x1b[2J\x07\x7f"),
        ("\x85\x9b31m", r"\x85\x9b31m"),
        ("\u202egpj.exe\u2066\u2069", r"\u202egpj.exe\u2066\u2069"),
        ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
        ("\u200b\ufeff\U000e0041", r"\u200b\ufeff\U000e0041"),
        ("\ud800 and \udcff", r"\ud800 and \udcff"),
        (r"C:\new", r"C:\new"),
    ],
    ids=ascii,
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert printable(text) == printable(text, 100) == shown


@pytest.mark.parametrize(
    "text",
    [
        "\U0001f469\u200d\U0001f4bb \U0001f3f3\ufe0f\u200d\U0001f308",
        "\U0001f937\U0001f3fd\u200d\u2642\ufe0f",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian
        "\u0915\u094d\u200d\u0937",  # Hindi
        "Erreur\xa0: 12\u202f345",
        "\u30a8\u30e9\u30fc\u3000\u767a\u751f",  # Japanese
    ],
    ids=ascii,
)
def test_what_people_read_stays_readable(text):
    assert printable(text) == printable(text, 100) == text


@pytest.mark.parametrize(
    "text, shown",
    [
        ("pass\u200dword", r"pass\u200dword"),
        ("\u200d\u0645", "\\u200d\u0645"),
        ("\u0645\u200c", "\u0645\\u200c"),
        ("\u0645\u200d\u200d\u0645", "\u0645\\u200d\\u200d\u0645"),
        ("\u0645\u200d\u202e\u200d\u0645", "\u0645" + r"\u200d\u202e\u200d" + "\u0645"),
        ("\xa0\u200d\xa0", "\xa0\\u200d\xa0"),
        ("\x1b]8;;http://a\x07b\x1b]8;;\x1b\\", r"\x1b]8;;http://a\x07b\x1b]8;;\x1b" + "\\"),
    ],
    ids=ascii,
)
def test_joiners_elsewhere_are_escaped(text, shown):
    assert printable(text) == printable(text, 100) == shown


def test_a_long_text_is_cut_and_says_so():
    assert printable("x" * 10, 10) == "x" * 10
    assert printable("x" * 11, 10) == "x" * 10 + "... [11 characters in all]"
    assert printable("\n" * 10, 10) == r"\n" * 5 + "... [10 characters in all]"
    assert printable("x" * 100_000) == "x" * 100_000


ODD = st.characters(categories=["Cc", "Cf", "Zs", "Zl", "Zp", "Co", "Cs"])


@given(st.text(st.characters() | ODD | st.sampled_from("\u200c\u200d\u0645")), st.integers(0, 40))
def test_any_text_is_one_printable_line_of_a_bounded_length(text, most):
    assert is_readable(printable(text))
    assert printable(printable(text)) == printable(text)
    shown = printable(text, most)
    assert is_readable(shown)
    assert len(shown) <= most + len(f"... [{len(text)} characters in all]")
    assert printable(text).startswith(shown.partition("... [")[0][:most])
    shown.encode()
