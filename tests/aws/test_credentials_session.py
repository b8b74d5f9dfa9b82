"""Credentials and settings through a whole session, as a user has them.

The key that reaches the server is the one botocore resolves; it is renewed in time, once, and
without holding up the event loop; what is wrong is told, and no secret is.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import re
import sys
import textwrap
import threading
import traceback
from datetime import datetime, timedelta, timezone
from http.client import HTTPConnection

import boto3
import botocore.credentials
import botocore.session
import pytest
from aiobotocore.session import AioSession
from aiohttp import web
from support.metadata_server import MetadataServer
from support.raw_server import RawServer
from support.waiting import until

import aiosmrt
from aiosmrt._aws.chain import DefaultProvider, as_provider
from aiosmrt._aws.config import resolve_config
from aiosmrt._aws.providers import EnvironmentProvider
from aiosmrt.local import LocalEndpoint

pytestmark = pytest.mark.botocore

ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIDENV", "AWS_SECRET_ACCESS_KEY": "s3cr3t"}
FILE = "aws_access_key_id = AKIDFILE\naws_secret_access_key = s3cr3t\n"
ROLE = "arn:aws:iam::123456789012:role/tester"
PROCESS = {"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": "s3cr3t"}


class Service:
    """Answers every call, and remembers by which key it was signed; refuses those that ended."""

    def __init__(self):
        self.keys = []
        self.tokens = []
        self.ended = set()

    async def answer(self, request):
        key = re.search("Credential=([^/]+)/", request.headers["Authorization"])[1]
        self.keys.append(key)
        self.tokens.append(request.headers.get("X-Amz-Security-Token"))
        if key in self.ended:
            return web.json_response(
                {"message": "The security token included in the request is expired"},
                status=403,
                headers={"x-amzn-errortype": "ExpiredTokenException"},
            )
        return web.Response(body=b"{}", content_type="application/json")


@pytest.fixture
async def service(monkeypatch, tmp_path):
    service = Service()
    app = web.Application()
    app.router.add_post("/{path:.*}", service.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    yield service
    await runner.cleanup()


@pytest.fixture
def metadata(monkeypatch):
    with MetadataServer() as server:
        url = f"{server.url}/container"
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        yield server


async def test_the_key_that_arrives_is_botocores(service, metadata, monkeypatch, tmp_path):
    async def call_twice(profile=None):
        def by_boto3():
            client = boto3.Session(profile_name=profile).client("sagemaker-runtime")
            client.invoke_endpoint(EndpointName="e", Body=b"")
            client.close()

        service.keys.clear()
        await asyncio.to_thread(by_boto3)
        async with aiosmrt.Session(profile=profile) as session:
            await session.invoke_endpoint("e", b"")
        ours, theirs = service.keys
        assert ours == theirs
        return ours

    assert await call_twice() == "AKIDMETA1"
    (tmp_path / "config").write_text(
        f"[default]\ncredential_process = /bin/echo '{json.dumps(PROCESS)}'\n[profile file]\n{FILE}"
    )
    assert await call_twice() == "AKIDPROCESS"
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    assert await call_twice() == "AKIDENV"
    assert await call_twice(profile="file") == "AKIDFILE"
    monkeypatch.setenv("AWS_PROFILE", "file")
    assert await call_twice() == "AKIDENV"


async def test_credentials_that_the_service_refuses_are_renewed_once_for_200_calls(
    service, metadata
):
    async with aiosmrt.Session() as session:
        await session.invoke_endpoint("e", b"")
        metadata.asked.clear()
        metadata.key_number = 2
        service.ended.add("AKIDMETA1")
        outputs = await asyncio.gather(*(session.invoke_endpoint("e", b"") for _ in range(200)))
    assert all(output.body == b"{}" for output in outputs)
    assert len(metadata.asked) == 1


async def test_credentials_that_are_refused_anew_are_the_callers_error(service, metadata):
    service.ended |= {"AKIDMETA1", "AKIDMETA2"}
    given = metadata.credentials()
    metadata.credentials = lambda: given  # the same ones end at the same time
    async with aiosmrt.Session() as session:
        with pytest.raises(aiosmrt.ExpiredTokenException) as caught:
            await session.invoke_endpoint("e", b"")
    assert caught.value.attempts == 1  # the container had no others
    assert service.keys == ["AKIDMETA1"]


async def test_a_users_provider_and_boto3s_credentials_sign_too(service, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)

    class Mine:
        async def get_credentials(self):
            return aiosmrt.Credentials(f"AKIDMINE{len(service.keys)}", "s3cr3t")

    for credentials, keys in [
        (aiosmrt.Credentials("AKIDFIXED", "s3cr3t"), ["AKIDFIXED"] * 2),
        (Mine(), ["AKIDMINE0", "AKIDMINE1"]),
        (boto3.Session().get_credentials(), ["AKIDENV"] * 2),
    ]:
        service.keys.clear()
        async with aiosmrt.Session(credentials=credentials) as session:
            await session.invoke_endpoint("e", b"")
            await session.invoke_endpoint("e", b"")
        assert service.keys == keys


async def test_credentials_past_their_end_are_fetched_once_for_200_calls(service):
    class Source:
        calls = 0

        async def get_credentials(self):
            self.calls += 1
            await asyncio.sleep(0.01)
            lasting = timedelta(minutes=-1 if self.calls == 1 else 60)
            end = datetime.now(timezone.utc) + lasting
            return aiosmrt.Credentials(f"AKID{self.calls}", "s3cr3t", "t0k3n", end)

    source = Source()
    provider = aiosmrt.CachingProvider(source)
    async with aiosmrt.Session(credentials=provider) as session:
        await session.invoke_endpoint("e", b"")
        await asyncio.gather(*(session.invoke_endpoint("e", b"") for _ in range(200)))
    assert source.calls == 2
    assert set(service.keys[1:]) == {"AKID2"}


# ── each scenario ────────────────────────────────────────────────────────────────────────────


def process(key, command="/bin/echo"):
    answer = PROCESS | {"AccessKeyId": key, "SessionToken": "t0k3n/process"}
    return f"credential_process = {command} '{json.dumps(answer)}'\n"


IN_CREDENTIALS = "[default]\n" + FILE
CONTAINER = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "<metadata>/container"}
WEB_IDENTITY = {"AWS_WEB_IDENTITY_TOKEN_FILE": "<folder>/token", "AWS_ROLE_ARN": ROLE}
INSTANCE = {
    "AWS_EC2_METADATA_DISABLED": "false",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "<metadata>",
}
# By botocore's name for each: variables, the config file, the credentials file.
SCENARIOS = {
    "a laptop's keys": ("shared-credentials-file", {}, "", IN_CREDENTIALS),
    "keys in the config file": ("config-file", {}, "[default]\n" + FILE, ""),
    "a named profile": (
        "shared-credentials-file",
        {"AWS_PROFILE": "dev"},
        "[profile dev]\nregion = eu-west-3\n",
        f"[default]\n{FILE}[dev]\n{FILE.replace('AKIDFILE', 'AKIDDEV')}",
    ),
    "Lambda": ("env", ENVIRONMENT | {"AWS_SESSION_TOKEN": "t0k3n/env"}, "", ""),
    "an older token's name": ("env", ENVIRONMENT | {"AWS_SECURITY_TOKEN": "t0k3n/old"}, "", ""),
    "a process": ("custom-process", {}, "[default]\n" + process("AKIDPROCESS"), ""),
    "an assumed role": (
        "assume-role",
        {},
        f"[default]\nrole_arn = {ROLE}\nsource_profile = base\n[profile base]\n{FILE}",
        "",
    ),
    "web identity": ("assume-role-with-web-identity", WEB_IDENTITY, "", IN_CREDENTIALS),
    "ECS": ("container-role", CONTAINER, "", ""),
    "EKS": (
        "container-role",
        CONTAINER | {"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "<folder>/token"},
        "",
        "",
    ),
    "EC2": ("iam-role", INSTANCE, "", ""),
    "everything at once": (
        "env",
        ENVIRONMENT | WEB_IDENTITY | CONTAINER | INSTANCE,
        f"[default]\n{process('AKIDPROCESS')}",
        IN_CREDENTIALS,
    ),
}


@pytest.fixture
def sts(monkeypatch, moto_url):
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", moto_url)
    return moto_url


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_in_each_scenario_the_key_that_arrives_is_botocores(
    scenario, service, sts, monkeypatch, tmp_path
):
    def seed():
        """Has moto's STS give the same keys again."""
        connection = HTTPConnection(sts.removeprefix("http://"), timeout=10)
        connection.request("POST", "/moto-api/seed?a=7")
        assert connection.getresponse().status == 200
        connection.close()

    method, variables, config, credentials = SCENARIOS[scenario]
    (tmp_path / "config").write_text(config)
    (tmp_path / "credentials").write_text(credentials)
    (tmp_path / "token").write_text("json.web.token")
    monkeypatch.setenv("BOTO_CONFIG", str(tmp_path / "no-such-file"))
    with MetadataServer() as metadata:
        for name, value in variables.items():
            value = value.replace("<metadata>", metadata.url)  # noqa: PLW2901
            monkeypatch.setenv(name, value.replace("<folder>", str(tmp_path)))
        seed()
        found = botocore.session.Session().get_credentials()
        assert found.method == method
        theirs = found.get_frozen_credentials()
        seed()
        async with aiosmrt.Session() as session:
            await session.invoke_endpoint("e", b"")
    assert service.keys == [theirs.access_key]
    if not method.startswith("assume-role"):  # moto's session tokens are never the same
        assert service.tokens == [theirs.token]


@pytest.mark.parametrize("kind", ["fixed", "assumed"])
@pytest.mark.parametrize("package", ["boto3", "aiobotocore"])
async def test_what_others_sessions_hold_signs_by_passing_it(kind, package, service, sts, tmp_path):
    if kind == "fixed":
        (tmp_path / "credentials").write_text(IN_CREDENTIALS)
    else:
        (tmp_path / "config").write_text(SCENARIOS["an assumed role"][2])
    if package == "boto3":
        credentials = boto3.Session().get_credentials()
        async with aiosmrt.Session(credentials=credentials) as session:
            await session.invoke_endpoint("e", b"")
        theirs = credentials.get_frozen_credentials()
    else:
        credentials = await AioSession().get_credentials()
        async with aiosmrt.Session(credentials=credentials) as session:
            await session.invoke_endpoint("e", b"")
        theirs = await credentials.get_frozen_credentials()
    assert service.keys == [theirs.access_key]
    assert service.tokens == [theirs.token]
    assert (theirs.token is not None) is (kind == "assumed")


# ── they end ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("calls", [1, 200])
async def test_an_expired_token_costs_one_refresh_and_each_call_one_retry(
    calls, metadata, monkeypatch
):
    """The endpoint checks signatures, and takes only the container's second credentials."""

    async def echo(request):
        return request.body

    def known(number, **lasting):
        end = datetime.now(timezone.utc) + timedelta(**lasting)
        return aiosmrt.Credentials(f"AKIDMETA{number}", "s3cr3t/metadata", f"t0k3n{number}", end)

    async with LocalEndpoint() as local:
        local.add_model("echo", echo)
        local.add_credentials(known(1, seconds=-1))
        local.add_credentials(known(2, hours=1))
        async with local.session(credentials=None) as session:
            with pytest.raises(aiosmrt.ExpiredTokenException) as caught:
                await session.invoke_endpoint(
                    "echo", b"", retries=aiosmrt.RetryPolicy(max_attempts=1)
                )
            assert caught.value.attempts == len(local.received) == len(metadata.asked) == 1
            metadata.key_number = 2
            outputs = await asyncio.gather(
                *(session.invoke_endpoint("echo", b"%d" % number) for number in range(calls))
            )
    assert [output.body for output in outputs] == [b"%d" % number for number in range(calls)]
    assert len(metadata.asked) == 2
    # Those that waited for a connection meanwhile were signed with the new ones at once.
    attempts = [output.metadata.attempts for output in outputs]
    assert set(attempts) <= {1, 2}
    assert attempts[0] == 2
    assert len(local.received) == 1 + sum(attempts)


async def test_a_slow_source_holds_up_its_calls_and_not_the_loop(service, tmp_path, monkeypatch):
    """Each source blocks until the loop, which must go on meanwhile, lets it go."""
    begun, go_on = threading.Event(), threading.Event()

    def refresh():
        begun.set()
        assert go_on.wait(60)
        end = datetime.now(timezone.utc) + timedelta(hours=1)
        return {
            "access_key": "AKIDBOTO3",
            "secret_key": "s3cr3t",
            "token": "t0k3n",
            "expiry_time": end.isoformat(),
        }

    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow").write_text(
        "touch begun\n"
        "for _ in $(seq 6000); do [ -e go-on ] && break; sleep 0.01; done\n"
        f"echo '{json.dumps(PROCESS)}'\n"
    )
    (tmp_path / "config").write_text("[default]\ncredential_process = /bin/sh slow\n")

    async def calls(credentials):
        async with aiosmrt.Session(credentials=credentials) as session:
            await asyncio.gather(*(session.invoke_endpoint("e", b"") for _ in range(3)))

    async def let_them_go():
        await until(lambda: begun.is_set() and (tmp_path / "begun").exists(), 60)
        assert not service.keys
        go_on.set()
        (tmp_path / "go-on").touch()

    create = botocore.credentials.DeferredRefreshableCredentials
    await asyncio.gather(calls(None), calls(create(refresh, "test")), let_them_go())
    assert sorted(service.keys) == ["AKIDBOTO3"] * 3 + ["AKIDPROCESS"] * 3


# ── what is not needed is not loaded, and what is missing is told ────────────────────────────


async def test_a_call_with_the_environments_keys_never_imports_botocore(service):
    code = """
        import asyncio, sys
        import aiosmrt

        def loaded():
            return {name.partition(".")[0] for name in sys.modules}

        assert "botocore" not in loaded()

        async def main():
            async with aiosmrt.Session() as session:
                output = await session.invoke_endpoint("e", b"")
                assert output.body == b"{}"

        asyncio.run(main())
        assert not loaded() & {"botocore", "boto3", "aiobotocore", "s3transfer"}, loaded()
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(code),
        env=os.environ | ENVIRONMENT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 0, told.decode()
    assert service.keys == ["AKIDENV"]


async def test_without_credentials_and_botocore_the_extra_is_named(service, monkeypatch):
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    async with aiosmrt.Session() as session:
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await session.invoke_endpoint("e", b"")
    for told in ("AWS_ACCESS_KEY_ID", "'default'", "pip install 'aiosmrt[botocore]'"):
        assert told in str(caught.value)
    assert not service.keys


@pytest.mark.parametrize("by", ["the argument profile", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"])
def test_a_wrong_profile_is_told_with_those_that_there_are(by, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("[profile dev]\nregion = eu-west-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    if by.startswith("AWS"):
        monkeypatch.setenv(by, "prod")
    argument = None if by.startswith("AWS") else "prod"
    with pytest.raises(aiosmrt.ConfigurationError, match=rf"'prod' \({by}\).* Profiles found: dev"):
        aiosmrt.Session(profile=argument)


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_a_file_that_cannot_be_read_or_parsed_is_told(variable, tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("[default]\nregion\n")
    monkeypatch.setenv(variable, str(path))
    with pytest.raises(aiosmrt.ConfigurationError, match=f"^{path}, line 2: "):
        aiosmrt.Session(region="eu-west-1")
    path.chmod(0)
    # Root may read anything; this file refuses even root, at its first byte.
    refused = "/proc/self/mem" if os.access(path, os.R_OK) else str(path)
    monkeypatch.setenv(variable, refused)
    with pytest.raises(aiosmrt.ConfigurationError, match=f"^{refused}: the file cannot be read"):
        aiosmrt.Session(region="eu-west-1")


@pytest.mark.parametrize("half", ENVIRONMENT)
async def test_a_half_set_environment_is_told(half, service, monkeypatch, caplog):
    monkeypatch.setenv(half, ENVIRONMENT[half])
    async with aiosmrt.Session() as session:
        with pytest.raises(aiosmrt.CredentialsError) as caught:
            await session.invoke_endpoint("e", b"")
    other = next(name for name in ENVIRONMENT if name != half)
    assert other in str(caught.value)
    assert (f"{half} is set without {other}" in caplog.text) is (half == "AWS_SECRET_ACCESS_KEY")
    assert "s3cr3t" not in str(caught.value) + caplog.text
    assert not service.keys


def test_a_url_in_clear_text_for_a_real_region_is_warned_of_where_the_session_is_made():
    url = "http://sagemaker.example.com"
    with pytest.warns(RuntimeWarning, match=f"{url} is not encrypted") as seen:
        aiosmrt.Session(region="eu-west-1", endpoint_url=url)
    assert [each.filename for each in seen] == [__file__]


# ── secrets ──────────────────────────────────────────────────────────────────────────────────

SECRET = "s3cr3t/of-the-session"
TOKEN = "t0k3n/of-the-session"


async def refuses(service, monkeypatch):
    service.ended.add("AKIDENV")


async def nobody_listens(service, monkeypatch):
    async with RawServer(lambda _: asyncio.sleep(0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME", server.url)


async def half_a_pair(service, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setitem(sys.modules, "botocore.session", None)


def everything_about(error):
    """Its text, its traceback with local variables, and what hangs on it."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    said = [*traceback.format_exception(error)]
    # The test's own frames hold what the test knows.
    said += [str(frame.locals) for frame in shown.stack if frame.filename != __file__]
    waiting = [error]
    while waiting:
        each = waiting.pop()
        said += [repr(each), str(each), repr(vars(each))]
        waiting += [more for more in (each.__cause__, each.__context__) if more is not None]
    return "\n".join(said)


def everything_on(session):
    """What a debugger shows of it, and of all objects of the package that hang on it."""
    said = {}
    waiting = [session]
    while waiting:
        each = waiting.pop()
        if type(each).__module__.partition(".")[0] == "aiosmrt" and id(each) not in said:
            members = getattr(each, "__dict__", {})
            said[id(each)] = f"{each!r} {members!r}"
            waiting += members.values()
    assert len(said) > 5
    return "\n".join(said.values())


@pytest.mark.parametrize("trouble", [refuses, nobody_listens, half_a_pair])
async def test_no_secret_is_in_an_error_a_log_a_repr_or_a_pickle(
    trouble, service, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    await trouble(service, monkeypatch)
    async with aiosmrt.Session(retries=aiosmrt.RetryPolicy(max_attempts=2)) as session:
        with pytest.raises(aiosmrt.AiosmrtError) as caught:
            await session.invoke_endpoint("e", b"")
        shown = everything_about(caught.value) + caplog.text + everything_on(session)
        pickled = pickle.dumps([caught.value, resolve_config()]).decode("latin-1")
        with pytest.raises(TypeError):
            pickle.dumps(session)
    for secret in (SECRET, TOKEN):
        assert secret not in shown
        assert secret not in pickled


async def test_what_holds_credentials_is_not_pickled(service, monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    kept = DefaultProvider(resolve_config())
    await kept.get_credentials()
    theirs = boto3.Session().get_credentials()
    fixed = aiosmrt.Credentials("AKID", "s3cr3t")
    for holder in (
        fixed,
        as_provider(fixed),
        as_provider(theirs),
        kept,
        aiosmrt.CachingProvider(kept),
        EnvironmentProvider(dict(ENVIRONMENT)),
        aiosmrt.Session(credentials=fixed),
        aiosmrt.Session(credentials=EnvironmentProvider()),
        aiosmrt.Session(),
    ):
        assert "s3cr3t" not in repr(holder)
        with pytest.raises(TypeError, match=r"not pickled"):
            pickle.dumps(holder)
