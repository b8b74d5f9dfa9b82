"""S3's refusals and obstore's failures as errors of ours.

obstore tells the status and S3's answer in an exception's text alone, so they are read out of
it here. The text itself goes no further: a SignatureDoesNotMatch quotes the request's headers,
the session token among them.
"""

from __future__ import annotations

import re
from html import unescape

import attrs

from aiosmrt.errors import (
    ERROR_CLASSES,
    AccessDeniedException,
    AiosmrtError,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    InternalFailure,
    ReadTimeoutError,
    ServiceError,
    ServiceUnavailable,
    TransportError,
    UnknownServiceError,
)

__all__ = [
    "ObjectFailure",
    "is_absence",
    "is_passing",
    "is_refusal_of_all",
    "is_refusal_of_listing",
    "read_failure",
]

# The second form is of an error document that came with a 200, as CompleteMultipartUpload's may.
_STATUS = re.compile(r"status code: (\d{3})|inner: Response \{\s*status: (\d{3})")
_ELEMENT = re.compile(r"<(Code|Message|Region|RequestId)>([^<]*)</\1>")
# Of object_store's `HttpError`, in the debug form that follows the sentence.
_KIND = re.compile(r"HttpError \{\s*kind: (\w+)")
_CONNECTING = re.compile(r"legacy::Error\(\s*Connect\b")
_CAUSE = re.compile(r'message: "([^"\\]{1,200})"|(InvalidCertificate\(\w+)')
_REDIRECT = "redirect without LOCATION"
_MESSAGE_LENGTH = 500

# S3's codes that other services of AWS call otherwise ("Error responses", S3 API Reference).
_CLASSES: dict[str, type[ServiceError]] = {
    **ERROR_CLASSES,
    "AccessDenied": AccessDeniedException,
    "InternalError": InternalFailure,
}
_CLASSES_BY_STATUS: dict[int, type[ServiceError]] = {
    403: AccessDeniedException,
    500: InternalFailure,
    503: ServiceUnavailable,
}
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
_PASSING_CODES = frozenset({"RequestTimeout", "OperationAborted"})
_CODES_OF_ALL = frozenset(
    {
        "AccountProblem",
        "AllAccessDisabled",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "NoSuchBucket",
        "NotSignedUp",
        "PermanentRedirect",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)


@attrs.frozen(kw_only=True)
class ObjectFailure:
    """What a failed request to S3 comes to.

    Attributes:
        error: The error of ours.
        is_redirect: Whether the bucket is in another region than the request was made for.
        region: The bucket's region, where the answer names it.
    """

    error: AiosmrtError
    is_redirect: bool = False
    region: str | None = None


def read_failure(error: Exception, *, operation: str, uri: str, host: str) -> ObjectFailure:
    """Reads an exception of obstore's.

    Args:
        error: The exception.
        operation: S3's name of what was asked for (``GetObject``).
        uri: The object or prefix that was asked for.
        host: The host that was asked.

    Returns:
        The error of ours, and whether the region was the trouble.
    """
    text = str(error)
    status = _STATUS.search(text)
    if status is None and _REDIRECT not in text:
        ours: AiosmrtError = _lost(error, text, uri=uri, host=host)
        ours.operation = operation
        return ObjectFailure(error=ours)
    elements = {name: unescape(value) for name, value in _ELEMENT.findall(text)}
    number = int(status[1] or status[2]) if status else 301
    is_redirect = 300 <= number < 400 or "Region" in elements
    code = elements.get("Code") or ("PermanentRedirect" if is_redirect else str(number))
    cls = _CLASSES.get(code) or _CLASSES_BY_STATUS.get(number, UnknownServiceError)
    said = elements.get("Message", "")[:_MESSAGE_LENGTH].rstrip(".")
    if code == "RequestTimeTooSkewed":
        said += ". Set this machine's clock: requests to S3 are signed by it"
    ours = cls(
        f"{said or 'S3 gave no message'}: {uri}",
        code=code,
        status_code=number,
        request_id=elements.get("RequestId"),
    )
    ours.operation = operation
    return ObjectFailure(error=ours, is_redirect=is_redirect, region=elements.get("Region"))


def _lost(error: Exception, text: str, *, uri: str, host: str) -> TransportError:
    found = _KIND.search(text)
    kind = found[1] if found else ""
    connecting = _CONNECTING.search(text) is not None
    if kind == "Timeout":
        if connecting:
            return ConnectTimeoutError(f"No connection for {uri} was made in time", host=host)
        return ReadTimeoutError(f"S3 sent nothing of {uri} in time", host=host)
    if kind == "Connect" or connecting:
        causes = [message or name for message, name in _CAUSE.findall(text)]
        reason = f": {causes[-1].rstrip('(')}" if causes else ""
        return ConnectError(f"Cannot connect to {host} for {uri}{reason}", host=host)
    if kind or "response body" in text:
        return ConnectionLostError(f"The answer for {uri} broke off", host=host)
    name = type(error).__name__
    return TransportError(f"The request for {uri} failed in obstore ({name})", host=host)


def is_absence(error: AiosmrtError) -> bool:
    """Tells whether S3 said that the object is not there, in a bucket that is."""
    return (
        isinstance(error, ServiceError)
        and error.status_code == 404
        and error.code != "NoSuchBucket"
    )


def is_refusal_of_listing(error: AiosmrtError) -> bool:
    """Tells whether a 403 says in words that the caller may not list.

    S3 answers so for an object that is not there when the caller may read objects but not
    list the bucket ("GetObject", Permissions, S3 API Reference).
    """
    return isinstance(error, AccessDeniedException) and "s3:ListBucket" in error.message


def is_refusal_of_all(error: AiosmrtError) -> bool:
    """Tells whether every other request to this bucket would be refused as this one was."""
    return isinstance(error, ServiceError) and error.code in _CODES_OF_ALL


def is_passing(error: AiosmrtError) -> bool:
    """Tells whether the same request may well succeed a moment later."""
    if isinstance(error, ServiceError):
        return (
            error.is_throttling
            or error.status_code in _PASSING_STATUSES
            or error.code in _PASSING_CODES
        )
    return isinstance(error, TransportError)
