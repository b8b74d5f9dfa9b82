"""Spans, metrics and headers, as OpenTelemetry's SDK has them, of calls over real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import subprocess
import sys
import warnings

import pytest
from opentelemetry import baggage, context, propagate, trace
from opentelemetry.propagators.aws import AwsXRayPropagator
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from support.waiting import until

import aiosmrt
from aiosmrt import RetryPolicy, Timeouts, UnknownServiceError
from aiosmrt.instrumentation.opentelemetry import OpenTelemetry
from aiosmrt.local import ModelFailure, ModelResponse

CHAT = [
    {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "a"}}]},
    {
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}],
    },
    {
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    },
]


class Telemetry:
    """An SDK of its own, and what it was told."""

    def __init__(self, **options):
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(**options)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def __call__(self, call):
        return OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters)(call)

    @property
    def spans(self):
        return self.exporter.get_finished_spans()

    @property
    def span(self):
        (span,) = self.spans
        return span

    def metrics(self):
        """Every data point by its metric's name: (attributes, point)."""
        data = self.reader.get_metrics_data()
        found = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "aiosmrt"
                assert scope.scope.version == aiosmrt.__version__
                for metric in scope.metrics:
                    points = [(dict(p.attributes), p) for p in metric.data.data_points]
                    found[metric.name] = points
        return found

    def everything(self):
        data = self.reader.get_metrics_data()
        return "".join(span.to_json() for span in self.spans) + (data.to_json() if data else "")


@pytest.fixture
def telemetry():
    made = Telemetry()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
def local(local):
    async def echo(request):
        return ModelResponse(request.body, custom_attributes="sensitive-of-the-model")

    async def words(request):
        for word in (b"one ", b"two ", b"three"):
            yield word

    async def endless(request):
        while True:
            yield b"again"
            await asyncio.sleep(0.001)

    async def chat(request):
        for chunk in CHAT:
            yield b"data: %s\n\n" % json.dumps(chunk).encode()
        yield b"data: [DONE]\n\n"

    async def fail(request):
        raise ModelFailure(500, "sensitive words of the container")

    for model in (echo, words, endless, chat, fail):
        local.add_model(model.__name__, model)
    return local


def common(local, operation="InvokeEndpoint", endpoint_name="echo"):
    """What all measurements of a call tell."""
    return {
        "rpc.system.name": "aws-api",
        "rpc.method": operation,
        "server.address": "127.0.0.1",
        "server.port": int(local.url.rpartition(":")[2]),
        "aiosmrt.endpoint_name": endpoint_name,
    }


def of_the_span(local, *call):
    """What a span tells from its beginning on."""
    return common(local, *call) | {
        "rpc.system": "aws-api",
        "rpc.service": "SageMaker Runtime",
        "cloud.region": local.region,
    }


def seconds(span):
    return (span.end_time - span.start_time) / 1e9


async def test_the_span_of_a_call(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        output = await session.invoke_endpoint("echo", b"12345")
    span = telemetry.span
    assert span.name == "SageMaker Runtime.InvokeEndpoint"
    assert span.kind is SpanKind.CLIENT
    assert span.parent is None
    assert span.status.status_code is StatusCode.UNSET
    assert (span.instrumentation_scope.name, span.instrumentation_scope.version) == (
        "aiosmrt",
        aiosmrt.__version__,
    )
    assert span.instrumentation_scope.schema_url == "https://opentelemetry.io/schemas/1.44.0"
    assert dict(span.attributes) == of_the_span(local) | {
        "http.request.body.size": 5,
        "http.response.body.size": 5,
        "http.response.status_code": 200,
        "aws.request_id": output.metadata.request_id,
        "aiosmrt.attempts": 1,
        "aiosmrt.pool_wait": 0.0,
    }
    (event,) = span.events
    assert event.name == "aiosmrt.attempt"
    attributes = dict(event.attributes)
    assert 0 < attributes.pop("aiosmrt.duration") <= seconds(span)
    assert attributes == {
        "aiosmrt.attempt": 1,
        "aiosmrt.pool_wait": 0.0,
        "http.response.status_code": 200,
        "aws.request_id": output.metadata.request_id,
    }


async def test_the_metrics_of_a_call(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        await session.invoke_endpoint("echo", b"12345")
    metrics = telemetry.metrics()
    assert set(metrics) == {"rpc.client.call.duration", "aiosmrt.client.active_calls"}
    assert [points[0][0] for points in metrics.values()] == [common(local)] * 2
    ((_, duration),) = metrics["rpc.client.call.duration"]
    assert duration.count == 1
    assert 0 < duration.sum <= seconds(telemetry.span) + 1
    ((_, active),) = metrics["aiosmrt.client.active_calls"]
    assert active.value == 0


async def test_units_and_instruments_are_what_is_documented(telemetry, local):
    import aiosmrt.instrumentation.opentelemetry as module

    async def read(session):
        async with session.invoke_endpoint_with_response_stream("chat", b"x") as stream:
            assert [token.text async for token in stream.iter_tokens()]

    async with local.session(instrumentation=telemetry, max_connections=1) as session:
        local.inject(error="ThrottlingException", times=1)
        await asyncio.gather(read(session), read(session))
    ((scope,),) = [r.scope_metrics for r in telemetry.reader.get_metrics_data().resource_metrics]
    units = {metric.name: metric.unit for metric in scope.metrics}
    assert units == {
        "rpc.client.call.duration": "s",
        "aiosmrt.client.time_to_first_part": "s",
        "aiosmrt.client.active_calls": "{call}",
        "aiosmrt.client.retries": "{retry}",
        "aiosmrt.client.throttles": "{attempt}",
        "aiosmrt.client.pool_wait": "s",
        "gen_ai.client.operation.duration": "s",
        "gen_ai.client.token.usage": "{token}",
    }
    for metric in scope.metrics:
        assert metric.description
        assert f"\n{metric.name} " in module.__doc__
    documented = re.findall(r"[a-z_]+(?:\.[a-z_]+)+", module.__doc__)
    for span in telemetry.spans:
        assert set(span.attributes) <= set(documented)


async def test_retries_are_events_and_no_errors(telemetry, local):
    local.inject(error="InternalFailure", times=1)
    local.inject(error="ThrottlingException", times=1)
    async with local.session(instrumentation=telemetry) as session:
        await session.invoke_endpoint("echo", b"x")
    span = telemetry.span
    assert span.status.status_code is StatusCode.UNSET
    assert "error.type" not in span.attributes
    assert span.attributes["aiosmrt.attempts"] == len(span.events)
    *failed, last = [dict(event.attributes) for event in span.events]
    assert failed
    assert [attempt["aiosmrt.attempt"] for attempt in failed] == list(range(1, len(failed) + 1))
    reasons = [attempt["error.type"] for attempt in failed]
    assert set(reasons) <= {"InternalFailure", "ThrottlingException"}
    for attempt in failed:
        assert attempt["http.response.status_code"] >= 400
        assert attempt["aws.request_id"]
        assert 0 <= attempt["aiosmrt.retry_delay"] <= 2
    assert not {"error.type", "aiosmrt.retry_delay"} & set(last)
    assert last["http.response.status_code"] == 200

    metrics = telemetry.metrics()
    retries = {a["error.type"]: point.value for a, point in metrics["aiosmrt.client.retries"]}
    assert retries == {reason: reasons.count(reason) for reason in reasons}
    throttles = metrics.get("aiosmrt.client.throttles", [])
    assert sum(point.value for _, point in throttles) == reasons.count("ThrottlingException")
    assert "aiosmrt.client.pool_wait" not in metrics


@pytest.mark.parametrize(
    "code, error_type",
    [
        ("ThrottlingException", "ThrottlingException"),
        ("TooManyRequestsException", "TooManyRequestsException"),
        ("ValidationError", "ValidationError"),
        ("MadeUpByTheService", "UnknownServiceError"),
    ],
)
async def test_a_failed_calls_type_is_one_of_few(telemetry, local, code, error_type):
    local.inject(error=code, status_code=400)
    once = RetryPolicy(max_attempts=1)
    async with local.session(instrumentation=telemetry, retries=once) as session:
        with pytest.raises(aiosmrt.ServiceError) as caught:
            await session.invoke_endpoint("echo", b"x")
    assert isinstance(caught.value, UnknownServiceError) == (error_type == "UnknownServiceError")
    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    assert span.attributes["error.type"] == error_type
    assert span.attributes["http.response.status_code"] == 400
    assert span.attributes["aws.request_id"] == caught.value.request_id
    (event,) = span.events
    assert event.attributes["error.type"] == error_type
    assert "aiosmrt.retry_delay" not in event.attributes
    ((attributes, _),) = telemetry.metrics()["rpc.client.call.duration"]
    assert attributes == common(local) | {"error.type": error_type}
    assert "aiosmrt.client.retries" not in telemetry.metrics()


async def test_a_call_without_an_answer(telemetry, local):
    once = RetryPolicy(max_attempts=1)
    options = {"region": "us-east-1", "credentials": local.credentials, "retries": once}
    async with aiosmrt.Session(
        endpoint_url="http://127.0.0.1:1", instrumentation=telemetry, **options
    ) as session:
        with pytest.raises(aiosmrt.ConnectError):
            await session.invoke_endpoint("echo", b"x")
    attributes = telemetry.span.attributes
    assert attributes["error.type"] == "ConnectError"
    assert not {"http.response.status_code", "aws.request_id"} & set(attributes)


async def test_a_cancelled_call(telemetry, local):
    local.inject(latency=30)
    async with local.session(instrumentation=telemetry) as session:
        task = asyncio.ensure_future(session.invoke_endpoint("echo", b"x"))
        await until(lambda: local.received)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "asyncio.exceptions.CancelledError"


async def test_calls_under_way_are_counted(telemetry, local):
    go_on = asyncio.Event()

    async def held(request):
        await go_on.wait()
        return b""

    local.add_model("held", held)
    async with local.session(instrumentation=telemetry) as session:
        calls = [asyncio.ensure_future(session.invoke_endpoint("held", b"x")) for _ in range(3)]
        await asyncio.sleep(0)
        ((_, active),) = telemetry.metrics()["aiosmrt.client.active_calls"]
        assert active.value == 3
        go_on.set()
        await asyncio.gather(*calls)
    ((_, active),) = telemetry.metrics()["aiosmrt.client.active_calls"]
    assert active.value == 0


async def test_the_wait_for_a_connection_is_measured(telemetry, local):
    local.inject(latency=0.1)
    async with local.session(instrumentation=telemetry, max_connections=1) as session:
        await asyncio.gather(*[session.invoke_endpoint("echo", b"x") for _ in range(2)])
    waits = sorted(span.attributes["aiosmrt.pool_wait"] for span in telemetry.spans)
    assert waits[0] == 0.0
    assert waits[1] > 0
    ((attributes, measured),) = telemetry.metrics()["aiosmrt.client.pool_wait"]
    assert attributes == common(local)
    assert (measured.count, measured.sum) == (1, pytest.approx(waits[1]))


async def test_each_call_has_the_parent_that_is_current_where_it_is_awaited(telemetry, local):
    async def one(session, number):
        with telemetry.tracer.start_as_current_span(f"parent {number}") as parent:
            await asyncio.sleep(0)
            if number % 2:
                await session.invoke_endpoint("echo", b"x")
            else:
                async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
                    await stream.read()
            return parent.get_span_context()

    async with local.session(instrumentation=telemetry) as session:
        parents = await asyncio.gather(*[one(session, number) for number in range(20)])
    calls = [span for span in telemetry.spans if span.kind is SpanKind.CLIENT]
    assert len(calls) == 20
    by_parent = {(span.parent.trace_id, span.parent.span_id): span for span in calls}
    for number, parent in enumerate(parents):
        span = by_parent[parent.trace_id, parent.span_id]
        assert span.context.trace_id == parent.trace_id
        assert span.name.endswith("InvokeEndpoint" if number % 2 else "WithResponseStream")


async def test_the_calls_of_a_batch_belong_to_who_reads_it(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        with telemetry.tracer.start_as_current_span("batch") as parent:
            async with session.invoke_many("echo", [b"x"] * 10, concurrency=3) as items:
                assert [item.error async for item in items] == [None] * 10
            async with session.stream_many("words", [b"x"] * 2) as items:
                assert [item.error async for item in items] == [None] * 2
    calls = [span for span in telemetry.spans if span.kind is SpanKind.CLIENT]
    assert len(calls) == 12
    assert {span.parent.span_id for span in calls} == {parent.get_span_context().span_id}
    assert {span.attributes.get("aiosmrt.complete") for span in calls} == {None, True}


async def test_an_async_inference_has_the_span_of_its_invocation(telemetry, local):
    local.put_object("s3://bucket/key", b"input")
    async with local.session(instrumentation=telemetry) as session:
        invocation = await session.invoke_endpoint_async("echo", "s3://bucket/key")
    assert telemetry.span.name == "SageMaker Runtime.InvokeEndpointAsync"
    assert telemetry.span.attributes["http.response.status_code"] == 202
    assert telemetry.span.attributes["aws.request_id"] == invocation.metadata.request_id


# Streams, by the way in which they end.


async def test_a_stream_read_to_its_end(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
            assert not telemetry.spans
            assert len([part async for part in stream]) == 3
            received = stream.stats.bytes_received
    span = telemetry.span
    attributes = dict(span.attributes)
    first = attributes.pop("aiosmrt.time_to_first_part")
    assert 0 < first <= seconds(span)
    assert attributes == of_the_span(local, "InvokeEndpointWithResponseStream", "words") | {
        "http.request.body.size": 1,
        "http.response.body.size": received,
        "http.response.status_code": 200,
        "aws.request_id": stream.metadata.request_id,
        "aiosmrt.attempts": 1,
        "aiosmrt.pool_wait": 0.0,
        "aiosmrt.parts": 3,
        "aiosmrt.complete": True,
    }
    assert [event.name for event in span.events] == ["aiosmrt.attempt", "aiosmrt.first_part"]
    ((attributes, measured),) = telemetry.metrics()["aiosmrt.client.time_to_first_part"]
    assert attributes == common(local, "InvokeEndpointWithResponseStream", "words")
    assert (measured.count, measured.sum) == (1, pytest.approx(first))


async def test_a_stream_left_early(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        async with session.invoke_endpoint_with_response_stream("endless", b"x") as stream:
            async for _ in stream:
                break
    span = telemetry.span
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["aiosmrt.complete"] is False
    assert span.attributes["aiosmrt.parts"] == 1


async def test_a_stream_that_is_cut(telemetry, local):
    local.inject(cut_at=150)
    async with local.session(instrumentation=telemetry) as session:
        async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
            with pytest.raises(aiosmrt.AiosmrtError) as caught:
                await stream.read()
    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == type(caught.value).__name__
    assert span.attributes["aiosmrt.complete"] is False
    assert span.attributes["http.response.status_code"] == 200


async def test_a_stream_that_code_of_the_callers_fails(telemetry, local):
    def require_terminal(part):
        raise LookupError("sensitive")

    async with local.session(instrumentation=telemetry) as session:
        async with session.invoke_endpoint_with_response_stream(
            "words", b"x", require_terminal=require_terminal
        ) as stream:
            with pytest.raises(LookupError):
                await stream.read()
    assert telemetry.span.attributes["error.type"] == "LookupError"
    assert "sensitive" not in telemetry.everything()


async def test_a_stream_whose_reader_is_cancelled(telemetry, local):
    async def read(session, started):
        async with session.invoke_endpoint_with_response_stream("endless", b"x") as stream:
            async for _ in stream:
                started.set()

    async with local.session(instrumentation=telemetry) as session:
        started = asyncio.Event()
        task = asyncio.ensure_future(read(session, started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert telemetry.span.attributes["error.type"] == "asyncio.exceptions.CancelledError"
    assert telemetry.span.attributes["aiosmrt.complete"] is False


async def test_a_stream_that_is_dropped(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        stream = await session.invoke_endpoint_with_response_stream("endless", b"x")
        await anext(stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del stream
            gc.collect()
        await asyncio.sleep(0)
    span = telemetry.span
    assert span.status.status_code is StatusCode.UNSET
    assert span.attributes["aiosmrt.complete"] is False
    ((_, active),) = telemetry.metrics()["aiosmrt.client.active_calls"]
    assert active.value == 0


async def test_a_language_models_answer(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        async with session.invoke_endpoint_with_response_stream("chat", b"x") as stream:
            text = "".join([token.text async for token in stream.iter_tokens()])
    assert text == "ab"
    attributes = telemetry.span.attributes
    generation = {name: attributes[name] for name in attributes if name.startswith("gen_ai.")}
    assert generation == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.sagemaker",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": attributes["aiosmrt.time_to_first_part"],
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
    }
    metrics = telemetry.metrics()
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "aws.sagemaker",
        "aiosmrt.endpoint_name": "chat",
        "server.address": "127.0.0.1",
        "server.port": int(local.url.rpartition(":")[2]),
    }
    ((attributes, duration),) = metrics["gen_ai.client.operation.duration"]
    assert (attributes, duration.count) == (expected, 1)
    usage = {
        a.pop("gen_ai.token.type"): (a, p.sum) for a, p in metrics["gen_ai.client.token.usage"]
    }
    assert usage == {"input": (expected, 7), "output": (expected, 2)}


async def test_an_answer_that_tells_no_usage(telemetry, local):
    async def plain(request):
        yield b'{"token": {"text": "a"}}\n'

    local.add_model("plain", plain)
    async with local.session(instrumentation=telemetry) as session:
        async with session.invoke_endpoint_with_response_stream("plain", b"x") as stream:
            assert [token.text async for token in stream.iter_tokens()] == ["a"]
    attributes = telemetry.span.attributes
    assert attributes["gen_ai.operation.name"] == "text_completion"
    assert not {name for name in attributes if "usage" in name or "finish" in name}
    assert "gen_ai.client.token.usage" not in telemetry.metrics()


# Headers.


def received(local):
    return local.received[-1].headers


async def test_the_context_goes_with_the_request_and_the_signature_holds(telemetry, local):
    async with local.session(instrumentation=telemetry) as session:
        token = context.attach(baggage.set_baggage("tenant", "blue"))
        try:
            await session.invoke_endpoint("echo", b"x")
        finally:
            context.detach(token)
    headers, span = received(local), telemetry.span.context
    trace_id, span_id = f"{span.trace_id:032x}", f"{span.span_id:016x}"
    assert headers["traceparent"] == f"00-{trace_id}-{span_id}-{span.trace_flags:02x}"
    assert headers["baggage"] == "tenant=blue"
    assert headers["X-Amzn-Trace-Id"] == (
        f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={span_id};Sampled=1"
    )
    extracted = AwsXRayPropagator().extract({"X-Amzn-Trace-Id": headers["X-Amzn-Trace-Id"]})
    there = trace.get_current_span(extracted).get_span_context()
    assert (there.trace_id, there.span_id) == (span.trace_id, span.span_id)
    assert there.trace_flags.sampled


async def test_the_state_of_a_remote_parent_is_passed_on(telemetry, local):
    incoming = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "vendor=value",
    }
    token = context.attach(propagate.extract(incoming))
    try:
        async with local.session(instrumentation=telemetry) as session:
            await session.invoke_endpoint("echo", b"x")
    finally:
        context.detach(token)
    assert f"{telemetry.span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert received(local)["tracestate"] == "vendor=value"


async def test_every_attempt_carries_the_context(telemetry, local):
    local.inject(error="InternalFailure", times=1)
    async with local.session(instrumentation=telemetry) as session:
        async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
            await stream.read()
    sent = {request.headers["traceparent"] for request in local.received}
    assert (len(local.received), len(sent)) == (2, 1)


async def test_the_global_propagator_is_used(telemetry, local, monkeypatch):
    monkeypatch.setattr(propagate, "_HTTP_TEXT_FORMAT", AwsXRayPropagator(), raising=False)
    monkeypatch.setattr(propagate, "propagator", AwsXRayPropagator(), raising=False)
    async with local.session(instrumentation=telemetry) as session:
        await session.invoke_endpoint("echo", b"x")
    headers = received(local)
    assert "traceparent" not in headers
    assert headers.getall("X-Amzn-Trace-Id") == [
        "Root=1-{:.8}-{};Parent={:016x};Sampled=1".format(
            f"{telemetry.span.context.trace_id:032x}",
            f"{telemetry.span.context.trace_id:032x}"[8:],
            telemetry.span.context.span_id,
        )
    ]


async def test_a_call_that_is_not_sampled_says_so(local):
    telemetry = Telemetry(sampler=ALWAYS_OFF)
    local.inject(error="InternalFailure", times=1)
    async with local.session(instrumentation=telemetry) as session:
        await session.invoke_endpoint("echo", b"x")
        async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
            await stream.read()
    assert not telemetry.spans
    assert not int(received(local)["traceparent"].rpartition("-")[2], 16) & 1
    assert received(local)["X-Amzn-Trace-Id"].endswith(";Sampled=0")
    assert len(telemetry.metrics()["rpc.client.call.duration"]) == 2
    telemetry.tracers.shutdown()
    telemetry.meters.shutdown()


async def test_without_an_sdk_nothing_is_added(local):
    async with local.session(instrumentation=OpenTelemetry()) as session:
        assert (await session.invoke_endpoint("echo", b"x")).body == b"x"
        async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
            assert await stream.read() == b"one two three"
    assert not {"traceparent", "x-amzn-trace-id", "baggage"} & {*map(str.lower, received(local))}


async def test_what_is_suppressed_is_not_followed(telemetry, local):
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        async with local.session(instrumentation=telemetry) as session:
            await session.invoke_endpoint("echo", b"x")
    finally:
        context.detach(token)
    assert not telemetry.spans
    assert not telemetry.metrics()


async def test_what_an_exporter_calls_is_not_followed(telemetry, local):
    called = []

    class Exporter(SpanExporter):
        def export(self, spans):
            async def call():
                async with local.session(instrumentation=telemetry) as session:
                    called.append((await session.invoke_endpoint("echo", b"x")).body)

            asyncio.run(call())
            return SpanExportResult.SUCCESS

    processor = SimpleSpanProcessor(Exporter())
    with telemetry.tracer.start_as_current_span("exported") as span:
        pass
    await asyncio.to_thread(processor.on_end, span)
    assert called == [b"x"]
    assert [span.name for span in telemetry.spans] == ["exported"]


async def test_nothing_sensitive_is_told(telemetry, local, caplog):
    caplog.set_level("DEBUG")
    keys = local.credentials
    async with local.session(instrumentation=telemetry) as session:
        await session.invoke_endpoint(
            "echo", b"sensitive-body", custom_attributes="sensitive-attributes"
        )
        async with session.invoke_endpoint_with_response_stream(
            "words", b"sensitive-body", custom_attributes="sensitive-attributes"
        ) as stream:
            await stream.read()
        async with session.invoke_endpoint_with_response_stream("chat", b"sensitive") as stream:
            assert [token async for token in stream.iter_tokens()]
        with pytest.raises(aiosmrt.ModelError, match="sensitive"):
            await session.invoke_endpoint("fail", b"sensitive-body")
        local.inject(latency=10)
        with pytest.raises(aiosmrt.ReadTimeoutError):
            await session.invoke_endpoint("echo", b"x", timeouts=Timeouts(read=0.01))
    assert "InvokeEndpoint" in telemetry.everything()
    assert "attempt" in caplog.text
    told = telemetry.everything() + caplog.text
    for secret in ("sensitive", "one two", keys.secret_access_key, keys.access_key_id, "Signature"):
        assert secret not in told


def test_the_global_providers_may_come_later():
    script = """
import asyncio
import aiosmrt
from aiosmrt.instrumentation.opentelemetry import OpenTelemetry
from aiosmrt.local import LocalEndpoint
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

async def echo(request):
    return request.body

async def main():
    async with LocalEndpoint() as local, local.session(instrumentation=OpenTelemetry()) as session:
        local.add_model("echo", echo)
        exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(MeterProvider([reader]))
        await session.invoke_endpoint("echo", b"x")
    print(len(exporter.get_finished_spans()), reader.get_metrics_data() is not None)

asyncio.run(main())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["1", "True"]


def test_without_the_extra_the_import_names_it():
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import aiosmrt.instrumentation\n"
        "import aiosmrt.instrumentation.opentelemetry\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert "ImportError" in run.stderr
    assert "pip install 'aiosmrt[otel]'" in run.stderr
