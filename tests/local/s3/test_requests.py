"""The object store as boto3's and obstore's S3 clients see it, and its errors on the wire."""

from __future__ import annotations

import hashlib
import io
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

import botocore.exceptions
import obstore
import obstore.exceptions
import obstore.store
import pytest
from boto3.s3.transfer import TransferConfig, create_transfer_manager
from support.local_clients import send, send_signed, with_boto
from support.work import counted_calls

from aiosmrt.local import LocalEndpoint

NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)


def s3(local, use):
    return with_boto(local, use, service="s3")


def code_of(call, **arguments):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def obstore_of(local, bucket="bucket"):
    return obstore.store.S3Store(
        bucket,
        endpoint=local.url,
        region=local.region,
        access_key_id=local.credentials.access_key_id,
        secret_access_key=local.credentials.secret_access_key,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def entity_tag(body):
    return f'"{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - it is S3's


KEYS = ["plain", "with space", "a/b/c", "a//b", "ä+é&?#%=.csv", "../x", "q=1", "'quoted'", "~*!()"]


async def test_boto3_puts_and_gets(local):
    def use(client):
        client.create_bucket(Bucket="bucket")
        client.head_bucket(Bucket="bucket")
        for key in KEYS:
            put = client.put_object(
                Bucket="bucket",
                Key=key,
                Body=key.encode(),
                ContentType="text/csv",
                ContentEncoding="made-up",
                CacheControl="no-cache",
                Metadata={"made-by": "a test"},
            )
            got = client.get_object(Bucket="bucket", Key=key)
            assert got["Body"].read() == key.encode()
            assert got["ContentType"] == "text/csv"
            assert (got["ContentEncoding"], got["CacheControl"]) == ("made-up", "no-cache")
            assert got["Metadata"] == {"made-by": "a test"}
            assert got["ETag"] == put["ETag"] == entity_tag(key.encode())
            head = client.head_object(Bucket="bucket", Key=key)
            assert head["ContentLength"] == len(key.encode())
            assert head["ETag"] == put["ETag"]
            age = datetime.now(timezone.utc) - head["LastModified"]
            assert abs(age.total_seconds()) < 60

    await s3(local, use)
    for key in KEYS:
        assert local.get_object(f"s3://bucket/{key}") == key.encode()


async def test_boto3_deletes(local):
    for key in KEYS:
        local.put_object(f"s3://bucket/{key}", b"x")

    def use(client):
        client.delete_object(Bucket="bucket", Key=KEYS[0])
        client.delete_object(Bucket="bucket", Key="never there")
        assert code_of(client.get_object, Bucket="bucket", Key=KEYS[0]) == (404, "NoSuchKey")
        answer = client.delete_objects(
            Bucket="bucket", Delete={"Objects": [{"Key": key} for key in KEYS[1:-1]]}
        )
        assert [deleted["Key"] for deleted in answer["Deleted"]] == KEYS[1:-1]
        last = {"Objects": [{"Key": KEYS[-1]}], "Quiet": True}
        assert "Deleted" not in client.delete_objects(Bucket="bucket", Delete=last)
        assert client.list_objects_v2(Bucket="bucket")["KeyCount"] == 0

    await s3(local, use)


async def test_boto3_lists(local):
    for key in KEYS:
        local.put_object(f"s3://bucket/{key}", key)

    def use(client):
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket="bucket", PaginationConfig={"PageSize": 2}
        )
        listed = [entry for page in pages for entry in page["Contents"]]
        assert [entry["Key"] for entry in listed] == sorted(KEYS, key=str.encode)
        assert [entry["Size"] for entry in listed] == [
            len(entry["Key"].encode()) for entry in listed
        ]
        some = client.list_objects_v2(Bucket="bucket", Prefix="a/", StartAfter="a//b")
        assert [entry["Key"] for entry in some["Contents"]] == ["a/b/c"]
        empty = client.list_objects_v2(Bucket="bucket", MaxKeys=0)
        assert (empty["KeyCount"], empty["IsTruncated"]) == (0, False)
        none = client.list_objects_v2(Bucket="elsewhere")
        assert none["KeyCount"] == 0
        assert not none["IsTruncated"]

    await s3(local, use)


async def test_boto3_lists_by_delimiter(local):
    for key in ("a/1", "a/2", "b", "c/d/1", "c/e"):
        local.put_object(f"s3://bucket/{key}", b"")

    def use(client):
        pages = client.get_paginator("list_objects_v2").paginate(
            Bucket="bucket", Delimiter="/", PaginationConfig={"PageSize": 1}
        )
        seen = []
        for page in pages:
            seen += [entry["Prefix"] for entry in page.get("CommonPrefixes", [])]
            seen += [entry["Key"] for entry in page.get("Contents", [])]
        assert seen == ["a/", "b", "c/"]
        below = client.list_objects_v2(Bucket="bucket", Delimiter="/", Prefix="c/")
        assert [entry["Prefix"] for entry in below["CommonPrefixes"]] == ["c/d/"]
        assert [entry["Key"] for entry in below["Contents"]] == ["c/e"]

    await s3(local, use)


@pytest.mark.parametrize(
    "wanted, answered",
    [
        ("bytes=0-3", b"0123"),
        ("bytes=7-", b"789"),
        ("bytes=-2", b"89"),
        ("bytes=-20", b"0123456789"),
        ("bytes=8-20", b"89"),
    ],
)
async def test_ranges(local, wanted, answered):
    local.put_object("s3://bucket/key", "0123456789")

    def use(client):
        got = client.get_object(Bucket="bucket", Key="key", Range=wanted)
        assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert got["Body"].read() == answered
        start = b"0123456789".index(answered)
        assert got["ContentRange"] == f"bytes {start}-{start + len(answered) - 1}/10"

    await s3(local, use)


@pytest.mark.parametrize("wanted", ["bytes=10-", "bytes=-0", "bytes=99-100"])
async def test_ranges_behind_the_end(local, wanted):
    local.put_object("s3://bucket/key", "0123456789")

    def use(client):
        return code_of(client.get_object, Bucket="bucket", Key="key", Range=wanted)

    assert await s3(local, use) == (416, "InvalidRange")


@pytest.mark.parametrize("wanted", ["bytes=3-2", "lines=0-1", "bytes=0-1,3-4", "bytes=-"])
async def test_ranges_without_meaning_are_ignored(local, wanted):
    local.put_object("s3://bucket/key", "0123456789")
    status, _, body = await send_signed(
        local, "/bucket/key", b"", {"Range": wanted}, method="GET", service="s3"
    )
    assert (status, body) == (200, b"0123456789")


async def test_conditions(local):
    local.put_object("s3://bucket/key", "x")
    etag = entity_tag(b"x")

    def use(client):
        here = {"Bucket": "bucket", "Key": "key"}
        assert client.get_object(**here, IfMatch=etag)["Body"].read() == b"x"
        assert code_of(client.get_object, **here, IfMatch='"other"') == (412, "PreconditionFailed")
        assert code_of(client.get_object, **here, IfNoneMatch=etag)[0] == 304
        written = client.get_object(**here)["LastModified"]
        assert code_of(client.get_object, **here, IfModifiedSince=written)[0] == 304
        earlier = written - timedelta(seconds=1)
        assert client.get_object(**here, IfModifiedSince=earlier)["Body"].read() == b"x"
        # An entity tag says more than a date, which is then not looked at (RFC 9110, 13.1.3).
        both = {"IfNoneMatch": '"other"', "IfModifiedSince": written}
        assert client.get_object(**here, **both)["Body"].read() == b"x"
        taken = code_of(client.put_object, **here, Body=b"y", IfNoneMatch="*")
        assert taken == (412, "PreconditionFailed")
        client.put_object(Bucket="bucket", Key="new", Body=b"y", IfNoneMatch="*")
        changed = code_of(client.put_object, **here, Body=b"y", IfMatch='"other"')
        assert changed == (412, "PreconditionFailed")
        assert client.get_object(**here)["Body"].read() == b"x"
        gone = code_of(client.put_object, Bucket="bucket", Key="no", Body=b"y", IfMatch=etag)
        assert gone == (404, "NoSuchKey")
        client.put_object(**here, Body=b"y", IfMatch=etag)

    await s3(local, use)


async def test_a_large_object_in_parts(local):
    body = bytes(range(256)) * 50_000  # 12.8 MB
    config = TransferConfig(multipart_threshold=5_242_880, multipart_chunksize=5_242_880)
    extra = {"ContentType": "a/b", "Metadata": {"k": "v"}}

    def use(client):
        with create_transfer_manager(client, config) as manager:
            manager.upload(io.BytesIO(body), "bucket", "large", extra).result()
        head = client.head_object(Bucket="bucket", Key="large")
        assert (head["ContentType"], head["Metadata"]) == ("a/b", {"k": "v"})
        assert head["ETag"].endswith('-3"')
        target = io.BytesIO()
        with create_transfer_manager(client, config) as manager:
            manager.download("bucket", "large", target).result()
        assert target.getvalue() == body

    await s3(local, use)
    assert local.get_object("s3://bucket/large") == body


async def test_a_large_object_in_one_piece(local):
    body = bytes(3_000_000)

    def use(client):
        client.put_object(Bucket="bucket", Key="key", Body=body)
        assert client.get_object(Bucket="bucket", Key="key")["Body"].read() == body
        assert client.head_object(Bucket="bucket", Key="key")["ContentLength"] == 3_000_000

    await s3(local, use)


async def test_an_upload_that_is_not_completed(local):
    def use(client):
        here = {"Bucket": "bucket", "Key": "key"}
        upload = here | {"UploadId": client.create_multipart_upload(**here)["UploadId"]}
        part = client.upload_part(**upload, PartNumber=1, Body=b"x")
        assert code_of(client.get_object, **here) == (404, "NoSuchKey")
        bad = code_of(client.upload_part, **upload, PartNumber=10_001, Body=b"x")
        assert bad == (400, "InvalidArgument")

        def complete(*parts):
            return code_of(
                client.complete_multipart_upload,
                **upload,
                MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in parts]},
            )

        assert complete((1, part["ETag"]), (2, "x")) == (400, "InvalidPart")
        assert complete((1, '"other"')) == (400, "InvalidPart")
        assert complete((2, "x"), (1, part["ETag"])) == (400, "InvalidPartOrder")
        client.abort_multipart_upload(**upload)
        assert complete((1, part["ETag"])) == (404, "NoSuchUpload")
        assert code_of(client.abort_multipart_upload, **upload) == (404, "NoSuchUpload")

    await s3(local, use)


async def test_a_large_upload_is_completed_once(local):
    part = bytes(2_000_000)  # long enough to be joined in a thread

    def use(client):
        here = {"Bucket": "b", "Key": "k"}
        upload = here | {"UploadId": client.create_multipart_upload(**here)["UploadId"]}
        tags = [client.upload_part(**upload, PartNumber=n, Body=part)["ETag"] for n in (1, 2)]
        parts = [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]

        def complete(_):
            try:
                client.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
            except client.exceptions.NoSuchUpload:
                return False
            return True

        with ThreadPoolExecutor(4) as pool:
            return sorted(pool.map(complete, range(4)))

    assert await s3(local, use) == [False, False, False, True]
    assert local.get_object("s3://b/k") == part * 2


async def test_uploads_are_bounded_and_their_parts_named(local, monkeypatch):
    monkeypatch.setattr("aiosmrt.local._s3.multipart._MAX_UPLOADS", 1)
    status, _, body = await send_signed(local, "/b/k?uploads", service="s3")
    assert status == 200
    status, _, refused = await send_signed(local, "/b/k?uploads", service="s3")
    assert (status, b"<Code>SlowDown<" in refused) == (503, True)
    upload_id = body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    wrong = b"<C><Part><PartNumber>x</PartNumber></Part></C>"
    status, _, body = await send_signed(local, f"/b/k?uploadId={upload_id}", wrong, service="s3")
    assert (status, b"<Code>MalformedXML<" in body) == (400, True)


async def test_what_it_does_not_do(local):
    local.put_object("s3://bucket/key", "x")

    def use(client):
        here = {"Bucket": "bucket", "Key": "copy"}
        assert code_of(client.copy_object, **here, CopySource="bucket/key") == (
            501,
            "NotImplemented",
        )
        assert code_of(client.list_buckets) == (501, "NotImplemented")
        whole = {"Bucket": "bucket", "Key": "key"}
        tags = {"TagSet": []}
        for refused in (
            code_of(client.put_object_tagging, **whole, Tagging=tags),
            code_of(client.put_object_acl, **whole, ACL="private"),
            code_of(client.get_object_tagging, **whole),
            code_of(client.delete_object_tagging, **whole),
        ):
            assert refused == (501, "NotImplemented")
        assert client.get_object(**whole)["Body"].read() == b"x"

    await s3(local, use)


async def signed(local, path, body=b"", method="POST"):
    return await send_signed(local, path, body, method=method, service="s3")


def deletion(count, inner=b""):
    named = b"".join(b"<Object><Key>%d</Key>%b</Object>" % (n, inner) for n in range(count))
    return b"<Delete>%b</Delete>" % named


def completion(count, etag="0" * 32):
    part = "<Part><PartNumber>{}</PartNumber><ETag>{}</ETag></Part>"
    named = "".join(part.format(number, etag) for number in range(1, count + 1))
    return f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()


TOO_MUCH = {
    "1,001 keys": deletion(1001),
    "400,000 keys": deletion(400_000),
    "a deep one": b"<Delete>" + b"<a>" * 300_000 + b"</a>" * 300_000 + b"</Delete>",
    "many of no meaning": b"<Delete>" + b"<a/>" * 300_000 + b"</Delete>",
    "many within one": deletion(1, b"<a/>" * 300_000),
    "a long text": deletion(1, b" " * 9_000_000),
    "cut": deletion(10)[:-1],
    "nothing": b"",
    "two": deletion(1) * 2,
}


@pytest.mark.parametrize("body", TOO_MUCH.values(), ids=TOO_MUCH)
async def test_a_deletion_that_s3_would_not_take(body):
    async with LocalEndpoint() as local:
        local.put_object("s3://b/0", b"kept")
        status, _, answer = await signed(local, "/b?delete", body)
        assert (status, b"<Code>MalformedXML</Code>" in answer) == (400, True)
        assert local.get_object("s3://b/0") == b"kept"


async def test_as_many_keys_as_s3_deletes_at_once():
    inner = b"<VersionId>null</VersionId><ETag>&quot;x&quot;</ETag><Size>1</Size>"
    async with LocalEndpoint() as local:
        for number in range(1000):
            local.put_object(f"s3://b/{number}", b"")
        status, _, answer = await signed(local, "/b?delete", deletion(1000, inner))
        assert (status, answer.count(b"<Deleted>")) == (200, 1000)
        _, _, answer = await signed(local, "/b?list-type=2", method="GET")
        assert b"<KeyCount>0</KeyCount>" in answer


async def test_a_deletion_that_is_refused_costs_no_more_than_one_that_is_not():
    async with LocalEndpoint() as local:
        await signed(local, "/b?delete", deletion(1))
        with counted_calls() as whole:
            await signed(local, "/b?delete", deletion(1000))
        for body in TOO_MUCH.values():
            with counted_calls() as refused:
                await signed(local, "/b?delete", body)
            assert refused.count < 5 * whole.count


async def cost_of_deleting(count):
    async with LocalEndpoint() as local:
        for number in range(count):
            local.put_object(f"s3://b/{number}", b"")
        with counted_calls() as calls:
            await signed(local, "/b?delete", deletion(count))
    return calls.count


async def cost_of_listing(count, query=""):
    async with LocalEndpoint(verify=False, max_received=0) as local:
        for number in range(count):
            local.put_object(f"s3://b/{number * 7919 % count:06d}/x", b"")
        listed, token = 0, ""
        with counted_calls() as calls:
            while token is not None:
                path = f"/b?list-type=2&max-keys=50{query}{token}"
                _, _, answer = await send(local, path, method="GET")
                listed += int(re.search(rb"<KeyCount>(\d+)<", answer)[1])
                found = re.search(rb"<NextContinuationToken>([^<]+)<", answer)
                token = found and f"&continuation-token={found[1].decode()}"
        assert listed == count
    return calls.count


async def cost_of_common_prefixes(count):
    return await cost_of_listing(count, "&delimiter=/")


async def cost_of_parts(count):
    async with LocalEndpoint(verify=False, max_received=0) as local:
        _, _, created = await send(local, "/b/k?uploads")
        upload = re.search(rb"<UploadId>(\w+)<", created)[1].decode()
        with counted_calls() as calls:
            for number in range(1, count + 1):
                path = f"/b/k?partNumber={number}&uploadId={upload}"
                _, headers, _ = await send(local, path, b"x", method="PUT")
            body = completion(count, headers["ETag"])
            assert (await send(local, f"/b/k?uploadId={upload}", body))[0] == 200
        assert local.get_object("s3://b/k") == b"x" * count
    return calls.count


@pytest.mark.parametrize(
    "cost, count",
    [
        (cost_of_deleting, 250),
        (cost_of_listing, 1000),
        (cost_of_common_prefixes, 1000),
        (cost_of_parts, 40),
    ],
)
async def test_four_times_as_much_is_at_most_five_times_the_work(cost, count):
    await cost(1)
    once, more = await cost(count), await cost(4 * count)
    assert more < 5 * once


@pytest.mark.parametrize(
    "query, listed",
    [
        ("&delimiter=/", 1),
        ("&max-keys=1&start-after=a/000005", 1),
        ("&prefix=a/000005", 1),
        ("&prefix=b", 0),
    ],
)
async def test_a_page_costs_as_much_as_it_holds(query, listed):
    """However many objects there are, and while more appear, as outputs do."""

    async def cost(count):
        async with LocalEndpoint(verify=False) as local:
            for number in range(count):
                local.put_object(f"s3://b/a/{number * 7919 % count:06d}", b"")
            with counted_calls() as calls:
                for number in range(5):
                    local.put_object(f"s3://b/a/x{number}", b"")
                    path = f"/b?list-type=2{query}"
                    _, _, answer = await send(local, path, method="GET")
                    assert b"<KeyCount>%d</KeyCount>" % listed in answer
        return calls.count

    await cost(10)
    assert await cost(16_000) < 1.5 * await cost(250)


@pytest.mark.parametrize(
    "number", ["0", "10001", "-1", "x", "", "1" * 5000, "000000000199999", "²"]
)
async def test_what_is_no_parts_number(number):
    async with LocalEndpoint(verify=False) as local:
        _, _, created = await send(local, "/b/k?uploads")
        upload = re.search(rb"<UploadId>(\w+)<", created)[1].decode()
        path = f"/b/k?partNumber={quote(number)}&uploadId={upload}"
        status, _, answer = await send(local, path, b"x", method="PUT")
        assert (status, b"<Code>InvalidArgument</Code>" in answer) == (400, True)


@pytest.mark.parametrize(
    "body", [completion(10_001), completion(400_000), completion(1).replace(b">1<", b">x<")]
)
async def test_a_completion_that_s3_would_not_take(body):
    async with LocalEndpoint(verify=False) as local:
        _, _, created = await send(local, "/b/k?uploads")
        upload = re.search(rb"<UploadId>(\w+)<", created)[1].decode()
        status, _, answer = await send(local, f"/b/k?uploadId={upload}", body)
        assert (status, b"<Code>MalformedXML</Code>" in answer) == (400, True)


@pytest.mark.parametrize("query, body", [("?delete", b"<Delete"), ("?list-type=2&max-keys=x", b"")])
async def test_what_makes_no_sense(local, query, body):
    method = "POST" if body else "GET"
    status, headers, answer = await send_signed(
        local, f"/bucket{query}", body, method=method, service="s3"
    )
    assert status == 400
    assert headers["Content-Type"].startswith("application/xml")
    assert b"<Code>MalformedXML<" in answer or b"<Code>InvalidArgument<" in answer
    assert headers["x-amz-request-id"].encode() in answer


async def test_a_continuation_token_that_is_not_ours(local):
    status, _, body = await send_signed(
        local, "/b?continuation-token=%2F&list-type=2", method="GET", service="s3"
    )
    assert status == 400
    assert b"InvalidArgument" in body


async def test_a_full_store():
    async with LocalEndpoint(max_store_length=10) as local:

        def use(client):
            client.put_object(Bucket="b", Key="a", Body=b"12345678")
            full = code_of(client.put_object, Bucket="b", Key="b", Body=b"123")
            client.put_object(Bucket="b", Key="a", Body=b"1234567890")  # in its own place
            client.delete_object(Bucket="b", Key="a")
            client.put_object(Bucket="b", Key="b", Body=b"123")
            too_long = code_of(client.put_object, Bucket="b", Key="b", Body=bytes(11))
            return full, too_long

        assert await s3(local, use) == ((400, "EntityTooLarge"), (400, "EntityTooLarge"))


async def test_obstore_puts_gets_lists_and_deletes(local):
    store = obstore_of(local)
    for key in ("a/1", "a/2", "b é"):
        await obstore.put_async(store, key, key.encode())
    got = await obstore.get_async(store, "b é")
    assert bytes(await got.bytes_async()) == "b é".encode()
    assert bytes(await obstore.get_range_async(store, "a/1", start=0, end=1)) == b"a"
    head = await obstore.head_async(store, "a/1")
    assert head["size"] == 3
    listed = [meta["path"] for meta in await obstore.list(store, "a").collect_async()]
    assert listed == ["a/1", "a/2"]
    await obstore.delete_async(store, "a/1")
    await obstore.delete_async(store, ["a/2"])
    with pytest.raises(FileNotFoundError):
        await obstore.head_async(store, "a/1")
    with pytest.raises(FileNotFoundError):
        await obstore.get_async(store, "a/2")


async def test_obstore_puts_a_large_object_in_parts(local):
    body = bytes(range(256)) * 50_000
    await obstore.put_async(obstore_of(local), "large", body, use_multipart=True)
    assert local.get_object("s3://bucket/large") == body


@pytest.mark.parametrize("first", [b"abc", bytes(2_000_000)], ids=["short", "in-a-thread"])
async def test_a_body_in_aws_chunks(local, first):
    body = b"%x;chunk-signature=0\r\n%b\r\n" % (len(first), first)
    body += b"2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"
    headers = {
        "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "x-amz-decoded-content-length": str(len(first) + 2),
        "Content-Encoding": "aws-chunked",
    }
    status, _, _ = await send_signed(
        local, "/bucket/key", body, headers, method="PUT", service="s3"
    )
    assert status == 200
    assert local.get_object("s3://bucket/key") == first + b"de"
    status, answered, _ = await send_signed(local, "/bucket/key", method="GET", service="s3")
    assert (status, "Content-Encoding" in answered) == (200, False)
    status, _, answer = await send_signed(
        local, "/bucket/key", body[:-60], headers, method="PUT", service="s3"
    )
    assert (status, b"<Code>IncompleteBody<" in answer) == (400, True)
