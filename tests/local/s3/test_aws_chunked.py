"""The aws-chunked encoding: whole, and cut off at every byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiosmrt.local._s3.aws_chunked import decode_aws_chunked


def encoded(chunks, trailer=b""):
    framed = [b"%x;chunk-signature=0\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return b"".join(framed) + b"0\r\n" + trailer + b"\r\n"


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_chunks_come_out_of_their_frames(chunks):
    assert decode_aws_chunked(encoded(chunks)) == b"".join(chunks)
    assert decode_aws_chunked(encoded(chunks, b"x-amz-checksum-crc32:A\r\n")) == b"".join(chunks)


def test_what_is_cut_off_is_refused():
    whole = encoded([b"abc", b"de"])
    end = whole.index(b"0\r\n\r\n") + 3  # what follows the last chunk's length is not needed
    for length in range(end):
        with pytest.raises(ValueError, match=r"chunk|invalid literal"):
            decode_aws_chunked(whole[:length])
    assert decode_aws_chunked(whole[:end]) == b"abcde"


@pytest.mark.parametrize(
    "body", [b"x\r\nabc\r\n", b"-1\r\n\r\n", b"\r\n", b"3\r\nabcd\r\n0\r\n\r\n"]
)
def test_what_is_not_in_this_encoding_is_refused(body):
    with pytest.raises(ValueError, match=r"chunk|invalid literal"):
        decode_aws_chunked(body)
