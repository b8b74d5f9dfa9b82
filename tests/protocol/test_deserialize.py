"""Outputs and errors: as botocore's parsers read the same bytes, and safe where those break."""

from __future__ import annotations

import io
import json
import logging
import pickle

import attrs
import pytest
from botocore import xform_name
from botocore.exceptions import EventStreamError
from botocore.parsers import create_parser
from botocore.response import StreamingBody
from hypothesis import example, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from support.readable import is_readable
from support.service_model import MODEL

from aiosmrt._protocol.deserialize import (
    carries_part,
    parse_error,
    parse_invoke_endpoint,
    parse_invoke_endpoint_async,
    parse_stream_head,
    request_id,
)
from aiosmrt._protocol.models import PayloadPart, ResponseMetadata
from aiosmrt.errors import (
    ERROR_CLASSES,
    InternalFailure,
    InternalStreamFailure,
    InvalidMessageError,
    ModelError,
    ModelNotReadyException,
    ModelStreamError,
    ServiceError,
    ThrottlingException,
    UnknownServiceError,
    ValidationError,
)
from aiosmrt.eventstream import Byte, Message, encode_message

PARSER = create_parser("rest-json")
STREAM = "InvokeEndpointWithResponseStream"
PARSERS = {
    "InvokeEndpoint": parse_invoke_endpoint,
    "InvokeEndpointAsync": parse_invoke_endpoint_async,
    STREAM: lambda body, metadata: parse_stream_head(metadata),
}


def metadata_of(headers=(), status_code=200):
    headers = CIMultiDict(headers)
    return ResponseMetadata(
        request_id=request_id(headers), status_code=status_code, headers=headers, attempts=2
    )


# Outputs.


def botocores_output(operation, headers, body):
    """The output's members by our names, without the body."""
    model = MODEL.operation_model(operation)
    if model.has_streaming_output:
        body = StreamingBody(io.BytesIO(body), len(body))
    response = {
        "status_code": 200,
        "headers": CIMultiDict(headers),
        "body": body,
        "context": {"operation_name": operation},
    }
    parsed = PARSER.parse(response, model.output_shape)
    del parsed["ResponseMetadata"]
    parsed.pop("Body", None)
    return {xform_name(name): value for name, value in parsed.items()}


def given_fields(output):
    fields = output if isinstance(output, dict) else attrs.asdict(output, recurse=False)
    return {
        name: value
        for name, value in fields.items()
        # botocore leaves the response's date among its metadata.
        if name not in {"accepted_at", "body", "metadata"} and value is not None
    }


def response_headers(operation):
    """Random headers: the output's, under names in any case, and others."""
    shape = MODEL.operation_model(operation).output_shape
    names = [m.serialization["name"] for m in shape.members.values() if "name" in m.serialization]
    spelt = st.sampled_from([*names, "x-amzn-RequestId", "Date", "X-Amzn-SageMaker-Unknown"])
    spelt = spelt.flatmap(lambda name: st.sampled_from([name, name.lower(), name.upper()]))
    value = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
    # A header twice is botocore's own: HTTP lets either be taken.
    return st.lists(st.tuples(spelt, value), unique_by=lambda pair: pair[0].lower())


@pytest.mark.parametrize("operation", sorted(PARSERS))
@given(data=st.data())
def test_an_output_is_botocores(operation, data):
    headers = data.draw(response_headers(operation))
    body = data.draw(st.binary())
    if operation == "InvokeEndpointAsync":
        fields = st.fixed_dictionaries({}, optional={"InferenceId": st.text(), "X": st.integers()})
        body = json.dumps(data.draw(fields)).encode()
    metadata = metadata_of(headers)
    output = PARSERS[operation](body, metadata)
    assert given_fields(output) == botocores_output(operation, headers, body)
    assert isinstance(output, dict) or output.metadata is metadata
    if operation == "InvokeEndpoint":
        assert output.body is body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"null",
        b"[]",
        b'"id"',
        b"{",
        b"\xff",
        b'{"InferenceId": null}',
        b'{"InferenceId": 5}',
        b'{"InferenceId": ["id"]}',
        b"[" * 100_000,
    ],
    ids=lambda body: repr(body[:25]),
)
def test_an_accepted_inference_without_an_id_loses_nothing_else(body):
    headers = {"x-amzn-sagemaker-outputlocation": "s3://bucket/out"}
    output = parse_invoke_endpoint_async(body, metadata_of(headers, 202))
    assert given_fields(output) == {"output_location": "s3://bucket/out"}


@pytest.mark.parametrize(
    "date, expected",
    [
        ("Fri, 02 Jan 2026 03:04:05 GMT", "2026-01-02T03:04:05+00:00"),
        ("Fri, 02 Jan 2026 03:04:05 -0000", "2026-01-02T03:04:05+00:00"),
        ("Fri, 02 Jan 2026 03:04:05 +0200", "2026-01-02T01:04:05+00:00"),
        ("Fri, 02 Jan 2026 03:04:05", "2026-01-02T03:04:05+00:00"),
        ("Mon, 01 Jan 1900 00:00:00 GMT", "1900-01-01T00:00:00+00:00"),
        ("Fri, 31 Dec 9999 23:59:59 GMT", "9999-12-31T23:59:59+00:00"),
        ("Fri, 31 Dec 9999 23:59:59 -0100", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_an_inference_is_accepted_when_the_response_says(date, expected):
    headers = {} if date is None else {"date": date}
    accepted_at = parse_invoke_endpoint_async(b"{}", metadata_of(headers, 202)).accepted_at
    assert (accepted_at and accepted_at.isoformat()) == expected


def test_a_response_without_headers_is_an_output_of_nones():
    assert given_fields(parse_invoke_endpoint(b"x", metadata_of())) == {}
    assert given_fields(parse_stream_head(metadata_of())) == {}
    assert parse_invoke_endpoint(b"x", metadata_of()).metadata.request_id is None


def test_the_request_id_is_found_in_any_case():
    assert request_id(CIMultiDict({"X-AMZN-REQUESTID": "r"})) == "r"
    assert request_id(CIMultiDict()) is None


# What HTTP lets stand in a header's value.
@given(st.lists(st.sampled_from([9, *range(0x20, 0x7F), *range(0x80, 0x100)])).map(bytes))
@example(b"a\tb")
@example("a\u202eb".encode())
@example(b"5af4e30d-c263-4a1b-9d0a-0123456789ab" * 300)
def test_a_request_id_can_be_shown_whatever_a_header_holds(value):
    told = value.decode("utf-8", "surrogateescape")
    shown = request_id(CIMultiDict({"x-amzn-RequestId": told}))
    if not told:
        assert shown is None
    elif told.isprintable() and len(told) <= 128:
        assert shown == told
    else:
        assert is_readable(shown)
        assert len(shown) < 200


# Errors of a response.


def botocores_error(status, headers, body):
    """Code, message and the modelled members that botocore's client would give."""
    response = {"status_code": status, "headers": CIMultiDict(headers), "body": body, "context": {}}
    parsed = PARSER.parse(response, MODEL.operation_model("InvokeEndpoint").output_shape)
    code, message = parsed["Error"]["Code"], parsed["Error"]["Message"]
    shape = MODEL.shape_for_error_code(code)
    members = PARSER.parse(response, shape) if shape is not None else {}
    members.pop("Message", None)
    found = {xform_name(name): value for name, value in members.items()}
    return code, message, found, parsed["ResponseMetadata"].get("RequestId")


def our_error(status, headers, body):
    error = parse_error(status, CIMultiDict(headers), body, attempts=3)
    members = {
        name: value
        for name, value in vars(error).items()
        if name not in {"message", "code", "status_code", "request_id", "attempts"}
        and value is not None
    }
    assert error.status_code == status
    assert error.attempts == 3
    assert type(error) is ERROR_CLASSES.get(error.code, UnknownServiceError)
    return error.code, error.message, members, error.request_id


TYPE = "x-amzn-errortype"
AGREED = [
    # Where the code is, and in which order it is looked for.
    (400, {TYPE: "ValidationError"}, b'{"message": "No"}'),
    (400, {"X-Amzn-ErrorType": "ValidationError"}, b'{"message": "No"}'),
    (400, {}, b'{"code": "ValidationError", "message": "No"}'),
    (400, {}, b'{"Code": "ValidationError", "message": "No"}'),
    (400, {}, b'{"__type": "ValidationError", "message": "No"}'),
    (400, {TYPE: "ValidationError"}, b'{"code": "InternalFailure", "message": "No"}'),
    (400, {}, b'{"code": "A", "Code": "B", "__type": "C"}'),
    (400, {}, b'{"Code": "B", "__type": "C"}'),
    (404, {}, b'{"message": "No"}'),
    (404, {}, b"{}"),
    (404, {}, b""),
    # How it is written.
    (400, {TYPE: "ValidationError:http://internal.amazon.com/coral/a.b/"}, b"{}"),
    (400, {TYPE: "com.amazonaws.sagemaker#ValidationError"}, b"{}"),
    (400, {TYPE: "com.amazonaws.sagemaker#ValidationError:http://a.example/b#c"}, b"{}"),
    (400, {TYPE: "a#b#ValidationError"}, b"{}"),
    (400, {}, b'{"__type": "com.amazonaws.sagemaker#ValidationError:http://a.example/"}'),
    (400, {}, b'{"code": "com.amazonaws.sagemaker#ValidationError:http://a.example/"}'),
    # The message.
    (400, {TYPE: "ValidationError"}, b'{"Message": "No"}'),
    (400, {TYPE: "ValidationError"}, b'{"message": "a", "Message": "b"}'),
    (400, {TYPE: "ValidationError"}, b'{"other": "No"}'),
    (400, {TYPE: "ValidationError"}, '{"message": "käse \U0001f600"}'.encode()),
    (403, {}, b"Forbidden by the proxy"),
    (502, {}, b"Bad Gateway, in plain text"),
    (400, {TYPE: "ValidationError"}, b"not JSON"),
    (400, {}, b"{{{{{"),
    (400, {}, b"a" * 500),
    (400, {}, "\U0001f600".encode() * 500),
    # The modelled ones, and their members.
    (424, {TYPE: "ModelError"}, b'{"Message": "m", "OriginalStatusCode": 500}'),
    (
        424,
        {TYPE: "ModelError", "x-amzn-RequestId": "r"},
        b'{"OriginalStatusCode": 400, "OriginalMessage": "om", "LogStreamArn": "arn:aws:logs:x"}',
    ),
    (424, {TYPE: "ModelError"}, b'{"OriginalStatusCode": null, "OriginalMessage": null}'),
    (424, {TYPE: "ModelError"}, b'{"OriginalStatusCode": "500"}'),
    (424, {TYPE: "ModelError"}, b'{"OriginalStatusCode": 500.0}'),
    (424, {TYPE: "ModelError"}, b'{"OriginalStatusCode": -1}'),
    (424, {TYPE: "ModelError"}, b'{"OriginalStatusCode": ' + b"9" * 300 + b"}"),
    (429, {TYPE: "ModelNotReadyException"}, b'{"Message": "Loading"}'),
    (500, {TYPE: "InternalFailure"}, b'{"Message": "Sorry"}'),
    (503, {TYPE: "ServiceUnavailable"}, b'{"Message": "Sorry"}'),
    (530, {TYPE: "InternalDependencyException"}, b'{"Message": "Sorry"}'),
    (400, {TYPE: "ModelStreamError"}, b'{"Message": "m", "ErrorCode": "StreamBroken"}'),
    (400, {TYPE: "InternalStreamFailure"}, b'{"Message": "m"}'),
    # Those of AWS's front door.
    (400, {TYPE: "ValidationException"}, b'{"message": "m"}'),
    (400, {TYPE: "ThrottlingException"}, b'{"message": "Rate exceeded"}'),
    (403, {TYPE: "AccessDeniedException"}, b'{"Message": "m"}'),
    (403, {TYPE: "ExpiredTokenException"}, b'{"message": "m"}'),
    (403, {TYPE: "InvalidSignatureException"}, b'{"message": "m"}'),
    (418, {TYPE: "TeapotException"}, b'{"message": "m", "OriginalStatusCode": 500}'),
]


@pytest.mark.parametrize("status, headers, body", AGREED)
def test_an_error_is_botocores(status, headers, body):
    assert our_error(status, headers, body) == botocores_error(status, headers, body)


CODES = ["ModelError", "ValidationError", "SlowDown", "a.b#InternalFailure", "X:http://y/", "A#B:C"]
code = st.sampled_from(CODES)
member = st.none() | st.text(st.characters(codec="utf-8"), min_size=1)
error_fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("code", "Code", "__type"), code),
        **dict.fromkeys(("message", "Message"), st.text(st.characters(codec="utf-8"), min_size=1)),
        **dict.fromkeys(("OriginalMessage", "LogStreamArn"), member),
        "OriginalStatusCode": st.none() | st.integers(),
    },
)


@settings(max_examples=150)
@given(
    status=st.sampled_from([301, 400, 403, 404, 424, 429, 500, 503, 530]),
    headers=st.fixed_dictionaries({}, optional={TYPE: code, "x-amzn-RequestId": st.just("r")}),
    fields=error_fields,
)
def test_a_random_error_is_botocores(status, headers, fields):
    body = json.dumps(fields).encode()
    assert our_error(status, headers, body) == botocores_error(status, headers, body)


# Where botocore breaks, or tells less: (status, headers, body), then class, code, message.
BETTER = [
    # null, an empty text or another type is as good as missing.
    (400, {TYPE: ""}, b'{"code": "ValidationError"}', ValidationError, "ValidationError", ""),
    (400, {}, b'{"code": null, "Code": "ModelError"}', ModelError, "ModelError", ""),
    (400, {}, b'{"code": 5}', UnknownServiceError, "400", ""),
    (400, {}, b'{"__type": null}', UnknownServiceError, "400", ""),
    (400, {}, b'{"__type": ["ModelError"]}', UnknownServiceError, "400", ""),
    (400, {TYPE: ":"}, b"{}", UnknownServiceError, "400", ""),
    (400, {TYPE: "a#"}, b"{}", UnknownServiceError, "400", ""),
    (400, {TYPE: "ModelError "}, b"{}", ModelError, "ModelError", ""),
    (400, {}, b'{"message": null}', UnknownServiceError, "400", ""),
    (400, {}, b'{"message": null, "Message": "m"}', UnknownServiceError, "400", "m"),
    (400, {}, b'{"message": "", "Message": "m"}', UnknownServiceError, "400", "m"),
    (400, {}, b'{"message": {"a": 1}}', UnknownServiceError, "400", ""),
    # JSON, but no object: the body is the message.
    (400, {}, b"[1, 2]", UnknownServiceError, "400", "[1, 2]"),
    (400, {}, b'"text"', UnknownServiceError, "400", '"text"'),
    (400, {}, b"null", UnknownServiceError, "400", "null"),
    (424, {TYPE: "ModelError"}, b"[1]", ModelError, "ModelError", "[1]"),
    # Not JSON either.
    (500, {}, b"<html>\n", UnknownServiceError, "500", "<html>"),
    (500, {TYPE: "InternalFailure"}, b"", InternalFailure, "InternalFailure", ""),
    (400, {}, b"  \n ", UnknownServiceError, "400", ""),
    (400, {}, b"\xff\xfe\xfd", UnknownServiceError, "400", "\ufffd\ufffd\ufffd"),
    (400, {}, b"[" * 100_000, UnknownServiceError, "400", "[" * 500 + "..."),
    (400, {}, b'{"a":' * 100_000, UnknownServiceError, "400", '{"a":' * 100 + "..."),
    (400, {}, b"a" * 501, UnknownServiceError, "400", "a" * 500 + "..."),
    (400, {}, "é".encode() * 100_000, UnknownServiceError, "400", "é" * 500 + "..."),
    (400, {}, "\U0001f600".encode() * 501, UnknownServiceError, "400", "\U0001f600" * 500 + "..."),
    # Half a surrogate pair, as a service that cuts JSON leaves it, could not be printed.
    (400, {}, b'{"message": "cut \\ud83d"}', UnknownServiceError, "400", "cut ?"),
    (400, {TYPE: "A\udcff"}, b"{}", UnknownServiceError, "A?", ""),
    # UTF-16, which json.loads recognises.
    (400, {}, '{"message": "m"}'.encode("utf-16"), UnknownServiceError, "400", "m"),
]


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{number}-{case[2][:20]!r}") for number, case in enumerate(BETTER)],
)
def test_an_error_that_botocore_does_not_read(case):
    status, headers, body, cls, code, message = case
    error = parse_error(status, CIMultiDict(headers), body, attempts=1)
    assert (type(error), error.code, error.message) == (cls, code, message)
    try:
        by_botocore = botocores_error(status, headers, body)
    except Exception:  # noqa: BLE001 - whatever it is: that it breaks is the point
        return
    assert by_botocore[:2] != (code, message)


@pytest.mark.parametrize(
    "value, expected",
    [
        (b"500", 500),
        (b'"500"', 500),
        (b"null", None),
        (b'""', None),
        (b'"5xx"', None),
        (b"[500]", None),
        (b"{}", None),
        (b"NaN", None),
        (b"Infinity", None),
        (b"1e999", None),
        (b'"' + b"9" * 5000 + b'"', None),
        (b"9" * 4000, int("9" * 4000)),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_a_containers_status_is_an_integer_or_none(value, expected):
    body = b'{"Message": "m", "OriginalStatusCode": ' + value + b"}"
    error = parse_error(424, CIMultiDict({TYPE: "ModelError"}), body, attempts=1)
    assert error.original_status_code == expected
    assert error.message == "m"
    assert str(error)


def test_a_number_too_long_for_python_makes_the_body_the_message():
    body = b'{"Message": "m", "OriginalStatusCode": ' + b"9" * 5000 + b"}"
    error = parse_error(424, CIMultiDict({TYPE: "ModelError"}), body, attempts=1)
    assert type(error) is ModelError
    assert error.message.startswith('{"Message": "m"')
    assert error.original_status_code is None


@pytest.mark.parametrize("code", sorted(ERROR_CLASSES))
def test_a_code_has_its_class_and_is_kept(code):
    error = parse_error(400, CIMultiDict({TYPE: f"aws#{code}:http://x/"}), b"{}", attempts=1)
    assert type(error) is ERROR_CLASSES[code]
    assert error.code == code


def test_a_status_alone_names_no_modelled_error():
    for status in (400, 424, 429, 500, 503, 530):
        error = parse_error(status, CIMultiDict(), b"{}", attempts=1)
        assert type(error) is UnknownServiceError
        assert error.code == str(status)
        assert error.is_throttling == (status == 429)
    not_ready = parse_error(429, CIMultiDict({TYPE: "ModelNotReadyException"}), b"{}", attempts=1)
    assert type(not_ready) is ModelNotReadyException
    assert not not_ready.is_throttling


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["code", "Code", "__type", "message", "Message", "OriginalStatusCode", "ErrorCode"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=8,
)
bodies = (
    st.binary(max_size=300)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.tuples(json_values, st.integers(0, 40)).map(
        lambda pair: json.dumps(pair[0]).encode("utf-16")[: -pair[1] or None]
    )
)
header_codes = st.none() | st.text(max_size=30) | st.sampled_from(sorted(ERROR_CLASSES))


def check_error(error):
    """The invariant: typed, printable, writable, picklable."""
    assert isinstance(error, ServiceError)
    for text in (str(error), error.code, error.message):
        text.encode()
    assert error.code
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)  # noqa: S301


@settings(max_examples=300)
@given(status=st.integers(100, 999), code=header_codes, body=bodies)
@example(status=400, code="#", body=b"\xef\xbb\xbf{}")
@example(status=424, code="ModelError", body=b'{"OriginalMessage": "\\ud800"}')
def test_no_bytes_make_anything_but_an_error(status, code, body):
    # The invariant: any response of no success is a ServiceError, never another exception.
    headers = CIMultiDict() if code is None else CIMultiDict({TYPE: code})
    error = parse_error(status, headers, body, attempts=1)
    check_error(error)
    assert (error.status_code, error.attempts) == (status, 1)


# Messages of a stream.

HEAD = metadata_of({"x-amzn-RequestId": "r-1"})


def parse(message):
    """The part that a message carries, None for one that carries none."""
    carries = carries_part(message.headers, message.payload, HEAD)
    return PayloadPart(message.payload) if carries else None


def event(payload, **headers):
    return Message({":message-type": "event", ":event-type": "PayloadPart", **headers}, payload)


def exception(kind, payload):
    headers = {":message-type": "exception", ":content-type": "application/json"}
    return Message({**headers, ":exception-type": kind}, payload)


def raised_by(message):
    with pytest.raises(ServiceError) as caught:
        parse(message)
    error = caught.value
    # An error in a stream has the facts of the response that carries it.
    assert (error.status_code, error.request_id, error.attempts) == (200, "r-1", 2)
    return error


def botocores_stream(messages):
    """The parts and the error, (code, message), that botocore makes of messages."""

    class Raw:
        def stream(self):
            yield b"".join(encode_message(message.headers, message.payload) for message in messages)

    response = {
        "status_code": 200,
        "headers": {},
        "body": Raw(),
        "context": {"operation_name": STREAM},
    }
    parts = []
    try:
        stream = PARSER.parse(response, MODEL.operation_model(STREAM).output_shape)["Body"]
        parts.extend(part["PayloadPart"]["Bytes"] for part in stream)
    except EventStreamError as error:
        return parts, (error.response["Error"]["Code"], error.response["Error"]["Message"])
    return parts, None


def our_stream(messages):
    parts = []
    try:
        for message in messages:
            part = parse(message)
            if part is not None:
                parts.append(part.bytes)
    except ServiceError as error:
        return parts, (error.code, error.message)
    return parts, None


some_text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
some_message = (
    st.binary(max_size=50).map(event)
    | st.just(Message({":message-type": "event", ":event-type": "Unknown"}, b"{}"))
    | some_text.map(
        lambda text: exception(
            "ModelStreamError", json.dumps({"Message": text, "ErrorCode": "StreamBroken"}).encode()
        )
    )
    | some_text.map(
        lambda text: exception("InternalStreamFailure", json.dumps({"Message": text}).encode())
    )
    | st.tuples(some_text, some_text).map(
        lambda pair: Message(
            {":message-type": "error", ":error-code": pair[0], ":error-message": pair[1]}, b""
        )
    )
)


@settings(max_examples=100)
@given(messages=st.lists(some_message, max_size=6))
def test_a_stream_is_botocores(messages):
    assert our_stream(messages) == botocores_stream(messages)


@pytest.mark.parametrize("payload", [b"\x00\xff not JSON", b""])
def test_a_part_may_be_any_bytes(payload):
    assert carries_part(
        event(payload, **{":content-type": "application/json"}).headers, payload, HEAD
    )


def test_an_unknown_event_is_skipped_with_a_debug_log(caplog):
    message = Message({":message-type": "event", ":event-type": "SECRETS" * 100}, b"payload")
    with caplog.at_level(logging.DEBUG, "aiosmrt"):
        assert parse(message) is None
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    # A name from the network may have 32,767 bytes.
    assert len(record.getMessage()) < 150
    assert "payload" not in record.getMessage()


def test_a_known_event_is_not_logged(caplog):
    with caplog.at_level(logging.DEBUG, "aiosmrt"):
        parse(event(b"x"))
    assert not caplog.records


def test_a_model_stream_error_has_all_its_fields():
    payload = b'{"Message": "Took too long", "ErrorCode": "ModelInvocationTimeExceeded"}'
    error = raised_by(exception("ModelStreamError", payload))
    assert type(error) is ModelStreamError
    assert (error.code, error.message, error.error_code) == (
        "ModelStreamError",
        "Took too long",
        "ModelInvocationTimeExceeded",
    )


@pytest.mark.parametrize(
    "message, cls, code, text",
    [
        (exception("ModelStreamError", b"{}"), ModelStreamError, "ModelStreamError", ""),
        (
            exception("com.amazonaws.sagemaker#InternalStreamFailure", b'{"message": "m"}'),
            InternalStreamFailure,
            "InternalStreamFailure",
            "m",
        ),
        # Not members of the stream's shape, but modelled or known: typed all the same.
        (exception("ThrottlingException", b"{}"), ThrottlingException, "ThrottlingException", ""),
        (exception("ModelError", b'{"Message": "m"}'), ModelError, "ModelError", "m"),
        # Not modelled.
        (exception("Novelty", b'{"Message": "m"}'), UnknownServiceError, "Novelty", "m"),
        (exception("Novelty", b""), UnknownServiceError, "Novelty", ""),
        (exception("Novelty", b"plain text"), UnknownServiceError, "Novelty", "plain text"),
        (exception("", b'{"code": "Novelty"}'), UnknownServiceError, "Novelty", ""),
        (exception(5, b"{}"), UnknownServiceError, "200", ""),
        (Message({":message-type": "exception"}, b""), UnknownServiceError, "200", ""),
        # An error frame is never modelled, whatever it calls itself.
        (
            Message(
                {":message-type": "error", ":error-code": "Oops", ":error-message": "m"}, b"ignored"
            ),
            UnknownServiceError,
            "Oops",
            "m",
        ),
        (
            Message({":message-type": "error", ":error-code": "ModelError"}, b""),
            UnknownServiceError,
            "ModelError",
            "",
        ),
        (Message({":message-type": "error"}, b""), UnknownServiceError, "200", ""),
        (
            Message({":message-type": "error", ":error-code": 5, ":error-message": b"m"}, b""),
            UnknownServiceError,
            "200",
            "",
        ),
    ],
)
def test_exceptions_and_errors_of_a_stream(message, cls, code, text):
    error = raised_by(message)
    assert (type(error), error.code, error.message) == (cls, code, text)


def test_a_model_error_in_a_stream_keeps_the_containers_facts():
    error = raised_by(exception("ModelError", b'{"Message": "m", "OriginalStatusCode": 503}'))
    assert error.original_status_code == 503


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {":event-type": "PayloadPart"},
        {":message-type": ""},
        {":message-type": "Event", ":event-type": "PayloadPart"},
        {":message-type": "response"},
        {":message-type": 5},
        {":message-type": Byte(1)},
        {":message-type": b"event"},
        {":message-type": True},
        {":message-type": "event"},
        {":message-type": "event", ":event-type": b"PayloadPart"},
        {":message-type": "event", ":event-type": 5},
    ],
    ids=repr,
)
def test_a_message_of_no_known_type_is_invalid(headers):
    with pytest.raises(InvalidMessageError) as caught:
        carries_part(headers, b"SECRET", HEAD)
    assert "SECRET" not in str(caught.value)


header_values = st.sampled_from(["event", "exception", "error", "PayloadPart"]) | st.text(
    max_size=10
)
header_values |= st.integers() | st.binary(max_size=10) | st.booleans() | header_codes


@settings(max_examples=200)
@given(
    headers=st.dictionaries(
        st.sampled_from(
            [":message-type", ":event-type", ":exception-type", ":error-code", ":error-message"]
        ),
        header_values,
    ),
    payload=bodies,
)
def test_any_message_is_a_part_nothing_or_one_of_our_errors(headers, payload):
    # The invariant: hostile headers and payloads raise an InvalidMessageError or a ServiceError.
    try:
        carries = carries_part(headers, payload, HEAD)
    except ServiceError as error:
        check_error(error)
    except InvalidMessageError:
        pass
    else:
        assert carries is True or carries is False
