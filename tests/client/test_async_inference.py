"""From an accepted invocation to its result, whatever happens in between."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import resource
import signal
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web
from support.fake_clock import FakeClock
from support.fake_s3 import (
    MODIFIED,
    S3Session,
    begin,
    cut_off,
    document,
    never,
    poller_of,
    refusal,
    repeat,
)
from support.sessions import TEMPORARY
from support.waiting import our_tasks, turns, until
from support.work import counted_calls

from aiosmrt import AsyncInvocation, RetryPolicy, Timeouts
from aiosmrt._s3 import object_store
from aiosmrt._s3.object_store import StoredObject
from aiosmrt._s3.result_poller import ResultPoller
from aiosmrt.errors import (
    AccessDeniedException,
    AiosmrtError,
    AsyncInferenceError,
    ConnectionLostError,
    CredentialsError,
    DeadlineExceededError,
    ParameterValidationError,
    ReadTimeoutError,
    ServiceError,
    TransportError,
)
from aiosmrt.local import LocalEndpoint, ModelFailure

OUTPUT = "s3://bucket/output/id.out"
FAILURE = "s3://bucket/failure/id-error.out"
POLL = 0.05  # seconds: a test need not wait as a user does


@pytest.fixture
async def session(s3):
    async with s3.session(retries=RetryPolicy(max_attempts=2)) as session:
        yield session


@pytest.fixture
def invocation(session) -> AsyncInvocation:
    return session.async_invocation(
        output_location=OUTPUT, failure_location=FAILURE, inference_id="id"
    )


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def timed(s3, clock):
    """Makes handles whose waits go by the clock."""
    async with s3.poller(lambda: clock, retries=RetryPolicy(max_attempts=2)) as poller:
        facts = {"inference_id": None, "failure_location": None, "accepted_at": None}
        yield partial(AsyncInvocation, metadata=None, poller=poller, **facts)


def s3_session(local: LocalEndpoint) -> S3Session:
    return S3Session(
        region=local.region, s3_endpoint_url=local.s3_url, credentials=local.credentials
    )


async def in_time(clock: FakeClock, waiting, *, timers: int):
    """What a wait ends with, as time passes; so many timers run while all looks are over."""
    task = asyncio.ensure_future(waiting)
    await clock.until(task.done, timers=timers)
    return await task


@pytest.fixture
def local(local):
    async def echo(request):
        if request.body == b"bad":
            raise ModelFailure(500, "the model broke")
        return request.body

    local.add_model("echo", echo)
    return local


def result(invocation: AsyncInvocation, timeout: float | None = 20.0, **keywords):
    return invocation.result(timeout, **({"poll": POLL} | keywords))


# -- what comes ---------------------------------------------------------------------------------


async def test_an_output_is_awaited(local):
    async with local.session() as session:
        invocation = await session.invoke_endpoint_async(
            "echo", body=b'{"a": 1}', content_type="application/json"
        )
        output = await result(invocation)
        assert output.output_location == invocation.output_location
        assert output.body == await output.read() == b'{"a": 1}'
        assert output.size == 8
        assert output.text() == '{"a": 1}'
        assert output.json() == {"a": 1}
        assert "a" not in repr(output.body and output).partition("size")[2]


async def test_a_failure_is_raised_with_its_objects_text(local):
    async with local.session() as session:
        invocation = await session.invoke_endpoint_async("echo", body=b"bad", inference_id="mine")
        with pytest.raises(AsyncInferenceError, match="the model broke") as caught:
            await result(invocation)
    assert caught.value.inference_id == "mine"
    assert caught.value.failure_location == invocation.failure_location
    assert invocation.failure_location in str(caught.value)


async def test_a_late_output_is_awaited(s3, invocation):
    waiting = asyncio.create_task(result(invocation))
    await until(lambda: s3.counts["GetObject"] >= 6)
    s3.put(OUTPUT, "late", "text/plain; charset=utf-8")
    output = await waiting
    assert (output.body, output.content_type) == (b"late", "text/plain; charset=utf-8")


async def test_a_late_failure_is_raised(s3, invocation):
    waiting = asyncio.create_task(result(invocation))
    await until(lambda: s3.counts["GetObject"] >= 6)
    s3.put(FAILURE, "out of memory")
    with pytest.raises(AsyncInferenceError, match=r"failed: out of memory \(.*inference id id"):
        await waiting


@pytest.mark.parametrize(
    "text, told",
    [
        (b"", "its failure object is empty"),
        (b"\xff\xfe!", "��!"),
        (b"x" * 200_000, "x" * 65_536),
    ],
)
async def test_a_failure_objects_text_is_told_as_far_as_it_helps(s3, invocation, text, told):
    s3.put(FAILURE, text)
    with pytest.raises(AsyncInferenceError) as caught:
        await result(invocation)
    assert caught.value.message == f"The async inference failed: {told}"


async def test_the_rest_of_a_long_failure_object_is_not_waited_for(s3, invocation):
    async def trickle(seen, request):
        if seen.key != "failure/id-error.out":
            return None
        response = await begin(request, 10**12, '"1"')
        await response.write(b"x" * 2_000_000)
        await asyncio.Event().wait()
        return response

    s3.hook = trickle
    with pytest.raises(AsyncInferenceError, match="failed: xxx"):
        await result(invocation)


@pytest.mark.parametrize("handles", [1, 3])
async def test_where_output_and_failure_are_both_there_the_output_counts(s3, timed, clock, handles):
    """Though the failure object was found first."""
    invocations = [
        timed(
            output_location=f"s3://bucket/output/{number}",
            failure_location=f"s3://bucket/failure/{number}",
        )
        for number in range(handles)
    ]
    asked_again = asyncio.Event()

    async def hold(seen, request):
        """The first look for outputs ends after the failure objects were found."""
        outputs = [one for one in s3.seen if one.key.startswith("output/")]
        if len(outputs) > 1:
            asked_again.set()
        elif seen.key.startswith("output/"):
            await asked_again.wait()

    s3.hook = hold
    for number in range(handles):
        s3.put(f"s3://bucket/failure/{number}", "broken")
        s3.put(f"s3://bucket/output/{number}", str(number))
    waiting = asyncio.gather(*[result(each, None) for each in invocations])
    outputs = await in_time(clock, waiting, timers=1)
    assert [output.text() for output in outputs] == [str(number) for number in range(handles)]


@pytest.mark.parametrize(
    "failure_location, looks",
    [(FAILURE, {"GetObject": 2}), ("s3://bucket/output/failed", {"ListObjectsV2": 1})],
)
async def test_a_failed_inference_costs_its_looks_and_two_requests_at_most(
    s3, timed, clock, failure_location, looks
):
    """The failure object is read, by the look or after a listing; then the output asked for."""

    async def output_first(seen, request):
        if seen.key == "failure/id-error.out":
            await until(lambda: any(one.key == "output/id.out" for one in s3.seen))

    s3.hook = output_first
    s3.put(failure_location, "broken")
    invocation = timed(output_location=OUTPUT, failure_location=failure_location)
    waiting = asyncio.ensure_future(result(invocation, None))
    await until(lambda: clock.timers == sum(looks.values()))
    clock.jump(0.06)  # the first looks are due, and no second ones
    with pytest.raises(AsyncInferenceError, match="broken"):
        await waiting
    read = {} if "GetObject" in looks else {"GetObject": 1}
    assert s3.counts == Counter(looks) + Counter(read) + Counter(GetObject=1)
    assert s3.seen[-1].key == "output/id.out"


@pytest.mark.parametrize(
    "there, cls", [(False, AsyncInferenceError), (True, DeadlineExceededError)]
)
async def test_where_time_runs_out_a_failure_is_told_unless_the_output_is_there(
    s3, timed, clock, there, cls
):
    """The failure object has come; S3 tells nothing of the output, or its reading takes long."""
    looked, held = asyncio.Event(), asyncio.Event()

    async def hold(seen, request):
        if seen.key != "output/id.out":
            await looked.wait()
        elif not looked.is_set():
            looked.set()
            return refusal(404, "NoSuchKey", "The specified key does not exist.")
        elif there:
            return await cut_off(request, s3.objects["bucket", "output/id.out"], 1, hold=held)
        else:
            held.set()
            await asyncio.Event().wait()
        return None

    s3.hook = hold
    s3.put(FAILURE, "broken")
    s3.put(OUTPUT, "late")
    invocation = timed(output_location=OUTPUT, failure_location=FAILURE)
    waiting = asyncio.ensure_future(result(invocation, 1.0))
    await until(lambda: clock.timers == 3)
    clock.jump(0.06)  # the first looks are due, and no second ones
    await held.wait()
    await turns()
    clock.jump(1.0)
    with pytest.raises(cls):
        await waiting


async def test_one_location_for_both_is_looked_at_once(s3, one_at_a_time, session):
    s3.put(OUTPUT, "done")
    for _ in range(3):
        invocation = session.async_invocation(output_location=OUTPUT, failure_location=OUTPUT)
        assert (await result(invocation)).body == b"done"
    assert s3.counts == {"GetObject": 3}
    assert not session.poller.prefixes


async def test_a_failure_location_is_not_needed(s3, session):
    s3.put(OUTPUT, "done")
    assert (await result(session.async_invocation(output_location=OUTPUT))).body == b"done"
    assert s3.counts == {"GetObject": 1}


async def test_many_are_collected_each_once(s3, session):
    invocations = [
        session.async_invocation(
            output_location=f"s3://bucket/output/{number}.out",
            failure_location=f"s3://bucket/failure/{number}.out",
        )
        for number in range(100)
    ]
    waiting = [asyncio.create_task(result(one)) for one in invocations]
    await until(lambda: s3.counts["ListObjectsV2"] >= 6)
    for number in range(0, 100, 2):
        s3.put(f"s3://bucket/output/{number}.out", str(number))
    for number in range(1, 100, 2):
        s3.put(f"s3://bucket/failure/{number}.out", str(number))
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [one.text() for one in outcomes[::2]] == [str(number) for number in range(0, 100, 2)]
    assert [one.message.split()[-1] for one in outcomes[1::2]] == [
        str(number) for number in range(1, 100, 2)
    ]
    # The last one that is waited for below a prefix is asked for itself, in vain here.
    got = Counter(
        seen.key for seen in s3.seen if seen.operation == "GetObject" and seen[1:3] in s3.objects
    )
    assert sorted(got.values()) == [1] * 100


async def test_two_thousand_invocations_are_collected_with_a_request_each(local):
    """The looks, shared by all, are next to nothing beside it."""
    number = 2000
    async with local.session() as session:
        handles = await asyncio.gather(
            *[session.invoke_endpoint_async("echo", body=b"%d" % n) for n in range(number)]
        )
        outputs = await asyncio.gather(*[handle.result(50) for handle in handles])
    assert [int(output.body) for output in outputs] == list(range(number))
    requests = Counter(one.operation for one in local.received)
    assert requests["InvokeEndpointAsync"] == number
    got = Counter(
        one.raw_path
        for one in local.received
        if one.operation == "GetObject" and "/output/" in one.raw_path
    )
    assert len(got) == number
    # A look is not repeated for what it found, and all other looks together are few.
    assert sum(requests.values()) - 2 * number < number / 20


async def test_all_are_collected_from_the_local_endpoint_without_leave_to_list(local):
    refused = local.inject(operation="ListObjectsV2", error="AccessDenied", status_code=403)
    async with local.session() as session:
        bodies = [b"bad" if n == 3 else b"%d" % n for n in range(100)]
        handles = [await session.invoke_endpoint_async("echo", body=body) for body in bodies]
        waiting = [result(handle, 60.0) for handle in handles]
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes.pop(3), AsyncInferenceError)
    assert [int(outcome.body) for outcome in outcomes] == [n for n in range(100) if n != 3]
    assert 1 <= refused.count <= 2  # once below each prefix


# -- objects of earlier inferences --------------------------------------------------------------

SECOND = timedelta(seconds=1)


async def ended(invocation: AsyncInvocation) -> str:
    """What the result says, or the failure."""
    try:
        return (await result(invocation, None)).text()
    except AsyncInferenceError as error:
        return error.message.partition('with message "')[2].partition('"')[0]


def timed_by(poller: ResultPoller, invocation: AsyncInvocation) -> AsyncInvocation:
    """The same inference, whose waits go by the clock of the poller."""
    return AsyncInvocation(
        inference_id=invocation.inference_id,
        output_location=invocation.output_location,
        failure_location=invocation.failure_location,
        accepted_at=invocation.accepted_at,
        metadata=invocation.metadata,
        poller=poller,
    )


ENDS = [
    ["output", "output"],
    ["output", "failure"],
    ["failure", "output"],
    ["failure", "failure"],
    ["output", "failure", "output"],
    ["failure", "output", "failure"],
    ["output", "output", "failure", "failure", "output", "failure", "output"],
]


@pytest.mark.parametrize("ends", ENDS, ids="-".join)
@pytest.mark.parametrize("handles", [1, 3])
async def test_inferences_to_the_same_location_one_after_the_other_each_get_their_own_end(
    ends, handles
):
    now = [datetime.now(timezone.utc)]
    free = asyncio.Event()

    async def model(request):
        await free.wait()
        if request.body.startswith(b"failure"):
            raise ModelFailure(500, request.body.decode())
        return request.body

    clock = FakeClock(flies=True)
    async with (
        LocalEndpoint(clock=lambda: now[0]) as local,
        local.session() as session,
        poller_of(s3_session(local), lambda: clock) as poller,
    ):
        local.add_model("model", model)
        for number, end in enumerate(ends):
            free.clear()
            invocations = [
                timed_by(
                    poller,
                    await session.invoke_endpoint_async(
                        "model",
                        body=f"{end} {number} {each}",
                        filename=f"job{each}.out",
                        s3_output_path_extension="same/place",
                    ),
                )
                for each in range(handles)
            ]
            before = len(local.received)
            waiting = [asyncio.create_task(ended(one)) for one in invocations]
            # Each location is looked at, several times, before there is anything to see.
            await until(lambda at=before: len(local.received) >= at + 8)
            assert not any(task.done() for task in waiting)
            free.set()
            assert await asyncio.gather(*waiting) == [
                f"{end} {number} {each}" for each in range(handles)
            ]
            now[0] += SECOND


@pytest.mark.parametrize("heeds", [True, False])
@pytest.mark.parametrize("location", [OUTPUT, FAILURE])
async def test_an_object_older_than_its_inference_is_not_its_result(
    s3, timed, clock, location, heeds
):
    s3.heeds_modified_since = heeds
    invocation = timed(output_location=OUTPUT, failure_location=FAILURE, accepted_at=MODIFIED)
    s3.put(location, "older", modified=MODIFIED - SECOND)
    said = f"What lies at {location} was last modified before 2026-01-02 03:04:05"
    with pytest.raises(DeadlineExceededError, match=said):
        await in_time(clock, result(invocation, 0.5), timers=3)
    waiting = asyncio.create_task(result(invocation))
    before = len(s3.seen)
    await clock.until(lambda: len(s3.seen) >= before + 6, timers=3)
    s3.put(location, "fresh", modified=MODIFIED)
    if location == OUTPUT:
        assert (await in_time(clock, waiting, timers=3)).body == b"fresh"
    else:
        with pytest.raises(AsyncInferenceError, match="fresh"):
            await in_time(clock, waiting, timers=3)


async def looked(s3, number: int) -> None:
    before = len(s3.seen)
    await until(lambda: len(s3.seen) >= before + number)


async def test_without_a_time_whatever_is_there_is_the_result(s3, session):
    s3.put(OUTPUT, "of whichever", modified=MODIFIED.replace(year=1990))
    invocation = session.async_invocation(output_location=OUTPUT)
    assert invocation.accepted_at is None
    assert (await result(invocation)).body == b"of whichever"


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z"])
async def test_a_time_before_s3_accepts_whatever_is_there(s3, session, time):
    s3.put(OUTPUT, "of whichever")
    invocation = session.async_invocation(output_location=OUTPUT, accepted_at=time)
    assert (await result(invocation)).body == b"of whichever"


async def test_an_older_object_that_comes_back_after_the_listing_is_not_the_result(
    s3, one_at_a_time, timed, clock
):
    """As where the newer version of an object is deleted."""
    s3.heeds_modified_since = False
    handles = [
        timed(output_location=f"s3://bucket/output/{number}", accepted_at=MODIFIED)
        for number in range(2)
    ]

    async def swap(seen, request):
        if seen.operation == "GetObject" and s3.counts["GetObject"] == 1:
            s3.put("s3://bucket/output/0", "older", modified=MODIFIED - SECOND)

    s3.hook = swap
    s3.put("s3://bucket/output/0", "fresh")
    waiting = asyncio.gather(*[result(handle, None) for handle in handles])
    with pytest.raises(DeadlineExceededError, match="What lies at s3://bucket/output/0 was last"):
        await in_time(clock, result(handles[0], 2.0), timers=2)
    before = len(s3.seen)
    await clock.until(lambda: len(s3.seen) >= before + 3)
    assert s3.counts["GetObject"]
    assert not waiting.done()
    s3.put("s3://bucket/output/0", "fresh again")
    s3.put("s3://bucket/output/1", "one")
    outputs = await in_time(clock, waiting, timers=1)
    assert [output.body for output in outputs] == [b"fresh again", b"one"]


async def test_a_large_output_of_an_earlier_inference_is_neither_read_nor_saved(
    s3, session, tmp_path
):
    s3.put(OUTPUT, BODY[::-1], modified=MODIFIED - SECOND)
    invocation = session.async_invocation(output_location=OUTPUT, accepted_at=MODIFIED)
    waiting = asyncio.create_task(result(invocation, body_limit=1))
    await looked(s3, 3)
    s3.put(OUTPUT, BODY)
    output = await waiting
    assert await output.read() == BODY
    await output.save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


EAST = timezone(timedelta(hours=5.5))


@pytest.mark.parametrize(
    "given",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T05:04:05+02:00",
        MODIFIED.isoformat(),
        MODIFIED,
        MODIFIED.astimezone(EAST),
    ],
)
async def test_the_time_is_taken_as_text_and_as_it_is(session, given):
    invocation = session.async_invocation(output_location=OUTPUT, accepted_at=given)
    assert invocation.accepted_at == MODIFIED
    assert invocation.to_dict()["accepted_at"] == "2026-01-02T03:04:05+00:00"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "yesterday",
        "2026-01-02T03:04:05",
        "Z",
        5,
        MODIFIED.replace(tzinfo=None),
        datetime.min.replace(tzinfo=EAST),
    ],
)
async def test_a_time_without_zone_and_what_is_no_time_are_parameter_errors(session, given):
    with pytest.raises(ParameterValidationError) as caught:
        session.async_invocation(output_location=OUTPUT, accepted_at=given)
    assert caught.value.parameter == "accepted_at"


# -- what does not come -------------------------------------------------------------------------


async def test_a_timeout_leaves_the_handle_usable(s3, timed, clock):
    invocation = timed(output_location=OUTPUT, failure_location=FAILURE)
    said = r"within 1\.0 s, and result\(\) can be awaited again: s3://bucket/output/id\.out"
    with pytest.raises(DeadlineExceededError, match=said):
        await in_time(clock, result(invocation, 1.0), timers=3)
    assert clock.time() == 1.0
    assert s3.counts["GetObject"] >= 2 * 1.0 / (1.2 * POLL)
    s3.put(OUTPUT, "late")
    assert (await in_time(clock, result(invocation), timers=3)).body == b"late"


async def test_a_timeout_bounds_the_reading_too(s3, timed, clock):
    s3.put(OUTPUT, "found")
    reading = asyncio.Event()

    async def stall(seen, request):
        return await cut_off(request, s3.objects["bucket", "output/id.out"], 1, hold=reading)

    s3.hook = stall
    waiting = asyncio.create_task(result(timed(output_location=OUTPUT), 0.2))
    await clock.until(reading.is_set, timers=2)
    with pytest.raises(DeadlineExceededError, match="object of the inference came within"):
        await in_time(clock, waiting, timers=1)


async def test_an_s3_that_never_answers_is_told_as_that(s3):
    """Its ReadTimeoutError is an asyncio.TimeoutError too, and yet no deadline of ours."""
    s3.hook = never
    async with s3.session(timeouts=Timeouts(read=0.02)) as session:
        invocation = session.async_invocation(output_location=OUTPUT)
        for timeout in (None, 20.0):
            with pytest.raises(ReadTimeoutError, match=OUTPUT):
                await invocation.result(timeout, poll=0.01)


async def test_a_timeout_tells_that_s3_has_not_answered(s3, timed, clock):
    s3.hook = never
    waiting = asyncio.create_task(result(timed(output_location=OUTPUT), 0.5))
    await clock.until(lambda: s3.seen, timers=2)
    with pytest.raises(DeadlineExceededError, match="S3 had not answered the first look yet"):
        await in_time(clock, waiting, timers=1)


@pytest.mark.parametrize("handles", [1, 3])
async def test_a_timeout_tells_what_the_last_look_has_failed_with(s3, timed, clock, handles):
    """Alone and shared, and though S3 has answered before."""

    async def fail(seen, request):
        if failing and seen.key.startswith("output"):
            return refusal(500, "InternalError", "We encountered an internal error.")
        return None

    failing = False
    s3.hook = fail
    invocations = [
        timed(output_location=f"s3://bucket/output/{number}") for number in range(handles)
    ]
    waiting = asyncio.gather(*[result(each, 2.0) for each in invocations], return_exceptions=True)
    await clock.until(lambda: len(s3.seen) >= 3, timers=1 + handles)
    failing = True
    said = "The last look failed: InternalFailure, We encountered an internal error: s3://bucket/"
    for outcome in await in_time(clock, waiting, timers=1 + handles):
        assert isinstance(outcome, DeadlineExceededError)
        assert said in str(outcome)
    failing = False
    with pytest.raises(DeadlineExceededError) as caught:
        await in_time(clock, result(invocations[0], 0.5), timers=2)
    assert "last look" not in str(caught.value)


@pytest.mark.parametrize("handles", [1, 3])
async def test_an_output_whose_reading_keeps_failing_is_asked_for_at_growing_pauses(
    s3, timed, clock, handles
):
    """Whether a look has it in hand, or a listing has named it; and the timeout tells why."""
    times = [clock.time()]

    async def break_off(seen, request):
        if (seen.bucket, seen.key) not in s3.objects:
            return None
        times.append(clock.time())
        return await cut_off(request, s3.objects["bucket", "output/0"], 1000)

    s3.hook = break_off
    s3.put("s3://bucket/output/0", BODY)
    invocations = [
        timed(output_location=f"s3://bucket/output/{number}") for number in range(handles)
    ]
    others = [asyncio.create_task(result(each, None)) for each in invocations[1:]]
    said = "The last look failed: ConnectionLostError, The answer for s3://bucket/output/0 broke"
    with pytest.raises(DeadlineExceededError, match=said):
        await in_time(clock, result(invocations[0], 6.0, poll=1.0), timers=2)
    pauses = [after - before for before, after in itertools.pairwise([*times, 6.0])]
    for number, pause in enumerate(pauses[:-1]):
        expected = min(0.05 * 1.6**number, 1.0)
        # A listing for the others serves whoever is halfway through a pause.
        assert expected * (0.799 if handles == 1 else 0.5) <= pause
    assert all(pause <= 1.0 * 1.2 + 0.06 for pause in pauses)
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_pauses_between_looks_grow_to_five_seconds(s3, timed, clock):
    times = []

    async def note(seen, request):
        times.append(clock.time())

    s3.hook = note
    waiting = asyncio.ensure_future(timed(output_location=OUTPUT).result())
    await clock.until(lambda: len(times) > 100)
    waiting.cancel()
    pauses = [after - before for before, after in itertools.pairwise(times)]
    assert all(5.0 * 0.799 <= pause <= 5.0 * 1.201 for pause in pauses[11:])
    await asyncio.wait({waiting})


async def test_without_leave_to_list_the_timeout_tells_that_it_may_be_a_refusal(s3, timed, clock):
    s3.may_list = False
    invocation = timed(output_location=OUTPUT, failure_location=FAILURE)
    with pytest.raises(DeadlineExceededError, match=r"S3 answered 403 each time.*s3:ListBucket"):
        await in_time(clock, result(invocation, 3.0), timers=3)
    s3.put(OUTPUT, "late")
    assert (await in_time(clock, result(invocation), timers=3)).body == b"late"


async def test_an_output_that_may_not_be_read_is_a_refusal(s3, invocation):
    s3.may_read = False
    s3.put(OUTPUT, "secret")
    with pytest.raises(AccessDeniedException, match="Allow s3:GetObject"):
        await result(invocation)


async def test_a_bucket_that_is_not_there_is_an_error_at_once(s3, invocation):
    s3.buckets = {"other"}
    with pytest.raises(ServiceError) as caught:
        await result(invocation)
    assert caught.value.code == "NoSuchBucket"


async def test_a_failure_location_that_is_refused_is_done_without(s3, session, caplog):
    s3.buckets = {"bucket"}
    invocation = session.async_invocation(
        output_location=OUTPUT, failure_location="s3://failures/x"
    )
    with caplog.at_level(logging.WARNING, "aiosmrt"):
        waiting = asyncio.create_task(result(invocation))
        await until(lambda: "no longer looking for a failure object" in caplog.text)
        s3.put(OUTPUT, "done")
        assert (await waiting).body == b"done"


async def test_a_failure_object_that_may_not_be_read_still_tells_of_the_failure(s3, invocation):
    async def refuse(seen, request):
        if seen.key.startswith("failure/") and seen.operation == "GetObject":
            return refusal(403, "AccessDenied", "Access Denied")
        return None

    s3.hook = refuse
    s3.put(FAILURE, "hidden")
    with pytest.raises(AsyncInferenceError, match="its failure object cannot be read") as caught:
        await result(invocation)
    assert isinstance(caught.value.__cause__, AccessDeniedException)


@pytest.mark.parametrize("location", [OUTPUT, FAILURE])
async def test_an_object_lost_on_its_way_is_looked_for_again(s3, invocation, location):
    s3.put(location, "x" * 100_000)

    async def cut(seen, request):
        key = location.removeprefix("s3://bucket/")
        if seen.key != key or sum(one.key == key for one in s3.seen) > 1:
            return None
        return await cut_off(request, s3.objects["bucket", key], 10)

    s3.hook = cut
    if location == OUTPUT:
        assert (await result(invocation)).size == 100_000
    else:
        with pytest.raises(AsyncInferenceError, match="xxx"):
            await result(invocation)


async def test_a_log_tells_of_an_object_that_is_looked_for_again(s3, session, caplog):
    s3.put(OUTPUT, "x" * 100_000)

    async def cut(seen, request):
        if len(s3.seen) > 1:
            return None
        return await cut_off(request, s3.objects["bucket", "output/id.out"], 10)

    s3.hook = cut
    with caplog.at_level(logging.WARNING, "aiosmrt"):
        await result(session.async_invocation(output_location=OUTPUT))
    (told,) = caplog.messages
    assert told.startswith(f"looking again for {OUTPUT}: The answer for {OUTPUT} broke off")


async def test_an_output_that_is_listed_but_gone_is_looked_for_again(s3, session):
    handles = [
        session.async_invocation(output_location=f"s3://bucket/output/{number}")
        for number in range(2)
    ]

    async def ahead(seen, request):
        """The listing shows what GetObject does not find."""
        if seen.operation == "ListObjectsV2" and s3.counts["ListObjectsV2"] == 1:
            return document(
                "<ListBucketResult><Contents><Key>output/0</Key><Size>1</Size><LastModified>"
                "2026-01-02T03:04:05.000Z</LastModified></Contents></ListBucketResult>"
            )
        return None

    s3.hook = ahead
    waiting = [asyncio.create_task(result(handle)) for handle in handles]
    await until(lambda: s3.counts["GetObject"])
    s3.put("s3://bucket/output/0", "zero")
    s3.put("s3://bucket/output/1", "one")
    assert [output.body for output in await asyncio.gather(*waiting)] == [b"zero", b"one"]


@pytest.mark.parametrize(
    "keywords, parameter",
    [
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": True}, "timeout"),
        ({"timeout": "5"}, "timeout"),
        ({"poll": 0}, "poll"),
        ({"poll": None}, "poll"),
        ({"poll": float("nan")}, "poll"),
    ],
)
async def test_a_time_that_is_none_is_a_parameter_error(invocation, keywords, parameter):
    with pytest.raises(ParameterValidationError) as caught:
        await invocation.result(**keywords)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    "locations, parameter",
    [
        ({"output_location": None}, "output_location"),
        ({"output_location": "bucket/key"}, "output_location"),
        ({"output_location": OUTPUT, "failure_location": "s3://bucket"}, "failure_location"),
    ],
)
async def test_a_location_that_is_none_is_a_parameter_error(s3, session, locations, parameter):
    with pytest.raises(ParameterValidationError) as caught:
        await session.async_invocation(**locations).result()
    assert caught.value.parameter == parameter
    assert not s3.seen


# -- looks that end before their time -----------------------------------------------------------


class Strange(BaseException):
    """Not an Exception."""


async def strange():
    raise Strange("SECRET")


async def cancelled():
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


async def generator_exit():
    raise GeneratorExit


@pytest.mark.parametrize("handles", [1, 3])
@pytest.mark.parametrize("look", [1, 2, 3, 5])
@pytest.mark.parametrize("end", [strange, cancelled, generator_exit])
async def test_no_result_waits_for_looks_that_the_credentials_provider_has_ended(
    s3, handles, look, end
):
    """A BaseException, and the CancelledError of a task that nobody here has cancelled."""
    calls = itertools.count(1)

    class Provider:
        async def get_credentials(self):
            if next(calls) == look:
                await end()
            return TEMPORARY

    async with s3.session(credentials=Provider()) as session:
        invocations = [
            session.async_invocation(
                output_location=f"s3://bucket/output/{number}",
                failure_location=f"s3://bucket/failure/{number}",
            )
            for number in range(handles)
        ]
        for error in await asyncio.gather(*map(result, invocations), return_exceptions=True):
            assert isinstance(error, AiosmrtError)
            assert "Looking below s3://bucket/" in str(error)
            assert "SECRET" not in str(error)
        for number in range(handles):
            s3.put(f"s3://bucket/output/{number}", str(number))
        again = await asyncio.gather(*map(result, invocations))
        assert [output.text() for output in again] == [str(number) for number in range(handles)]


async def test_credentials_that_fail_for_the_failure_object_are_not_passed_over(s3):
    """The failure would come, and nobody would look for it."""
    calls = itertools.count(1)

    class Provider:
        async def get_credentials(self):
            if next(calls) == 2:  # the output is looked for first
                raise CredentialsError("expired")
            return TEMPORARY

    async with s3.session(credentials=Provider()) as session:
        invocation = session.async_invocation(output_location=OUTPUT, failure_location=FAILURE)
        with pytest.raises(CredentialsError):
            await result(invocation)
        s3.put(OUTPUT, "done")
        assert (await result(invocation)).body == b"done"


@pytest.mark.parametrize("handles", [1, 3])
async def test_results_end_when_a_supervisor_cancels_all_other_tasks(s3, session, handles):
    invocations = [
        session.async_invocation(output_location=f"s3://bucket/output/{number}")
        for number in range(handles)
    ]

    async def wait(invocation):
        return await result(invocation)

    waiting = [asyncio.create_task(wait(one)) for one in invocations]
    await looked(s3, 2)
    for task in our_tasks():
        task.cancel()
    for error in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(error, AiosmrtError)  # nobody has cancelled the tasks that wait
    for number in range(handles):
        s3.put(f"s3://bucket/output/{number}", str(number))
    again = await asyncio.gather(*map(result, invocations))
    assert [output.text() for output in again] == [str(number) for number in range(handles)]


@pytest.mark.parametrize("location", ["s3://bucket/{}/output", "s3://bucket/output/{}", OUTPUT])
async def test_the_work_for_results_grows_with_their_number(s3, session, location):
    """Each below a prefix of its own, all below one, and all for one object."""

    async def work(number: int) -> int:
        handles = [
            session.async_invocation(output_location=location.format(each))
            for each in range(number)
        ]
        waiting = [asyncio.create_task(handle.result()) for handle in handles]
        with counted_calls() as calls:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
        return calls.count

    assert await work(1000) < 6 * await work(250)


async def test_results_asked_for_together_begin_some_at_a_time(session, monkeypatch):
    begun, most, watch = 0, 0, ResultPoller.watch

    def counted(*args, **keywords):
        nonlocal begun
        begun += 1
        return watch(*args, **keywords)

    monkeypatch.setattr(ResultPoller, "watch", counted)
    handles = [
        session.async_invocation(output_location=f"s3://bucket/{number}/output")
        for number in range(400)
    ]
    waiting = [asyncio.create_task(handle.result()) for handle in handles]
    while begun < 400:
        before = begun
        await asyncio.sleep(0)
        most = max(most, begun - before)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    assert most <= 40


# -- cancellation -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["between looks", "looking", "reading"])
async def test_a_cancelled_wait_leaves_the_handle_usable(s3, timed, clock, state):
    invocation = timed(output_location=OUTPUT)
    reading = asyncio.Event()

    async def hold(seen, request):
        stored = s3.objects[seen.bucket, seen.key]
        return await cut_off(request, stored, 10, hold=reading)

    if state != "between looks":
        s3.put(OUTPUT, "x" * 100_000)
        s3.hook = never if state == "looking" else hold
    waiting = asyncio.create_task(result(invocation, None))
    await clock.until(lambda: s3.seen)
    if state == "between looks":
        await until(lambda: clock.timers)
    elif state == "reading":
        await reading.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    s3.hook = None
    s3.put(OUTPUT, "done")
    assert (await in_time(clock, result(invocation), timers=2)).body == b"done"


@pytest.mark.parametrize("timeout", [None, 20.0])
async def test_a_cancellation_that_comes_with_the_result_is_not_lost(
    s3, session, monkeypatch, timeout
):
    """As with `asyncio.wait_for` up to Python 3.11."""
    read = StoredObject.read

    async def read_and_cancel(self):
        body = await read(self)
        waiting.cancel()
        return body

    monkeypatch.setattr(StoredObject, "read", read_and_cancel)
    s3.put(OUTPUT, "found")
    invocation = session.async_invocation(output_location=OUTPUT)
    waiting = asyncio.create_task(invocation.result(timeout))
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_closed_session_ends_the_wait(s3, session, invocation):
    waiting = asyncio.create_task(result(invocation))
    await until(lambda: s3.seen)
    await session.aclose()
    for one in (waiting, result(invocation)):
        with pytest.raises(TransportError, match="is closed"):
            await one


@pytest.mark.parametrize("operation", ["upload", "read", "save"])
async def test_a_closed_session_ends_what_is_under_way(s3, session, large, tmp_path, operation):
    s3.seen.clear()
    s3.hook = never
    work = {
        "upload": lambda: session.upload_input(b"x" * 10_000_000, "s3://bucket/in"),
        "read": large.read,
        "save": lambda: large.save(tmp_path / "file"),
    }[operation]
    under_way = asyncio.create_task(work())
    await until(lambda: s3.seen)
    s3.hook = None  # so that an upload can be broken off
    await session.aclose()
    for one in (under_way, work()):
        with pytest.raises(TransportError, match="is closed"):
            await one
    assert not names(tmp_path)
    assert "bucket/in" not in {f"{bucket}/{key}" for bucket, key in s3.objects}


# -- large outputs, and files -------------------------------------------------------------------

BODY = os.urandom(3_000_000)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
async def large(s3, session):
    """A result whose body was left in S3."""
    s3.put(OUTPUT, BODY)
    return await result(session.async_invocation(output_location=OUTPUT), body_limit=1_000_000)


@pytest.fixture
async def small(s3, session):
    s3.put(OUTPUT, "small")
    return await result(session.async_invocation(output_location=OUTPUT))


async def test_a_large_output_is_left_in_s3(large):
    assert large.size == 3_000_000
    for use in (lambda: large.body, large.text, large.json):
        with pytest.raises(AiosmrtError, match=r"3000000 bytes.*await result\.save\(path\)"):
            use()
    assert await large.read() == BODY


@pytest.mark.parametrize("body_limit", [3_000_000, None])
async def test_the_limit_is_settable(s3, session, body_limit):
    s3.put(OUTPUT, BODY)
    invocation = session.async_invocation(output_location=OUTPUT)
    assert (await result(invocation, body_limit=body_limit)).body == BODY
    assert s3.counts == {"GetObject": 1}


@pytest.mark.parametrize("more", [0, 1])
async def test_an_output_of_more_than_32_mib_is_left_in_s3(s3, session, more):
    async def send(seen, request):
        if more:
            return await begin(request, 32 * 2**20 + more, '"1"')
        return await repeat(request, bytes(2**20), 32)

    s3.hook = send
    output = await session.async_invocation(output_location=OUTPUT).result(20.0)
    assert output.size == 32 * 2**20 + more
    if more:
        with pytest.raises(AiosmrtError, match="33554433 bytes"):
            output.text()
    else:
        assert output.body == bytes(32 * 2**20)


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
async def test_an_output_is_saved(s3, small, large, tmp_path, kind):
    (tmp_path / "large").write_text("older")
    await large.save(kind(tmp_path / "large"))
    await small.save(kind(tmp_path / "small"))
    assert (tmp_path / "large").read_bytes() == BODY
    assert (tmp_path / "small").read_bytes() == b"small"
    assert names(tmp_path) == ["large", "small"]


@pytest.fixture
def one_at_a_time(monkeypatch):
    """S3 with one place for each purpose: what keeps it ends all that follows."""
    monkeypatch.setattr(object_store, "CONCURRENT_REQUESTS", 1)


@pytest.mark.parametrize("handles", [1, 3])
async def test_results_that_stay_in_s3_leave_room_for_others(s3, one_at_a_time, handles):
    """Each found in hand, or by a listing; and read whole, saved, or broken off twice."""
    retries = RetryPolicy(max_attempts=1)
    async with s3.session(retries=retries) as session:
        for number in range(handles):
            s3.put(f"s3://bucket/output/{number}", BODY)
        invocations = [
            session.async_invocation(output_location=f"s3://bucket/output/{number}")
            for number in range(handles)
        ]
        outputs = await asyncio.gather(*[result(one, body_limit=1) for one in invocations])
        outputs += await asyncio.gather(*[result(one, body_limit=1) for one in invocations])

        async def cut(seen, request):
            return await cut_off(request, s3.objects[seen.bucket, seen.key], 1000)

        s3.hook = cut
        for output in outputs:
            with pytest.raises(ConnectionLostError):
                await output.read()
        s3.hook = None
        assert [await output.read() for output in outputs] == [BODY] * len(outputs)


@pytest.mark.parametrize("broken", [False, True])
async def test_what_was_saved_or_broke_off_leaves_room_for_others(
    s3, one_at_a_time, tmp_path, broken
):
    s3.put(OUTPUT, BODY)
    async with s3.session(retries=RetryPolicy(max_attempts=1)) as session:
        output = await result(session.async_invocation(output_location=OUTPUT), body_limit=1)

        async def cut(seen, request):
            return await cut_off(request, s3.objects[seen.bucket, seen.key], 2_000_000)

        if broken:
            s3.hook = cut
            for _ in range(2):
                with pytest.raises(ConnectionLostError):
                    await output.save(tmp_path / "file")
            assert not names(tmp_path)
            s3.hook = None
        for _ in range(2):
            await output.save(tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == BODY


async def test_a_file_that_cannot_be_written_to_its_end_leaves_room_for_others(
    s3, one_at_a_time, tmp_path
):
    """By a limit to files' sizes, which fails as a full disk does."""
    s3.put(OUTPUT, BODY)
    async with s3.session() as session:
        output = await result(session.async_invocation(output_location=OUTPUT), body_limit=1)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, limits[1]))
        try:
            with pytest.raises(OSError, match="too large"):
                await output.save(tmp_path / "file")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert not names(tmp_path)
        assert await output.read() == BODY


async def test_failures_and_outputs_of_other_versions_leave_room_for_others(
    s3, one_at_a_time, tmp_path
):
    """Failure objects longer than an error carries, and downloads of what was overwritten."""

    async def untagged(seen, request):
        stored = s3.objects[seen.bucket, seen.key]
        return web.Response(body=stored.body)

    async with s3.session() as session:
        s3.put(FAILURE, "x" * 1_000_000)
        for _ in range(2):
            failed = session.async_invocation(output_location=OUTPUT, failure_location=FAILURE)
            with pytest.raises(AsyncInferenceError):
                await result(failed)
        s3.put(OUTPUT, BODY)
        s3.hook = untagged
        output = await result(session.async_invocation(output_location=OUTPUT), body_limit=1)
        s3.put(OUTPUT, BODY[1:])
        for _ in range(2):
            with pytest.raises(TransportError, match="was overwritten since"):
                await output.read()
        with pytest.raises(TransportError, match="was overwritten since"):
            await output.save(tmp_path / "file")


async def test_a_download_that_breaks_off_goes_on(s3, large, tmp_path):
    async def cut(seen, request):
        if "Range" in request.headers:
            return None
        return await cut_off(request, s3.objects["bucket", "output/id.out"], 2_000_000)

    s3.hook = cut
    await large.save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


async def test_an_output_overwritten_since_is_not_saved(s3, large, tmp_path):
    (tmp_path / "file").write_text("older")
    s3.put(OUTPUT, BODY[::-1])
    for use in (large.read(), large.save(tmp_path / "file")):
        with pytest.raises(ServiceError) as caught:
            await use
        assert caught.value.code == "PreconditionFailed"
    assert (tmp_path / "file").read_text() == "older"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("tag", [{"ETag": '"{}"'}, {"ETag": 'W/"{}"'}, {}])
async def test_an_output_is_not_saved_in_anothers_place_where_s3_heeds_no_tags(
    s3, session, tmp_path, tag
):
    async def answer(seen, request):
        headers = {name: value.format(len(body)) for name, value in tag.items()}
        assert "W/" not in request.headers.get("If-Match", "")  # which never is one's own
        return web.Response(body=body, headers=headers)

    s3.hook, body = answer, b"x" * 100
    output = await result(session.async_invocation(output_location=OUTPUT), body_limit=1)
    await output.save(tmp_path / "file")
    body = b"another inference's"
    for use in (output.read(), output.save(tmp_path / "file")):
        with pytest.raises(TransportError, match=f"{OUTPUT} was overwritten since"):
            await use
    assert (tmp_path / "file").read_bytes() == b"x" * 100


async def test_an_output_overwritten_while_it_is_saved_is_not_saved(s3, large, tmp_path):
    async def overwrite(seen, request):
        if "Range" in request.headers:
            return None
        stored = s3.objects["bucket", "output/id.out"]
        s3.put(OUTPUT, BODY[::-1])
        return await cut_off(request, stored, 2_000_000)

    s3.hook = overwrite
    with pytest.raises(TransportError, match="was overwritten while it was read"):
        await large.save(tmp_path / "file")
    assert not names(tmp_path)


async def test_a_cancelled_save_leaves_nothing(s3, large, tmp_path):
    reading = asyncio.Event()

    async def hold(seen, request):
        return await cut_off(
            request, s3.objects["bucket", "output/id.out"], 2_000_000, hold=reading
        )

    s3.hook = hold
    saving = asyncio.create_task(large.save(tmp_path / "file"))
    await reading.wait()
    await until(lambda: any(path.stat().st_size for path in tmp_path.iterdir()))
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert not names(tmp_path)
    s3.hook = None
    await large.save(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


@pytest.mark.parametrize("name", ["missing/file", "directory"])
async def test_a_file_that_cannot_be_written_is_an_os_error(small, large, tmp_path, name):
    (tmp_path / "directory").mkdir()
    for output in (small, large):
        with pytest.raises(OSError, match=name.partition("/")[0]):
            await output.save(tmp_path / name)
    assert names(tmp_path) == ["directory"]


SAVE = """
import asyncio, resource, sys
import aiosmrt

async def main(url, path):
    keys = aiosmrt.Credentials(*{keys!r})
    async with aiosmrt.Session(
        region="us-east-1", s3_endpoint_url=url, credentials=keys
    ) as session:
        small = await session.async_invocation(output_location="s3://bucket/small").result(30)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        large = await session.async_invocation(output_location="s3://bucket/large").result(30)
        await large.save(path)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_200_mb_are_saved_within_64_mib_of_memory(s3, tmp_path):
    block = os.urandom(1_000_000)

    async def serve(seen, request):
        if seen.key == "large":
            return await repeat(request, block, 200)
        return None

    s3.hook = serve
    s3.put("s3://bucket/small", "small")
    keys = (TEMPORARY.access_key_id, TEMPORARY.secret_access_key, TEMPORARY.session_token)
    path = tmp_path / "large"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SAVE.format(keys=keys), s3.url, str(path), stdout=-1
    )
    grown = int((await process.communicate())[0])  # kilobytes, on Linux
    assert path.stat().st_size == 200_000_000
    with path.open("rb") as file:
        assert all(file.read(len(block)) == block for _ in range(200))
    assert grown < 64 * 1024


# -- handles that outlive their process ---------------------------------------------------------

INVOKE = """
import asyncio, json, sys
import aiosmrt

async def main(url, *keys):
    async with aiosmrt.Session(
        region="us-east-1", endpoint_url=url, s3_endpoint_url=url,
        credentials=aiosmrt.Credentials(*keys),
    ) as session:
        handles = [await session.invoke_endpoint_async("held", body=b"%d" % n) for n in range(10)]
        print(json.dumps([handle.to_dict() for handle in handles]), flush=True)
        await asyncio.gather(*[handle.result() for handle in handles])

asyncio.run(main(*sys.argv[1:]))
"""


async def test_another_process_collects_what_a_killed_one_invoked(local):
    free = asyncio.Event()

    async def held(request):
        await free.wait()
        return request.body

    local.add_model("held", held)
    keys = (local.credentials.access_key_id, local.credentials.secret_access_key)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", INVOKE, local.url, *keys, stdout=-1
    )
    saved = await process.stdout.readline()
    await until(lambda: any(one.operation == "ListObjectsV2" for one in local.received))
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    free.set()
    async with local.session() as session:
        handles = [session.async_invocation(**facts) for facts in json.loads(saved)]
        outputs = await asyncio.gather(*map(result, handles))
    assert [int(output.body) for output in outputs] == list(range(10))
    assert handles[0].metadata is None


async def test_the_facts_are_those_of_the_response(local):
    async with local.session() as session:
        invocation = await session.invoke_endpoint_async("echo", body=b"1", inference_id="mine")
        again = session.async_invocation(**json.loads(json.dumps(invocation.to_dict())))
        assert again.to_dict() == invocation.to_dict()
        assert repr(again) == repr(invocation)
        assert again.accepted_at == invocation.accepted_at
        assert abs(invocation.accepted_at - datetime.now(timezone.utc)) < timedelta(hours=1)
        assert invocation.inference_id == "mine"
        assert (await result(again)).body == b"1"


# -- inputs -------------------------------------------------------------------------------------


async def test_an_input_is_uploaded_below_a_prefix_or_to_a_key(s3, session, tmp_path):
    path = tmp_path / "input.json"
    path.write_text("of a file")
    first = await session.upload_input(path, "s3://bucket/in/", content_type="text/x")
    second = await session.upload_input("text ü", "s3://bucket/in/")
    assert first != second
    assert await session.upload_input(b"bytes", "s3://bucket/in/key") == "s3://bucket/in/key"
    stored = {f"s3://{bucket}/{key}": one for (bucket, key), one in s3.objects.items()}
    assert stored[first] == (b"of a file", "text/x")
    assert stored[second].body == "text ü".encode()
    assert stored["s3://bucket/in/key"].body == b"bytes"


@pytest.mark.parametrize("location", ["s3://bucket", "s3://", "bucket/key", "bucket/in/", None])
async def test_an_upload_to_nowhere_is_a_parameter_error(s3, session, location):
    with pytest.raises(ParameterValidationError) as caught:
        await session.upload_input(b"", location)
    assert caught.value.parameter == "location"
    assert caught.value.length == (None if location is None else len(location))
    assert not s3.seen


@pytest.mark.parametrize("length, is_uploaded", [(2, 0), (128_000, 0), (128_001, 1)])
@pytest.mark.parametrize("kind", ["bytes", "str", "file", "json"])
async def test_auto_sends_what_fits_and_uploads_what_does_not(
    local, tmp_path, length, is_uploaded, kind
):
    text = "x" * length
    path = tmp_path / "input"
    path.write_text(text)
    given = {"bytes": text.encode(), "str": text, "file": path, "json": None}[kind]
    if kind == "json":
        text = "x" * (length - 2)  # beside its quotes
    async with local.session() as session:
        invocation = await session.invoke_endpoint_async(
            "echo",
            "s3://inputs/auto/",
            body=given,
            json=text if kind == "json" else None,
            input="auto",
        )
        output = await result(invocation)
    assert output.text() == (json.dumps(text) if kind == "json" else text)
    puts = [one for one in local.received if one.operation == "PutObject"]
    assert len(puts) == is_uploaded
    assert all(one.raw_path.startswith("/inputs/auto/") for one in puts)


@pytest.mark.parametrize(
    "keywords, parameter",
    [
        ({"body": b"x" * 128_001, "input": "auto"}, "input_location"),
        ({"input_location": "s3://b/k", "input": "auto"}, "body"),
        ({"body": b"x", "input": "inline"}, "input"),
        ({"body": Path("x")}, "body"),
        ({"body": b"x", "input_location": "s3://b/k"}, "body"),
        ({"body": 7, "input": "auto"}, "body"),
        ({"body": b"x", "input_location": "inputs/", "input": "auto"}, "input_location"),
        ({"body": b"x", "input_location": "https://h/k", "input": "auto"}, "input_location"),
    ],
)
async def test_inputs_that_do_not_fit_together_are_a_parameter_error(local, keywords, parameter):
    async with local.session() as session:
        with pytest.raises(ParameterValidationError) as caught:
            await session.invoke_endpoint_async("echo", **keywords)
    assert caught.value.parameter == parameter
    assert not local.received


async def test_a_long_input_without_a_place_is_told_what_it_needs(local):
    said = "must say where in S3 to put a body of more than 128000 bytes"
    async with local.session() as session:
        with pytest.raises(ParameterValidationError, match=said):
            await session.invoke_endpoint_async("echo", body=b"x" * 128_001, input="auto")


@pytest.mark.parametrize(
    "keywords, parameter",
    [
        ({"request_ttl_seconds": 5}, "request_ttl_seconds"),
        ({"filename": "a.b.c"}, "filename"),
        ({"endpoint_name": "no/name"}, "endpoint_name"),
        ({"input_location": f"s3://b/{'k' * 1024}"}, "input_location"),
    ],
)
async def test_what_is_refused_is_not_uploaded_first(local, keywords, parameter):
    given = {"endpoint_name": "echo", "input_location": "s3://b/in/"} | keywords
    async with local.session() as session:
        with pytest.raises(ParameterValidationError) as caught:
            await session.invoke_endpoint_async(body=b"x" * 200_000, input="auto", **given)
    assert caught.value.parameter == parameter
    assert not local.received


@pytest.mark.parametrize("extension", ["../up", "..", "a/../../b", ".", "./a", "a/."])
async def test_an_output_that_nobody_could_read_is_refused_before_it_is_queued(local, extension):
    async with local.session() as session:
        with pytest.raises(ParameterValidationError, match=r"without the segments \. and \.\."):
            await session.invoke_endpoint_async(
                "echo", body=b"1", s3_output_path_extension=extension
            )
    assert not local.received


@pytest.mark.parametrize(
    "keywords",
    [
        {"s3_output_path_extension": extension}
        for extension in ("/", "//", "a//b", "/a/", "...", "a/...", ".a/b.", "..a/b..", "!_*'()-")
    ]
    + [{"filename": name} for name in ("a", "a.", "0.out", "a-_", "a" * 32)],
)
async def test_an_output_can_be_read_wherever_its_parameters_put_it(local, keywords):
    async with local.session() as session:
        invocation = await session.invoke_endpoint_async("echo", body=b"1", **keywords)
        assert (await result(invocation)).body == b"1"


async def test_auto_tells_of_a_file_that_is_not_there(local, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    async with local.session() as session:
        for name, error in (("missing", "No such file"), ("pipe", "not a regular file")):
            with pytest.raises(OSError, match=error):
                await session.invoke_endpoint_async("echo", body=tmp_path / name, input="auto")
    assert not local.received
