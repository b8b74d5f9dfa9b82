"""Whether a request is signed by someone the local endpoint knows."""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING

from aiosmrt.local._verification import ReceivedRequest, verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from aiosmrt._aws.credentials import Credentials

__all__ = ["SignatureCheck"]

# SageMaker Runtime allows 5 minutes between the clocks, S3 15.
_MAX_SKEW_SECONDS = {"sagemaker": 300, "s3": 900}
# Past this a body is hashed in a thread, so that the others' parts are not held up.
_HASHED_HERE = 262_144


class SignatureCheck:
    """Checks signatures for a region, by the credentials that it is given."""

    def __init__(
        self, region: str, clock: Callable[[], datetime], credentials: Credentials
    ) -> None:
        self._region = region
        self._clock = clock
        self._credentials = {credentials.access_key_id: credentials}

    def accept(self, credentials: Credentials) -> None:
        """Takes signatures of these credentials from now on, in place of others of that key id."""
        self._credentials[credentials.access_key_id] = credentials

    async def check(
        self,
        service: str,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]],
        body: bytes,
    ) -> None:
        """Checks one request, its target as on the wire, for ``sagemaker`` or ``s3``.

        Raises:
            SignatureRefused: What the service would answer.
        """
        if len(body) <= _HASHED_HERE:
            payload_hash = sha256(body).hexdigest()
        else:
            payload_hash = (await asyncio.to_thread(sha256, body)).hexdigest()
        raw_path, _, raw_query = target.partition("?")
        verify(
            ReceivedRequest(
                method=method,
                raw_path=raw_path,
                raw_query=raw_query,
                headers=headers,
                payload_hash=payload_hash,
            ),
            lookup=self._credentials.get,
            region=self._region,
            service=service,
            now=self._clock(),
            max_skew_seconds=_MAX_SKEW_SECONDS[service],
        )
