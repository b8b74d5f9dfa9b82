"""Credentials keep their secrets; the cache renews them in time, once, and for all who wait."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import logging
import pickle
import re
import subprocess
import time
import traceback
from datetime import datetime, timezone
from pathlib import Path

import attrs
import pytest
from botocore.credentials import RefreshableCredentials

from aiosmrt._aws.credentials import CachingProvider, Credentials, ask_provider
from aiosmrt._aws.providers import DirectProvider
from aiosmrt.errors import AiosmrtError, ConfigurationError, CredentialsError

SECRET = "wJalrXUtnFEMI/K7MDENG+s3cr3t"
TOKEN = "FwoGZXIvYXdzEB//t0k3n=="
MINUTE = 60.0
START = 1_800_000_000.0


# ── the class ────────────────────────────────────────────────────────────────────────────────


def test_credentials_hold_what_they_are_given():
    expiry = datetime.now(timezone.utc)
    credentials = Credentials("AKID", SECRET, TOKEN, expiry)
    assert attrs.astuple(credentials) == ("AKID", SECRET, TOKEN, expiry)
    assert Credentials("AKID", SECRET) == Credentials("AKID", SECRET, "", None)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        credentials.session_token = None


def test_no_secret_shows():
    shown = repr(Credentials("AKID", SECRET, TOKEN)) + str(Credentials("AKID", SECRET, TOKEN))
    assert "AKID" in shown
    assert SECRET not in shown
    assert TOKEN not in shown


def test_credentials_are_not_pickled_and_copies_are_themselves():
    credentials = Credentials("AKID", SECRET, TOKEN)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps([credentials], protocol)
    assert copy.copy(credentials) is credentials
    assert copy.deepcopy([credentials]) == [credentials]


@pytest.mark.parametrize(
    "name, value",
    [
        ("access_key_id", ""),
        ("access_key_id", None),
        ("access_key_id", "AK ID"),
        ("access_key_id", "AKID\r\nX-Evil: 1"),
        ("access_key_id", "АКID"),  # noqa: RUF001 - Cyrillic is the point
        ("secret_access_key", ""),
        ("secret_access_key", None),
        ("secret_access_key", b"s3cr3t"),
        ("secret_access_key", "s3cr3t\n"),
        ("session_token", "s3cr3t\n"),
        ("session_token", "s3cr3t\r\nX-Evil: 1"),
        ("session_token", b"s3cr3t"),
        ("expiry", datetime(2030, 1, 1)),  # noqa: DTZ001 - no zone is the point
        ("expiry", "2030-01-01T00:00:00Z"),
        ("expiry", 1.0),
    ],
)
def test_what_cannot_be_sent_is_refused_by_name_and_not_by_value(name, value):
    given = {"access_key_id": "AKID", "secret_access_key": SECRET, name: value}
    with pytest.raises(CredentialsError, match=rf"Credentials\.{name} must be") as caught:
        Credentials(**given)
    text = "".join(traceback.format_exception(caught.value))
    assert "s3cr3t" not in text.replace("given", "")
    assert "Evil" not in str(caught.value)


# ── asking a provider ────────────────────────────────────────────────────────────────────────


class Source:
    """A provider that a test steers: it gives credentials that last, or fails, when let."""

    def __init__(self, clock=None, *, lasting=60 * MINUTE, held=False):
        self.clock = clock or Clock()
        self.lasting = lasting
        self.calls = 0
        self.renewals = 0
        self.error = None
        self.same = None
        self.entered = asyncio.Event()
        self.gate = asyncio.Event()
        if not held:
            self.gate.set()

    async def get_credentials(self):
        self.calls += 1
        self.entered.set()
        await self.gate.wait()
        if self.error:
            raise self.error
        if self.same:
            return self.same
        return self.make(self.calls)

    def make(self, number):
        end = None
        if self.lasting is not None:
            end = datetime.fromtimestamp(self.clock.now + self.lasting, timezone.utc)
        return Credentials(f"AKID{number}", SECRET, TOKEN, end)


class Renewing(Source):
    """One that keeps what it gave, as the default chain does, until it is to renew."""

    kept = None

    async def get_credentials(self):
        if self.kept is None:
            self.kept = await super().get_credentials()
        return self.kept

    async def renew(self):
        self.renewals += 1
        self.kept = None
        return await self.get_credentials()


class Clock:
    def __init__(self):
        self.now = START

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def until(condition, timeout=60.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


async def test_a_provider_that_returns_something_else_is_named():
    class Broken:
        async def get_credentials(self):
            return ("AKID", SECRET)

    with pytest.raises(CredentialsError, match="provider Broken returned tuple, not") as caught:
        await ask_provider(Broken())
    assert SECRET not in str(caught.value)


async def test_a_providers_error_is_ours_with_its_own_behind_it():
    source = Source()
    source.error = OSError("no route")
    with pytest.raises(CredentialsError, match=r"Source failed \(OSError: no route\)") as caught:
        await ask_provider(source)
    assert caught.value.__cause__ is source.error


class AnswerError(Exception):
    def __str__(self):
        return f"bad answer: {SECRET}"


def look_up():
    return {}[SECRET]


def sealed_behind_a_lookup():
    try:
        look_up()
    except KeyError as error:
        raise OSError("the vault is sealed") from error


def sealed_after_a_lookup():
    try:
        look_up()
    except KeyError:
        raise OSError("the vault is sealed")  # noqa: B904 - as context


def open_file():
    return Path(f"/nowhere/{SECRET}").read_text()


FAILURES = {
    look_up: rf"\(KeyError at {re.escape(__file__)}, line \d+; its text is not shown",
    lambda: int(SECRET): r"\(ValueError at .*its text is not shown",
    lambda: SECRET.encode("ascii") + TOKEN: r"\(TypeError at ",
    lambda: SECRET.s3cr3t: r"\(AttributeError at ",
    lambda: json.loads(SECRET): r"\(JSONDecodeError at ",
    lambda: subprocess.run(["/bin/false", SECRET], check=True): r"\(CalledProcessError at ",
    lambda: datetime.fromisoformat(SECRET): r"\(ValueError at ",
    lambda: (_ for _ in ()).throw(AnswerError): r"\(AnswerError at ",
    open_file: r"\(FileNotFoundError: No such file or directory\)",
    lambda: subprocess.run([f"/nowhere/{SECRET}"], check=False): "No such file or",
    sealed_behind_a_lookup: r"\(OSError: the vault is sealed\)",
    sealed_after_a_lookup: r"\(OSError: the vault is sealed\)",
}


@pytest.mark.parametrize("fail, shown", FAILURES.items(), ids=[*map(str, range(len(FAILURES)))])
@pytest.mark.parametrize("caching", [False, True])
@pytest.mark.parametrize("renew", [False, True])
async def test_what_a_provider_fails_by_is_named_and_no_value_shown(fail, shown, caching, renew):
    """Its own error, which a traceback would show, is let go unless all in it is known."""

    class Vault:
        async def get_credentials(self):
            fail()

        async def renew(self):
            fail()

    provider = CachingProvider(Vault()) if caching else DirectProvider(Vault())
    with pytest.raises(CredentialsError, match=shown) as caught:
        if renew:
            await provider.refresh(Credentials("AKID", "old"))
        else:
            await provider.get_credentials()
    error = caught.value
    assert "The credentials provider Vault failed" in str(error)
    assert ("let the provider raise aiosmrt.CredentialsError" in str(error)) is (
        "sealed" not in str(error)
    )
    assert error.__cause__ is error.__context__ is None
    assert "s3cr3t" not in "".join(traceback.format_exception(error))


async def test_an_error_of_ours_comes_through():
    source = Source()
    source.error = ConfigurationError("the file")
    with pytest.raises(ConfigurationError, match="the file"):
        await ask_provider(source)


async def test_a_provider_is_asked_to_renew_if_it_can():
    source = Renewing()
    first = await ask_provider(source)
    assert await ask_provider(source) == first
    assert await ask_provider(source, renew=True) != first
    assert source.renewals == 1
    assert await ask_provider(Source(), renew=True)


# ── the cache: when it asks ──────────────────────────────────────────────────────────────────


async def test_lasting_credentials_are_asked_for_once(clock):
    source = Source(clock, lasting=None)
    cache = CachingProvider(source, clock=clock)
    assert cache.current() is None
    first = await cache.get_credentials()
    clock.now += 365 * 86_400
    assert cache.current() is first
    assert await cache.get_credentials() is first
    assert source.calls == 1


async def test_the_three_times_of_credentials_that_end(clock):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    first = await cache.get_credentials()
    source.gate.clear()

    clock.now = START + 45 * MINUTE - 1  # fresh
    assert cache.current() is first
    assert await cache.get_credentials() is first
    assert source.calls == 1

    clock.now = START + 45 * MINUTE  # 15 minutes left: in the background
    assert cache.current() is first
    assert await cache.get_credentials() is first
    await until(lambda: source.calls == 2)
    clock.now = START + 50 * MINUTE - 1
    assert cache.current() is first

    clock.now = START + 50 * MINUTE  # 10 minutes left: calls wait
    assert cache.current() is None
    waiting = asyncio.create_task(cache.get_credentials())
    done, _ = await asyncio.wait([waiting], timeout=0.02)
    assert not done
    source.gate.set()
    second = await waiting
    assert second.access_key_id == "AKID2"
    assert cache.current() is second
    assert source.calls == 2


async def test_the_clock_is_the_machines_unless_another_is_given():
    source = Source(lasting=30 * MINUTE)
    source.clock.now = time.time()
    cache = CachingProvider(source)
    first = await cache.get_credentials()
    assert cache.current() is first
    assert source.calls == 1


@pytest.mark.parametrize("waiting", [1, 200])
async def test_however_many_wait_one_fetch_runs(clock, waiting):
    source = Source(clock, lasting=MINUTE)
    cache = CachingProvider(source, clock=clock)
    await cache.get_credentials()
    clock.now += 2 * MINUTE
    source.gate.clear()
    source.lasting = 60 * MINUTE
    calls = [asyncio.create_task(cache.get_credentials()) for _ in range(waiting)]
    await until(lambda: source.calls == 2)
    source.gate.set()
    assert {each.access_key_id for each in await asyncio.gather(*calls)} == {"AKID2"}
    assert source.calls == 2


async def test_all_who_wait_learn_of_a_failure_each_by_its_own_error(clock):
    source = Source(clock, held=True)
    source.error = OSError("no route")
    cache = CachingProvider(source, clock=clock)
    calls = [asyncio.create_task(cache.get_credentials()) for _ in range(5)]
    await until(lambda: source.calls == 1)
    source.gate.set()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {CredentialsError}
    assert len(set(map(id, errors))) == 5
    assert all(error.__cause__ is source.error for error in errors)
    assert source.calls == 1
    source.error = None
    assert (await cache.get_credentials()).access_key_id == "AKID2"


async def test_who_is_cancelled_does_not_cancel_the_fetch_for_others(clock):
    source = Source(clock, held=True)
    cache = CachingProvider(source, clock=clock)
    first, second = (asyncio.create_task(cache.get_credentials()) for _ in range(2))
    await source.entered.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.gate.set()
    assert (await second).access_key_id == "AKID1"
    assert source.calls == 1


async def test_a_fetch_outlives_all_who_waited_for_it(clock):
    source = Source(clock, held=True)
    cache = CachingProvider(source, clock=clock)
    call = asyncio.create_task(cache.get_credentials())
    await source.entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    source.gate.set()
    await until(lambda: cache.current() is not None)
    assert source.calls == 1


async def test_a_provider_that_cancels_itself_is_an_error_and_no_endless_loop(clock):
    class Cancelling:
        async def get_credentials(self):
            raise asyncio.CancelledError

    cache = CachingProvider(Cancelling(), clock=clock)
    with pytest.raises(CredentialsError, match="was cancelled"):
        await asyncio.wait_for(cache.get_credentials(), 5)


# ── the cache: what goes wrong ───────────────────────────────────────────────────────────────


async def test_a_failed_early_refresh_keeps_the_old_ones_logs_and_pauses(clock, caplog):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    first = await cache.get_credentials()
    source.error = OSError("no route")
    clock.now = START + 46 * MINUTE
    with caplog.at_level(logging.WARNING, "aiosmrt.credentials"):
        assert cache.current() is first
        await until(lambda: caplog.records)
    assert "those in use last 840 s more" in caplog.text
    assert "no route" in caplog.text
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text
    clock.now += MINUTE - 1
    assert cache.current() is first
    await asyncio.sleep(0)
    assert source.calls == 2  # the pause
    clock.now += 1
    source.error = None
    assert cache.current() is first
    await until(lambda: cache.current() is not first)
    assert source.calls == 3


async def test_a_refresh_that_fails_late_keeps_what_still_lasts_and_then_gives_up(clock, caplog):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    first = await cache.get_credentials()
    source.error = OSError("no route")
    clock.now = START + 55 * MINUTE
    assert await cache.get_credentials() is first  # waited, in vain
    assert source.calls == 2
    assert cache.current() is first  # the pause
    clock.now += MINUTE
    assert cache.current() is None
    assert await cache.get_credentials() is first
    clock.now = START + 60 * MINUTE
    with pytest.raises(CredentialsError, match="no route"):
        await cache.get_credentials()
    with pytest.raises(CredentialsError, match="no route"):
        await cache.get_credentials()
    assert source.calls == 5
    assert len([r for r in caplog.records if r.name == "aiosmrt.credentials"]) == 2


async def test_the_error_of_a_background_fetch_that_nobody_waits_for_is_retrieved(clock):
    source = Source(clock, held=True)
    source.error = OSError("no route")
    cache = CachingProvider(source, clock=clock)
    call = asyncio.create_task(cache.get_credentials())
    await source.entered.wait()
    call.cancel()
    source.gate.set()
    await asyncio.gather(call, return_exceptions=True)
    # The fixture that looks after the event loop fails this test otherwise.


async def test_a_source_that_has_none_that_last_is_not_asked_at_every_call(clock):
    source = Source(clock, lasting=12 * MINUTE)
    cache = CachingProvider(source, clock=clock)
    await cache.get_credentials()
    assert cache.current().access_key_id == "AKID1"  # and asks in the background
    await until(lambda: cache.current().access_key_id == "AKID2")
    for _ in range(100):
        assert cache.current().access_key_id == "AKID2"
        await asyncio.sleep(0)
    assert source.calls == 2
    clock.now += MINUTE
    assert cache.current().access_key_id == "AKID2"
    await until(lambda: cache.current().access_key_id == "AKID3")


async def test_a_source_of_credentials_for_five_minutes_blocks_no_call_but_the_first_two(clock):
    source = Source(clock, lasting=5 * MINUTE)
    cache = CachingProvider(source, clock=clock)
    await cache.get_credentials()
    assert cache.current() is None
    await cache.get_credentials()
    for _ in range(20):
        clock.now += 30
        assert cache.current() is not None
        await asyncio.sleep(0.001)
    assert source.calls < 15


async def test_a_refresh_that_brings_the_same_is_made_again_and_calls_wait_from_ten_minutes(clock):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    source.same = first = await cache.get_credentials()
    clock.now = START + 46 * MINUTE
    assert cache.current() is first
    await until(lambda: source.calls == 2)
    assert cache.current() is first
    clock.now = START + 50 * MINUTE - 1
    assert cache.current() is first
    await until(lambda: source.calls == 3)
    clock.now = START + 50 * MINUTE
    assert cache.current() is None


async def test_credentials_given_although_they_have_ended_are_handed_out_with_a_warning(
    clock, caplog
):
    source = Source(clock, lasting=-MINUTE)
    cache = CachingProvider(source, clock=clock)
    assert (await cache.get_credentials()).access_key_id == "AKID1"
    assert "ended 60 s ago" in caplog.text
    assert (await cache.get_credentials()).access_key_id == "AKID2"
    assert (await cache.get_credentials()).access_key_id == "AKID2"  # not at every call
    clock.now += 5
    assert (await cache.get_credentials()).access_key_id == "AKID3"


# ── the cache: refused by the service ────────────────────────────────────────────────────────


async def test_refused_credentials_are_renewed_once_for_all(clock):
    source = Renewing(clock)
    cache = CachingProvider(source, clock=clock)
    stale = await cache.get_credentials()
    source.gate.clear()
    calls = [asyncio.create_task(cache.refresh(stale)) for _ in range(200)]
    await until(lambda: source.calls == 2)
    source.gate.set()
    assert {each.access_key_id for each in await asyncio.gather(*calls)} == {"AKID2"}
    assert source.renewals == 1
    fresh = cache.current()
    assert await cache.refresh(stale) is fresh  # others already
    assert source.renewals == 1
    assert (await cache.refresh(fresh)).access_key_id == "AKID3"  # refused in their turn


async def test_a_provider_that_cannot_renew_is_asked_again(clock):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    stale = await cache.get_credentials()
    assert (await cache.refresh(stale)).access_key_id == "AKID2"


async def test_a_provider_that_has_no_others_is_left_alone_for_a_moment(clock):
    source = Source(clock, lasting=None)
    cache = CachingProvider(source, clock=clock)
    source.same = stale = await cache.get_credentials()
    for _ in range(10):
        assert await cache.refresh(stale) is stale
    assert source.calls == 2
    clock.now += 10
    source.same = None
    assert (await cache.refresh(stale)).access_key_id == "AKID3"


async def test_refresh_without_any_credentials_fetches_them(clock):
    cache = CachingProvider(Source(clock), clock=clock)
    assert (await cache.refresh(Credentials("OTHER", SECRET))).access_key_id == "AKID1"


async def test_refresh_waits_for_a_fetch_under_way_and_renews_only_if_it_brought_the_same(clock):
    source = Renewing(clock)
    cache = CachingProvider(source, clock=clock)
    stale = await cache.get_credentials()
    clock.now = START + 46 * MINUTE
    assert cache.current() is stale  # a fetch begins, which will bring what the source kept
    assert (await cache.refresh(stale)).access_key_id == "AKID2"
    assert source.renewals == 1


async def test_a_failed_renewal_is_raised_and_the_old_ones_stay(clock):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    stale = await cache.get_credentials()
    source.error = OSError("no route")
    with pytest.raises(AiosmrtError, match="no route"):
        await cache.refresh(stale)
    assert cache.current() is stale


# ── the cache: its end, and its event loops ──────────────────────────────────────────────────


async def test_closing_ends_the_fetch_in_the_background(clock):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    await cache.get_credentials()
    source.gate.clear()
    clock.now = START + 46 * MINUTE
    cache.current()
    await until(lambda: source.calls == 2)
    await cache.aclose()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await cache.aclose()
    source.gate.set()
    cache.current()
    await until(lambda: cache.current().access_key_id == "AKID3")  # may be used on


async def test_who_waits_while_it_is_closed_gets_credentials_all_the_same(clock):
    source = Source(clock, held=True)
    cache = CachingProvider(source, clock=clock)
    call = asyncio.create_task(cache.get_credentials())
    await source.entered.wait()
    source.gate.set()
    await cache.aclose()
    assert (await call).access_key_id == "AKID2"


def test_it_serves_one_event_loop_after_another(clock):
    source = Source(clock)
    cache = CachingProvider(source, clock=clock)

    async def leave_a_fetch_behind():
        first = await cache.get_credentials()
        source.gate.clear()
        clock.now = START + 46 * MINUTE
        assert cache.current() is first
        await until(lambda: source.calls == 2)

    async def go_on():
        source.gate = asyncio.Event()
        source.gate.set()
        assert cache.current().access_key_id == "AKID1"
        await until(lambda: cache.current().access_key_id == "AKID3")
        await cache.aclose()

    asyncio.run(leave_a_fetch_behind())
    asyncio.run(go_on())


def test_a_fetch_of_a_loop_that_was_stopped_is_not_waited_for(clock):
    source = Source(clock, held=True)
    cache = CachingProvider(source, clock=clock)
    stopped = asyncio.new_event_loop()
    left = stopped.create_task(cache.get_credentials())
    stopped.run_until_complete(source.entered.wait())

    async def elsewhere():
        source.gate = asyncio.Event()
        source.gate.set()
        assert (await asyncio.wait_for(cache.get_credentials(), 5)).access_key_id == "AKID2"
        await cache.aclose()

    asyncio.run(elsewhere())
    left.cancel()
    for task in asyncio.all_tasks(stopped):
        task.cancel()
    stopped.run_until_complete(asyncio.gather(left, return_exceptions=True))
    stopped.close()


async def test_it_holds_and_shows_no_secret(clock):
    cache = CachingProvider(Source(clock), clock=clock)
    await cache.get_credentials()
    assert SECRET not in repr(cache)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(cache)


@pytest.mark.parametrize(
    "minutes_left, asks, waits",
    [(15.1, False, False), (14.9, True, False), (10.1, True, False), (9.9, True, True)],
)
async def test_the_times_are_botocores(clock, minutes_left, asks, waits):
    """From when on others are asked for, and from when on nobody goes on without them."""
    asked = []

    def fail():
        asked.append(clock())
        raise OSError

    source = Source(clock)
    cache = CachingProvider(source, clock=clock)
    kept = await cache.get_credentials()
    theirs = RefreshableCredentials(
        kept.access_key_id,
        kept.secret_access_key,
        kept.session_token,
        kept.expiry,
        fail,
        "test",
        time_fetcher=lambda: datetime.fromtimestamp(clock(), timezone.utc),
    )
    clock.now += (60 - minutes_left) * MINUTE
    with pytest.raises(OSError, match=r"^$") if waits else contextlib.nullcontext():
        theirs.get_frozen_credentials()
    assert bool(asked) is asks
    assert cache.current() is (None if waits else kept)
    if not waits:
        await asyncio.sleep(0)
        assert (source.calls == 2) is asks
