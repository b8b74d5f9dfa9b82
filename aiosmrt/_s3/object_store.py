"""S3's objects: read, listed and written over one channel."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args
from urllib.parse import quote, unquote_plus

import attrs

from aiosmrt._s3.channel import Patience, S3Channel, S3Request, locate
from aiosmrt._s3.documents import DocumentReader
from aiosmrt._s3.stored_object import EPOCH, StoredObject
from aiosmrt._s3.upload_parts import UploadParts
from aiosmrt._s3.uploads import Upload
from aiosmrt._transport import Slots
from aiosmrt.errors import ParameterValidationError, ServiceError, TransportError

if TYPE_CHECKING:
    import os

    from aiosmrt._s3.locations import S3Location
    from aiosmrt._transport import Exchange

__all__ = ["LIST_PAGE_LENGTH", "ObjectStore", "StoredObject"]

LIST_PAGE_LENGTH = 1000
"""The most keys that one ListObjectsV2 names."""

# Of each purpose: a look must not wait for uploads, nor a result for what is being saved.
CONCURRENT_REQUESTS = 64
# Of uploads in parts, each of which holds 30 MiB and more.
CONCURRENT_MULTIPART = 4
# S3 may send fewer keys than a page has, and say that more follow.
_MAX_SHORT_PAGES = 100
_HEADER_VALUE = re.compile(r"[!-~](?:[ -~]*[!-~])?")

_Page: TypeAlias = "list[tuple[str, datetime | None]]"
_Purpose: TypeAlias = Literal["list", "look", "read", "download", "upload"]


class ObjectStore:
    """S3 with a session's settings. It opens nothing before it is first used.

    Args:
        channel: The way to S3.
    """

    def __init__(self, channel: S3Channel) -> None:
        self._channel = channel
        self._slots: dict[_Purpose, Slots] = {
            purpose: Slots(CONCURRENT_REQUESTS) for purpose in get_args(_Purpose)
        }
        self._multipart = Slots(CONCURRENT_MULTIPART)

    def close(self) -> None:
        """Drops all connections at once; what is under way ends with a TransportError."""
        self._channel.close()

    async def aclose(self) -> None:
        """Drops all connections, and waits until they are closed. Idempotent."""
        await self._channel.aclose()

    async def get(
        self,
        location: S3Location,
        *,
        etag: str | None = None,
        modified_since: datetime | None = None,
        purpose: _Purpose = "look",
    ) -> StoredObject:
        """Asks for an object (GetObject), and returns when S3 begins to send it.

        Args:
            location: Which.
            etag: The version that it must be; None for whichever is there.
            modified_since: The full second from which on it must have been modified. An S3 that
                does not look at If-Modified-Since sends an older one.
            purpose: ``look``, or ``read`` for what is there, for one request; ``download`` to
                try again what fails, and to go on where a connection broke. Of each purpose
                so many objects at most are open at once; others wait until one is read.

        Returns:
            The object, its bytes not yet read.

        Raises:
            ServiceError: S3 refused; 404 with the code NoSuchKey where it is not there, 304
                where it is older than ``modified_since``.
            TransportError: S3 did not answer.
            CredentialsError: There are no credentials.
        """
        channel, slots = self._channel, self._slots[purpose]
        headers: list[tuple[str, str]] = []
        if modified_since is not None and modified_since > EPOCH:
            # S3 sends what was modified after this second, not in it.
            since = (modified_since - timedelta(seconds=1)).astimezone(timezone.utc)
            headers.append(("If-Modified-Since", format_datetime(since, usegmt=True)))
        request = _get_request(location, etag, *headers)
        await slots.take_one()
        try:
            if purpose == "download":
                exchange = await channel.ask_patiently(request)
            else:
                exchange = await channel.ask(request)
            _check_whole(exchange, request)
        except BaseException:
            slots.give()
            raise
        size, tag = int(exchange.headers["Content-Length"]), exchange.headers.get("ETag")

        async def go_on(at: int) -> Exchange | None:
            return await self._get_rest(location, tag, at=at, size=size)

        return StoredObject(
            location,
            exchange,
            idle=channel.timeouts.idle,
            patience=Patience(channel),
            threads=channel.threads,
            go_on=go_on if purpose == "download" and tag and not _is_weak(tag) else None,
            closed=slots.give,
        )

    async def _get_rest(
        self, location: S3Location, etag: str | None, *, at: int, size: int
    ) -> Exchange | None:
        """Asks for an object from a byte on; returns None where that version is not there."""
        request = _get_request(location, etag, ("Range", f"bytes={at}-"))
        try:
            exchange = await self._channel.ask(request)
        except ServiceError as error:
            if error.status_code == 412:
                return None
            raise
        headers = exchange.headers
        wanted = f"bytes {at}-{size - 1}/{size}"
        if (
            exchange.status_code != 206
            or headers.get("Content-Range") != wanted
            or headers.get("Content-Length") != str(size - at)
            or headers.get("ETag") != etag
        ):
            exchange.close()
            return None
        return exchange

    async def list_page(self, directory: S3Location, after: str) -> _Page:
        """Lists keys (ListObjectsV2), those in directories below included.

        Args:
            directory: A prefix that ends with ``/``, or a whole bucket.
            after: The key behind which the page begins.

        Returns:
            Some `LIST_PAGE_LENGTH` keys in S3's order, and when each was last modified; fewer
            are the last ones.

        Raises:
            ServiceError: S3 refused.
            TransportError: S3 did not answer, or not with a listing.
            CredentialsError: There are no credentials.
        """
        query = f"encoding-type=url&list-type=2&max-keys={LIST_PAGE_LENGTH}"
        query += f"&prefix={_quoted(directory.key)}"
        if after:
            query += f"&start-after={_quoted(after)}"
        request = S3Request(
            operation="ListObjectsV2", method="GET", location=directory, path="", query=query
        )
        entries: _Page = []
        async with self._slots["list"]:
            for _ in range(_MAX_SHORT_PAGES):
                page = _ListingReader()
                await self._channel.ask_for_document(request, page, root="ListBucketResult")
                entries += page.entries()
                token = page.first("NextContinuationToken")
                if token is None or len(entries) >= LIST_PAGE_LENGTH:
                    return entries
                more = f"{query}&continuation-token={_quoted(token)}"
                request = attrs.evolve(request, query=more)
        error = TransportError(
            f"S3 named {len(entries)} keys in {_MAX_SHORT_PAGES} pages, and says that more follow"
        )
        locate(error, request)
        raise error

    async def put(
        self,
        location: S3Location,
        body: bytes | bytearray | memoryview | os.PathLike[str],
        *,
        content_type: str | None,
    ) -> None:
        """Writes an object: a longer one part by part, as it is read from the disk.

        Nobody sees it before it is whole, and four go in parts at a time. What fails is tried
        again part by part; when that fails too, or the task is cancelled, S3 is told to forget
        the parts.

        Args:
            location: Where.
            body: Its bytes, or the path of a file.
            content_type: Its MIME type; None leaves that to S3.

        Raises:
            ParameterValidationError: The MIME type cannot stand in a header.
            ServiceError: S3 refused.
            TransportError: S3 did not answer.
            CredentialsError: There are no credentials.
            OSError: The file cannot be read, is not a regular one, or changed meanwhile.
        """
        if content_type is not None and not _HEADER_VALUE.fullmatch(content_type):
            raise ParameterValidationError("content_type", "must be visible ASCII and blanks")
        headers = () if content_type is None else (("Content-Type", content_type),)
        async with self._slots["upload"], UploadParts(body, self._channel.threads) as parts:
            upload = Upload(self._channel, location, headers)
            if parts.total_length <= parts.part_length:
                await upload.put(await parts.read())
            else:
                async with self._multipart:
                    await upload.put_parts(parts)


class _ListingReader(DocumentReader):
    """Reads the answer of ListObjectsV2."""

    def __init__(self) -> None:
        super().__init__(
            "Contents/Key", "Contents/LastModified", "EncodingType", "NextContinuationToken"
        )

    def entries(self) -> _Page:
        """The keys, and when each was last modified: None for all if S3 does not say of each."""
        keys, dates = self.texts["Contents/Key"], self.texts["Contents/LastModified"]
        if self.first("EncodingType") == "url":
            keys = [unquote_plus(key, errors="surrogateescape") for key in keys]
        if len(dates) != len(keys):
            return [(key, None) for key in keys]
        return [(key, _read_time(date)) for key, date in zip(keys, dates, strict=True)]


def _read_time(text: str) -> datetime | None:
    """Reads a time in the form of a listing: ``2026-01-02T03:04:05.000Z``."""
    try:
        # Python 3.10 does not read the Z.
        found = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError:
        return None
    return found.replace(tzinfo=timezone.utc) if found.tzinfo is None else found


def _get_request(location: S3Location, etag: str | None, *headers: tuple[str, str]) -> S3Request:
    # Whoever stands in between shall not compress what is measured and resumed.
    more = [("Accept-Encoding", "identity"), *headers]
    if etag is not None and not _is_weak(etag):
        more.append(("If-Match", etag))
    return S3Request(
        operation="GetObject",
        method="GET",
        location=location,
        path=location.path,
        headers=tuple(more),
    )


def _check_whole(exchange: Exchange, request: S3Request) -> None:
    """Refuses an answer that is not a whole object of a known length."""
    if exchange.status_code != 200 or "Content-Length" not in exchange.headers:
        status = exchange.status_code
        exchange.close()
        error = TransportError(f"The answer (HTTP {status}) is not an object of a known length")
        locate(error, request)
        raise error


def _is_weak(etag: str) -> bool:
    """Tells whether two versions of other bytes may have the tag: If-Match never takes it."""
    return etag.startswith("W/")


def _quoted(text: str) -> str:
    return quote(text, safe="")
