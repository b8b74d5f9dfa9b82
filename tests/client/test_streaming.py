"""The streamed answer: parts, errors inside it, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import runpy
import sys
import traceback
import tracemalloc
import warnings
import zlib
from typing import TYPE_CHECKING, Any

import pytest
import zlib_ng.zlib_ng
from hypothesis import given
from hypothesis import strategies as st
from support.clock import LoopClock
from support.memory import traced
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import open_session
from support.streams import END, HEAD, chunk, exception, fed, part, streaming
from support.transports import in_use
from support.waiting import turns, until

import aiosmrt
from aiosmrt import Timeouts
from aiosmrt._client import part_reader
from aiosmrt.eventstream import encode_message

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def collect(stream: aiosmrt.ResponseStream) -> list[bytes]:
    return [p.bytes async for p in stream]


async def test_parts_arrive_whole_and_the_connection_is_kept() -> None:
    async with streaming(part(b"one"), part(b"two") + part(b"three")) as (server, session):
        for _ in range(2):
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                assert await collect(stream) == [b"one", b"two", b"three"]
                assert stream.content_type == "text/plain"
                assert stream.invoked_production_variant == "blue"
                assert stream.metadata.request_id == "the-request-id"
                assert await collect(stream) == []
        assert server.connections == 1


async def test_it_can_be_awaited_too() -> None:
    async with streaming(part(b"one")) as (_, session):
        stream = await session.invoke_endpoint_with_response_stream("e", b"x")
        assert await anext(stream) == aiosmrt.PayloadPart(b"one")
        await stream.aclose()
        await stream.aclose()


async def test_a_wrong_parameter_is_told_when_the_call_is_awaited() -> None:
    async with streaming(part(b"one")) as (server, session):
        for wrong in ({"accept": "\n"}, {"json": {}}, {"body": None}):
            call = session.invoke_endpoint_with_response_stream("e", **{"body": b"x", **wrong})
            with pytest.raises(aiosmrt.ParameterValidationError, match=next(iter(wrong))):
                await call
        assert not server.requests


async def test_messages_split_at_every_byte_are_the_same_parts() -> None:
    wire = part(b"one") + part(b"") + part(b"three")
    for split in range(1, len(wire)):
        async with streaming(wire[:split], wire[split:]) as (_, session):
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                assert await collect(stream) == [b"one", b"", b"three"]


async def test_an_unknown_event_is_passed_over() -> None:
    other = encode_message({":message-type": "event", ":event-type": "Heartbeat"}, b"?")
    async with streaming(other, part(b"one"), other) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert await collect(stream) == [b"one"]


async def test_a_model_stream_error_comes_after_the_parts_before_it() -> None:
    fault = exception("ModelStreamError", {"Message": "gone", "ErrorCode": "StreamBroken"})
    async with streaming(part(b"one") + fault) as (_, session):
        async with session.invoke_endpoint_with_response_stream("llm", b"x") as stream:
            assert (await anext(stream)).bytes == b"one"
            with pytest.raises(aiosmrt.ModelStreamError) as caught:
                await anext(stream)
            error = caught.value
            assert (error.error_code, error.message) == ("StreamBroken", "gone")
            assert (error.status_code, error.request_id) == (200, "the-request-id")
            assert (error.attempts, error.endpoint_name) == (1, "llm")
            with pytest.raises(aiosmrt.ModelStreamError):
                await anext(stream)


@pytest.mark.parametrize(
    "message, cls, code",
    [
        (exception("InternalStreamFailure", {}), aiosmrt.InternalStreamFailure, None),
        (exception("Surprise", {"message": "?"}), aiosmrt.UnknownServiceError, "Surprise"),
        (
            encode_message(
                {":message-type": "error", ":error-code": "Oops", ":error-message": "no"}, b""
            ),
            aiosmrt.UnknownServiceError,
            "Oops",
        ),
        (encode_message({":message-type": "what"}, b""), aiosmrt.InvalidMessageError, None),
        (b"\0" * 16, aiosmrt.EventStreamError, None),
        (b"<html>this is no event stream</html>", aiosmrt.EventStreamError, None),
    ],
    ids=["failure", "unmodelled", "error", "unknown-type", "zeros", "html"],
)
async def test_every_fault_in_a_stream_is_typed(
    message: bytes, cls: type[aiosmrt.AiosmrtError], code: str | None
) -> None:
    async with streaming(part(b"one"), message, part(b"behind it")) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert (await anext(stream)).bytes == b"one"
            for _ in range(2):
                with pytest.raises(cls) as caught:
                    await anext(stream)
                assert "the-request-id" in str(caught.value)
                if code is not None:
                    assert caught.value.code == code
            assert in_use(session) == 0


@pytest.mark.parametrize(
    "told, before, seen",
    [
        ("text/html; charset=utf-8", b"", "text/html"),
        ("x" * 8_000, b"", "x" * 80),
        ("a\x9bb\xa0c", b"", r"a\x9bb\xa0c"),
        ("application/vnd.Amazon.eventstream; a=b", b"", None),
        (";", b"", None),
        ("text/html", part(b"one"), None),
    ],
    ids=["page", "long", "odd", "stream", "empty", "behind a part"],
)
async def test_what_is_no_event_stream_is_told_by_its_content_type(
    told: str, before: bytes, seen: str | None
) -> None:
    page = answer(before + b"<html>somebody's secret", headers={"Content-Type": told})
    async with (
        serve(page) as server,
        open_session(server.url) as session,
    ):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(aiosmrt.EventStreamError) as caught:
                await collect(stream)
    text = str(caught.value)
    assert "secret" not in text
    assert ("content type" in text) is (seen is not None)
    assert seen is None or f"content type '{seen}')" in text


@pytest.mark.parametrize("told", ["text/html", "application/vnd.amazon.eventstream"])
async def test_an_empty_page_does_not_pass_for_an_empty_answer(told: str) -> None:
    page = answer(b"", headers={"Content-Type": told})
    async with (
        serve(page) as server,
        open_session(server.url) as session,
    ):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            if told != "text/html":
                assert await collect(stream) == []
                return
            for _ in range(2):
                with pytest.raises(aiosmrt.InvalidMessageError, match="type 'text/html'"):
                    await anext(stream)


async def test_parts_under_another_content_type_are_read_all_the_same() -> None:
    page = answer(part(b"one"), headers={"Content-Type": "text/html"})
    async with serve(page) as server, open_session(server.url) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert await collect(stream) == [b"one"]


async def test_the_first_of_two_faults_is_raised() -> None:
    faults = b"".join(exception("ModelStreamError", {"Message": text}) for text in ("one", "two"))
    async with streaming(part(b"one") + faults) as (_, session):
        for _ in range(2):  # by now the decoder knows how they begin, and takes them together
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                assert (await anext(stream)).bytes == b"one"
                with pytest.raises(aiosmrt.ModelStreamError) as caught:
                    await anext(stream)
                assert caught.value.message == "one"


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_stream_cut_at_any_byte_never_ends_quietly(how: str) -> None:
    body = chunk(part(b"one")) + chunk(part(b"two"))
    ends = [body.index(wire) + len(wire) for wire in (part(b"one"), part(b"two"))]
    cut = 0

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + body[:cut])
        if how == "reset":
            await read_first.wait()
            connection.reset()

    server = RawServer(handler)
    async with server, open_session(server.url) as session:
        for cut in range(len(body) + 1):
            read_first = asyncio.Event()
            received = []
            with pytest.raises((aiosmrt.StreamTruncatedError, aiosmrt.ConnectionLostError)) as why:
                async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                    read_first.set()
                    async for one in stream:
                        received.append(one.bytes)  # noqa: PERF401 - kept when it raises
            whole = sum(end <= cut for end in ends)
            # A reset takes with it what the other end has not read.
            assert len(received) == whole or (how == "reset" and len(received) < whole)
            assert received == [b"one", b"two"][: len(received)]
            if isinstance(why.value, aiosmrt.StreamTruncatedError):
                assert why.value.parts_received == len(received)


async def test_a_chunk_that_is_none_is_an_error_behind_the_parts_before_it() -> None:
    fault = b"ZZZ\r\nabc"
    for writes in (
        [HEAD + chunk(part(b"one")) + fault],
        [HEAD, chunk(part(b"one")) + fault],
        [HEAD + chunk(part(b"one")), fault],
    ):

        async def handler(connection: Connection, writes: list[bytes] = writes) -> None:
            await connection.request()
            for data in writes:
                await connection.send(data)
                await asyncio.sleep(0.01)
            await connection.gone()

        async with RawServer(handler) as server:
            async with open_session(server.url) as session:
                async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                    assert (await anext(stream)).bytes == b"one"
                    for _ in range(2):
                        with pytest.raises(aiosmrt.TransportError, match="not HTTP"):
                            await anext(stream)


async def test_a_stream_without_a_length_that_ends_inside_a_message_is_truncated() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n\r\n" + part(b"one") + part(b"two")[:-1])

    async with RawServer(handler) as server:
        async with open_session(server.url) as session:
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                assert (await anext(stream)).bytes == b"one"
                with pytest.raises(aiosmrt.StreamTruncatedError) as caught:
                    await anext(stream)
                assert caught.value.parts_received == 1
                assert caught.value.bytes_left == len(part(b"two")) - 1


READ_BY: dict[str, Callable[[aiosmrt.ResponseStream], Awaitable[Any]]] = {
    "part by part": collect,
    "as a whole": aiosmrt.ResponseStream.read,
    "as lines": lambda stream: anext(stream.iter_lines()),
}


@pytest.mark.parametrize("left", [0, 5, 30, len(part(b"three")) - 1])
@pytest.mark.parametrize("how", READ_BY)
async def test_a_stream_that_is_cut_off_says_what_came_of_it(how: str, left: int) -> None:
    wire = part(b"one") + part(b"two") + part(b"three")[:left]
    async with streaming(wire, end=b"") as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(aiosmrt.StreamTruncatedError) as caught:
                await READ_BY[how](stream)
            error = caught.value
            assert (error.bytes_received, error.parts_received) == (len(wire), 2)
            assert error.bytes_left == left
            assert (stream.stats.parts, stream.stats.bytes_received) == (2, len(wire))


async def test_parts_that_nobody_took_before_the_stream_was_closed_are_not_counted() -> None:
    async with streaming(part(b"one") + part(b"two") + part(b"three")) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert (await anext(stream)).bytes == b"one"
            assert stream.stats.parts == 1
            for _ in range(2):
                await stream.aclose()
                assert stream.stats.parts == 1
                assert repr(stream) == "<ResponseStream of e, closed, 1 parts read>"
                with pytest.raises(aiosmrt.TransportError, match="closed before its end"):
                    await anext(stream)


async def test_a_stall_is_a_read_timeout() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + chunk(part(b"one")))
        await connection.gone()

    async with RawServer(handler) as server:
        async with open_session(server.url, timeouts=Timeouts(idle=0.05)) as session:
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                assert (await anext(stream)).bytes == b"one"
                with pytest.raises(aiosmrt.ReadTimeoutError) as caught:
                    await anext(stream)
                frames = []
                for _ in range(3):
                    with pytest.raises(aiosmrt.ReadTimeoutError) as again:
                        await anext(stream)
                    assert again.value is caught.value
                    frames.append(len(list(traceback.walk_tb(again.value.__traceback__))))
                assert len(set(frames)) == 1, "each raise adds to the traceback of the last"


async def test_idle_limits_only_the_time_in_which_somebody_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = LoopClock(monkeypatch)
    async with fed(timeouts=Timeouts(idle=10)) as (send, session):
        send(HEAD)
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            for number in range(3):
                reading = asyncio.ensure_future(anext(stream))
                await turns()
                clock.advance(9)
                send(chunk(part(b"%d" % number)))
                assert (await reading).bytes == b"%d" % number
                clock.advance(20)
            send(chunk(part(b"came while nobody waited")))
            await turns()
            clock.advance(20)
            assert (await anext(stream)).bytes == b"came while nobody waited"
            reading = asyncio.ensure_future(anext(stream))
            await turns()
            clock.advance(10)
            with pytest.raises(aiosmrt.ReadTimeoutError, match=r"Timeouts\.idle=10 s"):
                await reading


@pytest.mark.parametrize("limit", ["read", "total"])
async def test_what_limits_the_head_does_not_limit_the_parts(
    monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    clock = LoopClock(monkeypatch)
    async with fed(timeouts=Timeouts(**{limit: 50, "idle": 100})) as (send, session):
        opening = asyncio.ensure_future(session.invoke_endpoint_with_response_stream("e", b"x"))
        await turns()
        send(HEAD)
        async with await opening as stream:
            clock.advance(60)
            reading = asyncio.ensure_future(anext(stream))
            await turns()
            clock.advance(60)
            await turns()
            assert not reading.done()
            send(chunk(part(b"one")))
            assert (await reading).bytes == b"one"


@pytest.mark.parametrize("how", ["break", "raise", "cancel", "aclose"])
async def test_leaving_early_closes_the_connection(how: str) -> None:
    gone = asyncio.Event()

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + chunk(part(b"one")))
        await connection.gone()
        gone.set()

    async def read(session: aiosmrt.Session, got: asyncio.Event) -> None:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            async for _ in stream:
                got.set()
                if how == "break":
                    break
                if how == "raise":
                    raise LookupError
                if how == "aclose":
                    await stream.aclose()

    async with RawServer(handler) as server:
        async with open_session(server.url) as session:
            got = asyncio.Event()
            task = asyncio.ensure_future(read(session, got))
            await got.wait()
            expected: Any = contextlib.nullcontext()
            if how == "cancel":
                task.cancel()
                expected = pytest.raises(asyncio.CancelledError)
            elif how == "raise":
                expected = pytest.raises(LookupError)
            elif how == "aclose":
                expected = pytest.raises(aiosmrt.TransportError, match="closed before its end")
            with expected:
                await task
            await asyncio.wait_for(gone.wait(), 10)
            assert in_use(session) == 0


async def test_a_dropped_stream_warns_and_is_closed() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + chunk(part(b"one")))
        await connection.gone()

    async with RawServer(handler) as server:
        async with open_session(server.url) as session:
            stream = await session.invoke_endpoint_with_response_stream("e", b"x")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del stream
                gc.collect()
            assert [w.category for w in caught] == [ResourceWarning]
            assert "unclosed <ResponseStream of e" in str(caught[0].message)
            assert caught[0].filename == __file__
            await until(lambda: not in_use(session))


async def test_a_dropped_stream_is_closed_even_where_the_warning_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD + chunk(part(b"one")))
        await connection.gone()

    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda told: raised.append(told.exc_type))
    async with RawServer(handler) as server:
        async with open_session(server.url) as session:
            stream = await session.invoke_endpoint_with_response_stream("e", b"x")
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                del stream
                gc.collect()
            assert raised == [ResourceWarning]
            await until(lambda: not in_use(session))


async def test_closing_from_elsewhere_wakes_the_reader() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(HEAD)
        await connection.gone()

    async with RawServer(handler) as server:
        async with open_session(server.url, timeouts=Timeouts(idle=None)) as session:
            for close, told in (
                ("stream", "The stream was closed before its end"),
                ("session", "The session was closed"),
            ):
                stream = await session.invoke_endpoint_with_response_stream("e", b"x")
                reading = asyncio.ensure_future(anext(stream))
                await asyncio.sleep(0)
                await (stream if close == "stream" else session).aclose()
                with pytest.raises(aiosmrt.TransportError, match=told):
                    await asyncio.wait_for(reading, 10)
                with pytest.raises(aiosmrt.TransportError, match=told):
                    await anext(stream)


async def test_a_call_can_be_a_task() -> None:
    async with streaming(part(b"one")) as (_, session):
        task = asyncio.create_task(session.invoke_endpoint_with_response_stream("e", b"x"))
        async with await task as stream:
            assert await collect(stream) == [b"one"]
        call = session.invoke_endpoint_with_response_stream("e", b"x")
        call.close()


@pytest.mark.parametrize("begun", [False, True], ids=["before it begins", "under way"])
async def test_a_call_that_is_a_task_can_be_cancelled(begun: bool) -> None:
    async with RawServer(Connection.gone) as server, open_session(server.url) as session:
        task = asyncio.create_task(session.invoke_endpoint_with_response_stream("e", b"x"))
        if begun:
            await until(lambda: server.open)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert in_use(session) == 0
        await until(lambda: not server.open)
        assert server.connections == begun


@pytest.mark.parametrize("limit", [None, 6, 5])
async def test_reading_it_all_is_bounded_by_the_session(limit: int | None) -> None:
    async with streaming(part(b"one"), part(b"two"), max_body_length=limit) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            if limit != 5:
                assert await stream.read() == b"onetwo"
                return
            with pytest.raises(aiosmrt.MessageTooLargeError) as caught:
                await stream.read()
            assert (caught.value.length, caught.value.limit) == (6, 5)
            assert caught.value.request_id == "the-request-id"
            assert in_use(session) == 0


async def test_a_second_task_that_reads_is_refused_and_the_first_goes_on() -> None:
    async with fed() as (send, session):
        send(HEAD)
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            for number in range(2):
                first = asyncio.ensure_future(anext(stream))
                await asyncio.sleep(0)
                for _ in range(2):
                    with pytest.raises(RuntimeError, match="already being read by another task"):
                        await anext(stream)
                assert not first.done()
                assert "open" in repr(stream)
                send(chunk(part(b"%d" % number)))
                assert (await first).bytes == b"%d" % number
            send(END)
            assert await collect(stream) == []
        assert in_use(session) == 0


async def test_a_stream_nobody_reads_holds_bounded_memory() -> None:
    sent = 0
    server_side: list[asyncio.WriteTransport] = []

    async def handler(connection: Connection) -> None:
        nonlocal sent
        server_side.append(connection.writer.transport)
        await connection.request()
        await connection.send(HEAD)
        data = chunk(part(bytes(65_536)))
        with contextlib.suppress(ConnectionError):
            for _ in range(4000):
                await connection.send(data)
                sent += len(data)

    async with RawServer(handler) as server:
        async with open_session(server.url) as session:
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                with traced():
                    await anext(stream)
                    before = -1
                    while before != sent:  # until the kernel's buffers are full on both sides
                        before = sent
                        await asyncio.sleep(0.05)
                    held, _ = tracemalloc.get_traced_memory()
                    held -= server_side[0].get_write_buffer_size()
                assert held < 1 << 20
                assert sent < 4000 * 65_536


async def test_the_last_part_can_be_required_to_be_terminal() -> None:
    def is_done(last: aiosmrt.PayloadPart) -> bool:
        assert last.bytes in (b"one", b"[DONE]")  # one of the parts, as it came
        return last.bytes == b"[DONE]"

    async with streaming(part(b"one"), part(b"[DONE]")) as (_, session):
        async with session.invoke_endpoint_with_response_stream(
            "e", b"x", require_terminal=is_done
        ) as stream:
            assert await collect(stream) == [b"one", b"[DONE]"]
    for parts in ([], [part(b"one")], [part(b"[DONE]"), part(b"one")]):
        async with streaming(*parts) as (_, session):
            async with session.invoke_endpoint_with_response_stream(
                "e", b"x", require_terminal=is_done
            ) as stream:
                with pytest.raises(aiosmrt.StreamTruncatedError) as caught:
                    await collect(stream)
                assert caught.value.parts_received == len(parts)


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 7, 70_000]))
def test_the_speedups_checksums_are_zlibs(data: bytes, value: int, times: int) -> None:
    assert part_reader.crc32 is zlib_ng.zlib_ng.crc32
    data *= times
    assert part_reader.crc32(data, value) == zlib.crc32(data, value)


def test_checksums_are_zlibs_where_the_speedups_are_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    assert runpy.run_path(part_reader.__file__)["crc32"] is zlib.crc32


async def test_a_stream_that_is_copied_in_vain_is_not_taken_for_one_left_open() -> None:
    async with streaming(part(b"one")) as (_, session):
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(TypeError, match="is not pickled"):
                copy.deepcopy(stream)
            gc.collect()
            assert await collect(stream) == [b"one"]


async def test_a_streams_repr_shows_its_state_and_nothing_sensitive() -> None:
    told = {"X-Amzn-SageMaker-Custom-Attributes": "SECRET-attributes"}
    page = answer(part(b"SECRET-one") + part(b"SECRET-two"), headers=told)
    async with serve(page) as server, open_session(server.url) as session:
        async with session.invoke_endpoint_with_response_stream("llm", b"x") as stream:
            assert stream.custom_attributes == "SECRET-attributes"
            part_of_it = await anext(stream)
            assert repr(stream) == "<ResponseStream of llm, open, 1 parts read>"
            assert repr(part_of_it) == "PayloadPart()"
        assert repr(stream) == "<ResponseStream of llm, closed, 1 parts read>"


async def test_a_read_that_another_task_ends_by_closing_says_so_with_its_facts() -> None:
    async with streaming(part(b"one"), end=b"") as (_, session):
        stream = await session.invoke_endpoint_with_response_stream("llm", b"x")
        await anext(stream)
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await stream.aclose()
        for read in (reading, anext(stream)):
            with pytest.raises(aiosmrt.TransportError, match="closed before its end") as caught:
                await read
            assert (caught.value.endpoint_name, caught.value.attempts) == ("llm", 1)
            assert caught.value.request_id == "the-request-id"


@pytest.mark.parametrize("closed", [False, True], ids=["cancelled", "closed and cancelled"])
async def test_a_read_that_is_cancelled_raises_that_and_closes_the_stream(closed: bool) -> None:
    async with fed() as (send, session):
        send(HEAD)
        async with session.invoke_endpoint_with_response_stream("llm", b"x") as stream:
            reading = asyncio.ensure_future(anext(stream))
            await turns()
            if closed:
                await stream.aclose()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            assert in_use(session) == 0
            for _ in range(2):
                with pytest.raises(aiosmrt.TransportError, match="closed before its end"):
                    await anext(stream)


@pytest.mark.parametrize("how", ["read", "closed", "failed"])
async def test_a_stream_that_is_over_keeps_no_transport_alive(how: str) -> None:
    """Else a session that nobody closes would not be noticed for as long as the stream is kept."""
    data = part(b"one") + b"\0" * 16 * (how == "failed")
    async with streaming(data) as (server, _):
        sessions = [open_session(server.url)]
        stream = await sessions[0].invoke_endpoint_with_response_stream("llm", b"x")
        await sessions[0].invoke_endpoint("e", b"x")  # whose connection stays idle
        assert (await anext(stream)).bytes == b"one"
        if how == "read":
            assert await collect(stream) == []
        elif how == "failed":
            with pytest.raises(aiosmrt.EventStreamError):
                await anext(stream)
        await stream.aclose()

        def drop() -> None:
            sessions.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match="a Session was not closed"):
            drop()
        assert stream.stats.parts == 1
        await until(lambda: not server.open)
