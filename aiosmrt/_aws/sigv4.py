"""The stages of AWS Signature Version 4 as pure functions.

They follow "Create a signed AWS API request" of the IAM User Guide, and AWS's own test
suite (awslabs/aws-c-auth). ``signer.py`` signs with them, and the local endpoint
recomputes with them what others signed. Nothing here reads a clock.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from aiosmrt._aws.canonical import octets

if TYPE_CHECKING:
    from _hashlib import HASH

__all__ = [
    "ALGORITHM",
    "TERMINATOR",
    "KeyedMac",
    "authorization",
    "claimed_credential",
    "claimed_headers",
    "credential_scope",
    "keyed_mac",
    "opening",
    "signature",
    "signing_key",
    "string_to_sign",
]

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"

_BLOCK = 64  # bytes of SHA-256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


def credential_scope(date: str, region: str, service: str) -> str:
    """What a signature holds for: the date (``YYYYMMDD``), the region and the service."""
    return f"{date}/{region}/{service}/{TERMINATOR}"


def opening(timestamp: str, scope: str) -> str:
    """The string to sign up to the hash, the same for all requests of a second and scope.

    Args:
        timestamp: The time of the request, ``YYYYMMDDTHHMMSSZ``.
        scope: What `credential_scope` returned.
    """
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n"


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """The second stage.

    Args:
        timestamp: The time of the request, ``YYYYMMDDTHHMMSSZ``.
        scope: What `credential_scope` returned.
        canonical: What `canonical_request` returned.
    """
    return opening(timestamp, scope) + sha256(octets(canonical)).hexdigest()


def signing_key(secret_access_key: str, date: str, region: str, service: str) -> bytes:
    """Derives the key that signs on one date (``YYYYMMDD``, UTC) in one region and service."""
    key = b"AWS4" + octets(secret_access_key)
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, octets(part), "sha256")
    return key


class KeyedMac(NamedTuple):
    """HMAC-SHA256 (RFC 2104) with its key as two hash states, copied for each signature.

    A copy of an `hmac.HMAC` gives the same signature, but takes at least half as long again
    (Python 3.10 to 3.13).

    Attributes:
        inner: The state that takes the text.
        outer: The state that takes the inner digest.
    """

    inner: HASH
    outer: HASH


def keyed_mac(key: bytes, begins: str = "") -> KeyedMac:
    """Prepares a signing key for `signature`.

    Args:
        key: What `signing_key` returned.
        begins: The beginning that all texts to be signed have in common.
    """
    block = key.ljust(_BLOCK, b"\0")
    return KeyedMac(
        sha256(block.translate(_INNER) + octets(begins)), sha256(block.translate(_OUTER))
    )


def signature(mac: KeyedMac, text: str) -> str:
    """The third stage: the signature of a string to sign, in hex.

    Args:
        mac: What `keyed_mac` returned; it is copied, never changed.
        text: What `string_to_sign` returned, without the beginning that ``mac`` has taken.
    """
    inner = mac.inner.copy()
    inner.update(octets(text))
    outer = mac.outer.copy()
    outer.update(inner.digest())
    return outer.hexdigest()


def authorization(access_key_id: str, scope: str, signed_headers: str, signed: str) -> str:
    """The last stage: the value of the ``Authorization`` header."""
    return claimed_credential(access_key_id, scope) + claimed_headers(signed_headers) + signed


def claimed_credential(access_key_id: str, scope: str) -> str:
    """The part of `authorization` that names the key, the same for all requests of a day."""
    return f"{ALGORITHM} Credential={access_key_id}/{scope}, "


def claimed_headers(signed_headers: str) -> str:
    """The part of `authorization` that names the headers, up to the signature."""
    return f"SignedHeaders={signed_headers}, Signature="
