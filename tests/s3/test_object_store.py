"""S3's objects: what the session says holds, and every failure is one of ours."""

from __future__ import annotations

import asyncio
import os
import ssl
import traceback
from datetime import datetime, timedelta, timezone

import aiohttp
import boto3
import pytest
from botocore.config import Config as BotoConfig
from support.certificates import AUTHORITY, serving
from support.fake_s3 import (
    FakeS3,
    S3Session,
    at,
    begin,
    cut_off,
    document,
    keys,
    never,
    read,
    refusal,
    store_of,
)
from support.sessions import TEMPORARY
from support.waiting import until

from aiosmrt import Credentials, RetryPolicy, Timeouts
from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.object_store import StoredObject
from aiosmrt.errors import (
    AccessDeniedException,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    ExpiredTokenException,
    InternalFailure,
    ParameterValidationError,
    ReadTimeoutError,
    ServiceError,
    ServiceUnavailable,
    ThrottlingException,
    TransportError,
    UnknownServiceError,
)

ODD_KEYS = [
    "plain",
    "a/b/c.out",
    "a//b c/x.out",
    "/leading",
    "a///b",
    "50%/100%25",
    "plus+and space",
    "grüße/日本.out",
    "q?x=1&y#z",
    "~'()!*$@=;:,[]{}^`|\\\"<>",
]


@pytest.fixture
async def store(s3):
    async with s3.store() as store:
        yield store


@pytest.fixture(scope="session")
def moto_s3(moto_url):
    client = boto3.client(
        "s3",
        endpoint_url=moto_url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=BotoConfig(s3={"addressing_style": "path"}),
    )
    client.create_bucket(Bucket="object-store-tests")
    yield client
    client.close()


@pytest.fixture
async def moto_store(moto_url, moto_s3):
    session = S3Session(
        region="us-east-1", s3_endpoint_url=moto_url, credentials=Credentials("key", "secret")
    )
    async with store_of(session) as store:
        yield store


# -- against moto, with boto3 as the second party -----------------------------------------------


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_an_object_of_boto3s_is_found_under_its_key(moto_store, moto_s3, key):
    await asyncio.to_thread(
        moto_s3.put_object,
        Bucket="object-store-tests",
        Key=key,
        Body=b"of boto3",
        ContentType="text/x",
    )
    found = await moto_store.get(S3Location("object-store-tests", key))
    assert (found.size, found.content_type) == (8, "text/x")
    assert await found.read() == b"of boto3"


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_boto3_finds_an_object_of_ours_under_its_key(moto_store, moto_s3, key):
    location = S3Location("object-store-tests", key)
    await moto_store.put(location, memoryview(b"of ours"), content_type="text/y")
    found = await asyncio.to_thread(moto_s3.get_object, Bucket=location.bucket, Key=key)
    assert found["ContentType"] == "text/y"
    assert found["Body"].read() == b"of ours"
    await asyncio.to_thread(moto_s3.delete_object, Bucket=location.bucket, Key=key)


LISTED = ["", "/", "a//b", ".", "..", "./x", "a/../b", "tab\t", "é+ü %2B", "<&>\"'"]


async def test_odd_keys_are_listed_as_boto3_lists_them(moto_store, moto_s3):
    await asyncio.to_thread(moto_s3.create_bucket, Bucket="odd-keys")
    for key in [*LISTED, *ODD_KEYS]:
        await moto_store.put(S3Location("odd-keys", f"odd/{key}"), b"x", content_type=None)
    told = await asyncio.to_thread(moto_s3.list_objects_v2, Bucket="odd-keys", Prefix="odd/")
    theirs = [(entry["Key"], entry["LastModified"]) for entry in told["Contents"]]
    assert len(theirs) == len(LISTED) + len(ODD_KEYS)
    assert await moto_store.list_page(S3Location("odd-keys", "odd/"), "") == theirs
    for behind in (0, 7, len(theirs) - 1):
        page = await moto_store.list_page(S3Location("odd-keys", "odd/"), theirs[behind][0])
        assert page == theirs[behind + 1 :]


# moto has no route to a key with a line end.
@pytest.mark.parametrize("key", [f"k/{key}" for key in ["line\nend\r", "\x01", *LISTED, *ODD_KEYS]])
async def test_the_local_endpoint_has_an_object_under_any_key(local, key):
    async with local.session() as session:
        uri = await session.upload_input(b"found", f"s3://b/{key}x")
        assert local.get_object(uri) == b"found"
        handle = session.async_invocation(output_location=uri)
        assert (await handle.result(20)).body == b"found"


async def test_a_slash_at_the_end_makes_another_object(s3, store):
    s3.put("s3://b/a", "without")
    with pytest.raises(ServiceError, match="NoSuchKey"):
        await read(store, "s3://b/a/")
    s3.put("s3://b/a/", "with")
    assert await read(store, "s3://b/a/") == b"with"
    assert await read(store, "s3://b/a") == b"without"


async def test_a_listing_goes_on_behind_a_key(moto_store, moto_s3):
    names = [f"listed/{number:03}.out" for number in range(5)]
    for name in [*names, "listed", "listed2"]:
        await asyncio.to_thread(moto_s3.put_object, Bucket="object-store-tests", Key=name, Body=b"")
    directory = at(f"s3://object-store-tests/{names[0]}").directory
    assert await keys(moto_store, directory, "listed/") == names
    assert await keys(moto_store, directory, names[1]) == names[2:]
    assert await keys(moto_store, directory, "listed/001.ouszzz") == names[1:]
    assert await keys(moto_store, directory, names[4]) == []


# -- which host, signed by whom and for where ---------------------------------------------------


async def test_the_environment_has_no_say(s3, monkeypatch):
    """Other clients of S3 read all of these; a session has its settings from elsewhere."""
    nowhere = "http://127.0.0.1:9"
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIDOTHER",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_SESSION_TOKEN": "other",
        "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/nowhere",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_BUCKET": "other",
        "AWS_ENDPOINT": nowhere,
        "AWS_ENDPOINT_URL": nowhere,
        "AWS_ENDPOINT_URL_S3": nowhere,
        "AWS_PROXY_URL": nowhere,
        "AWS_TIMEOUT": "1ms",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_UNSIGNED_PAYLOAD": "true",
        "AWS_REQUEST_PAYER": "true",
        "AWS_S3_EXPRESS": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        "AWS_CONDITIONAL_PUT": "disabled",
    }.items():
        monkeypatch.setenv(name, value)
    s3.put("s3://b/k", "found")
    async with s3.store() as store:
        assert await read(store, "s3://b/k") == b"found"
    assert s3.seen == [("GetObject", "b", "k", "us-east-1", TEMPORARY.session_token)]


class Counting:
    """A provider that hands out one pair of keys after another."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    async def get_credentials(self) -> Credentials:
        self.asked += 1
        token = self.tokens[min(self.asked, len(self.tokens)) - 1]
        return Credentials("AKID", "secret", token, datetime.now(timezone.utc) + timedelta(hours=1))


async def test_every_request_is_signed_with_what_the_provider_says_then(s3):
    s3.put("s3://b/k", "found")
    async with s3.store(credentials=Counting("one", "two", "three")) as store:
        for token in ("one", "two", "three"):
            s3.token = token
            assert await read(store, "s3://b/k") == b"found"
    assert [seen.token for seen in s3.seen] == ["one", "two", "three"]


async def test_an_expired_token_is_renewed_once(s3):
    s3.put("s3://b/k", "found")
    s3.token = "new"
    async with s3.store(credentials=Counting("old", "new")) as store:
        assert await read(store, "s3://b/k") == b"found"
        assert [seen.token for seen in s3.seen] == ["old", "new"]
    s3.token = "newer still"
    async with s3.store(credentials=Counting("old", "new", "other")) as store:
        with pytest.raises(ExpiredTokenException) as caught:
            await read(store, "s3://b/k")
    assert caught.value.request_id == "REQUEST1"
    assert len(s3.seen) == 4


async def test_fixed_credentials_that_have_expired_are_not_tried_again(s3, store):
    s3.token = "another"
    with pytest.raises(ExpiredTokenException, match="The provided token has expired"):
        await read(store, "s3://b/k")
    assert len(s3.seen) == 1


async def test_a_provider_that_fails_is_a_credentials_error(s3):
    class Broken:
        async def get_credentials(self):
            raise RuntimeError("no")

    async with s3.store(credentials=Broken()) as store:
        with pytest.raises(CredentialsError, match="Broken failed"):
            await read(store, "s3://b/k")
    assert not s3.seen


@pytest.mark.parametrize("named", ["in the body", "in a header", "nowhere"])
async def test_a_bucket_in_another_region_is_found_there(s3, store, named):
    s3.region = "eu-west-1"
    s3.names_region, s3.hides_region = named == "in the body", named == "nowhere"
    s3.put("s3://b/k", "found")
    for _ in range(2):
        assert await read(store, "s3://b/k") == b"found"
    signed_for = [seen.region for seen in s3.seen if seen.operation == "GetObject"]
    assert signed_for == ["us-east-1", "eu-west-1", "eu-west-1"]
    assert s3.counts["HeadBucket"] == (1 if named == "nowhere" else 0)


async def test_a_listing_and_an_upload_find_the_region_too(s3, store):
    s3.region = "eu-west-1"
    s3.put("s3://b/d/k", "found")
    assert await keys(store, S3Location("b", "d/")) == ["d/k"]
    await store.put(at("s3://c/new"), b"body", content_type=None)
    assert s3.objects["c", "new"].body == b"body"


async def test_requests_redirected_together_all_find_the_region(s3, store):
    s3.region = "eu-west-1"
    s3.put("s3://b/k", "found")
    together = asyncio.Event()

    async def gather(seen, request):
        if s3.counts["GetObject"] == 5:
            together.set()
        await together.wait()

    s3.hook = gather
    assert await asyncio.gather(*[read(store, "s3://b/k") for _ in range(5)]) == [b"found"] * 5
    assert s3.counts["GetObject"] == 10


async def test_a_region_that_cannot_be_asked_for_leaves_the_redirect(s3, store):
    async def drop(seen, request):
        if seen.operation == "HeadBucket":
            request.transport.abort()

    s3.hook = drop
    s3.region, s3.hides_region = "eu-west-1", True
    with pytest.raises(UnknownServiceError) as caught:
        await read(store, "s3://b/k")
    assert caught.value.code == "PermanentRedirect"


async def test_a_redirect_to_nowhere_is_an_error(s3, store):
    async def moved(seen, request):
        return refusal(301, "PermanentRedirect", "Elsewhere.")

    s3.hook = moved
    with pytest.raises(UnknownServiceError) as caught:
        await read(store, "s3://b/k")
    assert (caught.value.code, caught.value.status_code) == ("PermanentRedirect", 301)
    assert s3.counts == {"GetObject": 1, "HeadBucket": 1}


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_bundle_that_cannot_be_used_is_a_configuration_error(
    s3_by_tls, monkeypatch, tmp_path, content
):
    path = tmp_path / "bundle.pem"
    if content is not None:
        path.write_text(f"-----BEGIN CERTIFICATE-----\n{content}\n-----END CERTIFICATE-----\n")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    async with s3_by_tls.store() as store:
        with pytest.raises(ConfigurationError, match="CA bundle"):
            await read(store, "s3://b/k")


@pytest.fixture
async def s3_by_tls():
    async with FakeS3(serving()) as s3:
        s3.put("s3://b/k", "found")
        yield s3


def trust(how: str, path, monkeypatch) -> object:
    """The session's argument ``ssl``."""
    AUTHORITY.cert_pem.write_to_path(str(path))
    if how == "context":
        return ssl.create_default_context(cafile=str(path))
    if how == "fingerprint":  # of another host's certificate: the service's
        monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
        return aiohttp.Fingerprint(bytes(32))
    return False


@pytest.mark.parametrize("how", ["context", "fingerprint", "off"])
async def test_s3_is_believed_as_the_session_believes(s3_by_tls, tmp_path, monkeypatch, how):
    s3_by_tls.region = "eu-west-1"  # which is asked for by another way
    trusted = trust(how, tmp_path / "ca.pem", monkeypatch)
    async with s3_by_tls.store(ssl=trusted) as store:
        assert await read(store, "s3://b/k") == b"found"


@pytest.mark.parametrize(
    "trusted",
    [None, ssl.create_default_context(), aiohttp.Fingerprint(bytes(32))],
    ids=["authorities", "context", "fingerprint of the service"],
)
async def test_an_s3_of_no_known_authority_is_sent_nothing(s3_by_tls, trusted):
    async with s3_by_tls.store(ssl=trusted) as store:
        with pytest.raises(ConnectError):
            await read(store, "s3://b/k")
    assert not s3_by_tls.seen


async def test_requests_go_through_the_proxy(s3):
    asked = []

    async def proxy(reader, writer):
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with s3.store(
        s3_endpoint_url="http://s3.internal:9000", proxy=f"http://127.0.0.1:{port}"
    ) as store:
        with pytest.raises(ServiceUnavailable):
            await read(store, "s3://b/k")
    server.close()
    await server.wait_closed()
    assert asked == [b"GET http://s3.internal:9000/b/k HTTP/1.1\r\n"]


# -- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status, code, cls",
    [
        (403, "AccessDenied", AccessDeniedException),
        (403, "InvalidAccessKeyId", AccessDeniedException),
        (404, "NoSuchKey", UnknownServiceError),
        (404, "NoSuchBucket", UnknownServiceError),
        (409, "OperationAborted", UnknownServiceError),
        (500, "InternalError", InternalFailure),
        (503, "ServiceUnavailable", ServiceUnavailable),
        (503, "SlowDown", ThrottlingException),
    ],
)
@pytest.mark.parametrize("operation", ["GetObject", "ListObjectsV2", "PutObject"])
async def test_a_refusal_is_a_service_error(s3, status, code, cls, operation):
    async def refuse(seen, request):
        return refusal(status, code, "Because & so <on>.")

    s3.hook = refuse
    async with s3.store(retries=RetryPolicy(max_attempts=1)) as store:
        with pytest.raises(cls) as caught:
            await {
                "GetObject": lambda: store.get(at("s3://b/d/k")),
                "ListObjectsV2": lambda: store.list_page(S3Location("b", "d/"), ""),
                "PutObject": lambda: store.put(at("s3://b/d/k"), b"", content_type=None),
            }[operation]()
    error = caught.value
    assert isinstance(error, ServiceError)
    assert (error.status_code, error.code, error.operation) == (status, code, operation)
    assert error.request_id == "REQUEST1"
    assert "Because & so <on>: s3://b/d/" in str(error)
    assert len(s3.seen) == 1


async def test_what_s3_quotes_of_a_request_goes_no_further(s3, store):
    """A SignatureDoesNotMatch quotes the request's headers, the session token among them."""

    async def refuse(seen, request):
        quoted = "\n".join(f"{name}:{value}" for name, value in request.headers.items())
        return refusal(403, "SignatureDoesNotMatch", "It differs.", CanonicalRequest=quoted)

    s3.hook = refuse
    with pytest.raises(ServiceError) as caught:
        await read(store, "s3://b/k")
    assert caught.value.code == "SignatureDoesNotMatch"
    printed = "".join(traceback.format_exception(caught.value))
    assert TEMPORARY.session_token not in f"{printed} {caught.value!r} {vars(caught.value)}"


async def test_a_proxys_page_is_no_message(s3, store):
    async def page(seen, request):
        return refusal(502, "x" * 100, "y" * 10_000)

    s3.hook = page
    with pytest.raises(ServiceError) as caught:
        await read(store, "s3://b/k")
    assert len(str(caught.value)) < 1000


async def test_nobody_at_the_address_is_a_connect_error():
    session = S3Session(
        region="us-east-1", s3_endpoint_url="http://127.0.0.1:9", credentials=TEMPORARY
    )
    async with store_of(session) as store:
        with pytest.raises(ConnectError, match=r"127\.0\.0\.1:9: Connection refused") as caught:
            await read(store, "s3://b/k")
    assert caught.value.host == "127.0.0.1:9"


async def test_silence_is_a_read_timeout(s3):
    s3.hook = never
    async with s3.store(timeouts=Timeouts(read=0.05)) as store:
        with pytest.raises(ReadTimeoutError, match="s3://b/k"):
            await read(store, "s3://b/k")
    assert len(s3.seen) == 1


@pytest.mark.parametrize("purpose", ["look", "read", "download"])
async def test_silence_in_a_body_is_a_read_timeout(s3, purpose):
    async def stall(seen, request):
        response = await begin(request, 10, '"1"')
        await response.write(b"x")
        await asyncio.Event().wait()
        return response

    s3.hook = stall
    retries = RetryPolicy(max_attempts=1)
    async with s3.store(timeouts=Timeouts(idle=0.05), retries=retries) as store:
        found = await store.get(at("s3://b/k"), purpose=purpose)
        with pytest.raises(ReadTimeoutError, match="s3://b/k"):
            await found.read()


# -- what is tried again, and by whom -----------------------------------------------------------


async def test_a_look_is_one_request(s3, store):
    """Looks are repeated by the poller, in its own time: no second retry storm."""

    async def busy(seen, request):
        return refusal(503, "SlowDown", "Reduce your request rate.")

    s3.hook = busy
    with pytest.raises(ThrottlingException):
        await store.get(at("s3://b/d/k"))
    with pytest.raises(ThrottlingException):
        await store.list_page(S3Location("b", "d/"), "")
    assert s3.counts == {"GetObject": 1, "ListObjectsV2": 1}


@pytest.mark.parametrize("max_attempts", [1, 3])
async def test_a_download_is_tried_as_often_as_the_policy_says(s3, max_attempts):
    async def busy(seen, request):
        return refusal(503, "ServiceUnavailable", "Later.")

    s3.hook = busy
    async with s3.store(retries=RetryPolicy(max_attempts=max_attempts)) as store:
        with pytest.raises(ServiceUnavailable):
            await store.get(at("s3://b/k"), purpose="download")
    assert s3.counts == {"GetObject": max_attempts}


async def collect(found: StoredObject) -> bytes:
    return b"".join([chunk async for chunk in found.chunks()])


BODY = os.urandom(3_000_000)


def cut_first(s3: FakeS3, sent: int, then: bytes = BODY):
    async def hook(seen, request):
        if s3.counts["GetObject"] > 1:
            return None
        stored = s3.objects[seen.bucket, seen.key]
        s3.put(f"s3://{seen.bucket}/{seen.key}", then)
        return await cut_off(request, stored, sent)

    return hook


async def test_a_download_goes_on_where_it_broke_off(s3, store):
    s3.put("s3://b/k", BODY)
    s3.hook = cut_first(s3, 2_000_000)
    found = await store.get(at("s3://b/k"), purpose="download")
    assert await collect(found) == BODY
    assert s3.counts == {"GetObject": 2}


async def test_a_download_goes_on_after_the_rest_was_refused_for_a_moment(s3):
    s3.put("s3://b/k", BODY)

    async def stumble(seen, request):
        if s3.counts["GetObject"] == 1:
            return await cut_off(request, s3.objects["b", "k"], 2_000_000)
        if s3.counts["GetObject"] == 2:
            return refusal(503, "SlowDown", "Reduce your request rate.")
        return None

    s3.hook = stumble
    async with s3.store(retries=RetryPolicy(max_attempts=3)) as store:
        assert await collect(await store.get(at("s3://b/k"), purpose="download")) == BODY
    assert s3.counts == {"GetObject": 3}


async def test_a_download_that_goes_on_is_signed_with_the_credentials_of_then(s3):
    s3.put("s3://b/k", BODY)
    s3.token = "one"

    async def expire(seen, request):
        if s3.token == "two":
            return None
        s3.token = "two"
        return await cut_off(request, s3.objects["b", "k"], 2_000_000)

    s3.hook = expire
    async with s3.store(credentials=Counting("one", "two")) as store:
        found = await store.get(at("s3://b/k"), purpose="download")
        assert await collect(found) == BODY
    assert [seen.token for seen in s3.seen] == ["one", "two"]


@pytest.mark.parametrize("read_it", [collect, StoredObject.read])
async def test_a_look_that_broke_off_is_lost(s3, store, read_it):
    s3.put("s3://b/k", BODY)
    s3.hook = cut_first(s3, 2_000_000)
    found = await store.get(at("s3://b/k"))
    with pytest.raises(ConnectionLostError, match="s3://b/k broke off"):
        await read_it(found)


async def test_an_object_overwritten_while_it_is_read_is_never_a_mixture(s3, store):
    s3.put("s3://b/k", BODY)
    s3.hook = cut_first(s3, 2_000_000, then=BODY[::-1])
    found = await store.get(at("s3://b/k"), purpose="download")
    with pytest.raises(TransportError, match="was overwritten while it was read"):
        await collect(found)


async def test_a_version_that_is_gone_is_not_another(s3, store):
    s3.put("s3://b/k", b"one")
    etag = (await store.get(at("s3://b/k"))).etag
    assert await (await store.get(at("s3://b/k"), etag=etag)).read() == b"one"
    s3.put("s3://b/k", b"two")
    with pytest.raises(ServiceError) as caught:
        await store.get(at("s3://b/k"), etag=etag)
    assert (caught.value.status_code, caught.value.code) == (412, "PreconditionFailed")


async def test_an_empty_object_has_no_chunks(s3, store):
    s3.put("s3://b/k", b"")
    assert await collect(await store.get(at("s3://b/k"))) == b""
    assert await read(store, "s3://b/k") == b""


async def test_many_requests_at_once_are_held_to_a_number(s3, store):
    under_way = most = 0
    free = asyncio.Event()

    async def count(seen, request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await free.wait()
        under_way -= 1

    s3.hook = count
    s3.put("s3://b/k", b"found")
    reads = asyncio.gather(*[read(store, "s3://b/k") for _ in range(100)])
    await until(lambda: under_way == 64)
    free.set()
    assert await reads == [b"found"] * 100
    assert most == 64


@pytest.mark.parametrize("may_list", [True, False])
async def test_so_many_results_at_most_are_read_at_once(s3, may_list):
    """By their bodies, not by the heads of their answers alone."""
    under_way = most = 0
    free = asyncio.Event()

    async def serve(seen, request):
        nonlocal under_way, most
        if seen.operation != "GetObject" or (seen.bucket, seen.key) not in s3.objects:
            return None
        response = await begin(request, 200_000, '"1"')
        await response.write(b"x" * 1000)
        under_way += 1
        most = max(most, under_way)
        if under_way == 64:
            await asyncio.wait({asyncio.ensure_future(free.wait())}, timeout=0.5)
            free.set()
        await free.wait()
        await response.write(b"x" * 199_000)
        under_way -= 1
        return response

    s3.hook = serve
    s3.may_list = may_list
    for number in range(200):
        s3.put(f"s3://b/d/{number}", "")
    async with s3.session() as session:
        handles = [
            session.async_invocation(output_location=f"s3://b/d/{number}") for number in range(200)
        ]
        results = await asyncio.gather(*[handle.result(60) for handle in handles])
    assert {one.size for one in results} == {200_000}
    assert most == 64


async def test_uploads_do_not_hold_up_looks(s3):
    held = asyncio.Event()

    async def hold(seen, request):
        if seen.operation == "PutObject":
            await held.wait()

    s3.hook = hold
    s3.put("s3://b/k", "found")
    async with s3.session() as session:
        uploads = [asyncio.create_task(session.upload_input(b"x", "s3://b/in/")) for _ in range(70)]
        await until(lambda: s3.counts["PutObject"] == 64)
        handle = session.async_invocation(output_location="s3://b/k")
        assert (await handle.result(30)).body == b"found"
        held.set()
        await asyncio.gather(*uploads)


async def test_so_many_uploads_in_parts_at_once_as_memory_bears(s3, store):
    held = asyncio.Event()

    async def hold(seen, request):
        if seen.operation == "CreateMultipartUpload":
            await held.wait()

    s3.hook = hold
    body = LARGE[:8_388_609]
    uploads = [
        asyncio.create_task(store.put(at(f"s3://b/{number}"), body, content_type=None))
        for number in range(6)
    ]
    await until(lambda: s3.counts["CreateMultipartUpload"] == 4)
    # What is put whole goes past them.
    await store.put(at("s3://b/small"), b"x", content_type=None)
    assert s3.counts["CreateMultipartUpload"] == 4
    held.set()
    await asyncio.gather(*uploads)
    assert [len(s3.objects["b", str(number)][0]) for number in range(6)] == [8_388_609] * 6


@pytest.mark.parametrize("again", [collect, StoredObject.read])
@pytest.mark.parametrize("read_it", [collect, StoredObject.read])
async def test_an_object_is_read_once(s3, store, read_it, again):
    s3.put("s3://b/k", b"found")
    found = await store.get(at("s3://b/k"))
    assert await read_it(found) == b"found"
    with pytest.raises(TransportError, match="s3://b/k was read or closed before"):
        await again(found)


# -- uploads ------------------------------------------------------------------------------------

LARGE = os.urandom(20_000_000)


@pytest.fixture
def large(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(LARGE)
    return path


@pytest.mark.parametrize("length", [0, 1, 8_388_608])
@pytest.mark.parametrize("from_file", [True, False])
async def test_what_fits_into_a_part_is_one_request(s3, store, tmp_path, length, from_file):
    body = LARGE[:length]
    path = tmp_path / "small"
    path.write_bytes(body)
    await store.put(at("s3://b/k"), path if from_file else body, content_type="text/x")
    assert s3.objects["b", "k"] == (body, "text/x")
    assert s3.counts == {"PutObject": 1}


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "file"])
async def test_a_longer_one_goes_in_parts(s3, store, large, kind):
    body = large if kind == "file" else kind(LARGE)
    await store.put(at("s3://b/k"), body, content_type="text/x")
    assert s3.objects["b", "k"] == (LARGE, "text/x")
    assert s3.counts == {
        "CreateMultipartUpload": 1,
        "UploadPart": 3,
        "CompleteMultipartUpload": 1,
    }


async def test_parts_of_a_large_file_reach_moto_whole(moto_store, moto_s3, large):
    await moto_store.put(at("s3://object-store-tests/large"), large, content_type=None)
    found = await asyncio.to_thread(moto_s3.get_object, Bucket="object-store-tests", Key="large")
    assert found["Body"].read() == LARGE


@pytest.mark.parametrize(
    "operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"]
)
async def test_a_part_that_fails_once_is_sent_again(s3, store, large, operation):
    async def stumble(seen, request):
        if seen.operation == operation and s3.counts[operation] == 1:
            return refusal(500, "InternalError", "We encountered an internal error.")
        return None

    s3.hook = stumble
    body = b"small" if operation == "PutObject" else large
    await store.put(at("s3://b/k"), body, content_type=None)
    assert s3.objects["b", "k"].body == (b"small" if operation == "PutObject" else LARGE)


@pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload"])
async def test_a_failed_upload_leaves_nothing(s3, store, large, operation):
    async def refuse(seen, request):
        if seen.operation == operation:
            return refusal(403, "AccessDenied", "Access Denied")
        return None

    s3.hook = refuse
    with pytest.raises(AccessDeniedException, match="Allow s3:PutObject"):
        await store.put(at("s3://b/k"), large, content_type=None)
    assert not s3.objects
    assert not s3.parts
    assert s3.counts["AbortMultipartUpload"] == 1


@pytest.mark.parametrize(
    "operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"]
)
async def test_a_cancelled_upload_leaves_no_half_object(s3, store, large, operation):
    held = asyncio.Event()

    async def hold(seen, request):
        if seen.operation == operation:
            await held.wait()

    s3.hook = hold
    body = b"small" if operation == "PutObject" else large
    upload = asyncio.create_task(store.put(at("s3://b/k"), body, content_type=None))
    await until(lambda: s3.counts[operation])
    upload.cancel()
    held.set()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert not s3.parts
    whole = b"small" if operation == "PutObject" else LARGE
    assert all(stored.body == whole for stored in s3.objects.values())


async def test_a_completion_that_fails_behind_its_200_is_told(s3, store, large):
    """As S3 does when it has sent the head before it is through ("CompleteMultipartUpload")."""

    async def fail(seen, request):
        if seen.operation == "CompleteMultipartUpload":
            await request.read()
            return document("<Error><Code>InternalError</Code><Message>Ours.</Message></Error>")
        return None

    s3.hook = fail
    with pytest.raises(InternalFailure, match="Ours") as caught:
        await store.put(at("s3://b/k"), large, content_type=None)
    assert (caught.value.code, caught.value.status_code) == ("InternalError", 200)
    assert not s3.parts


@pytest.mark.parametrize("code, stay", [("NoSuchUpload", False), ("AccessDenied", True)])
async def test_a_log_tells_of_parts_that_stay(s3, store, caplog, code, stay):
    async def refuse(seen, request):
        if seen.operation == "CompleteMultipartUpload":
            return refusal(404, "NoSuchUpload", "The specified upload does not exist.")
        if seen.operation == "AbortMultipartUpload":
            return refusal(403 if stay else 404, code, "Refused.")
        return None

    s3.hook = refuse
    with pytest.raises(UnknownServiceError, match="NoSuchUpload"):
        await store.put(at("s3://b/k"), LARGE, content_type=None)
    assert s3.counts["AbortMultipartUpload"] == 1
    assert ("the parts of an upload stay in S3" in caplog.text) == stay


@pytest.mark.parametrize("content_type", ["a\r\nx-evil: 1", "\u00e9", "", " ", "a\x00"])
async def test_a_mime_type_that_no_header_holds_sends_nothing(s3, store, content_type):
    with pytest.raises(ParameterValidationError, match="content_type"):
        await store.put(at("s3://b/k"), b"x", content_type=content_type)
    assert not s3.seen


async def test_a_file_that_cannot_be_read_is_an_os_error(s3, store, tmp_path):
    with pytest.raises(FileNotFoundError):
        await store.put(at("s3://b/k"), tmp_path / "missing", content_type=None)
    with pytest.raises(IsADirectoryError):
        await store.put(at("s3://b/k"), tmp_path, content_type=None)
    assert not s3.seen


async def test_credentials_that_end_during_an_upload_are_renewed(s3, large):
    async def hook(seen, request):
        if seen.operation == "UploadPart":
            s3.token = "two"

    s3.hook = hook
    s3.token = "one"
    async with s3.store(credentials=Counting("one", "one", "two")) as store:
        await store.put(at("s3://b/k"), large, content_type=None)
    assert s3.objects["b", "k"].body == LARGE


async def test_an_upload_whose_provider_fails_halfway_is_its_error(s3, large):
    class Ending(Counting):
        async def get_credentials(self):
            if self.asked == 2:
                raise CredentialsError("That was all")
            return await super().get_credentials()

    async with s3.store(credentials=Ending(TEMPORARY.session_token)) as store:
        with pytest.raises(CredentialsError, match="That was all"):
            await store.put(at("s3://b/k"), large, content_type=None)
    assert not s3.objects
    assert not s3.parts
