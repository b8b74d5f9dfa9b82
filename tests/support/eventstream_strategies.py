"""Random messages, and random ways to cut and to damage their bytes."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import pairwise

from hypothesis import strategies as st

from aiosmrt.eventstream import Byte, Int32, Int64, Message, Short


def _whole_milliseconds(value: datetime) -> datetime:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def sized(kind, bits):
    return st.integers(-(1 << (bits - 1)), (1 << (bits - 1)) - 1).map(kind)


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)  # at most 240 bytes

VALUES = st.one_of(
    st.booleans(),
    sized(Byte, 8),
    sized(Short, 16),
    sized(Int32, 32),
    sized(Int64, 64),
    st.binary(max_size=100),
    st.text(st.characters(codec="utf-8"), max_size=100),
    st.datetimes(timezones=st.just(timezone.utc)).map(_whole_milliseconds),
    st.uuids(),
)

HEADERS = st.dictionaries(NAMES, VALUES, max_size=6)

MESSAGES = st.builds(Message, HEADERS, st.binary(max_size=200))


@st.composite
def cut(draw, data: bytes) -> list[bytes]:
    """``data`` in chunks, empty ones among them."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12).map(sorted))
    edges = [0, *cuts, len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


@st.composite
def flipped(draw, data: bytes) -> tuple[bytes, int]:
    """``data`` with some of its bytes changed, and where the first of them lies."""
    changes = draw(
        st.dictionaries(st.integers(0, len(data) - 1), st.integers(1, 255), min_size=1, max_size=4)
    )
    damaged = bytearray(data)
    for position, change in changes.items():
        damaged[position] ^= change
    return bytes(damaged), min(changes)


@st.composite
def spliced(draw, data: bytes) -> tuple[bytes, int]:
    """``data`` with one part replaced by other bytes or by none, and where that part begins."""
    start = draw(st.integers(0, len(data)))
    stop = draw(st.integers(start, min(len(data), start + 60)))
    return data[:start] + draw(st.binary(max_size=40)) + data[stop:], start
