"""obstore's exceptions, made by obstore itself, and the errors of ours that they come to."""

from __future__ import annotations

import asyncio
import socket

import pytest
from support.fake_s3 import store_of
from support.sessions import TEMPORARY

from aiosmrt import Session, Timeouts
from aiosmrt._s3.object_errors import (
    is_absence,
    is_passing,
    is_refusal_of_all,
    is_refusal_of_listing,
    read_failure,
)
from aiosmrt._s3.object_store import S3Location
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
    session = Session(
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
        # Without the date that GetObject always has.
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


@pytest.mark.parametrize(
    "text, status_code, cls",
    [
        ("status code: 403 Forbidden: ", 403, AccessDeniedException),
        ("status code: 500 Internal Server Error: <html>no</html>", 500, InternalFailure),
        ("status code: 418 I'm a teapot: ", 418, UnknownServiceError),
        ("status code: 503: <Code>SlowDown</Code>", 503, ThrottlingException),
    ],
)
def test_an_answer_without_a_document_goes_by_its_status(text, status_code, cls):
    found = read_failure(Exception(text), operation="GetObject", uri="s3://b/k", host="h")
    assert type(found.error) is cls
    assert found.error.status_code == status_code
    assert "S3 gave no message: s3://b/k" in str(found.error)
    assert not found.is_redirect


def test_an_exception_of_no_known_kind_shows_nothing_of_itself():
    error = RuntimeError("x-amz-security-token: secret")
    found = read_failure(error, operation="GetObject", uri="s3://b/k", host="h")
    assert isinstance(found.error, TransportError)
    assert "RuntimeError" in str(found.error)
    assert "secret" not in str(found.error)


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


@pytest.mark.parametrize("code", ["NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_some_refusals_are_everyones(code):
    assert is_refusal_of_all(UnknownServiceError(code=code, status_code=403))


@pytest.mark.parametrize("code", ["NoSuchKey", "AccessDenied", "InvalidObjectState", "SlowDown"])
def test_others_are_the_objects_own(code):
    assert not is_refusal_of_all(UnknownServiceError(code=code, status_code=403))
    assert not is_refusal_of_all(ConnectError())


@pytest.mark.parametrize(
    "text, said",
    [
        ("status code: 403: <Code>AccessDenied</Code>", "Allow s3:GetObject"),
        ("status code: 403: <Code>InvalidAccessKeyId</Code>", "not a missing permission"),
        ("status code: 403: <Code>RequestTimeTooSkewed</Code>", "Set this machine's clock"),
        ("HttpError { kind: Timeout", "raise Timeouts.read"),
        ("HttpError { kind: Connect", "the endpoint URL of S3"),
        ("HttpError { kind: Body", "nothing runs twice"),
    ],
)
def test_what_to_do_next_is_of_s3_and_not_of_a_model(text, said):
    found = read_failure(Exception(text), operation="GetObject", uri="s3://b/k", host="h")
    assert said in str(found.error)
    assert "odel" not in str(found.error)
