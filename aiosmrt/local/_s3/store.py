"""The object store behind the local endpoint's S3: buckets and objects in memory."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import md5
from types import MappingProxyType
from urllib.parse import unquote

import attrs

from aiosmrt.local._s3.ordered_keys import OrderedKeys

__all__ = [
    "Location",
    "ObjectStore",
    "StoreFullError",
    "StoredObject",
    "entity_tag",
    "entity_tag_aside",
    "join_aside",
]

# Past this a body is hashed in a thread, so that the others are not held up.
_HASHED_HERE = 262_144
# From here on a join lets other threads run.
_JOINED_HERE = 1_048_576

# https://BUCKET.s3.REGION.amazonaws.com/KEY and https://s3.REGION.amazonaws.com/BUCKET/KEY,
# with their older forms.
_S3_HOST = r"s3[.-](?:[a-z0-9-]+\.)*amazonaws\.com(?:\.cn)?"
_HTTPS = re.compile(rf"https://(?:(?P<bucket>[^/:]+)\.)?{_S3_HOST}(?::443)?/(?P<path>[^?#]+)")

_NO_METADATA: Mapping[str, str] = MappingProxyType({})


@attrs.frozen
class Location:
    """Where an object lies: its bucket, and its key, which may be any text."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Location:
        """Reads an S3 URI: ``s3://BUCKET/KEY``, or the https form of either style.

        Raises:
            ValueError: It is neither, or names no bucket or no key.
        """
        if uri.startswith("s3://"):
            # Not parsed as a URL: in a key, ?, # and % are characters like others.
            bucket, _, key = uri[5:].partition("/")
        else:
            found = _HTTPS.fullmatch(uri)
            path = unquote(found["path"]) if found else ""
            if found and found["bucket"]:
                bucket, key = found["bucket"], path
            else:
                bucket, _, key = path.partition("/")
        if not bucket or not key:
            raise ValueError(f"{uri!r} is not the URI of an object in S3: s3://BUCKET/KEY")
        return cls(bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@attrs.frozen(kw_only=True)
class StoredObject:
    """An object.

    Attributes:
        body: Its bytes.
        content_type: Its MIME type.
        etag: Its entity tag, quoted as on the wire.
        last_modified: When it was written, in UTC.
        metadata: The headers that it was put with and is got with: ``x-amz-meta-``,
            ``Content-Encoding`` and their like.
    """

    body: bytes = attrs.field(repr=False)
    content_type: str
    etag: str
    last_modified: datetime
    metadata: Mapping[str, str] = attrs.field(default=_NO_METADATA, repr=False)


def entity_tag(body: bytes) -> str:
    """The entity tag of a body put in one piece: its MD5, quoted. Nothing hangs on its strength."""
    return f'"{md5(body, usedforsecurity=False).hexdigest()}"'


async def entity_tag_aside(body: bytes) -> str:
    """The same, a long body's made in a thread."""
    if len(body) <= _HASHED_HERE:
        return entity_tag(body)
    return await asyncio.to_thread(entity_tag, body)


async def join_aside(pieces: Sequence[bytes]) -> bytes:
    """Pieces as one body, a long one made in a thread too."""
    if sum(map(len, pieces)) <= _JOINED_HERE:
        return b"".join(pieces)
    return await asyncio.to_thread(b"".join, pieces)


class StoreFullError(Exception):
    """The store has no room for an object of this size."""


@attrs.frozen(eq=False)
class _Bucket:
    objects: dict[str, StoredObject] = attrs.field(factory=dict[str, StoredObject])
    keys: OrderedKeys = attrs.field(factory=OrderedKeys)


class ObjectStore:
    """Objects by location, up to a number of bytes; buckets need no creation. Thread-safe."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._used = 0
        # The server's thread, and whoever calls put_object from another.
        self._lock = threading.RLock()
        self._buckets: dict[str, _Bucket] = {}

    def __contains__(self, location: Location) -> bool:
        return self._find(location) is not None

    def put(
        self,
        location: Location,
        body: bytes,
        *,
        now: datetime,
        content_type: str | None = None,
        metadata: Mapping[str, str] = _NO_METADATA,
        etag: str | None = None,
    ) -> StoredObject:
        """Writes an object, over an older one; without an entity tag it gets its MD5 as one.

        Raises:
            StoreFullError: There is no room for it.
        """
        stored = StoredObject(
            body=body,
            content_type=content_type or "binary/octet-stream",
            etag=etag or entity_tag(body),
            last_modified=now.replace(microsecond=0),
            metadata=metadata,
        )
        with self._lock:
            older = self._find(location)
            self.reserve(len(body) - (len(older.body) if older else 0))
            bucket = self._buckets.setdefault(location.bucket, _Bucket())
            bucket.objects[location.key] = stored
            if older is None:
                bucket.keys.add(location.key)
        return stored

    def reserve(self, length: int) -> None:
        """Takes room, of what is not an object yet too; a negative number gives it back.

        Raises:
            StoreFullError: There is not as much.
        """
        with self._lock:
            if self._used + length > self.capacity:
                raise StoreFullError(f"the local object store holds {self.capacity} bytes at most")
            self._used += length

    def _find(self, location: Location) -> StoredObject | None:
        bucket = self._buckets.get(location.bucket)
        return None if bucket is None else bucket.objects.get(location.key)

    def get(self, location: Location) -> StoredObject:
        """Reads an object.

        Raises:
            KeyError: There is none.
        """
        stored = self._find(location)
        if stored is None:
            raise KeyError(f"no object at {location} in the local endpoint's store")
        return stored

    def delete(self, location: Location) -> None:
        """Removes an object; to remove none is no error, as in S3."""
        with self._lock:
            stored = self._find(location)
            if stored is not None:
                bucket = self._buckets[location.bucket]
                del bucket.objects[location.key]
                bucket.keys.remove(location.key)
                self.reserve(-len(stored.body))

    def first_from(self, bucket: str, text: str) -> tuple[str, StoredObject] | None:
        """The first key that is not before a text, in S3's order, with its object; else None."""
        with self._lock:
            found = self._buckets.get(bucket)
            key = None if found is None else found.keys.first_from(text)
            return None if found is None or key is None else (key, found.objects[key])
