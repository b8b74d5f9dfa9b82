"""Async inferences: the queue, the inputs, and what is written at the end."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime

import pytest
from aiohttp import web
from support.local_clients import Stubborn, echo, send_signed, with_boto
from support.waiting import until

from aiosmrt import ConfigurationError
from aiosmrt.local import LocalEndpoint, ModelFailure, ModelResponse
from aiosmrt.local._s3.store import entity_tag

PATH = "/endpoints/model/async-invocations"
P = "X-Amzn-SageMaker-"


async def invoke(local, body=b"x", **headers):
    sent = {P + name: value for name, value in headers.items()}
    status, answered, answer = await send_signed(local, PATH, body, sent)
    assert status == 202, answer
    return (
        json.loads(answer)["InferenceId"],
        answered[P + "OutputLocation"],
        answered.get(P + "FailureLocation"),
    )


async def result(local, *uris):
    def look():
        for uri in uris:
            try:
                return uri, local.get_object(uri)
            except KeyError:
                continue
        return None

    return await until(look)


@pytest.mark.parametrize("wrong", [{"async_concurrency": 0}, {"async_queue_length": -1}], ids=str)
def test_a_queue_that_would_never_run(wrong):
    with pytest.raises(ConfigurationError, match="async_concurrency must be at least 1 and async"):
        LocalEndpoint(**wrong)


async def test_the_output_lies_where_it_was_announced():
    async def model(request):
        return ModelResponse(request.body.upper(), content_type="text/x-upper")

    async with LocalEndpoint(output_bucket="mine") as local:
        local.add_model("model", model)
        inference_id, output, failure = await invoke(local, b"abc")
        assert output.startswith("s3://mine/model/output/")
        assert output.endswith(".out")
        assert failure.startswith("s3://mine/model/failure/")
        assert failure.endswith("-error.out")
        assert await result(local, output, failure) == (output, b"ABC")

        def head(client):
            return client.head_object(Bucket="mine", Key=output.removeprefix("s3://mine/"))

        assert (await with_boto(local, head, service="s3"))["ContentType"] == "text/x-upper"
        with pytest.raises(KeyError):
            local.get_object(failure)
        (listed,) = local.async_inferences
        assert (listed.inference_id, listed.status) == (inference_id, "completed")
        assert (listed.endpoint_name, listed.output_location) == ("model", output)


async def test_the_model_sees_the_parameters():
    async with LocalEndpoint() as local:
        local.add_model("model", echo)
        local.put_object("s3://in/key", b"1,2", "text/csv")
        inference_id, output, _ = await invoke(
            local,
            b"",
            InputLocation="s3://in/key",
            **{"Content-Type": "text/csv", "Accept": "a/b", "Custom-Attributes": "c"},
        )
        _, body = await result(local, output)
    assert json.loads(body) == {
        "body": "1,2",
        "headers": {
            "Content-Type": "text/csv",
            "Accept": "a/b",
            "X-Amzn-SageMaker-Custom-Attributes": "c",
            "X-Amzn-SageMaker-Inference-Id": inference_id,
        },
    }


async def test_an_input_of_any_name():
    def call(client):
        return client.invoke_endpoint_async(
            EndpointName="model", InputLocation="s3://in/ä b+%20?#.csv"
        )

    async with LocalEndpoint() as local:
        local.add_model("model", echo)
        local.put_object("s3://in/ä b+%20?#.csv", "1,2")
        answer = await with_boto(local, call)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
        _, body = await result(local, answer["OutputLocation"])
    assert json.loads(body)["body"] == "1,2"


async def test_a_generator_is_joined():
    async def model(request):
        yield b"a"
        yield b"b"

    async with LocalEndpoint() as local:
        local.add_model("model", model)
        _, output, _ = await invoke(local)
        assert (await result(local, output))[1] == b"ab"


async def test_a_callers_id_may_come_twice():
    async with LocalEndpoint() as local:
        local.add_model("model", echo)
        answers = [await invoke(local, **{"Inference-Id": "../my id"}) for _ in range(2)]
        assert [inference_id for inference_id, _, _ in answers] == ["../my id"] * 2
        assert answers[0][1] != answers[1][1]
        for _, output, _ in answers:
            assert "my id" not in output
            await result(local, output)


@pytest.mark.parametrize(
    "filename, extension, output, failure",
    [
        ("r.json", None, "output/r.json", "failure/r.json-error.out"),
        ("r.json", "/a/b/", "output/a/b/r.json", "failure/a/b/r.json-error.out"),
        ("r", "a", "output/a/r", "failure/a/r-error.out"),
    ],
)
async def test_names_of_results(filename, extension, output, failure):
    names = {"Filename": filename} | ({"S3OutputPathExtension": extension} if extension else {})
    async with LocalEndpoint() as local:
        local.add_model("model", echo)
        _, *locations = await invoke(local, **names)
        assert locations == [f"s3://aiosmrt-local/model/{name}" for name in (output, failure)]
        await result(local, locations[0])


async def failing(local, **headers):
    _, output, failure = await invoke(local, **headers)
    where, body = await result(local, output, failure)
    assert where == failure
    (listed,) = local.async_inferences
    assert listed.status == "failed"
    return body.decode()


async def test_the_models_error_becomes_a_failure_object():
    async def model(request):
        raise ModelFailure(400, "no such column")

    async with LocalEndpoint() as local:
        local.add_model("model", model)
        text = await failing(local)
    assert text.startswith('Received client error (400) from primary with message "no such column"')


async def test_an_input_that_is_not_there():
    async with LocalEndpoint() as local:
        local.add_model("model", echo)
        _, output, failure = await invoke(local, b"", InputLocation="s3://in/nothing")
        where, body = await result(local, output, failure)
    assert (where, body) == (
        failure,
        b"no object at s3://in/nothing in the local endpoint's store",
    )


async def test_an_input_that_is_no_object():
    async with LocalEndpoint() as local:
        local.add_model("model", echo)
        _, output, failure = await invoke(local, b"", InputLocation="https://example.com/x")
        where, body = await result(local, output, failure)
    assert where == failure
    assert b"not the URI of an object" in body


async def test_invocation_timeout_seconds_acts():
    async def model(request):
        await asyncio.Event().wait()

    async with LocalEndpoint() as local:
        local.add_model("model", model)
        text = await failing(local, InvocationTimeoutSeconds="1")
    assert text.startswith("Received server error (0) from primary")


async def test_request_ttl_seconds_acts():
    now = datetime.now(timezone.utc)
    release = asyncio.Event()

    async def model(request):
        await release.wait()
        return b"done"

    async with LocalEndpoint(async_concurrency=1, clock=lambda: now) as local:
        local.add_model("model", model)
        _, first, _ = await invoke(local)
        _, waited, failure = await invoke(local, RequestTTLSeconds="60")
        _, patient, _ = await invoke(local, RequestTTLSeconds="21600")
        await until(lambda: "running" in [seen.status for seen in local.async_inferences])
        now += timedelta(seconds=61)
        release.set()
        assert (await result(local, waited, failure)) == (
            failure,
            b"The request waited longer than 60 seconds.",
        )
        await result(local, first)
        await result(local, patient)


async def test_a_model_that_is_not_ready_is_waited_for(monkeypatch):
    monkeypatch.setattr("aiosmrt.local._async_inference._NOT_READY_SECONDS", 0.001)
    loads = 0

    async def container(request):
        nonlocal loads
        loads += request.path == "/ping"
        return web.Response(status=200 if loads > 3 else 503, body=b"done")

    runner = web.ServerRunner(web.Server(container))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with LocalEndpoint(async_concurrency=1) as local:
        local.add_model("other", echo)
        local.add_container("model", f"http://127.0.0.1:{runner.addresses[0][1]}")
        _, output, failure = await invoke(local)
        assert await result(local, output, failure) == (output, b"done")
    await runner.cleanup()
    assert loads == 4


async def test_a_model_that_is_never_ready_is_waited_for_as_long_as_the_request_may(monkeypatch):
    monkeypatch.setattr("aiosmrt.local._async_inference._NOT_READY_SECONDS", 0.001)
    now = datetime.now(timezone.utc)
    async with LocalEndpoint(async_concurrency=1, clock=lambda: now) as local:
        local.add_container("model", "http://127.0.0.1:1")
        local.add_model("other", echo)
        _, output, failure = await invoke(local, RequestTTLSeconds="60")
        status, answered, _ = await send_signed(local, PATH.replace("model", "other"), b"x")
        assert status == 202
        await result(local, answered[P + "OutputLocation"])  # it holds up no other endpoint
        now += timedelta(seconds=61)
        where, body = await result(local, output, failure)
    assert (where, body) == (failure, b"The request waited longer than 60 seconds.")


async def test_a_few_run_at_once_and_the_others_wait():
    running, most = 0, 0
    release = asyncio.Event()

    async def model(request):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await release.wait()
        running -= 1
        return b""

    async with LocalEndpoint(async_concurrency=3, async_queue_length=2) as local:
        local.add_model("model", model)
        outputs = [(await invoke(local))[1] for _ in range(5)]
        status, headers, _ = await send_signed(local, PATH, b"x")
        assert (status, headers["x-amzn-errortype"]) == (400, "ThrottlingException")
        await until(lambda: running == 3)
        statuses = [seen.status for seen in local.async_inferences]
        assert statuses == ["running"] * 3 + ["queued"] * 2
        release.set()
        for output in outputs:
            await result(local, output)
    assert most == 3


async def test_failures_can_be_left_unwritten():
    async def model(request):
        raise ModelFailure(500)

    async with LocalEndpoint(async_failures=False) as local:
        local.add_model("model", model)
        _, output, failure = await invoke(local)
        assert failure is None
        await until(lambda: local.async_inferences[0].status == "failed")
        with pytest.raises(KeyError):
            local.get_object(output)


async def test_what_is_unfinished_at_the_end_fails_in_writing():
    begun = asyncio.Event()

    async def model(request):
        begun.set()
        await asyncio.Event().wait()

    local = LocalEndpoint(async_concurrency=1)
    local.add_model("model", model)
    await local.start()
    accepted = [await invoke(local) for _ in range(3)]
    await begun.wait()
    await asyncio.wait_for(local.aclose(), 20)
    for _, output, failure in accepted:
        assert local.get_object(failure) == (b"The endpoint was stopped before the model answered.")
        with pytest.raises(KeyError):
            local.get_object(output)
    assert {seen.status for seen in local.async_inferences} == {"failed"}


async def test_the_end_does_not_wait_for_ever(monkeypatch, caplog):
    monkeypatch.setattr("aiosmrt.local._async_inference._CANCEL_SECONDS", 0.05)
    monkeypatch.setattr("aiosmrt.local._async_inference._FAIL_SECONDS", 0.05)
    stubborn = Stubborn()

    async def hang(*_):
        await asyncio.Event().wait()

    local = LocalEndpoint()
    local.add_model("model", stubborn)
    await local.start()
    await invoke(local)
    await stubborn.begun.wait()
    monkeypatch.setattr("aiosmrt.local._objects.LocalObjects.write", hang)
    await asyncio.wait_for(local.aclose(), 20)
    assert "failure objects that were not written in time: 1" in caplog.text
    monkeypatch.undo()
    stubborn.release.set()


async def test_what_is_unfinished_at_the_end_may_have_time_to_finish():
    async def model(request):
        await asyncio.sleep(0)
        return b"done"

    local = LocalEndpoint(shutdown_timeout=10)
    local.add_model("model", model)
    await local.start()
    accepted = [await invoke(local) for _ in range(3)]
    await local.aclose()
    assert [local.get_object(output) for _, output, _ in accepted] == [b"done"] * 3


async def test_an_unknown_endpoint_accepts_nothing():
    async with LocalEndpoint() as local:
        status, headers, _ = await send_signed(local, PATH, b"x")
        assert (status, headers["x-amzn-errortype"]) == (400, "ValidationError")
        assert local.async_inferences == []


async def test_a_result_that_the_store_has_no_room_for(caplog):
    async def model(request):
        return bytes(100)

    async with LocalEndpoint(max_store_length=50, max_body_length=1000) as local:
        local.add_model("model", model)
        text = await failing(local)
        assert text == "the local object store holds 50 bytes at most"


async def test_a_long_result_is_hashed_in_a_thread(monkeypatch):
    hashed = {}

    async def model(request):
        return bytes(1_000_000) if request.body == b"long" else b"short"

    def note(body):
        hashed[len(body)] = threading.current_thread() is threading.main_thread()
        return entity_tag(body)

    monkeypatch.setattr("aiosmrt.local._s3.store.entity_tag", note)
    async with LocalEndpoint() as local:
        local.add_model("model", model)
        for body in (b"short", b"long"):
            _, output, _ = await invoke(local, body)
            await result(local, output)
    assert hashed == {5: True, 1_000_000: False}


async def test_what_goes_wrong_inside_is_told_too(monkeypatch, caplog):
    async def defect(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr("aiosmrt.local._async_inference.whole_answer", defect)
    async with LocalEndpoint() as local:
        local.add_model("model", echo)
        assert await failing(local) == "The local endpoint failed: see its log."
    assert "a defect" in caplog.text


class Clock:
    """A clock that a test sets."""

    def __init__(self, zone):
        self.now = datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=timezone.utc)
        self.zone = zone

    def __call__(self):
        return self.now.astimezone(self.zone)


async def dated(local, location, *, listed):
    """When S3 says that an object was stored, by GET, HEAD and listing."""
    bucket, _, key = location.removeprefix("s3://").partition("/")

    def ask(client):
        got = client.get_object(Bucket=bucket, Key=key)
        got["Body"].close()
        head = client.head_object(Bucket=bucket, Key=key)
        found = {each["Key"]: each for each in client.list_objects_v2(Bucket=bucket)["Contents"]}
        assert set(found) >= {key}
        assert len(found) == listed
        raw = {each["ResponseMetadata"]["HTTPHeaders"]["last-modified"] for each in (got, head)}
        assert raw == {f"{got['LastModified']:%a, %d %b %Y %H:%M:%S} GMT"}
        return {got["LastModified"], head["LastModified"], found[key]["LastModified"]}

    (moment,) = await with_boto(local, ask, service="s3")
    return moment


@pytest.mark.parametrize("hours", [0, 2, -11.5])
async def test_results_are_dated_when_they_are_stored_and_the_202_before(hours):
    """Of an object that is written over too: by it a client tells a result from an older one."""
    clock = Clock(timezone(timedelta(hours=hours)))
    path = "/endpoints/e/async-invocations"
    headers = {"X-Amzn-SageMaker-Filename": "same.out"}
    fails = False

    async def model(request):
        clock.now += timedelta(seconds=90)  # a model that takes its time
        if fails:
            raise ModelFailure(500, "no")
        return b"x"

    async with LocalEndpoint(clock=clock, verify=False) as local:
        local.add_model("e", model)
        for count in range(1, 5):
            fails = count > 2
            clock.now += timedelta(seconds=10)
            accepted = clock.now.replace(microsecond=0)
            status, answered, _ = await send_signed(local, path, b"x", headers)
            assert status == 202
            assert parsedate_to_datetime(answered["Date"]) == accepted
            await until(lambda n=count: len(ended(local)) == n)
            kind = "FailureLocation" if fails else "OutputLocation"
            location = answered[f"X-Amzn-SageMaker-{kind}"]
            stored = await dated(local, location, listed=2 if fails else 1)
            assert stored == accepted + timedelta(seconds=90)


def ended(local):
    return [each for each in local.async_inferences if each.status in ("completed", "failed")]


async def test_a_202_is_dated_when_the_inference_is_accepted():
    """Not when its body began to arrive: what was written meanwhile is older."""
    clock = Clock(timezone.utc)
    async with LocalEndpoint(clock=clock, verify=False) as local:
        local.add_model("e", echo)
        reader, writer = await asyncio.open_connection(local.host, local.port)
        head = "POST /endpoints/e/async-invocations HTTP/1.1\r\nHost: localhost\r\n"
        writer.write(f"{head}Content-Length: 2\r\n\r\nx".encode())
        await until(lambda: local.received)
        clock.now += timedelta(seconds=100)
        writer.write(b"y")
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.close()
    assert " 202 " in answer
    assert f"Date: {format_datetime(clock.now, usegmt=True)}\r\n" in answer


@pytest.mark.parametrize("hours", [0, 2, -11.5])
async def test_what_is_put_is_dated_when_it_is_whole(hours):
    clock = Clock(timezone(timedelta(hours=hours)))
    async with LocalEndpoint(clock=clock, verify=False) as local:
        for _ in range(2):
            clock.now += timedelta(seconds=10)
            local.put_object("s3://b/one", b"x")
            assert await dated(local, "s3://b/one", listed=1) == clock.now.replace(microsecond=0)
