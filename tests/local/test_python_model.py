"""What a Python handler may be and give, and what becomes of it."""

from __future__ import annotations

import asyncio
import functools
import json
import sys

import pytest
from support.local_clients import send_signed
from support.local_stream import decoded
from support.waiting import until

from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse

PATH = "/endpoints/model/invocations"


async def call(handler, body=b"x", headers=None):
    async with LocalEndpoint() as local:
        local.add_model("model", handler)
        return await send_signed(local, PATH, body, headers)


def returning(value):
    async def handler(request):
        return value

    return handler


@pytest.mark.parametrize(
    "value, body, content_type",
    [
        (b"\xff", b"\xff", "application/octet-stream"),
        (bytearray(b"a"), b"a", "application/octet-stream"),
        (memoryview(b"abc")[::2], b"ac", "application/octet-stream"),
        ("é", "é".encode(), "text/plain; charset=utf-8"),
        ({"a": [1, None]}, b'{"a": [1, null]}', "application/json"),
        ([1.5], b"[1.5]", "application/json"),
        (ModelResponse(b"a", "text/csv"), b"a", "text/csv"),
        (ModelResponse({}, "application/vnd.x+json"), b"{}", "application/vnd.x+json"),
        (ModelResponse("a", status_code=201), b"a", "text/plain; charset=utf-8"),
    ],
    ids=["bytes", "bytearray", "view", "str", "dict", "list", "csv", "json", "created"],
)
async def test_what_a_handler_may_return(value, body, content_type):
    status, headers, answered = await call(returning(value))
    assert (status, answered, headers["Content-Type"]) == (200, body, content_type)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        object(),
        {"a": object()},
        ModelResponse(None),
        ModelResponse(b"", "text/csv\r\nX: y"),
        ModelResponse(b"", custom_attributes="a\nb"),
        ModelResponse(b"", custom_attributes="a" * 1025),
        ModelResponse(b"", new_session_id="é"),
    ],
    ids=["None", "int", "object", "no JSON", "no body", "CRLF", "LF", "too long", "no ASCII"],
)
async def test_what_a_handler_may_not_return(value):
    status, _, body = await call(returning(value))
    assert status == 424
    assert json.loads(body)["OriginalStatusCode"] == 500


async def test_the_text_says_what_a_handler_may_return():
    _, _, body = await call(returning(None))
    assert json.loads(body)["OriginalMessage"] == (
        "TypeError: a model answers with bytes, str, dict, list, ModelResponse or an async "
        "generator of bytes or str, not NoneType"
    )


async def test_a_generator_of_something_else_fails():
    closed = []

    async def handler(request):
        try:
            yield 1
        finally:
            closed.append(True)

    status, _, body = await call(handler)
    assert status == 424
    assert "not int" in json.loads(body)["OriginalMessage"]
    assert closed


@pytest.mark.parametrize(
    "error, status_code, message",
    [
        (ModelFailure(400, "no such column"), 400, "no such column"),
        (ModelFailure(503), 503, ""),
        (KeyError("x"), 500, "KeyError: 'x'"),
        (TimeoutError(), 500, "TimeoutError: "),
    ],
    ids=["400", "503", "KeyError", "TimeoutError"],
)
async def test_what_a_handler_raises(error, status_code, message):
    async def handler(request):
        raise error

    status, headers, body = await call(handler)
    facts = json.loads(body)
    assert (status, headers["x-amzn-errortype"]) == (424, "ModelError")
    assert (facts["OriginalStatusCode"], facts["OriginalMessage"]) == (status_code, message)
    kind = "client" if status_code == 400 else "server"
    assert facts["Message"].startswith(
        f'Received {kind} error ({status_code}) from primary with message "{message}". See https://'
    )
    assert "logEventViewer:group=/aws/sagemaker/Endpoints/model in account 123" in facts["Message"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot tell who is cancelled")
async def test_a_model_that_awaits_what_is_cancelled_has_failed():
    async def model(request):
        inner = asyncio.create_task(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        await inner

    async def late(request):
        yield b"part"
        await model(request)

    async with LocalEndpoint() as local:
        local.add_model("model", model)
        local.add_model("late", late)
        for path in (PATH, PATH.replace("model", "late")):
            status, _, body = await send_signed(local, path, b"x")
            assert (status, json.loads(body)["OriginalStatusCode"]) == (424, 500)
        streamed = PATH.replace("model", "late") + "-response-stream"
        _, _, body = await send_signed(local, streamed, b"x")
        assert [message.headers[":message-type"] for message in decoded(body)] == [
            "event",
            "exception",
        ]
        await send_signed(local, "/endpoints/model/async-invocations", b"x")
        (inference,) = local.async_inferences
        await until(lambda: inference.status == "failed")
        assert b"CancelledError" in local.get_object(inference.failure_location)


async def test_a_response_with_an_error_status():
    status, _, body = await call(returning(ModelResponse("too hot", status_code=418)))
    facts = json.loads(body)
    assert status == 424
    assert (facts["OriginalStatusCode"], facts["OriginalMessage"]) == (418, "too hot")


async def test_a_generator_that_fails_at_once_is_no_broken_stream():
    async def handler(request):
        raise ModelFailure(400, "bad prompt")
        yield b""

    async with LocalEndpoint() as local:
        local.add_model("model", handler)
        status, _, body = await send_signed(
            local, "/endpoints/model/invocations-response-stream", b"x"
        )
    assert (status, json.loads(body)["OriginalMessage"]) == (424, "bad prompt")


async def test_a_generator_of_nothing():
    async def handler(request):
        return
        yield b""

    status, _, body = await call(handler)
    assert (status, body) == (200, b"")


class Echo:
    """A model that is an object."""

    async def __call__(self, request):
        return request.body


class Heir(Echo):
    """A model whose class says nothing of calls itself."""


class Words:
    """An async iterator that is no generator: it has no aclose."""

    def __init__(self, words):
        self._words = iter(words)

    def __aiter__(self):
        return self

    async def __anext__(self):
        for word in self._words:
            return word
        raise StopAsyncIteration


async def greet(greeting, request):
    return greeting + request.body


async def test_other_callables():
    assert (await call(Echo()))[2] == b"x"
    assert (await call(Heir()))[2] == b"x"
    assert (await call(functools.partial(greet, b"hi ")))[2] == b"hi x"
    assert (await call(returning(Words([b"a", "b"]))))[2] == b"ab"


def plain(request):
    return b""


@pytest.mark.parametrize("handler", [plain, print, 1, Echo], ids=["def", "builtin", "int", "class"])
def test_what_is_no_handler(handler):
    with pytest.raises(TypeError, match="must be a coroutine function"):
        LocalEndpoint().add_model("model", handler)


async def test_a_request_as_the_model_sees_it():
    seen = []

    async def handler(request):
        seen.append(request)
        return b""

    headers = {
        "Content-Type": "text/csv",
        "X-Amzn-SageMaker-Custom-Attributes": "c",
        "X-Amzn-SageMaker-Target-Model": "m",
        "X-Amzn-SageMaker-Session-Id": "NEW_SESSION",
    }
    await call(handler, b"\x00", headers)
    (request,) = seen
    assert request == ModelRequest(
        endpoint_name="model",
        body=b"\x00",
        content_type="text/csv",
        custom_attributes="c",
        target_model="m",
        session_id="NEW_SESSION",
        headers=request.headers,
    )
    assert dict(request.headers) == headers
    assert request.headers["content-type"] == "text/csv"
    assert request.accept is None
    with pytest.raises(TypeError):
        request.headers["a"] = "b"


def test_what_is_sensitive_stays_out_of_reprs():
    request = ModelRequest(endpoint_name="e", body=b"secret", custom_attributes="secret")
    response = ModelResponse("secret", custom_attributes="secret")
    assert "secret" not in repr(request) + repr(response)


def test_a_failure_says_what_it_is():
    failure = ModelFailure(418, "teapot")
    assert str(failure) == "the model failed with status 418: teapot"
