"""Multipart uploads into the object store, as S3's clients make them of larger bodies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from hashlib import md5
from typing import TYPE_CHECKING
from uuid import uuid4

import attrs

from aiosmrt.local._s3.documents import S3Refusal, slow_down
from aiosmrt.local._s3.store import Location, ObjectStore, StoredObject, join_aside

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["MultipartUploads"]

# S3's own limit of parts.
_MAX_PARTS = 10_000
_PART_NUMBER = re.compile(r"[0-9]{1,5}")
# Uploads under way at once; S3 has no such limit, but this is memory.
_MAX_UPLOADS = 1_000


@attrs.define
class _Upload:
    location: Location
    content_type: str | None
    metadata: Mapping[str, str]
    parts: dict[int, tuple[str, bytes]]


class MultipartUploads:
    """Uploads that are not complete yet; the object appears when one is completed."""

    def __init__(self, store: ObjectStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._uploads: dict[str, _Upload] = {}

    def create(
        self, location: Location, content_type: str | None, metadata: Mapping[str, str]
    ) -> str:
        """Begins an upload; returns its id.

        Raises:
            S3Refusal: Too many are under way.
        """
        if len(self._uploads) >= _MAX_UPLOADS:
            raise slow_down()
        upload_id = uuid4().hex
        self._uploads[upload_id] = _Upload(location, content_type, metadata, {})
        return upload_id

    def put_part(
        self, location: Location, upload_id: str, number: str, body: bytes, etag: str
    ) -> None:
        """Keeps a part, over an older one of its number.

        Raises:
            S3Refusal: There is no such upload, or the number is not 1 to 10000.
            StoreFullError: There is no room for it.
        """
        upload = self._find(location, upload_id)
        if not _PART_NUMBER.fullmatch(number) or not 1 <= int(number) <= _MAX_PARTS:
            raise S3Refusal(
                "InvalidArgument", "Part number must be an integer between 1 and 10000", 400
            )
        older = upload.parts.get(int(number))
        self._store.reserve(len(body) - (len(older[1]) if older else 0))
        upload.parts[int(number)] = (etag.strip('"'), body)

    async def complete(
        self, location: Location, upload_id: str, named: list[tuple[int, str]]
    ) -> StoredObject:
        """Makes the object of the parts that are named, by their numbers and entity tags.

        Raises:
            S3Refusal: There is no such upload, or the parts are not those uploaded.
        """
        upload = self._find(location, upload_id)
        if [number for number, _ in named] != sorted({number for number, _ in named}):
            raise S3Refusal(
                "InvalidPartOrder", "The list of parts was not in ascending order.", 400
            )
        if not named or any(
            number not in upload.parts or upload.parts[number][0] != etag for number, etag in named
        ):
            raise S3Refusal(
                "InvalidPart", "One or more of the specified parts could not be found.", 400
            )
        body = await join_aside([upload.parts[number][1] for number, _ in named])
        tags = b"".join([bytes.fromhex(etag) for _, etag in named])
        digest = md5(tags, usedforsecurity=False).hexdigest()
        self.abort(location, upload_id)  # unless it was ended meanwhile
        return self._store.put(
            location,
            body,
            now=self._clock(),
            content_type=upload.content_type,
            metadata=upload.metadata,
            etag=f'"{digest}-{len(named)}"',
        )

    def abort(self, location: Location, upload_id: str) -> None:
        """Forgets an upload.

        Raises:
            S3Refusal: There is no such upload.
        """
        upload = self._find(location, upload_id)
        del self._uploads[upload_id]
        self._store.reserve(-sum([len(body) for _, body in upload.parts.values()]))

    def _find(self, location: Location, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.location != location:
            raise S3Refusal(
                "NoSuchUpload",
                "The specified upload does not exist. The upload ID may be invalid, or the "
                "upload may have been aborted or completed.",
                404,
            )
        return upload
