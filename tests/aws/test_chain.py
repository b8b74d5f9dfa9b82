"""The default chain gives what botocore gives in the same environment, with real parts.

moto's server is STS; a server on loopback is container, instance and SSO; credential processes are
processes. Only the clock of the last test is made up.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import subprocess
import sys
import textwrap
import time
import traceback
from datetime import datetime, timedelta, timezone
from http.client import HTTPConnection

import aiobotocore.credentials
import boto3
import botocore.credentials
import botocore.exceptions
import botocore.session
import pytest
from aiobotocore.session import AioSession
from support.metadata_server import MetadataServer

from aiosmrt._aws.chain import DefaultProvider, as_provider, default_provider
from aiosmrt._aws.config import resolve_config
from aiosmrt._aws.credentials import CachingProvider, Credentials
from aiosmrt._aws.providers import DirectProvider, StaticProvider
from aiosmrt.errors import ConfigurationError, CredentialsError

pytestmark = pytest.mark.botocore

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s3cr3t/env"}
ROLE_ARN = "arn:aws:iam::123456789012:role/tester"


def keys(name):
    return f"aws_access_key_id = AKID{name}\naws_secret_access_key = s3cr3t/{name.lower()}\n"


def process(name, **more):
    answer = {"Version": 1, "AccessKeyId": f"AKID{name}", "SecretAccessKey": "s3cr3t/process"}
    return f"credential_process = /bin/echo '{json.dumps(answer | more)}'\n"


class Setup:
    """The files and variables of a test, and what botocore and aiosmrt make of them."""

    def __init__(self, folder, monkeypatch, sts_url):
        self.folder = folder
        self.sts_url = sts_url
        self._patch = monkeypatch
        self.set(
            AWS_CONFIG_FILE=str(folder / "config"),
            AWS_SHARED_CREDENTIALS_FILE=str(folder / "credentials"),
            AWS_REGION="eu-west-1",
            AWS_DEFAULT_REGION="eu-west-1",
            AWS_ENDPOINT_URL_STS=sts_url,
            BOTO_CONFIG=str(folder / "no-such-boto-config"),
        )

    def set(self, **variables):
        for name, value in variables.items():
            self._patch.setenv(name, value)

    def unset(self, *names):
        for name in names:
            self._patch.delenv(name, raising=False)

    def write(self, config="", credentials=""):
        (self.folder / "config").write_text(config)
        (self.folder / "credentials").write_text(credentials)

    def file(self, name, text):
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def seed(self):
        """Has moto's STS give the same keys again."""
        connection = HTTPConnection(self.sts_url.removeprefix("http://"), timeout=10)
        connection.request("POST", "/moto-api/seed?a=7")
        assert connection.getresponse().status == 200
        connection.close()

    def botocores(self, profile=None):
        """The method by which botocore finds credentials, and these."""
        self.seed()
        found = botocore.session.Session(profile=profile).get_credentials()
        if found is None:
            return None, None
        frozen = found.get_frozen_credentials()
        return found.method, (frozen.access_key, frozen.secret_key, frozen.token or None)

    def provider(self, profile=None):
        return DefaultProvider(resolve_config(profile=profile))

    async def ours(self, profile=None):
        self.seed()
        found = await self.provider(profile).get_credentials()
        return found.access_key_id, found.secret_access_key, found.session_token


@pytest.fixture
def aws(tmp_path, monkeypatch, moto_url):
    return Setup(tmp_path, monkeypatch, moto_url)


@pytest.fixture
def metadata():
    with MetadataServer() as server:
        yield server


async def assert_same(aws, method, profile=None):
    their_method, (*theirs, their_token) = aws.botocores(profile)
    *ours, our_token = await aws.ours(profile)
    assert their_method == method
    assert ours == theirs
    if method.startswith("assume-role"):  # moto's session tokens are never the same
        assert our_token
        assert their_token
    else:
        assert our_token == their_token


# ── the order ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("named_by", [None, "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "argument"])
async def test_of_all_sources_at_once_the_one_botocore_takes_wins_each_in_its_turn(
    aws, metadata, named_by
):
    """All there are are set up; then the one that won is taken away, until none is left."""
    name = "default" if named_by is None else "dev"
    if named_by and named_by != "argument":
        aws.set(**{named_by: name})
    profile = name if named_by == "argument" else None
    in_config = {
        "role": f"role_arn = {ROLE_ARN}\nsource_profile = base\n",
        "process": process("PROCESS"),
        "config": keys("CONFIG"),
    }
    in_credentials = {"credentials": keys("FILE")}
    web = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": aws.file("web-token", "json.web.token"),
        "AWS_ROLE_ARN": ROLE_ARN,
    }
    container = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{metadata.url}/container"}
    imds = {
        "AWS_EC2_METADATA_DISABLED": "false",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
    }
    legacy = {"AWS_CREDENTIAL_FILE": aws.file("ec2", "AWSAccessKeyId=AKIDOLD\nAWSSecretKey=s3cr3t")}
    boto2 = {"BOTO_CONFIG": aws.file("boto.cfg", "[Credentials]\n" + keys("BOTO"))}
    variables = {
        "env": ENVIRONMENT,
        "web": web,
        "ec2": legacy,
        "boto": boto2,
        "container": container,
        "imds": imds,
    }
    order = [
        ("env", "env"),
        ("role", "assume-role"),
        ("web", "assume-role-with-web-identity"),
        ("credentials", "shared-credentials-file"),
        ("process", "custom-process"),
        ("config", "config-file"),
        ("ec2", "ec2-credentials-file"),
        ("boto", "boto-config"),
        ("container", "container-role"),
        ("imds", "iam-role"),
    ]
    if profile:
        # Both are passed over, and so left as they are.
        del order[0], order[1]
    for some in variables.values():
        aws.set(**some)
    for source, method in order:
        header = f"[profile {name}]\n"
        aws.write(
            header + "".join(in_config.values()) + "[profile base]\n" + keys("BASE"),
            f"[{name}]\n" + "".join(in_credentials.values()),
        )
        await assert_same(aws, method, profile)
        in_config.pop(source, None)
        in_credentials.pop(source, None)
        aws.unset(*variables.get(source, ()))
        if source == "imds":
            aws.set(AWS_EC2_METADATA_DISABLED="true")
    assert aws.botocores(profile) == (None, None)
    with pytest.raises(CredentialsError, match="No credentials were found"):
        await aws.ours(profile)


@pytest.mark.parametrize(
    "config, credentials, method",
    [
        ("", "[default]\n" + keys("A") + "aws_session_token = t0k3n\n", "shared-credentials-file"),
        ("", "[default]\n" + keys("A") + "aws_security_token = older\n", "shared-credentials-file"),
        (
            "",
            "[default]\n" + keys("A") + "aws_security_token = \naws_session_token = t0k3n\n",
            "shared-credentials-file",
        ),
        ("[profile default]\n" + keys("A"), "", "config-file"),
        ("[default]\n" + keys("A"), "[default]\naws_secret_access_key = s3cr3t\n", "config-file"),
        ("[default]\n" + process("A", SessionToken="t0k3n"), "", "custom-process"),
        (
            "[default]\n" + process("A", SessionToken="t", Expiration="2099-01-02T03:04:05Z"),
            "",
            "custom-process",
        ),
        (
            f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = default\n" + keys("A"),
            "",
            "assume-role",
        ),
        (
            f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = p\n[profile p]\n" + process("A"),
            "",
            "assume-role",
        ),
        (
            "",
            f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = base\n[base]\n" + keys("A"),
            "assume-role",
        ),
    ],
)
async def test_a_profile_means_what_it_means_to_botocore(aws, config, credentials, method):
    aws.write(config, credentials)
    await assert_same(aws, method)


async def test_web_identity_of_a_profile(aws):
    token = aws.file("web-token", "json.web.token")
    aws.write(
        f"[default]\nrole_arn = {ROLE_ARN}\nweb_identity_token_file = {token}\n",
        "[default]\n" + keys("FILE"),
    )
    await assert_same(aws, "assume-role-with-web-identity")
    # An empty variable hides the profile's file, and the keys come up.
    aws.set(AWS_WEB_IDENTITY_TOKEN_FILE="")
    await assert_same(aws, "shared-credentials-file")
    await assert_same(aws, "assume-role-with-web-identity", profile="default")


async def test_a_profile_named_by_the_empty_string_is_the_default_one(aws):
    aws.set(AWS_PROFILE="")
    aws.write("[default]\n" + process("A"))
    assert (await aws.ours())[0] == "AKIDA"  # botocore gives up here


async def test_a_role_can_come_from_the_containers_credentials(aws, metadata):
    aws.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{metadata.url}/container")
    aws.write(f"[default]\nrole_arn = {ROLE_ARN}\ncredential_source = EcsContainer\n")
    await assert_same(aws, "assume-role")


@pytest.mark.parametrize("session", [False, True], ids=["legacy", "sso-session"])
def test_sso(aws, metadata, session):
    """In a process of its own: botocore takes SSO's cache from HOME when it is imported."""
    start = "https://example.awsapps.com/start"
    fields = f"sso_start_url = {start}\nsso_region = eu-west-1\n"
    profile = "sso_account_id = 123456789012\nsso_role_name = tester\n" + keys("CONFIG")
    if session:
        aws.write(
            f"[default]\nsso_session = corp\n{profile}[sso-session corp]\n{fields}",
            "[default]\n" + keys("FILE"),
        )
    else:
        aws.write(f"[default]\n{profile}{fields}", "[default]\n" + keys("FILE"))
    cached = {
        "accessToken": "t0k3n",
        "expiresAt": "2099-01-02T03:04:05Z",
        "startUrl": start,
        "region": "eu-west-1",
    }
    cache = aws.folder / ".aws/sso/cache"
    cache.mkdir(parents=True)
    of = "corp" if session else start
    name = hashlib.sha1(of.encode(), usedforsecurity=False).hexdigest()
    (cache / f"{name}.json").write_text(json.dumps(cached))
    code = """
        import asyncio, botocore.session
        from aiosmrt._aws.chain import DefaultProvider
        from aiosmrt._aws.config import resolve_config
        theirs = botocore.session.Session().get_credentials()
        assert theirs.method == "sso"
        ours = asyncio.run(DefaultProvider(resolve_config()).get_credentials())
        assert ours.access_key_id == theirs.get_frozen_credentials().access_key == "AKIDSSO"
    """
    run(code, HOME=str(aws.folder), AWS_ENDPOINT_URL_SSO=metadata.url)


async def test_login_is_left_to_botocore_before_process_and_config(aws):
    aws.write("[default]\nlogin_session = someone\n" + process("P") + keys("CONFIG"))
    with pytest.raises(botocore.exceptions.BotoCoreError) as theirs:
        aws.botocores()
    with pytest.raises(CredentialsError, match=type(theirs.value).__name__):
        await aws.ours()
    aws.write("[default]\nlogin_session = someone\n", "[default]\n" + keys("FILE"))
    await assert_same(aws, "shared-credentials-file")


# ── what is found is renewed ─────────────────────────────────────────────────────────────────


async def test_the_containers_token_file_is_read_each_time(aws, metadata):
    aws.set(
        AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{metadata.url}/v1/credentials",
        AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=aws.file("token", "first"),
    )
    cache = default_provider(resolve_config())
    first = await cache.get_credentials()
    assert first.access_key_id == "AKIDMETA1"
    assert first.session_token == "t0k3n1"
    assert timedelta(minutes=59) < first.expiry - datetime.now(timezone.utc) < timedelta(hours=1)
    assert cache.current() is first
    aws.file("token", "second")
    metadata.key_number = 2
    assert (await cache.refresh(first)).access_key_id == "AKIDMETA2"
    assert metadata.asked == [("/v1/credentials", "first"), ("/v1/credentials", "second")]


async def test_200_calls_on_ended_credentials_ask_the_container_once(aws, metadata):
    aws.set(AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{metadata.url}/container")
    # So short a time that botocore, which goes by the machine's clock, renews them when asked.
    metadata.lasting = timedelta(minutes=5)
    now = time.time()
    cache = CachingProvider(aws.provider(), clock=lambda: now)
    await cache.get_credentials()
    now += 300
    metadata.asked.clear()
    metadata.delay.clear()
    metadata.key_number = 2
    metadata.lasting = timedelta(hours=1)
    calls = [asyncio.create_task(cache.get_credentials()) for _ in range(200)]
    await asyncio.sleep(0)
    metadata.delay.set()
    assert {each.access_key_id for each in await asyncio.gather(*calls)} == {"AKIDMETA2"}
    assert len(metadata.asked) == 1


async def test_an_assumed_role_that_the_service_refuses_is_assumed_anew(aws):
    aws.write(f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = b\n[profile b]\n" + keys("B"))
    cache = default_provider(resolve_config())
    first = await cache.get_credentials()
    assert first.expiry is not None
    second = await cache.refresh(first)
    assert second.access_key_id != first.access_key_id


async def test_keys_that_are_written_anew_are_found_by_a_refresh(aws):
    aws.write("", "[default]\n" + keys("OLD"))
    cache = default_provider(resolve_config())
    old = await cache.get_credentials()
    aws.write("", "[default]\n" + keys("NEW"))
    assert await cache.get_credentials() is old
    assert (await cache.refresh(old)).access_key_id == "AKIDNEW"


async def test_what_never_gave_credentials_is_not_kept(aws):
    aws.write("[default]\ncredential_process = /bin/false\n")
    provider = aws.provider()
    with pytest.raises(CredentialsError, match="custom-process"):
        await provider.get_credentials()
    aws.write("[default]\n" + process("FIXED"))
    assert (await provider.get_credentials()).access_key_id == "AKIDFIXED"


# ── what is wrong is named ───────────────────────────────────────────────────────────────────


async def test_a_key_without_its_secret_is_an_error_as_in_botocore(aws):
    aws.write("[default]\n" + keys("CONFIG"))
    aws.set(AWS_ACCESS_KEY_ID="AKIDENV")
    with pytest.raises(botocore.exceptions.PartialCredentialsError):
        aws.botocores()
    with pytest.raises(CredentialsError, match="AWS_ACCESS_KEY_ID, but not AWS_SECRET_ACCESS_KEY"):
        await aws.ours()
    for config, credentials, file in [
        ("", "[default]\n\naws_access_key_id = AKID\n", "credentials, line 3"),
        ("[profile default]\naws_access_key_id = AKID\n", "", "config, line 2"),
    ]:
        aws.unset("AWS_ACCESS_KEY_ID")
        aws.write(config, credentials)
        with pytest.raises(botocore.exceptions.PartialCredentialsError):
            aws.botocores()
        with pytest.raises(CredentialsError, match=f"{file}: .* but no aws_secret_access_key"):
            await aws.ours()


async def test_a_secret_without_its_key_is_passed_over_as_in_botocore_but_not_in_silence(
    aws, caplog
):
    aws.set(AWS_SECRET_ACCESS_KEY="s3cr3t/lonely")
    with pytest.raises(CredentialsError, match=r"the environment \(AWS_ACCESS_KEY_ID is missing\)"):
        await aws.ours()
    aws.write("", "[default]\n" + keys("FILE"))
    await assert_same(aws, "shared-credentials-file")
    assert "AWS_SECRET_ACCESS_KEY is set without AWS_ACCESS_KEY_ID" in caplog.text
    assert "s3cr3t" not in caplog.text


async def test_malformed_keys_are_named_with_file_and_line(aws):
    aws.write(
        "",
        "[default]\nregion = eu-west-1\naws_access_key_id = AKI D\n"
        "aws_secret_access_key = s3cr3t\n",
    )
    with pytest.raises(CredentialsError, match=r"credentials, line 3: Credentials.access_key_id"):
        await aws.ours()
    aws.write("", "[default]\naws_access_key_id = AKID\naws_secret_access_key =\n  s3cr3t = x\n")
    with pytest.raises(CredentialsError, match=r"line 2: Credentials.secret_access_key must be"):
        await aws.ours()


async def test_a_file_that_broke_meanwhile_is_named(aws):
    provider = aws.provider()
    aws.write("[default\n")
    with pytest.raises(ConfigurationError, match="config, line 1"):
        await provider.get_credentials()


async def test_nothing_found_says_where_it_was_looked_for(aws):
    with pytest.raises(CredentialsError) as caught:
        await aws.ours()
    for place in ("AWS_ACCESS_KEY_ID", "'default'", os.environ["AWS_CONFIG_FILE"], "container"):
        assert place in str(caught.value)
    aws.set(**ENVIRONMENT)
    aws.write("[profile dev]\n")
    with pytest.raises(CredentialsError, match="a profile named in the code goes before it"):
        await aws.ours("dev")


async def test_without_botocore_the_error_names_the_extra_and_what_needs_it(aws, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    extra = r"pip install 'aiosmrt\[botocore\]'"
    with pytest.raises(CredentialsError, match=f"No credentials were found.*{extra}"):
        await aws.provider().get_credentials()
    aws.write(f"[default]\n\nrole_arn = {ROLE_ARN}\n")
    with pytest.raises(CredentialsError, match=rf"role_arn, .*config, line 3\).*{extra}"):
        await aws.provider().get_credentials()
    aws.set(AWS_WEB_IDENTITY_TOKEN_FILE="/token")
    aws.write()
    with pytest.raises(CredentialsError, match=rf"\(AWS_WEB_IDENTITY_TOKEN_FILE\).*{extra}"):
        await aws.provider().get_credentials()
    aws.unset("AWS_WEB_IDENTITY_TOKEN_FILE")
    aws.write("", "[default]\n" + keys("FILE"))
    assert (await aws.provider().get_credentials()).access_key_id == "AKIDFILE"


def all_of(error):
    """A traceback, with the errors that a traceback leaves out, and what they were made of."""
    shown = "".join(traceback.format_exception(error))
    for linked in (error.__cause__, error.__context__):
        if linked is not None:
            shown += all_of(linked) + repr(linked) + repr(vars(linked))
    return shown


def ours_in(caplog):
    """The package's log: what botocore logs of a failed refresh is its own."""
    return "".join(
        record.getMessage() for record in caplog.records if record.name.startswith("aiosmrt")
    )


@pytest.mark.parametrize(
    "process",
    [
        "/bin/sh -c 'echo s3cr3t >&2; exit 3'",
        "/bin/sh -c 'echo s3cr3t; exit 3'",
        "/bin/sh -c 'echo s3cr3t'",
        """/bin/sh -c 'echo "{s3cr3t"'""",
        """/bin/echo '{"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": "s3cr3t"'""",
        """/bin/echo '{"Version": "s3cr3t", "AccessKeyId": "AKID"}'""",
        """/bin/echo '{"Version": 1, "AccessKeyId": "AKID", "SecretAccessKey": " s3cr3t"}'""",
        """/bin/echo '{"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "s3cr3t",
            "Expiration": "s3cr3t"}'""".replace("\n", ""),
        """/bin/echo '["s3cr3t"]'""",
        "/nowhere/program --token s3cr3t",
        "/bin/sh -c 'echo \"s3cr3t",
    ],
)
@pytest.mark.parametrize("profile", [None, "my profile"])
async def test_a_process_that_fails_is_named_and_nothing_of_it_quoted(
    aws, caplog, process, profile
):
    caplog.set_level(logging.DEBUG, "aiosmrt")
    aws.write(f'[profile "{profile or "default"}"]\ncredential_process = {process}\n')
    cache = default_provider(resolve_config(profile=profile, region="us-east-1"))
    with pytest.raises(CredentialsError) as caught:
        await cache.get_credentials()
    text = str(caught.value)
    assert f"the profile {profile or 'default'!r} by credential_process, " in text
    assert "config, line 2 (" in text
    if "must be" not in text:  # else it says what is wrong
        wanted = "run: aws sts get-caller-identity" + (" --profile 'my profile'" if profile else "")
        assert wanted in text
    assert "s3cr3t" not in all_of(caught.value) + ours_in(caplog) + repr(cache)


@pytest.mark.parametrize(
    "variables, named",
    [
        (
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/s3cr3t", "AWS_ROLE_ARN": ROLE_ARN},
            "by AWS_WEB_IDENTITY_TOKEN_FILE (FileNotFoundError: No such file or directory)",
        ),
        ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/s3cr3t"}, "by AWS_WEB_IDENTITY_TOKEN_FILE (Invalid"),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://s3cr3t.example/x"}, "(ValueError at "),
        ({"AWS_CONTAINER_CREDENTIALS_FULL_URI": "s3cr3t"}, "(ValueError at "),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/x?token=s3cr3t",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": "s3cr3t\r\n",
            },
            "(ValueError at ",
        ),
        (
            {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/x",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/s3cr3t",
            },
            "(FileNotFoundError: No such file or directory)",
        ),
    ],
)
async def test_the_value_of_a_variable_is_never_quoted(aws, caplog, variables, named):
    caplog.set_level(logging.DEBUG, "aiosmrt")
    aws.set(**variables)
    cache = default_provider(resolve_config(region="us-east-1"))
    with pytest.raises(CredentialsError) as caught:
        await cache.get_credentials()
    assert named in str(caught.value)
    assert "s3cr3t" not in all_of(caught.value) + ours_in(caplog)


# ── what users hand in ───────────────────────────────────────────────────────────────────────


def refreshable(refresh, minutes=60, base=botocore.credentials.RefreshableCredentials):
    return base.create_from_metadata(metadata_of("FIRST", minutes), refresh, method="test")


def metadata_of(name, minutes):
    end = datetime.now(timezone.utc) + timedelta(minutes=minutes)
    return {
        "access_key": f"AKID{name}",
        "secret_key": "s3cr3t",
        "token": "t0k3n",
        "expiry_time": end.isoformat(),
    }


async def test_boto3s_credentials_work_by_passing_them(aws):
    aws.set(**ENVIRONMENT)
    provider = as_provider(boto3.Session().get_credentials())
    assert await provider.get_credentials() == Credentials("AKIDENV", "s3cr3t/env")
    assert provider.current() == Credentials("AKIDENV", "s3cr3t/env")


async def test_aiobotocores_credentials_work_by_passing_them(aws):
    aws.set(**ENVIRONMENT)
    provider = as_provider(await AioSession().get_credentials())
    assert await provider.get_credentials() == Credentials("AKIDENV", "s3cr3t/env")


async def test_an_assumed_role_of_boto3_works_by_passing_it(aws):
    aws.write(f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = b\n[profile b]\n" + keys("B"))
    session = boto3.Session()
    ours = await as_provider(session.get_credentials()).get_credentials()
    theirs = session.get_credentials().get_frozen_credentials()
    assert (ours.access_key_id, ours.session_token) == (theirs.access_key, theirs.token)
    left = (ours.expiry - datetime.now(timezone.utc)).total_seconds()
    assert session.get_credentials().refresh_needed(left + 60)
    assert not session.get_credentials().refresh_needed(left - 60)


async def test_botocores_renewal_brings_its_new_expiry():
    provider = as_provider(refreshable(lambda: metadata_of("SECOND", 60), minutes=5))
    found = await provider.get_credentials()
    assert found.access_key_id == "AKIDSECOND"
    assert found.expiry > datetime.now(timezone.utc) + timedelta(minutes=59)
    assert provider.current() is found


async def test_aiobotocores_renewal_brings_its_new_expiry():
    async def refresh():
        return metadata_of("SECOND", 60)

    base = aiobotocore.credentials.AioRefreshableCredentials
    provider = as_provider(refreshable(refresh, minutes=5, base=base))
    found = await provider.get_credentials()
    assert found.access_key_id == "AKIDSECOND"
    assert found.expiry > datetime.now(timezone.utc) + timedelta(minutes=59)


async def test_our_own_kinds_are_taken_as_they_are():
    class Mine:
        async def get_credentials(self):
            return Credentials("MINE", "s3cr3t")

    assert isinstance(as_provider(Credentials("AKID", "s3cr3t")), StaticProvider)
    cache = CachingProvider(Mine())
    assert as_provider(cache) is cache
    provider = as_provider(Mine())
    assert isinstance(provider, DirectProvider)
    assert (await provider.get_credentials()).access_key_id == "MINE"


@pytest.mark.parametrize(
    "wrong",
    [boto3.Session(), AioSession(), botocore.session.Session()],
    ids=lambda s: type(s).__module__,
)
def test_a_session_in_place_of_its_credentials_is_pointed_out(wrong):
    with pytest.raises(ConfigurationError, match=r"what the session's get_credentials\(\) returns"):
        as_provider(wrong)


@pytest.mark.parametrize(
    "wrong", ["AKID", ("AKID", "s3cr3t"), {"secret": "s3cr3t"}, DirectProvider]
)
def test_what_is_no_provider_is_refused_without_being_shown(wrong):
    with pytest.raises(ConfigurationError, match=r"must be aiosmrt\.Credentials") as caught:
        as_provider(wrong)
    assert "s3cr3t" not in str(caught.value)


# ── the event loop ───────────────────────────────────────────────────────────────────────────


def test_a_provider_that_hangs_does_not_hold_up_the_end(aws):
    aws.write("[default]\ncredential_process = /bin/sleep 20\n")
    code = """
        import asyncio
        from aiosmrt._aws.chain import default_provider
        from aiosmrt._aws.config import resolve_config

        async def main():
            cache = default_provider(resolve_config())
            try:
                await asyncio.wait_for(cache.get_credentials(), 0.1)
            except asyncio.TimeoutError:
                await cache.aclose()

        asyncio.run(main())
    """
    run(code, timeout=15)


# ── imports ──────────────────────────────────────────────────────────────────────────────────


def run(code, timeout=60, **environ):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("source", ["environment", "credentials file", "config file"])
def test_botocore_is_not_imported_for_what_is_read_here(aws, source):
    if source == "environment":
        aws.set(**ENVIRONMENT)
    else:
        text = "[default]\n" + keys("FILE")
        aws.write(*(("", text) if source == "credentials file" else (text, "")))
    run("""
        import asyncio, sys
        import aiosmrt
        from aiosmrt._aws.chain import default_provider
        from aiosmrt._aws.config import resolve_config

        found = asyncio.run(default_provider(resolve_config()).get_credentials())
        assert found.access_key_id in ("AKIDENV", "AKIDFILE"), found
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert not loaded & {"botocore", "boto3", "aiobotocore", "requests"}, loaded
    """)
