"""The public API as users write it. Nothing runs this: mypy and pyright judge it, both strict."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from typing_extensions import assert_type

import aiosmrt
from aiosmrt.eventstream import EventStreamDecoder, Message, encode_message
from aiosmrt.instrumentation import AttemptEnded, CallEnded, CallHooks, CallStarted
from aiosmrt.instrumentation.opentelemetry import OpenTelemetry
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelRequest, ModelResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import aiohttp


class Vault:
    """A credentials provider of the user's own."""

    async def get_credentials(self) -> aiosmrt.Credentials:
        expiry = datetime.now(timezone.utc)
        return aiosmrt.Credentials("AKID", "secret", session_token="token", expiry=expiry)


async def configure(connector: aiohttp.TCPConnector) -> None:
    async with aiosmrt.Session(
        region="eu-west-1",
        credentials=aiosmrt.CachingProvider(Vault()),
        timeouts=aiosmrt.Timeouts(read=10.0, total=None),
        retries=aiosmrt.RetryPolicy(max_attempts=5),
        connector=connector,
    ) as session:
        assert_type(session, aiosmrt.Session)


async def invoke(session: aiosmrt.Session) -> None:
    output = await session.invoke_endpoint("name", b"body", content_type="text/csv")
    assert_type(output, aiosmrt.InvokeEndpointOutput)
    assert_type(output.body, bytes)
    assert_type(output.text(), str)
    assert_type(output.json(), Any)
    assert_type(output.content_type, str | None)
    assert_type(output.metadata.request_id, str | None)
    assert_type(output.metadata.attempts, int)
    for body in (bytearray(b"body"), memoryview(b"body"), "body"):
        await session.invoke_endpoint("name", body)
    await session.invoke_endpoint("name", json={"inputs": [1, 2.5, None]})


async def stream(session: aiosmrt.Session) -> None:
    async with session.invoke_endpoint_with_response_stream("name", json={}) as entered:
        assert_type(entered, aiosmrt.ResponseStream)
        async for part in entered:
            assert_type(part, aiosmrt.PayloadPart)
            assert_type(part.bytes, bytes)
    awaited = await session.invoke_endpoint_with_response_stream("name", b"")
    assert_type(awaited, aiosmrt.ResponseStream)
    await awaited.aclose()


async def queue(session: aiosmrt.Session) -> None:
    invocation = await session.invoke_endpoint_async("name", input_location="s3://bucket/key")
    assert_type(invocation, aiosmrt.AsyncInvocation)
    assert_type(invocation.output_location, str | None)


class Log(CallHooks):
    """Hooks of the user's own."""

    def request_headers(self) -> Mapping[str, str]:
        return {"x-call": assert_type(self.call.endpoint_name, str)}

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        assert_type(attempt.error, BaseException | None)
        assert_type(attempt.retry_delay, float | None)

    def ended(self, end: CallEnded) -> None:
        assert_type(end.duration, float)
        if end.generation is not None:
            assert_type(end.generation.input_tokens, int | None)


def choose(call: CallStarted) -> CallHooks | None:
    return Log(call) if call.operation == "InvokeEndpoint" else None


async def follow() -> None:
    async with aiosmrt.Session(instrumentation=Log), aiosmrt.Session(instrumentation=choose):
        pass
    async with aiosmrt.Session(instrumentation=[Log, OpenTelemetry()]):
        pass


async def fail(session: aiosmrt.Session) -> None:
    try:
        await session.invoke_endpoint("name", b"")
    except aiosmrt.ModelError as error:
        assert_type(error.original_status_code, int | None)
        assert_type(error.request_id, str | None)
    except aiosmrt.ServiceError as error:
        assert_type(error.is_throttling, bool)
    timeout: type[TimeoutError] = aiosmrt.ReadTimeoutError
    value: type[ValueError] = aiosmrt.ParameterValidationError
    assert timeout
    assert value


async def echo(request: ModelRequest) -> ModelResponse:
    if not request.body:
        raise ModelFailure(400, "nothing to echo")
    return ModelResponse(request.body, content_type=request.content_type)


async def mapping(request: ModelRequest) -> dict[str, Any]:
    return {"length": len(request.body)}


async def tokens(request: ModelRequest) -> AsyncIterator[bytes]:
    for word in request.body.split():
        yield word


async def serve() -> None:
    async with LocalEndpoint() as local:
        local.add_model("echo", echo)
        local.add_model("mapping", mapping)
        local.add_model("tokens", tokens)
        local.put_object("s3://bucket/key", b"body")
        assert_type(local.get_object("s3://bucket/key"), bytes)
        async with local.session() as session:
            assert_type(session, aiosmrt.Session)


def decode(chunk: bytes) -> None:
    decoder = EventStreamDecoder(max_message_length=1_000_000)
    decoder.receive_data(memoryview(chunk))
    for message in decoder:
        assert_type(message, Message)
        assert_type(message.payload, bytes)
    decoder.receive_eof()
    assert_type(encode_message({":message-type": "event", "count": 1}, b"payload"), bytes)
