"""What comes out of the three operations, and their time limits: keyword-only, slotted, frozen.

PayloadPart alone is not frozen: a stream makes one for each part, and freezing doubles the cost.

What the service model marks as sensitive (Body, CustomAttributes, Bytes), and the
response headers that repeat it, stay out of ``repr``.
"""

import codecs
import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple, Protocol, TypeAlias

import attrs

from aiosmrt._values import is_finite
from aiosmrt.errors import AiosmrtError, ConfigurationError

__all__ = [
    "Answer",
    "AsyncInferenceResult",
    "Body",
    "InvokeEndpointAsyncOutput",
    "InvokeEndpointOutput",
    "NewSession",
    "PayloadPart",
    "ResponseMetadata",
    "Timeouts",
]

Body: TypeAlias = bytes | bytearray | memoryview | str
"""A request's body. A mutable one must stay as it is until the call has returned."""

_Bytes = bytes  # where an attribute has the name of its type


def _seconds(_: Any, attribute: "attrs.Attribute[Any]", value: float | None) -> None:
    if value is not None and not (is_finite(value) and value > 0):
        raise ConfigurationError(
            f"Timeouts.{attribute.name} must be a finite number of seconds above 0, "
            "or None for no limit"
        )


@attrs.frozen(kw_only=True)
class Timeouts:
    """Time limits of a call, in seconds; None is no limit.

    Attributes:
        connect: To a connection: name resolution, TCP and TLS.
        read: From the request's last byte written to the response's head.
        idle: Between two chunks of a response's body.
        total: For all attempts, the waits between them and the wait for a free
            connection, until the output is returned; of a stream, until its head.

    Raises:
        ConfigurationError: A value is not a finite number above 0.
    """

    connect: float | None = attrs.field(default=5.0, validator=_seconds)
    read: float | None = attrs.field(default=70.0, validator=_seconds)
    idle: float | None = attrs.field(default=70.0, validator=_seconds)
    total: float | None = attrs.field(default=None, validator=_seconds)


@attrs.frozen(kw_only=True)
class ResponseMetadata:
    """What came with a response beside its output.

    Attributes:
        request_id: ``x-amzn-RequestId``, to quote to AWS; None when absent.
        status_code: The HTTP status.
        headers: All response headers, case-insensitive.
        attempts: How many requests were made for this call.
    """

    request_id: str | None
    status_code: int
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    attempts: int


class NewSession(NamedTuple):
    """A stateful session that the model opened.

    Attributes:
        id: What to send as ``session_id`` from now on.
        expires: When the model forgets it, in UTC.
    """

    id: str
    expires: datetime


# The service model's NewSessionResponseHeader, but that the space may be missing.
_NEW_SESSION = re.compile(
    r"([a-zA-Z0-9](?:-*[a-zA-Z0-9])*);\s*Expires=(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)",
    re.ASCII,
)


def _charset(content_type: str | None) -> str:
    """The charset that a Content-Type names where Python knows it as a text codec, else UTF-8."""
    if content_type is not None:
        for parameter in content_type.split(";")[1:]:
            name, _, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                try:
                    info = codecs.lookup(value.strip().strip("\"'"))
                except (LookupError, ValueError):
                    return "utf-8"
                # hex, zip and their like are codecs too, but of bytes to bytes.
                return info.name if getattr(info, "_is_text_encoding", True) else "utf-8"
    return "utf-8"


class _WithBody(Protocol):
    @property
    def body(self) -> bytes: ...

    @property
    def content_type(self) -> str | None: ...


class Answer:
    """What an answer's body can be read as."""

    __slots__ = ()

    def text(self: _WithBody, encoding: str | None = None, errors: str = "strict") -> str:
        """Returns the body as text.

        Args:
            encoding: Which codec; None takes the content type's charset, else UTF-8.
            errors: As for ``bytes.decode``.

        Raises:
            UnicodeError: The body is not text in that encoding.
            LookupError: ``encoding`` is not one that Python knows.
            AiosmrtError: The output of an async inference was too long for ``body``.
        """
        return self.body.decode(encoding or _charset(self.content_type), errors)

    def json(self: _WithBody) -> Any:
        """Returns the body parsed as JSON (UTF-8, UTF-16 or UTF-32, as RFC 4627 detects it).

        Parsing takes some 10 ms a megabyte in one go, and a thread would keep the interpreter
        just as long. Where a large answer must not hold up the event loop, parse its ``body``
        in another process, or with a parser that releases the interpreter.

        Raises:
            ValueError: The body is not JSON.
            AiosmrtError: As for ``text``.
        """
        return json.loads(self.body)


@attrs.frozen(kw_only=True)
class InvokeEndpointOutput(Answer):
    """The answer of InvokeEndpoint.

    Attributes:
        body: The model's answer.
        content_type: The answer's MIME type, None where the service sent none.
        invoked_production_variant: The variant that answered.
        custom_attributes: What the container set.
        new_session_id: As on the wire, ``ID; Expires=2026-01-02T03:04:05Z``.
        closed_session_id: The session that this request closed.
        metadata: Request id, status, headers, attempts.
    """

    body: bytes = attrs.field(repr=False)
    content_type: str | None = None
    invoked_production_variant: str | None = None
    custom_attributes: str | None = attrs.field(default=None, repr=False)
    new_session_id: str | None = None
    closed_session_id: str | None = None
    metadata: ResponseMetadata

    @property
    def new_session(self) -> NewSession | None:
        """``new_session_id`` parsed; None where there is none in the service's form."""
        found = _NEW_SESSION.fullmatch(self.new_session_id or "")
        if found is None:
            return None
        try:
            return NewSession(found[1], datetime.strptime(found[2], "%Y-%m-%dT%H:%M:%S%z"))
        except ValueError:
            return None


@attrs.frozen(kw_only=True)
class InvokeEndpointAsyncOutput:
    """The facts of an accepted async inference; AsyncInvocation is the handle built on them.

    Attributes:
        inference_id: The inference's id, None where the service told none.
        output_location: Where the output will lie, an S3 URI.
        failure_location: Where the failure object will lie, None where none is configured.
        accepted_at: When the service accepted it, by the service's clock and to the second;
            None where the response has no ``Date``.
        metadata: Request id, status, headers, attempts.
    """

    inference_id: str | None = None
    output_location: str | None = None
    failure_location: str | None = None
    accepted_at: datetime | None = None
    metadata: ResponseMetadata


@attrs.define(unsafe_hash=True)  # a frozen one takes twice as long to make
class PayloadPart:
    """One part of a streamed answer.

    A part ends where the container flushed, which need not be where a line, an
    event or a character ends: see the ``iter_`` methods of ResponseStream.

    Attributes:
        bytes: The part's bytes.
    """

    bytes: _Bytes = attrs.field(repr=False)


class OutputSource(Protocol):
    """Where the bytes of an async inference's output are."""

    async def read(self) -> bytes:
        """Reads them all."""
        ...

    async def save(self, path: str | os.PathLike[str], body: bytes | None) -> None:
        """Writes ``body`` to a file, or what lies there if that is None."""
        ...


@attrs.frozen(kw_only=True)
class AsyncInferenceResult(Answer):
    """The output of an async inference.

    Attributes:
        output_location: The S3 URI at which it lies.
        content_type: The output's MIME type, None where S3 told none.
        size: Its length in bytes.
    """

    output_location: str
    content_type: str | None
    size: int
    _body: bytes | None = attrs.field(alias="body", repr=False)
    _source: OutputSource = attrs.field(alias="source", repr=False, eq=False)

    @property
    def body(self) -> bytes:
        """The model's answer.

        Raises:
            AiosmrtError: The output was longer than ``body_limit`` and so was left in S3.
        """
        if self._body is None:
            raise AiosmrtError(
                f"The output has {self.size} bytes, more than result(body_limit=...) lets it "
                "read: take it with await result.save(path) or await result.read()"
            )
        return self._body

    async def read(self) -> bytes:
        """The whole output, read from S3 if it is not in ``body``.

        Returns:
            Its bytes.

        Raises:
            ServiceError: It was overwritten or deleted since it was found, or S3 refuses.
            TransportError: It did not arrive whole.
        """
        return await self._source.read() if self._body is None else self._body

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the output to a file, a large one as it comes from S3.

        The file appears when it is whole, in the place of one of that name; until then a
        file beside it, ``NAME.RANDOM.part``, grows, and goes when anything fails.

        Args:
            path: The file's path.

        Raises:
            ServiceError: The output was overwritten or deleted since it was found, or S3 refuses.
            TransportError: It did not arrive whole.
            OSError: The file cannot be written.
        """
        await self._source.save(path, self._body)


for _public in (
    AsyncInferenceResult,
    InvokeEndpointOutput,
    NewSession,
    PayloadPart,
    ResponseMetadata,
    Timeouts,
):
    _public.__module__ = "aiosmrt"
