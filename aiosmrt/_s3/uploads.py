"""One upload: whole, or in parts of which S3 makes an object once all are there."""

from __future__ import annotations

import asyncio
import logging
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote

import attrs

from aiosmrt._s3.channel import Patience, S3Request, locate
from aiosmrt._s3.documents import DocumentReader, completion
from aiosmrt._s3.object_errors import is_absence
from aiosmrt.errors import AiosmrtError, TransportError

if TYPE_CHECKING:
    from aiosmrt._s3.channel import S3Channel
    from aiosmrt._s3.locations import S3Location
    from aiosmrt._s3.upload_parts import UploadParts

__all__ = ["Upload"]

_Headers: TypeAlias = "tuple[tuple[str, str], ...]"

_logger = logging.getLogger("aiosmrt")

_CONCURRENT_PARTS = 4
# SHA-256 of this much takes 0.2 to 0.6 ms: hashing more would hold the loop up.
_HASH_OFF_LOOP = 262_144
# How long an upload that failed or was cancelled may take to have its parts forgotten.
_GIVE_UP_SECONDS = 10.0


class Upload:
    """Writes one object.

    Args:
        channel: The way to S3.
        location: Where.
        headers: The object's headers, such as its MIME type.
    """

    def __init__(
        self,
        channel: S3Channel,
        location: S3Location,
        headers: _Headers,
    ) -> None:
        self._channel = channel
        # To a user all of it is one upload, whichever requests it takes.
        self._request = S3Request(
            operation="PutObject", method="PUT", location=location, path=location.path
        )
        self._headers = headers

    async def put(self, body: bytes | memoryview) -> None:
        """Writes it whole (PutObject)."""
        await self._send(body, headers=self._headers)

    async def put_parts(self, parts: UploadParts) -> None:
        """Writes it part by part (CreateMultipartUpload and those that follow)."""
        creating = asyncio.ensure_future(self._create())
        try:
            upload_id = await asyncio.shield(creating)
            etags = await self._put_each(upload_id, parts)
            await self._complete(upload_id, etags)
        except BaseException:
            await self._give_up(creating)
            raise

    async def _give_up(self, creating: asyncio.Future[str]) -> None:
        """Has S3 forget the parts, within some seconds."""

        async def abort() -> None:
            # A cancelled upload waits for the id: without it the parts cannot be named.
            await asyncio.wait([creating])
            if creating.exception() is None:
                await self._abort(creating.result())

        aborting = asyncio.ensure_future(abort())
        try:
            await asyncio.wait([aborting], timeout=_GIVE_UP_SECONDS)
        finally:
            aborting.cancel()
            creating.cancel()

    async def _send(
        self,
        body: bytes | memoryview,
        *,
        query: str = "",
        headers: _Headers = (),
    ) -> str | None:
        """Sends bytes, again where that fails in passing; returns their tag."""
        if len(body) < _HASH_OFF_LOOP:
            body_hash = _hash(body)
        else:
            body_hash = await self._channel.threads.run(_hash, body)
        request = attrs.evolve(
            self._request, query=query, headers=headers, body=body, body_hash=body_hash
        )
        exchange = await self._channel.ask_patiently(request)
        exchange.release()
        return exchange.headers.get("ETag")

    async def _create(self) -> str:
        request = attrs.evolve(
            self._request, method="POST", query="uploads=", headers=self._headers
        )
        document = await self._ask(request, "InitiateMultipartUploadResult", "UploadId")
        upload_id = document.first("UploadId")
        if not upload_id:
            raise self._fault("S3 named no upload id")
        return upload_id

    async def _put_each(self, upload_id: str, parts: UploadParts) -> list[str]:
        """Sends all parts, some at a time, each read when there is room for it."""
        etags: dict[int, str] = {}
        reading = asyncio.Lock()
        number = 0

        async def work() -> None:
            nonlocal number
            while True:
                async with reading:
                    part = await parts.read()
                    number += 1
                    own_number = number
                if not part:
                    return
                query = f"partNumber={own_number}&uploadId={quote(upload_id, safe='')}"
                etag = await self._send(part, query=query)
                if etag is None:
                    raise self._fault("S3 named no ETag of a part")
                etags[own_number] = etag

        workers = [asyncio.ensure_future(work()) for _ in range(_CONCURRENT_PARTS)]
        try:
            await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
            for worker in workers:
                if worker.done():
                    worker.result()
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
            for worker in workers:
                if not worker.cancelled():
                    worker.exception()  # retrieved, or the loop would report it
        return [etag for _, etag in sorted(etags.items())]

    async def _complete(self, upload_id: str, etags: list[str]) -> None:
        body = completion(etags)
        request = attrs.evolve(
            self._request,
            method="POST",
            query=f"uploadId={quote(upload_id, safe='')}",
            body=body,
            body_hash=_hash(body),
        )
        await self._ask(request, "CompleteMultipartUploadResult")

    async def _abort(self, upload_id: str) -> None:
        """Has S3 forget the parts, which are paid for, even after the session was closed."""
        channel = self._channel.apart()
        query = f"uploadId={quote(upload_id, safe='')}"
        request = attrs.evolve(self._request, method="DELETE", query=query)
        try:
            (await channel.ask_patiently(request)).release()
        except AiosmrtError as error:
            if is_absence(error):  # NoSuchUpload: S3 has none of its parts, or the whole object
                return
            _logger.warning("the parts of an upload stay in S3: %s", error)
        finally:
            await channel.aclose()

    async def _ask(self, request: S3Request, root: str, *paths: str) -> DocumentReader:
        """Asks for a document, again where that fails in passing."""
        patience = Patience(self._channel)
        while True:
            document = DocumentReader(*paths)
            try:
                await self._channel.ask_for_document(request, document, root=root)
            except AiosmrtError as error:
                await patience.wait(error)
            else:
                return document

    def _fault(self, text: str) -> TransportError:
        error = TransportError(text)
        locate(error, self._request)
        return error


def _hash(body: bytes | memoryview) -> str:
    return sha256(body).hexdigest()
