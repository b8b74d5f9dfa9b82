"""The tables hold together; test_verification.py compares their texts with the checks."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt.local import _signature_refusals as refusals
from aiosmrt.local._signature_refusals import SignatureRefused, refused

FACTS = ["given", "expected", "name", "bound", "now", "minutes", "timestamp"]
REASONS = [
    *[("sagemaker", reason) for reason in refusals.COMMON],
    *[("s3", reason) for reason in refusals.S3],
]


def test_s3_has_a_word_for_every_reason():
    assert refusals.S3.keys() >= refusals.COMMON.keys()


@pytest.mark.parametrize("service, reason", REASONS)
def test_every_text_is_made_of_known_facts(service, reason):
    error = refused(service, reason, **dict.fromkeys(FACTS, "fact"))
    assert error.code.isalnum()
    assert error.status_code in {400, 403}
    assert str(error) == f"{error.code}: {error.message}"
    assert not {"{", "}"} & set(error.message)


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_a_strangers_text_is_shown_in_printable_ascii(text):
    message = refused("sagemaker", "terminator", given=text, expected="aws4_request").message
    assert message.isascii()
    assert message.isprintable()


def test_a_strangers_text_is_cut():
    message = refused("sagemaker", "credential", given="x" * 65).message
    assert message.endswith(f"got '{'x' * 64}'")


def test_a_strangers_text_is_not_a_template():
    assert (
        "not '{expected}'" in refused("x", "terminator", given="{expected}", expected="e").message
    )


def test_it_survives_pickle():
    error = SignatureRefused("Code", "text", 400)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (again.code, again.message, again.status_code) == ("Code", "text", 400)
