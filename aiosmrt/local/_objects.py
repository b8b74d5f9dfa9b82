"""Where async inferences read inputs and write results: the local store, or an S3 elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

import attrs

from aiosmrt._threads import Late, Threads
from aiosmrt.errors import AiosmrtError
from aiosmrt.local._s3.store import Location, ObjectStore, StoreFullError, entity_tag_aside

if TYPE_CHECKING:
    from aiosmrt._aws.credentials import Credentials, CredentialsProvider
    from aiosmrt._aws.signer import SigV4Signer
    from aiosmrt._s3.locations import S3Location

__all__ = ["LocalObjects", "Objects", "ObjectsError", "RemoteObjects"]


# The service's limit of an input.
_MAX_INPUT_LENGTH = 1_073_741_824


class ObjectsError(Exception):
    """An object could not be read or written; its text says why."""


class Objects(Protocol):
    """Inputs and results of async inferences."""

    async def read(self, uri: str) -> bytes:
        """Reads an input.

        Raises:
            ObjectsError: It cannot be read.
        """
        ...

    async def write(self, uri: str, body: bytes, content_type: str | None) -> None:
        """Writes a result.

        Raises:
            ObjectsError: It cannot be written.
        """
        ...

    async def aclose(self) -> None:
        """Frees what it holds."""
        ...


@attrs.frozen
class LocalObjects:
    """The local endpoint's own store; the clock dates what is written."""

    store: ObjectStore
    clock: Callable[[], datetime]

    async def read(self, uri: str) -> bytes:
        """Reads an input.

        Raises:
            ObjectsError: There is none.
        """
        try:
            return self.store.get(Location.parse(uri)).body
        except (KeyError, ValueError) as error:
            raise ObjectsError(str(error.args[0])) from error

    async def write(self, uri: str, body: bytes, content_type: str | None) -> None:
        """Writes a result.

        Raises:
            ObjectsError: The store is full.
        """
        etag = await entity_tag_aside(body)
        try:
            self.store.put(
                Location.parse(uri),
                body,
                now=self.clock(),
                content_type=content_type,
                etag=etag,
            )
        except StoreFullError as error:
            raise ObjectsError(str(error)) from error

    async def aclose(self) -> None:
        """Nothing is held."""


class RemoteObjects:
    """An S3 elsewhere.

    Without credentials it takes those of the default chain.

    Raises:
        ConfigurationError: The URL, or a setting of the environment, is malformed.
    """

    def __init__(
        self,
        region: str,
        endpoint_url: str,
        credentials: Credentials | CredentialsProvider | None,
    ) -> None:
        # What a client needs, which a server without a remote S3 does not load.
        from aiosmrt._aws.chain import choose_provider
        from aiosmrt._aws.config import resolve_config
        from aiosmrt._protocol.models import Timeouts
        from aiosmrt._s3.channel import S3Channel
        from aiosmrt._s3.locations import S3Location
        from aiosmrt._s3.object_store import ObjectStore

        config = resolve_config(region=region, s3_endpoint_url=endpoint_url)
        provider = choose_provider(credentials, config)
        self._provider = provider
        self._location = S3Location
        self._threads = threads = Threads()
        signer = Late(threads, partial(_make_signer, config.region))
        self._store = ObjectStore(
            S3Channel(
                config,
                provider,
                get_signer=signer.get,
                timeouts=Timeouts(),
                proxy=None,
                tls=config.ca_bundle or True,
                user_agent="aiosmrt-local",
                threads=threads,
            )
        )

    async def read(self, uri: str) -> bytes:
        """Reads an input.

        Raises:
            ObjectsError: S3 refused, or was not reached, or it is longer than the service takes.
        """
        try:
            found = await self._store.get(self._locate(uri), purpose="download")
            if found.size > _MAX_INPUT_LENGTH:
                found.close()
                raise ObjectsError(f"the input at {uri} is longer than {_MAX_INPUT_LENGTH} bytes")
            return await found.read()
        except (AiosmrtError, ValueError) as error:
            raise ObjectsError(str(error)) from error

    async def write(self, uri: str, body: bytes, content_type: str | None) -> None:
        """Writes a result.

        Raises:
            ObjectsError: S3 refused, or was not reached.
        """
        try:
            await self._store.put(self._locate(uri), body, content_type=content_type)
        except (AiosmrtError, ValueError) as error:
            raise ObjectsError(str(error)) from error

    def _locate(self, uri: str) -> S3Location:
        # In the https form the caller can percent-encode anything into the bucket's name, which
        # becomes part of a signed request.
        return self._location.parse(str(Location.parse(uri)), "location")

    async def aclose(self) -> None:
        """Drops the connections, and ends a fetch of credentials in the background."""
        self._threads.close()
        await self._store.aclose()
        await self._provider.aclose()


def _make_signer(region: str) -> SigV4Signer:
    from aiosmrt._aws.signer import SigV4Signer  # its import takes long: see there

    return SigV4Signer(None, None, "", region, "s3")
