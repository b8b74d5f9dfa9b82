"""The service's check of signatures, over what AWS's suite, botocore and boto3 signed."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import boto3
import botocore.config
import botocore.exceptions
import pytest
import requests
from aws_requests_auth import aws_auth
from hypothesis import given
from hypothesis import strategies as st
from support.sessions import KEYS
from support.sigv4_oracle import botocore_signed
from support.sigv4_vectors import CASES, parse_request

from aiosmrt._aws.credentials import Credentials
from aiosmrt._aws.sigv4 import (
    authorization,
    credential_scope,
    keyed_mac,
    signature,
    signing_key,
    string_to_sign,
)
from aiosmrt.local._signature_refusals import SignatureRefused
from aiosmrt.local._verification import ReceivedRequest, verify

NOW = datetime(2026, 1, 1, 0, 10, tzinfo=timezone.utc)
TEMPORARY = Credentials("ASIAEXAMPLE", "secret", "token+/=", NOW + timedelta(hours=1))
KNOWN = {keys.access_key_id: keys for keys in (KEYS, TEMPORARY)}
BODY = b'{"inputs": "hi"}'


@pytest.mark.parametrize(
    "case",
    # The check normalises, as all services but S3 do.
    [case for case in CASES if case.normalize],
    ids=lambda case: case.name,
)
def test_aws_suite_is_accepted(case):
    method, path, query, headers, body = (
        parse_request(case.signed_request)
        if case.signed_request
        else (
            case.method,
            case.path,
            case.query,
            [*case.headers, ("Authorization", _documented_value(case))],
            case.body,
        )
    )
    keys = Credentials(case.access_key_id, case.secret_access_key, case.token)
    assert (
        verify(
            ReceivedRequest(
                method=method,
                raw_path=path,
                raw_query=query,
                headers=headers,
                payload_hash=sha256(body).hexdigest(),
            ),
            lookup={keys.access_key_id: keys}.get,
            region=case.region,
            service=case.service,
            now=datetime.strptime(case.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc),
            # One case of the suite sends its token unsigned.
            must_sign=("x-amz-",) if case.token_is_signed else ("x-amz-date",),
        )
        is keys
    )


def _documented_value(case):
    return authorization(
        case.access_key_id,
        credential_scope(case.date, case.region, case.service),
        "content-type;host;x-amz-date",
        case.signature,
    )


# The check, over what botocore signed.


def received(
    service="sagemaker",
    *,
    keys=KEYS,
    at=NOW,
    region="us-east-1",
    scope_service=None,
    method="POST",
    path="/endpoints/llm/invocations",
    query="",
    headers=(),
    body=BODY,
):
    """A request that botocore signed, as the service receives it."""
    url = f"http://127.0.0.1:8080{path}" + (f"?{query}" if query else "")
    signed = botocore_signed(
        method=method,
        url=url,
        headers=[("Host", "127.0.0.1:8080"), *headers],
        body=body,
        credentials=keys,
        region=region,
        service=scope_service or service,
        timestamp=at.strftime("%Y%m%dT%H%M%SZ"),
    )
    # botocore signs its S3 way for the name "s3" alone.
    return ReceivedRequest(
        method=method,
        raw_path=path,
        raw_query=query,
        headers=signed,
        payload_hash=sha256(body).hexdigest(),
    )


def check(request, service="sagemaker", *, now=NOW, lookup=KNOWN.get, **options):
    return verify(request, lookup=lookup, region="us-east-1", service=service, now=now, **options)


def changed(request, *, drop=(), add=(), **changes):
    """The request with headers taken out and put in, and other fields replaced."""
    headers = [(name, value) for name, value in request.headers if name.lower() not in drop]
    fields = {
        "method": request.method,
        "raw_path": request.raw_path,
        "raw_query": request.raw_query,
        "payload_hash": request.payload_hash,
        **changes,
    }
    return ReceivedRequest(headers=[*headers, *add], **fields)


def replaced(request, name, value):
    return changed(request, drop={name}, add=[(name, value)])


def in_authorization(request, old, new):
    value = request.header("authorization")
    assert old in value
    return replaced(request, "authorization", value.replace(old, new))


def refusal(request, service="sagemaker", **options):
    with pytest.raises(SignatureRefused) as caught:
        check(request, service, **options)
    return caught.value.status_code, caught.value.code, caught.value.message


SERVICES = pytest.mark.parametrize("service", ["sagemaker", "s3"])


@SERVICES
@pytest.mark.parametrize("keys", [KEYS, TEMPORARY], ids=["keys", "token"])
def test_what_botocore_signed_is_accepted(service, keys):
    request = received(
        service,
        keys=keys,
        query="b=2&a=%C3%BC&x-id=PutObject",
        headers=[("Content-Type", "text/csv"), ("X-Amz-Meta-A", " a  b ")],
    )
    assert check(request, service) is keys


@SERVICES
@pytest.mark.parametrize("seconds", [-300, 0, 300])
def test_five_minutes_either_way_are_accepted(service, seconds):
    request = received(service, at=NOW + timedelta(seconds=seconds))
    assert check(request, service) is KEYS


def test_the_skew_allowed_is_the_callers():
    request = received("s3", at=NOW - timedelta(minutes=15))
    assert check(request, "s3", max_skew_seconds=900) is KEYS


def test_a_time_in_another_zone_is_the_same_time():
    zone = timezone(timedelta(hours=9))
    assert check(received(), now=NOW.astimezone(zone)) is KEYS


@pytest.mark.parametrize("separator", [",", ", ", " ", " , "])
def test_the_parts_are_parted_in_any_of_the_sdks_ways(separator):
    assert check(in_authorization(received(), ", ", separator)) is KEYS


MISMATCH = (
    403,
    "InvalidSignatureException",
    (
        "The request signature we calculated does not match the signature you provided. Check your "
        "AWS Secret Access Key and signing method. Consult the service documentation for details."
    ),
)
S3_MISMATCH = (
    403,
    "SignatureDoesNotMatch",
    (
        "The request signature we calculated does not match the signature you provided. Check your "
        "key and signing method."
    ),
)
MISMATCHES = pytest.mark.parametrize(
    "service, mismatch", [("sagemaker", MISMATCH), ("s3", S3_MISMATCH)]
)


@MISMATCHES
def test_a_wrong_secret(service, mismatch):
    wrong = Credentials(KEYS.access_key_id, "other")
    assert refusal(received(service, keys=wrong), service) == mismatch


@MISMATCHES
@pytest.mark.parametrize(
    "tamper",
    [
        lambda request: changed(request, method="PUT"),
        lambda request: changed(request, raw_path="/endpoints/llm2/invocations"),
        lambda request: changed(request, raw_query="a=1"),
        lambda request: replaced(request, "content-type", "text/plain"),
        lambda request: replaced(request, "host", "127.0.0.1:8081"),
        lambda request: replaced(request, "x-amz-meta-a", "2"),
        lambda request: replaced(request, "x-amz-date", "20260101T001001Z"),
        lambda request: changed(request, add=[("X-Amz-Meta-A", "1")]),
        lambda request: in_authorization(request, "content-type;host", "host;content-type"),
        lambda request: in_authorization(request, "content-type;host", "content-type;host;host"),
        lambda request: in_authorization(request, "Signature=", "Signature=é"),
    ],
    ids=[
        "method",
        "path",
        "query",
        "content type",
        "host",
        "header",
        "date",
        "header repeated",
        "names out of order",
        "name twice",
        "signature",
    ],
)
def test_tampering(service, mismatch, tamper):
    request = received(
        service, headers=[("Content-Type", "application/json"), ("X-Amz-Meta-A", "1")]
    )
    assert refusal(tamper(request), service) == mismatch


def test_a_tampered_body():
    request = changed(received(), payload_hash=sha256(b"other").hexdigest())
    assert refusal(request) == MISMATCH


@pytest.mark.parametrize(
    "at, message",
    [
        (
            datetime(2026, 1, 1, 0, 4, 59, tzinfo=timezone.utc),
            (
                "Signature expired: 20260101T000459Z is now earlier than 20260101T000500Z "
                "(20260101T001000Z - 5 min.)"
            ),
        ),
        (
            datetime(2026, 1, 1, 0, 15, 1, tzinfo=timezone.utc),
            (
                "Signature not yet current: 20260101T001501Z is still later than 20260101T001500Z "
                "(20260101T001000Z + 5 min.)"
            ),
        ),
    ],
    ids=["stale", "future"],
)
def test_a_date_too_far_off(at, message):
    assert refusal(received(at=at)) == (403, "InvalidSignatureException", message)
    assert refusal(received("s3", at=at), "s3") == (
        403,
        "RequestTimeTooSkewed",
        "The difference between the request time and the current time is too large.",
    )


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2026-01-01T00:10:00Z",
        "20260101T001000",
        "20260101t001000z",
        "2026111T001000Z",
        "20261301T001000Z",
        "20260101T001000Z,20260101T001000Z",
        "\uff12\uff10\uff12\uff160101T001000Z",  # digits, to strptime
        "Thu, 01 Jan 2026 00:10:00 GMT",
    ],
)
def test_a_malformed_date(value):
    status_code, code, message = refusal(replaced(received(), "x-amz-date", value))
    assert (status_code, code) == (403, "IncompleteSignatureException")
    assert message.startswith("Date must be in ISO-8601 'basic format'. Got '")
    assert refusal(replaced(received("s3"), "x-amz-date", value), "s3") == (
        403,
        "AccessDenied",
        "AWS authentication requires a valid Date or x-amz-date header",
    )


def test_no_date():
    assert refusal(changed(received(), drop={"x-amz-date"})) == (
        403,
        "IncompleteSignatureException",
        "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.",
    )
    assert refusal(changed(received("s3"), drop={"x-amz-date"}), "s3")[1] == "AccessDenied"


def test_no_authorization():
    missing = (403, "MissingAuthenticationTokenException", "Missing Authentication Token")
    assert refusal(changed(received(), drop={"authorization"})) == missing
    assert refusal(replaced(received(), "authorization", "Basic eDp5")) == missing
    assert refusal(replaced(received(), "authorization", "")) == missing
    assert refusal(changed(received("s3"), drop={"authorization"}), "s3") == (
        403,
        "AccessDenied",
        "Access Denied",
    )
    assert refusal(replaced(received("s3"), "authorization", "Basic eDp5"), "s3") == (
        400,
        "InvalidArgument",
        "Unsupported Authorization Type",
    )


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("Signature=", "Signature ", "Not a valid key=value pair (missing equal-sign) in"),
        ("Signature=", "Credential=x, Signature=", "Not a valid key=value pair"),
        ("Signature=", "Sig=", "Authorization header requires 'Signature' parameter."),
        ("SignedHeaders=", "x=", "Authorization header requires 'SignedHeaders' parameter."),
        ("Credential=", "x=", "Authorization header requires 'Credential' parameter."),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1", "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1' "),
        (
            "/us-east-1",
            "",
            (
                "Credential must have exactly 5 slash-delimited elements, e.g. "
                "keyid/date/region/service/term, got 'AKIDEXAMPLE/20260101/sagemaker/aws4_request'"
            ),
        ),
    ],
)
def test_an_incomplete_authorization(old, new, message):
    status_code, code, text = refusal(in_authorization(received(), old, new))
    assert (status_code, code) == (403, "IncompleteSignatureException")
    assert text.startswith(message)


def test_a_signature_is_not_repeated_to_the_log():
    request = in_authorization(received(), "Signature=", "Signature ")
    assert request.header("authorization")[-64:] not in refusal(request)[2]


def test_a_header_named_twice_as_authorization_is_refused():
    request = received()
    again = changed(request, add=[("authorization", request.header("authorization"))])
    assert refusal(again)[1] == "IncompleteSignatureException"


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("/us-east-1", "/eu-west-1", "Credential should be scoped to a valid region."),
        ("/sagemaker", "/s3", "Credential should be scoped to correct service: 'sagemaker'."),
        (
            "/aws4_request",
            "/aws5_request",
            (
                "Credential should be scoped with a valid terminator: 'aws4_request', not "
                "'aws5_request'."
            ),
        ),
        (
            "/20260101",
            "/20260102",
            (
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date "
                "from HTTP: '20260102' != '20260101', from '20260101T001000Z'."
            ),
        ),
    ],
)
def test_a_wrong_scope(old, new, message):
    request = in_authorization(received(), old, new)
    assert refusal(request) == (403, "InvalidSignatureException", message)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("/us-east-1", "/eu-west-1", "the region 'eu-west-1' is wrong; expecting 'us-east-1'"),
        ("/s3", "/x", 'incorrect service "x". This endpoint belongs to "s3".'),
        ("/aws4_request", "/x", 'incorrect terminal "x". This endpoint uses "aws4_request".'),
        (
            "/20260101",
            "/2026",
            'Invalid credential date "2026". This date is not the same as X-Amz-Date: "20260101".',
        ),
        (
            "Signature=",
            "S=",
            (
                "the authorization header requires three components: Credential, SignedHeaders, "
                "and Signature."
            ),
        ),
        (
            "/s3/",
            "/",
            (
                "the Credential is mal-formed; expecting "
                '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
            ),
        ),
    ],
)
def test_s3s_words_for_a_wrong_authorization(old, new, message):
    request = in_authorization(received("s3"), old, new)
    assert refusal(request, "s3") == (
        400,
        "AuthorizationHeaderMalformed",
        f"The authorization header is malformed; {message}",
    )


INVALID_TOKEN = (
    403,
    "UnrecognizedClientException",
    "The security token included in the request is invalid.",
)


def test_an_unknown_key():
    stranger = Credentials("AKIDOTHER", "secret")
    assert refusal(received(keys=stranger)) == INVALID_TOKEN
    assert refusal(received("s3", keys=stranger), "s3") == (
        403,
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
    )


@pytest.mark.parametrize(
    "keys",
    [
        Credentials(TEMPORARY.access_key_id, "secret", "other"),
        Credentials(TEMPORARY.access_key_id, "secret"),
        Credentials(KEYS.access_key_id, KEYS.secret_access_key, "token"),
    ],
    ids=["wrong", "missing", "for keys that have none"],
)
def test_a_wrong_token(keys):
    assert refusal(received(keys=keys)) == INVALID_TOKEN
    assert refusal(received("s3", keys=keys), "s3") == (
        400,
        "InvalidToken",
        "The provided token is malformed or otherwise invalid.",
    )


def test_a_token_that_is_not_ascii():
    request = replaced(received(keys=TEMPORARY), "x-amz-security-token", "é\udcff")
    assert refusal(request) == INVALID_TOKEN


def test_an_expired_token():
    at = TEMPORARY.expiry
    assert refusal(received(keys=TEMPORARY, at=at), now=at) == (
        403,
        "ExpiredTokenException",
        "The security token included in the request is expired",
    )
    assert refusal(received("s3", keys=TEMPORARY, at=at), "s3", now=at) == (
        400,
        "ExpiredToken",
        "The provided token has expired.",
    )


def resigned(names, service="sagemaker", *, headers=()):
    """A request that says it signed these names; no check of the signature is reached."""
    request = received(service, headers=headers)
    listed = request.header("authorization").partition("SignedHeaders=")[2].partition(",")[0]
    return in_authorization(request, f"SignedHeaders={listed}", f"SignedHeaders={names}")


def test_headers_that_must_be_signed():
    extra = [("X-Amz-Meta-A", "1"), ("X-Amzn-SageMaker-Target-Model", "m")]
    invalid = (403, "InvalidSignatureException")
    required = "must be a 'SignedHeader' in the AWS Authorization."
    assert refusal(resigned("x-amz-date")) == (*invalid, f"'Host' or ':authority' {required}")
    assert refusal(resigned("host", headers=extra)) == (*invalid, f"'x-amz-date' {required}")
    assert refusal(resigned("host;x-amz-date", headers=extra)) == (
        *invalid,
        f"'x-amz-meta-a' {required}",
    )
    assert refusal(
        resigned("host;x-amz-date;x-amz-meta-a", headers=extra),
        must_sign=("x-amz-", "x-amzn-sagemaker-"),
    ) == (*invalid, f"'x-amzn-sagemaker-target-model' {required}")
    assert refusal(resigned("host;x-amz-date", headers=extra), must_sign=()) == MISMATCH
    unsigned = (
        403,
        "AccessDenied",
        "There were headers present in the request which were not signed",
    )
    assert refusal(resigned("x-amz-date", "s3"), "s3") == unsigned
    assert refusal(resigned("host;x-amz-date", "s3"), "s3") == unsigned


def test_a_signed_header_that_went_missing():
    headers = [("X-Amz-Meta-A", "1")]
    assert refusal(changed(received(headers=headers), drop={"x-amz-meta-a"})) == (
        403,
        "IncompleteSignatureException",
        "'x-amz-meta-a' is named as a SignedHeader, but it does not exist in the HTTP request.",
    )
    without = changed(received("s3", headers=headers), drop={"x-amz-meta-a"})
    assert refusal(without, "s3") == S3_MISMATCH


# S3's hash of the body.


def s3_request(declared, payload_hash):
    """A request whose x-amz-content-sha256 says what it says, signed so."""
    scope = credential_scope("20260101", "us-east-1", "s3")
    canonical = (
        "PUT\n/b/k\n\nhost:h\nx-amz-content-sha256:"
        + declared
        + "\nx-amz-date:20260101T001000Z\n\n"
        "host;x-amz-content-sha256;x-amz-date\n" + declared
    )
    mac = keyed_mac(signing_key(KEYS.secret_access_key, "20260101", "us-east-1", "s3"))
    signed = signature(mac, string_to_sign("20260101T001000Z", scope, canonical))
    names = "host;x-amz-content-sha256;x-amz-date"
    return ReceivedRequest(
        method="PUT",
        raw_path="/b/k",
        raw_query="",
        headers=[
            ("Host", "h"),
            ("x-amz-content-sha256", declared),
            ("X-Amz-Date", "20260101T001000Z"),
            ("Authorization", authorization(KEYS.access_key_id, scope, names, signed)),
        ],
        payload_hash=payload_hash,
    )


@pytest.mark.parametrize(
    "declared",
    [
        sha256(BODY).hexdigest(),
        "UNSIGNED-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    ],
)
def test_s3_takes_a_hash_or_what_stands_for_it(declared):
    assert check(s3_request(declared, sha256(BODY).hexdigest()), "s3") is KEYS


@pytest.mark.parametrize(
    "declared, code",
    [
        (sha256(b"other").hexdigest(), "XAmzContentSHA256Mismatch"),
        ("STREAMING-SOMETHING", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
def test_s3_refuses_another_bodys_hash_and_no_hash(declared, code):
    status_code, given, _ = refusal(s3_request(declared, sha256(BODY).hexdigest()), "s3")
    assert (status_code, given) == (400, code)


def test_s3_wants_the_hash():
    names = "SignedHeaders=host;x-amz-date"
    request = in_authorization(
        received("s3"), f"{names[:18]};x-amz-content-sha256{names[18:]}", names
    )
    assert refusal(changed(request, drop={"x-amz-content-sha256"}), "s3") == (
        400,
        "InvalidRequest",
        "Missing required header for this request: x-amz-content-sha256",
    )


def test_nothing_secret_is_in_a_repr():
    request = received(keys=TEMPORARY)
    signed = request.header("authorization")[-64:]
    text = repr(request)
    assert TEMPORARY.session_token not in text
    assert signed not in text


# Hostile requests. The invariant: SignatureRefused, whatever the bytes, and never another
# exception; and nothing is accepted but what was signed.

wire = st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
shrapnel = st.one_of(
    wire,
    st.sampled_from(
        [
            "AWS4-HMAC-SHA256 ",
            "AWS4-",
            "Credential=",
            "AKIDEXAMPLE/20260101/us-east-1/sagemaker/aws4_request",
            "AKIDEXAMPLE/20260101/us-east-1/s3/aws4_request",
            "SignedHeaders=",
            "host;x-amz-date",
            "host;x-amz-content-sha256;x-amz-date",
            "Signature=",
            "0" * 64,
            ", ",
            "/",
            ";",
            "%s",
            "{given}",
        ]
    ),
)
hostile_headers = st.lists(
    st.tuples(
        st.sampled_from(["Authorization", "Host", "x-amz-security-token", "X-Amz-Meta-%s"]) | wire,
        st.lists(shrapnel, max_size=8).map("".join),
    ),
    max_size=5,
)
WELL_FORMED = (
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/{}/aws4_request, "
    "SignedHeaders={}, Signature={}"
)


@SERVICES
@given(
    method=wire, path=wire, query=wire, headers=hostile_headers, names=wire, signed=wire, date=wire
)
def test_hostile_requests_are_refused(
    service, *, method, path, query, headers, names, signed, date
):
    deep = [
        ("Host", "h"),
        ("X-Amz-Date", "20260101T001000Z"),
        ("X-Amz-Content-SHA256", signed),
        ("Authorization", WELL_FORMED.format(service, "host;x-amz-date", signed)),
    ]
    for attack in (
        headers,
        [
            *headers,
            ("X-Amz-Date", date),
            ("Authorization", WELL_FORMED.format(service, names, "0")),
        ],
        # These get as far as the signature.
        [*deep, ("x-amz-content-type", path)],
        deep,
    ):
        request = ReceivedRequest(
            method=method, raw_path=path, raw_query=query, headers=attack, payload_hash="0" * 64
        )
        for must_sign in ((), ("x-amz-",)):
            with pytest.raises(SignatureRefused):
                check(request, service, must_sign=must_sign)


@SERVICES
@given(data=st.data())
def test_one_changed_character_is_refused(service, data):
    request = received(service, keys=TEMPORARY, headers=[("Content-Type", "a")], query="a=1")
    position = data.draw(st.integers(0, len(request.headers) - 1))
    name, value = request.headers[position]
    at = data.draw(st.integers(0, len(value) - 1))
    # Not white space, which the canonical form joins, nor a comma, which parts as space does.
    other = data.draw(st.sampled_from("aZ09_~!"))
    headers = list(request.headers)
    headers[position] = (name, value[:at] + other + value[at + 1 :])
    tampered = changed(request, drop={name.lower()}, add=[headers[position]])
    if headers[position][1] == value:
        assert check(tampered, service) is TEMPORARY
    else:
        refusal(tampered, service)


# Other SDKs over a socket, with the real time.


class Verifying(BaseHTTPRequestHandler):
    """Answers 200 to what is signed well for the service, else the refusal's status and code."""

    protocol_version = "HTTP/1.1"

    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        service = "sagemaker" if self.command == "POST" else "s3"
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, _, query = self.path.partition("?")
        request = ReceivedRequest(
            method=self.command,
            raw_path=path,
            raw_query=query,
            headers=[
                (name, value.encode("latin-1").decode("utf-8", "surrogateescape"))
                for name, value in self.headers.items()
            ],
            payload_hash=sha256(body).hexdigest(),
        )
        try:
            check(
                request,
                service,
                now=datetime.now(timezone.utc),
                lookup={"id": self.server.keys}.get,
            )
        except SignatureRefused as refused:
            self.send_response(refused.status_code)
            self.send_header("x-amzn-errortype", refused.code)
        else:
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture(params=["keys", "token"])
def server(request):
    token = "token/+=" if request.param == "token" else None
    with ThreadingHTTPServer(("127.0.0.1", 0), Verifying) as server:
        server.keys = Credentials("id", "secret", token)
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(server, name, *, secret="secret"):
    return boto3.client(
        name,
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        region_name="us-east-1",
        aws_access_key_id="id",
        aws_secret_access_key=secret,
        aws_session_token=server.keys.session_token,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )


def test_boto3_invokes_an_endpoint(server):
    runtime = client(server, "sagemaker-runtime")
    answer = runtime.invoke_endpoint(
        EndpointName="llm",
        Body=BODY,
        ContentType="application/json",
        CustomAttributes="a=1;  b=2",
        TargetModel="models/é  v1.tar.gz".encode().decode("latin-1"),
    )
    answer["Body"].close()
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    runtime.close()


def test_boto3_with_another_secret_is_told_so(server):
    runtime = client(server, "sagemaker-runtime", secret="other")
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        runtime.invoke_endpoint(EndpointName="llm", Body=BODY)
    assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"
    runtime.close()


@pytest.mark.parametrize("key", ["a", "a b/ü+~(1)*!'", "x//y/../z/.", "100%/%41&?=#"])
def test_boto3_puts_and_gets_any_key(server, key):
    s3 = client(server, "s3")
    for call in (
        lambda: s3.put_object(Bucket="bucket", Key=key, Body=BODY, Metadata={"a": "b  c"}),
        lambda: s3.head_object(Bucket="bucket", Key=key),
        lambda: s3.list_objects_v2(Bucket="bucket", Prefix=key, Delimiter="/"),
    ):
        assert call()["ResponseMetadata"]["HTTPStatusCode"] == 200
    s3.close()


def test_aws_requests_auth_as_it_comes(server, monkeypatch):
    # Its own time is naive, and deprecated from Python 3.12 on.
    class Clock(datetime):
        @classmethod
        def utcnow(cls):
            return cls.now(timezone.utc)

    monkeypatch.setattr(aws_auth, "datetime", SimpleNamespace(datetime=Clock))
    host = f"127.0.0.1:{server.server_port}"
    keys = server.keys
    auth = aws_auth.AWSRequestsAuth(
        "id", "secret", host, "us-east-1", "sagemaker", keys.session_token
    )
    with requests.Session() as session:
        answer = session.post(f"http://{host}/endpoints/a%20b/invocations?b=1&a=2", BODY, auth=auth)
    assert answer.status_code == 200, answer.headers
