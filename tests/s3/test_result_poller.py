"""Looks are shared: how many requests are made, when, and what a 403 is taken for."""

from __future__ import annotations

import asyncio
import gc
import logging
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from support.fake_clock import FakeClock
from support.fake_s3 import MODIFIED, FakeS3, never, refusal
from support.waiting import our_tasks, turns, until
from support.work import counted_calls

from aiosmrt import RetryPolicy
from aiosmrt._s3 import object_store
from aiosmrt._s3.locations import S3Location
from aiosmrt._s3.result_poller import ResultPoller, Watch, just_before
from aiosmrt.errors import (
    AccessDeniedException,
    AiosmrtError,
    ConnectError,
    InternalFailure,
    ServiceError,
    TransportError,
)

CAP = 0.05  # seconds: a test need not wait as a user does


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(flies=True)


@pytest.fixture
async def poller(s3, clock):
    async with s3.poller(lambda: clock, retries=RetryPolicy(max_attempts=1)) as poller:
        yield poller


def watch(poller: ResultPoller, uri: str, cap: float = CAP, since: datetime | None = None) -> Watch:
    return poller.watch(S3Location.parse(uri, "uri"), cap=cap, since=since)


async def outcome(watch: Watch, seconds: float = 30.0) -> object:
    """What a wait ends with, and the wait's end."""
    try:
        found = await asyncio.wait_for(asyncio.shield(watch.arrived), seconds)
        return None if found is None else await found.read()
    finally:
        watch.close()


async def looks(s3: FakeS3, number: int, operation: str = "GetObject") -> None:
    """Waits until that many more looks have been made."""
    before = s3.counts[operation]
    await until(lambda: s3.counts[operation] >= before + number)


# -- one object ---------------------------------------------------------------------------------


async def test_one_that_is_there_costs_one_request(s3, poller):
    s3.put("s3://b/d/k", "found")
    assert await outcome(watch(poller, "s3://b/d/k")) == b"found"
    assert s3.counts == {"GetObject": 1}


async def test_one_that_comes_late_is_found(s3, poller):
    waiting = watch(poller, "s3://b/d/k")
    await looks(s3, 3)
    assert not waiting.arrived.done()
    s3.put("s3://b/d/k", "late")
    assert await outcome(waiting) == b"late"
    assert s3.counts.keys() == {"GetObject"}


@pytest.mark.parametrize("cap", [5.0, 0.07, 0.01])
async def test_the_first_look_is_early_and_pauses_grow_to_the_cap(s3, poller, clock, cap):
    times = [clock.time()]

    async def note(seen, request):
        times.append(clock.time())

    s3.hook = note
    waiting = watch(poller, "s3://b/d/k", cap=cap)
    await looks(s3, 30)
    waiting.close()
    pauses = [after - before for before, after in pairwise(times)]
    expected = [min(0.05 * 1.6**number, cap) for number in range(len(pauses))]
    jitters = [pause / whole for pause, whole in zip(pauses, expected, strict=True)]
    assert all(0.799 <= jitter <= 1.201 for jitter in jitters)
    assert max(jitters) - min(jitters) > 0.1


async def test_two_waits_for_one_object_both_end(s3, poller):
    waits = [watch(poller, "s3://b/d/k") for _ in range(3)]
    await looks(s3, 1)
    s3.put("s3://b/d/k", "found")
    outcomes = [await outcome(waiting) for waiting in waits]
    # One has the object in hand, for its bytes can be read once; the others know that it is there.
    assert sorted(map(str, outcomes)) == ["None", "None", "b'found'"]


# -- many ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, -1])
async def test_many_below_one_prefix_share_a_listing(s3, poller, step):
    """In whichever order they come."""
    waits = [watch(poller, f"s3://b/d/{number:04}") for number in range(500)[::step]]
    await looks(s3, 3, "ListObjectsV2")
    for number in range(500):
        s3.put(f"s3://b/d/{number:04}", "")
    await asyncio.gather(*map(outcome, waits))
    assert s3.counts["ListObjectsV2"] < 20
    # A listing that begins behind one that was not due can leave that one: it is then asked
    # for alone, once, for it is there.
    assert s3.counts["GetObject"] <= 1


async def test_prefixes_are_looked_at_apart(s3, poller):
    waits = [
        watch(poller, f"s3://{bucket}/{prefix}k{number}")
        for bucket in "ab"
        for prefix in ("", "d/", "d/e/")
        for number in range(2)
    ]
    await until(lambda: len({seen[:3] for seen in s3.seen}) == 6)
    for waiting in waits:
        waiting.close()
    assert {(seen.bucket, seen.key) for seen in s3.seen} == {
        (bucket, prefix) for bucket in "ab" for prefix in ("", "d/", "d/e/")
    }


async def test_keys_that_nobody_waits_for_are_jumped_over(s3, poller):
    """A prefix with years of outputs in it: pages between those waited for are not read."""
    for number in range(10_000):
        s3.put(f"s3://b/d/{number:05}", "")
    wanted = [f"{number + each:05}" for number in (0, 5000, 9980) for each in range(10)]
    waits = [watch(poller, f"s3://b/d/{name}") for name in [*wanted, "10000", "5"]]
    assert await asyncio.gather(*map(outcome, waits[:-2])) == [None] * len(wanted)
    assert not waits[-2].arrived.done()
    assert not waits[-1].arrived.done()
    for waiting in waits[-2:]:
        waiting.close()
    assert s3.counts["ListObjectsV2"] <= 4 * 2


async def test_few_among_many_are_asked_for_each(s3, poller):
    """A prefix with years of outputs in it, and a page of them for each five waited for."""
    for number in range(20_000):
        s3.put(f"s3://b/d/{number:05}", "")
    names = [f"d/{number:05}x" for number in range(0, 20_000, 200)]
    waits = [watch(poller, f"s3://b/{name}") for name in names]
    await until(lambda: {seen.key for seen in s3.seen} >= set(names[5:]))
    assert s3.counts["ListObjectsV2"] == 1  # which told of the first five
    s3.put(f"s3://b/{names[50]}", "late")
    assert await outcome(waits.pop(50)) == b"late"
    for waiting in waits:
        waiting.close()


async def test_a_listing_that_was_not_worth_it_is_tried_again_after_a_minute(s3, poller, clock):
    for number in range(3000):
        s3.put(f"s3://b/d/{number:05}", "")
    listed = []

    async def note(seen, request):
        if seen.operation == "ListObjectsV2":
            listed.append(clock.time())

    s3.hook = note
    waits = [watch(poller, f"s3://b/d/{number:05}x", cap=5.0) for number in (0, 1500, 2500)]
    await until(lambda: len(listed) >= 2)
    for waiting in waits:
        waiting.close()
    assert 60.0 <= listed[1] - listed[0] <= 66.1


async def test_a_full_page_of_neighbours_hides_nothing(s3, poller):
    """More keys than a page holds between the text that the listing begins at and the key."""
    for number in range(1500):
        s3.put(f"s3://b/d/k/{number:05}", "")
        s3.put(f"s3://b/d/a/{number:05}", "")
    s3.put("s3://b/d/k0", "hidden")
    dense = [watch(poller, f"s3://b/d/a{number}") for number in range(30)]
    waits = [watch(poller, f"s3://b/d/{name}") for name in ("k0", "x")]
    assert await outcome(waits[0]) == b"hidden"
    for waiting in [*dense, waits[1]]:
        waiting.close()


@pytest.mark.parametrize(
    "key", ["a/b", "a/0", "a/.b", "a/..b", "a/b.", "a/-", "a/é", "a", "0", "a/ "]
)
def test_just_before_a_key_is_less_and_a_path(key):
    before = just_before(key)
    assert before.encode() < key.encode()
    assert not {".", ".."} & set(before.split("/"))
    assert "//" not in before


def test_keys_of_the_neighbour_before_are_not_listed():
    assert "d/4.out" < just_before("d/5") < "d/5"


async def test_a_newcomer_takes_what_a_look_under_way_finds(s3):
    """Without a look of its own, which follows where nothing was found."""
    clock, asked, held = FakeClock(), asyncio.Event(), asyncio.Event()

    async def hold(seen, request):
        asked.set()
        await held.wait()

    s3.hook = hold
    s3.put("s3://b/d/there", "")
    async with s3.poller(lambda: clock) as poller:
        waits = [watch(poller, f"s3://b/d/{number}") for number in range(2)]
        await clock.until(asked.is_set)
        newcomer, other = watch(poller, "s3://b/d/there"), watch(poller, "s3://b/d/0")
        held.set()
        assert await outcome(newcomer) is None
        assert s3.counts == {"ListObjectsV2": 1}
        assert not other.has_answer
        began = clock.time()
        await clock.until(lambda: s3.counts["ListObjectsV2"] == 2)
        assert clock.time() - began <= 0.06
        for waiting in (*waits, other):
            waiting.close()


async def test_newcomers_do_not_wait_for_the_next_look(s3):
    clock = FakeClock()
    async with s3.poller(lambda: clock) as poller:
        old = poller.watch(S3Location("b", "d/old"), cap=60.0, pause=60.0)
        await until(lambda: clock.timers)  # until the first look, which is a minute away
        s3.put("s3://b/d/new", "")
        new = watch(poller, "s3://b/d/new")
        await clock.until(new.arrived.done)
        assert clock.time() <= 0.06
        for waiting in (old, new):
            waiting.close()


# -- objects from before ------------------------------------------------------------------------

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("heeds", [True, False])
async def test_an_older_object_alone_is_asked_for_no_more_often_than_one_that_is_not_there(
    s3, poller, clock, heeds
):
    """Also from an S3 that does not look at If-Modified-Since."""
    s3.heeds_modified_since = heeds
    s3.put("s3://b/d/k", "older", modified=MODIFIED - SECOND)
    began = clock.time()
    waiting = watch(poller, "s3://b/d/k", since=MODIFIED)
    await looks(s3, 20)
    assert s3.counts["GetObject"] <= 1 + (clock.time() - began) / (0.8 * CAP)
    assert not waiting.arrived.done()
    assert waiting.has_seen_older
    s3.put("s3://b/d/k", "fresh", modified=MODIFIED)
    assert await outcome(waiting) == b"fresh"


async def test_older_objects_in_a_listing_cost_no_requests(s3, poller):
    for number in range(100):
        s3.put(f"s3://b/d/{number}", "older", modified=MODIFIED - SECOND)
    waits = [watch(poller, f"s3://b/d/{number}", since=MODIFIED) for number in range(100)]
    await looks(s3, 10, "ListObjectsV2")
    assert not any(waiting.arrived.done() for waiting in waits)
    assert s3.counts.keys() == {"ListObjectsV2"}
    for number in range(100):
        s3.put(f"s3://b/d/{number}", "fresh", modified=MODIFIED)
    assert await asyncio.gather(*map(outcome, waits)) == [None] * 100


async def test_older_objects_are_rationed_without_leave_to_list(s3, poller, clock):
    s3.may_list = False
    began = clock.time()
    for number in range(300):
        s3.put(f"s3://b/d/{number}", "older", modified=MODIFIED - SECOND)
    waits = [watch(poller, f"s3://b/d/{number}", since=MODIFIED) for number in range(300)]
    await until(lambda: len({seen.key for seen in s3.seen}) == 301)  # and the prefix
    assert s3.counts["GetObject"] <= 64 + 100 * (clock.time() - began)
    for waiting in waits:
        waiting.close()


@pytest.mark.parametrize("others", [0, 1])
@pytest.mark.parametrize("micro", [0, 999_999])
async def test_an_object_of_the_same_second_is_fresh(s3, poller, others, micro):
    s3.put("s3://b/d/k", "fresh", modified=MODIFIED)
    since = MODIFIED + timedelta(microseconds=micro)
    more = [watch(poller, f"s3://b/d/{number}") for number in range(others)]
    found = await outcome(watch(poller, "s3://b/d/k", since=since))
    assert found == (None if others else b"fresh")
    for waiting in more:
        waiting.close()


@pytest.mark.parametrize("others", [0, 1])
async def test_waits_for_one_object_each_have_their_own_second(s3, poller, others):
    s3.put("s3://b/d/k", "first", modified=MODIFIED)
    more = [watch(poller, f"s3://b/d/{number}") for number in range(others)]
    seconds = [None, MODIFIED, MODIFIED + SECOND, MODIFIED + 2 * SECOND]
    waits = [watch(poller, "s3://b/d/k", since=since) for since in seconds]
    for waiting in waits[:2]:
        assert await outcome(waiting) in (b"first", None)
    s3.put("s3://b/d/k", "second", modified=MODIFIED + SECOND)
    assert await outcome(waits[2]) in (b"second", None)
    assert not waits[3].arrived.done()
    s3.put("s3://b/d/k", "third", modified=MODIFIED + 3 * SECOND)
    assert await outcome(waits[3]) in (b"third", None)
    for waiting in more:
        waiting.close()


# -- where the caller may not list --------------------------------------------------------------


async def test_without_leave_to_list_each_is_asked_for(s3, poller):
    s3.may_list = False
    waits = [watch(poller, f"s3://b/d/{number}") for number in range(5)]
    await looks(s3, 10)
    for number in range(5):
        s3.put(f"s3://b/d/{number}", str(number))
    assert await asyncio.gather(*map(outcome, waits)) == [b"0", b"1", b"2", b"3", b"4"]
    assert s3.counts["ListObjectsV2"] == 1


async def test_looks_in_vain_are_rationed_and_everyones_turn_comes(s3, poller, clock):
    """Requests grow with time, not with those who wait."""
    s3.may_list, s3.explains = False, True
    began = clock.time()
    waits = [watch(poller, f"s3://b/d/{number}") for number in range(300)]
    await until(lambda: len({seen.key for seen in s3.seen}) == 301)  # and the prefix
    assert s3.counts["GetObject"] <= 64 + 100 * (clock.time() - began)
    for waiting in waits:
        waiting.close()


async def test_a_batch_in_vain_is_followed_by_a_rest_of_its_length(s3, poller, clock):
    s3.may_list, s3.explains = False, True
    times = []

    async def note(seen, request):
        if seen.operation == "GetObject":
            times.append(clock.time())

    s3.hook = note
    waits = [watch(poller, f"s3://b/d/{number}") for number in range(200)]
    await until(lambda: len(times) >= 64 * 5)
    for waiting in waits:
        waiting.close()
    rests = [after - before for before, after in pairwise(sorted(set(times))[:5])]
    assert rests == pytest.approx([0.64] * 4)


async def test_looks_that_find_are_not_rationed(s3, poller):
    s3.may_list, s3.explains = False, True
    waits = [watch(poller, f"s3://b/d/{number}") for number in range(300)]
    for number in range(300):
        s3.put(f"s3://b/d/{number}", str(number))
    found = await asyncio.gather(*map(outcome, waits))
    assert found == [b"%d" % number for number in range(300)]
    assert s3.counts == {"ListObjectsV2": 1, "GetObject": 300}


async def test_one_that_fails_every_time_is_not_all_that_fail(s3, poller):
    """S3 answers; that it stumbles over one object is no reason to give up the others."""

    async def stumble(seen, request):
        if seen.key == "d/0":
            return refusal(500, "InternalError", "Internal.")
        return None

    s3.hook, s3.may_list = stumble, False
    waits = [watch(poller, f"s3://b/d/{number}", cap=0.01) for number in range(3)]
    await until(lambda: sum(seen.key == "d/0" for seen in s3.seen) > 12)
    s3.put("s3://b/d/1", "one")
    assert await outcome(waits[1]) == b"one"
    for waiting in (waits[0], waits[2]):
        waiting.close()


async def test_odd_keys_are_no_trouble_to_a_listing(s3, poller):
    s3.put("s3://b/d/9//odd", "")
    s3.put("s3://b/d/1", "one")
    s3.put("s3://b/d/2", "two")
    waits = [watch(poller, f"s3://b/d/{number}") for number in (1, 2)]
    assert await asyncio.gather(*map(outcome, waits)) == [None, None]
    assert s3.counts.keys() == {"ListObjectsV2"}


@pytest.mark.parametrize("explains", [True, False])
async def test_a_403_may_be_an_object_that_is_not_there_yet(s3, poller, explains):
    s3.may_list, s3.explains = False, explains
    waiting = watch(poller, "s3://b/d/k")
    await looks(s3, 3)
    assert waiting.is_ambiguous is not explains
    s3.put("s3://b/d/k", "late")
    assert await outcome(waiting) == b"late"
    # Where the message does not say, listing is tried, once.
    assert s3.counts["ListObjectsV2"] == (0 if explains else 1)


async def test_a_403_that_names_the_reading_is_a_refusal(s3, poller):
    s3.may_read, s3.explains = False, True
    waiting = watch(poller, "s3://b/d/k")
    with pytest.raises(AccessDeniedException, match="s3:GetObject"):
        await outcome(waiting)
    assert s3.counts == {"GetObject": 1}


async def test_a_403_for_an_object_that_is_listed_is_told_to_whoever_reads_it(s3, poller):
    """Reading is refused; the listing shows when there is something to be refused."""
    s3.may_read = False
    waiting = watch(poller, "s3://b/d/k")
    await looks(s3, 2, "ListObjectsV2")
    assert not waiting.arrived.done()
    assert s3.counts["GetObject"] == 1  # from then on it is listed
    s3.put("s3://b/d/k", "")
    assert await outcome(waiting) is None


@pytest.mark.parametrize(
    "status, code", [(403, "InvalidAccessKeyId"), (404, "NoSuchBucket"), (400, "InvalidToken")]
)
async def test_what_time_does_not_mend_ends_the_wait(s3, poller, status, code):
    async def refuse(seen, request):
        return refusal(status, code, "No.")

    s3.hook = refuse
    waits = [watch(poller, f"s3://b/d/{number}") for number in range(300)]
    for waiting in waits:
        with pytest.raises(ServiceError) as caught:
            await outcome(waiting)
        assert caught.value.code == code
    assert len(s3.seen) <= 1 + 64  # what is refused to one is refused to all


async def test_what_is_refused_for_one_ends_the_wait_for_that_one(s3, poller):
    async def refuse(seen, request):
        if seen.key == "d/0":
            return refusal(403, "InvalidObjectState", "It is archived.")
        return None

    s3.hook, s3.may_list = refuse, False
    waits = [watch(poller, f"s3://b/d/{number}") for number in range(3)]
    with pytest.raises(ServiceError) as caught:
        await outcome(waits[0])
    assert caught.value.code == "InvalidObjectState"
    s3.put("s3://b/d/1", "one")
    assert await outcome(waits[1]) == b"one"
    waits[2].close()


# -- where S3 stumbles --------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    "answer", [(503, "SlowDown"), (500, "InternalError"), (503, "ServiceUnavailable")]
)
async def test_a_stumble_is_waited_out(s3, poller, caplog, number, answer):
    async def stumble(seen, request):
        return refusal(*answer, "Later.") if len(s3.seen) <= 3 else None

    s3.hook = stumble
    for name in range(number):
        s3.put(f"s3://b/d/{name}", "found")
    with caplog.at_level(logging.DEBUG, "aiosmrt.async_inference"):
        waits = [watch(poller, f"s3://b/d/{name}") for name in range(number)]
        await asyncio.gather(*map(outcome, waits))
    failed = [record for record in caplog.records if "looking below" in record.message]
    assert [record.levelname for record in failed] == ["WARNING", "DEBUG", "DEBUG"]


async def test_an_s3_that_never_answers_right_is_given_up(s3, poller):
    async def fail(seen, request):
        return refusal(500, "InternalError", "Internal.")

    s3.hook = fail
    waits = [watch(poller, f"s3://b/d/{name}") for name in range(3)]
    for waiting in waits:
        with pytest.raises(InternalFailure):
            await outcome(waiting)
    assert len(s3.seen) == 10


async def test_each_outage_is_told_once(s3, poller, caplog):
    answers = iter([503, 503, 200, 503, 503, 200])

    async def stumble(seen, request):
        status = next(answers, 200)
        return refusal(503, "SlowDown", "Later.") if status == 503 else None

    s3.hook = stumble
    waiting = watch(poller, "s3://b/d/k")
    with caplog.at_level(logging.WARNING, "aiosmrt.async_inference"):
        await looks(s3, 7)
    waiting.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2


@pytest.mark.parametrize("number", [1, 3])
async def test_an_s3_that_once_answered_is_not_given_up(s3, poller, number):
    waits = [watch(poller, f"s3://b/d/k{each}", cap=0.01) for each in range(number)]
    await until(lambda: len(s3.seen) >= 2)  # the first of them was answered

    async def fail(seen, request):
        return refusal(503, "SlowDown", "Later.")

    s3.hook = fail
    await until(lambda: len(s3.seen) >= 17)
    for each in range(number):
        s3.put(f"s3://b/d/k{each}", "after all")
    s3.hook = None
    for waiting in waits:
        assert await outcome(waiting) in (b"after all", None)


async def test_errors_are_each_waits_own(s3, poller):
    async def refuse(seen, request):
        return refusal(404, "NoSuchBucket", "No.")

    s3.hook = refuse
    waits = [watch(poller, "s3://b/d/k") for _ in range(2)]
    await asyncio.wait([waiting.arrived for waiting in waits])
    first, second = (waiting.arrived.exception() for waiting in waits)
    assert first is not second
    assert str(first) == str(second)
    for waiting in waits:
        waiting.close()


async def test_nobody_at_the_address_is_told_in_the_end(s3, clock):
    async with s3.poller(lambda: clock, s3_endpoint_url="http://127.0.0.1:9") as poller:
        with pytest.raises(ConnectError):
            await outcome(watch(poller, "s3://b/d/k", cap=0.01))


# -- ends ---------------------------------------------------------------------------------------


async def test_an_object_in_hand_that_nobody_takes_is_let_go(s3, poller):
    """Its connection, and its place among the objects that are open at once."""
    for number in range(100):
        s3.put(f"s3://b/{number}/k", "found")
        waiting = watch(poller, f"s3://b/{number}/k")
        await asyncio.wait([waiting.arrived])
        waiting.close()


async def test_an_object_that_comes_when_nobody_waits_for_it_any_more_is_let_go(
    s3, clock, monkeypatch
):
    """While others below the prefix are waited for, so that the look goes on."""
    monkeypatch.setattr(object_store, "CONCURRENT_REQUESTS", 1)
    s3.may_list = False
    held, asked = asyncio.Event(), asyncio.Event()

    async def hold(seen, request):
        if seen.key == "d/0":
            asked.set()
            await held.wait()

    s3.hook = hold
    for name in (0, 1):
        s3.put(f"s3://b/d/{name}", "found")
    async with s3.poller(lambda: clock) as poller:
        for _ in range(3):
            waits = [watch(poller, f"s3://b/d/{name}") for name in range(3)]
            await asked.wait()
            waits[0].close()
            held.set()
            assert await outcome(waits[1]) == b"found"
            waits[2].close()
            held.clear()
            asked.clear()


async def test_with_the_last_wait_the_looks_end(s3):
    clock = FakeClock()
    async with s3.poller(lambda: clock) as poller:
        waits = [watch(poller, f"s3://b/d/{number}") for number in range(3)]
        await clock.until(lambda: s3.counts["ListObjectsV2"])
        await until(lambda: clock.timers)  # until the next look
        for waiting in waits:
            assert our_tasks()
            waiting.close()
            waiting.close()
        assert not poller.prefixes
        await turns()
        assert not clock.timers
        assert not our_tasks()


@pytest.mark.parametrize("number", [1, 3])
async def test_a_look_under_way_can_be_cancelled(s3, poller, number):
    s3.hook = never
    waits = [watch(poller, f"s3://b/d/{name}") for name in range(number)]
    await until(lambda: s3.seen)
    for waiting in waits:
        waiting.close()
    s3.hook = None
    s3.put("s3://b/d/0", "found")
    assert await outcome(watch(poller, "s3://b/d/0")) == b"found"


async def test_a_newcomer_that_goes_at_once_takes_the_looks_with_it(poller, clock):
    """The cancellation comes together with the hurry, which `asyncio.wait_for` would lose."""
    clock.flies = False
    old = poller.watch(S3Location("b", "d/old"), cap=60.0, pause=60.0)
    await until(lambda: clock.timers)  # until the first look
    new = watch(poller, "s3://b/d/new")
    old.close()
    new.close()
    await poller.aclose()
    assert not our_tasks()


async def test_no_look_outlives_its_session(s3, poller):
    s3.hook = never
    waits = [watch(poller, f"s3://b/{number}/k") for number in range(3)]
    await until(lambda: len(s3.seen) == 3)
    waits[0].close()
    await poller.aclose()
    assert not our_tasks()
    for waiting in waits:
        waiting.close()


async def test_a_closed_session_ends_all_waits(s3, poller):
    waits = [watch(poller, f"s3://b/d/{number}") for number in range(3)]
    await looks(s3, 1, "ListObjectsV2")
    await poller.aclose()
    for waiting in waits:
        with pytest.raises(TransportError, match="was closed"):
            await outcome(waiting)
    with pytest.raises(TransportError, match="is closed"):
        watch(poller, "s3://b/d/k")


async def test_a_wait_that_ends_late_leaves_later_ones_below_its_prefix(s3, poller, clock):
    for name in (0, 1):
        s3.put(f"s3://b/d/{name}", "")
    first, second = (watch(poller, f"s3://b/d/{name}") for name in (0, 1))
    await asyncio.wait([first.arrived, second.arrived])
    first.close()
    later = watch(poller, "s3://b/d/later")
    second.close()
    await poller.aclose()
    with pytest.raises(TransportError, match="was closed"):
        await outcome(later)


async def test_closing_ends_requests_in_the_same_turn(s3, poller):
    s3.put("s3://b/k", "found")
    poller.close()
    with pytest.raises(TransportError, match="is closed"):
        await poller.store.get(S3Location("b", "k"))


async def test_an_error_of_the_poller_itself_ends_its_waits(poller, monkeypatch):
    async def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(poller.store, "get", broken)
    with pytest.raises(AiosmrtError, match="a bug") as caught:
        await outcome(watch(poller, "s3://b/d/k"))
    # A TransportError would say that S3 was not reached, which a failure object may not be.
    assert type(caught.value) is AiosmrtError


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("state", ["before the first step", "between looks", "looking"])
async def test_looks_that_other_code_cancels_end_their_waits_and_no_later_ones(
    s3, poller, clock, number, state
):
    """As a supervisor does that cancels all tasks of the loop."""
    clock.flies = state == "looking"
    if state == "looking":
        s3.hook = never
    waits = [watch(poller, f"s3://b/d/{name}", cap=60.0) for name in range(number)]
    if state == "looking":
        await until(lambda: s3.seen)
    elif state == "between looks":
        await until(lambda: clock.timers)
    for task in our_tasks():
        task.cancel()
    for waiting in waits:
        with pytest.raises(AiosmrtError, match="below s3://b/d/ was cancelled"):
            await outcome(waiting)
    s3.hook, clock.flies = None, True
    s3.put("s3://b/d/0", "found")
    assert await outcome(watch(poller, "s3://b/d/0")) == b"found"


async def test_prefixes_that_are_done_are_forgotten(s3, poller):
    before = tasks_that_have_ended()
    for number in range(20):
        s3.put(f"s3://b/{number}/k", "")
        await outcome(watch(poller, f"s3://b/{number}/k"))
        assert len(poller.prefixes) <= 1
    assert tasks_that_have_ended() - before <= 2


def tasks_that_have_ended() -> int:
    """Those that something still holds."""
    gc.collect()
    return sum(isinstance(one, asyncio.Task) and one.done() for one in gc.get_objects())


@pytest.mark.parametrize("begin", ["d{}/k", "d/{}", "d/k"])
async def test_the_work_for_waits_grows_with_their_number(s3, poller, begin):
    """Each below a prefix of its own, all below one, and all for one object."""

    def work(number: int) -> int:
        with counted_calls() as calls:
            uris = [f"s3://b/{begin.format(each)}" for each in range(number)]
            waits = [watch(poller, uri, cap=5.0) for uri in uris]
            for waiting in waits:
                waiting.close()
        return calls.count

    assert work(1000) < 6 * work(250)


async def test_ten_thousand_waits_make_no_more_requests_than_one(s3):
    clock = FakeClock()
    async with s3.poller(lambda: clock) as poller:
        waits = [watch(poller, f"s3://b/d/{number:05}", cap=5.0) for number in range(10_000)]
        await clock.until(lambda: s3.counts["ListObjectsV2"] >= 3)
        for waiting in waits:
            waiting.close()
        assert s3.counts == {"ListObjectsV2": 3}


async def test_looks_that_are_due_together_begin_some_at_a_time(s3, monkeypatch):
    """Each below a prefix of its own, after something else has held the loop up."""
    clock = FakeClock()
    async with s3.poller(lambda: clock) as poller:
        begun, most, get = 0, 0, poller.store.get

        async def counted(*args, **keywords):
            nonlocal begun
            begun += 1
            return await get(*args, **keywords)

        monkeypatch.setattr(poller.store, "get", counted)
        waits = [watch(poller, f"s3://b/{number}/k", cap=5.0) for number in range(400)]
        await until(lambda: clock.timers == 400)
        clock.jump(0.1)  # all first looks are due
        while begun < 400:
            before = begun
            await asyncio.sleep(0)
            most = max(most, begun - before)
        assert most == 32
        for waiting in waits:
            waiting.close()
