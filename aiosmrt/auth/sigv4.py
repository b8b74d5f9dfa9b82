"""AWS Signature Version 4 as pure functions: its stages, and the service's own check.

The stages follow "Create a signed AWS API request" of the IAM User Guide, and AWS's
own test suite (awslabs/aws-c-auth). ``signer.py`` signs with them; `verify` is the
other side, for the local endpoint, and refuses in the service's own words.

Nothing here reads a clock, and no text or repr holds a secret, a token or a signature.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import TYPE_CHECKING

import attrs

from aiosmrt.auth.canonical import (
    HeaderPlan,
    canonical_path,
    canonical_query,
    canonical_request,
    octets,
)
from aiosmrt.auth.refusals import SignatureRefused, refused

if TYPE_CHECKING:
    from aiosmrt.auth.credentials import Credentials

__all__ = [
    "ALGORITHM",
    "UNSIGNED_PAYLOAD",
    "ReceivedRequest",
    "SignatureRefused",
    "authorization",
    "credential_scope",
    "keyed_mac",
    "signature",
    "signing_key",
    "string_to_sign",
    "verify",
]

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_TERMINATOR = "aws4_request"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
# What S3 takes as x-amz-content-sha256 in place of a hash, and with it unchecked here.
_UNHASHED_PAYLOADS = frozenset(
    {
        UNSIGNED_PAYLOAD,
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    }
)
_is_sha256 = re.compile("[0-9a-f]{64}").fullmatch


def credential_scope(date: str, region: str, service: str) -> str:
    """What a signature holds for: the date (``YYYYMMDD``), the region and the service."""
    return f"{date}/{region}/{service}/{_TERMINATOR}"


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """The second stage.

    Args:
        timestamp: The time of the request, ``YYYYMMDDTHHMMSSZ``.
        scope: What `credential_scope` returned.
        canonical: What `canonical_request` returned.
    """
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(octets(canonical)).hexdigest()}"


def signing_key(secret_access_key: str, date: str, region: str, service: str) -> bytes:
    """Derives the key that signs on one date (``YYYYMMDD``, UTC) in one region and service."""
    key = b"AWS4" + octets(secret_access_key)
    for part in (date, region, service, _TERMINATOR):
        key = hmac.digest(key, octets(part), "sha256")
    return key


def keyed_mac(key: bytes) -> hmac.HMAC:
    """Prepares a signing key for `signature`: its set-up takes longer than a signature."""
    return hmac.new(key, digestmod=sha256)


def signature(mac: hmac.HMAC, text: str) -> str:
    """The third stage: the signature of a string to sign, in hex.

    Args:
        mac: What `keyed_mac` returned; it is copied, never changed.
        text: What `string_to_sign` returned.
    """
    mac = mac.copy()
    mac.update(octets(text))
    return mac.hexdigest()


def authorization(access_key_id: str, scope: str, signed_headers: str, signed: str) -> str:
    """The last stage: the value of the ``Authorization`` header."""
    return (
        f"{ALGORITHM} Credential={access_key_id}/{scope}, "
        f"SignedHeaders={signed_headers}, Signature={signed}"
    )


@attrs.frozen(kw_only=True)
class ReceivedRequest:
    """A request as a server received it.

    Attributes:
        method: The HTTP method.
        raw_path: The path as it was on the wire, percent-encoded.
        raw_query: The query as it was on the wire, without the ``?``; may be empty.
        headers: Every header with its value, in order, names in any case.
        payload_hash: The SHA-256 of the body received, in hex.
    """

    method: str
    raw_path: str
    raw_query: str
    # They hold the signature and the session token.
    headers: Sequence[tuple[str, str]] = attrs.field(repr=False)
    payload_hash: str

    def header(self, name: str) -> str | None:
        """A header's value, those of a repeated one joined with commas; None without it.

        Args:
            name: The name in lower case.
        """
        values = [value for sent, value in self.headers if sent.lower() == name]
        return ",".join(values) if values else None


@attrs.frozen(kw_only=True)
class _Claim:
    """What a request says of its own signature."""

    timestamp: str
    access_key_id: str
    date: str
    region: str
    service: str
    terminator: str
    signed_headers: str
    signature: str = attrs.field(repr=False)


def verify(
    request: ReceivedRequest,
    *,
    lookup: Callable[[str], Credentials | None],
    region: str,
    service: str,
    now: datetime,
    max_skew_seconds: int = 300,
    must_sign: tuple[str, ...] = ("x-amz-",),
) -> Credentials:
    """Checks a request's signature as the service does, in the service's order.

    The signature must be in the ``Authorization`` header; one in the query (a presigned
    URL) is not looked for. Of a body that S3 calls ``STREAMING-...`` the head's
    signature is checked, not those of its chunks.

    Args:
        request: The request as received.
        lookup: Gives the credentials of an access key id, None for an unknown one.
        region: The region that the signature must hold for.
        service: The signing name that it must hold for. With ``s3`` the path, the body's
            hash and the refusals are S3's.
        now: The time, timezone-aware.
        max_skew_seconds: How far the request's time may be from ``now``; SageMaker
            Runtime allows 5 minutes, S3 15.
        must_sign: Prefixes, in lower case, of header names that must be signed where
            they are sent; ``host`` always must.

    Returns:
        The credentials that signed the request.

    Raises:
        SignatureRefused: Whatever is wrong with it, however malformed it is.
    """
    claim = _claim(request, service)
    _check_time(claim.timestamp, service, now, max_skew_seconds)
    _check_names(request, claim.signed_headers.split(";"), service, must_sign)
    _check_scope(claim, region, service)
    credentials = lookup(claim.access_key_id)
    if credentials is None:
        raise refused(service, "key")
    _check_token(request.header("x-amz-security-token"), credentials, service, now)
    _check_signature(request, claim, credentials)
    return credentials


def _claim(request: ReceivedRequest, service: str) -> _Claim:
    header = request.header("authorization")
    if header is None:
        raise refused(service, "no authorization")
    algorithm, _, rest = header.strip().partition(" ")
    if not algorithm.startswith("AWS4-"):
        raise refused(service, "scheme")
    fields: dict[str, str] = {}
    # SDKs part them by ", ", "," or a space.
    for pair in rest.replace(",", " ").split():
        name, equals, value = pair.partition("=")
        if not equals or name in fields:
            raise refused(service, "pair")
        fields[name] = value
    for name in ("Credential", "Signature", "SignedHeaders"):
        if not fields.get(name):
            raise refused(service, "parameter", name=name)
    if algorithm != ALGORITHM:
        raise refused(service, "algorithm", given=algorithm)
    credential = fields["Credential"].split("/")
    if len(credential) != 5:
        raise refused(service, "credential", given=fields["Credential"])
    timestamp = request.header("x-amz-date")
    if timestamp is None:
        raise refused(service, "no date")
    return _Claim(
        timestamp=timestamp,
        access_key_id=credential[0],
        date=credential[1],
        region=credential[2],
        service=credential[3],
        terminator=credential[4],
        signed_headers=fields["SignedHeaders"],
        signature=fields["Signature"],
    )


def _check_time(timestamp: str, service: str, now: datetime, max_skew_seconds: int) -> None:
    try:
        signed_at = datetime.strptime(timestamp, _TIMESTAMP).replace(tzinfo=timezone.utc)
    except ValueError:
        signed_at = None
    # strptime also takes single digits, other scripts' digits and small letters.
    if signed_at is None or _stamp(signed_at) != timestamp:
        raise refused(service, "date format", given=timestamp)
    skew = timedelta(seconds=max_skew_seconds)
    for reason, wrong, bound in (
        ("late", signed_at < now - skew, now - skew),
        ("early", signed_at > now + skew, now + skew),
    ):
        if wrong:
            raise refused(
                service,
                reason,
                given=timestamp,
                bound=_stamp(bound),
                now=_stamp(now),
                minutes=f"{max_skew_seconds / 60:g}",
            )


def _stamp(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime(_TIMESTAMP)


def _check_names(
    request: ReceivedRequest, signed: Sequence[str], service: str, must_sign: tuple[str, ...]
) -> None:
    if "host" not in signed:
        raise refused(service, "host")
    sent = {name.lower() for name, _ in request.headers}
    for name in signed:
        if name not in sent:
            raise refused(service, "absent", name=name)
    if service != "s3":
        # Only S3 reads it. aws-requests-auth sends it unsigned, and services take that.
        sent.discard("x-amz-content-sha256")
    for name in sorted(sent.difference(signed)):
        if name.startswith(must_sign):
            raise refused(service, "unsigned", name=name)


def _check_scope(claim: _Claim, region: str, service: str) -> None:
    for reason, given, expected in (
        ("region", claim.region, region),
        ("service", claim.service, service),
        ("terminator", claim.terminator, _TERMINATOR),
        ("scope date", claim.date, claim.timestamp[:8]),
    ):
        if given != expected:
            raise refused(
                service, reason, given=given, expected=expected, timestamp=claim.timestamp
            )


def _check_token(token: str | None, credentials: Credentials, service: str, now: datetime) -> None:
    expected = credentials.session_token or ""
    if not hmac.compare_digest(octets(token or ""), octets(expected)):
        raise refused(service, "token")
    if credentials.expiry is not None and credentials.expiry <= now:
        raise refused(service, "expired")


def _check_signature(request: ReceivedRequest, claim: _Claim, credentials: Credentials) -> None:
    service = claim.service
    is_s3 = service == "s3"
    declared = request.header("x-amz-content-sha256") if is_s3 else request.payload_hash
    if declared is None:
        raise refused(service, "no payload hash")
    names = [name for name, _ in request.headers]
    plan = HeaderPlan.of(names, frozenset(claim.signed_headers.split(";")).__contains__)
    canonical = canonical_request(
        request.method,
        canonical_path(request.raw_path, encode_twice=not is_s3, normalize=not is_s3),
        canonical_query(request.raw_query),
        plan.canonical_headers([value for _, value in request.headers]),
        plan.signed_headers,
        declared,
    )
    scope = credential_scope(claim.date, claim.region, service)
    key = signing_key(credentials.secret_access_key, claim.date, claim.region, service)
    expected = signature(keyed_mac(key), string_to_sign(claim.timestamp, scope, canonical))
    # A list of names that is not in order is one that this canonical form never had.
    if plan.signed_headers != claim.signed_headers or not hmac.compare_digest(
        octets(expected), octets(claim.signature)
    ):
        raise refused(service, "mismatch")
    if declared != request.payload_hash and declared not in _UNHASHED_PAYLOADS:
        raise refused(service, "payload" if _is_sha256(declared) else "payload hash")
