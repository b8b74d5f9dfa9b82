"""S3's XML: errors, listings, and what goes with deleting and uploading in parts."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

import attrs

from aiosmrt.local._s3.ordered_keys import after_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiosmrt.local._s3.store import Location, ObjectStore, StoredObject

__all__ = [
    "S3Refusal",
    "completed_upload",
    "created_upload",
    "deleted_objects",
    "error_document",
    "list_objects",
    "read_completion",
    "read_deletion",
    "slow_down",
]

_MAX_KEYS = 1000
# S3's own limits of what a document may name.
_MAX_DELETED = 1_000
_MAX_PARTS = 10_000
# What a document may have, which no SDK's comes near: elements for each thing named, and bytes.
_MAX_ELEMENTS_EACH = 12
_MAX_DOCUMENT_LENGTH = 8_388_608
# How much is parsed before what was found is counted.
_PIECE_LENGTH = 65_536


@attrs.define
class S3Refusal(Exception):  # noqa: N818 - a verdict on someone else's request
    """S3 answers with an error.

    Attributes:
        code: S3's code.
        message: Its text.
        status_code: The HTTP status.
    """

    code: str
    message: str
    status_code: int


def slow_down() -> S3Refusal:
    """More than there is room for now; S3's clients try again."""
    return S3Refusal("SlowDown", "Please reduce your request rate.", 503)


def _xml(name: str, content: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{name}>'
    ).encode()


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape(text)}</{name}>"


def error_document(code: str, message: str, request_id: str) -> bytes:
    """S3's error. It has no namespace, unlike S3's other documents."""
    content = _element("Code", code) + _element("Message", message)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error>{content}{_element('RequestId', request_id)}</Error>"
    ).encode()


def list_objects(store: ObjectStore, bucket: str, query: Mapping[str, str]) -> bytes:
    """One page of ListObjectsV2, as the request's query asks for it.

    Raises:
        S3Refusal: A parameter has no meaning.
    """
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    encoded = query.get("encoding-type") == "url"
    shown = quote if encoded else str
    limit = _max_keys(query.get("max-keys"))
    token = query.get("continuation-token")
    after = query.get("start-after", "") if token is None else _read_token(token)

    entries: list[str] = []
    last = ""
    truncated = False
    # A page of none is S3's answer to max-keys=0, and the last one.
    for entry, stored in _entries(store, bucket, prefix, delimiter, after) if limit else ():
        truncated = len(entries) == limit
        if truncated:
            break
        last = entry
        entries.append(_entry(shown(entry), stored))
    content = [
        _element("Name", bucket),
        _element("Prefix", shown(prefix)),
        _element("KeyCount", str(len(entries))),
        _element("MaxKeys", str(limit)),
        _element("IsTruncated", "true" if truncated else "false"),
    ]
    for name, value in (("Delimiter", delimiter), ("StartAfter", query.get("start-after"))):
        if value:
            content.append(_element(name, shown(value)))
    if encoded:
        content.append(_element("EncodingType", "url"))
    if token is not None:
        content.append(_element("ContinuationToken", token))
    if truncated:
        content.append(_element("NextContinuationToken", _token(last)))
    return _xml("ListBucketResult", "".join(content + entries))


def _max_keys(value: str | None) -> int:
    if value is None:
        return _MAX_KEYS
    if not (value.isascii() and value.isdigit() and len(value) <= 10):
        raise S3Refusal("InvalidArgument", "Provided max-keys not an integer", 400)
    return min(int(value), _MAX_KEYS)


def _token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token).decode()
    except (binascii.Error, ValueError):
        raise S3Refusal(
            "InvalidArgument", "The continuation token provided is incorrect", 400
        ) from None


def _entries(
    store: ObjectStore, bucket: str, prefix: str, delimiter: str, after: str
) -> Iterable[tuple[str, StoredObject | None]]:
    """Keys with their objects, and common prefixes with None, in order, after ``after``."""
    start: str | None = max(prefix, f"{after}\0") if after else prefix
    while start is not None and (found := store.first_from(bucket, start)) is not None:
        key, stored = found
        if not key.startswith(prefix):
            return
        head, delimited, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
        if not delimited:
            yield key, stored
            start = f"{key}\0"
            continue
        common = prefix + head + delimited
        if common > after:
            yield common, None
        start = after_prefix(common)


def _entry(name: str, stored: StoredObject | None) -> str:
    if stored is None:
        return f"<CommonPrefixes>{_element('Prefix', name)}</CommonPrefixes>"
    return (
        f"<Contents>{_element('Key', name)}"
        f"{_element('LastModified', stored.last_modified.strftime('%Y-%m-%dT%H:%M:%S.000Z'))}"
        f"{_element('ETag', stored.etag)}{_element('Size', str(len(stored.body)))}"
        "<StorageClass>STANDARD</StorageClass></Contents>"
    )


def created_upload(location: Location, upload_id: str) -> bytes:
    """The answer of CreateMultipartUpload."""
    return _xml(
        "InitiateMultipartUploadResult",
        _element("Bucket", location.bucket)
        + _element("Key", location.key)
        + _element("UploadId", upload_id),
    )


def completed_upload(location: Location, etag: str) -> bytes:
    """The answer of CompleteMultipartUpload."""
    return _xml(
        "CompleteMultipartUploadResult",
        _element("Bucket", location.bucket)
        + _element("Key", location.key)
        + _element("ETag", etag),
    )


def deleted_objects(keys: list[str]) -> bytes:
    """The answer of DeleteObjects."""
    return _xml(
        "DeleteResult", "".join([f"<Deleted>{_element('Key', key)}</Deleted>" for key in keys])
    )


def read_deletion(body: bytes) -> tuple[list[str], bool]:
    """The keys that DeleteObjects names, and whether it wants to be told of errors only.

    Raises:
        S3Refusal: The body is not S3's XML, or names more than 1000 keys.
    """
    root = _root(body, _MAX_DELETED)
    keys = [_texts(node).get("Key", "") for node in root if _name(node) == "Object"]
    if len(keys) > _MAX_DELETED:
        raise _malformed()
    return keys, _texts(root).get("Quiet", "").lower() == "true"


def read_completion(body: bytes) -> list[tuple[int, str]]:
    """The numbers and entity tags of the parts that CompleteMultipartUpload names.

    Raises:
        S3Refusal: The body is not S3's XML, or names more than 10000 parts.
    """
    parts = [_texts(node) for node in _root(body, _MAX_PARTS) if _name(node) == "Part"]
    if len(parts) > _MAX_PARTS:
        raise _malformed()
    try:
        return [
            (int(part.get("PartNumber", "")), part.get("ETag", "").strip('"')) for part in parts
        ]
    except ValueError:
        raise _malformed() from None


def _root(body: bytes, most: int) -> ET.Element:
    """Parses a document that names so many things at most, no further than it may reach."""
    if len(body) > _MAX_DOCUMENT_LENGTH:
        raise _malformed()
    # Untyped, for typeshed has not one type for what its events hold.
    parser = cast("Any", ET.XMLPullParser)(("start",))
    root: ET.Element | None = None
    count = 0
    try:
        for start in range(0, len(body), _PIECE_LENGTH):
            parser.feed(body[start : start + _PIECE_LENGTH])
            for _, node in parser.read_events():
                root = node if root is None else root
                count += 1
            if count > most * _MAX_ELEMENTS_EACH:
                raise _malformed()
        parser.close()
    except ET.ParseError:
        raise _malformed() from None
    if root is None:
        raise _malformed()
    return root


def _name(node: ET.Element) -> str:
    """An element's name without its namespace, which SDKs may leave out."""
    return node.tag.rpartition("}")[2]


def _texts(node: ET.Element) -> dict[str, str]:
    return {_name(child): child.text or "" for child in node}


def _malformed() -> S3Refusal:
    return S3Refusal(
        "MalformedXML",
        "The XML you provided was not well-formed or did not validate against our published schema",
        400,
    )
