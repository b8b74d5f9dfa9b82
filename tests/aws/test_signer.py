"""The signer against botocore, against its parent, and against the service's check."""

from __future__ import annotations

import subprocess
import sys
import threading
from datetime import datetime, timezone
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import aws_requests_auth.aws_auth as parent
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from support.sessions import KEYS, TEMPORARY
from support.sigv4_oracle import botocore_signed

from aiosmrt._aws import signer as module
from aiosmrt._aws.credentials import Credentials
from aiosmrt._aws.signer import SigV4Signer
from aiosmrt.errors import CredentialsError
from aiosmrt.local._verification import ReceivedRequest, verify

HOST = "runtime.sagemaker.us-east-1.amazonaws.com"
TARGET = "/endpoints/llm/invocations"
EMPTY = sha256(b"").hexdigest()
NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc).timestamp()


class Clock:
    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now


def make_signer(clock=None, *, region="us-east-1", service="sagemaker", host=HOST):
    return SigV4Signer(None, None, host, region, service, clock=clock or Clock())


def sign(signer, keys=KEYS, *, target=TARGET, headers=(), payload_hash=EMPTY):
    return signer.sign("POST", target, [("Host", HOST), *headers], payload_hash, keys)


def authorization(signed):
    name, value = signed[-1]
    assert name == "Authorization"
    return value


def signed_names(signed):
    return authorization(signed).partition("SignedHeaders=")[2].partition(",")[0].split(";")


# botocore as the oracle.


def any_case(name):
    return st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda upper: "".join(c.upper() if up else c for c, up in zip(name, upper, strict=True))
    )


SIGNED = {
    "content-type",
    "x-amzn-sagemaker-accept",
    "x-amzn-sagemaker-custom-attributes",
    "x-amzn-sagemaker-inference-id",
    "x-amzn-sagemaker-target-model",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    "x-amz-meta-a",
    "x-amz-user-agent",
}
UNSIGNED = {
    "accept",
    "user-agent",
    "content-length",
    "connection",
    "x-amzn-trace-id",
    "accept-encoding",
    "amz",
    "x-amz",
}
# botocore keeps headers in an email message, which takes no line breaks.
values = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=30) | st.just(
    " a  b "
)
headers = st.lists(
    st.tuples(st.sampled_from(sorted(SIGNED | UNSIGNED)).flatmap(any_case), values), max_size=12
)
names = st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", fullmatch=True)
targets = st.builds(
    "/endpoints/{}/{}{}".format,
    names | st.sampled_from(["a%20b", "..", "%C3%BC", "x~y"]),
    st.sampled_from(["invocations", "invocations-response-stream", "async-invocations"]),
    st.sampled_from(["", "?", "?b=2&a=1", "?a=%2F&a=%20&a"]),
)
# A second, for a signature holds no less; from 2000 to 2100.
seconds = st.integers(946_684_800, 4_102_444_800)


@given(
    headers=headers,
    target=targets,
    body=st.binary(max_size=100),
    keys=st.sampled_from([KEYS, TEMPORARY]),
    second=seconds,
    service=st.sampled_from(["sagemaker", "s3"]),
    host=st.sampled_from([HOST, "127.0.0.1:8080", "[::1]:8080"]),
)
def test_it_signs_as_botocore_does(*, headers, target, body, keys, second, service, host):
    signer = make_signer(Clock(second + 0.999), service=service, host=host)
    headers = [("Host", host), *headers]
    signed = signer.sign("POST", target, headers, sha256(body).hexdigest(), keys)
    expected = botocore_signed(
        method="POST",
        url=f"http://{host}{target}",
        headers=headers,
        body=body,
        credentials=keys,
        region="us-east-1",
        service=service,
        timestamp=datetime.fromtimestamp(second, timezone.utc).strftime("%Y%m%dT%H%M%SZ"),
        signs={
            *SIGNED,
            "host",
            "x-amz-date",
            "x-amz-security-token",
            "x-amz-content-sha256",
        }.__contains__,
    )
    assert sorted((name.lower(), value) for name, value in [*headers, *signed]) == sorted(
        (name.lower(), value) for name, value in expected
    )


@pytest.mark.parametrize("service", ["sagemaker", "s3"])
@pytest.mark.parametrize("keys", [KEYS, TEMPORARY], ids=["keys", "token"])
def test_what_it_signs_passes_the_services_check(service, keys):
    sent = [
        ("content-type", "application/json"),
        ("X-Amzn-SageMaker-Custom-Attributes", " a=1;  b=2 "),
        ("X-Amzn-SageMaker-Inference-Id", "é"),
        ("User-Agent", "aiosmrt"),
    ]
    path, query = "/bucket/a%20b/../c//d", "b=2&a=%7E+"
    signed = sign(make_signer(service=service), keys, target=f"{path}?{query}", headers=sent)
    request = ReceivedRequest(
        method="POST",
        raw_path=path,
        raw_query=query,
        headers=[("host", HOST), *sent, *signed],
        payload_hash=EMPTY,
    )
    assert (
        verify(
            request,
            lookup={keys.access_key_id: keys}.get,
            region="us-east-1",
            service=service,
            now=datetime.fromtimestamp(NOON, timezone.utc),
            must_sign=("content-type", "x-amz-", "x-amzn-sagemaker-"),
        )
        is keys
    )


# What is added, and what is signed.


def test_what_it_adds():
    assert [name for name, _ in sign(make_signer())] == ["X-Amz-Date", "Authorization"]
    assert sign(make_signer(), TEMPORARY)[:2] == (
        ("X-Amz-Date", "20260101T120000Z"),
        ("X-Amz-Security-Token", "token+/="),
    )
    assert sign(make_signer(service="s3"))[:-1] == (
        ("X-Amz-Date", "20260101T120000Z"),
        ("X-Amz-Content-SHA256", EMPTY),
    )


def test_what_it_signs():
    sent = [(name, "v") for name in sorted(SIGNED | UNSIGNED)]
    signed = sign(make_signer(), TEMPORARY, headers=sent)
    assert signed_names(signed) == sorted([*SIGNED, "host", "x-amz-date", "x-amz-security-token"])


def test_what_an_earlier_signature_left_is_not_signed_again():
    signer = make_signer(service="s3")
    before = sign(signer, TEMPORARY)
    stale = [(name.upper(), f"old {value}") for name, value in before]
    assert sign(signer, TEMPORARY, headers=stale) == before


def test_an_unsigned_payload_of_s3_is_declared():
    signed = dict(sign(make_signer(service="s3"), payload_hash="UNSIGNED-PAYLOAD"))
    assert signed["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"


# The clock.


def test_the_clock_is_read_for_every_signature():
    clock = Clock()
    signer = make_signer(clock)
    for second, timestamp in [(0, "120000"), (0.999, "120000"), (1, "120001"), (-1, "115959")]:
        clock.now = NOON + second
        assert sign(signer)[0] == ("X-Amz-Date", f"20260101T{timestamp}Z")


def test_the_offset_is_added_to_the_clock():
    signer = make_signer()
    assert signer.offset_seconds == 0
    signer.offset_seconds = -3600.5
    assert sign(signer) == sign(make_signer(Clock(NOON - 3600.5)))
    assert sign(signer)[0] == ("X-Amz-Date", "20260101T105959Z")


def test_without_a_clock_it_takes_the_systems():
    before = datetime.now(timezone.utc).replace(microsecond=0)
    timestamp = sign(SigV4Signer(None, None, HOST, "us-east-1", "sagemaker"))[0][1]
    signed_at = datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    assert before <= signed_at <= datetime.now(timezone.utc)


# The derived key.


@pytest.fixture
def derived(monkeypatch):
    """What keys were derived, in order."""
    calls = []

    def counting(*args):
        calls.append(args)
        return parent.getSignatureKey(*args)

    monkeypatch.setattr(module, "getSignatureKey", counting)
    return calls


def test_one_key_signs_a_day(derived):
    clock = Clock()
    signer = make_signer(clock)
    for second in range(5):
        clock.now = NOON + second
        sign(signer, headers=[("Content-Type", str(second))])
    assert derived == [(KEYS.secret_access_key, "20260101", "us-east-1", "sagemaker")]


def test_the_key_changes_at_midnight(derived):
    midnight = datetime(2026, 1, 2, tzinfo=timezone.utc).timestamp()
    clock = Clock(midnight - 1)
    signer = make_signer(clock)
    sign(signer)
    clock.now = midnight
    assert sign(signer) == sign(make_signer(Clock(midnight)))
    assert "/20260102/us-east-1/sagemaker/" in authorization(sign(signer))
    assert [date for _, date, _, _ in derived] == ["20260101", "20260102", "20260102"]


def test_the_key_changes_with_the_credentials(derived):
    signer = make_signer()
    others = Credentials(KEYS.access_key_id, "another secret")
    first = sign(signer)
    assert sign(signer, others) == sign(make_signer(), others) != first
    assert sign(signer, Credentials(KEYS.access_key_id, KEYS.secret_access_key)) == first
    assert len(derived) == 3  # one of them the second signer's


@pytest.mark.parametrize("place", [{"region": "eu-west-1"}, {"service": "s3"}])
def test_the_key_is_that_of_the_region_and_service(place):
    assert authorization(sign(make_signer(**place))) != authorization(sign(make_signer()))


def test_the_keys_kept_are_few(derived):
    signer = make_signer()
    keys = [Credentials("id", f"secret {n}") for n in range(100)]
    for each in keys:
        sign(signer, each)
    sign(signer, keys[-1])
    assert len(derived) == 100
    sign(signer, keys[0])
    assert len(derived) == 101


def test_a_signer_keeps_nothing_for_another(derived):
    sign(make_signer())
    sign(make_signer())
    assert len(derived) == 2


def test_no_secret_is_in_a_repr():
    signer = SigV4Signer("id", "a secret", HOST, "us-east-1", "sagemaker", "a token")
    sign(signer, TEMPORARY)
    assert repr(signer) == "SigV4Signer(region='us-east-1', service='sagemaker')"


# As its parent is used.


def as_auth(keys=KEYS, clock=None, host=HOST):
    return SigV4Signer(
        keys.access_key_id,
        keys.secret_access_key,
        host,
        "us-east-1",
        "sagemaker",
        keys.session_token,
        clock=clock or Clock(),
    )


def prepared(method="POST", path=TARGET, *, body=b"", headers=None):
    return requests.Request(method, f"https://{HOST}{path}", headers, data=body).prepare()


def bare(request):
    """Without the headers that the parent does not sign, and requests adds."""
    request.headers.clear()
    return request


@pytest.mark.parametrize("keys", [KEYS, TEMPORARY], ids=["keys", "token"])
@pytest.mark.parametrize(
    "body", [None, b"", b"\x00\xff", "text é"], ids=["none", "empty", "bytes", "str"]
)
@pytest.mark.parametrize("path", ["", TARGET, "/a%20b/é~", "/a?b=2&a=1&c=%2F"])
def test_over_the_parents_headers_it_signs_as_the_parent(monkeypatch, keys, body, path):
    class Noon(datetime):
        @classmethod
        def utcnow(cls):
            return datetime(2026, 1, 1, 12)  # noqa: DTZ001 - naive, as the real one

    monkeypatch.setattr(parent, "datetime", SimpleNamespace(datetime=Noon))
    request = bare(prepared(path=path))
    request.body = body
    theirs = parent.AWSRequestsAuth(
        keys.access_key_id,
        keys.secret_access_key,
        HOST,
        "us-east-1",
        "sagemaker",
        keys.session_token,
    ).get_aws_request_headers_handler(request)
    ours = as_auth(keys).get_aws_request_headers_handler(request)
    # It signs neither of those that it sends in vain.
    del theirs["x-amz-content-sha256"]
    assert {name.lower(): value for name, value in ours.items()} == {
        name.lower(): value for name, value in theirs.items()
    }


def test_what_the_request_carries_is_signed_too():
    request = prepared(
        body="text",
        headers={
            "Content-Type": b"text/plain",
            "X-Amzn-SageMaker-Target-Model": "m",
            "X-Amzn-Trace-Id": "t",
        },
    )
    added = as_auth().get_aws_request_headers_handler(request)
    hot = make_signer().sign(
        "POST",
        TARGET,
        [("Content-Type", "text/plain"), ("X-Amzn-SageMaker-Target-Model", "m"), ("Host", HOST)],
        sha256(b"text").hexdigest(),
        KEYS,
    )
    assert added == dict(hot)


def test_a_host_header_of_the_requests_own_is_the_one_signed():
    request = prepared(headers={"Host": "elsewhere:8080"})
    assert as_auth().get_aws_request_headers_handler(request) == as_auth(
        host="elsewhere:8080"
    ).get_aws_request_headers_handler(bare(prepared()))


def test_a_request_is_signed_again_as_if_for_the_first_time():
    signer = as_auth(TEMPORARY)
    request = signer(prepared(body=b"body"))
    first = dict(request.headers)
    assert signer(request).headers == first


def test_other_credentials_than_its_own_may_be_given():
    request = prepared()
    given_keys = (TEMPORARY.access_key_id, TEMPORARY.secret_access_key, TEMPORARY.session_token)
    assert as_auth().get_aws_request_headers(request, *given_keys) == as_auth(
        TEMPORARY
    ).get_aws_request_headers_handler(request)


def test_without_credentials_it_says_so():
    with pytest.raises(CredentialsError):
        make_signer()(prepared())


class Recording(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path, _, query = self.path.partition("?")
        self.server.received.append(
            ReceivedRequest(
                method="POST",
                raw_path=path,
                raw_query=query,
                headers=self.headers.items(),
                payload_hash=sha256(body).hexdigest(),
            )
        )
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args):
        """Quiet."""


def test_requests_sends_what_the_service_accepts():
    with ThreadingHTTPServer(("127.0.0.1", 0), Recording) as server:
        server.received = []
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        host = f"127.0.0.1:{server.server_port}"
        with requests.Session() as session:
            session.post(
                f"http://{host}/endpoints/a b/invocations?b=1&a=é",
                "text é".encode(),
                headers={
                    "Content-Type": "text/plain",
                    "X-Amzn-SageMaker-Custom-Attributes": "a  b",
                },
                auth=as_auth(TEMPORARY, host=host),
            )
        server.shutdown()
        thread.join()
    (request,) = server.received
    assert request.header("x-amz-content-sha256") is None
    verify(
        request,
        lookup={TEMPORARY.access_key_id: TEMPORARY}.get,
        region="us-east-1",
        service="sagemaker",
        now=datetime.fromtimestamp(NOON, timezone.utc),
        must_sign=("content-type", "x-amz-", "x-amzn-sagemaker-"),
    )


def test_checking_a_signature_does_not_bring_requests():
    code = (
        "import sys, aiosmrt._aws.sigv4, aiosmrt._aws.credentials\n"
        "sys.exit(not {'aws_requests_auth', 'requests'}.isdisjoint(sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
