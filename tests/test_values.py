"""What is taken for bytes and for a number, and what a repr shows of a payload."""

from __future__ import annotations

import array
import enum

import pytest

from aiosmrt._values import hide, is_finite, is_integer, to_bytes

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
