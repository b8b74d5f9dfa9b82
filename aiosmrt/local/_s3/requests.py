"""S3 over the object store: path style, as much of it as async inference needs.

GetObject (with ranges), HeadObject, PutObject, DeleteObject, DeleteObjects,
ListObjectsV2, multipart uploads, and a HeadBucket and CreateBucket that always
succeed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

import attrs
from aiohttp import web
from multidict import CIMultiDictProxy

from aiosmrt._protocol.http_dates import parse_http_date
from aiosmrt.local._s3.aws_chunked import decode_aws_chunked
from aiosmrt.local._s3.documents import (
    S3Refusal,
    completed_upload,
    created_upload,
    deleted_objects,
    list_objects,
    read_completion,
    read_deletion,
)
from aiosmrt.local._s3.multipart import MultipartUploads
from aiosmrt.local._s3.store import (
    Location,
    ObjectStore,
    StoredObject,
    StoreFullError,
    entity_tag_aside,
)

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["S3_OPERATIONS", "ObjectStoreApi", "S3Request"]

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")
# Past this a body goes out in pieces as the reader takes them, not at once.
_PIECE_LENGTH = 262_144
# Past this one that came in frames is taken out of them in a thread.
_DECODED_HERE = 1_048_576

# The first that fits: the method, what it asks of, a query parameter that must be there.
_OPERATIONS = {
    ("GET", "object", ""): "GetObject",
    ("HEAD", "object", ""): "HeadObject",
    ("PUT", "object", "uploadId"): "UploadPart",
    ("PUT", "object", ""): "PutObject",
    ("DELETE", "object", "uploadId"): "AbortMultipartUpload",
    ("DELETE", "object", ""): "DeleteObject",
    ("POST", "object", "uploads"): "CreateMultipartUpload",
    ("POST", "object", "uploadId"): "CompleteMultipartUpload",
    ("GET", "bucket", "list-type"): "ListObjectsV2",
    ("HEAD", "bucket", ""): "HeadBucket",
    ("PUT", "bucket", ""): "CreateBucket",
    ("POST", "bucket", "delete"): "DeleteObjects",
}
# Any other query parameter asks for something else: ?tagging of an object is not its body.
_PARAMETERS = frozenset(
    {
        "continuation-token",
        "delete",
        "delimiter",
        "encoding-type",
        "fetch-owner",
        "list-type",
        "max-keys",
        "partNumber",
        "prefix",
        "start-after",
        "uploadId",
        "uploads",
        "x-id",  # the operation's name, which some SDKs add
    }
)
# How the headers begin that an object is put with and got with, beside Content-Encoding.
_METADATA = ("x-amz-meta-", "cache-control", "content-disposition", "content-language", "expires")
S3_OPERATIONS = frozenset(_OPERATIONS.values())
"""S3's names of what this store does."""


@attrs.frozen(kw_only=True)
class S3Request:
    """A request to the object store.

    Attributes:
        method: The HTTP method.
        bucket: The bucket's name; empty for a request to no bucket.
        key: The object's key; empty for a request to a bucket.
        query: The query's parameters, decoded.
        headers: The request's headers.
    """

    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: CIMultiDictProxy[str] = attrs.field(repr=False)

    @classmethod
    def of(
        cls, method: str, raw_path: str, raw_query: str, headers: CIMultiDictProxy[str]
    ) -> S3Request:
        """Reads a request's head, its path and query as they were on the wire."""
        # What is not UTF-8 becomes U+FFFD, and names an object that is not there.
        bucket, _, key = unquote(raw_path.removeprefix("/")).partition("/")
        query = dict(parse_qsl(raw_query, keep_blank_values=True))
        return cls(method=method, bucket=bucket, key=key, query=query, headers=headers)

    @property
    def location(self) -> Location:
        """The object's location."""
        return Location(self.bucket, self.key)

    @property
    def operation(self) -> str:
        """S3's name of what is asked for; the HTTP method where this store has none."""
        if not _PARAMETERS.issuperset(self.query):
            return self.method
        asked = "object" if self.key else "bucket" if self.bucket else "service"
        for (method, of, parameter), name in _OPERATIONS.items():
            if method == self.method and of == asked and (not parameter or parameter in self.query):
                return name
        return self.method


class ObjectStoreApi:
    """Answers S3 requests, once their signature has been checked."""

    def __init__(self, store: ObjectStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._uploads = MultipartUploads(store, clock)
        self._methods = {
            "GetObject": self._get_object,
            "HeadObject": self._get_object,
            "PutObject": self._put_object,
            "DeleteObject": self._delete_object,
            "DeleteObjects": self._delete_objects,
            "ListObjectsV2": self._list_objects,
            "HeadBucket": self._bucket,
            "CreateBucket": self._bucket,
            "CreateMultipartUpload": self._create_upload,
            "UploadPart": self._upload_part,
            "CompleteMultipartUpload": self._complete_upload,
            "AbortMultipartUpload": self._abort_upload,
        }

    async def answer(self, request: S3Request, body: bytes) -> web.Response:
        """Answers one request, whose body is as it was on the wire.

        Raises:
            S3Refusal: S3's error.
        """
        method = self._methods.get(request.operation)
        if method is None or "x-amz-copy-source" in request.headers:
            raise S3Refusal(
                "NotImplemented",
                "The local object store implements what async inference needs, not this.",
                501,
            )
        try:
            return await method(request, await _content(request.headers, body))
        except StoreFullError as error:
            raise S3Refusal("EntityTooLarge", str(error), 400) from error

    async def _get_object(self, request: S3Request, _: bytes) -> web.Response:
        stored = self._find(request)
        headers = {
            "Content-Type": stored.content_type,
            "ETag": stored.etag,
            "Last-Modified": format_datetime(stored.last_modified, usegmt=True),
            "Accept-Ranges": "bytes",
            **stored.metadata,
        }
        if request.headers.get("If-None-Match") in ("*", stored.etag):
            return web.Response(status=304, headers=headers)
        if request.headers.get("If-Match", "*") not in ("*", stored.etag):
            raise _precondition_failed()
        if "If-None-Match" not in request.headers:
            since = parse_http_date(request.headers.get("If-Modified-Since", ""))
            if since is not None and stored.last_modified.timestamp() <= since:
                return web.Response(status=304, headers=headers)
        length = len(stored.body)
        status, (start, end) = 200, (0, length)
        if wanted := _range(request.headers.get("Range"), length):
            status, (start, end) = 206, wanted
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
        headers["Content-Length"] = str(end - start)
        if request.method == "HEAD":
            return web.Response(status=status, headers=headers)
        return web.Response(status=status, headers=headers, body=_body(stored.body, start, end))

    async def _put_object(self, request: S3Request, body: bytes) -> web.Response:
        etag = await entity_tag_aside(body)
        if request.headers.get("If-None-Match") == "*" and request.location in self._store:
            raise _precondition_failed()
        wanted = request.headers.get("If-Match")
        if wanted is not None and wanted not in ("*", self._find(request).etag):
            raise _precondition_failed()
        self._store.put(
            request.location,
            body,
            now=self._clock(),
            content_type=request.headers.get("Content-Type"),
            metadata=_metadata(request.headers),
            etag=etag,
        )
        return web.Response(headers={"ETag": etag})

    async def _delete_object(self, request: S3Request, _: bytes) -> web.Response:
        self._store.delete(request.location)
        return web.Response(status=204)

    async def _delete_objects(self, request: S3Request, body: bytes) -> web.Response:
        keys, is_quiet = read_deletion(body)
        for key in keys:
            self._store.delete(Location(request.bucket, key))
        return _document(deleted_objects([] if is_quiet else keys))

    async def _list_objects(self, request: S3Request, _: bytes) -> web.Response:
        return _document(list_objects(self._store, request.bucket, request.query))

    async def _bucket(self, request: S3Request, _: bytes) -> web.Response:
        return web.Response(headers={"Location": f"/{quote(request.bucket)}"})

    async def _create_upload(self, request: S3Request, _: bytes) -> web.Response:
        upload_id = self._uploads.create(
            request.location, request.headers.get("Content-Type"), _metadata(request.headers)
        )
        return _document(created_upload(request.location, upload_id))

    async def _upload_part(self, request: S3Request, body: bytes) -> web.Response:
        etag = await entity_tag_aside(body)
        number = request.query.get("partNumber", "")
        self._uploads.put_part(request.location, request.query["uploadId"], number, body, etag)
        return web.Response(headers={"ETag": etag})

    async def _complete_upload(self, request: S3Request, body: bytes) -> web.Response:
        stored = await self._uploads.complete(
            request.location, request.query["uploadId"], read_completion(body)
        )
        return _document(completed_upload(request.location, stored.etag))

    async def _abort_upload(self, request: S3Request, _: bytes) -> web.Response:
        self._uploads.abort(request.location, request.query["uploadId"])
        return web.Response(status=204)

    def _find(self, request: S3Request) -> StoredObject:
        try:
            return self._store.get(request.location)
        except KeyError:
            raise S3Refusal("NoSuchKey", "The specified key does not exist.", 404) from None


def _document(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/xml")


def _precondition_failed() -> S3Refusal:
    return S3Refusal(
        "PreconditionFailed",
        "At least one of the pre-conditions you specified did not hold",
        412,
    )


async def _content(headers: CIMultiDictProxy[str], body: bytes) -> bytes:
    if not headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return body
    try:
        if len(body) <= _DECODED_HERE:
            return decode_aws_chunked(body)
        return await asyncio.to_thread(decode_aws_chunked, body)
    except ValueError:
        raise S3Refusal(
            "IncompleteBody",
            "You did not provide the number of bytes specified by the Content-Length HTTP header",
            400,
        ) from None


def _metadata(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for name, value in headers.items():
        kept = value
        if name.lower() == "content-encoding":
            # That of the request alone is not the object's.
            codings = [coding.strip() for coding in value.split(",")]
            kept = ",".join([coding for coding in codings if coding != "aws-chunked"])
        elif not name.lower().startswith(_METADATA):
            continue
        if kept:
            metadata[name] = kept
    return metadata


def _range(value: str | None, length: int) -> tuple[int, int] | None:
    """First and end of the bytes that a Range header wants; None for all of them.

    A header that makes no sense is ignored (RFC 9110, 14.2), several ranges too.

    Raises:
        S3Refusal: It begins behind the object's end.
    """
    found = _RANGE.fullmatch(value or "")
    if found is None:
        return None
    if found[3]:
        start, end = max(length - int(found[3]), 0), length
        satisfiable = int(found[3]) > 0 and length > 0
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, length) if found[2] else length
        satisfiable = start < length
        if found[2] and int(found[2]) < start:
            return None
    if not satisfiable:
        raise S3Refusal("InvalidRange", "The requested range is not satisfiable", 416)
    return start, end


def _body(body: bytes, start: int, end: int) -> bytes | AsyncIterator[memoryview]:
    return body[start:end] if end - start <= _PIECE_LENGTH else _pieces(body, start, end)


async def _pieces(body: bytes, start: int, end: int) -> AsyncIterator[memoryview]:
    view = memoryview(body)
    for at in range(start, end, _PIECE_LENGTH):
        yield view[at : min(at + _PIECE_LENGTH, end)]
