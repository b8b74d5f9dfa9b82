"""S3's refusals, and the errors of ours that they come to."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.fake_s3 import S3Session, store_of
from support.sessions import TEMPORARY

from aiosmrt import Timeouts
from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.object_errors import (
    Refusal,
    is_absence,
    is_older,
    is_passing,
    is_refusal_of_all,
    is_refusal_of_listing,
    read_refusal,
)
from aiosmrt.errors import (
    AccessDeniedException,
    ConnectError,
    ConnectionLostError,
    ConnectTimeoutError,
    InternalFailure,
    ReadTimeoutError,
    ThrottlingException,
    TransportError,
    UnknownServiceError,
)


async def failure_at(url: str, **timeouts: float) -> Exception:
    """What a GetObject there comes to."""
    session = S3Session(
        region="us-east-1",
        s3_endpoint_url=url,
        credentials=TEMPORARY,
        timeouts=Timeouts(**timeouts),
    )
    async with store_of(session) as store:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the test looks at its type
            await store.get(S3Location("b", "k"))
    return caught.value


async def test_an_address_where_nobody_answers_is_a_connect_timeout():
    """A queue that is full: the system drops what comes after."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex(address)
        error = await failure_at(f"http://127.0.0.1:{address[1]}", connect=0.2)
        for one in filling:
            one.close()
    assert isinstance(error, ConnectTimeoutError)
    assert error.host == f"127.0.0.1:{address[1]}"


@pytest.mark.parametrize(
    "scheme, answer, cls",
    [
        ("http", b"", ConnectionLostError),
        ("http", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", TransportError),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", TransportError),
    ],
)
async def test_an_answer_that_is_none_of_s3s_is_a_transport_error(scheme, answer, cls):
    async def handle(reader, writer):
        await reader.read(10)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    error = await failure_at(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    server.close()
    await server.wait_closed()
    assert isinstance(error, cls)
    assert is_passing(error)


def refused(status_code: int, body: str = "", **headers: str) -> Refusal:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_refusal(status_code, given, body.encode(), operation="GetObject", uri="s3://b/k")


@pytest.mark.parametrize(
    "status_code, body, cls",
    [
        (403, "", AccessDeniedException),
        (500, "<html>no</html>", InternalFailure),
        (418, "", UnknownServiceError),
        (503, "<Error><Code>SlowDown</Code></Error>", ThrottlingException),
        (503, "<Error><Code>SlowDown</Code>and then it broke", ThrottlingException),
    ],
)
def test_an_answer_without_a_document_goes_by_its_status(status_code, body, cls):
    found = refused(status_code, body)
    assert type(found.error) is cls
    assert found.error.status_code == status_code
    assert "S3 gave no message: s3://b/k" in str(found.error)
    assert found.cause is None


@pytest.mark.parametrize(
    "status_code, code, headers, cause, region",
    [
        (301, "PermanentRedirect", {}, "region", None),
        (301, "", {"x_amz_bucket_region": "eu-west-1"}, "region", "eu-west-1"),
        (307, "TemporaryRedirect", {"x_amz_bucket_region": "eu-west-1"}, "region", "eu-west-1"),
        (302, "", {}, "region", None),
        (303, "", {}, None, None),
        (304, "", {}, None, None),
        (308, "", {}, None, None),
        (400, "AuthorizationHeaderMalformed", {}, "region", None),
        (400, "IllegalLocationConstraintException", {}, "region", None),
        (400, "ExpiredToken", {}, "credentials", None),
        (403, "RequestTimeTooSkewed", {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}, "clock", None),
        (403, "AccessDenied", {"x_amz_bucket_region": "eu-west-1"}, None, "eu-west-1"),
    ],
)
def test_what_can_be_mended_is_told(status_code, code, headers, cause, region):
    body = f"<Error><Code>{code}</Code></Error>" if code else ""
    found = refused(status_code, body, **headers)
    assert (found.cause, found.region, found.date) == (cause, region, headers.get("Date"))


def test_a_request_id_is_in_the_document_or_in_a_header():
    assert refused(404, "", x_amz_request_id="A").error.request_id == "A"
    assert refused(404, "<Error><RequestId>B</RequestId></Error>").error.request_id == "B"


@pytest.mark.parametrize(
    "error, absence, passing, unlisted",
    [
        (UnknownServiceError(code="NoSuchKey", status_code=404), True, False, False),
        (UnknownServiceError(code="NoSuchBucket", status_code=404), False, False, False),
        (AccessDeniedException("s3:ListBucket", status_code=403), False, False, True),
        (AccessDeniedException("s3:GetObject", status_code=403), False, False, False),
        (InternalFailure(status_code=500), False, True, False),
        (ThrottlingException(code="SlowDown", status_code=503), False, True, False),
        (UnknownServiceError(code="RequestTimeout", status_code=400), False, True, False),
        (ConnectError(), False, True, False),
        (ReadTimeoutError(), False, True, False),
    ],
)
def test_what_an_error_says_of_the_object(error, absence, passing, unlisted):
    assert is_absence(error) is absence
    assert is_passing(error) is passing
    assert is_refusal_of_listing(error) is unlisted
    assert not is_older(error)


@pytest.mark.parametrize("status_code", [429, 500, 502, 503, 504])
def test_a_status_that_passes_needs_no_document(status_code):
    assert is_passing(UnknownServiceError(code=str(status_code), status_code=status_code))
    assert is_passing(refused(status_code).error)


@pytest.mark.parametrize("status_code", [400, 403, 404, 409, 428, 430, 499, 501, 505])
def test_other_statuses_stay(status_code):
    assert not is_passing(refused(status_code).error)


@pytest.mark.parametrize(
    "status_code, code",
    [(301, "PermanentRedirect"), (307, "TemporaryRedirect"), (302, "302"), (404, "404")],
)
def test_an_answer_without_a_document_has_a_code(status_code, code):
    assert refused(status_code).error.code == code


def test_an_object_from_before_is_older():
    assert is_older(refused(304).error)


@pytest.mark.parametrize("code", ["NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_some_refusals_are_everyones(code):
    assert is_refusal_of_all(UnknownServiceError(code=code, status_code=403))


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied", "InvalidObjectState", "SlowDown"])
def test_others_are_the_objects_own(code):
    assert not is_refusal_of_all(UnknownServiceError(code=code, status_code=403))
    assert not is_refusal_of_all(ConnectError())


@pytest.mark.parametrize(
    "code, said",
    [
        ("AccessDenied", "Allow s3:GetObject"),
        ("InvalidAccessKeyId", "not a missing permission"),
        ("RequestTimeTooSkewed", "Set this machine's clock"),
    ],
)
def test_what_to_do_next_is_of_s3_and_not_of_a_model(code, said):
    found = refused(403, f"<Error><Code>{code}</Code></Error>")
    assert said in str(found.error)
    assert "odel" not in str(found.error)
