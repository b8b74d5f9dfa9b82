"""Credentials that need no fetching: fixed, a user's own, the environment's."""

from __future__ import annotations

import traceback
from datetime import datetime, timezone

import botocore.credentials
import pytest

from aiosmrt._aws.credentials import Credentials
from aiosmrt._aws.providers import (
    DirectProvider,
    EnvironmentProvider,
    StaticProvider,
    read_environment,
)
from aiosmrt.errors import CredentialsError

pytestmark = pytest.mark.botocore

KEYS = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s3cr3t/env"}


async def test_a_static_provider_always_gives_the_same():
    credentials = Credentials("AKID", "s3cr3t")
    provider = StaticProvider(credentials)
    assert provider.current() is credentials
    assert await provider.get_credentials() is credentials
    assert await provider.refresh(credentials) is credentials
    await provider.aclose()
    assert "s3cr3t" not in repr(provider)


async def test_a_users_provider_is_asked_every_time():
    class Mine:
        calls = 0
        renewals = 0

        async def get_credentials(self):
            self.calls += 1
            return Credentials(f"AKID{self.calls}", "s3cr3t")

        async def renew(self):
            self.renewals += 1
            return await self.get_credentials()

    provider = DirectProvider(mine := Mine())
    assert provider.current() is None
    assert (await provider.get_credentials()).access_key_id == "AKID1"
    stale = await provider.get_credentials()
    assert stale.access_key_id == "AKID2"
    assert (await provider.refresh(stale)).access_key_id == "AKID3"
    assert mine.renewals == 1
    await provider.aclose()
    assert (await provider.get_credentials()).access_key_id == "AKID4"


@pytest.mark.parametrize("result", [None, ("AKID", "s3cr3t"), {"secret": "s3cr3t"}])
async def test_what_a_users_provider_returns_is_checked(result):
    class Mine:
        async def get_credentials(self):
            return result

    with pytest.raises(CredentialsError, match="provider Mine returned") as caught:
        await DirectProvider(Mine()).get_credentials()
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        KEYS,
        KEYS | {"AWS_SESSION_TOKEN": "t0k3n"},
        KEYS | {"AWS_SECURITY_TOKEN": "older"},
        KEYS | {"AWS_SESSION_TOKEN": "t0k3n", "AWS_SECURITY_TOKEN": "older"},
        KEYS | {"AWS_SESSION_TOKEN": "t0k3n", "AWS_SECURITY_TOKEN": ""},
        KEYS | {"AWS_SESSION_TOKEN": ""},
        KEYS | {"AWS_ACCESS_KEY_ID": ""},
        {"AWS_SECRET_ACCESS_KEY": "s3cr3t"},
        {"AWS_SESSION_TOKEN": "t0k3n"},
        KEYS | {"AWS_CREDENTIAL_EXPIRATION": ""},
    ],
)
def test_the_environment_is_read_as_botocore_reads_it(variables):
    theirs = botocore.credentials.EnvProvider(environ=variables).load()
    ours = read_environment(variables)
    if theirs is None:
        assert ours is None
    else:
        assert ours == Credentials(theirs.access_key, theirs.secret_key, theirs.token)


@pytest.mark.parametrize(
    "text", ["2099-01-02T03:04:05Z", "2099-01-02T03:04:05+00:00", "2099-01-02T05:04:05+02:00"]
)
def test_the_environments_expiry_is_read_as_botocore_reads_it(text):
    variables = KEYS | {"AWS_CREDENTIAL_EXPIRATION": text}
    theirs = botocore.credentials.EnvProvider(environ=variables).load()
    expiry = read_environment(variables).expiry
    assert expiry == datetime(2099, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    left = (expiry - datetime.now(timezone.utc)).total_seconds()
    assert theirs.refresh_needed(left + 60)
    assert not theirs.refresh_needed(left - 60)


def test_an_expiry_without_a_zone_is_in_utc():
    variables = KEYS | {"AWS_CREDENTIAL_EXPIRATION": "2099-01-02T03:04:05"}
    assert read_environment(variables).expiry == datetime(2099, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "variables, named",
    [
        ({"AWS_ACCESS_KEY_ID": "AKID"}, "but not AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": ""}, "not AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "s3cr3t"}, "AWS_ACCESS_KEY_ID not set"),
        ({}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set"),
        (KEYS | {"AWS_CREDENTIAL_EXPIRATION": "s3cr3t"}, "AWS_CREDENTIAL_EXPIRATION must be"),
        (KEYS | {"AWS_CREDENTIAL_EXPIRATION": "2026-s3cr3t"}, "unset the variable"),
        (KEYS | {"AWS_SESSION_TOKEN": "s3cr3t\n"}, "environment: Credentials.session_token must"),
        (KEYS | {"AWS_SECRET_ACCESS_KEY": "s3cr3t "}, "Credentials.secret_access_key must"),
    ],
)
async def test_what_is_missing_or_malformed_in_the_environment_is_named(variables, named):
    with pytest.raises(CredentialsError, match=named) as caught:
        await EnvironmentProvider(variables).get_credentials()
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is None


async def test_the_environment_is_read_each_time(monkeypatch):
    provider = EnvironmentProvider()
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    assert await provider.get_credentials() == Credentials("AKIDENV", "s3cr3t/env")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDNEW")
    assert (await provider.get_credentials()).access_key_id == "AKIDNEW"
