"""Faults: each as a client meets it, and how often it does."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing

import aiohttp
import botocore.config
import botocore.exceptions
import botocore.session
import pytest
from support.local_clients import echo, send_signed, settings, with_boto
from support.local_stream import STREAM, decoded

import aiosmrt
from aiosmrt import ConfigurationError, RetryPolicy
from aiosmrt.local import LocalEndpoint
from aiosmrt.local._faults import Fault

PATH = "/endpoints/echo/invocations"
WORDS = STREAM.format("words")


async def words(request):
    for word in (b"alpha", b"beta", b"gamma"):
        yield word


@pytest.fixture
async def local():
    async with LocalEndpoint(seed=1, fault_header=True) as endpoint:
        endpoint.add_model("echo", echo)
        endpoint.add_model("words", words)
        yield endpoint


async def ask(local, path=PATH, headers=None):
    status, answered, body = await send_signed(local, path, b"x", headers)
    return status, answered.get("x-amzn-errortype"), body


@pytest.mark.parametrize(
    "code, status_code",
    [
        ("ThrottlingException", 400),
        ("InternalFailure", 500),
        ("ServiceUnavailable", 503),
        ("ModelNotReadyException", 429),
        ("InternalDependencyException", 530),
        ("ModelError", 424),
    ],
)
async def test_errors_with_the_services_status(local, code, status_code):
    local.inject(error=code)
    for path in (PATH, WORDS):
        assert (await ask(local, path))[:2] == (status_code, code)


async def test_an_error_with_a_status_of_ones_own(local):
    local.inject(error="SomethingNew", status_code=599)
    assert (await ask(local))[:2] == (599, "SomethingNew")


async def test_a_status_and_nothing_else(local):
    local.inject(status_code=502)
    assert await ask(local) == (502, None, b"")
    status, _, body = await send_signed(local, "/b/k", method="GET", service="s3")
    assert (status, body) == (502, b"")


async def test_an_injected_model_error_has_its_facts(local):
    local.inject(error="ModelError")
    assert json.loads((await ask(local))[2])["OriginalStatusCode"] == 500


async def test_a_model_that_is_not_ready_for_some_calls(local):
    injection = local.inject(error="ModelNotReadyException", times=3)
    assert [(await ask(local))[0] for _ in range(5)] == [429, 429, 429, 200, 200]
    assert injection.count == 3


async def test_only_what_is_meant_is_struck(local):
    local.inject(error="InternalFailure", endpoint_name="words")
    local.inject(error="ServiceUnavailable", operation="InvokeEndpointAsync")
    assert (await ask(local))[0] == 200
    assert (await ask(local, WORDS))[0] == 500
    assert (await ask(local, "/endpoints/echo/async-invocations"))[0] == 503


async def test_what_is_removed_strikes_no_more(local):
    injection = local.inject(error="InternalFailure")
    assert (await ask(local))[0] == 500
    injection.remove()
    assert (await ask(local))[0] == 200
    assert injection.count == 1


async def test_a_share_of_requests(local):
    injection = local.inject(error="ThrottlingException", probability=0.5)
    statuses = [(await ask(local))[0] for _ in range(100)]
    assert statuses.count(400) == injection.count
    assert 20 < injection.count < 80


async def test_requests_above_a_rate(local):
    # One passes; the next would a thousand seconds later.
    injection = local.inject(error="ThrottlingException", above_rate=0.001)
    assert [(await ask(local))[0] for _ in range(4)] == [200, 400, 400, 400]
    injection.remove()
    local.inject(error="ThrottlingException", above_rate=5)
    statuses = [(await ask(local))[0] for _ in range(5)]
    assert statuses == [200] * 5


async def test_latency_adds_up(local):
    slept = []

    class Clock:
        @staticmethod
        async def sleep(seconds):
            slept.append(seconds)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("aiosmrt.local._server.asyncio.sleep", Clock.sleep)
        local.inject(latency=0.25)
        local.inject(latency=0.5, error="InternalFailure")
        assert (await ask(local))[0] == 500
    assert 0.75 in slept


@pytest.mark.parametrize("cut_at", [0, 1, 10])
async def test_a_plain_body_cut_off(local, cut_at):
    local.inject(cut_at=cut_at, times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(local)
    assert (await ask(local))[0] == 200


@pytest.mark.parametrize("cut_at", [0, 1, 16, 100, 250])
async def test_a_stream_cut_off_as_aiosmrt_sees_it(local, cut_at):
    local.inject(cut_at=cut_at)
    async with local.session() as session:
        with pytest.raises(aiosmrt.StreamTruncatedError) as caught:
            async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
                await stream.read()
    assert caught.value.bytes_received == cut_at


async def test_a_damaged_message_as_aiosmrt_sees_it(local):
    local.inject(corrupt_frame=1)
    parts = []
    async with local.session() as session:
        with pytest.raises(aiosmrt.ChecksumMismatchError):
            async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
                async for part in stream:
                    parts += [part.bytes]
    assert parts == [b"alpha"]


async def test_a_slow_drip_is_complete(local):
    local.inject(drip=5_000)
    assert (await ask(local))[0] == 200
    _, _, body = await ask(local, WORDS)
    assert [message.payload for message in decoded(body)] == [b"alpha", b"beta", b"gamma"]


@pytest.mark.parametrize("fault", [{"cut_at": 300_000}, {"drip": 4_000_000}], ids=str)
async def test_a_large_object_cut_off_or_dripping(local, fault):
    body = bytes(500_000)
    local.put_object("s3://b/k", body)
    local.inject(operation="GetObject", times=1, **fault)
    if "cut_at" in fault:
        with pytest.raises(aiohttp.ClientPayloadError):
            await send_signed(local, "/b/k", method="GET", service="s3")
    assert (await send_signed(local, "/b/k", method="GET", service="s3"))[2] == body


async def test_a_connection_that_closes_behind_an_answer_without_a_body(local):
    local.inject(stale_close=True)
    for method, status in (("PUT", 200), ("HEAD", 200), ("DELETE", 204)):
        answer = await send_signed(local, "/b/k", b"", method=method, service="s3")
        assert answer[0] == status


async def test_connections_that_close_behind_the_answer_without_saying_so(local):
    local.inject(stale_close=True)
    async with local.session(max_connections=1) as session:
        for _ in range(20):
            out = await session.invoke_endpoint("echo", b"x")
            assert out.metadata.attempts == 1
            assert out.metadata.headers.get("Connection") != "close"
        async with session.invoke_endpoint_with_response_stream("words", b"x") as stream:
            assert await stream.read() == b"alphabetagamma"


async def test_errors_of_the_object_store(local):
    local.put_object("s3://b/k", b"x")
    local.inject(operation="GetObject", error="AccessDenied")

    def use(client):
        with pytest.raises(botocore.exceptions.ClientError) as caught:
            client.get_object(Bucket="b", Key="k")
        client.head_object(Bucket="b", Key="k")
        return caught.value.response["Error"]["Code"]

    assert await with_boto(local, use, service="s3") == "AccessDenied"
    assert (await ask(local))[0] == 200


async def order(local, text, path=PATH, **headers):
    return (await ask(local, path, headers={"x-aiosmrt-fault": text, **headers}))[:2]


async def test_a_request_orders_its_own_fault(local):
    assert await order(local, "error=ThrottlingException, latency=0") == (
        400,
        "ThrottlingException",
    )
    assert await order(local, "error=Own,status_code=499") == (499, "Own")
    assert await order(local, "stale_close") == (200, None)
    assert await order(local, "stale_close = false, error=InternalFailure") == (
        500,
        "InternalFailure",
    )
    assert await order(local, "error=InternalFailure, probability=0") == (200, None)


@pytest.mark.parametrize(
    "wrong",
    ["errors=X", "cut_at=x", "latency=-1", "error=Own", "drip=0", "stale_close=perhaps", "times="],
)
async def test_what_a_request_cannot_order(local, wrong):
    assert await order(local, wrong) == (400, "ValidationError")


async def test_a_fault_that_a_request_orders_for_its_first_attempts(local):
    async def attempt(number):
        text = "error=ModelNotReadyException, times=2"
        return (await order(local, text, **{"amz-sdk-request": f"attempt={number}; max=3"}))[0]

    for _ in range(2):  # each call anew
        assert [await attempt(number) for number in (1, 2, 3)] == [429, 429, 200]
    assert (await order(local, "error=InternalFailure, times=1"))[0] == 500


async def test_a_rate_that_requests_order_together(local):
    text = "error=ThrottlingException, above_rate=0.001"
    assert [(await order(local, text))[0] for _ in range(3)] == [200, 400, 400]
    assert (await order(local, text + ", latency=0"))[0] == 200


async def test_only_the_last_orders_are_kept(local, monkeypatch):
    monkeypatch.setattr("aiosmrt.local._fault_orders._MAX_ORDERS", 2)
    rates = [f"error=ThrottlingException, above_rate={rate}" for rate in (0.001, 0.002, 0.003)]
    assert [(await order(local, text))[0] for text in rates] == [200, 200, 200]
    assert [(await order(local, text))[0] for text in rates[::-1]] == [400, 400, 200]


async def test_a_header_that_is_added_behind_the_signature_as_boto3_retries(local):
    def call():
        config = botocore.config.Config(retries={"mode": "standard", "total_max_attempts": 3})
        client = botocore.session.Session().create_client(
            "sagemaker-runtime", config=config, **settings(local)
        )

        def add(request, **_):
            request.headers["x-aiosmrt-fault"] = "error=ServiceUnavailable, times=2"

        client.meta.events.register("before-send.sagemaker-runtime", add)
        with closing(client):
            answer = client.invoke_endpoint(EndpointName="echo", Body=b"x")
            return answer["ResponseMetadata"]["RetryAttempts"]

    assert await asyncio.to_thread(call) == 2


async def test_an_order_that_makes_no_sense_is_told_in_its_own_words(local):
    _, _, body = await ask(local, headers={"x-aiosmrt-fault": "latency=x"})
    assert json.loads(body)["Message"] == "'x' is no value of the fault latency"


async def test_a_fault_in_the_object_stores_header(local):
    for wrong in ("nothing=1", "error=Own"):
        status, _, body = await send_signed(
            local, "/b/k", headers={"x-aiosmrt-fault": wrong}, method="GET", service="s3"
        )
        assert (status, b"InvalidArgument" in body) == (400, True)


async def test_the_header_is_nothing_unless_it_is_wanted():
    async with LocalEndpoint() as local:
        local.add_model("echo", echo)
        assert (await ask(local, headers={"x-aiosmrt-fault": "error=InternalFailure"}))[0] == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"latency": -1},
        {"latency": float("nan")},
        {"latency": float("inf")},
        {"error": "Own"},
        {"error": "Own\r\n", "status_code": 500},
        {"status_code": 200},
        {"operation": "InvokeEndpoints"},
        {"drip": 0},
        {"cut_at": -1},
        {"corrupt_frame": -1},
        {"probability": 1.1},
        {"times": -1},
        {"above_rate": 0},
    ],
    ids=str,
)
def test_what_is_no_fault(wrong):
    with pytest.raises(ConfigurationError):
        LocalEndpoint().inject(**wrong)


def test_several_faults_at_once():
    one = Fault(latency=1, error="InternalFailure", cut_at=0)
    other = Fault(latency=2, error="Own", status_code=499, drip=5, corrupt_frame=0, cut_at=9)
    assert one.joined_with(other) == Fault(
        latency=3, error="InternalFailure", cut_at=0, drip=5, corrupt_frame=0
    )
    assert Fault(status_code=502).joined_with(one) == Fault(latency=1, status_code=502, cut_at=0)
    assert Fault(stale_close=True).joined_with(other) == Fault(
        latency=2,
        error="Own",
        status_code=499,
        drip=5,
        corrupt_frame=0,
        cut_at=9,
        stale_close=True,
    )


async def test_a_patient_client_gets_through_a_cold_model(local):
    local.inject(error="ModelNotReadyException", times=1)
    policy = RetryPolicy(max_attempts=3)
    async with local.session(retries=policy) as session:
        out = await session.invoke_endpoint("echo", b"x")
    assert out.metadata.attempts == 2
