"""The error tree: its shape, its facts, its sentences."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
import traceback

import pytest
from botocore.retries.standard import ThrottledRetryableChecker
from hypothesis import given
from hypothesis import strategies as st
from support.readable import is_readable

from aiosmrt import errors
from aiosmrt.errors import (
    ERROR_CLASSES,
    THROTTLING_CODES,
    AccessDeniedException,
    AiosmrtError,
    AsyncInferenceError,
    ChecksumMismatchError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    DeadlineExceededError,
    EventStreamError,
    InternalFailure,
    InvalidMessageError,
    MessageTooLargeError,
    ModelError,
    ModelNotReadyException,
    ModelStreamError,
    ParameterValidationError,
    PoolTimeoutError,
    ReadTimeoutError,
    ServiceError,
    StreamTruncatedError,
    ThrottlingException,
    TransportError,
    UnknownServiceError,
    ValidationError,
)

# The public contract: each class, its parent, and what else it is.
TREE = {
    "AiosmrtError": None,
    "ConfigurationError": "AiosmrtError",
    "CredentialsError": "AiosmrtError",
    "ParameterValidationError": "AiosmrtError (ValueError)",
    "TransportError": "AiosmrtError",
    "ConnectError": "TransportError",
    "ConnectionLostError": "TransportError",
    "ConnectTimeoutError": "TransportError (TimeoutError)",
    "ReadTimeoutError": "TransportError (TimeoutError)",
    "PoolTimeoutError": "TransportError (TimeoutError)",
    "DeadlineExceededError": "TransportError (TimeoutError)",
    "EventStreamError": "AiosmrtError",
    "InvalidMessageError": "EventStreamError",
    "ChecksumMismatchError": "EventStreamError",
    "MessageTooLargeError": "EventStreamError",
    "StreamTruncatedError": "EventStreamError",
    "AsyncInferenceError": "AiosmrtError",
    "ServiceError": "AiosmrtError",
    "ValidationError": "ServiceError",
    "ModelError": "ServiceError",
    "ModelNotReadyException": "ServiceError",
    "InternalFailure": "ServiceError",
    "ServiceUnavailable": "ServiceError",
    "InternalDependencyException": "ServiceError",
    "ThrottlingException": "ServiceError",
    "AccessDeniedException": "ServiceError",
    "ExpiredTokenException": "ServiceError",
    "ModelStreamError": "ServiceError",
    "InternalStreamFailure": "ServiceError",
    "UnknownServiceError": "ServiceError",
}

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, BaseException)
}
each_class = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


def parent_of(cls):
    own, *others = cls.__bases__
    if own is Exception:
        return None
    return own.__name__ + "".join(f" ({other.__name__})" for other in others)


def drawn_tree(text):
    """The tree that a docstring draws, in the form of TREE."""
    found = {}
    path = []
    for line in text.splitlines():
        drawn = re.fullmatch(r"([│├└─ ]*)(\w+)( \(\w+\))?", line)
        if drawn is None or not (line.startswith("AiosmrtError") or drawn[1]):
            continue
        prefix, name, other = drawn.groups()
        del path[len(prefix) // 4 :]
        found[name] = path[-1] + (other or "") if path else None
        path.append(name)
    return found


def test_the_tree_is_the_contracts():
    assert {name: parent_of(cls) for name, cls in CLASSES.items()} == TREE


def test_the_docstring_draws_the_tree_in_the_order_of_the_contract():
    drawn = drawn_tree(errors.__doc__)
    assert drawn == TREE
    assert list(drawn) == list(TREE)


def test_all_names_every_error_and_is_sorted_without_regard_to_underscores():
    assert errors.__all__ == sorted(TREE)


def facts_of(cls):
    """A value for every parameter of a class's constructor, none of them a default."""
    facts = {}
    for number, (name, parameter) in enumerate(inspect.signature(cls).parameters.items(), 1):
        text = "str" in str(parameter.annotation)
        facts[name] = f"{name} given" if text else 100 + number
    return facts


def error_of(cls):
    """An error with every attribute set, those too that a session adds."""
    facts = facts_of(cls)
    positional = [facts.pop(name) for name in ("message", "parameter", "part") if name in facts][:1]
    if cls is ParameterValidationError:
        positional.append(facts.pop("rule"))
    error = cls(*positional, **facts)
    error.operation = "InvokeEndpoint"
    error.endpoint_name = "my-endpoint"
    error.attempts = 3
    error.retry_stopped = "the retry quota is empty"
    if isinstance(error, EventStreamError):
        error.request_id = "a-request-id"
    return error


def assert_same(one, other):
    assert type(one) is type(other)
    assert vars(one) == vars(other)
    assert one.args == other.args
    assert repr(one) == repr(other)
    assert str(one) == str(other)


@each_class
def test_an_error_keeps_its_facts_as_attributes(cls):
    facts = facts_of(cls)
    error = error_of(cls)
    assert {name: getattr(error, name) for name in facts if name != "attempts"} == {
        name: value for name, value in facts.items() if name != "attempts"
    }
    assert error.attempts == 3


@each_class
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_error_survives_pickle(cls, protocol):
    error = error_of(cls)
    assert_same(pickle.loads(pickle.dumps(error, protocol)), error)  # noqa: S301


@each_class
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_an_error_can_be_copied(cls, copied):
    error = error_of(cls)
    twin = copied(error)
    assert twin is not error
    assert_same(twin, error)
    twin.operation = "InvokeEndpointAsync"
    assert error.operation == "InvokeEndpoint"


@each_class
def test_every_attribute_is_documented_and_every_documented_one_is_there(cls):
    documented = set()
    for ancestor in cls.__mro__:
        if ancestor.__name__ in CLASSES:
            _, _, attributes = inspect.getdoc(ancestor).partition("Attributes:\n")
            documented |= set(re.findall(r"^    (\w+): ", attributes, re.MULTILINE))
    assert vars(error_of(cls)).keys() <= documented
    assert all(hasattr(error_of(cls), name) for name in documented)


@each_class
def test_an_error_says_what_where_and_what_to_do_next(cls):
    error = error_of(cls)
    text = str(error)
    assert next(iter(facts_of(cls).values())) in text
    assert "operation InvokeEndpoint, endpoint my-endpoint, attempts 3" in text
    _, _, advice = text.partition(" Not tried again: the retry quota is empty.")
    if cls in {AiosmrtError, ServiceError}:  # nothing raises these themselves
        assert not advice
    else:
        assert re.fullmatch(r" [A-Z].{10,}\.", advice)


@each_class
def test_an_error_without_facts_has_sentences_too(cls):
    if cls in {ParameterValidationError, ChecksumMismatchError, MessageTooLargeError}:
        return  # their facts are required
    text = str(cls())
    assert text.endswith(".")
    assert "None" not in text
    assert "()" not in text


# Whatever a service, a container or a proxy may say: lone surrogates, controls, and at length.
said = st.text() | st.text("\r\n\x1b\x9b\u202e\u2028\u200d\xa0\ud800.a ") | st.just("\x1b" * 70_000)


@each_class
@given(data=st.data())
def test_whatever_was_said_the_text_is_one_line_with_all_facts(cls, data):
    error = error_of(cls)
    for name, value in vars(error).items():
        if isinstance(value, str) and name not in _OURS:
            setattr(error, name, data.draw(said, label=name))
    raw = vars(error).copy()
    for text in (str(error), repr(error), f"{error}"):
        assert is_readable(text)
        assert len(text) < 10_000
        text.encode()
    told = str(error)
    assert "operation InvokeEndpoint, endpoint my-endpoint, attempts 3" in told
    assert re.search(r" Not tried again: the retry quota is empty\.( [A-Z].{10,}\.)?$", told)
    numbers = ["status_code", "original_status_code", "bytes_left"]
    if cls is ParameterValidationError:
        numbers.append("length")
    assert all(str(raw[name]) in told for name in numbers if name in raw)
    assert vars(error) == raw  # the attributes hold what was said as it came
    assert_same(pickle.loads(pickle.dumps(error)), error)  # noqa: S301


# Named by the session, not by what answers.
_OURS = {"operation", "endpoint_name", "retry_stopped"}


@pytest.mark.parametrize("length", [2_001, 60_000, 1_000_000])
def test_a_long_message_costs_no_fact(length):
    error = ModelError(
        "M" * length,
        code="ModelError",
        status_code=424,
        request_id="the-request-id",
        original_status_code=500,
        log_stream_arn="arn:aws:logs:us-east-1:123456789012:log-group:g:log-stream:s",
    )
    text = str(error)
    assert len(text) < 3_000
    assert text.startswith("ModelError (HTTP 424): MMM")
    assert f"M... [{length + 23} characters in all] (attempts 1, request id the-request-id" in text
    assert "container status 500, log stream arn:aws:logs:us-east-1" in text
    assert text.endswith("tells why.")
    assert error.message == "M" * length


def test_a_traceback_shows_a_message_in_one_line():
    forged = "ok\n2026-01-01 CRITICAL all is lost\x1b[2J"
    try:
        raise ModelError(forged, status_code=424)
    except ModelError as error:
        shown = "".join(traceback.format_exception(error))
    assert r"ok\n2026-01-01 CRITICAL all is lost\x1b[2J" in shown.splitlines()[-1]
    assert "\x1b" not in shown


def test_timeouts_are_timeout_errors_and_bad_parameters_value_errors():
    timeouts = {cls for cls in CLASSES.values() if issubclass(cls, TimeoutError)}
    assert timeouts == {
        ConnectTimeoutError,
        ReadTimeoutError,
        PoolTimeoutError,
        DeadlineExceededError,
    }
    assert {cls for cls in CLASSES.values() if issubclass(cls, ValueError)} == {
        ParameterValidationError
    }
    with pytest.raises(TimeoutError):
        raise ReadTimeoutError("No answer came in 70 seconds")


SENTENCES = [
    (AiosmrtError(), "AiosmrtError."),
    (AiosmrtError("It broke"), "It broke."),
    (AiosmrtError("It broke."), "It broke."),
    (AiosmrtError("Did it break?"), "Did it break?"),
    (AiosmrtError("It broke \n"), "It broke."),
    (
        ParameterValidationError("filename", "must be 1 to 32 characters", length=40),
        (
            "Invalid parameter filename: it must be 1 to 32 characters; the value given has "
            "length 40. Nothing was sent."
        ),
    ),
    (
        ParameterValidationError("body", "is required"),
        "Invalid parameter body: it is required. Nothing was sent.",
    ),
    (
        ConnectError("The name was not found", host="example.com:443"),
        (
            "The name was not found (host example.com:443). Check the region, the endpoint URL, "
            "DNS, the proxy and the network."
        ),
    ),
    (
        ConnectionLostError("The connection was reset", bytes_sent=6_291_456),
        (
            "The connection was reset. The model may have run although its answer was lost; call "
            "again if it may run once more."
        ),
    ),
    (
        ConnectionLostError("The connection was reset", bytes_sent=6_291_457),
        (
            "The connection was reset. The request's body has 6291457 bytes; past 6 MiB its "
            "size is the usual cause: use InvokeEndpointAsync, or ask AWS for a higher limit."
        ),
    ),
    (
        ConnectionLostError("The connection was reset", bytes_received=1, head_received=True),
        (
            "The connection was reset. The model has run, but its answer was lost; call again "
            "if it may run once more."
        ),
    ),
    (
        ChecksumMismatchError("prelude", expected=0xA, computed=0xDEADBEEF),
        (
            "The prelude checksum of an event-stream message is 0x0000000a, but its bytes have "
            "0xdeadbeef. Parts handed out before it are whole and correct; the rest of the "
            "response is lost."
        ),
    ),
    (
        MessageTooLargeError("headers", length=200_000, limit=131_072),
        (
            "Too long: headers of 200000 bytes, where the limit is 131072. What was handed "
            "out before it is whole. If such a length is meant, raise the limit "
            "(max_body_length of the session, or the decoder's own)."
        ),
    ),
    (
        StreamTruncatedError(bytes_received=20, parts_received=1, bytes_left=4),
        (
            "The response ended in the middle of a message: 20 bytes had arrived; parts handed "
            "out: 1, bytes left over: 4. What was handed out before is whole, "
            "but the answer is incomplete: treat it as failed, and call again if the model may "
            "run once more."
        ),
    ),
    (
        StreamTruncatedError("The payload ended in the middle of a line", bytes_left=4),
        (
            "The payload ended in the middle of a line: bytes left over: 4. The answer is "
            "incomplete: treat it as failed, and call again if the model may run once more."
        ),
    ),
    (
        StreamTruncatedError("The body is shorter than announced.", bytes_received=20),
        (
            "The body is shorter than announced: 20 bytes had arrived. The answer is "
            "incomplete: treat it as failed, and call again if the model may run once more."
        ),
    ),
    (
        AsyncInferenceError(
            "The container said no", inference_id="1", failure_location="s3://bucket/key"
        ),
        (
            "The container said no (inference id 1, failure object s3://bucket/key). The text "
            "above is the container's own; its log group in CloudWatch tells the rest."
        ),
    ),
    (
        ValidationError("Endpoint e not found.", status_code=400, request_id="r"),
        (
            "ValidationError (HTTP 400): Endpoint e not found (attempts 1, request id r). Check "
            "the endpoint's name and status, the region and the parameters."
        ),
    ),
    (
        ModelError(status_code=424, original_status_code=500, attempts=2),
        (
            "ModelError (HTTP 424): the service gave no message (attempts 2, container status "
            "500). The container's log group in CloudWatch, /aws/sagemaker/Endpoints/, tells "
            "why."
        ),
    ),
    (
        ModelError(status_code=424, original_status_code=400, original_message="out of memory"),
        (
            "ModelError (HTTP 424): out of memory (attempts 1, container status 400). The "
            "container's log group in CloudWatch, /aws/sagemaker/Endpoints/, tells why."
        ),
    ),
    (
        ModelError("No", status_code=424, original_status_code=0, log_stream_arn="arn:aws:logs:x"),
        (
            "ModelError (HTTP 424): No (attempts 1, container status 0, log stream "
            "arn:aws:logs:x). The container's log stream named above tells why."
        ),
    ),
    (
        ModelStreamError("Gone", status_code=200, error_code="StreamBroken"),
        (
            "ModelStreamError (HTTP 200): Gone (attempts 1, error code StreamBroken). Parts "
            "handed out before it are whole; the container's log tells why it stopped."
        ),
    ),
    (
        UnknownServiceError("Brewing", code="TeapotException", status_code=418),
        (
            "TeapotException (HTTP 418): Brewing (attempts 1). Look its code up in the AWS "
            "documentation; quote the request id to AWS Support."
        ),
    ),
    (
        UnknownServiceError("No", code="UnrecognizedClientException", status_code=403),
        (
            "UnrecognizedClientException (HTTP 403): No (attempts 1). The credentials or the "
            "clock are wrong: check the access key, its secret and token, the region, and this "
            "machine's time."
        ),
    ),
    (
        UnknownServiceError("<html>", code="502", status_code=502),
        (
            "HTTP 502: <html> (attempts 1). Neither an error code nor a request id of AWS came "
            "with it: look at what answers at the endpoint URL, such as a proxy or a load "
            "balancer on the way."
        ),
    ),
    (
        UnknownServiceError(code="308", status_code=308),
        (
            "HTTP 308: the service gave no message (attempts 1). A signed request is not "
            "redirected: set the endpoint URL to the address that answers."
        ),
    ),
]


@pytest.mark.parametrize(
    "error, text",
    [
        pytest.param(error, text, id=f"{number}-{type(error).__name__}")
        for number, (error, text) in enumerate(SENTENCES)
    ],
)
def test_sentences(error, text):
    assert str(error) == text


def test_facts_stand_in_the_order_a_reader_looks_for_them():
    error = InvalidMessageError("The message is malformed")
    error.operation = "InvokeEndpointWithResponseStream"
    error.endpoint_name = "llm"
    error.attempts = 2
    error.request_id = "r"
    assert (
        "(operation InvokeEndpointWithResponseStream, endpoint llm, attempts 2, request id r)."
        in str(error)
    )


def test_the_reason_of_no_further_attempt_is_told():
    error = InternalFailure("Sorry", status_code=500)
    error.retry_stopped = "RetryPolicy(max_attempts=3) is used up"
    assert ". Not tried again: RetryPolicy(max_attempts=3) is used up. Try again" in str(error)


@pytest.mark.parametrize("cls", [c for c in CLASSES.values() if issubclass(c, ServiceError)])
def test_a_service_errors_code_is_its_name_unless_told(cls):
    assert cls().code == cls.__name__
    assert cls(code="Other").code == "Other"
    assert cls().attempts == 1


@pytest.mark.parametrize(
    "error, throttling",
    [
        (ThrottlingException(code="SlowDown", status_code=503), True),
        (ThrottlingException(status_code=400), True),
        (UnknownServiceError(code="429", status_code=429), True),
        (UnknownServiceError(code="TeapotException", status_code=429), True),
        (UnknownServiceError(code="500", status_code=500), False),
        (ModelNotReadyException(status_code=429), False),
        (AccessDeniedException(status_code=403), False),
    ],
)
def test_what_counts_as_throttling(error, throttling):
    assert error.is_throttling is throttling


def test_every_throttling_code_of_botocore_is_known_and_has_the_class():
    known = ThrottledRetryableChecker._THROTTLED_ERROR_CODES  # noqa: SLF001 - no list is public
    assert set(known) == THROTTLING_CODES
    assert {ERROR_CLASSES[code] for code in THROTTLING_CODES} == {ThrottlingException}


def test_a_subclass_of_a_users_own_survives_pickle_too():
    error = OwnError(1, also=2)
    assert_same(pickle.loads(pickle.dumps(error)), error)  # noqa: S301


class OwnError(TransportError):
    def __init__(self, number, *, also):
        super().__init__(f"{number}", host=f"{also}")
