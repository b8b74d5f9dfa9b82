"""The service's check of a signature, and its words for each refusal.

The check recomputes what `aiosmrt._aws.sigv4` computes, in the order in which the service
looks. No text or repr holds a secret, a token or a signature.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import attrs

from aiosmrt._aws.canonical import (
    HeaderPlan,
    canonical_path,
    canonical_query,
    canonical_request,
    octets,
)
from aiosmrt._aws.sigv4 import (
    ALGORITHM,
    TERMINATOR,
    credential_scope,
    keyed_mac,
    signature,
    signing_key,
    string_to_sign,
)
from aiosmrt.local._signature_refusals import refused

if TYPE_CHECKING:
    from aiosmrt._aws.credentials import Credentials

__all__ = ["ReceivedRequest", "verify"]

_TIMESTAMP = "%Y%m%dT%H%M%SZ"
# What S3 takes as x-amz-content-sha256 in place of a hash, and with it unchecked here.
_UNHASHED_PAYLOADS = frozenset(
    {
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    }
)
_is_sha256 = re.compile("[0-9a-f]{64}").fullmatch


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
        """A header's value by its lower-case name, several joined by commas; None without it."""
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
        ("terminator", claim.terminator, TERMINATOR),
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
