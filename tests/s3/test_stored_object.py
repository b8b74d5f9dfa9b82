"""An object is read whole and of one version, over as many connections as it takes."""

from __future__ import annotations

import os
from datetime import datetime, timezone

import pytest
from aiohttp import web
from support.fake_s3 import MODIFIED, cut_off

from aiosmrt import RetryPolicy
from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.stored_object import StoredObject
from aiosmrt.errors import ConnectionLostError, TransportError

BODY = os.urandom(6_000_000)
LOCATION = S3Location("b", "k")


@pytest.fixture
async def store(s3):
    s3.put("s3://b/k", BODY)
    async with s3.store(retries=RetryPolicy(max_attempts=3)) as store:
        yield store


async def collect(found: StoredObject) -> bytes:
    return b"".join([chunk async for chunk in found.chunks()])


READERS = [collect, StoredObject.read]


def cut_each(s3, sent: int):
    """Sends so many bytes of what each request asks for, then breaks the connection."""

    async def hook(seen, request):
        at = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        response = web.StreamResponse(status=206 if at else 200, headers=part(at))
        await response.prepare(request)
        await response.write(BODY[at : at + sent])
        if at + sent < len(BODY):
            request.transport.close()
        return response

    def part(at: int) -> dict[str, str]:
        headers = {"ETag": '"1"', "Content-Length": str(len(BODY) - at)}
        if at:
            headers["Content-Range"] = f"bytes {at}-{len(BODY) - 1}/{len(BODY)}"
        return headers

    return hook


@pytest.mark.parametrize("read", READERS)
async def test_a_download_goes_on_for_as_long_as_it_gets_further(s3, store, read):
    s3.hook = cut_each(s3, 1_100_000)
    assert await read(await store.get(LOCATION, purpose="download")) == BODY
    assert s3.counts == {"GetObject": 6}  # more than the policy's attempts


async def test_chunks_have_a_mebibyte_or_a_little_more(store):
    found = await store.get(LOCATION)
    *full, last = [len(chunk) async for chunk in found.chunks()]
    assert all(1_048_576 <= length < 2_097_152 for length in full)
    assert last < 2_097_152
    assert sum(full) + last == len(BODY)


@pytest.mark.parametrize("read", READERS)
async def test_a_download_that_gets_no_further_is_given_up(s3, store, read):
    s3.hook = cut_each(s3, 1000)
    with pytest.raises(ConnectionLostError, match="s3://b/k broke off"):
        await read(await store.get(LOCATION, purpose="download"))
    assert s3.counts == {"GetObject": 3}


ANSWERS = {
    "the whole object": (200, {}),
    "another part": (206, {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}),
    "a part of something longer": (
        206,
        {"Content-Range": f"bytes 1000000-{len(BODY) - 1}/9999999"},
    ),
    "a part without its place": (206, {}),
    "another version": (206, {"Content-Range": "right", "ETag": '"2"'}),
    "no version": (206, {"Content-Range": "right", "ETag": ""}),
    "nothing": (204, {}),
}


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("answer", ANSWERS)
async def test_what_is_not_the_rest_of_the_same_version_is_not_taken(s3, store, read, answer):
    status, headers = ANSWERS[answer]
    etag = s3.objects["b", "k"].etag

    async def hook(seen, request):
        if s3.counts["GetObject"] == 1:
            return await cut_off(request, s3.objects["b", "k"], 1_000_000)
        assert request.headers["If-Match"] == etag
        at = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        right = f"bytes {at}-{len(BODY) - 1}/{len(BODY)}"
        told = {name: right if value == "right" else value for name, value in headers.items()}
        body = b"" if status == 204 else bytes(len(BODY) - at)
        return web.Response(status=status, body=body, headers={"ETag": etag} | told)

    s3.hook = hook
    with pytest.raises(TransportError, match="s3://b/k was overwritten while it was read"):
        await read(await store.get(LOCATION, purpose="download"))
    assert s3.counts == {"GetObject": 2}


async def test_without_a_version_nothing_is_put_together(s3, store):
    async def hook(seen, request):
        response = web.StreamResponse(headers={"Content-Length": str(len(BODY))})
        await response.prepare(request)
        await response.write(BODY[:1_000_000])
        request.transport.close()
        return response

    s3.hook = hook
    with pytest.raises(ConnectionLostError):
        await collect(await store.get(LOCATION, purpose="download"))
    assert s3.counts == {"GetObject": 1}


@pytest.mark.parametrize(
    "text, read",
    [
        ("Fri, 02 Jan 2026 03:04:05 GMT", MODIFIED),
        ("Fri, 02 Jan 2026 03:04:05 -0000", MODIFIED),
        ("Fri, 02 Jan 2026 03:04:05", MODIFIED),
        ("Fri, 02 Jan 2026 04:04:05 +0100", MODIFIED),
        ("yesterday", None),
        ("", None),
    ],
)
async def test_when_it_was_last_modified_is_utc(s3, store, text, read):
    async def hook(seen, request):
        return web.Response(headers={"Last-Modified": text} if text else {})

    s3.hook = hook
    found = await store.get(LOCATION)
    assert found.last_modified == read
    found.close()


async def test_one_that_was_modified_before_is_not_sent(s3, store):
    asked = []

    async def hook(seen, request):
        asked.append(request.headers.get("If-Modified-Since"))

    s3.hook = hook
    since = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    (await store.get(LOCATION, modified_since=since)).close()
    (await store.get(LOCATION)).close()
    # S3 sends what was modified after that second.
    assert asked == ["Fri, 02 Jan 2026 03:04:04 GMT", None]


async def test_chunks_that_nobody_takes_leave_no_connection(s3, store):
    found = await store.get(LOCATION, purpose="download")
    chunks = found.chunks()
    assert await anext(chunks)
    await chunks.aclose()
    with pytest.raises(TransportError, match="read or closed before"):
        await found.read()
