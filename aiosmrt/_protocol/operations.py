"""The operation table as data: paths, header bindings, constraints, statuses.

Read off the service model `sagemaker-runtime` 2017-05-13; a test compares every
binding and constraint with botocore's copy of it, so that drift shows.
"""

from __future__ import annotations

import re
from typing import Any, Literal

import attrs

from aiosmrt._values import is_integer
from aiosmrt.errors import ParameterValidationError

__all__ = [
    "ASYNC_BODY_LENGTH",
    "INVOKE_ENDPOINT",
    "INVOKE_ENDPOINT_ASYNC",
    "INVOKE_ENDPOINT_WITH_RESPONSE_STREAM",
    "OPERATIONS",
    "SYNC_BODY_LENGTH",
    "HeaderBinding",
    "IntegerConstraint",
    "Operation",
    "OutputBinding",
    "PathBinding",
    "StringConstraint",
]

# The model's BodyBlob. Accounts can be given more, so this one only warns.
SYNC_BODY_LENGTH = 6_291_456
# The model's AsyncBodyBlob, which the service holds to.
ASYNC_BODY_LENGTH = 128_000


@attrs.frozen(eq=False)
class StringConstraint:
    """What a string parameter must be.

    Attributes:
        min_length: Characters at least; an empty header says nothing, so never under 1.
        max_length: Characters at most.
        pattern: What the whole value must match.
        words: The pattern for a reader, completing "must be".
    """

    min_length: int
    max_length: int
    pattern: re.Pattern[str]
    words: str

    @property
    def rule(self) -> str:
        """The whole constraint, completing "it"."""
        return f"must be {self.min_length} to {self.max_length} characters, {self.words}"

    def check(self, parameter: str, value: Any) -> str:
        """Returns the value as it goes on the wire.

        Raises:
            ParameterValidationError: The value breaks the constraint.
        """
        if not isinstance(value, str):
            raise ParameterValidationError(parameter, f"must be str, not {type(value).__name__}")
        # A subclass (an enum's member) may format as another text than the one checked.
        text = str.__str__(value)
        length = len(text)
        if not self.min_length <= length <= self.max_length or not self.pattern.fullmatch(text):
            raise ParameterValidationError(parameter, self.rule, length=length)
        return text


@attrs.frozen(eq=False)
class IntegerConstraint:
    """What an integer parameter must be: from ``minimum`` to ``maximum``."""

    minimum: int
    maximum: int

    @property
    def rule(self) -> str:
        """The whole constraint, completing "it"."""
        return f"must be an integer from {self.minimum} to {self.maximum}"

    def check(self, parameter: str, value: Any) -> str:
        """Returns the value as it goes on the wire.

        Raises:
            ParameterValidationError: The value breaks the constraint.
        """
        if not is_integer(value):
            raise ParameterValidationError(parameter, f"{self.rule}, not {type(value).__name__}")
        if not self.minimum <= value <= self.maximum:
            raise ParameterValidationError(parameter, self.rule)
        return str(int(value))


@attrs.frozen(eq=False)
class HeaderBinding:
    """An input parameter that travels as a header.

    Attributes:
        parameter: Its name here (``content_type``).
        member: Its name in the service model (``ContentType``).
        header: The header's name on the wire.
        constraint: What its value must be.
    """

    parameter: str
    member: str
    header: str
    constraint: StringConstraint | IntegerConstraint


@attrs.frozen(eq=False)
class PathBinding:
    """An input parameter that stands in the path; names as in HeaderBinding."""

    parameter: str
    member: str
    constraint: StringConstraint


@attrs.frozen(eq=False)
class OutputBinding:
    """An output member that arrives as a header; names as in HeaderBinding."""

    parameter: str
    member: str
    header: str


@attrs.frozen(eq=False)
class Operation:
    """One operation of the service.

    Attributes:
        name: Its name in the service model, and in every text and log.
        path: The model's path, ``/endpoints/{EndpointName}/invocations``.
        resource: The parameter in the path: it names what is invoked.
        status_code: The status of success that the model names.
        body: Whether the body is required, or stands in InputLocation's place.
        max_body_length: The model's limit of the body in bytes.
        inputs: The header parameters, in the order of the input class.
        outputs: The output members that arrive as headers.
    """

    name: str
    path: str
    resource: PathBinding
    status_code: int
    body: Literal["required", "or input_location"]
    max_body_length: int
    inputs: tuple[HeaderBinding, ...]
    outputs: tuple[OutputBinding, ...]

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names of all input parameters except the body."""
        return (self.resource.parameter, *[binding.parameter for binding in self.inputs])


# Java's \p{Print} is 0x20 to 0x7E; \S before it leaves 0x21 to 0x7E.
_PRINTABLE = re.compile(r"[\x21-\x7E][\x20-\x7E]*")
# A header's value (RFC 7230, 3.2.6): visible ASCII, space and tab. The model's
# \p{ASCII}* would let CR, LF and NUL through.
_FIELD_VALUE = re.compile(r"[\t\x20-\x7E]*")
# A key may be any Unicode (sent as UTF-8). But no control character and no half of a
# surrogate pair has a form on the wire, and the model's `.` is no line separator.
_NOT_IN_URI = r"\x00-\x1F\x7F-\x9F\u2028\u2029\uD800-\uDFFF"
_HYPHENATED = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9])*")

_FIELD_WORDS = "visible ASCII, spaces and tabs only"
_HYPHENATED_WORDS = "letters and digits with hyphens between them"
_PRINTABLE_WORDS = "printable ASCII that does not begin with a space"

_NAME = StringConstraint(1, 63, _HYPHENATED, _HYPHENATED_WORDS)
_HEADER = StringConstraint(1, 1024, _FIELD_VALUE, _FIELD_WORDS)
_ID = StringConstraint(1, 64, _PRINTABLE, _PRINTABLE_WORDS)
_SESSION_ID = StringConstraint(1, 256, _HYPHENATED, _HYPHENATED_WORDS)

_P = "X-Amzn-SageMaker-"

_ENDPOINT = PathBinding("endpoint_name", "EndpointName", _NAME)

_CUSTOM_ATTRIBUTES = HeaderBinding(
    "custom_attributes", "CustomAttributes", _P + "Custom-Attributes", _HEADER
)
_INFERENCE_ID = HeaderBinding("inference_id", "InferenceId", _P + "Inference-Id", _ID)
_TARGET_VARIANT = HeaderBinding("target_variant", "TargetVariant", _P + "Target-Variant", _NAME)
_TARGET_CONTAINER_HOSTNAME = HeaderBinding(
    "target_container_hostname",
    "TargetContainerHostname",
    _P + "Target-Container-Hostname",
    _NAME,
)
_INFERENCE_COMPONENT_NAME = HeaderBinding(
    "inference_component_name",
    "InferenceComponentName",
    _P + "Inference-Component",
    StringConstraint(
        1, 63, re.compile(r"[a-zA-Z0-9]([\-a-zA-Z0-9]*[a-zA-Z0-9])?"), _HYPHENATED_WORDS
    ),
)
_PREFIX_AWARE_ID = HeaderBinding("prefix_aware_id", "PrefixAwareId", _P + "Prefix-Aware-Id", _ID)

_VARIANT_OUT = OutputBinding(
    "invoked_production_variant", "InvokedProductionVariant", "x-Amzn-Invoked-Production-Variant"
)
_CUSTOM_ATTRIBUTES_OUT = OutputBinding(
    "custom_attributes", "CustomAttributes", _P + "Custom-Attributes"
)

INVOKE_ENDPOINT = Operation(
    name="InvokeEndpoint",
    path="/endpoints/{EndpointName}/invocations",
    resource=_ENDPOINT,
    status_code=200,
    body="required",
    max_body_length=SYNC_BODY_LENGTH,
    inputs=(
        HeaderBinding("content_type", "ContentType", "Content-Type", _HEADER),
        HeaderBinding("accept", "Accept", "Accept", _HEADER),
        _CUSTOM_ATTRIBUTES,
        HeaderBinding(
            "target_model",
            "TargetModel",
            _P + "Target-Model",
            StringConstraint(1, 1024, _PRINTABLE, _PRINTABLE_WORDS),
        ),
        _TARGET_VARIANT,
        _TARGET_CONTAINER_HOSTNAME,
        _INFERENCE_ID,
        HeaderBinding(
            "enable_explanations",
            "EnableExplanations",
            _P + "Enable-Explanations",
            StringConstraint(1, 64, _FIELD_VALUE, _FIELD_WORDS),
        ),
        _INFERENCE_COMPONENT_NAME,
        HeaderBinding(
            "session_id",
            "SessionId",
            _P + "Session-Id",
            StringConstraint(
                1,
                256,
                re.compile(rf"NEW_SESSION|{_HYPHENATED.pattern}"),
                f"{_HYPHENATED_WORDS}, or NEW_SESSION",
            ),
        ),
        _PREFIX_AWARE_ID,
    ),
    outputs=(
        OutputBinding("content_type", "ContentType", "Content-Type"),
        _VARIANT_OUT,
        _CUSTOM_ATTRIBUTES_OUT,
        OutputBinding("new_session_id", "NewSessionId", _P + "New-Session-Id"),
        OutputBinding("closed_session_id", "ClosedSessionId", _P + "Closed-Session-Id"),
    ),
)

INVOKE_ENDPOINT_WITH_RESPONSE_STREAM = Operation(
    name="InvokeEndpointWithResponseStream",
    path="/endpoints/{EndpointName}/invocations-response-stream",
    resource=_ENDPOINT,
    status_code=200,
    body="required",
    max_body_length=SYNC_BODY_LENGTH,
    inputs=(
        HeaderBinding("content_type", "ContentType", "Content-Type", _HEADER),
        HeaderBinding("accept", "Accept", _P + "Accept", _HEADER),
        _CUSTOM_ATTRIBUTES,
        _TARGET_VARIANT,
        _TARGET_CONTAINER_HOSTNAME,
        _INFERENCE_ID,
        _INFERENCE_COMPONENT_NAME,
        HeaderBinding("session_id", "SessionId", _P + "Session-Id", _SESSION_ID),
        _PREFIX_AWARE_ID,
    ),
    outputs=(
        OutputBinding("content_type", "ContentType", _P + "Content-Type"),
        _VARIANT_OUT,
        _CUSTOM_ATTRIBUTES_OUT,
    ),
)

INVOKE_ENDPOINT_ASYNC = Operation(
    name="InvokeEndpointAsync",
    path="/endpoints/{EndpointName}/async-invocations",
    resource=_ENDPOINT,
    status_code=202,
    body="or input_location",
    max_body_length=ASYNC_BODY_LENGTH,
    inputs=(
        HeaderBinding(
            "input_location",
            "InputLocation",
            _P + "InputLocation",
            StringConstraint(
                1,
                1024,
                re.compile(rf"(https|s3)://([^/{_NOT_IN_URI}]+)/?([^{_NOT_IN_URI}]*)"),
                "an s3:// or https:// URI without control characters",
            ),
        ),
        HeaderBinding("content_type", "ContentType", _P + "Content-Type", _HEADER),
        HeaderBinding("accept", "Accept", _P + "Accept", _HEADER),
        _CUSTOM_ATTRIBUTES,
        _INFERENCE_ID,
        HeaderBinding(
            "s3_output_path_extension",
            "S3OutputPathExtension",
            _P + "S3OutputPathExtension",
            StringConstraint(
                1,
                512,
                # The model admits the segments . and .. too. S3 refuses a key with more of
                # these than others, and servers on the way remove them from a URL's path
                # (RFC 3986, 5.2.4): nobody could read the output.
                re.compile(r"(?!s3:|https:)(?!(?:.*/)?\.\.?(?:/|\Z))[a-zA-Z0-9!_.*'()/-]+"),
                "letters, digits and !_.*'()/- only, without the segments . and ..",
            ),
        ),
        HeaderBinding(
            "filename",
            "Filename",
            _P + "Filename",
            StringConstraint(
                1,
                32,
                re.compile(r"(?!.*\..*\.)[a-zA-Z0-9][a-zA-Z0-9-_\.]*"),
                "letters, digits, hyphens, underscores and one dot at most, "
                "beginning with a letter or a digit",
            ),
        ),
        HeaderBinding(
            "request_ttl_seconds",
            "RequestTTLSeconds",
            _P + "RequestTTLSeconds",
            IntegerConstraint(60, 21600),
        ),
        HeaderBinding(
            "invocation_timeout_seconds",
            "InvocationTimeoutSeconds",
            _P + "InvocationTimeoutSeconds",
            IntegerConstraint(1, 3600),
        ),
    ),
    outputs=(
        OutputBinding("output_location", "OutputLocation", _P + "OutputLocation"),
        OutputBinding("failure_location", "FailureLocation", _P + "FailureLocation"),
    ),
)

OPERATIONS = {
    operation.name: operation
    for operation in (INVOKE_ENDPOINT, INVOKE_ENDPOINT_WITH_RESPONSE_STREAM, INVOKE_ENDPOINT_ASYNC)
}
