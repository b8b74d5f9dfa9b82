"""Streams as text, lines, events, values and tokens, over sockets, however parts are cut."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from support.memory import traced
from support.raw_server import Connection, RawServer
from support.sessions import open_session
from support.streams import END, HEAD, chunk, exception, part, streaming
from support.transports import in_use
from support.work import counted_steps

import aiosmrt
from aiosmrt.framing import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SSE = 'data: {"a": 1}\n\nevent: x\ndata: é\n\ndata: [DONE]\n\n'.encode()
TGI = b"".join(
    b'data: {"token": {"id": 1, "text": "%b", "special": false}}\n\n' % word
    for word in (b"Hello", b" ", b"you")
)

CASES: dict[str, tuple[bytes, Callable[[aiosmrt.ResponseStream], Any], list[Any]]] = {
    "text": ("héllo €\n".encode(), lambda s: s.iter_text(), ["héllo €\n"]),
    "lines": (
        b"one\r\ntwo\rthree\n\nlast",
        lambda s: s.iter_lines(),
        ["one", "two", "three", "", "last"],
    ),
    "sse": (
        SSE,
        lambda s: s.iter_sse(),
        [
            ServerSentEvent("message", '{"a": 1}'),
            ServerSentEvent("x", "é"),
            ServerSentEvent("message", "[DONE]"),
        ],
    ),
    "sse-done": (
        SSE,
        lambda s: s.iter_sse(done_marker="[DONE]"),
        [ServerSentEvent("message", '{"a": 1}'), ServerSentEvent("x", "é")],
    ),
    "json-lines": (b'{"a": 1}\n[2]\n', lambda s: s.iter_json(), [{"a": 1}, [2]]),
    "json-values": (b'{"a": 1}{"b": 2} 3', lambda s: s.iter_json(), [{"a": 1}, {"b": 2}, 3]),
    "json-events": (b"data: 1\n\ndata: 2\n\ndata: [DONE]\n\n", lambda s: s.iter_json(), [1, 2]),
    "bytes": (b"abc", lambda s: s.iter_bytes(), [b"abc"]),
}


def joined(items: list[Any]) -> Any:
    """Text and bytes come in pieces of any size."""
    if items and isinstance(items[0], (str, bytes)) and len(set(map(type, items))) == 1:
        return type(items[0])().join(items)
    return items


@pytest.mark.parametrize("case", CASES)
async def test_units_are_the_same_however_the_payload_is_cut(case: str) -> None:
    payload, read, expected = CASES[case]
    cuts = [[payload], [payload[i : i + 1] for i in range(len(payload))]]
    cuts += [[payload[:i], payload[i:]] for i in range(1, len(payload))]
    for pieces in cuts:
        async with streaming(*map(part, pieces)) as (_, session):
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                items = [item async for item in read(stream)]
        if case in {"text", "bytes"}:
            assert joined(items) == joined(expected)
        else:
            assert items == expected


async def test_tokens_and_read() -> None:
    async with streaming(part(TGI)) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert "".join([token.text async for token in stream.iter_tokens()]) == "Hello you"
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert await stream.read() == TGI


READERS = ["iter_bytes", "iter_text", "iter_lines", "iter_sse", "iter_json", "iter_tokens", "read"]


@pytest.mark.parametrize("first", READERS)
@pytest.mark.parametrize("second", ["read", "iter_lines", "__aiter__"])
async def test_a_stream_is_read_once_in_one_way(first: str, second: str) -> None:
    async with streaming(part(b"1\n")) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            reading = getattr(stream, first)()
            if first == "read":
                await reading
            with pytest.raises(RuntimeError, match=f"read by {first}"):
                again = getattr(stream, second)()
                if second == "read":
                    await again


@pytest.mark.parametrize("reader", READERS)
async def test_what_is_left_of_parts_that_were_taken_is_not_passed_off_for_all(reader: str) -> None:
    async with streaming(part(b"1\n") + part(b"2\n")) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert (await anext(stream)).bytes == b"1\n"
            with pytest.raises(RuntimeError, match="parts were taken already"):
                reading = getattr(stream, reader)()
                if reader == "read":
                    await reading
            assert [p.bytes async for p in stream] == [b"2\n"]


async def test_what_came_before_a_fault_is_handed_out_before_it() -> None:
    fault = exception("ModelStreamError", {"Message": "gone", "ErrorCode": "StreamBroken"})
    async with streaming(part(b"one\n") + part(b"two\n") + fault) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            received = []
            with pytest.raises(aiosmrt.ModelStreamError) as caught:
                async for line in stream.iter_lines():
                    received.append(line)  # noqa: PERF401 - kept when it raises
            assert received == ["one", "two"]
            assert caught.value.endpoint_name == "e"
            assert in_use(session) == 0


@pytest.mark.parametrize(
    "payload, read, leftover",
    [
        ("é".encode()[:1], "iter_text", "é".encode()[:1]),
        (b"data: 1\n\ndata: cut", "iter_sse", b"data: cut"),
        (b'{"a": 1}{"b"', "iter_json", b'{"b"'),
    ],
    ids=["text", "sse", "json"],
)
async def test_what_is_left_over_is_an_error_that_holds_it(
    payload: bytes, read: str, leftover: bytes
) -> None:
    async with streaming(part(payload)) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            items = getattr(stream, read)()
            for _ in range(2):  # asked again, it is no end either
                with pytest.raises(aiosmrt.StreamTruncatedError) as caught:
                    async for _ in items:
                        pass
    error = caught.value
    assert error.leftover == leftover
    assert error.bytes_left == len(leftover)
    assert (error.bytes_received, error.parts_received) == (len(part(payload)), 1)
    assert "cut" not in str(error)
    assert "the-request-id" in str(error)


async def test_an_error_that_the_model_server_sends_tells_whose_it_is() -> None:
    async with streaming(part(b'data: {"error": {"message": "Boom", "code": 400}}\n\n')) as (
        _,
        session,
    ):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(aiosmrt.ModelError, match="Boom") as caught:
                async for _ in stream.iter_tokens():
                    pass
    error = caught.value
    assert (error.endpoint_name, error.request_id) == ("e", "the-request-id")
    assert (error.status_code, error.original_status_code, error.attempts) == (200, 400, 1)


@pytest.mark.parametrize(
    "payload, read",
    [
        (b"no json at all", "iter_json"),
        (b"error: no json\n\n", "iter_tokens"),
        (b'{"token": {"text": "no json"}}\n\n', "iter_sse"),  # as LMI sends it
    ],
    ids=["text", "what may be an event", "JSON Lines"],
)
async def test_a_payload_of_another_format_is_told_and_the_connection_closed(
    payload: bytes, read: str
) -> None:
    async with streaming(part(payload)) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(aiosmrt.InvalidMessageError) as caught:
                async for _ in getattr(stream, read)():
                    pass
            assert "no json" not in str(caught.value)
            assert in_use(session) == 0


async def test_the_stats_tell_when_parts_arrived() -> None:
    second = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + chunk(part(b"one") + part(b"two")))
        await second.wait()
        await connection.send(chunk(part(b"three")) + END)

    async with RawServer(handler) as server:
        async with open_session(server.url) as session:
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                before = stream.stats
                assert (before.parts, before.time_to_first_part, before.mean_gap) == (0, None, None)
                await anext(stream)
                await anext(stream)
                early = stream.stats
                assert early.parts == 2
                assert early.time_to_first_part is not None
                assert early.time_to_first_part >= early.time_to_head > 0
                assert early.longest_gap is None
                second.set()
                assert [p.bytes async for p in stream] == [b"three"]
                late = stream.stats
                assert late.parts == 3
                assert late.mean_gap == late.longest_gap
                assert late.longest_gap is not None
                wire = part(b"one") + part(b"two") + part(b"three")
                assert late.bytes_received == len(wire)


async def test_asking_between_two_parts_that_came_together_makes_no_gap_of_it() -> None:
    async with streaming(part(b"one") + part(b"two")) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            async for _ in stream:
                assert stream.stats.mean_gap is None
            assert stream.stats.longest_gap is None


async def test_many_parts_in_one_arrival_are_one_payload() -> None:
    """What makes lines as cheap as parts: the decoder is fed by arrivals, not by parts."""
    lines = [json.dumps({"n": n}) for n in range(500)]
    data = b"".join(part(line.encode() + b"\n") for line in lines)
    async with streaming(data) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            received = [line async for line in stream.iter_lines()]
            assert received == lines
            assert stream.stats.parts == 500
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            payloads = [payload async for payload in stream.iter_bytes()]
            assert b"".join(payloads).decode().splitlines() == lines
            assert len(payloads) < 10


LARGE = b"1234567\n" * 65_536


@pytest.mark.parametrize(
    "read,expected",
    [
        (lambda s: s.iter_lines(), ["1234567"] * 65_536),
        (lambda s: s.iter_text(), LARGE.decode()),
        (lambda s: s.iter_json(), [1234567] * 65_536),
    ],
    ids=["lines", "text", "json"],
)
async def test_other_tasks_have_their_turn_while_a_large_part_is_decoded(
    read: Any, expected: Any
) -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with streaming(part(LARGE)) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            units = read(stream)
            items = [await anext(units)]  # the part has arrived, and nothing is waited for
            task = asyncio.create_task(others())
            items += [item async for item in units]
            task.cancel()
    assert (items if isinstance(expected, list) else joined(items)) == expected
    assert turns >= 10


async def test_a_read_that_is_cancelled_between_two_turns_closes_the_stream() -> None:
    async def read(units: Any) -> None:
        async for _ in units:
            pass

    async with streaming(part(LARGE)) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            units = stream.iter_lines()
            await anext(units)
            task = asyncio.create_task(read(units))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert "closed" in repr(stream)


# -- the loop's other tasks have their turn within one long unit, too


async def most_between_turns(measured: Callable[[], int], units: Any) -> tuple[int, list[Any]]:
    """Reads all units; returns by how much at most something grew between two turns."""
    most, last = 0, measured()

    def look() -> None:
        nonlocal most, last
        now = measured()
        most = max(most, now - last)
        last = now

    async def others() -> None:
        while True:
            await asyncio.sleep(0)
            look()

    task = asyncio.create_task(others())
    items = [item async for item in units]
    look()
    task.cancel()
    return most, items


async def with_fault(units: Any) -> AsyncIterator[Any]:
    """The units, and the error after them as one more."""
    try:
        async for unit in units:
            yield unit
    except aiosmrt.InvalidMessageError as error:
        yield error


def events(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def choices(number: int) -> bytes:
    return events(b'{"choices":[' + b'{"delta":{"content":"a"}},' * number + b'{"delta":{}}]}')


MANY_CALLS: dict[str, tuple[Callable[[int], bytes], str, Callable[[int, list[Any]], bool]]] = {
    "lines of one event": (
        lambda n: b"data: x\n" * n + b"\n",
        "iter_sse",
        lambda n, items: [len(event.data) for event in items] == [2 * n - 1],
    ),
    "lines of an event that makes none": (
        lambda n: b"data: 0\n\n" + b"id: x\n" * n + b"\n",
        "iter_sse",
        lambda _, items: len(items) == 1,
    ),
    "lines of a JSON value in one event": (
        lambda n: b"data: [0\n" + b"data: ,1\n" * n + b"data: ]\n\n",
        "iter_json",
        lambda n, items: [len(value) for value in items] == [n + 1],
    ),
    "choices": (choices, "iter_tokens", lambda n, items: len(items) == n),
    "choices without text": (
        lambda n: events(b'{"choices":[' + b'{"delta":{}},' * n + b'{"text":"a"}]}'),
        "iter_tokens",
        lambda _, items: [token.text for token in items] == ["a"],
    ),
    "outputs": (
        lambda n: b'{"outputs":[' + b'"a",' * n + b'"b"]}\n',
        "iter_tokens",
        lambda n, items: [token.index for token in items] == list(range(n + 1)),
    ),
}


@pytest.mark.parametrize("case", MANY_CALLS)
async def test_few_calls_are_made_between_two_turns(case: str) -> None:
    make, read, is_right = MANY_CALLS[case]
    for number in (20_000, 80_000):
        async with streaming(part(make(number))) as (_, session):
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                with counted_steps() as calls:
                    most, items = await most_between_turns(calls, getattr(stream, read)())
        assert is_right(number, items)
        assert most < 150_000


LONG_VALUES: dict[str, Callable[[int], bytes]] = {
    "array": lambda n: b"[" + b"{}," * n + b"{}]",
    "line": lambda n: b"[" + b"[]," * n + b"{}]\n",
    "last line": lambda n: b"[" + b"{}," * n + b"{}]",
    "event": lambda n: events(b"[" + b"{}," * n + b"{}]"),
    "object": lambda n: b'{"a":0,"b":[' + b"{}," * n + b"{}]}",
    "array within arrays": lambda n: b"[" * 500 + b"{}," * n + b"{}" + b"]" * 500,
    "rows": lambda n: b"[" + (b"[" + b"{}," * 999 + b"{}],") * (n // 1000) + b"0]",
    "malformed at its end": lambda n: b"[" + b"{}," * n + b"{},]",
    "malformed line": lambda n: b"[" + b"{}," * n + b"{}]]\n",
}


@pytest.mark.parametrize("case", LONG_VALUES)
async def test_little_is_made_of_a_json_value_between_two_turns(case: str) -> None:
    """Each object takes some twenty times the memory of its text."""
    content_type = b"application/jsonlines" if "line" in case else b"application/json"
    head = HEAD.replace(b"text/plain", content_type)
    for number in (100_000, 400_000):
        data = LONG_VALUES[case](number)

        async def handler(connection: Connection, data: bytes = data) -> None:
            await connection.request()
            await connection.send(head + chunk(part(data)) + END)

        async with RawServer(handler) as server, open_session(server.url) as session:
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                with traced():
                    most, units = await most_between_turns(
                        lambda: tracemalloc.get_traced_memory()[0], with_fault(stream.iter_json())
                    )
        text = data.removeprefix(b"data: ")
        if "malformed" in case:
            with pytest.raises(json.JSONDecodeError) as caught:
                json.loads(text)
            (fault,) = units
            assert isinstance(fault, aiosmrt.InvalidMessageError)
            assert f"{caught.value.msg} at its character {caught.value.pos}" in str(fault)
        else:
            assert units == [json.loads(text)]
        assert most < 3 * len(data) + (6 << 20)
