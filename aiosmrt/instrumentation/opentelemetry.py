"""OpenTelemetry: a client span for each call, metrics, and the trace's headers.

    from aiosmrt.instrumentation.opentelemetry import OpenTelemetry

    async with aiosmrt.Session(instrumentation=OpenTelemetry()) as session: ...

Needs ``aiosmrt[otel]``, which is the API alone; without an SDK all of this does nothing.
No body, custom attribute, credential or text of an error is ever told.

Spans follow the conventions for AWS SDK clients and RPC (OpenTelemetry semantic
conventions 1.44.0: docs/cloud-providers/aws-sdk.md, docs/rpc/rpc-spans.md), in ``rpc.system``
too, which the former still requires and the latter calls ``rpc.system.name``; where
``iter_tokens`` saw a language model's answer, those for generative AI too
(open-telemetry/semantic-conventions-genai: docs/gen-ai/gen-ai-spans.md, gen-ai-metrics.md,
in development). What no convention names begins with ``aiosmrt.``.

A span is named ``SageMaker Runtime.InvokeEndpoint``, is of the kind CLIENT, and lasts until
the output is there, or until the stream has ended, was closed or failed.

==================================  =======================================================
span attribute
==================================  =======================================================
rpc.system, rpc.system.name         ``aws-api``
rpc.service, rpc.method             ``SageMaker Runtime``, the operation
server.address, server.port         of the endpoint URL
cloud.region
aiosmrt.endpoint_name               the SageMaker endpoint
http.request.body.size              bytes
http.response.status_code           of the last attempt's response
aws.request_id                      of the last attempt's response
http.response.body.size             bytes received of it; of a stream with its framing
error.type                          the service's code if it is known, else the error's class
aiosmrt.attempts                    attempts begun
aiosmrt.pool_wait                   seconds of waiting for one of ``max_connections``
aiosmrt.time_to_first_part          seconds, of a stream
aiosmrt.parts                       of a stream
aiosmrt.complete                    of a stream: whether it was received to its end
gen_ai.operation.name               ``chat`` or ``text_completion``
gen_ai.provider.name                ``aws.sagemaker``
gen_ai.request.stream               True
gen_ai.response.finish_reasons
gen_ai.response.time_to_first_chunk seconds
gen_ai.usage.input_tokens           and gen_ai.usage.output_tokens, where they were told
==================================  =======================================================

Events of the span are ``aiosmrt.attempt``, at each attempt's end (``aiosmrt.attempt``,
``aiosmrt.duration``, ``aiosmrt.pool_wait``, ``http.response.status_code``,
``aws.request_id``; of one that failed ``error.type``, of one that is made again
``aiosmrt.retry_delay``), and ``aiosmrt.first_part``. A retry is no error of the span's; the
call's failure is.

==================================  ==================  ===================================
metric
==================================  ==================  ===================================
rpc.client.call.duration            histogram, s
aiosmrt.client.time_to_first_part   histogram, s        streams
aiosmrt.client.active_calls         up-down counter
aiosmrt.client.retries              counter             by the ``error.type`` that led to it
aiosmrt.client.throttles            counter             attempts that were throttled
aiosmrt.client.pool_wait            histogram, s        of attempts that had to wait
gen_ai.client.operation.duration    histogram, s        where ``iter_tokens`` saw an answer
gen_ai.client.token.usage           histogram, {token}  where it was told
==================================  ==================  ===================================

All tell ``server.address``, ``server.port`` and ``aiosmrt.endpoint_name``; the first six
``rpc.system.name`` and ``rpc.method``, the others ``gen_ai.operation.name`` and
``gen_ai.provider.name``; the usage ``gen_ai.token.type``; the durations of what failed, and
the retries, ``error.type``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiosmrt import __version__
from aiosmrt._protocol.operations import INVOKE_ENDPOINT_WITH_RESPONSE_STREAM
from aiosmrt.errors import ERROR_CLASSES, AiosmrtError, ServiceError
from aiosmrt.instrumentation._hooks import CallHooks

try:
    from opentelemetry import context, metrics, propagate, trace
except ImportError as _error:
    raise ImportError(
        "OpenTelemetry's API is not installed: pip install 'aiosmrt[otel]'", name=_error.name
    ) from _error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.context import Context
    from opentelemetry.util.types import AttributeValue

    from aiosmrt.instrumentation._hooks import AttemptEnded, CallEnded, CallStarted, Generation

__all__ = ["OpenTelemetry"]

_SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"
_SYSTEM = "aws-api"
_SERVICE = "SageMaker Runtime"  # the service model's serviceId
_PROVIDER = "aws.sagemaker"
# What an exporter does is not traced: instrumentations agree on the first key, the SDK sets one
# that the API makes up and keeps private.
_SUPPRESS = [
    "suppress_instrumentation",
    getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation"),
]

# The buckets that the conventions advise; and further ones of calls, since an inference may
# last a minute, and a stream eight.
_CALL_SECONDS = [
    *(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
    *(25, 50, 75, 100, 250, 500),
]
_GENERATION_SECONDS = [0.01 * 2**power for power in range(14)]
_TOKENS = [4**power for power in range(14)]


class OpenTelemetry:
    """Follows a session's calls with spans and metrics: ``Session(instrumentation=...)``.

    A call's span has as its parent what is current where the call is awaited. Requests
    carry the span's context in ``X-Amzn-Trace-Id``, which AWS itself understands, and in
    whatever the globally configured propagator writes (``OTEL_PROPAGATORS``; by default
    ``traceparent``, ``tracestate`` and ``baggage``). Proxies and tracers change these on
    the way, so they are not signed.

    Args:
        tracer_provider: Makes the spans; None is the global one.
        meter_provider: Takes the measurements; None is the global one.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("aiosmrt", __version__, tracer_provider, _SCHEMA_URL)
        self._meters = _Meters(
            metrics.get_meter("aiosmrt", __version__, meter_provider, _SCHEMA_URL)
        )

    def __call__(self, call: CallStarted) -> CallHooks | None:
        """Begins a call's span; None where instrumentation is suppressed."""
        if any(map(context.get_value, _SUPPRESS)):
            return None
        return _Traced(call, self._tracer, self._meters)


class _Meters:
    """The instruments of a meter."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.duration = meter.create_histogram(
            "rpc.client.call.duration",
            "s",
            "From a call's beginning to its output, or to its stream's end",
            explicit_bucket_boundaries_advisory=_CALL_SECONDS,
        )
        self.time_to_first_part = meter.create_histogram(
            "aiosmrt.client.time_to_first_part",
            "s",
            "From a call's beginning to its stream's first part",
            explicit_bucket_boundaries_advisory=_CALL_SECONDS,
        )
        self.active_calls = meter.create_up_down_counter(
            "aiosmrt.client.active_calls", "{call}", "Calls under way, open streams included"
        )
        self.retries = meter.create_counter(
            "aiosmrt.client.retries", "{retry}", "Attempts that were made again"
        )
        self.throttles = meter.create_counter(
            "aiosmrt.client.throttles", "{attempt}", "Attempts that were throttled"
        )
        self.pool_wait = meter.create_histogram(
            "aiosmrt.client.pool_wait",
            "s",
            "An attempt's wait for one of the session's connections",
            explicit_bucket_boundaries_advisory=_CALL_SECONDS,
        )
        self.generation_duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration",
            explicit_bucket_boundaries_advisory=_GENERATION_SECONDS,
        )
        self.token_usage = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )


class _Traced(CallHooks):
    """One call's span and measurements."""

    def __init__(self, call: CallStarted, tracer: trace.Tracer, meters: _Meters) -> None:
        super().__init__(call)
        self._meters = meters
        self._endpoint: dict[str, AttributeValue] = {
            "server.address": call.server_address,
            "server.port": call.server_port,
            "aiosmrt.endpoint_name": call.endpoint_name,
        }
        # Of all measurements of the call: the SDK takes its time with each.
        self._common: dict[str, AttributeValue] = {
            "rpc.system.name": _SYSTEM,
            "rpc.method": call.operation,
            **self._endpoint,
        }
        self._pool_wait = 0.0
        self._span = tracer.start_span(
            f"{_SERVICE}.{call.operation}",
            kind=trace.SpanKind.CLIENT,
            attributes={
                **self._common,
                "rpc.system": _SYSTEM,
                "rpc.service": _SERVICE,
                "cloud.region": call.region,
                "http.request.body.size": call.request_bytes,
            },
        )
        self._context: Context = trace.set_span_in_context(self._span)
        meters.active_calls.add(1, self._common, self._context)

    def request_headers(self) -> Mapping[str, str]:
        headers: dict[str, str] = {}
        span = self._span.get_span_context()
        if span.is_valid:
            headers["X-Amzn-Trace-Id"] = _xray_header(span)
        propagate.inject(headers, self._context)
        return headers

    def attempt_ended(self, attempt: AttemptEnded) -> None:
        self._pool_wait += attempt.pool_wait
        if attempt.pool_wait:
            self._meters.pool_wait.record(attempt.pool_wait, self._common, self._context)
        error = attempt.error
        if isinstance(error, ServiceError) and error.is_throttling:
            self._meters.throttles.add(1, self._common, self._context)
        if error is not None and attempt.retry_delay is not None:
            reason = {**self._common, "error.type": _error_type(error)}
            self._meters.retries.add(1, reason, self._context)
        if self._span.is_recording():
            facts: dict[str, AttributeValue | None] = {
                "aiosmrt.attempt": attempt.number,
                "aiosmrt.duration": attempt.duration,
                "aiosmrt.pool_wait": attempt.pool_wait,
                "http.response.status_code": attempt.status_code,
                "aws.request_id": attempt.request_id,
                "error.type": None if error is None else _error_type(error),
                "aiosmrt.retry_delay": attempt.retry_delay,
            }
            self._span.add_event("aiosmrt.attempt", _known(facts))

    def first_part(self, seconds: float) -> None:
        self._meters.time_to_first_part.record(seconds, self._common, self._context)
        self._span.add_event("aiosmrt.first_part")

    def ended(self, end: CallEnded) -> None:
        error_type = None if end.error is None else _error_type(end.error)
        how = _known({"error.type": error_type})
        meters, at = self._meters, self._context
        meters.active_calls.add(-1, self._common, at)
        meters.duration.record(end.duration, {**self._common, **how}, at)
        if end.generation is not None:
            self._measure_generation(end.duration, end.generation, how)
        if self._span.is_recording():
            self._span.set_attributes(self._facts(end) | how)
        if error_type is not None:
            # No description: an error's text may quote what the container said.
            self._span.set_status(trace.StatusCode.ERROR)
        self._span.end()

    def _measure_generation(
        self, duration: float, generation: Generation, how: dict[str, AttributeValue]
    ) -> None:
        meters, at = self._meters, self._context
        common = {**self._endpoint, **_generation_attributes(generation)}
        meters.generation_duration.record(duration, {**common, **how}, at)
        counts = {"input": generation.input_tokens, "output": generation.output_tokens}
        for kind, count in counts.items():
            if count is not None:
                meters.token_usage.record(count, {**common, "gen_ai.token.type": kind}, at)

    def _facts(self, end: CallEnded) -> dict[str, AttributeValue]:
        facts: dict[str, AttributeValue | None] = {
            "aiosmrt.attempts": end.attempts,
            "aiosmrt.pool_wait": self._pool_wait,
            "http.response.status_code": end.status_code,
            "http.response.body.size": end.response_bytes,
            "aws.request_id": end.request_id,
        }
        if self.call.operation == INVOKE_ENDPOINT_WITH_RESPONSE_STREAM.name:
            facts["aiosmrt.time_to_first_part"] = end.time_to_first_part
            facts["aiosmrt.parts"] = end.parts
            facts["aiosmrt.complete"] = end.is_complete
        generation = end.generation
        if generation is not None:
            facts |= _generation_attributes(generation)
            facts |= {
                "gen_ai.request.stream": True,
                "gen_ai.response.finish_reasons": generation.finish_reasons or None,
                "gen_ai.response.time_to_first_chunk": end.time_to_first_part,
                "gen_ai.usage.input_tokens": generation.input_tokens,
                "gen_ai.usage.output_tokens": generation.output_tokens,
            }
        return _known(facts)


def _known(facts: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    return {name: value for name, value in facts.items() if value is not None}


def _generation_attributes(generation: Generation) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": "chat" if generation.is_chat else "text_completion",
        "gen_ai.provider.name": _PROVIDER,
    }


def _error_type(error: BaseException) -> str:
    """One of few words: what the service makes up must not become a dimension of metrics."""
    if isinstance(error, ServiceError) and error.code in ERROR_CLASSES:
        return error.code
    cls = type(error)
    if isinstance(error, AiosmrtError) or cls.__module__ == "builtins":
        return cls.__name__
    return f"{cls.__module__}.{cls.__qualname__}"


def _xray_header(span: trace.SpanContext) -> str:
    """A span's context as X-Ray writes it (AWS X-Ray Developer Guide, "Tracing header")."""
    trace_id = trace.format_trace_id(span.trace_id)
    span_id = trace.format_span_id(span.span_id)
    sampled = int(span.trace_flags.sampled)
    return f"Root=1-{trace_id[:8]}-{trace_id[8:]};Parent={span_id};Sampled={sampled}"
