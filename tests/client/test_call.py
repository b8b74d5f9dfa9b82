"""A call and its attempts: what is sent again, when, and what every attempt carries."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import itertools
import json
import logging
import re
import sys
import time
import uuid
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import TYPE_CHECKING

import aiohttp
import pytest
from support.certificates import serving, trusting
from support.raw_server import Connection, RawServer, Request, answer, serve
from support.sessions import KEYS, open_once, open_session
from support.transports import at_rest, idle, in_use
from support.waiting import turns, until

import aiosmrt
from aiosmrt import Credentials, RetryPolicy, Timeouts
from aiosmrt._aws.signer import SigV4Signer
from aiosmrt._transport import Lifetime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FAILURE = answer(b'{"message": "oops"}', "500 Internal Server Error")


def error_answer(status: int, code: str, headers: dict[str, str] | None = None) -> bytes:
    body = json.dumps({"message": f"this is {code}"}).encode()
    fields = {"x-amzn-errortype": code, "x-amzn-RequestId": "the-request-id"}
    return answer(body, f"{status} Error", {**fields, **(headers or {})})


def date_of(request: Request) -> datetime:
    return datetime.strptime(request.headers["x-amz-date"] + "+0000", "%Y%m%dT%H%M%SZ%z")


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps between attempts, none of which is slept."""
    slept: list[float] = []

    async def note(_: Lifetime, seconds: float) -> None:
        slept.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(Lifetime, "sleep", note)
    return slept


async def test_a_500_is_tried_again_at_once(delays: list[float]) -> None:
    async with serve(FAILURE, answer()) as server, open_session(server.url) as session:
        output = await session.invoke_endpoint("e", b"x")
        assert output.metadata.attempts == 2
        assert len(server.requests) == 2
        assert server.connections == 1  # the refusal was read whole
        assert 0 <= delays[0] <= 0.05


async def test_attempts_share_an_id_and_differ_in_number_and_signature(
    delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = itertools.count(time.time(), 2)
    monkeypatch.setitem(SigV4Signer.__init__.__kwdefaults__, "clock", lambda: next(times))
    async with serve(FAILURE, FAILURE, answer()) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", b"x")
        await session.invoke_endpoint("e", b"x")
    first, second, third, fourth = (request.headers for request in server.requests)
    assert len({request["amz-sdk-invocation-id"] for request in (first, second, third)}) == 1
    assert fourth["amz-sdk-invocation-id"] != first["amz-sdk-invocation-id"]
    for request in (first, fourth):
        given = uuid.UUID(request["amz-sdk-invocation-id"])
        assert (str(given), given.version, given.variant) == (
            request["amz-sdk-invocation-id"],
            4,
            uuid.RFC_4122,
        )
    assert first["amz-sdk-request"] == "attempt=1; max=3"
    assert third["amz-sdk-request"] == "attempt=3; max=3"
    assert len({request["authorization"] for request in (first, second, third)}) == 3
    assert len({request["x-amz-date"] for request in (first, second, third)}) == 3


async def test_each_attempt_asks_for_credentials(delays: list[float]) -> None:
    class Rotating:
        asked = 0

        async def get_credentials(self) -> Credentials:
            self.asked += 1
            return Credentials(f"AKID{self.asked}", "secret", session_token=f"token{self.asked}")

    async with (
        serve(FAILURE, answer()) as server,
        open_session(server.url, credentials=Rotating()) as session,
    ):
        await session.invoke_endpoint("e", b"x")
    assert [r.headers["x-amz-security-token"] for r in server.requests] == ["token1", "token2"]
    assert "Credential=AKID2/" in server.requests[1].headers["authorization"]


@pytest.mark.parametrize(
    "given",
    [
        error_answer(424, "ModelError"),
        error_answer(400, "ValidationError"),
        error_answer(403, "AccessDeniedException"),
        error_answer(300, "MultipleChoices"),
    ],
    ids=["424", "400", "403", "300"],
)
async def test_what_would_fail_again_is_sent_once(given: bytes) -> None:
    async with serve(given) as server, open_session(server.url) as session:
        with pytest.raises(aiosmrt.ServiceError) as caught:
            await session.invoke_endpoint("the-endpoint", b"x")
        assert len(server.requests) == 1
    text = str(caught.value)
    assert "InvokeEndpoint" in text
    assert "the-endpoint" in text
    assert "the-request-id" in text


@pytest.mark.parametrize("status", [200, 204, 299])
async def test_each_status_of_success_is_one(status: int) -> None:
    async with serve(answer(b"", f"{status} Well")) as server, open_session(server.url) as session:
        output = await session.invoke_endpoint("e", b"x")
    assert (output.metadata.status_code, output.metadata.attempts) == (status, 1)


async def test_a_read_timeout_is_not_repeated_unless_asked_for(delays: list[float]) -> None:
    timeouts = Timeouts(read=0.05)

    async def handler(connection: Connection) -> None:
        server.requests.append(await connection.request())
        await connection.gone()

    async with RawServer(handler) as server, open_session(server.url, timeouts=timeouts) as session:
        with pytest.raises(aiosmrt.ReadTimeoutError):
            await session.invoke_endpoint("e", b"x")
        assert len(server.requests) == 1
        with pytest.raises(aiosmrt.ReadTimeoutError):
            await session.invoke_endpoint(
                "e", b"x", retries=RetryPolicy(retry_on_read_timeout=True)
            )
        assert len(server.requests) == 4


async def test_a_cold_model_is_waited_for(delays: list[float]) -> None:
    cold = error_answer(429, "ModelNotReadyException")
    async with serve(*[cold] * 10, answer()) as server, open_session(server.url) as session:
        output = await session.invoke_endpoint("e", b"x")
        assert output.metadata.attempts == 11
    # An attempt never has a number above the most that is announced.
    assert [request.headers["amz-sdk-request"] for request in server.requests] == [
        f"attempt={number}; max={max(number, 3)}" for number in range(1, 12)
    ]


async def test_one_attempt_means_one(delays: list[float]) -> None:
    once = RetryPolicy(max_attempts=1)
    cases = [
        FAILURE,
        error_answer(429, "ModelNotReadyException"),
        error_answer(403, "RequestTimeTooSkewed", {"Date": "Mon, 01 Jan 2024 00:00:00 GMT"}),
        error_answer(403, "ExpiredTokenException"),
    ]
    for given in cases:
        async with serve(given, answer()) as server, open_session(server.url) as session:
            with pytest.raises(aiosmrt.ServiceError):
                await session.invoke_endpoint("e", b"x", retries=once)
            assert len(server.requests) == 1


async def test_the_quota_stops_a_flood(delays: list[float]) -> None:
    async with serve(FAILURE) as server, open_session(server.url) as session:
        stopped = None
        for _ in range(40):
            with pytest.raises(aiosmrt.UnknownServiceError) as caught:
                await session.invoke_endpoint("e", b"x")
            stopped = caught.value
        assert len(server.requests) - 40 == 500 // 14
        assert stopped is not None
        assert "retry quota" in str(stopped)


async def test_successes_give_the_quota_back(delays: list[float]) -> None:
    calls = 500 // 14 + 5
    async with (
        serve(*[FAILURE, answer()] * calls) as server,
        open_session(server.url) as session,
    ):
        for _ in range(calls):
            output = await session.invoke_endpoint("e", b"x")
            assert output.metadata.attempts == 2


async def test_retry_after_is_heeded(delays: list[float]) -> None:
    slow_down = error_answer(429, "SlowDown", {"x-amz-retry-after": "4000"})
    async with serve(slow_down, answer()) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", b"x")
    assert delays[0] >= 4.0


async def test_a_response_counts_for_no_later_attempt(delays: list[float]) -> None:
    """Neither its Retry-After nor its request id does: no later attempt gets a response."""

    async def handler(connection: Connection) -> None:
        await connection.request()
        server.close()
        headers = {"x-amz-retry-after": "4000", "Connection": "close"}
        await connection.send(error_answer(503, "ServiceUnavailable", headers))

    async with RawServer(handler) as server, open_session(server.url) as session:
        with pytest.raises(aiosmrt.ConnectError) as caught:
            await session.invoke_endpoint("e", b"x")
    assert delays[0] >= 4.0
    assert delays[1] <= 0.1
    assert caught.value.attempts == 3
    assert caught.value.request_id is None


@pytest.mark.parametrize("attempts", [1, 3])
# Python 3.10 reports the end of a TLS connection when its socket has gone: nobody can be asked.
@pytest.mark.parametrize("tls", [False, True] if sys.version_info >= (3, 11) else [False])
@pytest.mark.parametrize("length", [0, 1, 60_000, 3_000_000])
async def test_a_server_that_closes_after_every_answer_costs_nothing(
    delays: list[float], attempts: int, tls: bool, length: int
) -> None:
    """It says nothing of the closing, so every second request meets a dead connection.

    The system knows that nobody has read the request: the closing acknowledges none of it.
    """

    async def handler(connection: Connection) -> None:
        server.requests.append(await connection.request())
        await connection.send(answer())

    policy = RetryPolicy(max_attempts=attempts)
    trusted = {"ssl": trusting()} if tls else {}
    async with (
        RawServer(handler, ssl=serving() if tls else None) as server,
        open_session(server.url, retries=policy, **trusted) as session,
    ):
        for _ in range(20):
            output = await session.invoke_endpoint("e", bytes(length))
            assert output.metadata.attempts == 1
        assert len(server.requests) == 20
        await asyncio.gather(*(session.invoke_endpoint("e", bytes(length)) for _ in range(20)))
        assert len(server.requests) == 40
    assert delays == []


@pytest.mark.parametrize("how", ["closed", "reset", "half a body"])
@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_a_request_that_may_have_been_read_is_sent_as_often_as_allowed(
    delays: list[float], attempts: int, how: str
) -> None:
    """A kept-alive connection reads the request and ends; so does every one after it."""

    async def handler(connection: Connection) -> None:
        if connection.number == 0:
            await connection.request()
            await connection.send(answer())
        if how == "half a body":
            await connection.reader.readuntil(b"\r\n\r\n")
            seen.append(b"")
        else:
            seen.append((await connection.request()).body)
        if how == "reset":
            connection.reset()

    seen: list[bytes] = []
    body = bytes(100_000)
    policy = RetryPolicy(max_attempts=attempts)
    async with RawServer(handler) as server, open_session(server.url, retries=policy) as session:
        await session.invoke_endpoint("e", b"x")
        with pytest.raises(aiosmrt.ConnectionLostError) as caught:
            await session.invoke_endpoint("e", body)
        assert len(seen) == caught.value.attempts == attempts
        assert type(caught.value) is aiosmrt.ConnectionLostError
    # The first of them waits for nothing: a closing may have crossed the request on its way.
    assert len(delays) == max(attempts - 2, 0)


@pytest.mark.parametrize("begun", [b"H", b"HTTP/1.1 2", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_request_whose_answer_has_begun_is_not_sent_again_for_free(
    delays: list[float], begun: bytes
) -> None:
    """A model has it: each repetition costs an attempt and waits as one."""

    async def handler(connection: Connection) -> None:
        if connection.number == 0:
            await connection.request()
            await connection.send(answer())
        server.requests.append(await connection.request())
        await connection.send(begun)

    async with RawServer(handler) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", b"x")
        for attempts in (1, 3):
            policy = RetryPolicy(max_attempts=attempts)
            with pytest.raises(aiosmrt.ConnectionLostError) as caught:
                await session.invoke_endpoint("e", b"x", retries=policy)
            assert len(server.requests) == caught.value.attempts == attempts
            assert len(delays) == attempts - 1
            server.requests.clear()


@pytest.mark.parametrize("own", [True, False], ids=["own", "users"])
async def test_a_stale_connection_is_not_replaced_by_an_idle_one(own: bool) -> None:
    """When a service closes one idle connection it may be about to close them all."""

    async def handler(connection: Connection) -> None:
        server.requests.append(await connection.request())
        await connection.send(answer())
        if connection.number == 0:
            await close_first.wait()
        elif connection.number == 1:
            await connection.request()
            pytest.fail("the idle connection was used")

    class SlowOnce:
        """Gives credentials at once, except to the second call."""

        asked = 0

        async def get_credentials(self) -> Credentials:
            self.asked += 1
            if self.asked == 2:
                await go_on.wait()
            return KEYS

    close_first, go_on, provider = asyncio.Event(), asyncio.Event(), SlowOnce()
    async with aiohttp.TCPConnector() as connector, RawServer(handler) as server:
        given = {} if own else {"connector": connector}
        async with open_once(server.url, credentials=provider, **given) as session:
            await session.invoke_endpoint("e", b"x")
            waiting = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
            await until(lambda: provider.asked == 2)  # with the first connection in its hands
            await session.invoke_endpoint("e", b"x")
            close_first.set()
            await until(lambda: server.open == 1)
            await turns()
            go_on.set()
            assert (await waiting).metadata.attempts == 1
            assert len(server.requests) == server.connections == 3


@pytest.mark.parametrize("attempts", [1, 2, 3])
async def test_a_server_that_went_away_is_backed_off_from(
    delays: list[float], attempts: int
) -> None:
    """The kept connection crossed its closing, but nothing crosses on those that are refused."""

    async def handler(connection: Connection) -> None:
        await connection.request()
        server.close()
        await connection.send(answer())

    policy = RetryPolicy(max_attempts=attempts)
    async with RawServer(handler) as server, open_session(server.url, retries=policy) as session:
        await session.invoke_endpoint("e", b"x")
        with pytest.raises(aiosmrt.ConnectError):
            await session.invoke_endpoint("e", b"x")
    assert len(delays) == attempts - 1


async def test_after_a_crossing_no_idle_connection_is_tried() -> None:
    """When a service closes one idle connection it may have closed them all."""

    async def handler(connection: Connection) -> None:
        server.requests.append(await connection.request())
        await together.wait()
        await connection.send(answer())
        if connection.number < 5:
            await connection.request()

    together = asyncio.Event()
    async with RawServer(handler) as server, open_session(server.url) as session:
        calls = [asyncio.ensure_future(session.invoke_endpoint("e", b"x")) for _ in range(5)]
        await until(lambda: len(server.requests) == 5)
        together.set()
        await asyncio.gather(*calls)
        assert idle(session) == 5
        output = await session.invoke_endpoint("e", b"x", retries=RetryPolicy(max_attempts=2))
        assert output.metadata.attempts == 2
        assert server.connections == 6


async def test_a_queued_request_is_signed_when_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = asyncio.Event()
    clock = [time.time()]
    monkeypatch.setitem(SigV4Signer.__init__.__kwdefaults__, "clock", lambda: clock[0])

    async def handler(connection: Connection) -> None:
        while True:
            server.requests.append(await connection.request())
            await release.wait()
            await connection.send(answer())

    async with (
        RawServer(handler) as server,
        open_session(server.url, max_connections=1) as session,
    ):
        first = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
        second = asyncio.ensure_future(session.invoke_endpoint("e", b"x"))
        await until(lambda: server.requests)
        clock[0] += 3600
        release.set()
        await asyncio.gather(first, second)
    first_date, second_date = (date_of(request) for request in server.requests)
    assert second_date - first_date == timedelta(hours=1)


@pytest.mark.parametrize(
    "code", ["RequestTimeTooSkewed", "InvalidSignatureException", "SignatureDoesNotMatch"]
)
async def test_the_services_clock_is_learnt_once(code: str, delays: list[float]) -> None:
    theirs = datetime.now(timezone.utc) + timedelta(hours=3)
    refusal = error_answer(403, code, {"Date": format_datetime(theirs, usegmt=True)})
    policy = RetryPolicy(max_attempts=2)
    async with (
        serve(refusal, answer()) as server,
        open_session(server.url, retries=policy) as session,
    ):
        output = await session.invoke_endpoint("e", b"x")
        assert output.metadata.attempts == 2
        await session.invoke_endpoint("e", b"x")
        assert len(server.requests) == 3
    assert delays == []
    assert abs(date_of(server.requests[2]) - theirs) < timedelta(minutes=1)


@pytest.mark.parametrize("cause", ["clock", "credentials"])
async def test_a_cause_is_removed_once(cause: str) -> None:
    """A service whose clock jumps, or that takes no credentials, is not asked for ever."""

    async def handler(connection: Connection) -> None:
        while True:
            server.requests.append(await connection.request())
            theirs = datetime.now(timezone.utc) + timedelta(hours=len(server.requests))
            date = {"Date": format_datetime(theirs, usegmt=True)}
            code = {"clock": "RequestTimeTooSkewed", "credentials": "ExpiredTokenException"}[cause]
            refused = len(server.requests) <= 2  # a third attempt fails the test, and is the last
            await connection.send(error_answer(403, code, date) if refused else answer())

    async with (
        RawServer(handler) as server,
        open_session(server.url, credentials=Expiring()) as session,
    ):
        with pytest.raises(aiosmrt.ServiceError) as caught:
            await session.invoke_endpoint("e", b"x")
    assert len(server.requests) == caught.value.attempts == 2


@pytest.fixture
def machine_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets this machine's time zone for one test."""

    def set_zone(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/New_York"])
@pytest.mark.parametrize("ending", [" GMT", " -0000", " +0000", "", " UTC"])
@pytest.mark.parametrize("hours", [0, 3])
async def test_a_date_of_the_service_is_utc_wherever_this_machine_is(
    machine_zone: Callable[[str], None], zone: str, ending: str, hours: int
) -> None:
    machine_zone(zone)
    theirs = datetime.now(timezone.utc) + timedelta(hours=hours)
    date = theirs.strftime("%a, %d %b %Y %H:%M:%S") + ending
    refusal = error_answer(403, "InvalidSignatureException", {"Date": date})
    async with serve(refusal, answer()) as server, open_session(server.url) as session:
        if hours == 0:  # a right clock is not the cause, and nothing is sent again
            with pytest.raises(aiosmrt.UnknownServiceError):
                await session.invoke_endpoint("e", b"x")
        else:
            await session.invoke_endpoint("e", b"x")
    assert len(server.requests) == (1 if hours == 0 else 2)
    assert abs(date_of(server.requests[-1]) - theirs) < timedelta(minutes=1)


@pytest.mark.parametrize("date", ["right", "nonsense", "none"])
async def test_a_wrong_signature_of_a_right_date_is_not_repeated(date: str) -> None:
    headers = {
        # Made here: 240 s after the tests were collected it would be a wrong one.
        "right": {"Date": format_datetime(datetime.now(timezone.utc), usegmt=True)},
        "nonsense": {"Date": "yesterday"},
        "none": {},
    }[date]
    refusal = error_answer(403, "InvalidSignatureException", headers)
    async with serve(refusal) as server, open_session(server.url) as session:
        with pytest.raises(aiosmrt.UnknownServiceError):
            await session.invoke_endpoint("e", b"x")
        assert len(server.requests) == 1


class Expiring:
    """A provider whose credentials the service calls expired, until it is made to renew."""

    def __init__(self, *, renews: bool = True) -> None:
        self.asked = 0
        self.renews = renews

    async def get_credentials(self) -> Credentials:
        self.asked += 1
        return Credentials(f"AKID{self.asked if self.renews else 1}", "secret", "token")


@pytest.mark.parametrize("renews", [True, False])
async def test_an_expired_token_is_renewed_once(renews: bool) -> None:
    refusal = error_answer(403, "ExpiredTokenException")
    provider = aiosmrt.CachingProvider(Expiring(renews=renews))
    async with (
        serve(refusal, answer() if renews else refusal) as server,
        open_session(server.url, credentials=provider) as session,
    ):
        if renews:
            output = await session.invoke_endpoint("e", b"x")
            assert output.metadata.attempts == 2
            assert "AKID2" in server.requests[1].headers["authorization"]
        else:
            with pytest.raises(aiosmrt.ExpiredTokenException):
                await session.invoke_endpoint("e", b"x")
            assert len(server.requests) == 1


async def test_a_provider_whose_own_token_has_expired_is_asked_once() -> None:
    class Expired:
        asked = 0

        async def get_credentials(self) -> Credentials:
            self.asked += 1
            raise aiosmrt.ExpiredTokenException("the role's", status_code=403)

    provider = Expired()
    async with serve(answer()) as server, open_session(server.url, credentials=provider) as session:
        with pytest.raises(aiosmrt.ExpiredTokenException):
            await session.invoke_endpoint("e", b"x")
    assert provider.asked == 1


async def test_credentials_that_cannot_be_had_are_a_credentials_error() -> None:
    class Broken:
        async def get_credentials(self) -> Credentials:
            raise OSError("the vault is sealed")

    async with serve(answer()) as server, open_session(server.url, credentials=Broken()) as session:
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await session.invoke_endpoint("e", b"x")
        assert isinstance(caught.value.__cause__, OSError)
        assert not server.requests
        # A slot and a connection were waiting for them: both are free again.
        assert in_use(session) == 0


async def test_total_covers_attempts_waits_and_credentials() -> None:
    class Slow:
        async def get_credentials(self) -> Credentials:
            await asyncio.Event().wait()
            raise AssertionError

    short = Timeouts(total=0.1)
    async with serve(answer()) as server, open_session(server.url, credentials=Slow()) as session:
        with pytest.raises(aiosmrt.DeadlineExceededError):
            await session.invoke_endpoint("e", b"x", timeouts=short)
    slow_down = error_answer(429, "SlowDown", {"x-amz-retry-after": "9000"})
    async with serve(slow_down) as server, open_session(server.url) as session:
        with pytest.raises(aiosmrt.ThrottlingException, match=r"Timeouts\.total"):
            await session.invoke_endpoint("e", b"x", timeouts=short)


@pytest.mark.parametrize("end", ["close", "reset", "silence"])
async def test_an_error_whose_body_breaks_off_keeps_its_status(end: str) -> None:
    whole = error_answer(503, "ServiceUnavailable")
    policy = RetryPolicy(max_attempts=1)

    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(whole[:-5])
        if end == "reset":
            await turns()
            connection.reset()
        elif end == "silence":
            await connection.gone()

    timeouts = Timeouts(idle=0.05 if end == "silence" else None)
    async with (
        RawServer(handler) as server,
        open_session(server.url, retries=policy, timeouts=timeouts) as session,
    ):
        with pytest.raises(aiosmrt.ServiceUnavailable):
            await session.invoke_endpoint("e", b"x")
        await at_rest(session, server)


async def test_an_endless_error_body_is_cut() -> None:
    async def handler(connection: Connection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                await connection.send(b"x" * 65_536)

    async with RawServer(handler) as server, open_session(server.url) as session:
        with pytest.raises(aiosmrt.UnknownServiceError) as caught:
            await session.invoke_endpoint("e", b"x")
        assert len(str(caught.value)) < 1000


async def test_a_large_body_is_hashed_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    hashed_in = []
    real = hashlib.sha256

    def note(data: bytes = b"") -> object:
        if len(data) == 300_000:
            hashed_in.append(threading.current_thread())
        return real(data)

    monkeypatch.setattr(hashlib, "sha256", note)
    async with serve(answer()) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", bytes(300_000))
        (thread,) = hashed_in
        assert thread is not threading.main_thread()
        assert len(server.requests[0].body) == 300_000


async def test_adaptive_retries_hold_requests_back_after_a_throttle(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    throttle = error_answer(429, "ThrottlingException")
    adaptive = RetryPolicy(mode="adaptive", max_attempts=1)
    async with (
        serve(throttle, answer()) as server,
        open_session(server.url, retries=adaptive) as session,
    ):
        with pytest.raises(aiosmrt.ThrottlingException):
            await session.invoke_endpoint("e", b"x")
        # Now one is let go every two seconds.
        with pytest.raises(aiosmrt.DeadlineExceededError, match="held the request back"):
            await session.invoke_endpoint("e", b"x", timeouts=Timeouts(total=0.1))
        assert len(server.requests) == 1
        real = time.monotonic
        monkeypatch.setattr(time, "monotonic", lambda: real() + 10)
        await session.invoke_endpoint("e", b"x")
        assert len(server.requests) == 2


async def test_log_lines_tell_the_attempt_and_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "aiosmrt")
    whole = answer(b"a secret answer", headers={"x-amzn-RequestId": "rid-1"})
    async with serve(whole) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", b"a secret question", custom_attributes="secret=1")
    lines = [r.getMessage() for r in caplog.records if r.name == "aiosmrt"]
    assert len(lines) == 1
    assert re.search(
        r"InvokeEndpoint e: attempt 1, status 200, request id rid-1, .* ms, ok$", lines[0]
    )
    assert "secret" not in caplog.text


async def test_log_lines_tell_of_failed_attempts(
    caplog: pytest.LogCaptureFixture, delays: list[float]
) -> None:
    caplog.set_level(logging.DEBUG, "aiosmrt")

    async def handler(connection: Connection) -> None:
        await connection.request()
        server.close()
        await connection.send(error_answer(503, "ServiceUnavailable", {"Connection": "close"}))

    policy = RetryPolicy(max_attempts=2)
    began = time.perf_counter()
    async with RawServer(handler) as server, open_session(server.url, retries=policy) as session:
        with pytest.raises(aiosmrt.ConnectError):
            await session.invoke_endpoint("e", b"x")
    most = (time.perf_counter() - began) * 1000
    lines = [r.getMessage() for r in caplog.records if r.name == "aiosmrt"]
    expected = [
        "attempt 1, status 503, request id the-request-id, MS ms, ServiceUnavailable",
        f"attempt 1 failed (ServiceUnavailable), the next in {delays[0]:.3f} s",
        "attempt 2, status None, request id None, MS ms, ConnectError",
    ]
    number = r"(\d+\.\d) ms"
    assert [re.sub(number, "MS ms", line) for line in lines] == [
        f"InvokeEndpoint e: {line}" for line in expected
    ]
    assert all(0 < float(told) <= most for told in re.findall(number, "".join(lines)))


async def test_calls_leave_no_cycles_for_the_collector() -> None:
    async with serve(answer()) as server, open_session(server.url) as session:
        await session.invoke_endpoint("e", b"x")
        gc.collect()
        gc.disable()
        try:
            for _ in range(50):
                await session.invoke_endpoint("e", b"x")
            assert gc.collect() < 50
        finally:
            gc.enable()


async def test_calls_at_once_all_learn_the_clock() -> None:
    theirs = datetime.now(timezone.utc) + timedelta(hours=3)
    date = {"Date": format_datetime(theirs, usegmt=True)}

    async def handler(connection: Connection) -> None:
        while True:
            request = await connection.request()
            server.requests.append(request)
            await until(lambda: len(server.requests) >= 10)
            late = theirs - date_of(request) > timedelta(minutes=5)
            await connection.send(
                error_answer(403, "RequestTimeTooSkewed", date) if late else answer()
            )

    async with RawServer(handler) as server, open_session(server.url) as session:
        outputs = await asyncio.gather(*(session.invoke_endpoint("e", b"x") for _ in range(10)))
    assert {output.metadata.attempts for output in outputs} == {2}


@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_an_inference_whose_head_has_arrived_is_not_repeated(how: str) -> None:
    async def handler(connection: Connection) -> None:
        server.requests.append(await connection.request())
        await connection.send(answer(b"abc")[:-3])
        if how == "reset":
            await asyncio.sleep(0.01)
            connection.reset()

    async with RawServer(handler) as server, open_session(server.url) as session:
        with pytest.raises((aiosmrt.ConnectionLostError, aiosmrt.StreamTruncatedError)):
            await session.invoke_endpoint("e", b"x")
        assert len(server.requests) == 1


async def test_credentials_that_are_not_to_be_had_count_no_attempt() -> None:
    class Broken:
        async def get_credentials(self) -> Credentials:
            raise OSError("the vault is sealed")

    # Kept ones are asked for before a connection is: what is missing is named first.
    provider = aiosmrt.CachingProvider(Broken())
    async with open_session("http://127.0.0.1:1", credentials=provider) as session:
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await session.invoke_endpoint("e", b"x")
        assert caught.value.attempts == 0
    async with serve(answer()) as server, open_session(server.url, credentials=Broken()) as session:
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await session.invoke_endpoint("e", b"x")
        assert caught.value.attempts == 0


async def test_a_connection_that_cannot_be_made_counts_as_an_attempt() -> None:
    async with open_session("http://127.0.0.1:1") as session:
        with pytest.raises(aiosmrt.ConnectError) as caught:
            await session.invoke_endpoint("e", b"x", retries=RetryPolicy(max_attempts=2))
        assert caught.value.attempts == 2


async def test_a_timeout_inside_of_the_provider_is_not_the_calls() -> None:
    class Provider:
        async def get_credentials(self) -> Credentials:
            raise aiosmrt.ReadTimeoutError("The metadata service did not answer")

    async with (
        serve(answer()) as server,
        open_session(server.url, credentials=Provider()) as session,
    ):
        with pytest.raises(aiosmrt.ReadTimeoutError, match="metadata service") as caught:
            await session.invoke_endpoint("e", b"x")
        assert (caught.value.attempts, caught.value.endpoint_name) == (0, "e")
        assert not server.requests
