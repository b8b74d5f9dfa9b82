"""Every error as it is met at night: provoked over real sockets, and read.

The rule: a text says what happened, to which endpoint, on which attempt, with which request
id as soon as a response had come, and ends with what to do. ``pytest -rP`` prints them all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.raw_server import Connection, RawServer, answer, serve
from support.sessions import KEYS, open_session
from support.streams import exception, part

import aiosmrt
from aiosmrt import AiosmrtError, RetryPolicy, Session, Timeouts, errors
from aiosmrt.eventstream import encode_message
from aiosmrt.instrumentation.opentelemetry import OpenTelemetry
from aiosmrt.local import LocalEndpoint, ModelFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

REQUEST_ID = "5af4e30d-c263"
NAMED = {"x-amzn-RequestId": REQUEST_ID}
BODY = b"the body is nobody's business"
SO = {"Message": "It is so"}
NOWHERE = "http://127.0.0.1:1"
TWICE = RetryPolicy(max_attempts=2, model_not_ready_timeout=0)
open_twice = partial(open_session, retries=TWICE)


async def invoke(url: str, body: Any = BODY, **options: Any) -> None:
    async with open_twice(url, **options) as session:
        await session.invoke_endpoint("my-endpoint", body)


async def stream(url: str, **options: Any) -> None:
    async with (
        open_twice(url, **options) as session,
        session.invoke_endpoint_with_response_stream("my-endpoint", BODY) as parts,
    ):
        await parts.read()


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────


@contextlib.asynccontextmanager
async def serving(sent: bytes, *, reset: bool = False, hang: bool = False) -> AsyncIterator[str]:
    """Answers every request by these bytes, and then closes, resets, or says no more."""

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(sent)
        if hang:
            await connection.gone()
        elif reset:
            await asyncio.sleep(0.1)  # what was sent arrives before the reset
            connection.reset()

    async with RawServer(handler) as server:
        yield server.url


def refused(code: str | None, status: int, **members: Any) -> Callable[[], Awaitable[None]]:
    """The service answers with an error."""

    async def provoke() -> None:
        headers = NAMED if code is None else {**NAMED, "x-amzn-errortype": code}
        body = json.dumps(SO | members).encode()
        async with serve(answer(body, f"{status} Error", headers)) as server:
            await invoke(server.url)

    return provoke


def streamed(*messages: bytes) -> Callable[[], Awaitable[None]]:
    """A stream whose bytes are these behind one whole part."""

    async def provoke() -> None:
        async with serve(answer(PART + b"".join(messages), headers=NAMED)) as server:
            await stream(server.url)

    return provoke


def broken(call: Callable[..., Awaitable[None]], sent: bytes = b"", **how: Any) -> Any:
    """A connection that does not do what HTTP's should."""
    options = how.pop("options", {})

    async def provoke() -> None:
        async with serving(sent, **how) as url:
            await call(url, **options)

    return provoke


HEAD = f"HTTP/1.1 200 OK\r\nx-amzn-RequestId: {REQUEST_ID}\r\nContent-Length: 99\r\n\r\n".encode()
PART = part(b"one")
DAMAGED = PART[:-6] + bytes([PART[-6] ^ 1]) + PART[-5:]
LENGTHS = (2**31).to_bytes(4, "big") + bytes(4)
ENDLESS = LENGTHS + zlib.crc32(LENGTHS).to_bytes(4, "big")
ODD = encode_message({":message-type": "odd"}, b"")


async def call_without_region() -> None:
    async with Session():
        pass


async def call_without_credentials() -> None:
    await invoke(NOWHERE, credentials=None)


async def call_with_sealed_vault() -> None:
    class Vault:
        async def get_credentials(self) -> aiosmrt.Credentials:
            raise OSError("the vault is sealed")

    await invoke(NOWHERE, credentials=aiosmrt.CachingProvider(Vault()))


async def call_with_a_bad_parameter() -> None:
    async with open_twice(NOWHERE) as session:
        await session.invoke_endpoint("my-endpoint", BODY, inference_id="x" * 65)


async def call_while_all_connections_are_in_use() -> None:
    async with (
        serving(b"", hang=True) as url,
        open_twice(url, max_connections=1, timeouts=Timeouts(total=0.2)) as session,
    ):
        endless = session.invoke_endpoint("other", BODY, timeouts=Timeouts())
        first = asyncio.create_task(endless)
        await asyncio.sleep(0)
        try:
            await session.invoke_endpoint("my-endpoint", BODY)
        finally:
            first.cancel()
            await asyncio.wait({first})


async def call_on_a_closed_session() -> None:
    session = open_twice(NOWHERE)
    await session.aclose()
    await session.invoke_endpoint("my-endpoint", BODY)


async def read_a_closed_stream() -> None:
    async with serve(answer(PART, headers=NAMED)) as server, open_twice(server.url) as session:
        parts = await session.invoke_endpoint_with_response_stream("my-endpoint", BODY)
        await parts.aclose()
        await parts.read()


async def call_over_tls_that_is_not() -> None:
    async def greet(connection: Connection) -> None:
        await connection.send(answer(status="400 Bad Request"))
        await connection.gone()

    async with RawServer(greet) as server:
        await invoke(server.url.replace("http:", "https:"))


async def call_over_tls_that_says_nothing() -> None:
    async with RawServer(Connection.gone) as server:
        await invoke(server.url.replace("http:", "https:"), timeouts=Timeouts(connect=0.2))


async def await_a_failed_inference() -> None:
    async def fail(_request: Any) -> None:
        raise ModelFailure(500, "out of memory")

    async with LocalEndpoint() as local, local.session() as session:
        local.add_model("my-endpoint", fail)
        invocation = await session.invoke_endpoint_async("my-endpoint", body=BODY)
        assert invocation.metadata is not None
        told = f"endpoint my-endpoint, request id {invocation.metadata.request_id}"
        with pytest.raises(AiosmrtError, match=told) as e:
            await invocation.result(timeout=30)
        raise e.value


# ── and what must be said ────────────────────────────────────────────────────────────────────


class Case(NamedTuple):
    error: type[AiosmrtError]
    provoke: Callable[[], Awaitable[None]]
    what: str
    todo: str
    attempts: int | None  # None outside a call
    head: bool = False  # whether a response's head had come, and with it the request id


def inference(code: str, status: int, todo: str, attempts: int, **members: Any) -> Case:
    cls = getattr(errors, code)
    what = f"{code} (HTTP {status}): It is so ("
    return Case(cls, refused(code, status, **members), what, todo, attempts, head=True)


QUICK = {"timeouts": Timeouts(read=0.2, idle=0.2)}
SHORT = {"timeouts": Timeouts(total=0.2)}

# fmt: off
CASES = {
    "no region": Case(
        aiosmrt.ConfigurationError, call_without_region,
        "Looked at: the argument region, AWS_REGION, ", "Pass region='...' or set AWS_REGION", None,
    ),
    "no credentials": Case(
        aiosmrt.CredentialsError, call_without_credentials,
        "AWS_ACCESS_KEY_ID is not set", "Check the credentials given", 0,
    ),
    "a provider that fails": Case(
        aiosmrt.CredentialsError, call_with_sealed_vault,
        "OSError: the vault is sealed", "Check the credentials given", 0,
    ),
    "a bad parameter": Case(
        aiosmrt.ParameterValidationError, call_with_a_bad_parameter,
        "inference_id: it must be 1 to 64 characters", "Nothing was sent", 0,
    ),
    "connection refused": Case(
        aiosmrt.ConnectError, lambda: invoke(NOWHERE),
        "Cannot connect to 127.0.0.1:1: Connection refused", "Check the region", 2,
    ),
    "no such host": Case(
        aiosmrt.ConnectError, lambda: invoke("https://nobody.invalid"),
        "Cannot connect to nobody.invalid: ", "DNS", 2,
    ),
    "not TLS": Case(
        aiosmrt.ConnectError, call_over_tls_that_is_not,
        "Cannot connect to 127.0.0.1:", "Check the region", 2,
    ),
    "no connection": Case(
        aiosmrt.ConnectTimeoutError, call_over_tls_that_says_nothing,
        "No connection was made within Timeouts.connect=0.2 s", "Check the network path", 2,
    ),
    "a reset before the head": Case(
        aiosmrt.ConnectionLostError, broken(invoke, reset=True),
        "before the response's head was complete", "The model may have run", 2,
    ),
    "a reset in the body": Case(
        aiosmrt.ConnectionLostError, broken(invoke, HEAD + b"{", reset=True),
        "reset in the middle", "The model has run, but its answer was lost", 1, head=True,
    ),
    "a body too long for the service": Case(
        aiosmrt.ConnectionLostError, broken(lambda url: invoke(url, bytes(6_291_457)), reset=True),
        "before the response's head was complete", "use InvokeEndpointAsync", 2,
    ),
    "no answer": Case(
        aiosmrt.ReadTimeoutError, broken(invoke, hang=True, options=QUICK),
        "head came within Timeouts.read=0.2 s", "retry_on_read_timeout=True", 1,
    ),
    "a body that stops": Case(
        aiosmrt.ReadTimeoutError, broken(invoke, HEAD + b"{", hang=True, options=QUICK),
        "came within Timeouts.idle=0.2 s", "needs a longer timeout", 1, head=True,
    ),
    "a stream that stops": Case(
        aiosmrt.ReadTimeoutError, broken(stream, HEAD + PART[:20], hang=True, options=QUICK),
        "came within Timeouts.idle=0.2 s", "needs a longer timeout", 1, head=True,
    ),
    "the deadline, before the head": Case(
        aiosmrt.DeadlineExceededError, broken(invoke, hang=True, options=SHORT),
        "while the response's head was waited for", "Raise Timeouts.total", 1,
    ),
    "the deadline, in the body": Case(
        aiosmrt.DeadlineExceededError, broken(invoke, HEAD + b"{", hang=True, options=SHORT),
        "while the response's body was read", "Timeouts.total 0.2 s). Raise", 1, head=True,
    ),
    "all connections in use": Case(
        aiosmrt.PoolTimeoutError, call_while_all_connections_are_in_use,
        "All connections (max_connections=1) were in use", "Raise max_connections", 0,
    ),
    "a closed session": Case(
        aiosmrt.TransportError, call_on_a_closed_session,
        "The session is closed: keep it open", "repeat the call", 0,
    ),
    "not HTTP": Case(
        aiosmrt.TransportError, broken(invoke, b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
        "not an HTTP response", "check that endpoint URL and proxy lead to the service", 1,
    ),
    "a closed stream": Case(
        aiosmrt.TransportError, read_a_closed_stream,
        "The stream was closed before its end: read it first", "repeat the call", 1, head=True,
    ),
    "a body cut off": Case(
        aiosmrt.StreamTruncatedError, broken(invoke, HEAD + b"{"),
        "ended before it was complete: 1 bytes", "treat it as failed", 1, head=True,
    ),
    "a stream cut off": Case(
        aiosmrt.StreamTruncatedError, streamed(PART[:-3]),
        "parts handed out: 1", "handed out before is whole, but the answer", 1, head=True,
    ),
    "a damaged part": Case(
        aiosmrt.ChecksumMismatchError, streamed(DAMAGED),
        "checksum", "the rest of the response is lost", 1, head=True,
    ),
    "a page in a stream's place": Case(
        aiosmrt.ChecksumMismatchError,
        broken(stream, answer(b"<html>Log in, please", headers={"Content-Type": "text/html; a=b"})),
        "checksum", "content type 'text/html'). What came is no event stream: look at what", 1,
    ),
    "an endless part": Case(
        aiosmrt.MessageTooLargeError, streamed(ENDLESS),
        "message of 2147483648 bytes, where the limit is 25165824", "raise the limit", 1, head=True,
    ),
    "a message of no known type": Case(
        aiosmrt.InvalidMessageError, streamed(ODD),
        "none of the known message types", "the rest of the response is lost", 1, head=True,
    ),
    "ModelStreamError": Case(
        aiosmrt.ModelStreamError,
        streamed(exception("ModelStreamError", SO | {"ErrorCode": "ModelInvocationTimeExceeded"})),
        "It is so", "error code ModelInvocationTimeExceeded). Parts", 1, head=True,
    ),
    "InternalStreamFailure": Case(
        aiosmrt.InternalStreamFailure, streamed(exception("InternalStreamFailure", SO)),
        "It is so", "call again if the model may run once more", 1, head=True,
    ),
    "a failed async inference": Case(
        aiosmrt.AsyncInferenceError, await_a_failed_inference,
        "out of memory", "its log group in CloudWatch", None,
    ),
    "ValidationError": inference("ValidationError", 400, "Check the endpoint's name", 1),
    "ModelError": inference(
        "ModelError", 424, "log stream arn:x). The container's log stream", 1,
        OriginalStatusCode=500, OriginalMessage="oom", LogStreamArn="arn:x",
    ),
    "ModelNotReadyException": inference("ModelNotReadyException", 429, "gives it longer", 1),
    "InternalFailure": inference("InternalFailure", 500, "quote the request id", 2),
    "ServiceUnavailable": inference("ServiceUnavailable", 503, "Try again later", 2),
    "InternalDependencyException": inference("InternalDependencyException", 530, "later", 2),
    "ThrottlingException": inference("ThrottlingException", 400, "Send less at once", 2),
    "AccessDeniedException": inference("AccessDeniedException", 403, "Allow sagemaker:Invoke", 1),
    "ExpiredTokenException": inference("ExpiredTokenException", 403, "Get new credentials", 1),
    "a wrong key": Case(
        aiosmrt.UnknownServiceError, refused("UnrecognizedClientException", 403),
        "UnrecognizedClientException (HTTP 403)", "check the access key, its secret", 1, head=True,
    ),
    "a gateway": Case(
        aiosmrt.UnknownServiceError, broken(invoke, answer(b"<html>Oh no", "502 Bad Gateway")),
        "HTTP 502: <html>Oh no (", "look at what answers at the endpoint URL", 2,
    ),
    "a redirect": Case(
        aiosmrt.UnknownServiceError, refused(None, 307),
        "HTTP 307: It is so", "set the endpoint URL to the address that answers", 1, head=True,
    ),
}
# fmt: on


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_text_says_what_where_and_what_to_do(case: Case) -> None:
    with pytest.raises(AiosmrtError) as caught:
        await case.provoke()
    error, text = caught.value, str(caught.value)
    print(f"{type(error).__name__}: {text}")  # noqa: T201 - for who reads them: pytest -rP
    assert type(error) is case.error
    assert case.what in text
    assert case.todo in text[text.index(case.what) :]
    assert text.endswith(".")
    if case.attempts is not None:
        assert error.attempts == case.attempts
        assert re.search(r"\(operation InvokeEndpoint(\w*), endpoint my-endpoint[,)]", text)
        assert (f", attempts {case.attempts}" in text) is (case.attempts > 0)
    assert (f"request id {REQUEST_ID}" in text) is case.head
    if isinstance(error, aiosmrt.TransportError) and not case.head:
        assert f"host {error.host}" in text
    if case.attempts == 2:
        assert "Not tried again: RetryPolicy(max_attempts=2) is used up. " in text
    assert not [
        never for never in (KEYS.secret_access_key, BODY.decode(), "None", "()") if never in text
    ]


def test_every_class_that_is_raised_is_among_them() -> None:
    roots = {"AiosmrtError", "EventStreamError", "ServiceError"}  # nothing of a call raises these
    assert {case.error.__name__ for case in CASES.values()} == set(errors.__all__) - roots


# ── what answers is hostile ──────────────────────────────────────────────────────────────────

EVIL = (
    "ok\r\n2026-11-29 CRITICAL forged\x1b[2J\x1b]0;title\x07\x9b31m\u202e\u2028\udc80" + "x" * 5_000
)
EVENT_STREAM = {"Content-Type": "application/vnd.amazon.eventstream"}
TOKENS = {**EVENT_STREAM, "X-Amzn-SageMaker-Content-Type": "text/event-stream"}


def says(headers: dict[str, str], fields: dict[str, Any] | str, status: int = 400) -> bytes:
    body = fields if isinstance(fields, str) else json.dumps(fields)
    return answer(body.encode(errors="replace"), f"{status} Error", headers)


def streams(message: bytes, headers: dict[str, str] = EVENT_STREAM) -> bytes:
    return answer(PART + message if headers is EVENT_STREAM else message, headers=headers)


def error_message(code: str, text: str) -> bytes:
    told = {":message-type": "error", ":error-code": code, ":error-message": text}
    return encode_message(told, b"")


SENDABLE = EVIL.replace("\udc80", "")
IN_A_HEADER = "a\tb\x9bc\u202ed" + "r" * 5_000
HOSTILE = {
    "message": says({"x-amzn-errortype": "ValidationError"}, {"Message": EVIL}),
    "container's message": says(
        {"x-amzn-errortype": "ModelError"},
        {"OriginalMessage": EVIL, "LogStreamArn": EVIL, "OriginalStatusCode": "9" * 4_000},
        424,
    ),
    "type": says({}, {"__type": f"x#{EVIL}", "message": "m"}),
    "code": says({}, {"code": EVIL}),
    "page": says({}, f"<html>{EVIL}", 502),
    "request id": says({"x-amzn-RequestId": IN_A_HEADER}, {}),
    "error type": says({"x-amzn-errortype": IN_A_HEADER}, {}),
    "content type": answer(b"<html>", headers={"Content-Type": IN_A_HEADER}),
    "exception": streams(
        encode_message(
            {":message-type": "exception", ":exception-type": SENDABLE},
            json.dumps({"Message": EVIL, "ErrorCode": EVIL}).encode(),
        )
    ),
    "broken stream": streams(exception("ModelStreamError", {"Message": EVIL, "ErrorCode": EVIL})),
    "error message": streams(error_message(SENDABLE, SENDABLE)),
    "token": streams(
        part(f"data: {json.dumps({'error': {'message': EVIL, 'type': EVIL}})}\n\n".encode()), TOKENS
    ),
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE)
async def test_what_a_hostile_answer_says_is_one_line_in_texts_logs_and_traces(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    options = {"retries": RetryPolicy(max_attempts=1)}
    async with (
        serve(sent) as server,
        open_session(
            server.url, instrumentation=OpenTelemetry(tracer_provider=tracers), **options
        ) as session,
    ):
        with (
            pytest.raises(AiosmrtError) as caught,
            tracers.get_tracer("").start_span("mine") as own,
        ):
            try:
                async with session.invoke_endpoint_with_response_stream("e", BODY) as parts:
                    async for _ in parts.iter_tokens() if parts.content_type else parts:
                        pass
            except AiosmrtError as error:
                own.record_exception(error)
                logging.getLogger().exception("it failed")
                raise
    error = caught.value
    for text in (str(error), repr(error), error.request_id or ""):
        assert text.isprintable()
        assert len(text) < 8_000
    assert "(operation InvokeEndpointWithResponseStream, endpoint e, attempts 1" in str(error)
    assert [record.getMessage() for record in caplog.records]
    for record in caplog.records:
        assert record.getMessage().isprintable()
    logged = caplog.text.splitlines()
    assert not [line for line in logged if not line.isprintable() or line.startswith("2026-11-29")]
    spans = exporter.get_finished_spans()
    told = [each.attributes for span in spans for each in (span, *span.events)]
    assert len(told) > 3
    for attributes in told:
        for name, value in (attributes or {}).items():
            lines = str(value).splitlines() if name == "exception.stacktrace" else [str(value)]
            assert all(map(str.isprintable, lines)), name
