"""Inputs and outputs: frozen except for a part, silent about secrets, and typed as they say."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import pickle
from datetime import datetime, timezone

import attrs
import pytest
from botocore import xform_name
from hypothesis import given
from hypothesis import strategies as st
from support.service_model import MODEL

from aiosmrt import CollectedStream
from aiosmrt._protocol import inputs, models
from aiosmrt._protocol.inputs import (
    InvokeEndpointAsyncInput,
    InvokeEndpointInput,
    InvokeEndpointWithResponseStreamInput,
)
from aiosmrt._protocol.models import (
    AsyncInferenceResult,
    InvokeEndpointAsyncOutput,
    InvokeEndpointOutput,
    NewSession,
    PayloadPart,
    ResponseMetadata,
    Timeouts,
)
from aiosmrt.errors import AiosmrtError, ConfigurationError

METADATA = ResponseMetadata(
    request_id="r-1", status_code=200, headers={"X-Custom": "SECRET-header"}, attempts=2
)
INSTANCES = [
    Timeouts(connect=1, read=2.5, idle=None, total=900),
    InvokeEndpointInput(endpoint_name="e", body=b"SECRET", custom_attributes="SECRET"),
    InvokeEndpointWithResponseStreamInput(
        endpoint_name="e", body="SECRET", custom_attributes="SECRET"
    ),
    InvokeEndpointAsyncInput(endpoint_name="e", body=b"SECRET", custom_attributes="SECRET"),
    METADATA,
    InvokeEndpointOutput(body=b"SECRET", custom_attributes="SECRET", metadata=METADATA),
    InvokeEndpointAsyncOutput(inference_id="1", output_location="s3://b/k", metadata=METADATA),
    PayloadPart(b"SECRET"),
    AsyncInferenceResult(
        output_location="s3://b/k", content_type="text/plain", size=6, body=b"SECRET", source=None
    ),
]
each_instance = pytest.mark.parametrize("instance", INSTANCES, ids=lambda i: type(i).__name__)


def test_every_model_is_under_test():
    tested = {type(instance).__name__ for instance in INSTANCES}
    untested = {"Answer", "AnyInput", "Body", "NewSession"}
    assert tested | untested == {*inputs.__all__, *models.__all__}
    for names in (inputs.__all__, models.__all__):
        assert names == sorted(names)


@each_instance
def test_a_model_is_frozen_and_has_no_room_for_a_misspelt_name(instance):
    names = {attrs.fields(type(instance))[0].name, "endpoint_nmae"}
    if isinstance(instance, PayloadPart):  # not frozen: a stream makes one for each part
        names.remove("bytes")
    for name in names:
        with pytest.raises(AttributeError):
            setattr(instance, name, None)
    assert not hasattr(instance, "__dict__")


@each_instance
def test_a_model_is_keyword_only_but_for_the_one_of_a_single_field(instance):
    keyword_only = {field.kw_only for field in attrs.fields(type(instance))}
    assert keyword_only == {not isinstance(instance, PayloadPart)}


@each_instance
def test_a_model_can_be_copied_pickled_and_compared(instance):
    twins = [pickle.loads(pickle.dumps(instance)), copy.copy(instance), copy.deepcopy(instance)]  # noqa: S301
    for twin in twins:
        assert twin == instance
        assert hash(twin) == hash(instance)


@each_instance
def test_what_is_sensitive_stays_out_of_repr(instance):
    assert "SECRET" not in repr(instance)
    assert "SECRET" not in f"{instance}"


OPERATIONS_AND_KINDS = [
    (operation, kind)
    for operation in MODEL.operation_names
    for kind in ("Input", "Output")
    if hasattr(models, f"{operation}{kind}")  # a stream's repr is tested with streams
]


@pytest.mark.parametrize("operation, kind", OPERATIONS_AND_KINDS, ids=lambda value: value)
def test_every_sensitive_member_of_the_model_stays_out_of_repr(operation, kind):
    shape = MODEL.shape_for(f"{operation}{kind}")
    sensitive = {name for name, member in shape.members.items() if "sensitive" in member.metadata}
    cls = getattr(models, f"{operation}{kind}")
    hidden = {field.name for field in attrs.fields(cls) if not field.repr}
    assert hidden == {
        xform_name(name) for name in sensitive if xform_name(name) in attrs.fields_dict(cls)
    }


@pytest.mark.parametrize("value", [0.001, 1, 70.0, None])
@pytest.mark.parametrize("name", ["connect", "read", "idle", "total"])
def test_a_timeout_is_a_number_above_0_or_none(name, value):
    assert getattr(Timeouts(**{name: value}), name) == value


@pytest.mark.parametrize(
    "value",
    [0, -1, 0.0, math.nan, math.inf, -math.inf, 10**309, True, False, "5", b"5", [], 1j],
    ids=lambda value: repr(value)[:9],
)
@pytest.mark.parametrize("name", ["connect", "read", "idle", "total"])
def test_any_other_timeout_is_refused(name, value):
    with pytest.raises(ConfigurationError, match=rf"^Timeouts\.{name} must be a finite number"):
        Timeouts(**{name: value})


def test_the_timeouts_defaults_are_the_contracts():
    assert Timeouts() == Timeouts(connect=5.0, read=70.0, idle=70.0, total=None)


def output(body=b"", **fields):
    return InvokeEndpointOutput(body=body, metadata=METADATA, **fields)


@pytest.mark.parametrize(
    "content_type, body",
    [
        (None, "é".encode()),
        ("text/plain", "é".encode()),
        ("text/plain; charset=utf-8", "é".encode()),
        ("text/plain;charset=ISO-8859-1", b"\xe9"),
        ('text/plain; charset="iso-8859-1"', b"\xe9"),
        ("text/plain; Charset='latin-1'; format=flowed", b"\xe9"),
        ("text/plain; format=flowed; charset = UTF-16", "é".encode("utf-16")),
        ("text/plain; charset=shift_jisx0213", "é".encode("shift_jisx0213")),
        # What names no codec of text is no reason to fail.
        ("text/plain; charset=klingon", "é".encode()),
        ("text/plain; charset=", "é".encode()),
        ("text/plain; charset", "é".encode()),
        ("text/plain; charset=hex", "é".encode()),
        ("text/plain; charset=rot13", "é".encode()),
        ("text/plain; charset=a\0b", "é".encode()),
        ("text/plain; charset=\udce9", "é".encode()),
        ("charset=iso-8859-1", "é".encode()),
        ("", "é".encode()),
    ],
)
def test_text_is_decoded_by_the_content_types_charset(content_type, body):
    assert output(body, content_type=content_type).text() == "é"
    parts = tuple(map(PayloadPart, (body[:1], body[1:])))
    collected = CollectedStream(parts=parts, content_type=content_type, metadata=METADATA)
    assert collected.text() == "é"


def test_text_takes_an_encoding_and_an_error_handler():
    answer = output(b"\xe9", content_type="text/plain; charset=utf-8")
    assert answer.text("latin-1") == "é"
    assert answer.text(errors="replace") == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        answer.text()
    with pytest.raises(LookupError):
        answer.text("klingon")


@given(content_type=st.text() | st.text("charset=;\"' utf8-", max_size=30), body=st.binary())
def test_text_of_any_content_type_is_text_or_a_unicode_error(content_type, body):
    with contextlib.suppress(UnicodeError):
        assert isinstance(output(body, content_type=content_type).text(), str)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_is_parsed_whatever_its_unicode_encoding(encoding):
    value = {"predictions": [1, 2.5, None, "é"]}
    body = json.dumps(value, ensure_ascii=False).encode(encoding)
    # The content type is not asked: containers name it as they like.
    assert output(body, content_type="text/csv").json() == value


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xff", b"1,2\n3,4\n"])
def test_what_is_not_json_raises_a_value_error(body):
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        output(body).json()


@pytest.mark.parametrize(
    "header, session",
    [
        (
            "ID; Expires=2026-01-02T03:04:05Z",
            NewSession("ID", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)),
        ),
        (
            "a--b-1;Expires=2026-12-31T23:59:59Z",
            NewSession("a--b-1", datetime(2026, 12, 31, 23, 59, 59, tzinfo=timezone.utc)),
        ),
        (None, None),
        ("", None),
        ("ID", None),
        ("ID; Expires=", None),
        ("-ID; Expires=2026-01-02T03:04:05Z", None),
        ("ID; Expires=2026-13-02T03:04:05Z", None),
        ("ID; Expires=2026-02-30T03:04:05Z", None),
        ("ID; Expires=2026-01-02T24:04:05Z", None),
        ("ID; Expires=2026-01-02T03:04:61Z", None),
        ("ID; Expires=2026-01-02T03:04:05", None),
        ("ID; Expires=2026-01-02T03:04:05+01:00", None),
        ("ID; Expires=2026-01-02T03:04:05Z\n", None),
        ("ID; Expires=\u0662026-01-02T03:04:05Z", None),
    ],
)
def test_a_new_session_is_parsed_or_is_none(header, session):
    found = output(new_session_id=header).new_session
    assert found == session
    if found is not None:
        assert found.id == header.partition(";")[0]
        assert found.expires.tzinfo is timezone.utc


def test_the_body_of_a_part_is_its_bytes():
    assert PayloadPart(b"ab").bytes == b"ab"


class Stored:
    """An output that lies in a store."""

    def __init__(self):
        self.saved = []

    async def read(self):
        return b"stored"

    async def save(self, path, body):
        self.saved.append((path, body))


def result(body, source, content_type="text/plain; charset=latin-1"):
    return AsyncInferenceResult(
        output_location="s3://bucket/out",
        content_type=content_type,
        size=6,
        body=body,
        source=source,
    )


async def test_a_result_that_was_read_is_not_read_again():
    stored = Stored()
    answer = result(b'{"a":"\xe9"}', stored)
    assert answer.body == await answer.read() == b'{"a":"\xe9"}'
    assert answer.text() == '{"a":"é"}'
    assert answer.text("ascii", "ignore") == '{"a":""}'
    assert result('{"a":"é"}'.encode(), stored).json() == {"a": "é"}
    assert result(b"", stored).body == b""
    await answer.save("out.json")
    assert stored.saved == [("out.json", answer.body)]


async def test_a_result_left_in_the_store_says_how_to_take_it():
    stored = Stored()
    answer = result(None, stored)
    for take in (lambda: answer.body, answer.text, answer.json):
        with pytest.raises(AiosmrtError, match=r"has 6 bytes.*save\(path\).*read\(\)"):
            take()
    assert await answer.read() == b"stored"
    await answer.save("out.json")
    assert stored.saved == [("out.json", None)]
