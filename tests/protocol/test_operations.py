"""The operation table, against botocore's copy of the service model."""

from __future__ import annotations

import enum

import attrs
import pytest
from botocore import xform_name
from hypothesis import example, given
from hypothesis import strategies as st
from support.service_model import MODEL, allows, has_dot_segment, pattern_of, values

from aiosmrt._protocol.inputs import (
    InvokeEndpointAsyncInput,
    InvokeEndpointInput,
    InvokeEndpointWithResponseStreamInput,
)
from aiosmrt._protocol.models import InvokeEndpointOutput, PayloadPart
from aiosmrt._protocol.operations import (
    ASYNC_BODY_LENGTH,
    INVOKE_ENDPOINT,
    INVOKE_ENDPOINT_ASYNC,
    OPERATIONS,
    SYNC_BODY_LENGTH,
    IntegerConstraint,
)
from aiosmrt.errors import ERROR_CLASSES, THROTTLING_CODES, ParameterValidationError

INPUTS = {
    "InvokeEndpoint": InvokeEndpointInput,
    "InvokeEndpointAsync": InvokeEndpointAsyncInput,
    "InvokeEndpointWithResponseStream": InvokeEndpointWithResponseStreamInput,
}
OPERATION_NAMES = sorted(MODEL.operation_names)


def members(shape, location):
    """Member name to header name (or to the name in the path)."""
    return {
        name: member.serialization["name"]
        for name, member in shape.members.items()
        if member.serialization.get("location") == location
    }


def test_every_operation_of_the_model_is_in_the_table():
    assert sorted(OPERATIONS) == OPERATION_NAMES
    assert all(name == operation.name for name, operation in OPERATIONS.items())


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_method_path_and_status(name):
    http = MODEL.operation_model(name).http
    operation = OPERATIONS[name]
    assert http["method"] == "POST"
    assert http["requestUri"] == operation.path
    assert http.get("responseCode", 200) == operation.status_code


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_inputs_are_bound_as_in_the_model(name):
    shape = MODEL.operation_model(name).input_shape
    operation = OPERATIONS[name]
    assert {b.member: b.header for b in operation.inputs} == members(shape, "header")
    assert members(shape, "uri") == {operation.resource.member: "EndpointName"}
    assert operation.resource.parameter == xform_name(operation.resource.member)
    assert shape.serialization["payload"] == "Body"
    assert shape.members.keys() == {"EndpointName", "Body"} | {b.member for b in operation.inputs}
    for binding in operation.inputs:
        assert binding.parameter == xform_name(binding.member)


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_what_is_required_is_what_the_model_requires(name):
    shape = MODEL.operation_model(name).input_shape
    without_default = {
        field.name for field in attrs.fields(INPUTS[name]) if field.default is attrs.NOTHING
    }
    assert without_default == {xform_name(member) for member in shape.required_members}
    assert OPERATIONS[name].body == (
        "required" if "Body" in shape.required_members else "or input_location"
    )


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_the_input_class_has_the_tables_parameters_in_its_order(name):
    fields = [field.name for field in attrs.fields(INPUTS[name])]
    assert [field for field in fields if field not in {"endpoint_name", "body"}] == [
        binding.parameter for binding in OPERATIONS[name].inputs
    ]


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_outputs_are_bound_as_in_the_model(name):
    shape = MODEL.operation_model(name).output_shape
    outputs = OPERATIONS[name].outputs
    assert {b.member: b.header for b in outputs} == members(shape, "header")
    assert all(b.parameter == xform_name(b.member) for b in outputs)
    in_the_body = "InferenceId" if name == "InvokeEndpointAsync" else "Body"
    assert shape.members.keys() - {b.member for b in outputs} == {in_the_body}


def test_the_output_class_has_the_models_members():
    shape = MODEL.operation_model("InvokeEndpoint").output_shape
    fields = {field.name for field in attrs.fields(InvokeEndpointOutput)}
    assert fields - {"metadata"} == {xform_name(member) for member in shape.members}


@pytest.mark.parametrize("name", OPERATION_NAMES)
def test_lengths_and_ranges(name):
    shapes = MODEL.operation_model(name).input_shape.members
    operation = OPERATIONS[name]
    assert operation.max_body_length == shapes["Body"].metadata["max"]
    constraints = {b.member: b.constraint for b in operation.inputs}
    constraints["EndpointName"] = operation.resource.constraint
    for member, constraint in constraints.items():
        limits = shapes[member].metadata
        if isinstance(constraint, IntegerConstraint):
            assert (constraint.minimum, constraint.maximum) == (limits["min"], limits["max"])
        else:
            assert constraint.max_length == limits["max"]
            # The one deliberate difference: an empty string is refused everywhere.
            assert constraint.min_length == max(1, limits.get("min", 0))


def test_the_body_limits_are_the_models():
    assert OPERATIONS["InvokeEndpointAsync"].max_body_length == ASYNC_BODY_LENGTH == 128_000
    assert OPERATIONS["InvokeEndpoint"].max_body_length == SYNC_BODY_LENGTH == 6_291_456


# Patterns. What this package accepts, the model accepts; what it refuses although the
# model accepts it, `deliberately_refused` lists, with the reason.


def string_constraints():
    """Each string shape of the inputs with its constraint."""
    found = {}
    for name in OPERATION_NAMES:
        shapes = MODEL.operation_model(name).input_shape.members
        operation = OPERATIONS[name]
        pairs = [("EndpointName", operation.resource.constraint)]
        pairs += [(b.member, b.constraint) for b in operation.inputs]
        for member, constraint in pairs:
            shape = shapes[member]
            if shape.type_name == "string":
                # A shape has one constraint, whichever operations and members share it.
                assert found.setdefault(shape.name, (shape, constraint))[1] is constraint
    return [pytest.param(*pair, id=name) for name, pair in sorted(found.items())]


each_string = pytest.mark.parametrize("shape, constraint", string_constraints())


def accepts(constraint, value):
    try:
        sent = constraint.check("parameter", value)
    except ParameterValidationError:
        return False
    assert sent == value
    return True


def deliberately_refused(shape, value):
    if not value:
        # A header without a value says nothing, and the service trims it away.
        return True
    if shape.name == "InputLocationHeader":
        # A key may be any Unicode, but CR, LF, NUL and other controls would break the
        # header, and half a surrogate pair is no character.
        return any(
            ord(c) < 0x20
            or 0x7F <= ord(c) <= 0x9F
            or c in "\u2028\u2029"
            or 0xD800 <= ord(c) <= 0xDFFF
            for c in value
        )
    if shape.name == "S3OutputPathExtensionHeader" and has_dot_segment(value):
        # Nobody could read the output.
        return True
    # \p{ASCII}, the first \S and `.` let control characters through, the latter two also
    # what is not ASCII, of which no two HTTP implementations agree on the encoding.
    return any(c != "\t" and not " " <= c <= "~" for c in value)


def check_agreement(shape, constraint, value):
    accepted = accepts(constraint, value)
    expected = allows(shape, value) and not deliberately_refused(shape, value)
    assert accepted == expected, f"{value!a}: accepted {accepted}, the model says {expected}"


@each_string
@given(data=st.data())
def test_any_match_of_the_models_pattern_is_judged_as_documented(shape, constraint, data):
    value = data.draw(values(shape) | st.from_regex(pattern_of(shape), fullmatch=True))
    check_agreement(shape, constraint, value)


@each_string
@given(value=st.text() | st.text("-a.:/s3htp_N \t\r\n\0\x7fé", max_size=12))
@example("NEW_SESSION")
@example("NEW_SESSION\n")
@example("new_session")
@example("a-")
@example("-a")
@example("a--b")
@example("a_b")
@example("a/b")
@example("../x")
@example("a/..")
@example("a/./b")
@example("..a/b../.c")
@example("...")
@example("//")
@example("a%2Fb")
@example("a\n")
@example("a\r\nX-Injected: 1")
@example(" a")
@example("a ")
@example("a\tb")
@example("s3://bucket/key")
@example("s3://bucket")
@example("s3://")
@example("s3:///key")
@example("http://bucket/key")
@example("https://bucket/a/b//c?d#e")
@example("s3://bucket/käse")
@example("s3://bucket/a\x85b")
@example("s3:x")
@example("xs3:")
@example("a.b")
@example("a.b.c")
@example("a..b")
@example(".a")
@example("\u0661")  # a digit, but not of ASCII
def test_any_text_is_judged_as_the_model_does(shape, constraint, value):
    check_agreement(shape, constraint, value)


@each_string
def test_every_character_in_every_place_is_judged_as_the_model_does(shape, constraint):
    valid = "s3://b/k" if shape.name == "InputLocationHeader" else "a1"
    assert accepts(constraint, valid)
    others = [0x3B1, 0x2028, 0x2029, 0xD800, 0xDFFF, 0xFEFF, 0xFF10, 0x1F600]
    for character in map(chr, [*range(0x250), *others]):
        for place in (0, len(valid) - 1, len(valid)):
            check_agreement(shape, constraint, valid[:place] + character + valid[place:])


@each_string
def test_a_length_is_right_up_to_its_limits(shape, constraint):
    prefix = "s3://" if shape.name == "InputLocationHeader" else ""

    def of_length(length):
        return prefix.ljust(length, "a")

    shortest = max(len(prefix) + 1, constraint.min_length)
    for length in (shortest, constraint.max_length):
        assert constraint.check("parameter", of_length(length)) == of_length(length)
    for length in (0, constraint.max_length + 1):
        value = of_length(length) if length else ""
        with pytest.raises(ParameterValidationError) as caught:
            constraint.check("parameter", value)
        assert caught.value.parameter == "parameter"
        assert caught.value.length == length
        assert caught.value.rule == constraint.rule
        assert f"{constraint.min_length} to {constraint.max_length} characters" in str(caught.value)


@each_string
@pytest.mark.parametrize(
    "value", [b"a", 1, 1.5, True, ["a"], object()], ids=lambda v: type(v).__name__
)
def test_only_text_is_a_text(shape, constraint, value):
    with pytest.raises(ParameterValidationError, match=f"must be str, not {type(value).__name__}"):
        constraint.check("parameter", value)


def test_a_subclass_of_str_is_sent_as_what_was_checked():
    class Variant(str, enum.Enum):
        BLUE = "blue"

    class Liar(str):
        __slots__ = ()

        def __str__(self):
            return "a\r\nX-Injected: 1"

        def __format__(self, spec):
            return str(self)

        def __len__(self):
            return 1

    constraint = INVOKE_ENDPOINT.resource.constraint
    for value, text in [(Variant.BLUE, "blue"), (Liar("blue"), "blue")]:
        sent = constraint.check("endpoint_name", value)
        assert type(sent) is str
        assert f"{sent}" == text
    with pytest.raises(ParameterValidationError):
        constraint.check("endpoint_name", Liar("a" * 64))


INTEGERS = [
    pytest.param(binding, id=binding.parameter)
    for binding in INVOKE_ENDPOINT_ASYNC.inputs
    if isinstance(binding.constraint, IntegerConstraint)
]


@pytest.mark.parametrize("binding", INTEGERS)
@given(value=st.integers() | st.integers(-5, 25_000))
def test_integers_are_judged_as_the_model_does(binding, value):
    limits = MODEL.shape_for(f"{binding.member}Header").metadata
    if limits["min"] <= value <= limits["max"]:
        assert binding.constraint.check(binding.parameter, value) == str(value)
    else:
        with pytest.raises(ParameterValidationError) as caught:
            binding.constraint.check(binding.parameter, value)
        assert caught.value.rule == f"must be an integer from {limits['min']} to {limits['max']}"


@pytest.mark.parametrize("binding", INTEGERS)
def test_integers_are_right_up_to_their_limits(binding):
    constraint = binding.constraint
    for value in (constraint.minimum, constraint.maximum):
        assert constraint.check(binding.parameter, value) == str(value)
    for value in (constraint.minimum - 1, constraint.maximum + 1):
        with pytest.raises(ParameterValidationError):
            constraint.check(binding.parameter, value)


@pytest.mark.parametrize("binding", INTEGERS)
@pytest.mark.parametrize("value", [True, False, 60.0, "60", b"60", [60]], ids=repr)
def test_only_integers_are_integers(binding, value):
    with pytest.raises(ParameterValidationError, match=f", not {type(value).__name__}"):
        binding.constraint.check(binding.parameter, value)


def test_a_subclass_of_int_is_sent_as_its_number():
    class Ttl(enum.IntEnum):
        HOUR = 3600

        def __str__(self):
            return "an hour"

    constraint = IntegerConstraint(60, 21600)
    assert constraint.check("request_ttl_seconds", Ttl.HOUR) == "3600"


# Errors and events.

# Codes of AWS's front door, which the service model does not name.
COMMON_CODES = {
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "ValidationException",
}


def test_every_error_of_the_model_has_a_class_of_its_name():
    modelled = {shape.error_code for shape in MODEL.error_shapes}
    for name in OPERATION_NAMES:
        assert modelled >= {shape.error_code for shape in MODEL.operation_model(name).error_shapes}
    for code in modelled:
        assert ERROR_CLASSES[code].__name__ == code
    assert ERROR_CLASSES.keys() - modelled == COMMON_CODES | THROTTLING_CODES


@pytest.mark.parametrize("shape", MODEL.error_shapes, ids=lambda shape: shape.name)
def test_an_error_has_the_members_of_its_shape_and_tells_its_status(shape):
    cls = ERROR_CLASSES[shape.name]
    assert {xform_name(member) for member in shape.members} <= vars(cls()).keys()
    if "error" in shape.metadata:
        assert cls.__doc__.startswith(f"{shape.metadata['error']['httpStatusCode']}: ")


def test_the_stream_has_one_event_and_the_exceptions_that_have_classes():
    operation = MODEL.operation_model("InvokeEndpointWithResponseStream")
    stream = operation.get_event_stream_output()
    events = {name for name, shape in stream.members.items() if not shape.metadata.get("exception")}
    assert events == {PayloadPart.__name__}
    assert stream.members.keys() - events <= ERROR_CLASSES.keys()
    part = stream.members["PayloadPart"].members
    assert {name: shape.serialization for name, shape in part.items()} == {
        "Bytes": {"eventpayload": True}
    }
    assert [field.name for field in attrs.fields(PayloadPart)] == ["bytes"]
