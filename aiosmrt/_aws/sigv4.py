"""The stages of AWS Signature Version 4 as pure functions.

They follow "Create a signed AWS API request" of the IAM User Guide, and AWS's own test
suite (awslabs/aws-c-auth). ``signer.py`` signs with them, and the local endpoint
recomputes with them what others signed. Nothing here reads a clock.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from aiosmrt._aws.canonical import octets

__all__ = [
    "ALGORITHM",
    "TERMINATOR",
    "authorization",
    "credential_scope",
    "keyed_mac",
    "signature",
    "signing_key",
    "string_to_sign",
]

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"


def credential_scope(date: str, region: str, service: str) -> str:
    """What a signature holds for: the date (``YYYYMMDD``), the region and the service."""
    return f"{date}/{region}/{service}/{TERMINATOR}"


def string_to_sign(timestamp: str, scope: str, canonical: str) -> str:
    """The second stage.

    Args:
        timestamp: The time of the request, ``YYYYMMDDTHHMMSSZ``.
        scope: What `credential_scope` returned.
        canonical: What `canonical_request` returned.
    """
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(octets(canonical)).hexdigest()}"


def signing_key(secret_access_key: str, date: str, region: str, service: str) -> bytes:
    """Derives the key that signs on one date (``YYYYMMDD``, UTC) in one region and service."""
    key = b"AWS4" + octets(secret_access_key)
    for part in (date, region, service, TERMINATOR):
        key = hmac.digest(key, octets(part), "sha256")
    return key


def keyed_mac(key: bytes) -> hmac.HMAC:
    """Prepares a signing key for `signature`: its set-up takes longer than a signature."""
    return hmac.new(key, digestmod=sha256)


def signature(mac: hmac.HMAC, text: str) -> str:
    """The third stage: the signature of a string to sign, in hex.

    Args:
        mac: What `keyed_mac` returned; it is copied, never changed.
        text: What `string_to_sign` returned.
    """
    mac = mac.copy()
    mac.update(octets(text))
    return mac.hexdigest()


def authorization(access_key_id: str, scope: str, signed_headers: str, signed: str) -> str:
    """The last stage: the value of the ``Authorization`` header."""
    return (
        f"{ALGORITHM} Credential={access_key_id}/{scope}, "
        f"SignedHeaders={signed_headers}, Signature={signed}"
    )
