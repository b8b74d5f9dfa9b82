"""Parameters outside the service's constraints, each with what its error must tell.

Wherever a value can, it holds the word SECRET, which no error may repeat.
"""

from __future__ import annotations

import io
import math
from array import array
from typing import Any, NamedTuple

import pytest

INVOKE = "InvokeEndpoint"
STREAM = "InvokeEndpointWithResponseStream"
ASYNC = "InvokeEndpointAsync"

VALID: dict[str, dict[str, Any]] = {
    INVOKE: {"endpoint_name": "my-endpoint", "body": b"1,2,3"},
    STREAM: {"endpoint_name": "my-endpoint", "body": b"1,2,3"},
    ASYNC: {"endpoint_name": "my-endpoint", "input_location": "s3://bucket/key"},
}


class Bad(NamedTuple):
    """A bad set of parameters.

    Attributes:
        operation: The operation's name.
        parameters: All its parameters.
        parameter: The one that is to be blamed.
        rule: A part of the rule that is to be named.
        length: The length that is to be told, None where the value has none.
    """

    operation: str
    parameters: dict[str, Any]
    parameter: str
    rule: str
    length: int | None


_NAME = "1 to 63 characters, letters and digits with hyphens between them"
_FIELD = "1 to 1024 characters, visible ASCII, spaces and tabs only"
_ID = "1 to 64 characters, printable ASCII that does not begin with a space"
_URI = "1 to 1024 characters, an s3:// or https:// URI without control characters"
_EXTENSION = "1 to 512 characters, letters, digits and !_.*'()/- only"
_NO_DOTS = f"{_EXTENSION}, without the segments . and .."
_FILENAME = "1 to 32 characters, letters, digits, hyphens, underscores and one dot at most"
_TTL = "an integer from 60 to 21600"
_TIMEOUT = "an integer from 1 to 3600"
_BODY = "must be bytes, bytearray, memoryview or str, not "

# Out of a name's alphabet: path escapes first.
_NAMES = [
    "",
    ".",
    "..",
    "a/SECRET",
    "../SECRET",
    "/SECRET",
    "//SECRET",
    "a\\SECRET",
    "a%2FSECRET",
    "%2E%2E%2FSECRET",
    "SECRET%00",
    "SECRET?x=1",
    "SECRET#x",
    "SECRET;x",
    "SECRET:443",
    "user@SECRET",
    "a SECRET",
    "-SECRET",
    "SECRET-",
    "a_SECRET",
    "a.SECRET",
    "SECRET\u00e9",
    "SECRET\uff11",  # a digit, but not of ASCII
    "SECRET\ud800",
    "SECRET\n",
    "SECRET\r\nX-Injected: 1",
    "SECRET\0",
    "SECRET".ljust(64, "a"),
]
_FIELDS = ["", "SECRET\r\nX-Injected: 1", "SECRET\n", "\rSECRET", "SECRET\0", "SECRET\x7f"]
_FIELDS += ["SECRET\u00e9", "SECRET\ud800", "SECRET\u2028", "SECRET".ljust(1025)]
_IDS = ["", " SECRET", "\tSECRET", "SECRET\t", "SECRET\r\nX-Injected: 1", "SECRET\u00e9"]
_IDS += ["SECRET".ljust(65, "a")]

_TEXTS = [
    (INVOKE, "endpoint_name", _NAME, _NAMES),
    (STREAM, "endpoint_name", _NAME, ["../SECRET", "a%2FSECRET"]),
    (ASYNC, "endpoint_name", _NAME, ["../SECRET", "a%2FSECRET"]),
    (INVOKE, "content_type", _FIELD, _FIELDS),
    (ASYNC, "content_type", _FIELD, _FIELDS),
    (STREAM, "accept", _FIELD, _FIELDS),
    (INVOKE, "custom_attributes", _FIELD, _FIELDS),
    (INVOKE, "target_model", "1 to 1024 characters", [*_IDS[:-1], "SECRET".ljust(1025, "a")]),
    (STREAM, "target_variant", _NAME, ["", "SECRET_", "SECRET".ljust(64, "a")]),
    (INVOKE, "target_container_hostname", _NAME, ["", "SECRET.example", "SECRET".ljust(64, "a")]),
    (ASYNC, "inference_id", _ID, _IDS),
    (INVOKE, "enable_explanations", "1 to 64", ["", "SECRET\n", "SECRET".ljust(65)]),
    (INVOKE, "inference_component_name", _NAME, ["", "-SECRET", "SECRET-", "SECRET\n"]),
    (INVOKE, "session_id", "or NEW_SESSION", ["", "NEW_SESSION\n", "new_session", "_SECRET"]),
    # Only InvokeEndpoint opens a session.
    (STREAM, "session_id", "1 to 256", ["", "NEW_SESSION", "SECRET".ljust(257, "a")]),
    (STREAM, "prefix_aware_id", _ID, _IDS),
    (ASYNC, "input_location", _URI, ["", "SECRET", "http://bucket/SECRET", "s3://"]),
    (ASYNC, "input_location", _URI, ["s3:///SECRET", "S3://bucket/SECRET", "file:///SECRET"]),
    (ASYNC, "input_location", _URI, ["s3://b/SECRET\n", "s3://b\r\n/SECRET", "s3://b/\0SECRET"]),
    (ASYNC, "input_location", _URI, ["s3://b/\ud800SECRET", "s3://b/SECRET".ljust(1025, "a")]),
    (ASYNC, "s3_output_path_extension", _EXTENSION, ["", "s3://SECRET", "https://SECRET"]),
    (ASYNC, "s3_output_path_extension", _EXTENSION, ["a SECRET", "a?SECRET", "SECRET\n"]),
    (ASYNC, "s3_output_path_extension", _EXTENSION, ["SECRET".ljust(513, "a")]),
    (
        ASYNC,
        "s3_output_path_extension",
        _NO_DOTS,
        [".", "..", "../SECRET", "./SECRET", "SECRET/.."],
    ),
    (
        ASYNC,
        "s3_output_path_extension",
        _NO_DOTS,
        ["SECRET/../a", "a/./SECRET", "/..", "/../SECRET"],
    ),
    (ASYNC, "s3_output_path_extension", _NO_DOTS, ["SECRET/.", "SECRET//..//a", "../" * 170 + "a"]),
    (ASYNC, "filename", _FILENAME, ["", ".SECRET", "SECRET.a.b", "a/SECRET", "../SECRET"]),
    (ASYNC, "filename", _FILENAME, ["SECRET\n", "-SECRET", "SECRET".ljust(33, "a")]),
]

_OTHER_TYPES = [
    (INVOKE, "endpoint_name", "must be str, not ", [None, 5, True, b"SECRET", ["SECRET"]]),
    (INVOKE, "content_type", "must be str, not ", [5, b"SECRET", ("SECRET",)]),
    (INVOKE, "custom_attributes", "must be str, not ", [{"SECRET": 1}, ["SECRET"], {"SECRET"}]),
    (STREAM, "inference_id", "must be str, not ", [5, 1.5, bytearray(b"SECRET")]),
    (ASYNC, "input_location", "must be str, not ", [b"s3://bucket/SECRET"]),
    (ASYNC, "filename", "must be str, not ", [5, object()]),
    (ASYNC, "request_ttl_seconds", f"{_TTL}, not ", [True, 60.0, "60", b"60", [60], math.nan]),
    (ASYNC, "invocation_timeout_seconds", f"{_TIMEOUT}, not ", [True, False, 1.0, "1"]),
    (INVOKE, "body", _BODY, [5, 1.5, True, ["SECRET"], {"a": "SECRET"}, io.BytesIO(b"SECRET")]),
    (STREAM, "body", _BODY, [object(), ("SECRET",)]),
]

_RANGES = [
    ("request_ttl_seconds", _TTL, [59, 21601, 0, -60, 10**100]),
    ("invocation_timeout_seconds", _TIMEOUT, [0, 3601, -1]),
]


def _released() -> memoryview:
    view = memoryview(b"SECRET")
    view.release()
    return view


def _with(operation: str, parameter: str, value: object) -> dict[str, Any]:
    return {**VALID[operation], parameter: value}


def _collect() -> list[Bad]:
    cases = [
        Bad(operation, _with(operation, parameter, value), parameter, rule, len(value))
        for operation, parameter, rule, values in _TEXTS
        for value in values
    ]
    cases += [
        Bad(
            operation,
            _with(operation, parameter, value),
            parameter,
            rule + type(value).__name__,
            None,
        )
        for operation, parameter, rule, values in _OTHER_TYPES
        for value in values
    ]
    cases += [
        Bad(ASYNC, _with(ASYNC, parameter, value), parameter, rule, None)
        for parameter, rule, values in _RANGES
        for value in values
    ]
    name = {"endpoint_name": "my-endpoint"}
    too_long = "at most 128000 bytes"
    exactly_one = "exactly one of the two, and "
    return [
        *cases,
        Bad(INVOKE, {**name, "body": None}, "body", "is required", None),
        Bad(STREAM, {**name, "body": None}, "body", "is required", None),
        Bad(INVOKE, {**name, "body": "SECRET\ud800"}, "body", "UTF-8 can hold; character 6", 7),
        Bad(INVOKE, {**name, "body": _released()}, "body", "must have bytes to read", None),
        Bad(ASYNC, name, "body", exactly_one + "neither is", None),
        Bad(ASYNC, _with(ASYNC, "body", b"SECRET"), "body", exactly_one + "both are", None),
        Bad(ASYNC, _with(ASYNC, "body", b""), "body", exactly_one + "both are", None),
        Bad(ASYNC, {**name, "body": b"SECRET".ljust(128_001)}, "body", too_long, 128_001),
        Bad(ASYNC, {**name, "body": "\u00e9" * 64_001}, "body", too_long, 128_002),
        Bad(ASYNC, {**name, "body": array("d", [0.0] * 16_001)}, "body", too_long, 128_008),
    ]


BAD = _collect()

each_bad = pytest.mark.parametrize(
    "bad", [pytest.param(bad, id=f"{number}-{bad.parameter}") for number, bad in enumerate(BAD)]
)
