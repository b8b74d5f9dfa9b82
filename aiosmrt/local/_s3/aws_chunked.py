"""The ``aws-chunked`` content encoding, in which many SDKs put an object.

Each chunk is its length in hex, an optional ``;chunk-signature=...``, CRLF, the bytes,
CRLF; a chunk of length 0 ends it, and trailing headers (checksums) may follow. Source:
"Signature calculations for the Authorization header: transferring payload in multiple
chunks" of the S3 API Reference.
"""

from __future__ import annotations

__all__ = ["decode_aws_chunked"]


def decode_aws_chunked(body: bytes) -> bytes:
    """Takes the chunks out of their frames. Signatures and checksums are not checked.

    Raises:
        ValueError: It is not in this encoding, or is cut off.
    """
    # Copies: only a join of bytes, not one of views, lets other threads run.
    chunks: list[bytes] = []
    position = 0
    while True:
        line_end = body.find(b"\r\n", position)
        if line_end < 0:
            raise ValueError("a chunk's length is missing")
        length = int(body[position:line_end].partition(b";")[0], 16)
        start, end = line_end + 2, line_end + 2 + length
        if length == 0:
            return b"".join(chunks)
        if length < 0 or body[end : end + 2] != b"\r\n":
            raise ValueError("a chunk is cut off")
        chunks.append(body[start:end])
        position = end + 2
