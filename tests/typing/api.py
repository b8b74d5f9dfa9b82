"""The public API as users write it. Nothing runs this: mypy and pyright judge it, both strict."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from typing_extensions import assert_type

import aiosmrt
import aiosmrt.batch.ray
from aiosmrt import framing
from aiosmrt.eventstream import (
    Byte,
    EventStreamDecoder,
    HeaderValue,
    Int32,
    Int64,
    Message,
    Short,
    encode_message,
)
from aiosmrt.instrumentation import AttemptEnded, CallEnded, CallHooks, CallStarted, Generation
from aiosmrt.instrumentation.opentelemetry import OpenTelemetry
from aiosmrt.local import (
    AsyncInference,
    Fault,
    Handler,
    Injection,
    LocalEndpoint,
    ModelFailure,
    ModelRequest,
    ModelResponse,
    ReceivedRequest,
)

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
    assert_type(output.new_session, aiosmrt.NewSession | None)
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


async def decode_stream(session: aiosmrt.Session) -> None:
    call = session.invoke_endpoint_with_response_stream("name", json={})
    assert_type(call, aiosmrt.ResponseStreamCall)
    async with call as stream:
        assert_type(stream.iter_lines(), aiosmrt.DecodedStream[str])
        assert_type(stream.stats, aiosmrt.StreamStats)
        async for chunk in stream.iter_bytes():
            assert_type(chunk, bytes)
        async for text in stream.iter_text():
            assert_type(text, str)
        async for line in stream.iter_lines():
            assert_type(line, str)
        async for event in stream.iter_sse(done_marker="[DONE]"):
            assert_type(event, framing.ServerSentEvent)
            assert_type(event.data, str)
        async for value in stream.iter_json():
            assert_type(value, Any)
        async for token in stream.iter_tokens():
            assert_type(token, framing.Token)
            assert_type(token.usage, framing.TokenUsage | None)
        assert_type(await stream.read(), bytes)
        assert_type(stream.stats.time_to_first_part, float | None)


async def queue(session: aiosmrt.Session) -> None:
    invocation = await session.invoke_endpoint_async("name", input_location="s3://bucket/key")
    assert_type(invocation, aiosmrt.AsyncInvocation)
    assert_type(invocation.output_location, str | None)
    location = await session.upload_input(b"body", "s3://bucket/inputs/")
    await session.invoke_endpoint_async("name", location, content_type="text/csv")
    await session.invoke_endpoint_async("name", body=b"body", input="auto")
    result = await invocation.result(timeout=900)
    assert_type(result, aiosmrt.AsyncInferenceResult)
    assert_type(result.body, bytes)
    again = session.async_invocation(output_location="s3://bucket/key", inference_id="id")
    assert_type(again, aiosmrt.AsyncInvocation)


async def bodies() -> AsyncIterator[tuple[str, bytes]]:
    yield "key", b"body"


async def many(session: aiosmrt.Session) -> None:
    whole = aiosmrt.InvokeEndpointInput(endpoint_name="name", body=b"", accept="text/csv")
    items = session.invoke_many("name", [b"1", "2", whole], concurrency="auto", rate=50)
    assert_type(items, aiosmrt.BatchItems[aiosmrt.InvokeEndpointOutput])
    async for item in items:
        assert_type(item, aiosmrt.BatchItem[aiosmrt.InvokeEndpointOutput])
        assert_type(item.output, aiosmrt.InvokeEndpointOutput | None)
        assert_type(item.error, aiosmrt.AiosmrtError | None)
    async with session.invoke_many("name", bodies(), on_error="raise", accept="a") as entered:
        async for keyed in entered:
            assert_type(keyed.key, Any)
    part = aiosmrt.InvokeEndpointWithResponseStreamInput(endpoint_name="name", body=b"")
    async for collected in session.stream_many("name", [("key", part)], ordered=True):
        assert_type(collected.output, aiosmrt.CollectedStream | None)


def tell(progress: aiosmrt.batch.Progress) -> None:
    assert_type(progress.done, int)


async def run_batch(session: aiosmrt.Session) -> None:
    try:
        summary = await aiosmrt.batch.run(session, "name", "in.csv", "out.jsonl", progress=tell)
        assert_type(summary, aiosmrt.batch.BatchSummary)
    except aiosmrt.batch.OutputError as error:
        assert_type(error.attempts, int)
    with aiosmrt.batch.show_progress() as progress:
        await aiosmrt.batch.run(session, "name", "in.csv", "out.jsonl", progress=progress)
    mapper = aiosmrt.batch.ray.InvokeEndpoint("name", key_field="id", session={"region": "r"})
    assert callable(mapper)
    await mapper.aclose()
    for fault in (aiosmrt.batch.AnswerCountError, aiosmrt.batch.RecordFaultError):
        assert issubclass(fault, aiosmrt.AiosmrtError)


class Log(CallHooks):
    """Hooks of the user's own."""

    def request_headers(self) -> Mapping[str, str]:
        return {"x-call": assert_type(self.call.endpoint_name, str)}

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        assert_type(attempt.error, BaseException | None)
        assert_type(attempt.retry_delay, float | None)

    def ended(self, end: CallEnded) -> None:
        assert_type(end.duration, float)
        assert_type(end.generation, Generation | None)
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
    except aiosmrt.ParameterValidationError as error:
        assert_type(error.parameter, str)
        assert_type(error.length, int | None)
    except aiosmrt.ModelError as error:
        assert_type(error.original_status_code, int | None)
        assert_type(error.log_stream_arn, str | None)
        assert_type(error.request_id, str | None)
    except aiosmrt.ModelStreamError as error:
        assert_type(error.error_code, str | None)
    except (
        aiosmrt.ValidationError,
        aiosmrt.ModelNotReadyException,
        aiosmrt.InternalFailure,
        aiosmrt.ServiceUnavailable,
        aiosmrt.InternalDependencyException,
        aiosmrt.ThrottlingException,
        aiosmrt.AccessDeniedException,
        aiosmrt.ExpiredTokenException,
        aiosmrt.InternalStreamFailure,
        aiosmrt.UnknownServiceError,
    ) as error:
        assert_type(error.status_code, int)
    except aiosmrt.ServiceError as error:
        assert_type(error.is_throttling, bool)
    except aiosmrt.ConnectionLostError as error:
        assert_type(error.head_received, bool)
    except (aiosmrt.ConnectError, aiosmrt.TransportError) as error:
        assert_type(error.host, str | None)
    except aiosmrt.ChecksumMismatchError as error:
        assert_type(error.expected, int)
    except aiosmrt.MessageTooLargeError as error:
        assert_type(error.limit, int)
    except aiosmrt.StreamTruncatedError as error:
        assert_type(error.parts_received, int)
    except (aiosmrt.InvalidMessageError, aiosmrt.EventStreamError) as error:
        assert_type(error.request_id, str | None)
        assert_type(error.content_type, str | None)
    except aiosmrt.AsyncInferenceError as error:
        assert_type(error.failure_location, str | None)
    except (aiosmrt.ConfigurationError, aiosmrt.CredentialsError) as error:
        assert_type(error.attempts, int)
    timeouts: list[type[TimeoutError]] = [
        aiosmrt.ConnectTimeoutError,
        aiosmrt.ReadTimeoutError,
        aiosmrt.PoolTimeoutError,
        aiosmrt.DeadlineExceededError,
    ]
    value: type[ValueError] = aiosmrt.ParameterValidationError
    assert timeouts
    assert value


def keep(provider: aiosmrt.CredentialsProvider, metadata: aiosmrt.ResponseMetadata) -> None:
    assert_type(aiosmrt.CachingProvider(provider), aiosmrt.CachingProvider)
    assert_type(metadata.status_code, int)
    whole = aiosmrt.InvokeEndpointAsyncInput(endpoint_name="name", input_location="s3://bucket/key")
    assert_type(whole.endpoint_name, str)


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
        handler: Handler = echo
        local.add_model("again", handler)
        injection = local.inject(error="ModelNotReadyException", times=3)
        assert_type(injection, Injection)
        assert_type(injection.fault, Fault)
        for request in local.received:
            assert_type(request, ReceivedRequest)
        for inference in local.async_inferences:
            assert_type(inference, AsyncInference)
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
    numbers: dict[str, HeaderValue] = {"1": Byte(1), "2": Short(2), "4": Int32(4), "8": Int64(8)}
    assert_type(encode_message(numbers, b""), bytes)


def frame(payload: bytes) -> None:
    lines = framing.LineDecoder()
    lines.receive_data(payload)
    for line in lines:
        assert_type(line, str)
    texts = framing.TextDecoder()
    texts.receive_data(payload)
    for text in texts:
        assert_type(text, str)
    events = framing.SSEDecoder()
    events.receive_data(payload)
    for event in events:
        assert_type(event, framing.ServerSentEvent)
    tokens = framing.TokenDecoder()
    tokens.receive_data(payload)
    for token in tokens:
        assert_type(token, framing.Token)
    while (unit := tokens.next_unit()) is not framing.NEED_DATA:
        assert_type(unit, framing.Token)
    assert_type(unit, Literal[framing.NeedData.NEED_DATA])
    for values in (
        framing.JSONLinesDecoder(),
        framing.JSONStreamDecoder(),
        framing.JSONValuesDecoder(),
    ):
        values.receive_data(payload)
        for value in values:
            assert_type(value, Any)
