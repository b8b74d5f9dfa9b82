"""Server-sent events, by the WHATWG text and as httpx-sse reads them."""

from __future__ import annotations

import tracemalloc

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import example, given
from hypothesis import strategies as st
from support.framing_corpus import (
    SSE,
    SSE_DONE,
    bytewise,
    check_case,
    cut,
    outcome,
    splits,
)
from support.memory import taken, traced

from aiosmrt.errors import InvalidMessageError, MessageTooLargeError, StreamTruncatedError
from aiosmrt.framing import JSONStreamDecoder, ServerSentEvent, SSEDecoder, TokenDecoder


@pytest.mark.parametrize("name", SSE)
def test_the_corpus_however_it_is_cut(name):
    check_case(SSEDecoder, SSE[name])


@pytest.mark.parametrize("name", SSE_DONE)
def test_the_done_marker_however_it_is_cut(name):
    check_case(lambda: SSEDecoder(done_marker="[DONE]"), SSE_DONE[name])


VALUES = st.text("ab: é€😀\x0b\x0c\x1c\x85\u2028\u2029\0", max_size=8)
SPACES = st.sampled_from(["", " ", "  "])


def field(names, values=VALUES):
    return st.builds("{}:{}{}".format, st.sampled_from(names), SPACES, values)


ANY_FIELD = field(["data", "event", "id", "", "dat", "data "]) | st.sampled_from(
    ["data", "id", "x"]
)
RETRY = st.integers(0, 10**17).map("retry: {}".format)
# httpx-sse hands out what WHATWG's text does not, events of no data, and drops the
# reconnection time with them. So it stands only in events that have some.
BLOCKS = st.lists(ANY_FIELD, max_size=4) | st.builds(
    lambda fields, more: [*fields, "data: x", *more],
    st.lists(ANY_FIELD | RETRY, max_size=3),
    st.lists(ANY_FIELD | RETRY, max_size=3),
)


@given(st.data())
def test_httpx_sse_reads_the_same_events(data):
    payload = ""
    for line in [
        line for block in data.draw(st.lists(BLOCKS, max_size=5)) for line in [*block, ""]
    ]:
        end = data.draw(st.sampled_from(["\n", "\r", "\r\n"]))
        # Behind a CR, an LF would end no line of its own.
        payload += line + ("\r\n" if not line and payload.endswith("\r") else end)
    response = httpx.Response(
        200, headers={"content-type": "text/event-stream"}, content=payload.encode()
    )
    theirs = [
        ServerSentEvent(event.event, event.data, event.id, event.retry)
        for event in EventSource(response).iter_sse()
        if event.data
    ]
    found = outcome(SSEDecoder(), data.draw(cut(payload.encode())))
    assert [event for event in found.items if event.data] == theirs
    # Lines without any event are told here, and there not.
    assert found.error is None or found.items == []


PIECES = ["data:", "data: ", "data", "id: 7", "event: e", "retry: 5", ": c", "x", "[DONE]", " "]
ENDS = ["\n", "\n\n", "\r\n\r\n", "\r\r", "\r"]
WIRES = st.lists(st.sampled_from([*PIECES, *ENDS, "\ufeff", "é", "\udcff"]), max_size=16).map(
    lambda pieces: "".join(pieces).encode(errors="surrogateescape")
)


@given(WIRES, st.sampled_from([None, "[DONE]"]))
@example(b"data: a\n\ndata:b\n\n", None)
@example(b"id: 7\nretry: 5\n\ndata: a\n\ndata: [DONE]\n\ndata: \xff\n\n", "[DONE]")
def test_an_event_of_one_line_is_read_as_any_other(wire, marker):
    """A comment in it, which says nothing, keeps an event from the short way; so do most cuts."""
    commented = b"".join(
        b":\n" + line if line in {b"\n", b"\r", b"\r\n"} else line
        for line in wire.splitlines(keepends=True)
    )
    expected = outcome(SSEDecoder(done_marker=marker), [commented]).facts()
    for chunks in (*splits(wire), bytewise(wire)):
        assert outcome(SSEDecoder(done_marker=marker), chunks).facts() == expected


def test_an_event_is_handed_out_as_soon_as_it_has_ended():
    decoder = SSEDecoder()
    decoder.receive_data(b"data: a\r")
    assert list(decoder) == []
    decoder.receive_data(b"\r")
    assert list(decoder) == [ServerSentEvent(data="a")]
    decoder.receive_data(b"\n\n\ndata: b\n\n")
    assert list(decoder) == [ServerSentEvent(data="b")]


def test_the_repr_hides_the_data_and_the_attributes_come_in_the_apis_order():
    event = ServerSentEvent("e", "secret", "7", 3000)
    assert repr(event) == "ServerSentEvent(event='e', data=<6 characters>, id='7', retry=3000)"
    assert (event.event, event.data, event.id, event.retry) == ("e", "secret", "7", 3000)
    assert ServerSentEvent() == ServerSentEvent("message", "", "", None)
    with pytest.raises(AttributeError):
        event.data = "other"


def test_the_error_names_the_event():
    decoder = SSEDecoder()
    decoder.receive_data(b"data: a\n\nid: 1\n\ndata: b\xff\n\n")
    with pytest.raises(InvalidMessageError, match="Byte 1 of event 2 is not valid UTF-8"):
        list(decoder)
    decoder = SSEDecoder()
    decoder.receive_data(b"data: a\n\ndata: b\n")
    decoder.receive_eof()
    with pytest.raises(StreamTruncatedError, match="in the middle of an event"):
        list(decoder)


# -- the limit


def test_an_event_may_be_as_long_as_the_limit():
    data = b": a long comment\ndata: a\ndata: b\n\n" * 2
    for chunks in ([data], bytewise(data)):
        assert outcome(SSEDecoder(16), chunks) == ([ServerSentEvent(data="a\nb")] * 2, None)


def test_a_byte_order_mark_is_not_of_the_limit():
    data = b"\xef\xbb\xbfdata: 12345678\n\n"
    for chunks in ([data], [data[:-2], b"\n\n"], bytewise(data)):
        assert outcome(SSEDecoder(14), chunks) == ([ServerSentEvent(data="12345678")], None)


@pytest.mark.parametrize(
    "data,part", [(b"data: a\ndata: b\ndata", "event"), (b"data: 1234567890", "line")]
)
@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""])
def test_an_event_past_the_limit_is_refused(data, part, end):
    for chunks in ([b"data:x\n\n" + data + end], bytewise(b"data:x\n\n" + data + end)):
        found = outcome(SSEDecoder(14), chunks)
        assert found.items == [ServerSentEvent(data="x")]
        assert type(found.error) is MessageTooLargeError
        assert (found.error.part, found.error.limit) == (part, 14)


@pytest.mark.parametrize("end", [b"\n\n", b"\n", b""])
def test_the_limit_is_told_before_lines_that_are_no_events(end):
    data = b"foo: 1\n\ndata: a\ndata: b\ndata" + end
    for chunks in ([data], bytewise(data)):
        assert type(outcome(SSEDecoder(14), chunks).error) is MessageTooLargeError


def test_comments_do_not_fill_memory():
    decoder = SSEDecoder(100)
    decoder.receive_data(b"data: a\n")
    for _ in range(1000):
        decoder.receive_data(b": still there\n")
        assert list(decoder) == []
    decoder.receive_data(b"\n")
    assert list(decoder) == [ServerSentEvent(data="a")]


def test_an_event_in_many_parts_is_not_copied_for_each():
    def work(length: int) -> int:
        return taken(SSEDecoder(), [b"data: ", *[b"x" * 1024] * (length // 1024), b"\n\n"])

    assert work(1 << 20) < 3 * work(1 << 19)


@pytest.mark.parametrize("lines", [1023, 1024, 1025, 5000])
@pytest.mark.parametrize("end", [b"\n", b"data: last\n\n", b": hm\nid: 7\n\n", b""])
def test_an_event_of_many_lines_is_whole(lines, end):
    wire = b"".join(b"data: %d\nid\nevent: %d\n" % (number, number) for number in range(lines))
    data = "\n".join(map(str, range(lines)))
    for size in (1, 1000, len(wire) + len(end)):
        whole = wire + end
        chunks = [whole[start : start + size] for start in range(0, len(whole), size)]
        found = outcome(SSEDecoder(), chunks)
        if not end:
            assert not found.items
            assert found.error.leftover == wire
            continue
        more, last_id = ("\nlast" if b"last" in end else ""), ("7" if b"7" in end else "")
        assert found == ([ServerSentEvent(str(lines - 1), data + more, last_id)], None)


@pytest.mark.parametrize("line", [b"a\n", b"data\n", b"data: 1\n"])
def test_short_lines_take_little_more_memory_than_they_have(line):
    decoder = SSEDecoder(1 << 20)
    with traced():
        for _ in range(100):
            decoder.receive_data(line * 1000)
            assert list(decoder) == []
        kept = tracemalloc.get_traced_memory()[0]
        decoder.receive_data(b"\n")
        list(decoder)
        peak = tracemalloc.get_traced_memory()[1]
    assert kept < 200_000 + 2 * 100_000 * len(line)
    assert peak < 400_000 + 5 * 100_000 * len(line)


@pytest.mark.parametrize("field", [b"data", b"event", b"id"])
@pytest.mark.parametrize("lines", [0, 1_000, 1_023, 1_024, 5_000])
@pytest.mark.parametrize("end", [b"\n\n", b"", b"\n"])
def test_of_many_lines_the_one_that_is_not_utf8_is_told(field, lines, end):
    wire = b"data: 12\n" * lines + field + b": a\xff\n" + b"data: x\n" * 1_025 + b"x: y" + end
    place = 3 * lines + 1 if field == b"data" else 1
    for size in (len(wire), 1_000):
        chunks = [wire[at : at + size] for at in range(0, len(wire), size)]
        found = outcome(SSEDecoder(), chunks)
        assert not found.items
        assert type(found.error) is InvalidMessageError
        assert f"Byte {place} of event 1 " in str(found.error)


# -- after the end


def drained(decoder) -> list[object]:
    """What three rounds of asking give: units, errors, ends."""
    found: list[object] = []
    for _ in range(3):
        try:
            found += decoder
            found.append("end")
        except Exception as error:  # noqa: BLE001 - whatever it is
            found.append(type(error))
    return found


@pytest.mark.parametrize(
    "decoder",
    [SSEDecoder(40), JSONStreamDecoder(None, 40), TokenDecoder(None, 40)],
    ids=lambda decoder: type(decoder).__name__,
)
def test_nothing_after_an_event_that_is_too_long_is_handed_out(decoder):
    line = b'data: {"token": {"text": "x"}}\n'
    decoder.receive_data(line * 3 + b"\n" + b"data: 1\n\n" * 2)
    assert drained(decoder) == [MessageTooLargeError] * 3


def test_a_done_marker_that_ends_the_payload_is_its_end_each_time():
    decoder = SSEDecoder(done_marker="[DONE]")
    decoder.receive_data(b"foo: 1\ndata: [DONE]")
    decoder.receive_eof()
    assert drained(decoder) == ["end"] * 3
