"""S3's refusals as errors of ours, and what each says of the object."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import attrs

from aiosmrt._s3.documents import DocumentError, DocumentReader
from aiosmrt.errors import (
    ERROR_CLASSES,
    AccessDeniedException,
    AiosmrtError,
    ExpiredTokenException,
    InternalFailure,
    ServiceError,
    ServiceUnavailable,
    TransportError,
    UnknownServiceError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Refusal",
    "is_absence",
    "is_older",
    "is_passing",
    "is_refusal_of_all",
    "is_refusal_of_listing",
    "read_refusal",
]

_CODE = re.compile(r"[A-Za-z0-9.]{1,100}")
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
# What S3 calls an answer that has come without its document.
_CODES_BY_STATUS = {301: "PermanentRedirect", 307: "TemporaryRedirect"}
# As botocore has them (`utils.S3RegionRedirectorv2`).
_STATUSES_OF_REGION = frozenset({301, 302, 307})
_CODES_OF_REGION = frozenset(
    {
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    }
)
_CODES_OF_CLOCK = frozenset({"RequestTimeTooSkewed", "RequestExpired", "SignatureDoesNotMatch"})
_PASSING_STATUSES = frozenset({429, 500, 502, 503, 504})
# The first two come behind a 200 too ("CompleteMultipartUpload", S3 API Reference).
_PASSING_CODES = frozenset(
    {"InternalError", "ServiceUnavailable", "RequestTimeout", "OperationAborted"}
)
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
class Refusal:
    """What an answer of S3's that refuses a request comes to.

    Attributes:
        error: The error of ours.
        cause: What can be mended: the request was made for another region than the bucket's,
            with credentials that have expired, or by a wrong clock. None for all else.
        region: The bucket's region, where the answer names it. It may be any text.
        date: The answer's ``Date`` header, None where it has none.
    """

    error: ServiceError
    cause: Literal["region", "credentials", "clock"] | None = None
    region: str | None = None
    date: str | None = None


def read_refusal(
    status_code: int, headers: Mapping[str, str], body: bytes, *, operation: str, uri: str
) -> Refusal:
    """Reads an answer that refuses a request.

    Only code, message, region and request id are taken from the document: that of a
    SignatureDoesNotMatch quotes the request's headers, the session token among them.

    Args:
        status_code: The answer's status.
        headers: Its headers.
        body: Its body, or the beginning of that.
        operation: S3's name of what was asked for (``GetObject``).
        uri: The object or prefix that was asked for.
    """
    document = DocumentReader("Code", "Message", "Region", "RequestId")
    try:
        document.feed(body)
        document.close()
    except DocumentError:
        pass  # a proxy's page; what came before the fault still counts
    code = document.first("Code") or ""
    if not _CODE.fullmatch(code):
        code = _CODES_BY_STATUS.get(status_code, str(status_code))
    region = headers.get("x-amz-bucket-region") or document.first("Region")
    cls = _CLASSES.get(code) or _CLASSES_BY_STATUS.get(status_code, UnknownServiceError)
    said = (document.first("Message") or "")[:_MESSAGE_LENGTH].rstrip(".")
    if code == "RequestTimeTooSkewed":
        said += ". Set this machine's clock: requests to S3 are signed by it"
    error = cls(
        f"{said or 'S3 gave no message'}: {uri}",
        code=code,
        status_code=status_code,
        request_id=document.first("RequestId") or headers.get("x-amz-request-id"),
    )
    error.operation = operation
    return Refusal(
        error=error,
        cause=_find_cause(error),
        region=region,
        date=headers.get("Date"),
    )


def _find_cause(error: ServiceError) -> Literal["region", "credentials", "clock"] | None:
    if error.status_code in _STATUSES_OF_REGION or error.code in _CODES_OF_REGION:
        return "region"
    if isinstance(error, ExpiredTokenException):
        return "credentials"
    return "clock" if error.code in _CODES_OF_CLOCK else None


def is_absence(error: AiosmrtError) -> bool:
    """Tells whether S3 said that the object is not there, in a bucket that is."""
    return (
        isinstance(error, ServiceError)
        and error.status_code == 404
        and error.code != "NoSuchBucket"
    )


def is_older(error: AiosmrtError) -> bool:
    """Tells whether S3 has an object, but one from before the time that was asked for."""
    return isinstance(error, ServiceError) and error.status_code == 304


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
