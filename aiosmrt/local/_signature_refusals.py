"""What the service answers to a signature that it refuses, as data.

Two tables: the words of the services behind AWS's common front end, SageMaker
Runtime's among them, and those of S3. The texts are theirs as error reports quote
them, but for the ``Authorization`` header that some of them repeat: a signature has
no place in a log.
"""

from __future__ import annotations

import attrs

__all__ = ["COMMON", "S3", "SignatureRefused", "refused"]


@attrs.define
class SignatureRefused(Exception):  # noqa: N818 - a verdict on someone else's request
    """A request's signature is refused; what the service would answer.

    Attributes:
        code: The service's error code (``InvalidSignatureException``), or S3's.
        message: The service's text. It may quote a few characters of the request, in
            printable ASCII, and still needs escaping in XML.
        status_code: The HTTP status.
    """

    code: str
    message: str
    status_code: int

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


_INCOMPLETE = ("IncompleteSignatureException", 403)
_INVALID = ("InvalidSignatureException", 403)
_NO_TOKEN = (("MissingAuthenticationTokenException", 403), "Missing Authentication Token")
_UNRECOGNIZED = (
    ("UnrecognizedClientException", 403),
    "The security token included in the request is invalid.",
)

COMMON: dict[str, tuple[tuple[str, int], str]] = {
    "no authorization": _NO_TOKEN,
    "scheme": _NO_TOKEN,
    "pair": (
        # The service shows the part; it may be half of a signature.
        _INCOMPLETE,
        "Not a valid key=value pair (missing equal-sign) in Authorization header.",
    ),
    "parameter": (_INCOMPLETE, "Authorization header requires '{name}' parameter."),
    "algorithm": (
        _INCOMPLETE,
        "Unsupported AWS 'algorithm': '{given}' (only AWS4-HMAC-SHA256 for now).",
    ),
    "credential": (
        _INCOMPLETE,
        (
            "Credential must have exactly 5 slash-delimited elements, "
            "e.g. keyid/date/region/service/term, got '{given}'"
        ),
    ),
    "no date": (
        _INCOMPLETE,
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
    ),
    "date format": (
        _INCOMPLETE,
        (
            "Date must be in ISO-8601 'basic format'. Got '{given}'. "
            "See http://en.wikipedia.org/wiki/ISO_8601"
        ),
    ),
    "late": (
        _INVALID,
        "Signature expired: {given} is now earlier than {bound} ({now} - {minutes} min.)",
    ),
    "early": (
        _INVALID,
        "Signature not yet current: {given} is still later than {bound} ({now} + {minutes} min.)",
    ),
    "host": (_INVALID, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."),
    "unsigned": (_INVALID, "'{name}' must be a 'SignedHeader' in the AWS Authorization."),
    "absent": (
        _INCOMPLETE,
        "'{name}' is named as a SignedHeader, but it does not exist in the HTTP request.",
    ),
    "region": (_INVALID, "Credential should be scoped to a valid region."),
    "service": (_INVALID, "Credential should be scoped to correct service: '{expected}'."),
    "terminator": (
        _INVALID,
        "Credential should be scoped with a valid terminator: '{expected}', not '{given}'.",
    ),
    "scope date": (
        _INVALID,
        (
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from "
            "HTTP: '{given}' != '{expected}', from '{timestamp}'."
        ),
    ),
    "key": _UNRECOGNIZED,
    "token": _UNRECOGNIZED,
    "expired": (
        ("ExpiredTokenException", 403),
        "The security token included in the request is expired",
    ),
    "mismatch": (
        _INVALID,
        (
            "The request signature we calculated does not match the signature you provided. Check "
            "your AWS Secret Access Key and signing method. Consult the service documentation for "
            "details."
        ),
    ),
}

_DENIED = ("AccessDenied", 403)
_MALFORMED = ("AuthorizationHeaderMalformed", 400)
_MALFORMED_TEXT = "The authorization header is malformed; "
_UNSUPPORTED = (("InvalidArgument", 400), "Unsupported Authorization Type")
_COMPONENTS = (
    _MALFORMED,
    _MALFORMED_TEXT + "the authorization header requires three components: "
    "Credential, SignedHeaders, and Signature.",
)
_NO_DATE = (_DENIED, "AWS authentication requires a valid Date or x-amz-date header")
_SKEWED = (
    ("RequestTimeTooSkewed", 403),
    "The difference between the request time and the current time is too large.",
)
_NOT_SIGNED = (_DENIED, "There were headers present in the request which were not signed")
_DOES_NOT_MATCH = (
    ("SignatureDoesNotMatch", 403),
    (
        "The request signature we calculated does not match the signature you provided. Check your "
        "key and signing method."
    ),
)

S3: dict[str, tuple[tuple[str, int], str]] = {
    "no authorization": (_DENIED, "Access Denied"),
    "scheme": _UNSUPPORTED,
    "pair": _COMPONENTS,
    "parameter": _COMPONENTS,
    "algorithm": _UNSUPPORTED,
    "credential": (
        _MALFORMED,
        _MALFORMED_TEXT + "the Credential is mal-formed; "
        'expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".',
    ),
    "no date": _NO_DATE,
    "date format": _NO_DATE,
    "late": _SKEWED,
    "early": _SKEWED,
    "host": _NOT_SIGNED,
    "unsigned": _NOT_SIGNED,
    "absent": _DOES_NOT_MATCH,
    "region": (
        _MALFORMED,
        _MALFORMED_TEXT + "the region '{given}' is wrong; expecting '{expected}'",
    ),
    "service": (
        _MALFORMED,
        _MALFORMED_TEXT + 'incorrect service "{given}". This endpoint belongs to "{expected}".',
    ),
    "terminator": (
        _MALFORMED,
        _MALFORMED_TEXT + 'incorrect terminal "{given}". This endpoint uses "{expected}".',
    ),
    "scope date": (
        _MALFORMED,
        _MALFORMED_TEXT + 'Invalid credential date "{given}". '
        'This date is not the same as X-Amz-Date: "{expected}".',
    ),
    "key": (
        ("InvalidAccessKeyId", 403),
        "The AWS Access Key Id you provided does not exist in our records.",
    ),
    "token": (("InvalidToken", 400), "The provided token is malformed or otherwise invalid."),
    "expired": (("ExpiredToken", 400), "The provided token has expired."),
    "mismatch": _DOES_NOT_MATCH,
    "no payload hash": (
        ("InvalidRequest", 400),
        "Missing required header for this request: x-amz-content-sha256",
    ),
    "payload hash": (
        ("InvalidArgument", 400),
        (
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a "
            "valid sha256 value."
        ),
    ),
    "payload": (
        ("XAmzContentSHA256Mismatch", 400),
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    ),
}


def refused(service: str, reason: str, **facts: str) -> SignatureRefused:
    """Makes the refusal of a service.

    Args:
        service: The signing name; ``s3`` has words of its own.
        reason: A key of the tables.
        facts: What the reason's text names. It comes from a stranger: it is cut at 64
            characters, and what is not printable ASCII is escaped.
    """
    (code, status_code), text = (S3 if service == "s3" else COMMON)[reason]
    shown = {name: ascii(value[:64])[1:-1] for name, value in facts.items()}
    return SignatureRefused(code, text.format_map(shown), status_code)
