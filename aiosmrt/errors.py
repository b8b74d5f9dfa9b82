"""Every error that aiosmrt raises, and the service's codes for them.

AiosmrtError
├── ConfigurationError
├── CredentialsError
├── ParameterValidationError (ValueError)
├── TransportError
│   ├── ConnectError
│   ├── ConnectionLostError
│   ├── ConnectTimeoutError (TimeoutError)
│   ├── ReadTimeoutError (TimeoutError)
│   ├── PoolTimeoutError (TimeoutError)
│   └── DeadlineExceededError (TimeoutError)
├── EventStreamError
│   ├── InvalidMessageError
│   ├── ChecksumMismatchError
│   ├── MessageTooLargeError
│   └── StreamTruncatedError
├── AsyncInferenceError
└── ServiceError
    ├── ValidationError
    ├── ModelError
    ├── ModelNotReadyException
    ├── InternalFailure
    ├── ServiceUnavailable
    ├── InternalDependencyException
    ├── ThrottlingException
    ├── AccessDeniedException
    ├── ExpiredTokenException
    ├── ModelStreamError
    ├── InternalStreamFailure
    └── UnknownServiceError

An error keeps its facts as attributes and builds its sentence in ``__str__``, so
that the session can add what only it knows (operation, endpoint, attempts)
without rewriting text. The attributes hold what the service and the container said
as it came; in the sentence, and in the ``repr``, their control characters are escaped
and their ends cut off, so that each error is one line of a log. No error holds a request
or response body, a credential or a signature: texts of errors end up in logs.
"""

from typing import Any, ClassVar

from aiosmrt._values import printable

__all__ = [
    "AccessDeniedException",
    "AiosmrtError",
    "AsyncInferenceError",
    "ChecksumMismatchError",
    "ConfigurationError",
    "ConnectError",
    "ConnectTimeoutError",
    "ConnectionLostError",
    "CredentialsError",
    "DeadlineExceededError",
    "EventStreamError",
    "ExpiredTokenException",
    "InternalDependencyException",
    "InternalFailure",
    "InternalStreamFailure",
    "InvalidMessageError",
    "MessageTooLargeError",
    "ModelError",
    "ModelNotReadyException",
    "ModelStreamError",
    "ParameterValidationError",
    "PoolTimeoutError",
    "ReadTimeoutError",
    "ServiceError",
    "ServiceUnavailable",
    "StreamTruncatedError",
    "ThrottlingException",
    "TransportError",
    "UnknownServiceError",
    "ValidationError",
]

# What the text of an error shows of a message, and of each fact: an S3 URI has 1,093
# characters at most.
_TEXT_LENGTH, _FACT_LENGTH, _CODE_LENGTH = 2_000, 1_100, 200
_WHO_ANSWERS = (
    "look at what answers at the endpoint URL, such as a proxy or a load balancer on the way."
)


class AiosmrtError(Exception):
    """The root of the tree.

    Attributes:
        message: What happened, as a sentence or as the service put it.
        operation: The operation under way (``InvokeEndpoint``), None outside one.
        endpoint_name: The SageMaker endpoint that was called, None outside a call.
        attempts: How many attempts the call took: requests written, and connections that
            could not be made; 0 when it ended before either.
        request_id: The ``x-amzn-RequestId`` to quote to AWS, None before a response's
            head has come, and when it told none.
        retry_stopped: Why no further attempt was made, None where that is plain.
    """

    operation: str | None = None
    endpoint_name: str | None = None
    attempts: int = 0
    request_id: str | None = None
    retry_stopped: str | None = None

    # What to do next: the second sentence of every text.
    _advice: ClassVar[str] = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.args, self.__dict__.copy())

    def _what(self) -> str:
        return self.message or type(self).__name__

    def _where(self) -> dict[str, object]:
        """The facts after the sentence, in the order a reader looks for them; None if unknown."""
        return {
            "operation": self.operation,
            "endpoint": self.endpoint_name,
            "attempts": self.attempts or None,
            "request id": self.request_id,
        }

    def _advise(self) -> str:
        return self._advice

    def __str__(self) -> str:
        text = printable(self._what().rstrip(), _TEXT_LENGTH)
        known = {name: fact for name, fact in self._where().items() if fact not in (None, "")}
        if facts := [f"{name} {printable(f'{known[name]}', _FACT_LENGTH)}" for name in known]:
            text = f"{text.rstrip('.')} ({', '.join(facts)})"
        if not text.endswith((".", "!", "?")):
            text += "."
        if self.retry_stopped:
            text += f" Not tried again: {printable(self.retry_stopped, _FACT_LENGTH)}."
        if advice := self._advise():
            text += f" {printable(advice, _FACT_LENGTH)}"
        return text

    def __repr__(self) -> str:
        return printable(super().__repr__(), _TEXT_LENGTH)


def _restore(cls: type[AiosmrtError], args: tuple[Any, ...], state: dict[str, Any]) -> AiosmrtError:
    """Rebuilds an error from its facts, past the keyword-only ``__init__``."""
    error = cls.__new__(cls, *args)
    error.args = args  # OSError, behind the timeouts, leaves this to an __init__
    error.__dict__.update(state)
    return error


class ConfigurationError(AiosmrtError):
    """A setting is missing, contradictory or malformed. Raised before any request."""

    _advice = "Correct what it names."


class CredentialsError(AiosmrtError):
    """No credentials could be found, or those found cannot be used."""

    _advice = "Check the credentials given, else the AWS_ environment variables and the profile."


class ParameterValidationError(AiosmrtError, ValueError):
    """A parameter is outside the service's constraints. Nothing was sent.

    Attributes:
        parameter: The parameter's name as the caller wrote it.
        rule: The rule that it breaks.
        length: The length of the value (characters, or bytes of a body); None
            where the value has none.
    """

    _advice = "Nothing was sent."

    def __init__(self, parameter: str, rule: str, *, length: int | None = None) -> None:
        super().__init__(f"{parameter}: {rule}")
        self.parameter = parameter
        self.rule = rule
        self.length = length

    def _what(self) -> str:
        given = "" if self.length is None else f"; the value given has length {self.length}"
        text = f"Invalid parameter {self.parameter}: it {self.rule}"
        return printable(text, _FACT_LENGTH) + given


class TransportError(AiosmrtError):
    """The request or its response was lost between here and the service.

    Attributes:
        host: The host and port that the connection was for, None if unknown.
        total: The call's ``Timeouts.total`` in seconds, None where it did not run out.
    """

    total: float | None = None
    _advice = "If the model may run once more, repeat the call."
    _s3_advice = "This was an S3 request; retrying cannot run the model twice."

    def __init__(self, message: str = "", *, host: str | None = None) -> None:
        super().__init__(message)
        self.host = host

    def _where(self) -> dict[str, object]:
        total = None if self.total is None else f"{self.total:g} s"
        return super()._where() | {"host": self.host, "Timeouts.total": total}

    def _advise(self) -> str:
        return self._s3_advice if self.operation in _S3_OPERATIONS else super()._advise()


class ConnectError(TransportError):
    """No connection could be made: DNS, TCP, the proxy or TLS."""

    _advice = "Check the region, the endpoint URL, DNS, the proxy and the network."
    _s3_advice = "Check the region, the endpoint URL of S3, DNS, the proxy and the network."


class ConnectionLostError(TransportError):
    """The connection broke before the response was complete.

    Attributes:
        bytes_sent: The length of the request's body in bytes.
        bytes_received: How many bytes of the response's body had arrived.
        head_received: Whether the response's head had: then the model has run.
    """

    def __init__(
        self,
        message: str = "",
        *,
        host: str | None = None,
        bytes_sent: int = 0,
        bytes_received: int = 0,
        head_received: bool = False,
    ) -> None:
        super().__init__(message, host=host)
        self.bytes_sent = bytes_sent
        self.bytes_received = bytes_received
        self.head_received = head_received

    def _advise(self) -> str:
        # The service resets the connection instead of answering when a body is
        # over the endpoint's limit, 6,291,456 bytes unless AWS has raised it.
        if self.operation in _S3_OPERATIONS:
            return super()._advise()
        if self.bytes_sent > 6_291_456:
            return (
                f"The request's body has {self.bytes_sent} bytes; past 6 MiB its size is the "
                "usual cause: use InvokeEndpointAsync, or ask AWS for a higher limit."
            )
        ran = "has run, but" if self.head_received else "may have run although"
        return f"The model {ran} its answer was lost; call again if it may run once more."


class ConnectTimeoutError(TransportError, TimeoutError):
    """No connection was made within ``Timeouts.connect`` seconds."""

    _advice = "Check the network path to the endpoint, or raise Timeouts.connect."
    _s3_advice = "Check the network path to S3, or raise Timeouts.connect."


class ReadTimeoutError(TransportError, TimeoutError):
    """Nothing arrived within ``Timeouts.read`` (head) or ``Timeouts.idle`` seconds (body)."""

    _advice = (
        "The model may still be running, so it is called again only with "
        "RetryPolicy(retry_on_read_timeout=True). A longer inference needs a longer timeout."
    )
    _s3_advice = "Try again, or raise Timeouts.read or Timeouts.idle."


class PoolTimeoutError(TransportError, TimeoutError):
    """No connection of the pool came free within ``Timeouts.total`` seconds."""

    _advice = "Raise max_connections, close streams that are no longer read, or send less at once."


class DeadlineExceededError(TransportError, TimeoutError):
    """``Timeouts.total``, or the time given to ``result()``, ran out over all attempts."""

    _advice = "Raise Timeouts.total (or the timeout given), or look at why the endpoint is slow."


class EventStreamError(AiosmrtError):
    """The bytes of an event stream do not make sense.

    Attributes:
        content_type: The response's own Content-Type without parameters (``text/html``),
            where it is not an event stream's and no message could be read; else None.
    """

    content_type: str | None = None
    _advice = "Parts handed out before it are whole and correct; the rest of the response is lost."

    def _where(self) -> dict[str, object]:
        told = None if self.content_type is None else f"{self.content_type[:80]!r}"
        return super()._where() | {"content type": told}

    def _advise(self) -> str:
        if self.content_type is not None:
            return f"What came is no event stream: {_WHO_ANSWERS}"
        return super()._advise()


class InvalidMessageError(EventStreamError):
    """A message, its header block or a header is malformed, or holds an impossible length."""


class ChecksumMismatchError(EventStreamError):
    """A CRC-32 does not match: the bytes were changed on their way.

    Attributes:
        part: ``prelude`` or ``message``, what the checksum covers.
        expected: The checksum that the message carries.
        computed: The checksum of the bytes that arrived.
    """

    def __init__(self, part: str, *, expected: int, computed: int) -> None:
        super().__init__(
            f"The {part} checksum of an event-stream message is {expected:#010x}, "
            f"but its bytes have {computed:#010x}"
        )
        self.part = part
        self.expected = expected
        self.computed = computed


class MessageTooLargeError(EventStreamError):
    """A message, or another part of a response that has a limit, is longer than it.

    Attributes:
        part: What is too long: ``message``, ``headers``, ``line``, ``a body``.
        length: The length announced, or reached so far, in bytes.
        limit: The limit, in bytes.
    """

    _advice = (
        "What was handed out before it is whole. If such a length is meant, raise the limit "
        "(max_body_length of the session, or the decoder's own)."
    )

    def __init__(self, part: str, *, length: int, limit: int) -> None:
        super().__init__(f"Too long: {part} of {length} bytes, where the limit is {limit}")
        self.part = part
        self.length = length
        self.limit = limit


class StreamTruncatedError(EventStreamError):
    """The response ended before it was complete.

    Attributes:
        bytes_received: How many bytes of the response's body had arrived.
        parts_received: How many whole PayloadParts had been handed out.
        bytes_left: How many bytes of an unfinished message, or line, or value, remain.
        leftover: Those bytes, where a payload was decoded; never printed.
    """

    def __init__(
        self,
        message: str = "The response ended in the middle of a message",
        *,
        bytes_received: int = 0,
        parts_received: int = 0,
        bytes_left: int = 0,
        leftover: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.bytes_received = bytes_received
        self.parts_received = parts_received
        self.bytes_left = bytes_left
        self.leftover = leftover

    def _what(self) -> str:
        message = printable(self.message.rstrip("."), _FACT_LENGTH)
        if self.bytes_left and not self.bytes_received:
            # Of a decoder that is fed by hand: it knows of no response.
            return f"{message}: bytes left over: {self.bytes_left}"
        text = f"{message}: {self.bytes_received} bytes had arrived"
        if self.parts_received or self.bytes_left:
            text += f"; parts handed out: {self.parts_received}, bytes left over: {self.bytes_left}"
        return text

    def _advise(self) -> str:
        whole = "What was handed out before is whole, but the" if self.parts_received else "The"
        return (
            f"{whole} answer is incomplete: treat it as failed, and call again if the model may "
            "run once more."
        )


class AsyncInferenceError(AiosmrtError):
    """An async inference failed: its failure object says why.

    Attributes:
        inference_id: The inference's id, None if unknown.
        failure_location: Where the failure object lies.
    """

    _advice = "The text above is the container's own; its log group in CloudWatch tells the rest."

    def __init__(
        self,
        message: str = "",
        *,
        inference_id: str | None = None,
        failure_location: str | None = None,
    ) -> None:
        super().__init__(message)
        self.inference_id = inference_id
        self.failure_location = failure_location

    def _where(self) -> dict[str, object]:
        own = {"inference id": self.inference_id, "failure object": self.failure_location}
        return super()._where() | own


class ServiceError(AiosmrtError):
    """The service answered with an error.

    Attributes:
        status_code: The HTTP status; 200 for an error inside a stream.
        code: The service's error code (``ModelError``), else the status as text.
        message: The service's own message, empty when it gave none.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        status_code: int = 0,
        request_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.code: str = type(self).__name__ if code is None else code
        self.status_code = status_code
        self.request_id = request_id
        self.attempts = attempts

    @property
    def is_throttling(self) -> bool:
        """Whether the service asked for less, by its code or by a 429 of no modelled code."""
        if self.code in THROTTLING_CODES:
            return True
        return self.status_code == 429 and type(self) is UnknownServiceError

    def _what(self) -> str:
        # A ModelError may have the container's own words alone.
        own = getattr(self, "original_message", None)
        said = self.message or own or "the service gave no message"
        if self.code == str(self.status_code):
            return f"HTTP {self.code}: {said}"
        return f"{printable(self.code, _CODE_LENGTH)} (HTTP {self.status_code}): {said}"


class ValidationError(ServiceError):
    """400: the request is not one that the service, or this endpoint, takes."""

    _advice = "Check the endpoint's name and status, the region and the parameters."


class ModelError(ServiceError):
    """424: the model's container answered with an error.

    Attributes:
        original_status_code: The container's own HTTP status, None when not told.
        original_message: The container's own message, None when not told.
        log_stream_arn: The CloudWatch log stream of the container, None when not told.
    """

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        status_code: int = 0,
        request_id: str | None = None,
        attempts: int = 1,
        original_status_code: int | None = None,
        original_message: str | None = None,
        log_stream_arn: str | None = None,
    ) -> None:
        super().__init__(
            message, code=code, status_code=status_code, request_id=request_id, attempts=attempts
        )
        self.original_status_code = original_status_code
        self.original_message = original_message
        self.log_stream_arn = log_stream_arn

    def _where(self) -> dict[str, object]:
        own = {"container status": self.original_status_code, "log stream": self.log_stream_arn}
        return super()._where() | own

    def _advise(self) -> str:
        if self.log_stream_arn:
            return "The container's log stream named above tells why."
        return "The container's log group in CloudWatch, /aws/sagemaker/Endpoints/, tells why."


class ModelNotReadyException(ServiceError):
    """429: the endpoint is cold, or the model is still being loaded."""

    _advice = "Wait for the model: RetryPolicy(model_not_ready_timeout=...) gives it longer."


class InternalFailure(ServiceError):
    """500: the service failed."""

    _advice = "Try again later; quote the request id to AWS Support if it stays so."


class ServiceUnavailable(ServiceError):
    """503: the service, or the endpoint's instances, cannot take the request now."""

    _advice = "Try again later, or give the endpoint more instances."


class InternalDependencyException(ServiceError):
    """530: something that the service depends on failed."""

    _advice = "Try again later; quote the request id to AWS Support if it stays so."


class ThrottlingException(ServiceError):
    """The account or the endpoint gets more requests than it takes."""

    _advice = "Send less at once, use RetryPolicy(mode='adaptive'), or ask AWS for a higher quota."


class AccessDeniedException(ServiceError):
    """The credentials may not do this."""

    _advice = "Allow sagemaker:InvokeEndpoint (or its async or streaming form) on this endpoint."

    def _advise(self) -> str:
        if self.operation in _S3_OPERATIONS and self.code not in ("AccessDenied", "403"):
            return "Its code names the cause, which is not a missing permission."
        return _S3_ADVICE.get(self.operation or "", self._advice)


class ExpiredTokenException(ServiceError):
    """The session token has expired."""

    _advice = "Get new credentials; a provider in place of fixed ones refreshes them in time."


class ModelStreamError(ServiceError):
    """Inside a stream: the container broke off or took too long.

    Attributes:
        error_code: ``ModelInvocationTimeExceeded`` or ``StreamBroken``, None when not told.
    """

    _advice = "Parts handed out before it are whole; the container's log tells why it stopped."

    def __init__(
        self,
        message: str = "",
        *,
        code: str | None = None,
        status_code: int = 0,
        request_id: str | None = None,
        attempts: int = 1,
        error_code: str | None = None,
    ) -> None:
        super().__init__(
            message, code=code, status_code=status_code, request_id=request_id, attempts=attempts
        )
        self.error_code = error_code

    def _where(self) -> dict[str, object]:
        return super()._where() | {"error code": self.error_code}


class InternalStreamFailure(ServiceError):
    """Inside a stream: the service failed."""

    _advice = "Parts handed out before it are whole; call again if the model may run once more."


class UnknownServiceError(ServiceError):
    """An error whose code this version does not know; see ``code`` and ``status_code``."""

    def _advise(self) -> str:
        if self.code in _SIGNATURE_CODES:
            return (
                "The credentials or the clock are wrong: check the access key, its secret and "
                "token, the region, and this machine's time."
            )
        if advice := _STATUS_ADVICE.get(self.status_code):
            return advice
        if self.request_id is None and self.code == str(self.status_code):
            return f"Neither an error code nor a request id of AWS came with it: {_WHO_ANSWERS}"
        return "Look its code up in the AWS documentation; quote the request id to AWS Support."


# What services of AWS say of a request whose signature they do not accept ("Common Error
# Types", SageMaker API Reference; "Troubleshooting Signature Version 4", IAM User Guide).
_SIGNATURE_CODES = frozenset(
    {
        "IncompleteSignature",
        "IncompleteSignatureException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_REDIRECT_ADVICE = (
    "A signed request is not redirected: set the endpoint URL to the address that answers."
)
_STATUS_ADVICE = {
    **dict.fromkeys((301, 302, 303, 307, 308), _REDIRECT_ADVICE),
    407: "The proxy refuses these credentials: check user and password in the proxy's URL.",
    413: "The body is too long for what answers: send less, or use InvokeEndpointAsync.",
}

_S3_OPERATIONS = ("GetObject", "ListObjectsV2", "PutObject")
_S3_ADVICE = {
    "GetObject": "Allow s3:GetObject on this object, and kms:Decrypt if a key of KMS encrypts it.",
    "PutObject": "Allow s3:PutObject here, and kms:GenerateDataKey if a key of KMS encrypts it.",
}

# The AWS SDKs' list (SDKs and Tools Reference Guide, "Retry behavior"; botocore
# `retries/standard.py` ThrottledRetryableChecker).
THROTTLING_CODES = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "TransactionInProgressException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "EC2ThrottledException",
    }
)

# A wire code, from a response or from a stream's exception frame, to its class.
ERROR_CLASSES: dict[str, type[ServiceError]] = {
    "ValidationError": ValidationError,
    "ValidationException": ValidationError,
    "ModelError": ModelError,
    "ModelNotReadyException": ModelNotReadyException,
    "InternalFailure": InternalFailure,
    "ServiceUnavailable": ServiceUnavailable,
    "InternalDependencyException": InternalDependencyException,
    "AccessDeniedException": AccessDeniedException,
    "ExpiredTokenException": ExpiredTokenException,
    "ExpiredToken": ExpiredTokenException,
    "ModelStreamError": ModelStreamError,
    "InternalStreamFailure": InternalStreamFailure,
    **dict.fromkeys(THROTTLING_CODES, ThrottlingException),
}

for _name in __all__:
    globals()[_name].__module__ = "aiosmrt"
