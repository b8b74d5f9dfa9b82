"""JSON in pieces: joined, it is json.dumps's, and no piece is much of it."""

from __future__ import annotations

import asyncio
import enum
import json
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.raw_server import answer, serve
from support.sessions import open_session

import aiosmrt
from aiosmrt._protocol.large_json import is_large, json_pieces


class Color(enum.IntEnum):
    RED = 1


def dumped(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


texts = st.text() | st.text().map(lambda text: text * 100)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
keys = st.text() | st.integers() | st.booleans() | st.none()
values = st.recursive(
    scalars.filter(lambda value: value not in (float("inf"), float("-inf"))),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner, inner),
    max_leaves=60,
)


@given(values, st.integers(1, 8))
def test_the_pieces_are_the_whole(value, most):
    try:
        expected = dumped(value)
    except UnicodeEncodeError:
        return
    assert b"".join(json_pieces(value, most)) == expected


LARGE = {
    "one text": 'é"\\\n\U0001f600' * 400_000,
    "numbers": [number / 7 for number in range(200_000)],
    "rows": {"instances": [[0.5] * 784 for _ in range(300)]},
    "rows of a dict": {f"row {number}": [number] * 100 for number in range(3_000)},
    "small ones": [{"id": number, "x": [1, 2]} for number in range(50_000)],
    "keys": {number: str(number) for number in range(50_000)},
    "odd ones": [(1, Color.RED, OrderedDict(a=None), True)] * 5_000,
}


@pytest.mark.parametrize("value", LARGE.values(), ids=LARGE)
def test_a_large_object_is_many_pieces_of_like_work(value):
    assert is_large(value)
    pieces = list(json_pieces(value))
    assert b"".join(pieces) == dumped(value)
    # A text of 1 MiB is one piece, 4 bytes a character at the most; numbers have 20.
    assert max(map(len, pieces)) < 5 << 20
    assert len(pieces) > 3


@pytest.mark.parametrize("value", [None, 1, "x" * 1000, {"inputs": "hi"}, [[1.0] * 10] * 100])
def test_a_small_object_is_not_large(value):
    assert not is_large(value)


def test_a_circle_ends():
    circle = [0] * 10_000
    circle += [circle, {"again": circle}, circle]
    with pytest.raises(ValueError, match="Circular"):
        list(json_pieces(circle))


async def test_a_large_object_is_sent_as_json_by_every_operation():
    value = LARGE["rows"]
    async with serve(answer(b"{}")) as server:
        async with open_session(server.url) as session:
            await session.invoke_endpoint("e", json=value)
            stream = await session.invoke_endpoint_with_response_stream("e", json=value)
            await stream.aclose()
            with pytest.raises(aiosmrt.ParameterValidationError, match="must be at most 128000"):
                await session.invoke_endpoint_async("e", json=value)
    for request in server.requests:
        assert request.body == dumped(value)
        assert request.headers["content-type"] == "application/json"
    assert len(server.requests) == 2


async def test_a_large_object_leaves_the_loop_to_others_after_each_piece():
    """Counted up to the refusal of a name, which is looked at next."""
    value = LARGE["rows"]
    count = 0

    async def tick():
        nonlocal count
        while True:
            count += 1
            await asyncio.sleep(0)

    async with open_session("http://127.0.0.1:1") as session:
        ticking = asyncio.ensure_future(tick())
        with pytest.raises(aiosmrt.ParameterValidationError, match="endpoint_name"):
            await session.invoke_endpoint("no/name", json=value)
        ticking.cancel()
    assert count >= len(list(json_pieces(value)))


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        [0.5] * 9_999 + [float("nan")],
        [0] * 9_999 + [{1, 2}],
        ["\ud800"] * 9_999,
        [0] * 9_999 + nested(100_000),
    ],
    ids=["nan", "set", "half a pair", "too deep"],
)
async def test_a_large_object_without_a_json_form_says_so(value):
    async with serve(answer(b"{}")) as server:
        async with open_session(server.url) as session:
            for call in (
                session.invoke_endpoint,
                session.invoke_endpoint_with_response_stream,
                session.invoke_endpoint_async,
            ):
                text = r"must have a JSON form.*\(operation InvokeEndpoint\w*, endpoint e\)"
                with pytest.raises(aiosmrt.ParameterValidationError, match=text):
                    await call("e", json=value)
        assert not server.connections
