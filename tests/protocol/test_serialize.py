"""Requests: equal to botocore's for what is valid, and none at all for what is not."""

from __future__ import annotations

import ctypes
import gc
import math
import mmap
import weakref
from array import array

import attrs
import pytest
from botocore import xform_name
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bad_parameters import ASYNC, BAD, INVOKE, STREAM, VALID, each_bad
from support.botocore_requests import BotocoreRequests
from support.service_model import MODEL, parameters

from aiosmrt._client.body import choose_body
from aiosmrt._protocol.inputs import (
    InvokeEndpointAsyncInput,
    InvokeEndpointInput,
    InvokeEndpointWithResponseStreamInput,
)
from aiosmrt._protocol.operations import ASYNC_BODY_LENGTH, OPERATIONS
from aiosmrt._protocol.serialize import (
    check_parameters,
    json_body,
    serialize,
    serialize_input,
)
from aiosmrt.errors import ParameterValidationError

INPUTS = {
    INVOKE: InvokeEndpointInput,
    STREAM: InvokeEndpointWithResponseStreamInput,
    ASYNC: InvokeEndpointAsyncInput,
}


def given_to(operation, **changes):
    given = INPUTS[operation](**{**VALID[operation], **changes})
    return serialize_input(OPERATIONS[operation], given)


@pytest.fixture(scope="module")
def botocores():
    return BotocoreRequests().of


@pytest.mark.parametrize("operation", sorted(INPUTS))
@settings(max_examples=100)
@given(data=st.data())
def test_a_request_is_botocores(botocores, operation, data):
    arguments = data.draw(parameters(operation))
    given = INPUTS[operation](**{xform_name(name): value for name, value in arguments.items()})
    request = serialize_input(OPERATIONS[operation], given)
    headers = dict(request.head.headers)
    assert len(headers) == len(request.head.headers)
    ours = ("POST", request.head.path, headers, request.body)
    assert ours == botocores(operation, arguments)
    assert request.head.operation is OPERATIONS[operation]
    assert request.head.endpoint_name == arguments["EndpointName"]


def test_every_parameter_at_once_is_botocores(botocores):
    for operation, cls in INPUTS.items():
        shape = MODEL.operation_model(operation).input_shape
        text = {"InputLocation": "s3://bucket/key", "RequestTTLSeconds": 60, "Body": b"\0\xff"}
        text["InvocationTimeoutSeconds"] = 3600
        arguments = {
            name: text.get(name, f"a{number}") for number, name in enumerate(shape.members)
        }
        if operation == ASYNC:
            del arguments["Body"]
        given = cls(**{xform_name(name): value for name, value in arguments.items()})
        request = serialize_input(OPERATIONS[operation], given)
        assert botocores(operation, arguments) == (
            "POST",
            request.head.path,
            dict(request.head.headers),
            request.body,
        )
        assert len(request.head.headers) == len(OPERATIONS[operation].inputs)


def test_headers_stand_in_the_tables_order():
    head = given_to(INVOKE, prefix_aware_id="p", accept="a", content_type="c").head
    assert head.headers == (
        ("Content-Type", "c"),
        ("Accept", "a"),
        ("X-Amzn-SageMaker-Prefix-Aware-Id", "p"),
    )


def test_a_key_that_is_not_ascii_is_kept_for_the_wire_to_encode():
    head = given_to(ASYNC, input_location="s3://bucket/käse 日本.csv").head
    assert head.headers == (("X-Amzn-SageMaker-InputLocation", "s3://bucket/käse 日本.csv"),)


def test_tabs_and_spaces_within_a_header_are_kept():
    head = given_to(INVOKE, custom_attributes="a \t b").head
    assert head.headers == (("X-Amzn-SageMaker-Custom-Attributes", "a \t b"),)


# Bad values.


def test_there_are_bad_values_enough():
    assert len(BAD) >= 60
    covered = {(bad.operation, bad.parameter) for bad in BAD}
    names = {parameter for _, parameter in covered}
    assert names == {field.name for cls in INPUTS.values() for field in attrs.fields(cls)}


@pytest.mark.parametrize("operation", sorted(INPUTS))
def test_what_the_bad_values_replace_is_valid(operation):
    assert given_to(operation).head.endpoint_name == "my-endpoint"


@each_bad
def test_a_bad_value_is_refused_by_parameter_rule_and_length_but_not_repeated(bad):
    with pytest.raises(ParameterValidationError) as caught:
        serialize_input(OPERATIONS[bad.operation], INPUTS[bad.operation](**bad.parameters))
    error = caught.value
    assert error.parameter == bad.parameter
    assert bad.rule in error.rule
    assert error.length == bad.length
    text = str(error)
    assert bad.parameter in text
    assert bad.rule in text
    assert "Nothing was sent." in text
    if bad.length is not None:
        assert f"the value given has length {bad.length}" in text
    for told in (text, repr(error), repr(vars(error))):
        assert "SECRET" not in told
    # A chained exception would print the value with the traceback.
    assert error.__cause__ is None
    assert error.__suppress_context__ or error.__context__ is None


@pytest.mark.parametrize("operation", sorted(INPUTS))
def test_every_string_parameter_refuses_what_would_end_its_header(operation):
    for binding in OPERATIONS[operation].inputs:
        valid = "s3://b/k" if binding.parameter == "input_location" else "a"
        for injected in ("\r\nX: 1", "\n", "\r", "\0", "\x0b", "\x1f", "\x7f", "\u010a", "\ud800"):
            if binding.parameter == "input_location" and injected == "\u010a":
                continue  # a letter like any other there: UTF-8 writes no 0x0A for it
            for value in (valid + injected, injected + valid, valid + injected + valid):
                with pytest.raises(ParameterValidationError, match=binding.parameter):
                    given_to(operation, **{binding.parameter: value})


def test_a_parameter_that_the_operation_does_not_have_is_refused_by_its_name():
    with pytest.raises(TypeError, match="InvokeEndpoint has no parameter 'acept'"):
        check_parameters(OPERATIONS[INVOKE], {"endpoint_name": "e", "acept": "a"})


def test_parameters_by_name_are_an_inputs():
    for name in (INVOKE, STREAM):
        given = {key: value for key, value in VALID[name].items() if key != "body"}
        named = check_parameters(OPERATIONS[name], given)
        assert list(named) == list(OPERATIONS[name].parameters)
        by_name = serialize(OPERATIONS[name], VALID[name]["body"], named)
        assert by_name.head is given_to(name).head
        assert by_name.body == given_to(name).body


def test_an_unhashable_value_is_of_a_wrong_type():
    with pytest.raises(
        ParameterValidationError, match="parameter accept: it must be str, not list"
    ):
        given_to(INVOKE, accept=["a"])


def test_a_subclass_of_an_input_is_one():
    class Own(InvokeEndpointInput):
        pass

    request = serialize_input(OPERATIONS[INVOKE], Own(endpoint_name="e", body=b"b", accept="a"))
    assert request.head.headers == (("Accept", "a"),)


def test_nothing_is_refused_for_being_none():
    for operation, cls in INPUTS.items():
        optional = {f.name: None for f in attrs.fields(cls) if f.default is None}
        optional.pop("input_location", None)
        assert len(given_to(operation, **optional).head.headers) == (operation == ASYNC)


# The cache of heads.


def test_a_head_is_validated_once():
    first = given_to(INVOKE, content_type="text/x-once")
    assert given_to(INVOKE, content_type="text/x-once", body=b"other").head is first.head
    assert given_to(STREAM, content_type="text/x-once").head is not first.head


def test_equal_values_of_other_types_do_not_pass_by_the_cache():
    assert dict(given_to(ASYNC, request_ttl_seconds=60).head.headers) == {
        "X-Amzn-SageMaker-InputLocation": "s3://bucket/key",
        "X-Amzn-SageMaker-RequestTTLSeconds": "60",
    }
    given_to(ASYNC, invocation_timeout_seconds=1)
    for bad in ({"request_ttl_seconds": 60.0}, {"invocation_timeout_seconds": True}):
        with pytest.raises(ParameterValidationError, match=r", not (float|bool)"):
            given_to(ASYNC, **bad)
    # A refusal is not remembered either, whichever comes first.
    with pytest.raises(ParameterValidationError):
        given_to(ASYNC, request_ttl_seconds=61.0)
    given_to(ASYNC, request_ttl_seconds=61)


def test_a_text_that_equals_another_in_a_strange_type_is_checked_itself():
    class Chameleon(str):
        __slots__ = ()

        def __eq__(self, other):
            return True

        def __hash__(self):
            return hash("my-endpoint")

    given_to(INVOKE)
    with pytest.raises(ParameterValidationError):
        given_to(INVOKE, endpoint_name=Chameleon("../x"))


def test_the_cache_is_bounded():
    heads = [weakref.ref(given_to(INVOKE, inference_id=str(n)).head) for n in range(300)]
    gc.collect()
    kept = [head for head in heads if head() is not None]
    assert kept == heads[-256:]
    assert given_to(INVOKE, inference_id="299").head is heads[299]()


# Bodies.


def body_of(body):
    return given_to(INVOKE, body=body).body


def test_bytes_are_not_copied():
    body = bytes(range(256))
    assert body_of(body) is body


@pytest.mark.parametrize(
    "body",
    [
        bytearray(b"abc"),
        memoryview(b"abc"),
        memoryview(bytearray(b"xabcx"))[1:4],
        array("B", b"abc"),
    ],
    ids=["bytearray", "memoryview", "slice", "array"],
)
def test_a_buffer_is_not_copied(body):
    sent = body_of(body)
    assert isinstance(sent, memoryview)
    assert sent.obj is memoryview(body).obj
    assert (sent.format, sent.itemsize, len(sent)) == ("B", 1, 3)
    assert sent == b"abc"


class Big(ctypes.BigEndianStructure):
    _fields_ = (("a", ctypes.c_uint16), ("b", ctypes.c_uint16))


class Bytes(bytes):
    __slots__ = ()


BODIES = [
    (b"", b""),
    ("", b""),
    (bytearray(), b""),
    (memoryview(b""), b""),
    (array("d"), b""),
    ("héllo \U0001f600", "héllo \U0001f600".encode()),
    (Bytes(b"abc"), b"abc"),
    (array("H", [1, 2]), array("H", [1, 2]).tobytes()),
    (array("d", [1.5]), array("d", [1.5]).tobytes()),
    (memoryview(array("i", [1, 2, 3])), array("i", [1, 2, 3]).tobytes()),
    (memoryview(b"abcdef")[::2], b"ace"),
    (memoryview(b"abcdef")[::-1], b"fedcba"),
    (memoryview(array("H", [1, 2, 3]))[::-2], array("H", [3, 1]).tobytes()),
    (memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
    (memoryview(b"abcd").cast("c"), b"abcd"),
    (memoryview(b"abcd").cast("?"), b"abcd"),
    ((ctypes.c_uint8 * 3)(1, 2, 3), b"\x01\x02\x03"),
    ((ctypes.c_uint8 * 0)(), b""),
    (((ctypes.c_uint8 * 0) * 4)(), b""),
    (Big(1, 2), b"\0\x01\0\x02"),
]


@pytest.mark.parametrize(
    "body, expected",
    [
        pytest.param(*pair, id=f"{number}-{type(pair[0]).__name__}")
        for number, pair in enumerate(BODIES)
    ],
)
def test_a_body_is_its_bytes(body, expected):
    sent = body_of(body)
    assert bytes(sent) == expected
    # Its length is what Content-Length says, and the codec's writer wants no other shape.
    assert len(sent) == len(expected)
    assert given_to(ASYNC, input_location=None, body=body).body == expected


def test_a_mapped_file_is_a_body():
    with mmap.mmap(-1, 3) as mapped:
        mapped[:] = b"abc"
        sent = body_of(mapped)
        assert sent == b"abc"
        sent.release()
    with pytest.raises(ParameterValidationError, match="this mmap has none"):
        body_of(mapped)


def test_an_async_body_is_taken_up_to_its_limit_and_by_location_there_is_none():
    body = bytes(ASYNC_BODY_LENGTH)
    assert given_to(ASYNC, input_location=None, body=body).body is body
    assert given_to(ASYNC).body == b""
    assert given_to(ASYNC, input_location=None, body=b"").body == b""


def test_a_body_past_the_models_limit_is_not_refused():
    # Accounts can be given more: the session warns, and the service decides.
    body = bytes(OPERATIONS[INVOKE].max_body_length + 1)
    assert body_of(body) is body


# JSON.


@pytest.mark.parametrize(
    "value, expected",
    [
        ({"inputs": "hi"}, b'{"inputs":"hi"}'),
        ({"a": [1, 2.5, None, True], "b": {}}, b'{"a":[1,2.5,null,true],"b":{}}'),
        ("é\U0001f600", b'"\xc3\xa9\xf0\x9f\x98\x80"'),
        ('"\\\n', b'"\\"\\\\\\n"'),
        ((1, 2), b"[1,2]"),
        ({1: "a", None: "b"}, b'{"1":"a","null":"b"}'),
        (0, b"0"),
        (False, b"false"),
        ("", b'""'),
        ([], b"[]"),
        (1e300, b"1e+300"),
        (10**30, b"1" + b"0" * 30),
    ],
)
def test_json_is_compact_utf_8(value, expected):
    assert json_body(value) == expected


def recursive():
    found = ["SECRET"]
    found.append(found)
    return found


def deep():
    found = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize(
    "value, raised",
    [
        (math.nan, "ValueError"),
        ({"SECRET": math.inf}, "ValueError"),
        ([-math.inf], "ValueError"),
        (recursive(), "ValueError"),
        (deep(), "RecursionError"),
        ({"SECRET"}, "TypeError"),
        (b"SECRET", "TypeError"),
        ({b"SECRET": 1}, "TypeError"),
        ({("SECRET",): 1}, "TypeError"),
        (1j, "TypeError"),
        (object(), "TypeError"),
        ("SECRET\ud800", "UnicodeEncodeError"),
    ],
)
def test_what_has_no_json_form_is_refused_and_not_repeated(value, raised):
    with pytest.raises(ParameterValidationError) as caught:
        json_body(value)
    error = caught.value
    assert error.parameter == "json"
    assert error.rule == f"must have a JSON form; json.dumps raised {raised}"
    assert "SECRET" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


@given(
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(codec="utf-8")),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner)
        ),
        max_leaves=10,
    )
)
def test_json_reads_back_as_it_was(value):
    import json

    assert json.loads(json_body(value)) == value


async def test_json_in_the_bodys_place():
    async def choose(body, json, content_type):
        parameters = {"endpoint_name": "e", "content_type": content_type}
        body, parameters = await choose_body(OPERATIONS[INVOKE], body, json, parameters)
        return body, parameters["content_type"]

    assert await choose(None, {"a": 1}, None) == (b'{"a":1}', "application/json")
    assert await choose(None, [], "application/x-ndjson") == (b"[]", "application/x-ndjson")
    assert await choose(b"", None, None) == (b"", None)
    assert await choose("a", None, "text/csv") == ("a", "text/csv")
    for body, value in [(None, None), (b"", {}), ("a", 0)]:
        with pytest.raises(ParameterValidationError, match="operation InvokeEndpoint, endpoint e"):
            await choose(body, value, None)


def test_neither_a_request_nor_its_head_shows_what_it_carries():
    request = given_to(INVOKE, body=b"SECRET", custom_attributes="SECRET")
    assert "SECRET" not in repr(request)
    assert "/endpoints/my-endpoint/invocations" in repr(request)
