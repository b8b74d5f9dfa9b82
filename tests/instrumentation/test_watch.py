"""What the hooks are told of calls over real sockets, however these end."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import gc
import json
import logging
import time
import warnings

import pytest
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import KEYS, open_session
from support.streams import part
from support.transports import at_rest, in_use
from support.waiting import until

import aiosmrt
from aiosmrt import ConfigurationError, RetryPolicy, Timeouts
from aiosmrt.eventstream import encode_message
from aiosmrt.instrumentation import CallHooks
from aiosmrt.local import LocalEndpoint, ModelResponse

REQUEST_ID = {"x-amzn-RequestId": "the-id"}
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: the-id\r\n\r\n"


class Recorder(CallHooks):
    """Keeps what it is told, as (method, argument)."""

    made: list[Recorder]

    def __init__(self, call):
        super().__init__(call)
        self.told = []
        self.made.append(self)

    def attempt_started(self, number):
        self.told.append(("attempt_started", number))

    def attempt_ended(self, attempt):
        self.told.append(("attempt_ended", attempt))

    def first_part(self, seconds):
        self.told.append(("first_part", seconds))

    def ended(self, end):
        self.told.append(("ended", end))

    def all(self, method):
        return [argument for name, argument in self.told if name == method]

    @property
    def attempts(self):
        return self.all("attempt_ended")

    @property
    def end(self):
        (end,) = self.all("ended")
        assert self.told[-1] == ("ended", end)
        return end


@pytest.fixture
def hooks():
    return type("Hooks", (Recorder,), {"made": []})


@contextlib.asynccontextmanager
async def streaming(hooks, *data, hold=False, max_connections=100, **options):
    """A session whose streams are these bytes, at the end of which the server waits or closes."""

    async def handler(connection: Connection):
        await connection.request()
        await connection.send(STREAM_HEAD + b"".join(data))
        if hold:
            await connection.gone()

    options["max_connections"] = max_connections
    async with (
        RawServer(handler) as server,
        open_session(server.url, instrumentation=hooks, **options) as session,
    ):
        yield session
        await at_rest(session, server)


async def test_a_call_is_told_from_its_beginning_to_its_end(hooks):
    async with serve(answer(b"four", headers=REQUEST_ID)) as server:
        url = server.url
        async with open_session(url, instrumentation=hooks) as session:
            await session.invoke_endpoint("my-endpoint", b"123456")
    (made,) = hooks.made
    call = made.call
    assert (call.operation, call.endpoint_name) == ("InvokeEndpoint", "my-endpoint")
    assert (call.region, call.server_address) == ("us-east-1", "127.0.0.1")
    assert url == f"http://127.0.0.1:{call.server_port}"
    assert call.request_bytes == 6
    assert [name for name, _ in made.told] == ["attempt_started", "attempt_ended", "ended"]
    (attempt,) = made.attempts
    assert (attempt.number, attempt.status_code, attempt.request_id) == (1, 200, "the-id")
    assert (attempt.error, attempt.retry_delay, attempt.pool_wait) == (None, None, 0.0)
    end = made.end
    assert (end.attempts, end.status_code, end.request_id) == (1, 200, "the-id")
    assert (end.error, end.is_complete, end.response_bytes) == (None, True, 4)
    assert (end.parts, end.time_to_first_part, end.generation) == (0, None, None)
    assert 0 < attempt.duration <= end.duration


async def test_an_async_inference_is_a_call_too(hooks):
    async with serve(answer(b"{}", status="202 Accepted", headers=REQUEST_ID)) as server:
        async with open_session(server.url, instrumentation=hooks) as session:
            await session.invoke_endpoint_async("e", "s3://bucket/key")
    (made,) = hooks.made
    assert (made.call.operation, made.call.request_bytes) == ("InvokeEndpointAsync", 0)
    assert (made.end.status_code, made.end.is_complete) == (202, True)


async def test_the_port_of_a_url_without_one_is_its_schemes(hooks):
    for url, port in (("http://127.0.0.1", 80), ("https://127.0.0.1/path", 443)):
        async with open_session(
            url, instrumentation=hooks, timeouts=Timeouts(total=0.001)
        ) as session:
            with contextlib.suppress(aiosmrt.TransportError):
                await session.invoke_endpoint("e", b"")
        assert hooks.made[-1].call.server_port == port


async def test_each_attempt_is_told_with_the_reason_of_the_next(hooks):
    failure = answer(b"{}", "500 Oh", {"x-amzn-errortype": "InternalFailure"})
    throttle = answer(b"{}", "400 No", {"x-amzn-errortype": "ThrottlingException", **REQUEST_ID})
    async with serve(failure, throttle, answer()) as server:
        async with open_session(server.url, instrumentation=hooks) as session:
            await session.invoke_endpoint("e", b"x")
    (made,) = hooks.made
    first, second, third = made.attempts
    assert [a.number for a in (first, second, third)] == [1, 2, 3]
    assert isinstance(first.error, aiosmrt.InternalFailure)
    assert isinstance(second.error, aiosmrt.ThrottlingException)
    assert (first.status_code, second.status_code, third.status_code) == (500, 400, 200)
    assert (first.request_id, second.request_id) == (None, "the-id")
    assert 0 <= first.retry_delay <= 0.05
    assert 0 <= second.retry_delay <= 2
    assert (third.error, third.retry_delay) == (None, None)
    assert made.all("attempt_started") == [1, 2, 3]
    assert (made.end.error, made.end.attempts) == (None, 3)


async def test_a_final_error_ends_attempt_and_call(hooks):
    async with serve(answer(b"{}", "400 No", {"x-amzn-errortype": "ValidationError"})) as server:
        async with open_session(server.url, instrumentation=hooks) as session:
            with pytest.raises(aiosmrt.ValidationError) as caught:
                await session.invoke_endpoint("e", b"x")
    (made,) = hooks.made
    (attempt,) = made.attempts
    assert attempt.error is made.end.error is caught.value
    assert attempt.retry_delay is None
    assert not made.end.is_complete


async def test_a_repaired_clock_is_an_attempt_without_a_delay(hooks):
    skewed = {"x-amzn-errortype": "RequestTimeTooSkewed", "Date": "Thu, 01 Jan 2026 00:00:00 GMT"}
    async with serve(answer(b"{}", "403 No", skewed), answer()) as server:
        async with open_session(server.url, instrumentation=hooks) as session:
            await session.invoke_endpoint("e", b"x")
    assert [attempt.retry_delay for attempt in hooks.made[0].attempts] == [0.0, None]


async def test_the_renewal_of_credentials_is_not_in_the_attempt(hooks):
    asked = []
    renewing = asyncio.Event()

    class Provider:
        async def get_credentials(self):
            asked.append(time.perf_counter())
            if len(asked) > 1:
                renewing.set()
                await asyncio.Event().wait()
            return KEYS

    expired = answer(b"{}", "403 No", {"x-amzn-errortype": "ExpiredTokenException"})
    async with serve(expired) as server:
        async with open_session(
            server.url, credentials=Provider(), instrumentation=hooks
        ) as session:
            began = time.perf_counter()
            task = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
            await renewing.wait()
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    (made,) = hooks.made
    (attempt,) = made.attempts
    assert isinstance(attempt.error, aiosmrt.ExpiredTokenException)
    assert isinstance(made.end.error, asyncio.CancelledError)
    assert attempt.duration <= asked[1] - began


async def test_a_call_without_a_response(hooks):
    async with open_session(
        "http://127.0.0.1:1", instrumentation=hooks, retries=RetryPolicy(max_attempts=1)
    ) as session:
        with pytest.raises(aiosmrt.ConnectError):
            await session.invoke_endpoint("e", b"x")
    end = hooks.made[0].end
    assert (end.status_code, end.request_id, end.response_bytes) == (None, None, 0)
    assert isinstance(end.error, aiosmrt.ConnectError)


async def test_what_is_refused_before_it_is_sent_is_no_call(hooks):
    async with open_session("http://127.0.0.1:1", instrumentation=hooks) as session:
        with pytest.raises(aiosmrt.ParameterValidationError):
            await session.invoke_endpoint("no/name", b"")
    assert not hooks.made


async def test_a_cancelled_call_ends_with_its_cancellation(hooks):
    async with (
        RawServer(Connection.gone) as server,
        open_session(server.url, instrumentation=hooks) as session,
    ):
        task = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
        await until(lambda: server.connections)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (made,) = hooks.made
    assert isinstance(made.end.error, asyncio.CancelledError)
    assert [type(attempt.error) for attempt in made.attempts] == [asyncio.CancelledError]


async def test_the_wait_for_a_connection_is_told(hooks):
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def handler(connection: Connection):
        while True:
            await connection.request()
            arrived.set()
            await go_on.wait()
            await connection.send(answer())

    async with RawServer(handler) as server:
        async with open_session(server.url, instrumentation=hooks, max_connections=1) as session:
            first = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
            await arrived.wait()
            second = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
            with pytest.raises(aiosmrt.PoolTimeoutError):
                await session.invoke_endpoint("e", b"x", timeouts=Timeouts(total=0.05))
            go_on.set()
            await asyncio.gather(first, second)
    waits = [made.attempts[0].pool_wait for made in hooks.made]
    assert waits[0] == 0.0
    assert min(waits[1:]) > 0
    assert all(made.attempts[0].duration >= made.attempts[0].pool_wait for made in hooks.made)


async def test_a_streamed_call_ends_with_its_stream(hooks):
    body = part(b"one") + part(b"two")
    async with streaming(hooks, body) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            (made,) = hooks.made
            assert [name for name, _ in made.told] == ["attempt_started", "attempt_ended"]
            assert (await anext(stream)).bytes == b"one"
            assert [name for name, _ in made.told[2:]] == ["first_part"]
            assert (await anext(stream)).bytes == b"two"
            assert len(made.told) == 3
            assert [p async for p in stream] == []
            end = made.end
    assert (end.is_complete, end.error, end.parts) == (True, None, 2)
    assert (end.status_code, end.request_id) == (200, "the-id")
    assert end.response_bytes == len(body)
    assert made.all("first_part") == [end.time_to_first_part]
    assert 0 < end.time_to_first_part <= end.duration


@pytest.mark.parametrize("how", ["read", "iter_text", "iter_lines"])
async def test_a_payload_read_to_its_end_is_complete(hooks, how):
    async with streaming(hooks, part(b"one\n") + part(b"two")) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            if how == "read":
                assert await stream.read() == b"one\ntwo"
            else:
                assert "".join([text async for text in getattr(stream, how)()]).endswith("two")
            end = hooks.made[0].end  # told before the stream is closed
    assert (end.is_complete, end.error, end.parts) == (True, None, 2)


async def test_an_empty_stream_has_no_first_part(hooks):
    async with streaming(hooks) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert await stream.read() == b""
    end = hooks.made[0].end
    assert (end.is_complete, end.parts, end.time_to_first_part) == (True, 0, None)


async def test_what_the_decoder_finds_wanting_is_the_calls_error(hooks):
    async with streaming(hooks, part(b'{"a": 1}\n{"b"')) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(aiosmrt.StreamTruncatedError) as caught:
                assert [value async for value in stream.iter_json()]
    assert hooks.made[0].end.error is caught.value


@pytest.mark.parametrize("how", ["break", "aclose"])
async def test_a_stream_closed_early_is_neither_complete_nor_failed(hooks, how):
    async with streaming(hooks, part(b"one"), hold=True) as session:
        if how == "break":
            async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
                async for _ in stream:
                    break
        else:
            stream = await session.invoke_endpoint_with_response_stream("e", b"x")
            await stream.aclose()
            await stream.aclose()
    end = hooks.made[0].end
    assert (end.error, end.is_complete, end.parts) == (None, False, int(how == "break"))


async def test_a_decoded_stream_left_after_its_last_byte_is_complete(hooks):
    async with streaming(hooks, part(b"one\n")) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            lines = stream.iter_lines()
            assert await anext(lines) == "one"
            with pytest.raises(StopAsyncIteration):
                await anext(lines)
    assert hooks.made[0].end.is_complete


@pytest.mark.parametrize(
    "data, error",
    [
        pytest.param(part(b"one") + part(b"two")[:-1], aiosmrt.StreamTruncatedError, id="cut"),
        pytest.param(part(b"one") + b"\0" * 16, aiosmrt.EventStreamError, id="bytes"),
        pytest.param(
            part(b"one")
            + encode_message(
                {":message-type": "exception", ":exception-type": "ModelStreamError"}, b"{}"
            ),
            aiosmrt.ModelStreamError,
            id="exception",
        ),
    ],
)
@pytest.mark.parametrize("read", ["iterate", "read"])
async def test_a_stream_that_fails(hooks, data, error, read):
    async with streaming(hooks, data) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(error) as caught:
                await stream.read() if read == "read" else [p async for p in stream]
    end = hooks.made[0].end
    assert end.error is caught.value
    assert (end.parts, end.is_complete) == (1, False)
    assert [attempt.error for attempt in hooks.made[0].attempts] == [None]


async def test_a_stream_whose_reader_is_cancelled(hooks):
    async with streaming(hooks, part(b"one"), hold=True) as session:
        stream = await session.invoke_endpoint_with_response_stream("e", b"x")
        await anext(stream)
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await stream.aclose()
    assert isinstance(hooks.made[0].end.error, asyncio.CancelledError)


async def test_a_stream_that_fails_before_its_head(hooks):
    async with serve(answer(b"{}", "400 No", {"x-amzn-errortype": "ValidationError"})) as server:
        async with open_session(server.url, instrumentation=hooks) as session:
            with pytest.raises(aiosmrt.ValidationError) as caught:
                await session.invoke_endpoint_with_response_stream("e", b"x")
    assert hooks.made[0].end.error is caught.value


async def test_a_dropped_stream_is_told_by_the_loop_and_not_by_the_collector(hooks):
    async with streaming(hooks, part(b"one"), hold=True) as session:
        stream = await session.invoke_endpoint_with_response_stream("e", b"x")
        await anext(stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del stream
            gc.collect()
        assert not hooks.made[0].all("ended")
        await until(lambda: hooks.made[0].all("ended"))
        await until(lambda: not in_use(session))
    end = hooks.made[0].end
    assert (end.error, end.is_complete, end.parts) == (None, False, 1)


async def test_a_coroutine_closed_under_way_is_told_by_the_loop(hooks):
    async with streaming(hooks, hold=True, max_connections=1) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x"):
            waiting = session.invoke_endpoint("e", b"x")
            waiting.send(None)  # as far as the line for the one connection
            waiting.close()
            _, made = hooks.made
            assert not made.all("ended")
            await until(lambda: made.all("ended"))
    assert (made.end.error, made.end.is_complete) == (None, False)


async def test_a_read_closed_under_way_is_told_by_the_loop(hooks):
    async with streaming(hooks, part(b"one"), hold=True) as session:
        stream = await session.invoke_endpoint_with_response_stream("e", b"x")
        await anext(stream)
        reading = stream.__anext__()
        reading.send(None)  # as far as the wait for bytes
        reading.close()  # as the collector does with what a task left
        (made,) = hooks.made
        assert not made.all("ended")
        await until(lambda: made.all("ended"))
    assert (made.end.error, made.end.is_complete, made.end.parts) == (None, False, 1)


def test_a_stream_that_outlives_its_loop_is_let_go(hooks):
    async def leave():
        async with serve(STREAM_HEAD + part(b"one")) as server:
            session = open_session(server.url, instrumentation=hooks)
            stream = await session.invoke_endpoint_with_response_stream("e", b"x")
            await session.aclose()
            return stream

    stream = asyncio.run(leave())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del stream
        gc.collect()
    assert not hooks.made[0].all("ended")


async def test_many_calls_at_once_are_each_followed(hooks):
    async with LocalEndpoint() as local:

        async def echo(request):
            return ModelResponse(request.body)

        local.add_model("echo", echo)
        async with local.session(instrumentation=hooks) as session:
            bodies = [bytes(length) for length in range(40)]
            async with session.invoke_many("echo", bodies, concurrency=8) as items:
                assert [item.error async for item in items] == [None] * 40
            async with session.stream_many("echo", [b"x"]) as items:
                assert [item.error async for item in items] == [None]
    *invoked, streamed = hooks.made
    assert sorted(made.call.request_bytes for made in invoked) == list(range(40))
    assert all(made.end.response_bytes == made.call.request_bytes for made in invoked)
    assert (streamed.end.is_complete, streamed.end.parts) == (True, 1)


CHAT = (
    b'data: {"object":"chat.completion.chunk","choices":[{"index":1,"delta":{"content":"b"},'
    b'"finish_reason":"length"}]}\n\n'
    b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"a"},'
    b'"finish_reason":"stop"}]}\n\n'
    b'data: {"object":"chat.completion.chunk","choices":[],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)
TEXT = (
    b'{"token":{"id":1,"text":"a"}}\n'
    b'{"token":{"id":2,"text":"b"},'
    b'"details":{"finish_reason":"eos_token","generated_tokens":2,"input_length":7}}'
)


@pytest.mark.parametrize(
    "payload, is_chat, finish_reasons",
    [
        pytest.param(CHAT, True, ("stop", "length"), id="chat"),
        pytest.param(TEXT, False, ("eos_token",), id="text"),
    ],
)
async def test_what_the_tokens_say_of_the_generation(hooks, payload, is_chat, finish_reasons):
    async with streaming(hooks, part(payload)) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert [token.text async for token in stream.iter_tokens() if token.text]
    generation = hooks.made[0].end.generation
    assert (generation.input_tokens, generation.output_tokens) == (7, 2)
    assert (generation.is_chat, generation.finish_reasons) == (is_chat, finish_reasons)


async def test_tokens_that_came_together_with_a_fault_are_part_of_the_generation(hooks):
    fault = {":message-type": "exception", ":exception-type": "ModelStreamError"}
    data = part(CHAT) + encode_message(fault, b'{"Message": "gone", "ErrorCode": "StreamBroken"}')
    async with streaming(hooks, data) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            with pytest.raises(aiosmrt.ModelStreamError):
                async for _ in stream.iter_tokens():
                    pass
    end = hooks.made[0].end
    assert isinstance(end.error, aiosmrt.ModelStreamError)
    assert end.generation.finish_reasons == ("stop", "length")


async def test_tokens_that_tell_nothing_of_the_generation(hooks):
    async with streaming(hooks, part(b'{"token":{"text":"a"}}\n'), part(b""), hold=True) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            await anext(stream.iter_tokens())
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            stream.iter_tokens()
    generation = hooks.made[0].end.generation
    assert (generation.input_tokens, generation.output_tokens) == (None, None)
    assert (generation.is_chat, generation.finish_reasons) == (False, ())
    assert hooks.made[1].end.generation is None


async def test_a_container_cannot_tell_others_what_it_likes(hooks):
    choices = [
        {"index": index, "delta": {}, "finish_reason": reason}
        for index, reason in enumerate(["a sentence of the answer", "x" * 65, "stop", "naïve"])
    ]
    choices += [{"index": index, "delta": {}, "finish_reason": "stop"} for index in range(4, 999)]
    usage = {"prompt_tokens": -1, "completion_tokens": 1 << 63}
    payload = b"data: %s\n\n" % json.dumps({"choices": choices, "usage": usage}).encode()
    async with streaming(hooks, part(payload)) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert len([token async for token in stream.iter_tokens()]) == 999
    generation = hooks.made[0].end.generation
    assert generation.finish_reasons[:4] == ("_OTHER", "_OTHER", "stop", "_OTHER")
    assert len(generation.finish_reasons) == 128
    assert (generation.input_tokens, generation.output_tokens) == (None, None)


async def test_hooks_can_add_headers_and_the_signature_holds(hooks):
    added = {"traceparent": "00-1-2-01", "x-amzn-trace-id": "Root=1;Parent=2", "baggage": "a=b c"}

    class Tracer(hooks):
        def request_headers(self):
            return added

    async with LocalEndpoint() as local:

        async def model(request):
            return request.body

        local.add_model("e", model)
        async with local.session(instrumentation=[Tracer, hooks]) as session:
            assert (await session.invoke_endpoint("e", b"x")).body == b"x"
        (received,) = local.received
    assert len(hooks.made) == 2
    assert {name: received.headers[name] for name in added} == added


async def test_headers_go_with_each_attempt(hooks):
    class Tracer(hooks):
        def request_headers(self):
            return {"traceparent": f"attempt-{len(self.all('attempt_started'))}"}

    failure = answer(b"{}", "500 Oh", {"x-amzn-errortype": "InternalFailure"})
    async with serve(failure, answer()) as server:
        async with open_session(server.url, instrumentation=Tracer) as session:
            await session.invoke_endpoint("e", b"x")
    assert [r.headers["traceparent"] for r in server.requests] == ["attempt-1", "attempt-2"]
    signed = server.requests[0].headers["authorization"]
    assert "traceparent" not in signed


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "x"},
        {"host": "x"},
        {"Content-Length": "1"},
        {"X-Amz-Date": "x"},
        {"x-amzn-sagemaker-custom-attributes": "x"},
        {"Proxy-Authorization": "x"},
        {"na me": "x"},
        {"": "x"},
        {"name\r\n": "x"},
        {"traceparent": "x\r\nhost: y"},
        {"traceparent": "\u00e9"},
        {"traceparent": ""},
        {"traceparent": " x"},
        {"traceparent": 1},
        {1: "x"},
        {"\u212aey": "x"},  # the Kelvin sign, in lower case an ASCII letter
        [("traceparent", "x")],
    ],
    ids=ascii,
)
async def test_headers_that_no_hook_may_set_are_left_out(hooks, headers, caplog):
    class Wrong(hooks):
        def request_headers(self):
            return headers

    async with serve(answer()) as server:
        for instrumentation in (Wrong, None):
            async with open_session(server.url, instrumentation=instrumentation) as session:
                await session.invoke_endpoint("e", b"x")
                await session.invoke_endpoint("e", b"x")
    told, *_, plain = server.requests
    assert set(told.headers) == set(plain.headers)
    (warned,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "Wrong" in warned.getMessage()


async def test_a_mapping_of_headers_that_raises_does_no_harm(hooks, caplog):
    class Lazy(collections.UserDict):
        def __iter__(self):
            raise LookupError("headers of no use")

    class Wrong(hooks):
        def request_headers(self):
            return Lazy(traceparent="x")

    async with (
        serve(answer()) as server,
        open_session(server.url, instrumentation=Wrong) as session,
    ):
        assert (await session.invoke_endpoint("e", b"x")).body == b"ok"
    assert "headers of no use" in caplog.text
    assert "traceparent" not in server.requests[0].headers


async def test_a_header_that_several_hooks_give_is_sent_once(hooks):
    first = type("First", (hooks,), {"request_headers": lambda self: {"traceparent": "1"}})
    last = type("Last", (hooks,), {"request_headers": lambda self: {"Traceparent": "2"}})
    async with (
        serve(answer()) as server,
        open_session(server.url, instrumentation=[first, last]) as session,
    ):
        await session.invoke_endpoint("e", b"x")
    assert server.requests[0].headers["traceparent"] == "2"  # the server takes no name twice


@pytest.mark.parametrize(
    "method", ["__init__", "attempt_started", "request_headers", "attempt_ended", "ended"]
)
async def test_hooks_that_raise_do_no_harm_and_are_told_of_once(hooks, method, caplog):
    def fail(self, *arguments):
        raise LookupError("hooks of no use")

    broken = type("Broken", (hooks,), {method: fail})
    failure = answer(b"{}", "500 Oh", {"x-amzn-errortype": "InternalFailure"})
    async with serve(failure, answer()) as server:
        async with open_session(server.url, instrumentation=[broken, hooks]) as session:
            for _ in range(2):
                assert (await session.invoke_endpoint("e", b"x")).body == b"ok"
            assert in_use(session) == 0
    followed = [made for made in hooks.made if type(made) is hooks]
    assert [made.end.attempts for made in followed] == [2, 1]
    (warned,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "LookupError" in caplog.text
    assert warned.name == "aiosmrt.instrumentation"


@pytest.mark.parametrize("method", ["attempt_ended", "ended"])
async def test_what_hooks_raise_is_told_without_the_calls_error(hooks, method, caplog):
    def fail(self, argument):
        raise LookupError("hooks of no use")

    broken = type("Broken", (hooks,), {method: fail})
    error = {"x-amzn-errortype": "ModelError"}
    body = b'{"Message": "sensitive", "OriginalMessage": "sensitive"}'
    async with serve(answer(body, "424 No", error)) as server:
        async with open_session(server.url, instrumentation=broken) as session:
            with pytest.raises(aiosmrt.ModelError, match="sensitive"):
                await session.invoke_endpoint("e", b"x")
    assert "hooks of no use" in caplog.text
    assert "sensitive" not in caplog.text


async def test_a_stream_outlasts_hooks_that_raise(hooks, caplog):
    class Broken(hooks):
        def first_part(self, seconds):
            raise LookupError

    async with streaming([Broken, hooks], part(b"one") + part(b"two")) as session:
        async with session.invoke_endpoint_with_response_stream("e", b"x") as stream:
            assert await stream.read() == b"onetwo"
    assert [made.end.parts for made in hooks.made] == [2, 2]
    assert "first_part" in caplog.text


async def test_hooks_that_are_none_are_told_of(hooks, caplog):
    async with serve(answer()) as server:
        makers = [lambda call: None, lambda call: "hooks", hooks]
        async with open_session(server.url, instrumentation=makers) as session:
            await session.invoke_endpoint("e", b"x")
            await session.invoke_endpoint("e", b"x")
    assert [made.end.is_complete for made in hooks.made] == [True, True]
    (warned,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "str" in warned.getMessage()


async def test_a_call_that_nobody_follows(hooks):
    async with serve(answer()) as server:
        async with open_session(server.url, instrumentation=lambda call: None) as session:
            assert (await session.invoke_endpoint("e", b"x")).body == b"ok"


@pytest.mark.parametrize("wrong", [3, ["hooks"]], ids=str)
async def test_what_cannot_make_hooks_is_refused(wrong):
    with pytest.raises(ConfigurationError, match="instrumentation"):
        open_session("http://127.0.0.1:1", instrumentation=wrong)
