"""Any text is a key: only what is no location is refused."""

from __future__ import annotations

import pytest

from aiosmrt._s3.locations import S3Location
from aiosmrt.errors import ParameterValidationError


def at(uri: str) -> S3Location:
    return S3Location.parse(uri, "uri")


@pytest.mark.parametrize(
    "uri, bucket, key, directory",
    [
        ("s3://b/k", "b", "k", ""),
        ("s3://b/a/k", "b", "a/k", "a/"),
        ("s3://b/a//k", "b", "a//k", "a//"),
        ("s3://b//k", "b", "/k", "/"),
        ("s3://b/%41 ?#", "b", "%41 ?#", ""),
        ("s3://b/a/", "b", "a/", "a/"),
        ("s3://b/a\nb\x00\x7f", "b", "a\nb\x00\x7f", ""),
        ("s3://b/.", "b", ".", ""),
        ("s3://b/a/../b/./c", "b", "a/../b/./c", "a/../b/./"),
        ("s3://bucket.with-dots_1/k", "bucket.with-dots_1", "k", ""),
    ],
)
def test_a_location_is_read_as_it_is_written(uri, bucket, key, directory):
    location = at(uri)
    assert (location.bucket, location.key) == (bucket, key)
    assert str(location) == uri
    assert location.directory == S3Location(bucket, directory)


def test_a_slash_at_the_end_makes_another_key():
    assert at("s3://b/a/") != at("s3://b/a")
    assert at("s3://b/a/").path == "/a/"


@pytest.mark.parametrize(
    "uri",
    [
        *["", "b/k", "s3:/b/k", "s3://", "s3://b", "s3://b/", "https://b/k", "s3://b?x/k", 7, None],
        *["s3://./k", "s3://../k", "s3://a:b@c/k", "s3://b%2f/k", "s3://b\r\n/k", "s3://é/k"],
        f"s3://{'b' * 256}/k",
    ],
)
def test_what_is_no_location_is_a_parameter_error(uri):
    with pytest.raises(ParameterValidationError, match="the_name: it must be an S3 URI"):
        S3Location.parse(uri, "the_name")


def test_a_key_that_no_encoding_has_is_a_parameter_error():
    with pytest.raises(ParameterValidationError, match="UTF-8"):
        at("s3://b/\ud800")
