"""The first stage of AWS's suite, botocore's canonical forms, and what neither says."""

from __future__ import annotations

import pytest
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import given
from hypothesis import strategies as st
from support.sigv4_vectors import CASES

from aiosmrt._aws.canonical import (
    HeaderPlan,
    canonical_path,
    canonical_query,
    canonical_request,
    octets,
)

BOTOCORE = SigV4Auth(BotocoreCredentials("id", "secret"), "sagemaker", "us-east-1")
BOTOCORE_S3 = S3SigV4Auth(BotocoreCredentials("id", "secret"), "s3", "us-east-1")


def everything(name):
    return True


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_aws_suite(case):
    plan = HeaderPlan.of([name for name, _ in case.headers], everything)
    canonical = canonical_request(
        case.method,
        canonical_path(case.path, normalize=case.normalize),
        canonical_query(case.query),
        plan.canonical_headers([value for _, value in case.headers]),
        plan.signed_headers,
        case.payload_hash,
    )
    assert canonical == case.canonical_request


# What a path on the wire is made of: dots, slashes, escapes, and what should be one.
wire_paths = st.lists(
    st.sampled_from(["/", "//", ".", "..", "a", "-_.~", "%2F", "%20", "%C3%BC", "%", "ü", " ", "+"])
).map(lambda parts: "/" + "".join(parts))


def signed_by(botocore, path):
    """The path in botocore's canonical request."""
    request = AWSRequest("POST", "http://localhost" + path)
    request.context["timestamp"] = "20260101T120000Z"
    return botocore.canonical_request(request).split("\n")[1]


@given(wire_paths)
def test_paths_are_botocores(path):
    assert canonical_path(path) == signed_by(BOTOCORE, path)


@given(st.text().map(lambda key: "/bucket/" + key))
def test_s3_paths_are_botocores_as_it_sends_them(key):
    sent = canonical_path(key, encode_twice=False, normalize=False)
    assert sent == signed_by(BOTOCORE_S3, sent)
    assert canonical_path(sent, encode_twice=False, normalize=False) == sent


@pytest.mark.parametrize(
    "raw, canonical",
    [
        ("/bucket/a b", "/bucket/a%20b"),
        ("/bucket/a%20b", "/bucket/a%20b"),
        ("/bucket/%61", "/bucket/a"),
        ("/bucket/a+b", "/bucket/a%2Bb"),
        ("/bucket/a%2bb", "/bucket/a%2Bb"),
        ("/bucket//a/../b/.", "/bucket//a/../b/."),
        ("/bucket/100%", "/bucket/100%25"),
        ("", "/"),
    ],
)
def test_s3_encodes_each_octet_once_and_keeps_dots(raw, canonical):
    assert canonical_path(raw, encode_twice=False, normalize=False) == canonical


def test_other_services_encode_the_wires_path_again():
    assert canonical_path("/endpoints/a%20b/invocations") == "/endpoints/a%2520b/invocations"


def test_an_empty_path_is_the_root():
    assert canonical_path("") == "/"


parameters = st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=6)


@given(parameters)
def test_queries_are_botocores(pairs):
    request = AWSRequest("GET", "https://host/", params=pairs)
    expected = BOTOCORE.canonical_query_string(request)
    if pairs:  # of an empty list botocore makes the URL's, which has none
        assert canonical_query(expected) == expected
        assert canonical_query("&".join(reversed(expected.split("&")))) == expected


@pytest.mark.parametrize(
    "raw, canonical",
    [
        ("", ""),
        ("acl", "acl="),
        ("b=1&a=2&a=1", "a=1&a=2&b=1"),
        ("a-b=1&a=1", "a=1&a-b=1"),  # by name first: "-" sorts before "="
        ("a=b=c", "a=b%3Dc"),
        ("a=%7E%2f ", "a=~%2F%20"),
        ("a=1+1", "a=1%2B1"),
    ],
)
def test_queries(raw, canonical):
    assert canonical_query(raw) == canonical


def test_a_plan_signs_what_it_is_told_to():
    names = ["X-B", "User-Agent", "x-a"]
    plan = HeaderPlan.of(names, lambda name: name.startswith("x-"))
    assert plan.signed_headers == "x-a;x-b"
    assert plan.canonical_headers(["1", "2", "3"]) == "x-a:3\nx-b:1\n"


def test_a_plan_joins_a_repeated_header_in_its_order():
    plan = HeaderPlan.of(["x", "y", "X"], everything)
    assert plan.signed_headers == "x;y"
    assert plan.canonical_headers([" 2  3 ", "", "1"]) == "x:2 3,1\ny:\n"


def test_a_plan_takes_a_percent_sign_in_names_and_values():
    plan = HeaderPlan.of(["x-%s-100%"], everything)
    assert plan.signed_headers == "x-%s-100%"
    assert plan.canonical_headers(["%s %d"]) == "x-%s-100%:%s %d\n"


@given(st.lists(st.tuples(st.sampled_from(["A", "a", "b-c", "B", "x-é"]), st.text()), max_size=8))
def test_headers_are_botocores(headers):
    request = AWSRequest("GET", "https://host/")
    request.headers["Host"] = "host"
    # botocore keeps headers in an email message, which takes no line breaks.
    headers = [(name, " ".join(value.splitlines())) for name, value in headers]
    for name, value in headers:
        request.headers[name] = value
    chosen = BOTOCORE.headers_to_sign(request)
    plan = HeaderPlan.of(["Host", *(name for name, _ in headers)], everything)
    values = ["host", *(value for _, value in headers)]
    assert plan.signed_headers == BOTOCORE.signed_headers(chosen)
    assert plan.canonical_headers(values) == BOTOCORE.canonical_headers(chosen) + "\n"


@given(st.binary())
def test_octets_are_those_of_the_wire(raw):
    assert octets(raw.decode("utf-8", "surrogateescape")) == raw
