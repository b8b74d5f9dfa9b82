"""The three operations over sockets: one table of cases for other people's SDKs, and streams."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from support.local_cases import add_models, assert_passed
from support.local_clients import send_signed
from support.local_sdks import SDKS
from support.local_stream import STREAM, Stream, decoded
from support.waiting import until

from aiosmrt.local import LocalEndpoint, ModelResponse
from aiosmrt.local._answers import Answer


@pytest.mark.parametrize("run, untold", SDKS)
async def test_every_sdk_passes_the_table(run, untold):
    async with LocalEndpoint() as local:
        add_models(local)
        results = await run(local)
        assert_passed(results, untold=untold)
        for location in [
            result["OutputLocation"] for result in results if "OutputLocation" in result
        ]:
            assert (await until(partial(stored, local, location))).startswith(b"1,2 ")


def stored(local, uri):
    try:
        return local.get_object(uri)
    except KeyError:
        return None


async def test_a_part_is_written_before_the_model_makes_the_next():
    go_on = asyncio.Event()

    async def model(request):
        yield b"first"
        await go_on.wait()
        yield b"second"

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        stream = await Stream.open(local, "llm")
        assert await stream.part() == b"first"
        go_on.set()
        assert await stream.part() == b"second"
        await stream.aclose()


async def test_the_wire_form_of_a_part():
    async def model(request):
        yield b"part"

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        status, headers, body = await send_signed(local, STREAM.format("llm"))
    (message,) = decoded(body)
    assert status == 200
    assert headers["Content-Type"] == "application/vnd.amazon.eventstream"
    assert headers["X-Amzn-SageMaker-Content-Type"] == "application/octet-stream"
    assert headers["Transfer-Encoding"] == "chunked"
    assert message.headers == {
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }
    assert message.payload == b"part"


async def test_the_wire_form_of_a_broken_stream(caplog):
    async def model(request):
        yield b"part"
        raise RuntimeError("gone")

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        _, _, body = await send_signed(local, STREAM.format("llm"))
    _, message = decoded(body)
    assert message.headers == {
        ":exception-type": "ModelStreamError",
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    assert json.loads(message.payload) == {
        "ErrorCode": "StreamBroken",
        "Message": "RuntimeError: gone",
    }
    assert "the model of endpoint llm raised" in caplog.text


async def test_what_goes_wrong_inside_a_stream_has_the_services_form(monkeypatch, caplog):
    class Defect:
        def __aiter__(self):
            return self

        async def __anext__(self):
            raise RuntimeError("a defect")

        async def aclose(self):
            pass

    async def model(request):
        return b""

    async def invoke(*_):
        return Answer(body=Defect())

    monkeypatch.setattr("aiosmrt.local._python_model.PythonModel.invoke", invoke)
    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        status, _, body = await send_signed(local, STREAM.format("llm"))
    (message,) = decoded(body)
    assert status == 200
    assert message.headers[":exception-type"] == "InternalStreamFailure"
    assert b"a defect" not in message.payload
    assert "a defect" in caplog.text


async def test_a_stream_that_takes_too_long():
    async def model(request):
        yield b"part"
        await asyncio.Event().wait()

    async with LocalEndpoint(stream_timeout=0.5) as local:
        local.add_model("llm", model)
        _, _, body = await send_signed(local, STREAM.format("llm"))
    _, message = decoded(body)
    assert json.loads(message.payload)["ErrorCode"] == "ModelInvocationTimeExceeded"


@pytest.mark.parametrize("path", ["/endpoints/slow/invocations", STREAM.format("slow")])
async def test_a_model_that_takes_too_long(path):
    async def model(request):
        await asyncio.Event().wait()

    async with LocalEndpoint(model_timeout=0.05) as local:
        local.add_model("slow", model)
        status, _, body = await send_signed(local, path)
    error = json.loads(body)
    assert status == 424
    assert error["OriginalStatusCode"] == 0
    assert error["Message"].startswith('Received server error (0) from primary with message "Your')


async def test_a_plain_answer_becomes_parts_of_at_most_a_mebibyte():
    async def model(request):
        return bytes(2_500_000)

    async with LocalEndpoint() as local:
        local.add_model("big", model)
        _, _, body = await send_signed(local, STREAM.format("big"))
    assert [len(message.payload) for message in decoded(body)] == [1_048_576, 1_048_576, 402_848]


async def test_what_a_generator_yields_is_a_part_however_long_it_is():
    async def model(request):
        yield bytes(3_000_000)
        yield bytes(20_000_000)  # no message holds it

    async with LocalEndpoint() as local:
        local.add_model("big", model)
        _, _, body = await send_signed(local, STREAM.format("big"))
    lengths = [len(message.payload) for message in decoded(body)]
    assert lengths == [3_000_000, 16_777_216, 20_000_000 - 16_777_216]


@pytest.mark.parametrize("value, parts", [(b"", 0), ("", 0), ([], 1)], ids=["bytes", "str", "list"])
async def test_an_empty_answer_streamed(value, parts):
    async def model(request):
        return value

    async with LocalEndpoint() as local:
        local.add_model("empty", model)
        _, _, body = await send_signed(local, STREAM.format("empty"))
    assert len(decoded(body)) == parts


async def test_an_empty_part_is_a_part():
    async def model(request):
        yield b""
        yield b""

    async with LocalEndpoint() as local:
        local.add_model("empty", model)
        _, _, body = await send_signed(local, STREAM.format("empty"))
    assert [message.payload for message in decoded(body)] == [b"", b""]


async def test_the_model_is_stopped_when_the_client_leaves():
    stopped = asyncio.Event()

    async def model(request):
        try:
            while True:
                yield b"part"
                await asyncio.sleep(0.001)
        finally:
            stopped.set()

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        stream = await Stream.open(local, "llm")
        await stream.part()
        await stream.aclose()
        await asyncio.wait_for(stopped.wait(), 5)


async def test_a_model_that_never_waits_is_stopped_too():
    stopped = asyncio.Event()

    async def model(request):
        try:
            while True:
                yield b"part"
        finally:
            stopped.set()

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        stream = await Stream.open(local, "llm")
        await stream.part()
        await stream.aclose()
        await asyncio.wait_for(stopped.wait(), 5)


async def test_a_plain_model_is_cancelled_when_the_client_leaves():
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def model(request):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with LocalEndpoint() as local:
        local.add_model("slow", model)
        call = asyncio.create_task(send_signed(local, "/endpoints/slow/invocations"))
        await begun.wait()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)
        await asyncio.gather(call, return_exceptions=True)


async def test_a_client_that_does_not_read_holds_the_model_back():
    made = 0

    async def model(request):
        nonlocal made
        while True:
            made += 1
            yield bytes(65_536)

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        stream = await Stream.open(local, "llm")
        before = -1
        while before != made or not made:  # until nothing moves
            before = made
            await asyncio.sleep(0.1)
        assert made < 400  # the sockets' buffers, not the model's patience
        for _ in range(made):
            await stream.part()
        await until(lambda: made > before)
        await stream.aclose()


async def test_two_hundred_streams_at_once():
    all_here = asyncio.Event()
    here = 0

    async def model(request):
        nonlocal here
        here += 1
        if here == 200:
            all_here.set()
        yield request.body
        await all_here.wait()
        for number in range(20):
            yield b"%d " % number

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        path = STREAM.format("llm")
        answers = await asyncio.gather(
            *[send_signed(local, path, b"%d|" % number) for number in range(200)]
        )
    tail = b"".join(b"%d " % number for number in range(20))
    for number, (_, _, body) in enumerate(answers):
        parts = [message.payload for message in decoded(body)]
        assert b"".join(parts) == b"%d|" % number + tail
        assert len(parts) == 21


async def test_open_streams_end_when_the_endpoint_closes():
    stopped = asyncio.Event()

    async def model(request):
        try:
            yield b"part"
            await asyncio.Event().wait()
        finally:
            stopped.set()

    local = LocalEndpoint()
    local.add_model("llm", model)
    await local.start()
    stream = await Stream.open(local, "llm")
    await stream.part()
    await asyncio.wait_for(local.aclose(), 3)  # less than a model has that does not end
    assert stopped.is_set()
    assert await stream.reader.read() == b""
    await stream.aclose()


async def test_a_stream_says_what_it_is():
    async def lines():
        yield 'data: "a"\n\n'

    async def model(request):
        return ModelResponse(lines(), content_type="text/event-stream", custom_attributes="c")

    async with LocalEndpoint() as local:
        local.add_model("llm", model)

        _, streamed, _ = await send_signed(local, STREAM.format("llm"))
        _, joined, _ = await send_signed(local, "/endpoints/llm/invocations")
    assert streamed["X-Amzn-SageMaker-Content-Type"] == "text/event-stream"
    assert joined["Content-Type"] == "text/event-stream"
    for headers in (streamed, joined):
        assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "c"


async def test_what_breaks_before_the_end_of_a_plain_answer_is_the_models_error():
    async def model(request):
        yield b"part"
        raise ValueError("gone")

    async with LocalEndpoint() as local:
        local.add_model("llm", model)
        status, headers, body = await send_signed(local, "/endpoints/llm/invocations")
    error = json.loads(body)
    assert (status, headers["x-amzn-errortype"]) == (424, "ModelError")
    assert (error["OriginalStatusCode"], error["OriginalMessage"]) == (500, "ValueError: gone")
    assert error["ErrorCode"] == "INTERNAL_FAILURE_FROM_MODEL"
    assert error["LogStreamArn"].startswith("arn:aws:logs:us-east-1:123456789012:log-group:/aws/")


async def test_every_response_has_a_request_id_of_its_own_and_a_date():
    async with LocalEndpoint() as local:
        answers = [await send_signed(local, "/endpoints/a/invocations") for _ in range(2)]
    ids = {headers["x-amzn-RequestId"] for _, headers, _ in answers}
    assert len(ids) == 2
    assert all("Date" in headers for _, headers, _ in answers)
