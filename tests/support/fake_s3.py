"""An S3 that refuses, redirects, stalls and breaks off on demand; moto does none of these.

What it answers is what the S3 API Reference tells ("Error responses", GetObject's
"Permissions", ListObjectsV2) and what S3 was seen to send. Path style, any bucket; and AWS's
hosts of buckets, for clients that a proxy leads here.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import re
from collections import Counter
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote_plus, unquote
from xml.sax.saxutils import escape

from aiohttp import web
from support.sessions import TEMPORARY

from aiosmrt import Session
from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.result_poller import ResultPoller
from aiosmrt._threads import Threads
from aiosmrt._transport import Lifetime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager
    from ssl import SSLContext

    from typing_extensions import Self

    from aiosmrt._s3.object_store import ObjectStore
    from aiosmrt._transport import Clock

MODIFIED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
PAGE = 1000


class Seen(NamedTuple):
    operation: str
    bucket: str
    key: str  # the prefix, of a listing
    region: str  # that the request was signed for, empty for an unsigned one
    token: str


class Stored(NamedTuple):
    body: bytes
    content_type: str = "binary/octet-stream"

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body).hexdigest()}"'  # noqa: S324 - S3's


class S3Session(Session):
    """A session whose way to S3 can be used by itself."""

    @property
    def poller(self) -> ResultPoller:
        """What it waits for results with; its store reads and writes objects."""
        return self._poller


class FakeS3:
    """Attributes that a test sets: what the caller may do, and what else is wrong."""

    def __init__(self, ssl: SSLContext | None = None) -> None:
        self._ssl = ssl
        self.objects: dict[tuple[str, str], Stored] = {}
        self.modified: dict[tuple[str, str], datetime] = {}  # else MODIFIED
        self.heeds_modified_since = True
        self.seen: list[Seen] = []
        self.parts: dict[str, dict[int, bytes]] = {}
        self._uploads = itertools.count()
        self.may_list = True
        self.may_read = True
        self.explains = False  # whether a 403 names the action, as S3 does since 2024
        self.buckets: set[str] | None = None  # None for any
        self.region = "us-east-1"
        self.names_region = False  # in the answer's body rather than in a header
        self.hides_region = False  # from all who do not ask for the bucket (HeadBucket)
        self.token = TEMPORARY.session_token
        # Asked first; what it returns is the answer.
        self.hook: Callable[[Seen, web.Request], Awaitable[web.StreamResponse | None]] | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        self._listening = await asyncio.get_running_loop().create_server(
            self._server, "127.0.0.1", 0, ssl=self._ssl
        )
        scheme = "http" if self._ssl is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._listening.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        # aiohttp knows no connection whose TLS handshake still runs. The loop's server counts
        # these too, if asked before it closes.
        ended = asyncio.ensure_future(self._listening.wait_closed())
        await asyncio.sleep(0)
        self._listening.close()
        while not ended.done():
            self._server.pre_shutdown()
            await self._server.shutdown(1)
            await asyncio.wait({ended}, timeout=0.01)
        await ended

    def session(self, **keywords: object) -> S3Session:
        given = {"region": "us-east-1", "s3_endpoint_url": self.url, "credentials": TEMPORARY}
        return S3Session(**(given | keywords))

    def poller(
        self, get_clock: Callable[[], Clock], **keywords: object
    ) -> AbstractAsyncContextManager[ResultPoller]:
        """What a session waits for results with, by a clock of the test's own."""
        return poller_of(self.session(**keywords), get_clock)

    def store(self, **keywords: object) -> AbstractAsyncContextManager[ObjectStore]:
        """What a session reads and writes objects with."""
        return store_of(self.session(**keywords))

    def put(
        self,
        uri: str,
        body: bytes | str,
        content_type: str = "text/plain",
        modified: datetime = MODIFIED,
    ) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        data = body.encode() if isinstance(body, str) else body
        self.objects[bucket, key] = Stored(data, content_type)
        self.modified[bucket, key] = modified

    @property
    def counts(self) -> Counter[str]:
        return Counter(seen.operation for seen in self.seen)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.raw_path.partition("?")[0])
        if ".s3." in request.host:  # a host of the bucket's own
            path = f"/{request.host.partition('.s3.')[0]}{path}"
        _, bucket, key = f"{path}/".split("/", 2)
        key = key.removesuffix("/") if not path.endswith("/") else key[:-1]
        query = request.query
        operation = {"GET": "GetObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(
            request.method, request.method
        )
        if "list-type" in query:
            operation, key = "ListObjectsV2", query.get("prefix", "")
        elif request.method == "HEAD":
            operation = "HeadObject" if key else "HeadBucket"
        elif "uploads" in query:
            operation = "CreateMultipartUpload"
        elif "uploadId" in query:
            operation = {
                "PUT": "UploadPart",
                "POST": "CompleteMultipartUpload",
                "DELETE": "AbortMultipartUpload",
            }[request.method]
        scope = re.search(
            r"Credential=[^/]+/\d+/([^/]+)/s3/", request.headers.get("Authorization", "")
        )
        seen = Seen(
            operation,
            bucket,
            key,
            scope[1] if scope else "",
            request.headers.get("x-amz-security-token", ""),
        )
        self.seen.append(seen)
        if self.hook is not None and (answer := await self.hook(seen, request)) is not None:
            return answer
        return self._check(seen) or await self._answer(seen, request)

    def _check(self, seen: Seen) -> web.Response | None:
        if seen.operation == "HeadBucket":
            return web.Response(status=403, headers={"x-amz-bucket-region": self.region})
        if seen.token != self.token:
            return refusal(400, "ExpiredToken", "The provided token has expired.")
        if seen.region != self.region:
            if self.names_region:
                return refusal(
                    400,
                    "AuthorizationHeaderMalformed",
                    f"The authorization header is malformed; the region '{seen.region}' is wrong; "
                    f"expecting '{self.region}'",
                    Region=self.region,
                )
            moved = refusal(301, "PermanentRedirect", "The bucket must be addressed elsewhere.")
            if not self.hides_region:
                moved.headers["x-amz-bucket-region"] = self.region
            return moved
        if self.buckets is not None and seen.bucket not in self.buckets:
            return refusal(404, "NoSuchBucket", "The specified bucket does not exist")
        return None

    async def _answer(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        if seen.operation == "ListObjectsV2":
            return self._list(seen, request) if self.may_list else self._denied("s3:ListBucket")
        if seen.operation == "GetObject":
            return self._get(seen, request)
        body = await request.content.read()
        at = (seen.bucket, seen.key)
        content_type = request.headers.get("Content-Type", "binary/octet-stream")
        if seen.operation == "PutObject":
            self.objects[at] = Stored(body, content_type)
            return web.Response(headers={"ETag": self.objects[at].etag})
        if seen.operation == "CreateMultipartUpload":
            upload_id = f"{content_type}#{next(self._uploads)}"
            self.parts[upload_id] = {}
            return document(
                "<InitiateMultipartUploadResult><UploadId>"
                f"{upload_id}</UploadId></InitiateMultipartUploadResult>"
            )
        upload_id = request.query["uploadId"]
        if seen.operation == "UploadPart":
            self.parts[upload_id][int(request.query["partNumber"])] = body
            return web.Response(headers={"ETag": f'"{len(body)}"'})
        parts = self.parts.pop(upload_id)
        if seen.operation == "AbortMultipartUpload":
            return web.Response(status=204)
        whole = b"".join(part for _, part in sorted(parts.items()))
        self.objects[at] = Stored(whole, upload_id.partition("#")[0])
        return document(
            "<CompleteMultipartUploadResult><ETag>&quot;1&quot;</ETag>"
            "</CompleteMultipartUploadResult>"
        )

    def _denied(self, action: str) -> web.Response:
        said = "Access Denied"
        if self.explains:
            said = (
                f"User: arn:aws:iam::1:user/u is not authorized to perform: {action} on resource: "
                '"arn:aws:s3:::b" because no identity-based policy allows the action'
            )
        return refusal(403, "AccessDenied", said)

    def _get(self, seen: Seen, request: web.Request) -> web.StreamResponse:
        if not self.may_read:
            return self._denied("s3:GetObject")
        stored = self.objects.get((seen.bucket, seen.key))
        if stored is None:
            if not self.may_list:
                return self._denied("s3:ListBucket")
            return refusal(404, "NoSuchKey", "The specified key does not exist.")
        if request.headers.get("If-Match", stored.etag) != stored.etag:
            return refusal(412, "PreconditionFailed", "At least one of the pre-conditions failed")
        modified = self.modified.get((seen.bucket, seen.key), MODIFIED)
        since = request.headers.get("If-Modified-Since")
        if self.heeds_modified_since and since and modified <= parsedate_to_datetime(since):
            return web.Response(status=304, headers={"ETag": stored.etag})
        headers = {
            "Content-Type": stored.content_type,
            "ETag": stored.etag,
            "Last-Modified": format_datetime(modified, usegmt=True),
        }
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if wanted is None:
            return web.Response(body=stored.body, headers=headers)
        length = len(stored.body)
        start, end = int(wanted[1]), int(wanted[2] or length - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{length}"
        return web.Response(status=206, body=stored.body[start : end + 1], headers=headers)

    def _list(self, seen: Seen, request: web.Request) -> web.Response:
        after = request.query.get("start-after", "")
        names = sorted(
            (key for bucket, key in self.objects if bucket == seen.bucket),
            key=str.encode,
        )
        found = [name for name in names if name.startswith(seen.key) and name > after]
        encoded = request.query.get("encoding-type") == "url"
        shown = quote_plus if encoded else escape
        modified = {name: self.modified.get((seen.bucket, name), MODIFIED) for name in found}
        contents = "".join(
            f"<Contents><Key>{shown(name)}</Key><Size>1</Size>"
            f"<LastModified>{modified[name]:%Y-%m-%dT%H:%M:%S.000Z}</LastModified></Contents>"
            for name in found[:PAGE]
        )
        more = "<NextContinuationToken>next</NextContinuationToken>" if len(found) > PAGE else ""
        encoding = "<EncodingType>url</EncodingType>" if encoded else ""
        return document(f"<ListBucketResult>{encoding}{contents}{more}</ListBucketResult>")


@asynccontextmanager
async def store_of(session: S3Session) -> AsyncIterator[ObjectStore]:
    """What a session reads and writes objects with, and its end."""
    async with session:
        yield session.poller.store


@asynccontextmanager
async def poller_of(
    session: S3Session, get_clock: Callable[[], Clock]
) -> AsyncIterator[ResultPoller]:
    """What a session waits for results with, by a clock of the test's own; and its end."""
    threads, lifetime = Threads(), Lifetime("s3", get_clock)
    async with store_of(session) as store:
        poller = ResultPoller(store, lifetime.wait_for, threads, get_clock)
        try:
            yield poller
        finally:
            lifetime.close()
            await poller.aclose()
            threads.close()


def document(text: str) -> web.Response:
    return web.Response(
        body=f'<?xml version="1.0"?>{text}'.encode(), content_type="application/xml"
    )


def refusal(status: int, code: str, message: str, **more: str) -> web.Response:
    """S3's error document; its request id is REQUEST1."""
    elements = {"Code": code, "Message": message, **more, "RequestId": "REQUEST1"}
    text = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    return web.Response(
        status=status, body=f"<Error>{text}</Error>".encode(), content_type="application/xml"
    )


async def cut_off(
    request: web.Request, stored: Stored, sent: int, *, hold: asyncio.Event | None = None
) -> web.StreamResponse:
    """Announces all of an object and sends its first bytes, then breaks the connection.

    With ``hold`` it sets that and waits for ever instead.
    """
    response = await begin(request, len(stored.body), stored.etag)
    await response.write(stored.body[:sent])
    if hold is not None:
        hold.set()
        await asyncio.Event().wait()
    assert request.transport is not None
    request.transport.close()
    return response


async def repeat(request: web.Request, block: bytes, times: int) -> web.StreamResponse:
    """An object made of one block over and over."""
    response = await begin(request, len(block) * times, '"1"')
    for _ in range(times):
        await response.write(block)
    return response


async def begin(request: web.Request, length: int, etag: str) -> web.StreamResponse:
    """Sends the head of an object."""
    response = web.StreamResponse(
        headers={
            "Content-Length": str(length),
            "ETag": etag,
            "Last-Modified": format_datetime(MODIFIED, usegmt=True),
        }
    )
    await response.prepare(request)
    return response


async def never(seen: Seen, request: web.Request) -> None:
    """A hook that does not answer."""
    await asyncio.Event().wait()


def at(uri: str) -> S3Location:
    return S3Location.parse(uri, "uri")


async def read(store: ObjectStore, uri: str) -> bytes:
    return await (await store.get(at(uri))).read()


async def keys(store: ObjectStore, directory: S3Location, after: str = "") -> list[str]:
    return [key for key, _ in await store.list_page(directory, after)]
