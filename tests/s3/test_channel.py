"""Where signed requests to S3 go, by whose clock and key, and what an answer may be."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING

import boto3
import pytest
from aiohttp import web
from botocore.config import Config as BotoConfig
from support.cancelling import cancel_at
from support.certificates import AUTHORITY, serving, trusting
from support.fake_s3 import FakeS3, at, document, keys, read, refusal
from support.raw_server import Connection, RawServer, answer
from support.sessions import KEYS, TEMPORARY
from support.sigv4_oracle import botocore_signed
from support.tunnel import tunnel_to
from support.waiting import turns, until

from aiosmrt import RetryPolicy, Timeouts
from aiosmrt._s3 import channel, hosts, object_store
from aiosmrt._s3.locations import S3Location
from aiosmrt.errors import (
    ConnectError,
    ConnectionLostError,
    ServiceError,
    TransportError,
    UnknownServiceError,
)

if TYPE_CHECKING:
    from aiosmrt._s3.object_store import ObjectStore

LARGE = bytes(9_000_000)
REDIRECTS = [301, 302, 303, 307, 308]


@pytest.fixture
async def store(s3):
    async with s3.store() as store:
        yield store


OPERATIONS = {
    "GetObject": lambda store: store.get(at("s3://b/d/k")),
    "download": lambda store: store.get(at("s3://b/d/k"), purpose="download"),
    "ListObjectsV2": lambda store: store.list_page(S3Location("b", "d/"), ""),
    "PutObject": lambda store: store.put(at("s3://b/d/k"), b"private", content_type=None),
    "CreateMultipartUpload": lambda store: store.put(at("s3://b/k"), LARGE, content_type=None),
    "UploadPart": lambda store: store.put(at("s3://b/k"), LARGE, content_type=None),
    "CompleteMultipartUpload": lambda store: store.put(at("s3://b/k"), LARGE, content_type=None),
}


def test_a_request_does_not_show_its_body():
    request = channel.S3Request(
        operation="PutObject", method="PUT", location=at("s3://b/k"), path="/k", body=b"private"
    )
    assert "private" not in repr(request)


# -- attempts -----------------------------------------------------------------------------------


class Channel:
    """What counts of a channel between two attempts."""

    attempts = 13

    def check_open(self) -> None:
        pass


async def test_delays_between_attempts_double_up_to_a_limit_and_begin_again_after_progress():
    delays = []

    async def sleep(seconds: float) -> None:
        delays.append(seconds)

    patience = channel.Patience(Channel(), sleep=sleep, rand=lambda: 0.5)
    for _ in range(12):
        await patience.wait(ConnectError())
    with pytest.raises(ConnectError):
        await patience.wait(ConnectError())
    patience.renew()
    await patience.wait(ConnectError())
    whole = [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 20.0, 20.0, 20.0, 0.05]
    assert delays == pytest.approx([delay * 0.5 for delay in whole])


# -- redirects ----------------------------------------------------------------------------------


@pytest.fixture
async def elsewhere():
    """Another host, to which nothing may be sent."""

    async def handle(connection: Connection) -> None:
        await connection.send(answer(b"EVIL"))

    async with RawServer(handle) as server:
        yield server
        await turns()
        assert not server.connections


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", REDIRECTS)
async def test_no_redirect_is_followed(s3, store, elsewhere, operation, status):
    async def redirect(seen, request):
        if seen.operation in {operation, "GetObject"}:
            return web.Response(status=status, headers={"Location": f"{elsewhere.url}/stolen"})
        return None

    s3.hook = redirect
    with pytest.raises(UnknownServiceError, match="not redirected") as caught:
        await OPERATIONS[operation](store)
    assert caught.value.status_code == status
    assert not s3.parts


@pytest.mark.parametrize("named", ["evil.example", "eu-west-1.evil.example/", "x\ty", "a" * 70])
async def test_a_region_that_is_none_leaves_the_refusal(s3, store, named):
    async def move(seen, request):
        return refusal(400, "AuthorizationHeaderMalformed", "Elsewhere.", Region=named)

    s3.hook = move
    if "." not in named and "\t" not in named and len(named) < 64:
        pytest.fail("it is one")
    with pytest.raises(UnknownServiceError, match="AuthorizationHeaderMalformed"):
        await read(store, "s3://b/k")
    assert s3.counts == {"GetObject": 1}


# -- AWS's hosts --------------------------------------------------------------------------------

AWS_NAMES = [f"*.s3.{region}.amazonaws.com" for region in ("us-east-1", "eu-west-1")] + [
    "s3.us-east-1.amazonaws.com"
]


@pytest.fixture
async def aws():
    """S3 behind AWS's names, and the proxy that leads there."""
    async with FakeS3(serving(*AWS_NAMES)) as s3, tunnel_to(s3.url) as tunnel:
        yield s3, tunnel


def aws_store(s3: FakeS3, tunnel, **keywords):
    return s3.store(s3_endpoint_url=None, proxy=tunnel.url, ssl=trusting(), **keywords)


async def test_a_bucket_has_a_host_of_its_own_unless_it_has_dots(aws):
    s3, tunnel = aws
    for bucket in ("plain", "with.dots"):
        s3.put(f"s3://{bucket}/a/k", bucket)
    async with aws_store(s3, tunnel) as store:
        assert await read(store, "s3://plain/a/k") == b"plain"
        assert await keys(store, S3Location("plain", "a/")) == ["a/k"]
        assert await read(store, "s3://with.dots/a/k") == b"with.dots"
    assert tunnel.asked == [
        "plain.s3.us-east-1.amazonaws.com:443",
        "s3.us-east-1.amazonaws.com:443",
    ]


@pytest.mark.parametrize("status", [301, 307])
async def test_a_bucket_elsewhere_is_asked_for_at_its_regions_own_host(aws, elsewhere, status):
    s3, tunnel = aws
    s3.put("s3://b3b/k", "found")
    s3.region = "eu-west-1"

    async def move(seen, request):
        if seen.region == s3.region:
            return None
        moved = refusal(status, "Redirect", "Elsewhere.", Endpoint="evil.example")
        moved.headers["x-amz-bucket-region"] = s3.region
        moved.headers["Location"] = f"{elsewhere.url}/stolen"
        return moved

    s3.hook = move
    async with aws_store(s3, tunnel) as store:
        for _ in range(2):
            assert await read(store, "s3://b3b/k") == b"found"
    assert tunnel.asked == [
        f"b3b.s3.{region}.amazonaws.com:443" for region in ("us-east-1", "eu-west-1")
    ]
    assert [seen.region for seen in s3.seen] == ["us-east-1", "eu-west-1", "eu-west-1"]


async def test_a_region_of_another_partition_is_not_gone_to(aws):
    s3, tunnel = aws
    s3.region = "cn-north-1"
    async with aws_store(s3, tunnel) as store:
        with pytest.raises(UnknownServiceError, match="PermanentRedirect"):
            await read(store, "s3://b3b/k")
    assert tunnel.asked == ["b3b.s3.us-east-1.amazonaws.com:443"]


async def test_connections_are_kept_to_so_many_hosts(aws):
    s3, tunnel = aws
    async with aws_store(s3, tunnel) as store:
        for number in range(70):
            s3.put(f"s3://bucket-{number}/k", "found")
            assert await read(store, f"s3://bucket-{number}/k") == b"found"
        await until(lambda: tunnel.open == 64)
        held = [
            await store.get(at(f"s3://bucket-{number}/k"), purpose=("look", "read")[number % 2])
            for number in range(70)
        ]
        assert len(tunnel.asked) == 140  # those used longest ago were always those to come
        assert [await one.read() for one in held] == [b"found"] * 70
    await until(lambda: not tunnel.open)


async def test_no_request_closes_what_another_is_about_to_use(aws, monkeypatch):
    monkeypatch.setattr(hosts, "MAX_HOSTS", 1)
    s3, tunnel = aws
    async with aws_store(s3, tunnel) as store:
        for turn in range(2):
            uris = [f"s3://bucket-{turn}-{number}/k" for number in range(6)]
            for uri in uris:
                s3.put(uri, "found")
            assert await asyncio.gather(*[read(store, uri) for uri in uris]) == [b"found"] * 6


# -- signatures ---------------------------------------------------------------------------------

PIECES = ["+", "%", " ", "  ", "é", "日本", "//", ".", "..", "~", "/", "a", "Z9", "-_", "%2F", "%%"]
PIECES += ["?", "#", "&=", "'()*!", "\\", '"<>', "\t", "\n", "\x7f", "\x01", "\U0001f600", ";:@,$"]


def random_keys(number: int) -> list[str]:
    chooser = random.Random(16)
    made = {"".join(chooser.choices(PIECES, k=chooser.randint(1, 8))) for _ in range(number * 2)}
    return ["/leading", "a//b", "./a", "..", *sorted(made)[:number]]


@pytest.mark.parametrize("token", [False, True])
async def test_keys_are_encoded_and_signed_as_botocore_does(s3, token):
    credentials = TEMPORARY if token else KEYS
    client = boto3.client(
        "s3",
        endpoint_url=s3.url,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        config=BotoConfig(s3={"addressing_style": "path"}),
    )
    urls: list[str] = []

    def capture(request, **_):
        urls.append(request.url)
        raise InterruptedError

    client.meta.events.register("before-send.s3", capture)
    wanted = random_keys(300)
    for key in wanted:
        with pytest.raises(InterruptedError):
            client.get_object(Bucket="b", Key=key)
    client.close()
    sent: list[web.Request] = []

    async def keep(seen, request):
        sent.append(request)
        return web.Response(status=404)

    s3.hook = keep
    async with s3.store(credentials=credentials) as store:
        for key in wanted:
            with pytest.raises(ServiceError):
                await store.get(S3Location("b", key))
    assert [f"{s3.url}{request.raw_path}" for request in sent] == urls
    assert [seen.key for seen in s3.seen] == wanted
    for request in sent:
        told = request.headers["Authorization"]
        names = told.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        theirs = botocore_signed(
            method="GET",
            url=f"{s3.url}{request.raw_path}",
            headers=[("Host", request.host)],
            body=b"",
            credentials=credentials,
            region="us-east-1",
            service="s3",
            timestamp=request.headers["X-Amz-Date"],
            signs=lambda name, names=names: name in names,
        )
        assert dict(theirs)["Authorization"] == told


@pytest.mark.parametrize("kind", ["service", "s3"])
async def test_a_clock_that_was_learnt_counts_for_the_service_and_for_s3(s3, monkeypatch, kind):
    """An hour is wrong, which either of the two says first."""
    from aiosmrt._aws.signer import SigV4Signer

    monkeypatch.setitem(SigV4Signer.__init__.__kwdefaults__, "clock", lambda: time.time() - 3600)
    dates: list[str] = []

    async def check(seen, request):
        dates.append(request.headers["X-Amz-Date"])
        signed_at = datetime.strptime(dates[-1], "%Y%m%dT%H%M%S%z")
        if abs((datetime.now(timezone.utc) - signed_at).total_seconds()) < 900:
            return None
        return refusal(403, "RequestTimeTooSkewed", "The difference is too large.")

    async def serve(connection: Connection) -> None:
        while True:
            request = await connection.request()
            service.requests.append(request)
            signed_at = datetime.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%S%z")
            now = datetime.now(timezone.utc)
            late = abs((now - signed_at).total_seconds()) > 300
            body, status = (b'{"message": "late"}', "403 Forbidden") if late else (b"ok", "200 OK")
            headers = {"Date": format_datetime(now, usegmt=True)}
            if late:
                headers["x-amzn-ErrorType"] = "RequestTimeTooSkewed"
            await connection.send(answer(body, status, headers))

    s3.hook = check
    s3.put("s3://b/k", "found")
    async with RawServer(serve) as service:
        async with s3.session(endpoint_url=service.url) as session:
            handle = session.async_invocation(output_location="s3://b/k")
            if kind == "service":
                assert (await session.invoke_endpoint("e", b"")).body == b"ok"
                assert (await handle.result(20)).body == b"found"
                assert (len(service.requests), len(dates)) == (2, 1)
            else:
                assert (await handle.result(20)).body == b"found"
                assert (await session.invoke_endpoint("e", b"")).body == b"ok"
                assert (len(service.requests), len(dates)) == (1, 2)


async def test_a_clock_is_corrected_once_for_each_request(s3, store):
    async def refuse(seen, request):
        answered = refusal(403, "RequestTimeTooSkewed", "No.")
        answered.headers["Date"] = f"Thu, 01 Jan {2000 + len(s3.seen)} 00:00:00 GMT"
        return answered

    s3.hook = refuse
    with pytest.raises(ServiceError, match="Set this machine's clock"):
        await read(store, "s3://b/k")
    assert len(s3.seen) == 2


async def test_s3_is_told_the_same_user_agent(s3):
    told = []

    async def look(seen, request):
        told.append(request.headers["User-Agent"])

    s3.hook = look
    s3.put("s3://b/k", "found")
    async with s3.store(user_agent_extra="mine/1") as store:
        await read(store, "s3://b/k")
    assert told[0].startswith("aiosmrt/")
    assert told[0].endswith("mine/1")


# -- TLS ----------------------------------------------------------------------------------------


async def test_s3_is_shown_the_certificate_that_the_session_presents():
    asking = serving()
    asking.verify_mode = ssl.CERT_REQUIRED
    AUTHORITY.configure_trust(asking)
    presenting = trusting()
    AUTHORITY.issue_cert("client@example.org").configure_cert(presenting)
    async with FakeS3(asking) as s3:
        s3.put("s3://b/k", "found")
        async with s3.store(ssl=presenting) as store:
            assert await read(store, "s3://b/k") == b"found"
            await store.put(at("s3://b/new"), b"body", content_type=None)
        s3.seen.clear()
        async with s3.store(ssl=trusting()) as store:
            with pytest.raises(TransportError):
                await read(store, "s3://b/k")
        assert not s3.seen


async def test_a_fingerprint_is_s3s_too_where_both_have_one_address():
    from hashlib import sha256

    import aiohttp

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate = AUTHORITY.issue_cert("127.0.0.1")
    certificate.configure_cert(context)
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    async with FakeS3(context) as s3:
        s3.put("s3://b/k", "found")
        own = aiohttp.Fingerprint(sha256(der).digest())
        async with s3.store(endpoint_url=s3.url, ssl=own) as store:
            assert await read(store, "s3://b/k") == b"found"
        other = aiohttp.Fingerprint(bytes(32))
        async with s3.store(endpoint_url=s3.url, ssl=other) as store:
            with pytest.raises(ConnectError):
                await read(store, "s3://b/k")


# -- hostile answers ----------------------------------------------------------------------------

LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
    "<ListBucketResult><Contents><Key>&b;</Key></Contents></ListBucketResult>"
)


@pytest.mark.parametrize(
    "text, what",
    [
        (LAUGHS, "declares a document type"),
        ('<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><ListBucketResult/>', "document type"),
        ("<ListBucketResult>" * 1000, "nested too deep"),
        ("<ListBucketResult><Contents>", "not well-formed"),
        ("<ListBucketResult>&unknown;</ListBucketResult>", "not well-formed"),
        ("<html><body>Log in</body></html>", "is no ListBucketResult"),
        ("", "not well-formed"),
        ("<ListBucketResult>" + "<x/>" * 2_200_000 + "</ListBucketResult>", "longer than"),
    ],
)
async def test_what_is_no_listing_is_a_transport_error(s3, store, text, what):
    async def hostile(seen, request):
        return document(text) if text else web.Response()

    s3.hook = hostile
    with pytest.raises(TransportError, match=what) as caught:
        await store.list_page(S3Location("b", "d/"), "")
    assert "s3://b/d/" in str(caught.value)
    assert len(str(caught.value)) < 500
    s3.hook = None
    s3.put("s3://b/d/k", "")
    assert await keys(store, S3Location("b", "d/")) == ["d/k"]


@pytest.mark.parametrize("status", [200, 403])
async def test_an_answer_of_single_bytes_without_an_end_is_given_up(s3, store, monkeypatch, status):
    monkeypatch.setattr(channel, "DOCUMENT_SECONDS", 0.2)
    monkeypatch.setattr(channel, "REFUSAL_SECONDS", 0.2)

    async def drip(seen, request):
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.001)

    s3.hook = drip
    cls, what = (TransportError, "has not ended") if status == 200 else (ServiceError, "403")
    with pytest.raises(cls, match=what):
        await store.list_page(S3Location("b", "d/"), "")


async def test_pages_without_an_end_are_given_up(s3, store):
    async def hostile(seen, request):
        return document(
            "<ListBucketResult><NextContinuationToken>more</NextContinuationToken>"
            "</ListBucketResult>"
        )

    s3.hook = hostile
    with pytest.raises(TransportError, match="more follow"):
        await store.list_page(S3Location("b", "d/"), "")
    assert s3.counts["ListObjectsV2"] == 100


@pytest.mark.parametrize("body", [LAUGHS, "<Error>" * 1000, "\x00\xff", "<Error><Code>A B</Code>"])
async def test_a_refusal_with_a_hostile_document_goes_by_its_status(s3, store, body):
    async def hostile(seen, request):
        return web.Response(status=403, body=body.encode("latin-1"))

    s3.hook = hostile
    with pytest.raises(ServiceError) as caught:
        await read(store, "s3://b/k")
    assert (caught.value.status_code, caught.value.code) == (403, "403")


@pytest.mark.parametrize(
    "head, cls",
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            TransportError,
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", TransportError),
        (b"HTTP/1.1 204 No Content\r\n\r\n", TransportError),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 0\r\n\r\n", TransportError),
        (b"SSH-2.0-x\r\n\r\n", TransportError),
        (b"", ConnectionLostError),
    ],
)
async def test_an_answer_that_is_no_object_is_a_transport_error(s3, head, cls):
    async def handle(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(head)

    async with RawServer(handle) as server:
        async with s3.store(s3_endpoint_url=server.url) as store:
            with pytest.raises(cls) as caught:
                await read(store, "s3://b/k")
    assert caught.value.operation == "GetObject"
    assert "s3://b/k" in str(caught.value)


async def test_a_listing_that_breaks_off_is_a_lost_connection(s3, store):
    async def cut(seen, request):
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"<ListBucketResult>")
        request.transport.close()
        return response

    s3.hook = cut
    with pytest.raises(ConnectionLostError, match="s3://b/d/"):
        await store.list_page(S3Location("b", "d/"), "")


# -- the end ------------------------------------------------------------------------------------


async def test_closing_drops_connections_at_once(s3):
    entered = asyncio.Event()

    async def hold(seen, request):
        entered.set()
        await asyncio.Event().wait()

    s3.hook = hold
    async with s3.store(retries=RetryPolicy(max_attempts=5)) as store:
        under_way = asyncio.create_task(store.get(at("s3://b/k"), purpose="download"))
        await entered.wait()
        store.close()
        with pytest.raises(TransportError, match="is closed"):
            await under_way
        with pytest.raises(TransportError, match="is closed"):
            await read(store, "s3://b/k")
    assert len(s3.seen) == 1


async def read_it(store: ObjectStore, purpose: str) -> None:
    found = await store.get(at("s3://b/d/k"), purpose=purpose)
    assert await found.read() == b"found"


@pytest.mark.parametrize(
    "use",
    [
        lambda store: read_it(store, "look"),
        lambda store: read_it(store, "download"),
        OPERATIONS["ListObjectsV2"],
        OPERATIONS["PutObject"],
        OPERATIONS["UploadPart"],
    ],
    ids=["look", "download", "list", "put", "put parts"],
)
async def test_a_cancellation_at_any_await_leaves_nothing_held(s3, monkeypatch, use):
    # With a place for one alone, a place that was not given back would end all that follows.
    monkeypatch.setattr(object_store, "CONCURRENT_REQUESTS", 1)
    monkeypatch.setattr(object_store, "CONCURRENT_MULTIPART", 1)
    async with s3.store() as store:
        number = 0
        while True:
            s3.put("s3://b/d/k", b"found")
            work = asyncio.ensure_future(_cancelled_at(use(store), number))
            if not await work:
                break
            number += 1
        assert number > 1
        s3.put("s3://b/d/k", b"found")
        await use(store)
        assert not s3.parts


async def _cancelled_at(work, number: int) -> bool:
    try:
        return await cancel_at(work, number)
    except asyncio.CancelledError:
        return True


async def test_a_connection_that_s3_has_closed_meanwhile_is_replaced(s3):
    async def serve(connection: Connection) -> None:
        await connection.reader.readuntil(b"\r\n\r\n")
        await connection.send(answer(b"found"))

    async with RawServer(serve) as server:
        async with s3.store(s3_endpoint_url=server.url, timeouts=Timeouts(read=5)) as store:
            for _ in range(3):
                assert await read(store, "s3://b/k") == b"found"
    assert server.connections == 3
