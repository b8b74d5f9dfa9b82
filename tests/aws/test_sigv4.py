"""The later stages of a signature, each against AWS's suite."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.sigv4_vectors import CASES

from aiosmrt._aws.sigv4 import (
    authorization,
    credential_scope,
    keyed_mac,
    signature,
    signing_key,
    string_to_sign,
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_aws_suite_string_to_sign(case):
    scope = credential_scope(case.date, case.region, case.service)
    assert string_to_sign(case.timestamp, scope, case.canonical_request) == case.string_to_sign


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_aws_suite_signature(case):
    mac = keyed_mac(signing_key(case.secret_access_key, case.date, case.region, case.service))
    for _ in range(2):  # the second shows that the first left the key as it was
        assert signature(mac, case.string_to_sign) == case.signature


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_aws_suite_signed_request(case):
    scope = credential_scope(case.date, case.region, case.service)
    signed_headers = case.canonical_request.splitlines()[-2]
    value = authorization(case.access_key_id, scope, signed_headers, case.signature)
    assert case.signed_request is None or f"\nAuthorization:{value}\n" in case.signed_request


@given(st.binary(max_size=64), st.text(), st.text())
def test_a_signature_is_the_hmac_of_the_whole_text(key, begins, rest):
    """The beginning may have been taken before, as it is for all requests of a second."""
    expected = hmac.digest(key, (begins + rest).encode(), "sha256").hex()
    assert signature(keyed_mac(key, begins), rest) == expected
